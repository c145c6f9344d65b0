"""TCP keepalive on real sockets."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import directlyProvides

from pbxrouter.agi.channel import Channel
from pbxrouter.agi.dialogue_watch import DialogueWatch
from pbxrouter.ami.protocol import AMIProtocol
from pbxrouter.fastagi.protocol import FastAGIProtocol
from pbxrouter.fastagi.server import FastAGIFactory
from pbxrouter.net.keepalive import keep_alive

PROBES = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


def probes_of(connection: socket.socket) -> dict[str, int]:
    """The probes of a socket."""
    return {name: connection.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in PROBES}


async def serve(channel: Channel) -> None:
    """Serve no call."""


class Recorded(FastAGIFactory):
    """A FastAGI server that tells of its first connection."""

    def __init__(self) -> None:
        super().__init__(serve, Clock(), DialogueWatch())
        self.first: Deferred[FastAGIProtocol] = Deferred()

    def opened(self, call: FastAGIProtocol) -> None:
        """Fire with the call that has opened."""
        super().opened(call)
        self.first.callback(call)


class Silence(Protocol):
    """A peer that says nothing."""


class RealSockets(TestCase):
    """Connections over TCP."""

    async def listen(self, factory: Any) -> int:
        """Listen on loopback; returns the port."""
        port: Any = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def test_fastagi(self) -> None:
        """A connection that Asterisk opens is probed after a minute of silence."""
        factory = Recorded()
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", await self.listen(factory))
        client = await connectProtocol(endpoint, Silence())
        call = await factory.first
        connection: Any = call.transport
        handle = connection.getHandle()
        self.assertEqual(handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1)
        self.assertEqual(probes_of(handle), PROBES)
        client.transport.abortConnection()
        call.transport.abortConnection()

    async def test_ami(self) -> None:
        """The connection to AMI is probed too, with TLS or without."""
        for with_tls in (False, True):
            endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", await self.listen(Factory.forProtocol(Silence)))
            if with_tls:
                endpoint = wrapClientTLS(CertificateOptions(), endpoint)
            clock = Clock()
            protocol = await connectProtocol(endpoint, AMIProtocol(clock, {}))
            below: Any = protocol.transport
            while not isinstance(below.getHandle(), socket.socket):
                below = below.transport
            self.assertEqual(below.getHandle().getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1)
            self.assertEqual(probes_of(below.getHandle()), PROBES)
            protocol.close()
            await gatherResults([protocol.lost])


class OtherTransports(SynchronousTestCase):
    """Transports that are not TCP."""

    def test_none(self) -> None:
        """A transport without a socket is left alone, be it one that claims to be TCP."""
        keep_alive(StringTransport())
        transport: Any = StringTransport()
        asked: list[bool] = []
        transport.getHandle = object
        transport.setTcpKeepAlive = asked.append
        directlyProvides(transport, ITCPTransport)
        keep_alive(transport)
        self.assertEqual(asked, [True])

    def test_unix(self) -> None:
        """A Unix socket is left alone, though Twisted's transport of it claims to be TCP."""
        one, other = socket.socketpair(socket.AF_UNIX)
        self.addCleanup(other.close)
        self.addCleanup(one.close)
        transport: Any = StringTransport()
        transport.getHandle = lambda: one
        transport.setTcpKeepAlive = bool
        directlyProvides(transport, ITCPTransport)
        keep_alive(transport)
