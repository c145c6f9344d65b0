"""ChannelCheck: events of a channel's start and end are checked by asking Asterisk."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.ami.channel_check import ASK_AGAIN_S, GATHER_S, LOG_AGAIN_S, MANY, UNANSWERED_S, ChannelCheck
from pbxrouter.ami.connection import AMIConnection
from pbxrouter.ami.messages import AMIMessage
from pbxrouter.ami.protocol import ACTION_TIMEOUT_S
from pbxrouter.errors import ActionFailed, ActionTimeout, ManagerUnavailable
from tests.ami_fakes import FakeAMIConnection, new_protocol

HANGUP = AMIMessage(b"Event: Hangup")
SNAPSHOT = (
    "Channel ChannelState ChannelStateDesc CallerIDNum CallerIDName ConnectedLineNum ConnectedLineName "
    "Language AccountCode Context Exten Priority"
).split()


def item(uniqueid: str) -> AMIMessage:
    """An item of CoreShowChannels."""
    headers = [*(f"{name}: x" for name in SNAPSHOT), f"Uniqueid: {uniqueid}", f"Linkedid: {uniqueid}"]
    return AMIMessage("\r\n".join(["Event: CoreShowChannel", *headers]).encode())


def says(answer: bool) -> Callable[[AMIMessage], bool]:
    """What a caller thinks of every status."""
    return lambda status: answer


class ChannelCheckTests(SynchronousTestCase):
    """ChannelCheck on a fake AMI connection."""

    def setUp(self) -> None:
        """Connect a fake AMI connection and check channels over it."""
        self.manager, self.clock = FakeAMIConnection(), Clock()
        self.manager.comes_up()
        self.check = ChannelCheck(cast(AMIConnection, self.manager), self.clock)
        self.logs = self.enterContext(capturedLogs())

    def ask(self, channel: str = "1.1") -> Deferred[bool]:
        """Ask whether a channel's Hangup is true."""
        return Deferred.fromCoroutine(self.check.has_ended(HANGUP, channel))

    def warnings(self) -> list[str]:
        """Formats of the log lines above info."""
        return [str(log["log_format"]) for log in self.logs if log["log_level"] >= LogLevel.warn]

    def test_gone(self) -> None:
        """For a channel that has ended, Status is sent once."""
        self.assertTrue(self.successResultOf(self.ask()))
        self.assertEqual(self.manager.sent, [("Status", {"Channel": "1.1"})])
        self.assertEqual((self.manager.forged_events, self.warnings()), (0, []))

    def test_goes_on(self) -> None:
        """A channel that goes on is asked for again; each forged event is counted, and logged once a minute."""
        self.manager.alive["1.1"] = item("1.1")
        for logged in (1, 1):
            asked = self.ask()
            self.clock.pump(ASK_AGAIN_S)
            self.assertFalse(self.successResultOf(asked))
            self.assertEqual(len(self.warnings()), logged)
        self.assertEqual(len(self.manager.heard("Status")), 2 * (1 + len(ASK_AGAIN_S)))
        self.clock.advance(LOG_AGAIN_S)
        self.ask()
        self.clock.pump(ASK_AGAIN_S)
        self.assertEqual((len(self.warnings()), self.manager.forged_events), (2, 3))

    def test_start_that_was_true(self) -> None:
        """A start that the channel has left behind is not believed, and not called forged; another one is."""
        self.manager.alive["1.1"] = item("1.1")
        for agrees, is_past, believed, forged in (
            (True, True, True, 0),
            (False, True, False, 0),
            (True, False, True, 0),
            (False, False, False, 1),
        ):
            asked = Deferred.fromCoroutine(self.check.is_true(HANGUP, "1.1", says(agrees), says(is_past)))
            self.assertIs(self.successResultOf(asked), believed)
            self.assertEqual(self.manager.forged_events, forged)
        self.manager.alive.clear()
        gone = Deferred.fromCoroutine(self.check.is_true(HANGUP, "1.1", says(True), says(True)))
        self.assertEqual((self.successResultOf(gone), self.manager.forged_events), (False, 1))

    def test_cannot_be_asked(self) -> None:
        """While Asterisk does not answer it is asked again, ever less often; a missing permission is logged once."""
        self.manager.alive["1.1"] = item("1.1")
        asked = []
        for error in (ActionFailed("Status: Permission denied"), ActionTimeout("late")):
            self.manager.lists["Status"] = error
            for channel in ("1.1", "1.2"):
                self.manager.alive[channel] = item(channel)
                asked.append(self.ask(channel))
        self.assertEqual(len(self.manager.heard("Status")), 4)
        for seconds in (*UNANSWERED_S, UNANSWERED_S[-1], UNANSWERED_S[-1]):
            self.clock.advance(seconds - 0.25)
            self.assertEqual(self.manager.heard("Status"), [])
            self.clock.advance(0.25)
            self.assertEqual(len(self.manager.heard("Status")), 4)
        for waiting in asked:
            self.assertNoResult(waiting)
        self.assertEqual((self.manager.forged_events, len(self.warnings())), (0, 1))
        self.assertIn("reporting", next(str(log["error"]) for log in self.logs if "error" in log))
        del self.manager.lists["Status"], self.manager.alive["1.2"]
        self.clock.pump((UNANSWERED_S[-1], *ASK_AGAIN_S))
        self.assertEqual([self.successResultOf(waiting) for waiting in asked], [False, True, False, True])

    def test_swallowed_question(self) -> None:
        """A question that Asterisk swallows is put again after the time that an answer may take."""
        protocol, end, clock = new_protocol()
        logging_in = Deferred.fromCoroutine(protocol.log_in("gateway", "x", "on"))
        end.logs_in()
        self.successResultOf(logging_in)
        manager = cast(AMIConnection, self.manager)
        self.manager.action_list = protocol.action_list  # type: ignore[method-assign]
        check = ChannelCheck(manager, clock)
        asked = Deferred.fromCoroutine(check.has_ended(HANGUP, "1.1"))
        (swallowed,) = end.hears()
        self.assertEqual((swallowed["Action"], swallowed["Channel"]), ("Status", "1.1"))
        clock.advance(ACTION_TIMEOUT_S)
        self.assertNoResult(asked)
        clock.advance(UNANSWERED_S[0])
        again = next(action for action in end.hears() if action["Action"] == "Status")
        self.assertNotEqual(again["ActionID"], swallowed["ActionID"])
        end.says("Response: Error", f"ActionID: {swallowed['ActionID']}", "Message: No such channel")
        self.assertNoResult(asked)
        end.says("Response: Error", f"ActionID: {again['ActionID']}", "Message: No such channel")
        self.assertTrue(self.successResultOf(asked))
        protocol.close()

    def test_no_longer_wanted(self) -> None:
        """A question whose answer is no longer wanted is not put again, and the event counts as untrue."""
        wanted = [True]
        self.manager.alive["1.1"] = item("1.1")
        self.manager.lists["Status"] = ActionTimeout("late")
        asked = Deferred.fromCoroutine(self.check.has_ended(HANGUP, "1.1", is_wanted=lambda: wanted[0]))
        self.clock.advance(UNANSWERED_S[0])
        self.assertEqual(len(self.manager.heard("Status")), 2)
        wanted[0] = False
        self.clock.advance(UNANSWERED_S[1])
        self.assertIs(self.successResultOf(asked), False)
        self.assertEqual((self.manager.heard("Status"), self.manager.forged_events), ([], 0))

    def test_many(self) -> None:
        """Beyond MANY channels at once the others share one list; if an item is spoilt, the missing are asked for."""
        asking: list[Deferred[bool]] = []
        for number in range(MANY):
            self.manager.alive[f"1.{number}"] = item(f"1.{number}")
        self.manager.lists["Status"] = None
        asking.extend(self.ask(f"1.{number}") for number in range(MANY))
        goes_on, gone, spoilt = self.ask("2.1"), self.ask("2.2"), self.ask("2.3")
        self.manager.lists["Status"] = []
        forged = AMIMessage(item("2.3").raw + b"\r\nUniqueid: 2.2")
        self.manager.alive["2.3"] = item("2.3")
        self.manager.lists["CoreShowChannels"] = [item("2.1"), forged]
        self.clock.advance(GATHER_S)
        self.assertEqual(
            [headers["Channel"] for headers in self.manager.heard("Status")],
            [*(f"1.{number}" for number in range(MANY)), "2.2", "2.3"],
        )
        self.assertTrue(self.successResultOf(gone))
        for _ in ASK_AGAIN_S:
            self.clock.advance(max(ASK_AGAIN_S))
            self.clock.advance(GATHER_S)
        self.assertEqual(len(self.manager.heard("CoreShowChannels")), 1 + len(ASK_AGAIN_S))
        self.assertFalse(self.successResultOf(goes_on))
        self.assertFalse(self.successResultOf(spoilt))
        for waiting in asking:
            self.assertNoResult(waiting)

    def test_when_it_is_asked_again(self) -> None:
        """Status is sent three times: at once, after 0.05 s, and 0.5 s later."""
        self.manager.alive["1.1"] = item("1.1")
        asked = self.ask()
        heard = [len(self.manager.heard("Status"))]
        for seconds in (0.049, 0.001, 0.499):
            self.clock.advance(seconds)
            heard.append(len(self.manager.heard("Status")))
        self.assertNoResult(asked)
        self.clock.advance(0.001)
        heard.append(len(self.manager.heard("Status")))
        self.assertEqual(heard, [1, 0, 1, 0, 1])
        self.assertFalse(self.successResultOf(asked))

    def test_gone_when_asked_again(self) -> None:
        """A channel that is gone at the second question was ending: the event is not forged."""
        self.manager.alive["1.1"] = item("1.1")
        asked = self.ask()
        del self.manager.alive["1.1"]
        self.clock.advance(0.05)
        self.assertTrue(self.successResultOf(asked))
        self.assertEqual((self.manager.forged_events, self.warnings()), (0, []))

    def test_lost_when_asked_again(self) -> None:
        """If the connection is lost first, the answer is not known."""
        self.manager.alive["1.1"] = item("1.1")
        asked = self.ask()
        self.manager.goes_down()
        self.clock.advance(0.05)
        self.failureResultOf(asked, ManagerUnavailable)
        self.failureResultOf(self.ask(), ManagerUnavailable)

    def test_answer_without_a_status(self) -> None:
        """An empty answer to Status says nothing, since a caller can split the one about his channel."""
        self.manager.alive["1.1"] = item("1.1")
        self.manager.action_list = lambda name, headers=(): succeed([])  # type: ignore[method-assign,assignment,misc]
        asked = self.ask()
        self.clock.pump(UNANSWERED_S)
        self.assertNoResult(asked)
        del self.manager.action_list, self.manager.alive["1.1"]
        self.clock.advance(UNANSWERED_S[-1])
        self.assertTrue(self.successResultOf(asked))

    def test_goes_on_in_another_way(self) -> None:
        """A channel that exists, and whose status does not contradict the event, makes the event true."""
        self.manager.alive["1.1"] = item("1.1")
        for language, expected in (("x", False), ("y", True)):

            def contradicts(status: AMIMessage, language: str = language) -> bool:
                return status.get("Language") == language

            asked = Deferred.fromCoroutine(self.check.has_ended(HANGUP, "1.1", contradicts))
            self.clock.pump(ASK_AGAIN_S)
            self.assertIs(self.successResultOf(asked), expected)
        self.assertEqual(self.manager.forged_events, 1)

    def test_true(self) -> None:
        """An event of a start is true if its channel exists and agrees; one that a live channel contradicts is forged.

        A caller who hangs up at once is gone when Asterisk is asked: no call begins, and nothing is counted.
        """
        self.manager.alive["1.1"] = item("1.1")

        def is_true(channel: str, agrees: bool) -> bool:
            return self.successResultOf(
                Deferred.fromCoroutine(
                    self.check.is_true(HANGUP, channel, lambda status: agrees and "Channel" in status)
                )
            )

        self.assertTrue(is_true("1.1", True))
        self.assertEqual((self.manager.forged_events, self.warnings()), (0, []))
        self.assertIs(is_true("1.1", False), False)
        self.assertIs(is_true("9.9", True), False)
        self.assertEqual((self.manager.forged_events, len(self.warnings())), (1, 1))
        for error in (ActionTimeout("late"), ActionFailed("Status: Permission denied"), ManagerUnavailable("gone")):
            self.manager.lists["Status"] = error
            self.assertIs(is_true("1.1", True), False)
        self.assertEqual((self.manager.forged_events, len(self.warnings())), (1, 2))

    def test_log_line_of_a_forged_event(self) -> None:
        """The line names event and channel, printable, with the count so far; at most once in sixty seconds."""
        self.manager.alive["1\x1b"] = item("x")
        counts = []
        for seconds in (0.0, 0.0, 58.8, 0.65):
            self.clock.advance(seconds)
            asked = Deferred.fromCoroutine(self.check.has_ended(AMIMessage(b"Event: Hang\x07up"), "1\x1b"))
            self.clock.pump(ASK_AGAIN_S)
            self.assertFalse(self.successResultOf(asked))
            counts.append(len(self.warnings()))
        self.assertEqual(counts, [1, 1, 1, 2])
        told = [log for log in self.logs if log["log_level"] >= LogLevel.warn]
        self.assertEqual([log["count"] for log in told], [1, 4])
        self.assertEqual(
            {(log["event"], log["channel"], log["name"]) for log in told}, {("Hang\\x07up", "1\\x1b", "lab")}
        )

    def test_minute_of_the_log(self) -> None:
        """A forged event is logged at most once a minute."""
        self.manager.alive["9.9"] = item("9.9")
        for seconds, lines in ((0.0, 1), (59.75, 1), (0.25, 2), (59.75, 2)):
            self.clock.advance(seconds)
            asked = Deferred.fromCoroutine(self.check.is_true(HANGUP, "9.9", lambda status: False))
            self.assertIs(self.successResultOf(asked), False)
            self.assertEqual(len(self.warnings()), lines)

    def test_ten_at_a_time(self) -> None:
        """Ten channels are asked for one by one; further ones wait a tenth of a second for the list that they share."""
        self.manager.alive = {f"1.{number}": item(f"1.{number}") for number in range(12)}
        self.manager.lists["Status"] = None
        asking = [self.ask(f"1.{number}") for number in range(10)]
        self.assertEqual(len(self.manager.heard("Status")), 10)
        asking += [self.ask(f"1.{number}") for number in range(10, 12)]
        self.clock.advance(0.0625)
        self.assertEqual(self.manager.sent, [])
        self.clock.advance(0.0375)
        self.assertEqual(self.manager.sent, [("CoreShowChannels", {})])
        self.assertEqual([waiting.called for waiting in asking], [False] * 10 + [True] * 2)

    def test_one_by_one_again(self) -> None:
        """What has been answered, or has failed, does not count among those that are asked for."""
        for _ in range(30):
            self.successResultOf(self.ask())
        self.manager.lists["Status"] = ActionTimeout("late")
        self.manager.alive["1.1"] = item("1.1")
        for _ in range(30):
            self.assertNoResult(self.ask())
        self.assertEqual(len(self.manager.heard("Status")), 60)
        asked = self.many("2.1")
        self.assertEqual(len(self.manager.heard("Status")), 10)
        self.clock.advance(GATHER_S)
        self.assertEqual(len(self.manager.heard("CoreShowChannels")), 1)
        self.assertTrue(self.successResultOf(asked))

    def many(self, channel: str) -> Deferred[bool]:
        """Ask for one channel more than are asked for one by one."""
        self.manager.alive = {f"1.{number}": item(f"1.{number}") for number in range(MANY)}
        self.manager.lists["Status"] = None
        self.asking = [self.ask(f"1.{number}") for number in range(MANY)]
        return self.ask(channel)

    def test_by_name_in_the_list(self) -> None:
        """In a list a channel is found by its name, too."""
        self.manager.lists["CoreShowChannels"] = [item("2.1")]  # its name is x
        asked = self.many("x")
        for seconds in (GATHER_S, ASK_AGAIN_S[0], GATHER_S, ASK_AGAIN_S[1], GATHER_S):
            self.clock.advance(seconds)
        self.assertFalse(self.successResultOf(asked))

    def test_list_that_fails(self) -> None:
        """Where the list cannot be had it is asked for again; a missing right is told once."""
        for error, lines in ((ActionTimeout("late"), 0), (ActionFailed("CoreShowChannels: Permission denied"), 1)):
            self.setUp()
            self.manager.lists["CoreShowChannels"] = error
            asked = [self.many("2.1"), self.ask("2.2")]
            for _ in range(2):
                self.clock.advance(GATHER_S)
                self.clock.advance(UNANSWERED_S[0])
            for waiting in asked:
                self.assertNoResult(waiting)
            self.assertEqual(len(self.warnings()), lines)
            self.manager.lists["CoreShowChannels"] = [item("2.2")]
            self.clock.advance(UNANSWERED_S[1])
            self.clock.advance(GATHER_S)
            self.assertTrue(self.successResultOf(asked[0]))
            self.assertNoResult(asked[1])
        self.assertIn("Permission denied", next(str(log["error"]) for log in self.logs if "error" in log))
