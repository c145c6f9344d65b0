"""Writes a line to the socket at once instead of in the reactor's next round.

``transport.write`` only queues: the reactor must then wait until the socket can be written to, wake up and stop
waiting. For a command of forty bytes whose predecessor was answered, as all AGI commands are, this is a third of the
whole cost of a command.
"""

from __future__ import annotations

import socket

from twisted.internet.interfaces import ITransport
from twisted.internet.tcp import Connection


class DirectWriter:
    """Writes to a transport's socket, past the transport's queue while that is empty.

    From the first time that the kernel takes less than all bytes, and over any other transport than plain TCP (TLS, a
    test's transport), everything goes by ``transport.write``.

    Args:
        transport: connected, and not yet written to.
    """

    __slots__ = ("_socket", "_transport")

    def __init__(self, transport: ITransport) -> None:
        self._transport = transport
        self._socket: socket.socket | None = transport.getHandle() if isinstance(transport, Connection) else None

    def send(self, data: bytes) -> None:
        """Send bytes; those that the kernel does not take now are sent later, in order."""
        if self._socket is not None:
            try:
                sent = self._socket.send(data)
            except OSError:  # full or broken: the transport finds out which
                sent = 0
            if sent == len(data):
                return
            self._socket = None
            data = data[sent:]
        self._transport.write(data)
