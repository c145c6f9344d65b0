"""Lateness: how late the reactor is."""

from __future__ import annotations

import socket
import sys
from typing import cast

from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.net.lateness import TICK_S, Lateness, waited_s


class FakeSocket:
    """A socket that says when its peer last sent data."""

    def __init__(self, info: bytes | OSError) -> None:
        self._info = info

    def setblocking(self, blocks: bool) -> None:
        """Do nothing."""

    def fileno(self) -> int:
        """Return no file descriptor."""
        return -1

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """The kernel's struct tcp_info, as much of it as is asked for."""
        if isinstance(self._info, OSError):
            raise self._info
        return self._info[:size]


class WaitedTests(SynchronousTestCase):
    """The seconds for which a connection has waited."""

    def waited(self, info: bytes | OSError) -> float:
        """What it says of a TCP connection."""
        fake = cast(socket.socket, FakeSocket(info))
        return waited_s(Connection(fake, Protocol(), MemoryReactorClock()))

    def test_tcp(self) -> None:
        """It is the time since the peer last sent data, from the place where Linux has it."""
        info = bytearray(104)
        info[52:56] = (2500).to_bytes(4, sys.byteorder)
        self.assertEqual(self.waited(bytes(info)), 2.5)

    def test_not_known(self) -> None:
        """Where the system does not say it, or for another transport, it is 0."""
        self.assertEqual((self.waited(b""), self.waited(OSError("no"))), (0.0, 0.0))
        self.assertEqual(waited_s(StringTransport()), 0.0)

    def test_real(self) -> None:
        """On a real connection it is about no time just after the peer has sent something."""
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as peer:
            accepted, _ = server.accept()
            with accepted:
                peer.sendall(b"agi_network: yes")
                self.assertEqual(accepted.recv(99), b"agi_network: yes")
                self.assertLess(waited_s(Connection(accepted, Protocol(), MemoryReactorClock())), 60)


class LatenessTests(SynchronousTestCase):
    """Lateness tells how late the reactor runs."""

    def test_late(self) -> None:
        """It is the time for which the timer is overdue; 0 in time, and while the service does not run."""
        clock = Clock()
        lateness = Lateness(clock)
        self.assertEqual(lateness.seconds, 0.0)
        lateness.startService()
        for _ in range(8):
            clock.advance(TICK_S)
            self.assertEqual(lateness.seconds, 0.0)
        clock.rightNow += 5.0  # a round that takes so long
        self.assertEqual(lateness.seconds, 5.0 - TICK_S)
        clock.advance(0)
        self.assertEqual(lateness.seconds, 0.0)
        clock.rightNow += 5.0
        self.successResultOf(lateness.stopService())
        self.assertEqual(lateness.seconds, 0.0)
