"""Sends a line at once instead of on the reactor's next round.

``transport.write`` only queues: the reactor must first be told to wait until the
socket can be written to, wake up for that, and be told to stop. For a command of forty
bytes whose predecessor was answered, which is all AGI ever has, this is a third of the
whole cost of a command.
"""

from __future__ import annotations

import socket

from twisted.internet.interfaces import ITransport
from twisted.internet.tcp import Connection


class DirectWriter:
    """Writes to a transport, past its queue as long as nothing can be in there.

    As soon as the kernel takes less than all of something, and over whatever is no
    plain TCP (TLS, a test's transport), everything goes by ``transport.write``.

    Args:
        transport: connected, and written to by nobody else before.
    """

    __slots__ = ("_socket", "_transport")

    def __init__(self, transport: ITransport) -> None:
        self._transport = transport
        self._socket: socket.socket | None = transport.getHandle() if isinstance(transport, Connection) else None

    def send(self, data: bytes) -> None:
        """Send; what cannot go now goes later, in order."""
        if self._socket is not None:
            try:
                sent = self._socket.send(data)
            except OSError:  # it is full, or broken; the transport finds out which
                sent = 0
            if sent == len(data):
                return
            self._socket = None
            data = data[sent:]
        self._transport.write(data)
