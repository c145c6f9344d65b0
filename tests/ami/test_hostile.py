"""Our AMI connection against a server that misbehaves, over real sockets."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from pbxrouter.ami.account import Account
from pbxrouter.ami.connection import FIRST_RETRY_S, LEAVING_S, REFUSED_RETRY_S, AMIConnection
from pbxrouter.ami.messages import AMIMessage
from pbxrouter.errors import ActionTimeout, ManagerError, ManagerUnavailable
from tests import needs
from tests.held_time import HeldTime, until
from tests.hostile_ami import HostileServer, Session, lines
from tests.needs import PATIENCE_S
from tests.work import calls

reactor: Any = the_reactor
NINE = (
    "Newexten",
    "VarSet",
    "Newchannel",
    "Newstate",
    "DialBegin",
    "RTCPSent",
    "BridgeEnter",
    "Hangup",
    "Cdr",
)


def rss_kb() -> int:
    """The resident memory of this process in kB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


class HostileTest(TestCase):
    """An AMIConnection and a server that behaves as the test says."""

    timeout = 2 * PATIENCE_S

    def setUp(self) -> None:
        """Take the real reactor and its clock."""
        self.reactor: Any = reactor

    def begin(self, manner: Any) -> AMIConnection:
        """Start the server, and the connection to it."""
        self.server = server = HostileServer(manner)
        self.addCleanup(lambda: self.assertEqual(server.troubles, []))  # it did as the test told it
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        manager = AMIConnection(
            "lab", f"tcp:127.0.0.1:{self.server.port}", Account("gateway", lambda: "s3cret"), self.reactor
        )
        self.manager = manager
        self.ups = 0
        self.up: Deferred[None] = Deferred()
        manager.on_connect(self._came_up)

        def end() -> Deferred[None]:
            globalLogPublisher.removeObserver(observer)
            return manager.stopService().addCallback(lambda _: self.server.close())

        self.addCleanup(end)
        manager.startService()
        return manager

    def _came_up(self) -> None:
        self.ups += 1
        up, self.up = self.up, Deferred()
        up.callback(None)

    def loud(self) -> list[str]:
        """The log lines above level info."""
        return [formatEvent(event) for event in self.events if event["log_level"] >= LogLevel.warn]

    async def outcome(self, waiting: Deferred[Any]) -> Any:
        """The result of an action, or the type of its error."""
        try:
            return await waiting
        except ManagerError as error:
            return type(error)

    async def pause(self, seconds: float) -> None:
        """Let the reactor run."""
        await deferLater(reactor, seconds)


class BytesTests(HostileTest):
    """Bytes in unusual segments, and bytes that Asterisk would not send."""

    async def test_every_byte_alone(self) -> None:
        """Login, responses, events and a list work with each byte in a segment of its own."""

        def manner(session: Session) -> None:
            session.by_the_byte = True
            session.let_in()
            action = session.hear()
            session.answer(action, "EventList: start")
            for name in ("a", "b"):
                session.say(lines("Event: Item", f"ActionID: {action['ActionID']}", f"Name: {name}"))
                session.say(lines("Event: Hangup", "CallerIDNum: 5\udcff", "X:noblank"))
            session.say(lines("Event: Done", f"ActionID: {action['ActionID']}", "EventList: Complete"))
            session.serve()

        manager = self.begin(manner)
        seen: list[AMIMessage] = []
        manager.subscribe("Hangup", seen.append)
        await self.up
        items = await manager.action_list("CoreShowChannels")
        self.assertEqual([item.get("Name") for item in items], ["a", "b"])
        self.assertEqual([item.get("X") for item in seen], ["noblank", "noblank"])
        self.assertEqual((await manager.action("Ping")).get("Ping"), "Pong")

    async def test_forged_lines(self) -> None:
        """Whole messages inside a caller's number change neither responses nor lists."""
        forged = "5\r\n\r\nResponse: Success\r\nActionID: 1\r\n\r\nEvent: X\r\nEventList: Complete\r\n\r\n\r\n"

        def manner(session: Session) -> None:
            session.let_in()
            action = session.hear()
            guess = action["ActionID"][:-1] + "9"
            for action_id in ("1", "", guess, action["ActionID"].partition("-")[0]):
                session.say(lines("Response: Error", f"ActionID: {action_id}", "Message: forged"))
            session.say(lines("Event: Newchannel", f"CallerIDNum: {forged}", "Response: Error"))
            session.answer(action, "Ping: Pong")
            session.serve()

        manager = self.begin(manner)
        await self.up
        self.assertEqual((await manager.action("Ping")).get("Ping"), "Pong")
        self.assertEqual(self.loud(), [])

    async def test_ten_megabytes_in_a_line(self) -> None:
        """A line of ten megabytes is not kept: the connection is closed, logged, and made again."""
        needs.proc()

        def manner(session: Session) -> None:
            session.let_in()
            if self.server.connections == 1:
                session.say(b"Event: VarSet\r\nValue: " + b"x" * 10_000_000 + b"\r\n\r\n")
            session.serve()

        self.begin(manner)
        await self.up
        before = rss_kb()
        await self.up
        # The server that sends it is in this process, too, and holds it twice.
        self.assertLess(rss_kb() - before, 80_000)
        self.assertIn("without an end", self.loud()[0])

    async def test_dies_inside_a_message(self) -> None:
        """Half an event before the end reaches no handler; pending actions fail, and the next connection works."""

        def manner(session: Session) -> None:
            session.let_in()
            if self.server.connections == 1:
                session.hear()
                session.say(b"Event: Hangup\r\nCause: 1")
                return
            session.serve()

        manager = self.begin(manner)
        seen: list[AMIMessage] = []
        manager.subscribe("Hangup", seen.append)
        await self.up
        again = self.up
        self.assertIs(await self.outcome(manager.action("Ping")), ManagerUnavailable)
        await again
        self.assertEqual((await manager.action("Ping")).get("Ping"), "Pong")
        self.assertEqual(seen, [])


class WorkingTime(HeldTime):
    """A reactor that works, but whose time limits are not reached, be the machine as slow as it likes."""

    def callLater(self, delay: float, call: Callable[..., object], *arguments: Any, **named: Any) -> IDelayedCall:
        """Let the real reactor do what is to be done at once."""
        if delay:
            return super().callLater(delay, call, *arguments, **named)
        now: IDelayedCall = reactor.callLater(0, call, *arguments, **named)
        return now


class FloodTests(HostileTest):
    """A flood of events."""

    def setUp(self) -> None:
        """Take the real reactor, whose time limits are not reached."""
        self.reactor = WorkingTime()

    async def test_two_hundred_thousand_events(self) -> None:
        """A flood of events is read at a bounded cost and not kept; an action is answered after it."""
        needs.proc()
        count = 200_700
        go = threading.Event()

        def manner(session: Session) -> None:
            session.let_in()
            filler = [f"Header{place}: {'x' * 20}" for place in range(12)]
            nine = b"".join(lines(f"Event: {name}", *filler) for name in NINE)
            go.wait(PATIENCE_S)
            for _ in range(count // len(NINE) // 100):
                session.say(nine * 100)
            session.serve()

        manager = self.begin(manner)
        seen = {"Newchannel": 0, "Hangup": 0}

        def saw(event: AMIMessage) -> None:
            seen[event.name] += len(event.get("Header3")) == 20

        for name in seen:
            manager.subscribe(name, saw)
        await self.up
        memory = rss_kb()
        with calls() as done:
            go.set()
            answer = await manager.action("Ping", timeout_s=PATIENCE_S)
        self.assertEqual(answer.get("Ping"), "Pong")
        self.assertEqual(seen, {"Newchannel": count // 9, "Hangup": count // 9})
        self.assertLess(done.total, 20 * count)
        self.assertLess(rss_kb() - memory, 30_000)
        self.assertEqual((self.ups, self.loud()), (1, []))

    async def test_hundreds_in_flight(self) -> None:
        """Five hundred mixed actions and lists, answered in reverse order, each get their own response."""

        def manner(session: Session) -> None:
            session.let_in()
            actions = [session.hear() for _ in range(500)]
            lists = [action for action in actions if action["Action"] == "CoreShowChannels"]
            for items in lists:
                session.answer(items, "EventList: start")
            for name in ("a", "b", "c"):
                for items in lists:
                    session.say(lines("Event: I", f"ActionID: {items['ActionID']}", f"Name: {name}{items['Mine']}"))
            for action in reversed(actions):
                if action in lists:
                    session.say(lines("Event: E", f"ActionID: {action['ActionID']}", "EventList: Complete"))
                else:
                    session.answer(action, f"Mine: {action['Mine']}")
            session.serve()

        manager = self.begin(manner)
        await self.up
        single = [manager.action("Getvar", [("Mine", str(number))]) for number in range(490)]
        lists = [manager.action_list("CoreShowChannels", [("Mine", str(number))]) for number in range(10)]
        answers = await gatherResults(single)
        self.assertEqual([answer.get("Mine") for answer in answers], [str(number) for number in range(490)])
        for number, items in enumerate(await gatherResults(lists)):
            self.assertEqual([item.get("Name") for item in items], [f"{name}{number}" for name in "abc"])

    async def test_dies_with_hundreds_in_flight(self) -> None:
        """All pending actions fail with ManagerUnavailable as soon as the connection is lost."""

        def manner(session: Session) -> None:
            session.let_in()
            for _ in range(500):
                session.hear()

        manager = self.begin(manner)
        await self.up
        waiting = [manager.action("Ping") for _ in range(500)]
        outcomes = [await self.outcome(waiting[0])]
        await self.pause(0)
        self.assertEqual([deferred for deferred in waiting if not deferred.called], [])
        outcomes += [await self.outcome(deferred) for deferred in waiting[1:]]
        self.assertEqual(set(outcomes), {ManagerUnavailable})


class SilenceTests(HostileTest):
    """A server that stops responding, on a clock that the test advances."""

    def setUp(self) -> None:
        """Take the real reactor with a clock that the test advances."""
        self.reactor = HeldTime()

    async def test_stops_reading(self) -> None:
        """If the server does not read, actions time out, and stopping ends after LEAVING_S."""
        done = threading.Event()

        def manner(session: Session) -> None:
            session.let_in()
            done.wait(PATIENCE_S)

        manager = self.begin(manner)
        self.addCleanup(done.set)
        await self.up
        waiting = [manager.action("Getvar", [("Variable", "x" * 900)] * 10, timeout_s=1) for _ in range(600)]
        await self.pause(0.1)
        self.assertEqual([deferred for deferred in waiting if deferred.called], [])
        self.reactor.advance(1)
        self.assertEqual({await self.outcome(deferred) for deferred in waiting}, {ActionTimeout})
        left = manager.stopService()
        await self.pause(0.1)
        self.assertFalse(left.called)
        self.reactor.advance(LEAVING_S)
        await left

    async def test_refuses_logins(self) -> None:
        """A refused login is logged once, and not repeated for a while."""

        def manner(session: Session) -> None:
            session.say(b"Asterisk Call Manager/11.0.0\r\n")
            session.answer(session.hear(), "Challenge: 12345")
            session.answer(session.hear(), "Message: Authentication failed", response="Error")

        self.begin(manner)
        await until(self.loud)
        self.reactor.advance(REFUSED_RETRY_S - 1)
        await self.pause(0.1)
        self.assertEqual(self.server.connections, 1)
        (line,) = self.loud()
        self.assertIn("Authentication failed", line)

    async def test_lets_in_and_drops(self) -> None:
        """If each login is followed by a loss, the attempts become rarer."""

        def manner(session: Session) -> None:
            session.let_in()

        self.begin(manner)
        while self.server.connections < 5:
            self.reactor.advance(0.05)
            await self.pause(0.002)
        self.assertGreater(self.reactor.seconds(), 3.7)  # at least 0.25 + 0.5 + 1 + 2

    async def test_no_banner(self) -> None:
        """A peer that sends no banner is given up, and the next connection works."""

        def manner(session: Session) -> None:
            if self.server.connections == 1:
                session.hear()
            session.let_in()
            session.serve()

        manager = self.begin(manner)
        while manager.trouble is None:  # until the first log-in is given up
            self.reactor.advance(1)
            await self.pause(0.02)
        self.reactor.advance(2 * FIRST_RETRY_S)
        await self.up
        self.assertEqual(self.server.connections, 2)
