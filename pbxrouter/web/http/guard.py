"""Checks and headers for every request: the Host header, reverse proxies, security headers.

The Host check refuses DNS rebinding: a page of another site whose name resolves to this server.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource

from pbxrouter.config import Web
from pbxrouter.web.http.site import header

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors {ancestors}"
)
HEADERS: Final = {
    "Cache-Control": "no-store",  # but for the static files, which say otherwise
    "Vary": "Cookie, Accept-Language",
    "Content-Security-Policy": CONTENT_POLICY.format(ancestors="'none'"),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def allow_frames(request: IRequest, sites: str) -> None:
    """Allow pages of these origins (separated by blanks) to show the response in a frame; none if empty."""
    if sites:
        request.setHeader("Content-Security-Policy", CONTENT_POLICY.format(ancestors=sites))
        request.responseHeaders.removeHeader(b"X-Frame-Options")
        request.responseHeaders.removeHeader(b"Cross-Origin-Opener-Policy")


class Visitors:
    """Determines the address and scheme of visitors, trusting the configured reverse proxies only."""

    def __init__(self, config: Web) -> None:
        self.configure(config)

    def configure(self, config: Web) -> None:
        """Use the settings of ``[web]``."""
        url_host = urlsplit(config.url).hostname if config.url else None
        self._hosts = {host.strip("[]").lower() for host in config.hosts} | ({url_host} if url_host else set())
        self._proxies = set(config.proxies)
        self._https = config.url.startswith("https:")

    def address(self, request: IRequest) -> str:
        """The visitor's address; ``unix`` over a unix socket."""
        peer = str(getattr(request.getClientAddress(), "host", "unix"))
        if peer in self._proxies:
            return _address_in(_last(request, "X-Forwarded-For")) or peer
        return peer

    def is_secure(self, request: IRequest) -> bool:
        """Whether the request came by https."""
        peer = str(getattr(request.getClientAddress(), "host", "unix"))
        if peer in self._proxies and header(request, "X-Forwarded-Proto"):
            return _last(request, "X-Forwarded-Proto").lower() == "https"
        return bool(request.isSecure())

    def is_ours(self, request: IRequest) -> bool:
        """Whether the request's Host is one of this server."""
        name = _host_name(header(request, "Host"))
        if name is None:
            return False
        if name in self._hosts or name == "localhost":
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # DNS rebinding needs a name, so an address is accepted; but it must be this server's.
        local = str(getattr(request.getHost(), "host", ""))
        return address.is_loopback or name == local or local.removeprefix("::ffff:") == name


def _last(request: IRequest, name: str) -> str:
    """The entry added by the nearest proxy: the last of the last such header."""
    lines = request.requestHeaders.getRawHeaders(name.encode("ascii"), [b""])
    return str(lines[-1].decode("latin-1")).rpartition(",")[2].strip()


def _address_in(text: str) -> str | None:
    """Parse an address that may have a port; None if it is malformed."""
    bare = text.strip()
    found = re.fullmatch(r"\[([^]]*)\](:\d+)?|([0-9.]+):\d+", bare)
    if found:
        bare = found[1] or found[3]
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return None


def _host_name(host: str) -> str | None:
    """The host name of a Host header, lower case, without port and brackets; None if it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018  (raises if it is no port)
        bare = parts.netloc == host and "@" not in host and host == host.strip()
        return parts.hostname if bare else None
    except ValueError:
        return None


class Guarded(Resource):
    """The root resource: checks each request before passing it on."""

    isLeaf = True

    def __init__(self, pages: IResource, visitors: Visitors) -> None:
        super().__init__()
        self._pages = pages
        self._visitors = visitors

    def render(self, request: Any) -> Any:
        """Add the security headers, refuse unknown hosts, then render the wrapped resource."""
        for name, value in HEADERS.items():
            request.setHeader(name, value)
        if self._visitors.is_secure(request):
            request.setHeader("Strict-Transport-Security", "max-age=31536000")
        if not self._visitors.is_ours(request):
            request.setResponseCode(421, b"Misdirected Request")
            request.setHeader("Content-Type", "text/plain; charset=utf-8")
            return (
                b"421: this host name is not accepted here. Accepted are localhost, the address itself, "
                b"and the names in [web] url and hosts of the settings.\n"
            )
        if not _is_text(request.path):
            request.setResponseCode(404)
            request.setHeader("Content-Type", "text/plain; charset=utf-8")
            return b"404: there is no such page; its address is not UTF-8\n"
        return self._pages.render(request)


def _is_text(path: bytes) -> bool:
    """Whether a percent-decoded path is UTF-8; klein fails on any other."""
    try:
        unquote(path.decode("ascii"), errors="strict")
    except ValueError:
        return False
    return True
