"""Commands of the control socket: which Asterisk, which call, and what is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.control.commands import OriginateCommand, QueuesCommand, ReloadCommand, text
from pbxrouter.control.server import JsonObject
from pbxrouter.errors import ConfigError, ControlRefused, ManagerUnavailable, OriginateRefused
from pbxrouter.net import QueueFigures
from pbxrouter.originate.originator import CallRequest, Originator, Progress
from pbxrouter.text.sentences import Sentence


class FakeOriginator:
    """An Originator that does as the test says."""

    def __init__(self) -> None:
        self.requests: list[CallRequest] = []
        self.done: Deferred[None] = Deferred()
        self.tell: Callable[[Progress], object] = lambda progress: None

    async def originate(self, request: CallRequest, tell: Callable[[Progress], object]) -> None:
        """Keep the request, and wait until the test ends the call."""
        self.requests.append(request)
        self.tell = tell
        await self.done


class ValueTests(SynchronousTestCase):
    """The values of a command."""

    def test_text(self) -> None:
        """A value is text, or missing."""
        self.assertEqual(text({"a": "x"}, "a"), "x")
        self.assertIsNone(text({"a": None}, "a"))
        self.assertIsNone(text({}, "a"))
        values: list[Any] = [1, 1.5, True, [], {}, ["x"]]
        for value in values:
            error = self.assertRaises(ControlRefused, text, {"a": value}, "a")
            self.assertEqual(str(error), "a: accepted is text")


class ReloadTests(SynchronousTestCase):
    """The command behind ``pbxrouter reload``."""

    def test_lines(self) -> None:
        """Each line is an answer of its own, and the stream ends."""
        told: list[object] = []
        stop = ReloadCommand(lambda: ["a: reloaded", "b: needs a restart"])({}, told.append, lambda: told.append("end"))
        self.assertEqual(told, [{"line": "a: reloaded"}, {"line": "b: needs a restart"}, "end"])
        stop()
        self.assertEqual(len(told), 3)

    def test_refused(self) -> None:
        """An error goes to the control server, which answers with it."""

        def refuse() -> list[str]:
            raise ConfigError("x.toml: y: no such key")

        self.assertRaises(ConfigError, ReloadCommand(refuse), {}, self.fail, self.fail)


class OriginateTests(SynchronousTestCase):
    """The command behind ``pbxrouter originate``."""

    def setUp(self) -> None:
        """Set up a control server for a single Asterisk."""
        self.originator = FakeOriginator()
        self.command = OriginateCommand({"lab": cast(Originator, self.originator)})
        self.answers: list[JsonObject] = []
        self.ends = 0

    def _end(self) -> None:
        self.ends += 1

    def ask(self, **more: Any) -> Callable[[], None]:
        """Ask for a call."""
        asked = {"channel": "PJSIP/33", "to": "21", "context": "phones", **more}
        return self.command(asked, self.answers.append, self._end)

    def goes(self, *states: str) -> None:
        """Finish the call that is being originated."""
        for state in states:
            self.originator.tell(Progress(state, Sentence(f"it is {state}"), "id-1"))

    def test_request(self) -> None:
        """The request reaches the originator as it was given."""
        self.ask()
        self.assertEqual(self.originator.requests, [CallRequest("PJSIP/33", "21", "phones")])
        self.assertEqual((self.answers, self.ends), ([], 0))

    def test_until_answered(self) -> None:
        """Without wait the command ends when the phone answers."""
        self.ask()
        self.goes("ringing")
        self.assertEqual(self.answers, [{"state": "ringing", "why": "it is ringing", "uniqueid": "id-1"}])
        self.assertEqual(self.ends, 0)
        self.goes("answered")
        self.assertEqual(self.ends, 1)

    def test_wait(self) -> None:
        """With wait the command ends with the call."""
        self.ask(wait=True)
        self.goes("ringing", "answered", "connected")
        self.assertEqual(self.ends, 0)
        self.goes("ended")
        self.assertEqual(self.ends, 1)

    def test_failed(self) -> None:
        """A failure ends the command with or without wait."""
        for wait in (False, True):
            self.setUp()
            self.ask(wait=wait)
            self.goes("busy")
            self.assertEqual((self.answers[-1]["state"], self.ends), ("busy", 1))

    def test_refused(self) -> None:
        """A refused call is answered with the reason, and the command ends."""
        for error in OriginateRefused("33 may not dial 999: no pattern"), ManagerUnavailable("no connection"):
            self.setUp()
            self.ask()
            self.originator.done.errback(error)
            self.assertEqual((self.answers, self.ends), ([{"error": str(error)}], 1))

    def test_fault(self) -> None:
        """An unexpected exception is answered and logged."""
        with capturedLogs() as events:
            self.ask()
            self.originator.done.errback(RuntimeError("oh"))
        self.assertEqual(self.ends, 1)
        self.assertIn("see the gateway's log", self.answers[0]["error"])
        self.assertEqual(len(events), 1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_wrong_values(self) -> None:
        """Values of other types are refused before a call begins."""
        for name in ("channel", "to", "context", "asterisk"):
            error = self.assertRaises(ControlRefused, self.ask, **{name: 21})
            self.assertEqual(str(error), f"{name}: accepted is text")
        self.assertEqual(self.originator.requests, [])

    def test_ring(self) -> None:
        """The ring time must be a whole number."""
        self.ask(ring=5)
        self.assertEqual(self.originator.requests[0].ring_s, 5)
        values: list[Any] = [True, 1.5, "5", [], {}]
        for value in values:
            error = self.assertRaises(ControlRefused, self.ask, ring=value)
            self.assertEqual(str(error), "ring: accepted is a whole number")

    def test_nothing_said(self) -> None:
        """Missing values are refused by the check of the request."""
        self.command({}, self.answers.append, self._end)
        self.assertEqual(self.originator.requests, [CallRequest("", "", "")])

    def test_goes_away(self) -> None:
        """If the client disconnects the call goes on, and its progress is dropped."""
        stop = self.ask()
        stop()
        self.goes("ringing", "ended")
        self.assertEqual(self.ends, 1)


class QueuesTests(SynchronousTestCase):
    """The command that tells of the queues."""

    def test_answer(self) -> None:
        """All figures are sent in one object, and the stream ends."""
        sent: list[object] = []
        figures = [QueueFigures("history", 3, 1.5, 1, 2), QueueFigures("counter lab", 0)]
        command = QueuesCommand(lambda: figures, lambda: {"lab": ("Hangup",)})
        command({}, sent.append, lambda: sent.append("end"))()
        history, counter = (
            {"name": "history", "length": 3, "oldest_s": 1.5, "set_aside": 1, "lost": 2},
            {
                "name": "counter lab",
                "length": 0,
                "oldest_s": 0.0,
                "set_aside": 0,
                "lost": 0,
            },
        )
        self.assertEqual(sent, [{"queues": [history, counter], "withheld": {"lab": ["Hangup"]}}, "end"])
