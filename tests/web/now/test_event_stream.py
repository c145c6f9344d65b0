"""Many browsers on the event stream, with a clock that the test advances."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.config import Zone
from pbxrouter.web.language import Translator
from pbxrouter.web.now import event_stream as live_feed
from pbxrouter.web.now.event_stream import EventStream, Fragments

ENGLISH = Translator("en", Zone("UTC"))
SPANISH = Translator("es", Zone("UTC"))


class FakeTransport:
    """A transport that can be aborted."""

    def __init__(self, request: FakeRequest) -> None:
        self._request = request

    def abortConnection(self) -> None:
        """Note that the connection was aborted."""
        self._request.leave()


class FakeRequest:
    """A browser: what it was sent, and its disconnection."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.sent: list[bytes] = []
        self.producer: Any = None
        self.transport = FakeTransport(self)
        self.following: Deferred[bytes] = Deferred()
        self.gone = False

    def setHeader(self, name: str, value: str) -> None:
        """Keep a response header."""
        self.headers[name] = value

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Keep the streaming producer."""
        assert streaming
        assert self.producer is None
        self.producer = producer

    def unregisterProducer(self) -> None:
        """Drop the producer; fail as Twisted does after the browser has gone."""
        if self.gone:
            raise AttributeError("the channel is None")
        self.producer = None

    def write(self, data: bytes) -> None:
        """Keep the bytes that are sent."""
        assert not self.gone
        self.sent.append(data)

    def leave(self) -> None:
        """Disconnect the browser."""
        self.gone = True
        self.following.cancel()

    @property
    def told(self) -> list[dict[str, Any]]:
        """The snapshots that were sent."""
        return [
            json.loads(message.removeprefix(b"event: now\ndata: "))
            for message in self.sent
            if message.startswith(b"event: now\n")
        ]


class EventStreamTests(SynchronousTestCase):
    """The stream, with lists of words as snapshots."""

    def setUp(self) -> None:
        """No browser is connected yet."""
        self.clock = Clock()
        self.clock.advance(1000)
        self.picture: tuple[str, ...] = ("one",)
        self.made: list[float] = []
        self.put: list[str] = []
        self.asked = 0
        self.sessions: frozenset[str] | None = frozenset({"session"})
        self.making: Deferred[None] = succeed(None)
        self.feed: EventStream[tuple[str, ...]] = EventStream(
            self.clock, self._make, self._put, self._sessions, lambda: 1.7e9
        )

    async def _make(self) -> tuple[str, ...]:
        self.made.append(self.clock.seconds())
        await self.making
        return self.picture

    def _put(self, picture: tuple[str, ...], translator: Translator, view: object) -> Fragments:
        self.put.append(translator.language)
        if view == "backwards":
            picture = picture[::-1]
        return Fragments(
            {"count": f"{len(picture)} {translator.language}", "title": translator.language},
            {f"row-{row}": f"<td>{row}</td>" for row in picture},
        )

    async def _sessions(self) -> frozenset[str] | None:
        self.asked += 1
        return self.sessions

    def look(self, translator: Translator = ENGLISH, session: str = "session", view: object = None) -> FakeRequest:
        """Connect a browser to the stream."""
        request = FakeRequest()
        request.following = Deferred.fromCoroutine(self.feed.follow(request, translator, session, view))
        return request

    def run_for(self, seconds: float) -> None:
        """Advance the clock in small steps."""
        for _ in range(round(seconds * 100)):
            self.clock.advance(0.01)

    def test_first_look(self) -> None:
        """A new browser gets the whole page, with headers that prevent buffering."""
        request = self.look()
        self.run_for(0.01)
        self.assertEqual(request.headers["Content-Type"], "text/event-stream; charset=utf-8")
        self.assertEqual(request.headers["X-Accel-Buffering"], "no")
        self.assertRegex(request.sent[0], rb"^retry: [2-6]\d{3}\n\n$")
        self.assertEqual(
            request.told,
            [
                {
                    "at": 1.7e9,
                    "parts": {"count": "1 en", "title": "en"},
                    "rows": {"row-one": "<td>one</td>"},
                    "order": ["row-one"],
                }
            ],
        )

    def test_only_what_is_new(self) -> None:
        """After the first snapshot only changes are sent; without a change, nothing."""
        request = self.look()
        self.run_for(2.5)
        self.assertEqual(len(request.told), 1)
        self.picture = ("two", "one")
        self.run_for(1.1)
        self.assertEqual(
            request.told[1],
            {
                "at": 1.7e9,
                "parts": {"count": "2 en"},
                "rows": {"row-two": "<td>two</td>"},
                "order": ["row-two", "row-one"],
            },
        )
        self.picture = ("one", "two")
        self.run_for(1.1)
        self.assertEqual(request.told[2], {"at": 1.7e9, "parts": {}, "rows": {}, "order": ["row-one", "row-two"]})

    def test_one_picture_for_all(self) -> None:
        """One snapshot a second, rendered once for each language, with the same bytes for all."""
        requests = [self.look(SPANISH if index % 2 else ENGLISH) for index in range(100)]
        self.run_for(3.05)
        self.assertEqual(len(self.made), 4)
        self.assertEqual(sorted(self.put), ["en", "es"])
        self.assertIs(requests[0].sent[1], requests[98].sent[1])
        self.assertIs(requests[1].sent[1], requests[99].sent[1])
        self.assertEqual(requests[99].told[0]["parts"]["title"], "es")
        self.picture = ("three",)
        self.run_for(1.3)
        self.assertEqual(sorted(self.put), ["en", "en", "es", "es"])
        self.assertTrue(all(len(request.told) == 2 for request in requests))

    def test_views(self) -> None:
        """Each view is rendered once, and goes to the browsers that show it."""
        self.picture = ("one", "two")
        requests = [self.look(view="backwards" if index % 2 else None) for index in range(6)]
        self.run_for(0.5)
        self.assertEqual(self.put, ["en", "en"])
        for index, request in enumerate(requests):
            order = ["row-two", "row-one"] if index % 2 else ["row-one", "row-two"]
            self.assertEqual([told["order"] for told in request.told], [order])

    def test_slices(self) -> None:
        """At most one slice of browsers in a turn of the reactor, and soon all of them."""
        requests = [self.look() for _ in range(3 * live_feed.SLICE + 1)]
        counts = []
        for _ in range(5):
            self.clock.advance(live_feed.PAUSE_S)
            counts.append(sum(len(request.told) for request in requests))
        self.assertEqual(
            counts[:4],
            [live_feed.SLICE, 2 * live_feed.SLICE, 3 * live_feed.SLICE, 3 * live_feed.SLICE + 1],
        )

    def test_no_browsers(self) -> None:
        """Without browsers nothing is scheduled, made or read."""
        request = self.look()
        self.run_for(1.5)
        request.leave()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        made, asked = len(self.made), self.asked
        self.run_for(60)
        self.assertEqual((len(self.made), self.asked, len(self.feed)), (made, asked, 0))

    def test_reloading_makes_no_more_pictures(self) -> None:
        """Connecting and disconnecting ten times a second makes one snapshot a second."""
        for _ in range(30):
            request = self.look()
            self.run_for(0.1)
            request.leave()
        self.assertLessEqual(len(self.made), 4)

    def test_leaving_while_it_is_told(self) -> None:
        """Disconnecting between slices, and while a snapshot is made."""
        requests = [self.look() for _ in range(3 * live_feed.SLICE)]
        self.clock.advance(0.01)
        for request in requests:
            request.leave()
        self.assertEqual(len(self.feed), 0)
        self.run_for(2)
        self.making = Deferred()
        late = self.look()
        self.run_for(1.1)
        late.leave()
        self.making.callback(None)
        self.run_for(2)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_later_browser(self) -> None:
        """A later browser gets the whole page, while the others get changes."""
        self.look()
        self.run_for(1.1)
        self.picture = ("two", "one")
        self.run_for(1.1)
        later = self.look()
        self.run_for(1.1)
        self.assertEqual(later.told[0]["order"], ["row-two", "row-one"])
        self.assertEqual(set(later.told[0]["rows"]), {"row-two", "row-one"})

    def test_slow_browser(self) -> None:
        """A slow browser is skipped, delays no other, and gets the whole page when it has caught up."""
        slow, quick = self.look(), self.look()
        self.run_for(0.1)
        slow.producer.pauseProducing()
        for number in range(5):
            self.picture = (f"number {number}",)
            self.run_for(1)
        self.assertEqual(len(slow.told), 1)
        self.assertEqual(len(quick.told), 6)
        slow.producer.resumeProducing()
        self.run_for(1)
        self.assertEqual(slow.told[1]["parts"], {"count": "1 en", "title": "en"})
        self.assertEqual(slow.told[1]["order"], ["row-number 4"])

    def test_too_slow(self) -> None:
        """A browser that has not caught up after a minute is disconnected."""
        slow, quick = self.look(), self.look()
        self.run_for(0.1)
        slow.producer.pauseProducing()
        self.run_for(live_feed.SLOWEST_S - 2)
        self.assertFalse(slow.gone)
        self.run_for(3)
        self.assertTrue(slow.gone)
        self.assertFalse(quick.gone)
        self.assertEqual(len(self.feed), 1)

    def test_heartbeat(self) -> None:
        """Without news a comment is sent from time to time."""
        request = self.look()
        self.run_for(65)
        beats = [message for message in request.sent if message == b":\n\n"]
        self.assertEqual(len(beats), 3)
        self.assertEqual(len(request.told), 1)

    def test_session_over(self) -> None:
        """The streams of an ended session get an event, and end within seconds; others go on."""
        self.sessions = frozenset({"session", "other"})
        mine, other = self.look(), self.look(session="other")
        self.run_for(1)
        self.sessions = frozenset({"other"})
        self.run_for(live_feed.SESSIONS_EVERY_S + 0.1)
        self.assertEqual(mine.sent[-1], b"event: over\ndata: {}\n\n")
        self.assertEqual(self.successResultOf(mine.following), b"")
        self.assertIsNone(mine.producer)
        self.assertNoResult(other.following)
        self.assertEqual(len(self.feed), 1)

    def test_sessions_cannot_be_told(self) -> None:
        """If the sessions cannot be read no stream is ended."""
        request = self.look()
        self.sessions = None
        self.run_for(10)
        self.assertNoResult(request.following)
        self.assertLessEqual(self.asked, 4)

    def test_bounds(self) -> None:
        """Streams are limited in all and for each session."""
        requests = [self.look() for _ in range(live_feed.MAX_STREAMS_OF_SESSION)]
        self.assertFalse(self.feed.has_room("session"))
        self.assertTrue(self.feed.has_room("other"))
        requests[0].leave()
        self.assertTrue(self.feed.has_room("session"))
        for number in range(live_feed.MAX_STREAMS - len(self.feed)):
            self.look(session=f"session {number}")
        self.assertFalse(self.feed.has_room("another"))

    def test_making_breaks(self) -> None:
        """If a snapshot cannot be made it is logged, and tried again."""
        request = self.look()
        self.run_for(0.5)
        self.making = Deferred()
        self.run_for(1)
        self.making.errback(ValueError("broken"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.making = succeed(None)
        self.picture = ("two",)
        self.run_for(1.1)
        self.assertEqual(request.told[-1]["order"], ["row-two"])
