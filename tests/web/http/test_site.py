"""The web server, over real sockets: routes, bounds, and errors at the start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Port
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from pbxrouter.errors import ConfigError
from pbxrouter.web.http.site import (
    BoundedChannel,
    BoundedSite,
    WebService,
    header,
    resource,
)
from pbxrouter.web.metrics import FEW_SAMPLES, metrics_route


class Unmoving:
    """A clock that stands still, and so needs no order among thousands of calls."""

    def seconds(self) -> float:
        """The time, always the same."""
        return 0.0

    def callLater(self, delay: float, call: Callable[..., object], *arguments: object, **named: object) -> DelayedCall:
        """Make a call that never comes."""
        return DelayedCall(delay, call, arguments, named, lambda _: None, lambda _: None, self.seconds)


class Asking(Protocol):
    """Sends a request, and collects the response until the server closes."""

    def __init__(self, request: bytes) -> None:
        self.answer: Deferred[bytes] = Deferred()
        self._request = request
        self._data = b""

    def connectionMade(self) -> None:
        """Send the request."""
        assert self.transport is not None
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        """Take a part of the response."""
        self._data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The response is complete."""
        self.answer.callback(self._data)


class SiteTests(TestCase):
    """A site with metrics."""

    def setUp(self) -> None:
        """Start it on a free port."""
        registry = CollectorRegistry()
        self.registry = registry
        Gauge("things", "Things.", registry=registry).set(3)
        self.pages = resource([metrics_route(registry, reactor)])
        service = WebService("tcp:0:interface=127.0.0.1", self.pages, reactor)
        service.privilegedStartService()
        service.startService()
        self.addCleanup(service.stopService)
        listener = next(iter(service))
        port: Port = listener._waitingForPort.result
        self.port: int = port.getHost().port

    async def ask(self, request: str, *headers: str) -> str:
        """Send a request; returns the response."""
        lines = [f"{request} HTTP/1.1", "Host: pbx", "Connection: close", *headers, "", ""]
        asking = Asking("\r\n".join(lines).encode())
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port), asking)
        return (await asking.answer).decode()

    async def test_many_samples(self) -> None:
        """Thousands of samples become text in a thread; the response is the same kind."""
        things = Gauge("named", "Named things.", ["name"], registry=self.registry)
        for place in range(FEW_SAMPLES + 1):
            things.labels(str(place)).set(place)
        answer = await self.ask("GET /metrics")
        self.assertIn("200 OK", answer.partition("\r\n")[0])
        self.assertIn(f'named{{name="{FEW_SAMPLES}"}} {float(FEW_SAMPLES)}', answer)
        self.assertIn("things 3.0", answer)

    async def test_parts(self) -> None:
        """A family that is collected in parts is one in the response."""

        class InParts(Collector):
            """Two parts of a family."""

            def collect(self) -> Iterator[Metric]:
                """Yield the two parts."""
                for place in ("1", "2"):
                    family = GaugeMetricFamily("parted", "Parted things.", labels=["place"])
                    family.add_metric([place], 5)
                    yield family

        self.registry.register(InParts())
        answer = await self.ask("GET /metrics")
        self.assertIn('\n# TYPE parted gauge\nparted{place="1"} 5.0\nparted{place="2"} 5.0\n', answer)
        self.assertEqual(answer.count("# TYPE parted"), 1)

    async def test_metrics(self) -> None:
        """Prometheus' text format, with its content type."""
        answer = await self.ask("GET /metrics")
        self.assertTrue(answer.startswith("HTTP/1.1 200 "))
        self.assertIn("Content-Type: text/plain; version=", answer.replace("content-type", "Content-Type"))
        self.assertIn("\n# TYPE things gauge\nthings 3.0\n", answer)

    async def test_open_metrics(self) -> None:
        """The newer format for clients that prefer it."""
        answer = await self.ask("GET /metrics", "Accept: application/openmetrics-text; version=1.0.0")
        self.assertIn("\n# EOF\n", answer)

    async def test_head(self) -> None:
        """HEAD is answered without the body."""
        answer = await self.ask("HEAD /metrics")
        self.assertTrue(answer.startswith("HTTP/1.1 200 "))
        self.assertNotIn("things", answer)

    async def test_others(self) -> None:
        """An unknown path gives 404, a method that is not allowed 405."""
        self.assertIn(" 404 ", (await self.ask("GET /nothing")).splitlines()[0])
        self.assertIn(" 405 ", (await self.ask("POST /metrics", "Content-Length: 0")).splitlines()[0])

    def test_no_endpoint(self) -> None:
        """An invalid endpoint: one line that says what is accepted."""
        for bad in ("x", "tcp:no", ""):
            error = self.assertRaises(ConfigError, WebService, bad, self.pages, reactor)
            self.assertIn("web.listen: ", str(error))

    def test_port_in_use(self) -> None:
        """A port in use: one line."""
        service = WebService(f"tcp:{self.port}:interface=127.0.0.1", self.pages, reactor)
        error = self.assertRaises(ConfigError, service.privilegedStartService)
        self.assertIn("in use", str(error))


class Endless(Resource):
    """A page that never ends by itself."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Any] = []

    def render_GET(self, request: Any) -> int:
        """Keep the request without an answer."""
        self.requests.append(request)
        return NOT_DONE_YET


class BoundsTests(SynchronousTestCase):
    """Many or slow browsers."""

    def setUp(self) -> None:
        """A site for two connections, on a clock."""
        self.clock = MemoryReactorClock()
        registry = CollectorRegistry()
        self.site = BoundedSite(resource([metrics_route(registry, reactor)]), 2)
        self.site.reactor = self.clock

    def connect(self, host: str = "192.0.2.1") -> tuple[BoundedChannel, StringTransport]:
        """Open a connection from a host."""
        channel = self.site.buildProtocol(IPv4Address("TCP", host, 1))
        transport = StringTransport()
        channel.makeConnection(transport)
        return channel, transport

    def test_too_many(self) -> None:
        """At most the allowed number, half of them from one network; a closed connection makes room for another."""
        self.site.resource = Endless()
        first = self.ask()
        self.assertIsNone(self.site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 2)))
        self.ask("192.0.2.2")
        self.assertIsNone(self.site.buildProtocol(IPv4Address("TCP", "192.0.2.3", 1)))
        self.assertEqual(self.site.refused, {"peer": 1, "full": 1, "half-open": 0})
        first.connectionLost()
        self.connect("192.0.2.3")

    def ask(self, host: str = "192.0.2.1") -> BoundedChannel:
        """Open a connection, and send a request."""
        channel, _ = self.connect(host)
        channel.dataReceived(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return channel

    def test_half_open_flood(self) -> None:
        """4500 connections without a request hold an eighth of the slots; requests from anywhere are answered."""
        self.site = BoundedSite(self.site.resource)
        still: Any = Unmoving()
        self.site.reactor = still
        flood = [self.connect() for _ in range(4500)]
        open_still = [channel for channel, transport in flood if not transport.disconnected]
        self.assertEqual(open_still, [channel for channel, _ in flood[-512:]])
        self.assertEqual(self.site.refused, {"peer": 0, "full": 0, "half-open": 4500 - 512})
        for host in ("192.0.2.2", "192.0.2.1"):
            channel, transport = self.connect(host)
            channel.dataReceived(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertIn(b"HTTP/1.1 200 ", transport.value())
            self.assertFalse(transport.disconnected)

    def test_oldest_goes(self) -> None:
        """A connection is closed for another only while it has no complete request: before it and after its answer."""
        page = Endless()
        self.site = BoundedSite(page, 16)
        self.site.reactor = self.clock
        first, first_transport = self.connect()
        first.dataReceived(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        second, second_transport = self.connect()
        second.dataReceived(b"GET / HTTP/1.1\r\nHos")
        for _ in range(7):
            self.connect()
        self.assertTrue(second_transport.disconnected)
        self.assertFalse(first_transport.disconnected)
        page.requests.pop(0).finish()
        for _ in range(8):
            self.connect()
        self.assertTrue(first_transport.disconnected)

    def test_a_byte_now_and_then(self) -> None:
        """A request that trickles is cut off at any point; a complete one is not."""
        for begun in (
            b"",
            b"GET /met",
            b"GET /metrics HTTP/1.1\r\nX: ",
            b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n1",
        ):
            channel, transport = self.connect()
            for _ in range(29):
                channel.dataReceived(begun[:1])
                begun = begun[1:]
                self.clock.advance(1)
            self.assertFalse(transport.disconnected, begun)
            self.clock.advance(1)
            self.assertTrue(transport.disconnected, begun)
            channel.connectionLost()
        channel, transport = self.connect()
        for _ in range(3):
            channel.dataReceived(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            self.clock.advance(29)
            self.assertFalse(transport.disconnected)
        self.assertEqual(transport.value().count(b"HTTP/1.1 200"), 3)

    def test_without_end(self) -> None:
        """A line or a body that is too long is refused with a status that says so, and nothing more is read."""
        post = b"POST / HTTP/1.1\r\nHost: x\r\n"
        for request, status in (
            (b"GET /" + b"a" * 20_000, b"431 "),
            (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000, b"431 "),
            (post + b"Content-Length: 2000000\r\n\r\n" + b"a" * 1_100_000, b"413 "),
            (post + b"Transfer-Encoding: chunked\r\n\r\n200000\r\n" + b"a" * 1_100_000, b"413 "),
            (post + b"Transfer-Encoding: chunked\r\n\r\n" + b"a" * 20_000, b"400 "),
        ):
            channel, transport = self.connect()
            for start in range(0, len(request), 65536):
                channel.dataReceived(request[start : start + 65536])
                if transport.disconnecting:
                    break
            self.assertTrue(transport.value().startswith(b"HTTP/1.1 " + status), (request[:60], transport.value()))
            self.assertEqual(transport.value().count(b"HTTP/1.1"), 1)
            self.assertTrue(transport.disconnecting)
            channel.connectionLost(Failure(connectionDone.value))

    def test_forms_are_read_by_no_one_but_us(self) -> None:
        """Twisted does not parse the body, not even multipart; the routes see its content type."""
        seen: list[Any] = []

        class Page(Resource):
            isLeaf = True

            def render_POST(self, request: Any) -> bytes:
                seen.append((request.args, header(request, "Content-Type"), len(request.content.read())))
                return b""

        site = BoundedSite(Page())
        site.reactor = self.clock
        form = b'--x\r\nContent-Disposition: form-data; name="' + b";" * 60_000 + b"\r\n\r\n1\r\n--x--\r\n"
        for kind in ("multipart/form-data; boundary=x", "application/x-www-form-urlencoded"):
            channel = site.buildProtocol(None)
            channel.makeConnection(StringTransport())
            head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(form)}\r\n\r\n"
            channel.dataReceived(head.encode() + form)
            self.assertEqual(seen.pop(), ({}, kind, len(form)))
