"""The page Now: its states, and its event stream, over real sockets."""

from __future__ import annotations

import html
import inspect
import json
import pathlib
import re
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent
from twisted.web.http_headers import Headers

from pbxrouter import database
from pbxrouter.agi.messages import AGIRequest
from pbxrouter.call.active_calls import GatewayCall, Phase
from pbxrouter.call.record import OUTCOME_SENTENCES, GatewayOutcome
from pbxrouter.config import Asterisk
from pbxrouter.counter.outcome_figures import OutcomeTotals
from pbxrouter.database.calls.history import add_calls
from pbxrouter.web.console.now_page import tiles
from pbxrouter.web.now.dashboard_snapshot import read_figures, read_minutes
from pbxrouter.web.now.event_stream import MAX_STREAMS_OF_SESSION
from tests.api_fakes import NOON, a_call
from tests.databases import new_database
from tests.held_time import until
from tests.web_fakes import ConsoleCase, WebClient, reactor

HOSTILE = "<script>alert(1)</script>"


class Stream(Protocol):
    """Reads an event stream as a browser's EventSource does."""

    def __init__(self) -> None:
        self.data = b""
        self.ended: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Take a part of the stream."""
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The stream has ended."""
        self.ended.callback(None)

    @property
    def events(self) -> list[tuple[str, Any]]:
        """The events of this name so far."""
        found = []
        for part in self.data.decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in part.split("\n") if line and line[0] != ":")
            if "event" in lines:
                found.append((lines["event"], json.loads(lines["data"])))
        return found


class NowCase(ConsoleCase):
    """A browser on the page Now."""

    async def start(self) -> None:
        """Start the console and log in as a viewer."""
        await super().start()
        self.me = await self.viewer()

    def call(self, place: int = 1, name: str = "Reception") -> GatewayCall:
        """Add a call in progress."""
        request = AGIRequest(
            {
                "uniqueid": f"17.{place}",
                "callerid": "33",
                "calleridname": name,
                "extension": "21",
                "context": "pbxrouter",
            }
        )
        return self.web.active_calls.add(request, self.web.now() + place / 1000)

    async def add_history(self, **more: Any) -> None:
        """Add a finished call of today."""
        row = a_call(0, began=self.web.now() - 1, ended=self.web.now(), **more)
        await self.web.write(lambda connection: add_calls(connection, [row]))


class PageTests(NowCase):
    """The page without JavaScript."""

    async def test_first_day(self) -> None:
        """Before the first call the page has an introduction and no problem."""
        answer = await self.get("/")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.title, "Now")
        for translator in ("Getting started", "pbxrouter call 21 --from 33", "Connect your Asterisk"):
            self.assertIn(translator, answer.text)
        self.assertIn("No calls yet.", answer.text)
        self.assertNotIn("Calls per minute", answer.text)
        self.assertIn("<noscript>", answer.html)

    async def test_a_quiet_day(self) -> None:
        """After the first call: figures and a graph instead of the introduction."""
        await self.add_history(outcome="ANSWER")
        await self.add_history(outcome="INVALID")
        await self.add_history(outcome="FAILED")
        answer = await self.get("/")
        self.assertIn("Calls today 3 Answered 1 Served 0 Not answered 0 Rejected 1 Failed 1", answer.text)
        self.assertIn("No calls in progress.", answer.text)
        self.assertIn("Calls that reached the gateway", answer.text)
        self.assertIn('class="graph-svg live"', answer.html)
        self.assertIn("/calls?outcome=FAILED", answer.links)
        self.assertNotIn("Getting started", answer.text)

    async def test_calls(self) -> None:
        """Caller, number, mapping, start and phase of each call."""
        call = self.call()
        call.pattern, call.application = "2X", "dial"
        self.web.active_calls.set_phase(call, Phase.PIN)
        answer = await self.get("/")
        self.assertIn("33 Reception 21 2X dial asking for a PIN", answer.text)
        call.forwarded_by = "PJSIP/22"
        self.web.active_calls.set_phase(call, Phase.RUNNING)
        self.assertIn("33 Reception forwarded by PJSIP/22 21 2X dial", (await self.get("/")).text)
        self.assertIn(self.me_clock(call.since), answer.text)
        self.assertIn("In progress 1", answer.text)

    def me_clock(self, when: float) -> str:
        """A time as the page shows it."""
        return self.web.zone.local(when).strftime("%H:%M:%S")

    async def test_hostile_name(self) -> None:
        """A caller's name is shown as text."""
        self.call(name=f'{HOSTILE}"onload="x\u202e')
        answer = await self.get("/")
        self.assertNotIn(HOSTILE, answer.html)
        self.assertIn(f'{HOSTILE}"onload="x\\u202e', answer.text)

    async def test_many_calls(self) -> None:
        """The newest calls are listed, with the number of all."""
        for place in range(60):
            self.call(place, f"Number {place}.")
        answer = await self.get("/")
        self.assertIn("The newest 50 of 60.", answer.text)
        self.assertIn("/?order=oldest", answer.links)
        self.assertEqual(answer.html.count("data-row="), 50)
        self.assertIn("Number 59.", answer.text)
        self.assertNotIn("Number 9.", answer.text)

    async def test_the_other_calls(self) -> None:
        """All calls can be seen: page by page, and the oldest first; the page's stream goes on with the same ones."""
        for place in range(120):
            self.call(place, f"Number {place}.")
        seen = []
        path: str | None = "/"
        while path is not None:
            answer = await self.get(path)
            self.assertIn(f'data-feed="{path.replace("/", "/now/events", 1)}"', answer.html)
            rows = re.findall(r"Number (\d+)\.", answer.text)
            seen += rows
            found = re.search(r'rel="next" href="([^"]*)"', answer.html)
            path = html.unescape(found[1]) if found else None
        self.assertIn("101 to 120 of 120", answer.text)
        self.assertEqual(seen, [f"{place}" for place in reversed(range(120))])
        oldest = await self.get("/?order=oldest")
        self.assertIn("The oldest 50 of 120. Newest first", oldest.text)
        self.assertEqual(re.findall(r"Number (\d+)\.", oldest.text), [f"{place}" for place in range(50)])
        self.assertIn('data-feed="/now/events?order=oldest"', oldest.html)
        for path in ("/?page=99", "/?order=oldest&page=3"):
            self.assertEqual((await self.get(path)).html.count("data-row="), 20, path)
        for path in ("/?page=0", "/?page=x", "/?page=-1", "/?page=%C2%B2", "/?order=x"):
            self.assertIn("The newest 50 of 120.", (await self.get(path)).text, path)

    async def test_figures_away(self) -> None:
        """If the figures cannot be read, the page says so and shows the rest."""
        await self.add_history()
        await self.get("/")
        await self.web.write(_hide_calls)
        self.wait(6)
        self.call()
        answer = await self.get("/")
        self.assertEqual(answer.status, 200)
        self.assertIn("the last known ones are shown. Calls are still routed.", answer.text)
        self.assertIn("Calls today 1", answer.text)
        self.assertIn("33 Reception", answer.text)

    async def test_figures_never_there(self) -> None:
        """The figures have never been read."""
        await self.web.write(_hide_calls)
        answer = await self.get("/")
        self.assertIn("cannot be read from the database. Calls are still routed.", answer.text)
        self.assertIn("No data yet.", answer.text)

    async def test_health(self) -> None:
        """A lost connection is shown on top, and its reason under Health."""
        answer = await self.get("/")
        self.assertIn("Asterisk lab: No connection.", answer.text)
        self.assertIn("No secret_file is set", answer.text)
        self.assertIn("Database", answer.text)
        self.assertIn("FastAGI", answer.text)

    async def test_spanish(self) -> None:
        """The page is in the reader's language."""
        answer = await self.get("/", Accept_Language="es")
        self.assertEqual(answer.language, "es")

    async def test_one_reading_for_many(self) -> None:
        """Ten simultaneous pages read the figures once, and not again for some seconds."""
        asked = []
        read = self.web.reading.run

        def counting(work: Any) -> Any:
            limited = inspect.getclosurevars(work).nonlocals["work"]  # what the limit on reading runs
            if "DashboardSnapshots" in limited.__qualname__:
                asked.append(work)
            return read(work)

        self.patch(self.web.reading, "run", counting)
        loads = [Deferred.fromCoroutine(self.get("/")) for _ in range(10)]
        for load in loads:
            self.assertEqual((await load).status, 200)
        await self.get("/")
        self.assertEqual(len(asked), 2)  # totals, and minutes for the graph


class SeveralAsterisksTests(NowCase):
    """The page with several Asterisks in the settings."""

    async def test_which(self) -> None:
        """Each call has its Asterisk, or it is said that it is not known; with one in the settings neither."""
        call = self.call()
        self.call(2)
        self.web.active_calls.set_asterisk(call, "madrid")
        self.assertNotIn("madrid", (await self.get("/")).text)
        both = (Asterisk(name="madrid"), Asterisk(name="lima"))
        self.web.reconfigure(msgspec.structs.replace(self.web.config, asterisk=both))
        text = (await self.get("/")).text
        self.assertIn("being routed madrid", text)
        self.assertIn("being routed Asterisk unknown", text)


class EventsTests(NowCase):
    """The event stream of the page Now."""

    async def look(self, client: WebClient | None = None) -> Stream:
        """Open an event stream as a console user."""
        client = client or self.me
        headers = Headers({name: [value] for name, value in client.headers.items()})
        cookies = "; ".join(f"{name}={value}" for name, (value, _) in client.cookies.items())
        headers.addRawHeader("Cookie", cookies)
        self.answer = await Agent(reactor).request(b"GET", f"{self.url}/now/events".encode(), headers)
        stream = Stream()
        self.answer.deliverBody(stream)
        self.addCleanup(self.leave, stream)
        return stream

    async def leave(self, stream: Stream) -> None:
        """Close an event stream."""
        if stream.transport is not None and not stream.ended.called:
            transport: Any = stream.transport
            transport.loseConnection()
            await stream.ended
            await self.until(lambda: True)

    async def until(self, holds: Any) -> None:
        """Wait until a condition holds."""
        await until(holds)

    async def test_news(self) -> None:
        """First the whole page, then the changed parts."""
        stream = await self.look()
        self.assertEqual(self.answer.code, 200)
        headers = self.answer.headers
        self.assertEqual(headers.getRawHeaders("Content-Type"), ["text/event-stream; charset=utf-8"])
        self.assertEqual(headers.getRawHeaders("Cache-Control"), ["no-store"])
        self.assertEqual(headers.getRawHeaders("X-Accel-Buffering"), ["no"])
        await self.until(lambda: stream.events)
        name, first = stream.events[0]
        self.assertEqual(name, "now")
        self.assertEqual(set(first["parts"]), {"alarm", "tiles", "graph", "said", "health"})
        self.assertEqual((first["rows"], first["order"]), ({}, []))
        call = self.call(name=HOSTILE)
        await self.until(lambda: any(news["rows"] for _, news in stream.events))
        news = next(news for _, news in stream.events if news["rows"])
        (row,) = news["rows"].values()
        self.assertIn("&lt;script&gt;", row)
        self.assertNotIn(HOSTILE, row)
        self.assertEqual(news["order"], list(news["rows"]))
        self.assertIn(row.split("<td")[2].strip(), (await self.get("/")).html)
        self.web.active_calls.remove(call)
        await self.until(lambda: stream.events[-1][1].get("order") == [])

    async def test_log_out(self) -> None:
        """A logout elsewhere ends the stream with an event."""
        stream = await self.look()
        await self.until(lambda: stream.events)
        await self.post("/logout")
        self.wait(5)
        await stream.ended
        self.assertEqual(stream.events[-1], ("over", {}))

    async def test_too_many(self) -> None:
        """The streams of one session are limited, with a message and a time to wait."""
        for _ in range(MAX_STREAMS_OF_SESSION):
            await self.look()
        answer = await self.get("/now/events")
        self.assertEqual(answer.status, 503)
        self.assertGreater(int(answer.header("Retry-After")), 0)
        self.assertIn("Too many pages are open", answer.text)
        other = await self.look(await self.viewer())
        await self.until(lambda: other.events)

    async def test_stranger(self) -> None:
        """Without a session the stream redirects to the login."""
        answer = await self.new_client().get("/now/events")
        self.assertEqual((answer.status, answer.location), (303, "/login?next=/now/events"))

    async def test_head(self) -> None:
        """HEAD tells now.js whether the stream may be opened."""
        answer = await self.me.ask("HEAD", "/now/events")
        self.assertEqual((answer.status, answer.body), (200, b""))

    async def test_no_browsers(self) -> None:
        """A disconnected browser leaves nothing behind."""
        stream = await self.look()
        await self.until(lambda: stream.events)
        await self.leave(stream)
        await deferLater(reactor, 0.1)
        self.assertEqual(self.flushLoggedErrors(), [])


class TilesTests(SynchronousTestCase):
    """The tiles of today's calls."""

    def test_all_of_them(self) -> None:
        """The tiles have all calls, for any outcomes."""
        names = {
            *OUTCOME_SENTENCES,
            "QUEUED",
            *(value for name, value in vars(GatewayOutcome).items() if name.isupper()),
        }
        totals = OutcomeTotals(dict.fromkeys(names, 1))
        self.assertEqual(sum(calls for _, calls, _ in tiles(totals)), len(names))

    def test_where_to_look(self) -> None:
        """Only the tile of failed calls has a link."""
        led = {label.english: outcome for label, _, outcome in tiles(OutcomeTotals({"NODRIVER": 2, "BUSY": 1}))}
        self.assertEqual(led.pop("Failed"), "NODRIVER")
        self.assertEqual(set(led.values()), {""})


class FiguresTests(SynchronousTestCase):
    """Figures where an Asterisk is counted."""

    def setUp(self) -> None:
        """A database with some counts of an Asterisk."""
        path = pathlib.Path(self.mktemp()).absolute()
        new_database(path)
        self.connection = database.connect(path)
        self.addCleanup(self.connection.close)
        with database.transaction(self.connection):
            self.connection.execute(
                "INSERT INTO counter_asterisks (asterisk, first_seen, last_seen) VALUES ('lab', ?, ?)",
                (NOON - 3600, NOON),
            )
            for minute, kind, name, started in (
                (NOON - 60, "all", "", 5),
                (NOON - 60, "mapping", "2X", 3),
                (NOON - 600, "all", "", 2),
            ):
                self.connection.execute(
                    "INSERT INTO counter_minutes (minute, asterisk, kind, name, started, answered)"
                    " VALUES (?, 'lab', ?, ?, ?, 1)",
                    (minute, kind, name, started),
                )

    def test_counted(self) -> None:
        """All calls, and the time in which they were not counted."""
        figures = read_figures(self.connection, NOON - 7200, NOON, ["lab"])
        assert figures.counted is not None
        self.assertEqual((figures.counted.started, figures.counted.answered), (7, 2))
        self.assertEqual(figures.counted.unknown, 60)
        self.assertFalse(figures.any_calls)

    def test_minutes(self) -> None:
        """An unknown minute is not shown as zero."""
        minutes = read_minutes(self.connection, NOON - 7200, NOON, NOON, ["lab"])
        self.assertTrue(minutes.counted)
        self.assertEqual(minutes.calls, 7)
        self.assertEqual(minutes.unknown, 60)
        self.assertEqual(minutes.minutes[int(NOON - 60)], 5)
        self.assertIsNone(minutes.minutes[int(NOON - 7200)])

    def test_one_of_several_is_away(self) -> None:
        """What is known of one is shown, as at least so many calls, while nothing is known of the other."""
        figures = read_figures(self.connection, NOON - 7200, NOON, ["lab", "other"])
        assert figures.counted is not None
        self.assertEqual((figures.counted.started, figures.counted.unknown), (7, 120))
        minutes = read_minutes(self.connection, NOON - 7200, NOON, NOON, ["lab", "other"])
        self.assertEqual((minutes.counted, minutes.calls, minutes.unknown, minutes.partly), (True, 7, 60, 60))

    def test_never_counted(self) -> None:
        """If an Asterisk was never connected, the gateway's own calls are shown."""
        add_calls(self.connection, [a_call(0, began=NOON - 30)])
        minutes = read_minutes(self.connection, NOON - 7200, NOON, NOON, ["other"])
        self.assertFalse(minutes.counted)
        self.assertEqual((minutes.calls, minutes.unknown), (1, 0))
        figures = read_figures(self.connection, NOON - 7200, NOON, ["other"])
        self.assertIsNone(figures.counted)
        self.assertTrue(figures.any_calls)


def _hide_calls(connection: Any) -> None:
    with database.transaction(connection):
        connection.execute("ALTER TABLE calls RENAME TO hidden")
