"""DirectWriter: lines are sent at once where possible, and in order always."""

from __future__ import annotations

import errno
import os
import socket
from typing import cast

from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.fastagi.sender import DirectWriter


class FakeSocket:
    """A socket that takes a number of bytes, then fails with an error."""

    def __init__(self, room: int = 1000, error: int = errno.EAGAIN) -> None:
        self.taken = b""
        self.room = room
        self.error = error

    def send(self, data: bytes) -> int:
        """Take as many bytes as there is room for."""
        if not self.room:
            raise OSError(self.error, os.strerror(self.error))
        took = data[: self.room]
        self.taken += took
        self.room -= len(took)
        return len(took)

    def setblocking(self, blocks: bool) -> None:
        """Accept any blocking mode."""

    def fileno(self) -> int:
        """Return no file descriptor."""
        return -1


class Sending(SynchronousTestCase):
    """DirectWriter writes to the socket at once."""

    def connect(self, fake: FakeSocket) -> None:
        """Make a connection over this socket."""
        self.reactor = MemoryReactor()
        self.socket = fake
        self.transport = Connection(cast(socket.socket, fake), Protocol(), self.reactor)
        self.transport.connected = True
        self.sender = DirectWriter(self.transport)

    def assertWaiting(self, waits: bool) -> None:
        """Check whether the reactor waits until the socket can be written to."""
        self.assertEqual(self.transport in self.reactor.getWriters(), waits)

    def test_at_once(self) -> None:
        """A line is sent at once, without the reactor."""
        self.connect(FakeSocket())
        self.sender.send(b"NOOP\n")
        self.assertEqual(self.socket.taken, b"NOOP\n")
        self.assertWaiting(False)
        self.sender.send(b"ANSWER\n")
        self.assertEqual(self.socket.taken, b"NOOP\nANSWER\n")
        self.assertWaiting(False)

    def test_full(self) -> None:
        """What the socket does not take is sent when there is room, and all later lines behind it."""
        for room in (0, 3, 4):
            self.connect(FakeSocket(room))
            self.sender.send(b"NOOP\n")
            self.assertEqual(self.socket.taken, b"NOOP\n"[:room])
            self.socket.room = 1000
            self.sender.send(b"HANGUP\n")
            self.assertEqual(self.socket.taken, b"NOOP\n"[:room])
            self.assertWaiting(True)
            self.transport.doWrite()
            self.assertEqual(self.socket.taken, b"NOOP\nHANGUP\n")

    def test_broken(self) -> None:
        """A broken socket is left to the transport to notice."""
        self.connect(FakeSocket(0, errno.EPIPE))
        self.sender.send(b"NOOP\n")
        self.assertIsInstance(self.transport.doWrite(), Exception)

    def test_no_tcp(self) -> None:
        """Over another transport than TCP lines go by transport.write."""
        transport = StringTransport()
        DirectWriter(transport).send(b"NOOP\n")
        self.assertEqual(transport.value(), b"NOOP\n")
