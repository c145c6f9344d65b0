"""The console's address for browsers, from the settings."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pbxrouter.errors import ConfigError


def setup_url(base: str, link: str) -> str:
    """The address of a set-up link."""
    return f"{base}/setup/{link}"


def click_url(base: str, link_id: int, signature: str) -> str:
    """The address of a click-to-dial page.

    Args:
        signature: from click.Signer.link, which needs no quoting.
    """
    return f"{base}/click/{link_id}?sig={signature}"


def base_url(url: str, listen: str) -> str:
    """The console's address: as configured, or from the endpoint; without a trailing slash."""
    if url:
        return url.rstrip("/")
    kind, *rest = re.split(r"(?<!\\):", listen)
    plain = [part.removeprefix("port=") for part in rest if "=" not in part or part.startswith("port=")]
    # tls: names the folder of certificates first.
    port = (plain[1:2] or ["443"])[0] if kind == "tls" else (plain[:1] or [""])[0]
    found = [part.removeprefix("interface=") for part in rest if part.startswith("interface=")]
    host = re.sub(r"\\(.)", r"\1", found[0]) if found else "localhost"
    if host in ("", "0.0.0.0", "::"):
        host = "localhost"
    if ":" in host:
        host = f"[{host}]"
    scheme = "https" if kind in ("tls", "ssl") else "http"
    usual = {"http": "80", "https": "443"}[scheme]
    return f"{scheme}://{host}" + (f":{port}" if port.isdigit() and port != usual else "")


def is_open_without_tls(url: str, listen: str) -> bool:
    """Whether other machines reach it, as far as the settings tell without TLS."""
    kind, *rest = re.split(r"(?<!\\):", listen)
    if kind not in ("tcp", "tcp6") or url.startswith("https:"):
        return False
    found = [re.sub(r"\\(.)", r"\1", part[10:]) for part in rest if part.startswith("interface=")]
    return not found or not (found[0].startswith("127.") or found[0] in ("::1", "localhost"))


def check_url(url: str) -> None:
    """Check a configured address.

    Raises:
        ConfigError: its port is not valid.
    """
    try:
        urlsplit(url).port  # noqa: B018
    except ValueError as error:
        raise ConfigError(f"web.url: {url!r}: {error}; accepted is such as https://pbx.example.org") from None
