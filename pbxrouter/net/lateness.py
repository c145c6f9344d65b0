"""How late the reactor is: a measure of whether the process keeps up with its work."""

from __future__ import annotations

import socket
import struct
from typing import Final

from twisted.application.service import MultiService
from twisted.internet.interfaces import IReactorTime, ITransport
from twisted.internet.tcp import Connection

from pbxrouter.net.timers import every

TICK_S: Final = 0.25
_LAST_DATA: Final = struct.Struct("=52xI")
"""The head of Linux's struct tcp_info, up to the milliseconds since the peer last sent data."""


def waited_s(transport: ITransport) -> float:
    """For how many seconds a new connection has waited, since its peer last sent data or connected.

    0 where that is not known: over TLS, a Unix socket, or another system than Linux.
    """
    option = getattr(socket, "TCP_INFO", None)
    if option is None or not isinstance(transport, Connection):
        return 0.0
    try:
        info = transport.getHandle().getsockopt(socket.IPPROTO_TCP, option, _LAST_DATA.size)
        milliseconds: int = _LAST_DATA.unpack(info)[0]
    except (OSError, struct.error):
        return 0.0
    return milliseconds / 1000


class Lateness(MultiService):
    """Measures how long the reactor has not come to its timers.

    In one round the reactor takes up everything that waits: connections, replies, timers. The longer that takes, the
    later is all that comes next.
    """

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__()
        self._clock = clock
        self._ticked: float | None = None
        every(TICK_S, self._tick, clock, self)

    @property
    def seconds(self) -> float:
        """By how many seconds the reactor is late now; 0 while the service does not run."""
        if self._ticked is None or not self.running:
            return 0.0
        return max(0.0, self._clock.seconds() - self._ticked - TICK_S)

    async def _tick(self) -> None:
        self._ticked = self._clock.seconds()
