"""Parses server endpoint strings and HOST:PORT into addresses to connect to.

Twisted parses endpoint strings, too, but needs half a second of imports and a reactor.
"""

import dataclasses
import re
import socket

from pbxrouter.errors import ConfigError
from pbxrouter.text import sentence

DEFAULT_PORT = 4573
_ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclasses.dataclass(frozen=True)
class SocketAddress:
    """An address to connect to.

    Attributes:
        host: a name or an IP address; empty for a Unix socket.
        port: the TCP port.
        path: of a Unix socket.
    """

    host: str = ""
    port: int = DEFAULT_PORT
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def connect(self, timeout_s: float) -> socket.socket:
        """Connect a blocking socket.

        Raises:
            OSError: nothing listens, or no answer within `timeout_s` seconds.
        """
        if not self.path:
            return socket.create_connection((self.host, self.port), timeout_s)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout_s)
        try:
            connection.connect(self.path)
        except OSError:
            connection.close()
            raise
        return connection


def of_endpoint(listen: str) -> SocketAddress:
    """The address at which to reach a server that listens on an endpoint string.

    Raises:
        ConfigError: the endpoint string does not tell where to connect.
    """
    kind, positional, named = _split(listen)
    port = named.get("port", positional[0] if positional else "")
    if kind in ("tcp", "tcp4", "tcp6") and port.isdecimal() and 0 < int(port) < 65536:
        host = named.get("interface", "::" if kind == "tcp6" else "")
        return SocketAddress(_ANY.get(host, host), int(port))
    path = named.get("address", positional[0] if positional else "")
    if kind == "unix" and path:
        return SocketAddress(path=path)
    raise ConfigError(
        sentence(
            "fastagi.listen {listen}: a call can be placed to tcp:PORT and unix:PATH; "
            "tell where by --connect HOST:PORT",
            listen=repr(listen),
        )
    )


def host_of_ami(ami: str) -> str:
    """The host of a client endpoint string; ``""`` if it has none, as that of a Unix socket."""
    kind, positional, named = _split(ami)
    return "" if kind == "unix" else named.get("host", positional[0] if positional else "")


def place_of_ami(ami: str) -> str:
    """What is equal for two client endpoint strings that lead to the same AMI, as far as they show it."""
    kind, positional, named = _split(ami)
    if kind not in ("tcp", "tls", "ssl"):
        return ami
    host = host_of_ami(ami).lower()
    port = named.get("port", positional[1] if len(positional) > 1 else "")
    return f"{'localhost' if host == '::1' or host.startswith('127.') else host} {port}"


def is_local(listen: str) -> bool:
    """Whether only this machine can connect to a server that listens on an endpoint string."""
    kind, _, named = _split(listen)
    host = named.get("interface", "")
    return kind == "unix" or host == "localhost" or host == "::1" or host.startswith("127.")


def of_option(text: str) -> SocketAddress:
    """Parse HOST, HOST:PORT or [IPV6]:PORT.

    Raises:
        ConfigError: it is none of these.
    """
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\[\]:\s]+))(?::([0-9]{1,5}))?", text)
    if found is None or not 0 < int(found[3] or DEFAULT_PORT) < 65536:
        raise ConfigError(f"--connect {text!r}: accepted are HOST, HOST:PORT and [IPV6]:PORT")
    return SocketAddress(found[1] or found[2], int(found[3] or DEFAULT_PORT))


def _split(text: str) -> tuple[str, list[str], dict[str, str]]:
    """Split an endpoint string into kind, positional and named parts; a backslash quotes one character."""
    kind, *rest = re.split(r"(?<!\\):", text)
    positional: list[str] = []
    named: dict[str, str] = {}
    for part in rest:
        name, equals, value = part.partition("=")
        if equals and re.fullmatch(r"[A-Za-z]+", name):
            named[name] = _unescape(value)
        else:
            positional.append(_unescape(part))
    return kind.lower(), positional, named


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
