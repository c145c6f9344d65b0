"""Long answers at the reader's pace, readers that go, and endpoints that break."""

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

PIECE = "0123456789abcde\n" * 1024
MANY = 4000
"""Pieces that fit into no buffer on the way: 64 MiB."""


class Slow(Protocol):
    """Asks, and reads nothing until it is told to."""

    def __init__(self) -> None:
        self.received = 0
        self.gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Ask."""
        assert self.transport is not None
        self.transport.write(b"GET /api/long HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        self.transport.pauseProducing()  # type: ignore[attr-defined]

    def dataReceived(self, data: bytes) -> None:
        """Some of it."""
        self.received += len(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """All of it."""
        self.gone.callback(None)


class SendingTests(ApiCase):
    """One endpoint with a long text, others that break."""

    async def start(self) -> None:
        """Serve them."""
        await super().start()
        self.made = 0
        self.ended: Deferred[None] = Deferred()
        self.pieces = 3

        async def text() -> AsyncGenerator[str, None]:
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
            async def pieces() -> AsyncGenerator[str, None]:
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
        """Ask, without a document to hold it against."""
        response = await Agent(reactor).request(method, f"{self.url}{path}".encode(), Headers({"Host": ["localhost"]}))
        return response.code, await readBody(response), response.headers

    async def test_whole(self) -> None:
        """All pieces, with their type and a name to save them by."""
        status, body, headers = await self.get("/api/long")
        self.assertEqual((status, body), (200, PIECE.encode() * 3))
        self.assertEqual(headers.getRawHeaders("Content-Type"), [CSV])
        self.assertEqual(headers.getRawHeaders("Content-Disposition"), ['attachment; filename="long.csv"'])
        status, body, _ = await self.get("/api/long", b"HEAD")
        self.assertEqual((status, body, self.made), (200, b"", 3))

    async def test_slow_reader(self) -> None:
        """Who does not read has no more made than fits on the way, and gets all of it in the end."""
        self.pieces = MANY
        slow = Slow()
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port), slow)
        before = 0
        while not self.made or self.made != before:
            before = self.made
            await deferLater(reactor, 0.1)
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
        """Nothing more is made for it, and what makes it is ended."""
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
        """It is said that, and nothing else; the log has it all."""
        status, body, _ = await self.get("/api/broken")
        self.assertEqual(status, 500)
        self.assertEqual(json.loads(body), {"error": "something broke in the gateway; its log tells what", "field": ""})
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    async def test_refused(self) -> None:
        """With the field, in plain words."""
        status, body, _ = await self.get("/api/conflicting")
        self.assertEqual((status, json.loads(body)), (409, {"error": "it is there", "field": "what"}))

    async def test_cut_off(self) -> None:
        """A text that cannot be ended is no whole one: the connection is closed before its end."""
        with self.assertRaises(Exception):  # noqa: B017  (ResponseFailed, or what readBody makes of it)
            await self.get("/api/cut")
        self.assertEqual(len(self.flushLoggedErrors(PbxrouterError)), 1)
