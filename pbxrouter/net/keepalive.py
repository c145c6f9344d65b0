"""TCP keepalive: connections that are silent for hours, while two people talk, stay open and are known to be alive."""

from __future__ import annotations

import socket
from typing import Any, Final

from twisted.internet.interfaces import ITCPTransport

KEEPALIVE_IDLE_S: Final = 60
"""Seconds of silence until the first probe; firewalls forget a connection after a few minutes."""
KEEPALIVE_EVERY_S: Final = 15
"""Seconds between two probes that are not answered."""
KEEPALIVE_PROBES: Final = 4
"""Probes without an answer after which the connection is lost."""

_OPTIONS: Final = tuple(
    (getattr(socket, name), value)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_EVERY_S),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
    )
    if hasattr(socket, name)
)
"""Linux's; the system's default is two hours of silence."""


def keep_alive(transport: Any) -> None:
    """Let the kernel probe a connection while it is silent; does nothing for one that is not TCP."""
    if not ITCPTransport.providedBy(transport):
        return
    transport.setTcpKeepAlive(True)
    below: Any = transport
    while not isinstance(handle := below.getHandle(), socket.socket):  # that of TLS has the socket below it
        below = getattr(below, "transport", None)
        if below is None:
            return
    if handle.family not in (socket.AF_INET, socket.AF_INET6):  # Twisted's Unix sockets claim to be TCP
        return
    for option, value in _OPTIONS:
        handle.setsockopt(socket.IPPROTO_TCP, option, value)
