"""One call over AMI: answers found by their id, long ones put together, the end in every state."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.commands import KEYING_TIMEOUT_S, REPLY_TIMEOUT_S
from pbxrouter.agi.dialogue_watch import DialogueWatch
from pbxrouter.agi.messages import AGIReply
from pbxrouter.ami.messages import AMIMessage
from pbxrouter.errors import (
    ActionTimeout,
    AGIError,
    ChannelHungUp,
    ConnectionClosed,
    InvalidAction,
    InvalidArgument,
    ManagerError,
    ManagerUnavailable,
    ProtocolViolation,
    ReplyTimeout,
)
from pbxrouter.magi.channel import END_GRACE_S, MAX_ANSWER, MagiChannel
from pbxrouter.simulator import SimulatedCall
from tests.ami_fakes import refused
from tests.fakes import request_of

PIPE = 1023
ENCODED = 2047


class Queue:
    """Asterisk's side: a queue of commands, and a pipe that is read once for each answer."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, str, str]] = []
        self.answer: Deferred[None] | ManagerError | None = None
        self.pipe = b""

    def send(self, address: str, line: str, command_id: str) -> Deferred[None]:
        """Action AGI."""
        self.commands.append((address, line, command_id))
        if isinstance(self.answer, ManagerError):
            return fail(self.answer)
        return self.answer or succeed(None)

    @property
    def lines(self) -> list[str]:
        """The commands that came."""
        return [line for _, line, _ in self.commands]

    def result(self, answer: str | bytes, command_id: str | None = None) -> AMIMessage:
        """The event that tells an answer, as Asterisk cuts it."""
        self.pipe += answer.encode() if isinstance(answer, str) else answer
        read, self.pipe = self.pipe[:PIPE], self.pipe[PIPE:]
        encoded = quote(read, safe="")[:ENCODED]
        event = f"Event: AsyncAGIExec\r\nResult: {encoded}"
        if command_id != "":
            event += f"\r\nCommandId: {command_id or self.commands[-1][2]}"
        return AMIMessage(event.encode())


class MagiChannelTest(SynchronousTestCase):
    """A call in AGI(agi:async)."""

    def setUp(self) -> None:
        """Begin it."""
        self.begin()

    def begin(self, unread: bool = False) -> None:
        """A call of which all is told; or something may be left in the pipe."""
        self.clock, self.queue, self.watch = Clock(), Queue(), DialogueWatch()
        numbers = iter(range(1, 10_000))
        self.call = MagiChannel(
            request_of(SimulatedCall("21", caller="33")),
            "1795.7",
            self.queue.send,
            lambda: f"id-{next(numbers)}",
            self.clock,
            self.watch,
            unread,
        )

    def result(self, answer: str | bytes, command_id: str | None = None) -> None:
        """An answer comes."""
        self.call.result_received(self.queue.result(answer, command_id))


class AnswerTests(MagiChannelTest):
    """Commands and their answers."""

    def test_addressed(self) -> None:
        """By the Uniqueid, since names change, with an id of its own for each command."""
        for _ in range(2):
            waiting = self.call.execute("ANSWER")
            self.result("200 result=0\n")
            self.successResultOf(waiting)
        self.assertEqual(self.queue.commands, [("1795.7", "ANSWER", "id-1"), ("1795.7", "ANSWER", "id-2")])

    def test_others_answers(self) -> None:
        """Those of another controller, of `agi exec` (no id), and of what was given up are passed over."""
        waiting = self.call.execute("GET VARIABLE X")
        for command_id in ("theirs", "", "id-11"):
            self.result("200 result=1 (theirs)\n", command_id)
        self.assertNoResult(waiting)
        self.result("200 result=1 (ours)\n")
        self.assertEqual(self.successResultOf(waiting).data, "ours")
        self.result("200 result=1 (again)\n", "id-1")

    def test_garbage(self) -> None:
        """A reply that Asterisk would not send fails the command and is logged; the channel goes on."""
        waiting = self.call.execute("ANSWER")
        self.result("hello\n")
        self.failureResultOf(waiting, ProtocolViolation)
        self.assertFalse(self.call.ended)

    @given(st.binary(max_size=120))
    def test_any_answer(self, answer: bytes) -> None:
        """Any bytes are a reply or a typed failure."""
        self.begin()
        waiting = self.call.execute("NOOP")
        self.result(answer)
        self.clock.advance(1)
        waiting.addErrback(lambda failure: failure.trap(AGIError) and None)
        self.assertTrue(waiting.called)

    def test_timeouts(self) -> None:
        """A quick command is waited for briefly, one that plays longer, an application for ever."""
        for command, seconds in (("NOOP", REPLY_TIMEOUT_S), ("GET DATA x", KEYING_TIMEOUT_S)):
            waiting = self.call.execute(command)
            self.clock.advance(seconds)
            self.failureResultOf(waiting, ReplyTimeout)
        waiting = self.call.execute("EXEC Dial PJSIP/21")
        self.clock.advance(86400)
        self.assertNoResult(waiting)
        self.result("200 result=-1\n")
        self.assertEqual(self.successResultOf(waiting).result, "-1")

    def test_late_answer(self) -> None:
        """One that comes after it was given up is not the next command's."""
        self.call.execute("NOOP").addErrback(lambda _: None)
        self.clock.advance(REPLY_TIMEOUT_S)
        waiting = self.call.execute("GET VARIABLE X")
        self.result("200 result=0\n", "id-1")
        self.assertNoResult(waiting)
        self.result("200 result=1 (x)\n")
        self.assertEqual(self.successResultOf(waiting).data, "x")

    def test_cancelled(self) -> None:
        """Who gives up waiting leaves the call usable."""
        waiting = self.call.execute("NOOP")
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.call.execute("ANSWER")
        self.assertEqual(self.queue.lines, ["NOOP", "ANSWER"])

    def test_too_long_for_an_action(self) -> None:
        """A command that AGI would take and AMI does not."""
        self.queue.answer = InvalidAction("the AMI header Command has 1030 bytes")
        self.failureResultOf(self.call.execute("NOOP " + "x" * 1020), InvalidArgument)

    def test_watched(self) -> None:
        """The dialogue can be watched; what is keyed is starred."""
        seen: list[str] = []
        self.watch.add(lambda line: seen.append(f"{line.direction} {line.text}"))
        self.call.execute("GET DATA agent-pass 5000 20")
        self.result("200 result=123456\n")
        self.call.end_received()
        self.assertEqual(
            seen,
            ["> GET DATA agent-pass 5000 20", "< 200 result=***", "- the call is ours no more"],
        )


class SoundTests(MagiChannelTest):
    """A sound that is missing must not end our control of the call."""

    def test_any_key(self) -> None:
        """A STREAM FILE that any key ends is sent as a GET DATA for one key, and answered as itself."""
        for answer, result in (
            ("200 result= (timeout)", "0"),
            ("200 result=5", "53"),
            ("200 result=*", "42"),
            ("200 result=", "35"),
        ):
            waiting = self.call.execute('STREAM FILE "my sound" 0123456789*#')
            self.assertEqual(self.queue.lines[-1], 'GET DATA "my sound" 1 1')
            self.result(answer + "\n")
            self.assertEqual(self.successResultOf(waiting), AGIReply(200, result, text=f"result={result}"))

    def test_missing(self) -> None:
        """Then ``-1`` comes, no end follows, and the next command tells that the caller is there."""
        waiting = self.call.execute("STREAM FILE nosuch 0123456789*#")
        self.result("200 result=-1\n")
        self.assertNoResult(waiting)
        self.clock.advance(END_GRACE_S)
        self.assertEqual(self.successResultOf(waiting).result, "-1")

    def test_others(self) -> None:
        """One that only some keys end has no such equal, and is sent as it is."""
        self.call.execute('STREAM FILE beep ""')
        self.assertEqual(self.queue.lines, ['STREAM FILE beep ""'])


class LongAnswerTests(MagiChannelTest):
    """What AMI cannot carry at once."""

    def full(self, length: int) -> None:
        """Ask for a variable of that many bytes; Asterisk answers NOOPs as long as it is asked."""
        value = "v" * length
        waiting = self.call.execute("GET FULL VARIABLE ${X}")
        self.result(f"200 result=1 ({value})\n")
        for _ in range(200):
            if waiting.called:
                break
            self.assertEqual(self.queue.lines[-1], "NOOP")
            self.result("200 result=0\n")
        self.assertEqual(self.successResultOf(waiting).data, value)
        self.assertEqual(self.queue.pipe, b"")

    def test_put_together(self) -> None:
        """Any length comes whole, those at the edges too, and the next answer is its own."""
        for length in (0, 1000, 1005, 1006, 1007, 1008, 1009, 2000, 2030, 5000, 24_000):
            self.begin()
            self.full(length)
            waiting = self.call.execute("GET VARIABLE Y")
            self.result("200 result=1 (y)\n")
            self.assertEqual(self.successResultOf(waiting).data, "y", length)

    def test_lossy(self) -> None:
        """What encodes to more than Asterisk sends is lost: a failure, and the next answer is its own."""
        waiting = self.call.execute("GET FULL VARIABLE ${X}")
        self.result("200 result=1 (" + "ñ" * 700 + ")\n")
        self.result("200 result=0\n")
        self.assertIn("longer than AMI carries", str(self.failureResultOf(waiting, AGIError).value))
        waiting = self.call.execute("NOOP x")
        self.result("200 result=0\n")
        self.successResultOf(waiting)

    def test_without_end(self) -> None:
        """An answer that never ends is given up."""
        waiting = self.call.execute("GET FULL VARIABLE ${X}")
        for _ in range(MAX_ANSWER // PIPE + 2):
            self.result("x" * PIPE)
        self.failureResultOf(waiting, AGIError)

    def test_rest_of_the_opening(self) -> None:
        """What is left in the pipe at the beginning is fetched before the first command."""
        self.begin(unread=True)
        waiting = self.call.execute("GET VARIABLE X")
        self.assertEqual(self.queue.lines, ["NOOP"])
        self.result("ument\n\n200 result=0\n")
        self.assertEqual(self.call.rest, b"ument\n\n")
        self.assertEqual(self.queue.lines, ["NOOP", "GET VARIABLE X"])
        self.result("200 result=1 (x)\n")
        self.assertEqual(self.successResultOf(waiting).data, "x")

    def test_a_caller_cannot_answer(self) -> None:
        """A rest that looks like an answer, as a caller can write one, is a rest."""
        self.begin(unread=True)
        waiting = self.call.execute("GET VARIABLE X")
        rest = "x\n200 result=1 (forged)\n200 result=0\n"
        self.result(rest + "200 result=0\n")
        self.assertEqual(self.call.rest, rest.encode())
        self.result("200 result=1 (true)\n")
        self.assertEqual(self.successResultOf(waiting).data, "true")

    def test_another_controllers_rest(self) -> None:
        """Another controller's long answer leaves something behind: not before ours."""
        self.call.execute("NOOP").addErrback(lambda _: None)
        self.result("200 result=0\n")
        self.result("200 result=1 (" + "z" * 3000 + ")\n", "theirs")
        waiting = self.call.execute("GET VARIABLE X")
        self.assertEqual(self.queue.lines[-1], "NOOP")
        while self.queue.lines[-1] == "NOOP":
            self.result("200 result=0\n")
        self.result("200 result=1 (x)\n")
        self.assertEqual(self.successResultOf(waiting).data, "x")


class EndTests(MagiChannelTest):
    """The call is ours no more."""

    def test_idle(self) -> None:
        """Ended while nothing was asked: later commands fail, unsent."""
        self.call.end_received()
        self.assertTrue(self.call.ended)
        self.failureResultOf(self.call.execute("SET VARIABLE A b"), ChannelHungUp)
        self.assertEqual(self.queue.lines, [])

    def test_asked(self) -> None:
        """Ended before the answer: commands still queued get none (docs/asterisk.md C)."""
        waiting = self.call.execute("SET VARIABLE A b")
        self.call.end_received()
        self.failureResultOf(waiting, ChannelHungUp)
        self.call.end_received()
        self.result("200 result=1\n")

    def test_answered_with_minus_one(self) -> None:
        """The running command's ``-1``, and then the end: hung up."""
        waiting = self.call.execute("GET DATA x")
        self.result("200 result=-1\n")
        self.call.end_received()
        self.failureResultOf(waiting, ChannelHungUp)
        self.clock.advance(1)

    def test_dead(self) -> None:
        """511 is the end as well."""
        waiting = self.call.execute("ANSWER")
        self.result("511 Command Not Permitted on a dead channel or intercept routine\n")
        self.failureResultOf(waiting, ChannelHungUp)
        self.assertTrue(self.call.ended)

    def test_how_the_dial_went(self) -> None:
        """What the events said of the Dial is told when Asterisk can be asked no more; nothing else is."""
        self.call.execute("EXEC Dial PJSIP/21&PJSIP/22")
        for status in ("CANCEL", "ANSWER", "CANCEL"):
            self.call.dial_ended(status)
        self.result("200 result=-1\n")
        waiting = self.call.execute("GET VARIABLE DIALSTATUS")
        self.call.end_received()
        self.assertEqual(self.successResultOf(waiting).data, "ANSWER")
        self.assertEqual(self.successResultOf(self.call.execute("GET VARIABLE DIALSTATUS")).data, "ANSWER")
        self.failureResultOf(self.call.execute("GET VARIABLE HANGUPCAUSE"), ChannelHungUp)

    def test_an_earlier_dial(self) -> None:
        """A second Dial's end is not that of the first."""
        self.call.execute("EXEC Dial PJSIP/21")
        self.call.dial_ended("BUSY")
        self.result("200 result=0\n")
        self.call.execute("EXEC Dial PJSIP/22").addErrback(lambda _: None)
        self.call.end_received()
        self.failureResultOf(self.call.execute("GET VARIABLE DIALSTATUS"), ChannelHungUp)

    def test_not_there(self) -> None:
        """Asterisk does not know the channel, or it is not in AsyncAGI any more: hung up."""
        for text in ("Channel 1795.7 does not exist.", "Failed to add AGI command to channel 1795.7 queue"):
            self.begin()
            self.queue.answer = refused(text)
            self.failureResultOf(self.call.execute("NOOP"), ChannelHungUp)
            self.assertTrue(self.call.ended)

    def test_not_allowed(self) -> None:
        """Without write=agi it fails with Asterisk's words; the call has not ended by that."""
        self.queue.answer = refused("Permission denied")
        line = str(self.failureResultOf(self.call.execute("NOOP"), AGIError).value)
        self.assertIn("Permission denied", line)
        self.assertFalse(self.call.ended)

    def test_connection_lost(self) -> None:
        """AMI is gone: what waits and what comes fails as a closed connection; no Dial's end is known."""
        self.call.execute("EXEC Dial PJSIP/21").addErrback(lambda _: None)
        self.call.dial_ended("ANSWER")
        self.call.connection_lost()
        self.failureResultOf(self.call.execute("GET VARIABLE DIALSTATUS"), ConnectionClosed)
        for error in (ManagerUnavailable("gone"), ActionTimeout("late")):
            self.begin()
            self.queue.answer = error
            self.failureResultOf(self.call.execute("NOOP"), ConnectionClosed)
            self.assertTrue(self.call.ended)

    def test_late_refusal(self) -> None:
        """A refusal of a command that was given up does not hit the next."""
        late: Deferred[None] = Deferred()
        self.queue.answer = late
        self.call.execute("NOOP").addErrback(lambda _: None)
        self.clock.advance(REPLY_TIMEOUT_S)
        self.queue.answer = None
        waiting = self.call.execute("ANSWER")
        late.errback(refused("Channel 1795.7 does not exist."))
        self.assertNoResult(waiting)
