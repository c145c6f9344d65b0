"""Long responses to slow clients, clients that disconnect, and endpoints that fail."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers

from pbxrouter.errors import EditConflict, PbxrouterError
from pbxrouter.text.sentences import sentence
from pbxrouter.web.api.endpoint import CSV, ApiRequest, Endpoint, StreamedText
from tests.api_fakes import ApiCase

PIECE = b"0123456789abcde\n" * 1024
MANY = 4000
"""Pieces that fit into no buffer on the way: 64 MiB."""


class Slow(Protocol):
    """A client that sends a request, and reads nothing until the test lets it."""

    def __init__(self) -> None:
        self.received = 0
        self.gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Send the request and read nothing."""
        assert self.transport is not None
        self.transport.write(b"GET /api/long HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        self.transport.pauseProducing()  # type: ignore[attr-defined]

    def dataReceived(self, data: bytes) -> None:
        """Take a part of the response."""
        self.received += len(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The response is complete."""
        self.gone.callback(None)


class SendingTests(ApiCase):
    """One endpoint with a long text, others that fail."""

    async def start(self) -> None:
        """Serve the endpoints on a port."""
        await super().start()
        self.made = 0
        self.ended: Deferred[None] = Deferred()
        self.pieces = 3

        async def text() -> AsyncGenerator[bytes, None]:
            try:
                for _ in range(self.pieces):
                    self.made += 1
                    yield PIECE
            finally:
                self.ended.callback(None)

        async def long_text(asked: ApiRequest) -> StreamedText:
            return StreamedText("long.csv", text())

        async def broken(asked: ApiRequest) -> None:
            raise ValueError("the secret of the house")

        async def conflicting(asked: ApiRequest) -> None:
            raise EditConflict(sentence("{what} is there", what="it"), "what")

        async def cut(asked: ApiRequest) -> StreamedText:
            async def pieces() -> AsyncGenerator[bytes, None]:
                yield PIECE
                raise PbxrouterError("the database went away")

            return StreamedText("cut.csv", pieces())

        self.serve(
            self.web,
            endpoints=(
                Endpoint("GET", "/api/long", "", "", long_text, None, media=CSV),
                Endpoint("GET", "/api/broken", "", "", broken, None),
                Endpoint("GET", "/api/conflicting", "", "", conflicting, None),
                Endpoint("GET", "/api/cut", "", "", cut, None, media=CSV),
            ),
        )

    async def get(self, path: str, method: bytes = b"GET") -> tuple[int, bytes, Headers]:
        """Send a request without checking it against the document."""
        response = await Agent(reactor).request(method, f"{self.url}{path}".encode(), Headers({"Host": ["localhost"]}))
        return response.code, await readBody(response), response.headers

    async def test_whole(self) -> None:
        """All pieces, with their content type and a file name."""
        status, body, headers = await self.get("/api/long")
        self.assertEqual((status, body), (200, PIECE * 3))
        self.assertEqual(headers.getRawHeaders("Content-Type"), [CSV])
        self.assertEqual(headers.getRawHeaders("Content-Disposition"), ['attachment; filename="long.csv"'])
        status, body, _ = await self.get("/api/long", b"HEAD")
        self.assertEqual((status, body, self.made), (200, b"", 3))

    async def test_slow_reader(self) -> None:
        """For a slow client no more is made than the buffers hold; it gets all of it in the end."""
        self.pieces = MANY
        slow = Slow()
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port), slow)
        before = 0
        while not self.made or self.made != before:
            before = self.made
            await deferLater(reactor, 0.5)
        self.assertLess(self.made, MANY // 2)
        before = self.made
        await deferLater(reactor, 0.2)
        self.assertEqual(self.made, before)
        assert slow.transport is not None
        slow.transport.resumeProducing()  # type: ignore[attr-defined]
        await slow.gone
        self.assertEqual(self.made, MANY)
        self.assertGreater(slow.received, MANY * len(PIECE))

    async def test_reader_that_goes(self) -> None:
        """After a disconnect nothing more is made, and the generator is closed."""
        self.pieces = MANY
        slow = Slow()
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port), slow)
        await deferLater(reactor, 0.1)
        assert slow.transport is not None
        slow.transport.abortConnection()  # type: ignore[attr-defined]
        await self.ended
        self.assertLess(self.made, MANY // 2)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_broken(self) -> None:
        """An unexpected error: a short message for the client, the traceback in the log."""
        status, body, _ = await self.get("/api/broken")
        self.assertEqual(status, 500)
        self.assertEqual(json.loads(body), {"error": "internal error; see the gateway's log", "field": ""})
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    async def test_refused(self) -> None:
        """The refusal has its field and message."""
        status, body, _ = await self.get("/api/conflicting")
        self.assertEqual((status, json.loads(body)), (409, {"error": "it is there", "field": "what"}))

    async def test_cut_off(self) -> None:
        """If a text cannot be completed the connection is closed before its end."""
        with self.assertRaises(Exception):  # noqa: B017  (ResponseFailed, or what readBody makes of it)
            await self.get("/api/cut")
        self.assertEqual(len(self.flushLoggedErrors(PbxrouterError)), 1)
