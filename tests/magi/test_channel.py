"""MagiChannel: replies by their id, long replies in parts, and the end of a call in every state."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.commands import KEYING_TIMEOUT_S, REPLY_TIMEOUT_S
from pbxrouter.agi.dialogue_watch import DialogueWatch
from pbxrouter.agi.messages import AGIReply, AGIRequest
from pbxrouter.ami.messages import AMIMessage
from pbxrouter.errors import (
    ActionFailed,
    ActionTimeout,
    AGIError,
    ChannelHungUp,
    CommandRefused,
    ConnectionClosed,
    InvalidAction,
    InvalidArgument,
    ManagerError,
    ManagerUnavailable,
    ProtocolViolation,
    ReplyTimeout,
)
from pbxrouter.magi.channel import BREAK, END_GRACE_S, MAX_ANSWER, RENEW_S, MagiChannel
from pbxrouter.net import GRACE_S
from pbxrouter.simulator import SimulatedCall
from tests.ami_fakes import refused
from tests.fakes import loud, request_of

PIPE = 1023
ENCODED = 2047


class Queue:
    """Asterisk's side: a queue of commands, and a pipe that is read once for each answer."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, str, str]] = []
        self.answer: Deferred[None] | ManagerError | None = None
        self.pipe = b""

    def send(self, address: str, line: str, command_id: str) -> Deferred[None]:
        """Receive a command by the action AGI."""
        self.commands.append((address, line, command_id))
        if isinstance(self.answer, ManagerError):
            return fail(self.answer)
        return self.answer or succeed(None)

    @property
    def lines(self) -> list[str]:
        """The commands that were received."""
        return [line for _, line, _ in self.commands]

    def result(self, answer: str | bytes, command_id: str | None = None) -> AMIMessage:
        """An event with a reply, cut as Asterisk does."""
        self.pipe += answer.encode() if isinstance(answer, str) else answer
        read, self.pipe = self.pipe[:PIPE], self.pipe[PIPE:]
        encoded = quote(read, safe="")[:ENCODED]
        event = f"Event: AsyncAGIExec\r\nResult: {encoded}"
        if command_id != "":
            event += f"\r\nCommandId: {command_id or self.commands[-1][2]}"
        return AMIMessage(event.encode())


class MagiChannelTest(SynchronousTestCase):
    """Test case with a call in AGI(agi:async)."""

    def setUp(self) -> None:
        """Begin a call."""
        self.begin()

    def begin(self, unread: bool = False) -> None:
        """Begin a call with all of its opening, or with some of it left in the pipe."""
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
        """Receive the reply to a command."""
        self.call.result_received(self.queue.result(answer, command_id))


class AnswerTests(MagiChannelTest):
    """Commands and their replies."""

    def test_addressed(self) -> None:
        """Commands go to the Uniqueid, since names change, each with an id of its own; the channel is proven so."""
        self.assertIs(self.call.is_proven, True)
        for _ in range(2):
            waiting = self.call.execute("ANSWER")
            self.result("200 result=0\n")
            self.successResultOf(waiting)
        self.assertEqual(self.queue.commands, [("1795.7", "ANSWER", "id-1"), ("1795.7", "ANSWER", "id-2")])

    def test_others_answers(self) -> None:
        """Replies of another controller, of `agi exec` (no id), and of cancelled commands are ignored."""
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
        with capturedLogs() as logs:
            self.result("hello\n")
        error = self.failureResultOf(waiting, ProtocolViolation).value
        self.assertFalse(self.call.ended)
        (line,) = loud(logs)
        self.assertEqual((line["uniqueid"], line["error"]), (self.call.request.uniqueid, str(error)))
        waiting = self.call.execute("NOOP")
        self.result("200 result=0\n")
        self.successResultOf(waiting)

    def test_garbage_in_a_forged_call(self) -> None:
        """The log line about an invalid reply is one line, also if the Uniqueid holds control characters."""
        self.call.request = AGIRequest({"uniqueid": "1\n2"})
        self.call.execute("ANSWER").addErrback(lambda _: None)
        with capturedLogs() as logs:
            self.result("hello\n")
        self.assertTrue(loud(logs)[0]["uniqueid"].isprintable())

    def test_second_command(self) -> None:
        """A command while another one waits is named in the failure, and not sent."""
        waiting = self.call.execute("GET VARIABLE X")
        line = str(self.failureResultOf(self.call.execute("SET VARIABLE PIN 1234"), AGIError).value)
        self.assertEqual(line, "a command is still being answered; SET was not sent")
        self.assertEqual(self.queue.lines, ["GET VARIABLE X"])
        self.result("200 result=1 (x)\n")
        self.assertEqual(self.successResultOf(waiting).data, "x")

    def test_refused(self) -> None:
        """A command that Asterisk does not take fails with its words; the next one works."""
        waiting = self.call.execute("FOO BAR baz")
        self.result("510 Invalid or unknown command\n")
        error = self.failureResultOf(waiting, CommandRefused).value
        self.assertEqual(error.code, 510)
        self.assertEqual(str(error), "Asterisk answered 510 to FOO BAR: Invalid or unknown command")
        self.assertFalse(self.call.ended)
        waiting = self.call.execute("NOOP")
        self.result("200 result=0\n")
        self.successResultOf(waiting)

    @given(st.binary(max_size=120))
    def test_any_answer(self, answer: bytes) -> None:
        """Any bytes are a reply or a typed failure."""
        self.begin()
        waiting = self.call.execute("NOOP")
        self.result(answer)
        self.clock.advance(1)
        waiting.addErrback(lambda failure: failure.trap(AGIError) and None)
        self.assertTrue(waiting.called)

    def test_answered_twice(self) -> None:
        """While an end may follow a ``-1``, neither the same id again nor an event without one is the reply."""
        for command_id in ("id-1", "", "id-2"):
            self.begin()
            waiting = self.call.execute("GET DATA x")
            self.result("200 result=-1\n")
            self.clock.advance(0.2)
            self.result("200 result=5\n", command_id)
            self.clock.advance(0.04)
            self.assertNoResult(waiting)
            self.clock.advance(0.01)
            self.assertEqual(self.successResultOf(waiting), AGIReply(200, "-1", text="result=-1"))

    def test_reply_to_nothing(self) -> None:
        """A reply without an id, when no command waits, is not shown to watchers."""
        seen: list[str] = []
        self.watch.add(lambda line: seen.append(line.text))
        self.result("200 result=5\n", "")
        self.assertEqual(seen, [])

    def test_timeouts(self) -> None:
        """A quick command has a short time-out, one that plays a longer one, an application none."""
        for command, seconds in (("NOOP x", REPLY_TIMEOUT_S), ("GET DATA x", KEYING_TIMEOUT_S)):
            waiting = self.call.execute(command)
            self.clock.advance(seconds - 0.5)
            self.assertNoResult(waiting)
            self.clock.advance(0.5)
            line = str(self.failureResultOf(waiting, ReplyTimeout).value)
            self.assertEqual(line, f"Asterisk did not reply to {command[: command.index(' ')]}")
        waiting = self.call.execute("EXEC Dial PJSIP/21")
        self.clock.pump([86400, GRACE_S])  # a timer that is very late is put off
        self.assertNoResult(waiting)
        self.result("200 result=-1\n")
        self.assertEqual(self.successResultOf(waiting).result, "-1")

    def test_late_answer(self) -> None:
        """A reply that comes after its command timed out is not the next command's."""
        self.call.execute("NOOP").addErrback(lambda _: None)
        self.clock.advance(REPLY_TIMEOUT_S)
        waiting = self.call.execute("GET VARIABLE X")
        self.result("200 result=0\n", "id-1")
        self.assertNoResult(waiting)
        self.result("200 result=1 (x)\n")
        self.assertEqual(self.successResultOf(waiting).data, "x")

    def test_cancelled(self) -> None:
        """A cancelled command leaves the call usable, and its reply is ignored."""
        waiting = self.call.execute("NOOP")
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.result("200 result=5\n", "id-1")
        following = self.call.execute("GET VARIABLE X")
        self.result("200 result=5\n", "id-1")
        self.assertNoResult(following)
        self.assertEqual(self.queue.lines, ["NOOP", "GET VARIABLE X"])
        self.result("200 result=1 (x)\n")
        self.assertEqual(self.successResultOf(following).data, "x")

    def test_cancelled_after_minus_one(self) -> None:
        """A command given up while an end may follow its ``-1`` does not answer the next one."""
        waiting = self.call.execute("GET DATA x")
        waiting.addErrback(lambda _: None)
        self.result("200 result=-1\n")
        waiting.cancel()
        following = self.call.execute("EXEC Dial PJSIP/21")
        self.clock.advance(END_GRACE_S)
        self.assertNoResult(following)

    def test_answered_in_time(self) -> None:
        """A reply ends the time-out of its command."""
        waiting = self.call.execute("NOOP")
        self.result("200 result=0\n")
        self.successResultOf(waiting)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_minus_one(self) -> None:
        """``-1`` counts at once, unless the command is one in which the caller may have hung up."""
        for command in ("SET VARIABLE X y", "EXEC Dial PJSIP/21"):
            waiting = self.call.execute(command)
            self.result("200 result=-1\n")
            self.assertEqual(self.successResultOf(waiting).result, "-1")
        for command in ("EXEC ConfBridge 7", "GET DATA x", "WAIT FOR DIGIT 5"):
            waiting = self.call.execute(command)
            self.result("200 result=-1\n")
            self.clock.advance(END_GRACE_S - 0.05)
            self.assertNoResult(waiting)
            self.clock.advance(0.05)
            self.assertEqual(self.successResultOf(waiting).result, "-1")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_takes_a_while(self) -> None:
        """``100 Trying`` before a reply is left out, each time."""
        for _ in range(3):
            waiting = self.call.execute("GOSUB a b 1")
            self.result("100 result=0 Trying...\n200 result=0\n")
            self.assertEqual(self.successResultOf(waiting), AGIReply(200, "0", text="result=0"))

    def test_too_long_for_an_action(self) -> None:
        """A command that AGI accepts and AMI does not fails."""
        self.queue.answer = InvalidAction("the AMI header Command has 1030 bytes")
        self.failureResultOf(self.call.execute("NOOP " + "x" * 1020), InvalidArgument)

    def test_watched(self) -> None:
        """A watcher sees the dialogue, with digits masked."""
        seen: list[str] = []
        self.watch.add(lambda line: seen.append(f"{line.direction} {line.text}"))
        self.call.execute("GET DATA agent-pass 5000 20")
        self.result("200 result=123456\n")
        self.call.end_received()
        self.assertEqual(
            seen,
            ["> GET DATA agent-pass 5000 20", "< 200 result=***", "- the call is ours no more"],
        )
        self.call.end_received()
        self.assertEqual(len(seen), 3)

    def test_watched_in_parts(self) -> None:
        """Of a reply that is fetched in parts every command and line is shown; what replaces a command, too."""
        seen: list[str] = []
        self.watch.add(lambda line: seen.append(f"{line.direction} {line.text}"))
        waiting = self.call.execute("GET FULL VARIABLE ${X}")
        self.result("200 result=1 (" + "v" * 1007 + ")\n")
        self.result("200 result=0\n")
        self.successResultOf(waiting)
        self.assertEqual(
            seen,
            ["> GET FULL VARIABLE ${X}", "> NOOP", f"< 200 result=1 ({'v' * 1007})"],
        )
        seen.clear()
        self.call.execute("STREAM FILE x 0123456789*#")
        self.result("200 result=5\n")
        self.assertEqual(seen, ["> GET DATA x 1 1", "< 200 result=***"])

    def test_watched_lines(self) -> None:
        """Each line of a reply is shown as it came."""
        seen: list[str] = []
        self.watch.add(lambda line: seen.append(f"{line.direction} {line.text}"))
        self.call.execute("GET VARIABLE X")
        self.result("200 result=1 (a\nb)\n")
        self.call.execute("FOO").addErrback(lambda _: None)
        self.result("510 Invalid X\n")
        self.assertEqual(seen, ["> GET VARIABLE X", "< 200 result=1 (a", "< b)", "> FOO", "< 510 Invalid X"])


class DrivenByTests(MagiChannelTest):
    """Whether a channel's status shows that the gateway runs the call."""

    def driven(self, *headers: str) -> bool:
        """Whether a status with these headers is that of our call."""
        return self.call.is_driven_by(AMIMessage("\r\n".join(["Event: Status", *headers]).encode()))

    def test_waiting_in_agi(self) -> None:
        """A call in AGI(agi:async) is ours, by Status and by CoreShowChannels; one in another AGI script is not."""
        for data in ("Data", "ApplicationData"):
            for name in ("AGI", "agi"):
                self.assertTrue(self.driven(f"Application: {name}", f"{data}: agi:async"))
            self.assertTrue(self.driven("Application: AGI", f"{data}: agi:async,a,b"))
            self.assertFalse(self.driven("Application: AGI", f"{data}: agi://host/agi:async"))
            self.assertFalse(self.driven("Application: AGI", f"{data}: x,agi:async"))
        self.assertFalse(self.driven("Application: EAGI", "Data: agi:async"))
        self.assertFalse(self.driven())

    def test_in_an_application(self) -> None:
        """An application that the gateway runs is the gateway's until it is over."""
        dial = ("Application: Dial", "Data: PJSIP/21")
        self.assertFalse(self.driven(*dial))
        for command in ("EXEC Dial PJSIP/21,20", 'exec "dial" PJSIP/21', "EXEC Dial"):
            waiting = self.call.execute(command)
            self.assertTrue(self.driven(*dial), command)
            self.assertFalse(self.driven("Application: Playback", "Data: Dial"))
            self.result("200 result=0\n")
            self.successResultOf(waiting)
            self.assertFalse(self.driven(*dial), command)
        self.call.execute("SET Dial x")
        self.assertFalse(self.driven(*dial))
        self.begin()
        self.call.execute('EXEC "X" y')
        self.assertTrue(self.driven("Application: X", "Data: y"))


class SoundTests(MagiChannelTest):
    """A missing sound does not end the control of the call."""

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
        """For a missing sound the result is ``-1``, no end follows, and the next command works."""
        waiting = self.call.execute("STREAM FILE nosuch 0123456789*#")
        self.result("200 result=-1\n")
        self.assertNoResult(waiting)
        self.clock.advance(END_GRACE_S)
        self.assertEqual(self.successResultOf(waiting).result, "-1")

    def test_others(self) -> None:
        """A STREAM FILE that only some keys end is sent as it is."""
        self.call.execute('STREAM FILE beep ""')
        self.assertEqual(self.queue.lines, ['STREAM FILE beep ""'])


class LongAnswerTests(MagiChannelTest):
    """Replies longer than AMI's events."""

    def full(self, length: int) -> None:
        """Ask for a variable of that many bytes; Asterisk answers NOOPs as long as they come."""
        value = "v" * length
        waiting = self.call.execute("GET FULL VARIABLE ${X}")
        self.result(f"200 result=1 ({value})\n")
        for _ in range(200):
            if waiting.called:
                break
            self.assertEqual(self.queue.lines[-1], "NOOP")
            self.result("200 result=0\n")
        reply = self.successResultOf(waiting)
        self.assertEqual((reply.data, reply.text), (value, f"result=1 ({value})"))
        self.assertEqual(self.queue.pipe, b"")

    def test_put_together(self) -> None:
        """A reply of any length is put together, and the next reply is its own."""
        for length in (0, 1000, 1005, 1006, 1007, 1008, 1009, 2000, 2030, 5000, 24_000):
            self.begin()
            self.full(length)
            waiting = self.call.execute("GET VARIABLE Y")
            self.result("200 result=1 (y)\n")
            self.assertEqual(self.successResultOf(waiting).data, "y", length)

    def test_lossy(self) -> None:
        """A reply that encodes to more than Asterisk sends is a failure, and the next reply is its own."""
        waiting = self.call.execute("GET FULL VARIABLE ${X}")
        self.result("200 result=1 (" + "ñ" * 700 + ")\n")
        self.result("200 result=0\n")
        self.assertIn("longer than AMI carries", str(self.failureResultOf(waiting, AGIError).value))
        waiting = self.call.execute("NOOP x")
        self.result("200 result=0\n")
        self.successResultOf(waiting)

    def test_without_end(self) -> None:
        """A reply without an end is given up at MAX_ANSWER bytes."""
        waiting = self.call.execute("GET FULL VARIABLE ${X}")
        whole = -(-MAX_ANSWER // PIPE)
        for _ in range(whole - 1):
            self.result("x" * PIPE)
        self.assertNoResult(waiting)
        self.result("x" * PIPE)
        line = str(self.failureResultOf(waiting, AGIError).value)
        self.assertEqual(line, "the answer to GET is longer than AMI carries")
        self.assertEqual(len(self.queue.lines), whole)
        self.assertEqual(whole, 65)

    def test_answer_of_just_the_maximum(self) -> None:
        """An answer that has MAX_ANSWER bytes, with more to come, is given up, though it looks complete so far."""
        waiting = self.call.execute("GET FULL VARIABLE ${X}")
        for _ in range(63):
            self.result("200 result=1 (x)\n" + "x" * (PIPE - 17))
            self.assertNoResult(waiting)
        ending = "200 result=0\n" * 63
        last = "x" * (MAX_ANSWER - 63 * PIPE - len(ending)) + ending
        command_id = self.queue.commands[-1][2]
        encoded = last.replace("\n", "%0A")
        self.call.result_received(
            AMIMessage(f"Event: AsyncAGIExec\r\nResult: {encoded}\r\nCommandId: {command_id}".encode())
        )
        self.failureResultOf(waiting, AGIError)
        self.assertEqual(len(self.queue.lines), 64)

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
        """The rest of another controller's long reply is not taken as part of ours."""
        self.call.execute("NOOP").addErrback(lambda _: None)
        self.result("200 result=0\n")
        self.result("200 result=1 (" + "z" * 3000 + ")\n", "theirs")
        waiting = self.call.execute("GET VARIABLE X")
        self.assertEqual(self.queue.lines[-1], "NOOP")
        while self.queue.lines[-1] == "NOOP":
            self.result("200 result=0\n")
        self.result("200 result=1 (x)\n")
        self.assertEqual(self.successResultOf(waiting).data, "x")

    def test_rest_that_is_lost(self) -> None:
        """A rest that cannot be fetched whole is told as None, and the first command is sent and answered."""
        for flushed in ("%C3%B1" * 341 + "%", quote("x" * 20)):
            self.begin(unread=True)
            waiting = self.call.execute("GET VARIABLE X")
            self.call.result_received(
                AMIMessage(f"Event: AsyncAGIExec\r\nResult: {flushed}\r\nCommandId: id-1".encode())
            )
            if self.queue.lines[-1] == "NOOP":
                self.result("200 result=0\n200 result=0\n")
            self.assertIsNone(self.call.rest)
            self.assertEqual(self.queue.lines[-1], "GET VARIABLE X")
            self.result("200 result=1 (x)\n")
            self.assertEqual(self.successResultOf(waiting).data, "x")

    def test_rest_is_fetched_once(self) -> None:
        """The second command of a call that was adopted is sent at once."""
        self.begin(unread=True)
        self.call.execute("GET VARIABLE X")
        self.result("200 result=0\n")
        self.result("200 result=1 (x)\n")
        self.call.execute("GET VARIABLE Y")
        self.assertEqual(self.queue.lines, ["NOOP", "GET VARIABLE X", "GET VARIABLE Y"])
        self.assertEqual(self.call.rest, b"")

    def test_adopted_call_is_waited_for(self) -> None:
        """A command that an earlier gateway began has no time-out; later commands have theirs."""
        self.begin(unread=True)
        self.assertTrue(self.call.wait_forever)
        waiting = self.call.execute("NOOP")
        self.clock.pump([86400, GRACE_S])  # a timer that is very late is put off
        self.assertNoResult(waiting)
        self.result("200 result=0\n")
        self.result("200 result=0\n")
        self.successResultOf(waiting)
        self.call.wait_forever = False
        waiting = self.call.execute("NOOP")
        self.clock.advance(REPLY_TIMEOUT_S)
        self.failureResultOf(waiting, ReplyTimeout)


class TimeLimitTests(MagiChannelTest):
    """TIMEOUT(absolute), which ends the wait of a call whose gateway is gone."""

    SET = 'SET VARIABLE "TIMEOUT(absolute)" '

    def begin(self, unread: bool = False) -> None:
        """Begin a call whose limit is the gateway's."""
        super().begin(unread)
        self.call.request = replace(self.call.request, arguments=("bounded=180",))

    def sent(self) -> list[str]:
        """The commands sent since the last call."""
        lines, self.queue.commands[:] = self.queue.lines, []
        return lines

    def reply(self, answer: str, command: str) -> None:
        """Receive the reply to a command among those sent."""
        (command_id,) = [sent for _, line, sent in self.queue.commands if line == command]
        self.result(answer, command_id)

    def test_renewed(self) -> None:
        """The limit is set at once, and again each second; variables are set along with it."""
        self.call.keep_time_limit({"PBXROUTER_ID": "a1b2"})
        self.assertEqual(self.sent(), [f"{self.SET}3", "SET VARIABLE PBXROUTER_ID a1b2"])
        self.clock.pump([RENEW_S] * 3)
        self.assertEqual(self.sent(), [f"{self.SET}3"] * 3)
        self.call.keep_time_limit()
        self.assertEqual(self.sent(), [])

    def test_not_ours(self) -> None:
        """A limit that the dialplan keeps itself, or none, is left alone."""
        for arguments in ((), ("bounded",), ("x",)):
            self.call.request = replace(self.call.request, arguments=arguments)
            self.call.keep_time_limit({"PBXROUTER_ID": "a1b2"})
            self.call.execute("EXEC Dial PJSIP/21")
            self.assertEqual(self.sent(), ["EXEC Dial PJSIP/21"])
            self.begin()

    def test_application(self) -> None:
        """An application has no limit; what ends the wait behind it is in Asterisk's queue before it begins."""
        self.call.keep_time_limit()
        self.sent()
        waiting = self.call.execute("EXEC Dial PJSIP/21")
        self.clock.pump([RENEW_S] * 100)
        self.assertEqual(self.queue.lines, [f"{self.SET}0", "EXEC Dial PJSIP/21", f"{self.SET}3"])
        self.reply("200 result=0\n", "EXEC Dial PJSIP/21")
        self.assertEqual(self.successResultOf(waiting).result, "0")
        self.sent()
        self.clock.advance(RENEW_S)
        self.assertEqual(self.sent(), [f"{self.SET}3"])

    def test_talk(self) -> None:
        """Keys and prompts have what is left of the talk's time, one second at least."""
        self.call.keep_time_limit()
        for passed, left in ((30, 150), (100, 50), (60, 1)):
            self.clock.advance(passed)
            self.sent()
            waiting = self.call.execute("GET DATA agent-pass 5000 20")
            self.assertEqual(self.queue.lines, [f"{self.SET}{left}", "GET DATA agent-pass 5000 20", f"{self.SET}3"])
            self.reply("200 result=1234\n", "GET DATA agent-pass 5000 20")
            self.assertEqual(self.successResultOf(waiting).result, "1234")

    def test_talk_without_end(self) -> None:
        """Without a time for the talk, keys are bounded by their own time-outs."""
        self.call.request = replace(self.call.request, arguments=("bounded=",))
        self.call.keep_time_limit()
        self.sent()
        self.call.execute("GET DATA agent-pass 5000 20")
        self.assertEqual(self.sent()[0], f"{self.SET}0")

    def test_quick_commands(self) -> None:
        """A quick command goes alone; while it is answered the limit is not renewed."""
        self.call.keep_time_limit()
        self.sent()
        waiting = self.call.execute("GET VARIABLE X")
        self.clock.advance(RENEW_S)
        self.assertEqual(self.queue.lines, ["GET VARIABLE X"])
        self.result("200 result=0\n")
        self.successResultOf(waiting)

    def parallel(self, error: ManagerError | None = None) -> list[tuple[str, int]]:
        """Let the limit be set past the queue; returns what is set."""
        told: list[tuple[str, int]] = []

        def set_limit(address: str, seconds: int) -> Deferred[None]:
            told.append((address, seconds))
            return succeed(None) if error is None else fail(error)

        self.call = MagiChannel(
            self.call.request, "1795.7", self.queue.send, lambda: "id", self.clock, self.watch, False, set_limit
        )
        self.call.keep_time_limit()
        self.sent()
        return told

    def test_talk_past_the_queue(self) -> None:
        """While a prompt or keys are waited for the limit is renewed past the queue, up to the end of the talk."""
        for command in ("GET DATA agent-pass 5000 20", "EXEC Wait 8"):
            told = self.parallel()
            self.call.execute(command)
            self.assertEqual(self.sent(), [f"{self.SET}3", command, f"{self.SET}2"])
            self.clock.pump([RENEW_S] * 200)
            self.assertEqual(told, [("1795.7", 3)] * 177 + [("1795.7", 2), ("1795.7", 1)])
            self.assertEqual(self.sent(), [])

    def test_not_past_the_queue_without_answer(self) -> None:
        """While Asterisk does not answer that the limit is set, it is not set again: the reply would not come."""
        answers: list[Deferred[None]] = []

        def set_limit(address: str, seconds: int) -> Deferred[None]:
            answers.append(Deferred())
            return answers[-1]

        self.call = MagiChannel(
            self.call.request, "1795.7", self.queue.send, lambda: "id", self.clock, self.watch, False, set_limit
        )
        self.call.keep_time_limit()
        self.call.execute("GET DATA agent-pass 5000 20")
        self.clock.pump([RENEW_S] * 5)
        self.assertEqual(len(answers), 1)
        answers[0].callback(None)
        self.clock.pump([RENEW_S] * 5)
        self.assertEqual(len(answers), 2)
        answers[1].errback(ActionTimeout("AbsoluteTimeout: no answer"))
        self.clock.pump([RENEW_S])
        self.assertEqual(len(answers), 3)

    def test_application_past_the_queue(self) -> None:
        """An application has no limit, and none is set while it runs."""
        told = self.parallel()
        self.call.execute("EXEC Dial PJSIP/21")
        self.clock.pump([RENEW_S] * 10)
        self.assertEqual((told, self.sent()), ([], [f"{self.SET}0", "EXEC Dial PJSIP/21", f"{self.SET}3"]))

    def test_not_past_the_queue(self) -> None:
        """An AMI user who may not set it: each command has its own limit from then on."""
        for error, renewals, limit in (
            (ActionFailed("AbsoluteTimeout: Permission denied"), 1, 170),
            (ActionTimeout("AbsoluteTimeout: no answer"), 9, 3),
        ):
            self.begin()
            told = self.parallel(error)
            waiting = self.call.execute("GET DATA agent-pass 5000 20")
            self.clock.pump([RENEW_S] * 10)
            self.assertEqual(len(told), renewals + (limit == 3))
            self.result("200 result=1\n", "id")
            self.successResultOf(waiting)
            self.sent()
            self.call.execute("GET DATA agent-pass 5000 20")
            self.assertEqual(self.sent()[0], f"{self.SET}{limit}")

    def test_adopted(self) -> None:
        """What clears the pipe first goes alone."""
        self.begin(unread=True)
        self.call.keep_time_limit()
        self.sent()
        self.call.execute("EXEC Dial PJSIP/21")
        self.assertEqual(self.queue.lines, ["NOOP"])
        self.result("200 result=0\n")
        self.assertEqual(self.sent()[1:], [f"{self.SET}0", "EXEC Dial PJSIP/21", f"{self.SET}3"])

    def test_end(self) -> None:
        """After the end, and after the call was given back, the limit is renewed no more."""
        self.call.keep_time_limit()
        self.call.end_received()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.sent()
        self.clock.pump([RENEW_S] * 3)
        self.call.keep_time_limit()
        self.assertEqual((self.sent(), self.clock.getDelayedCalls()), ([], []))
        self.begin()
        self.call.keep_time_limit()
        self.call.execute(BREAK)
        self.sent()
        self.clock.pump([RENEW_S] * 3)
        self.assertEqual(self.sent(), [])
        self.begin()
        self.call.keep_time_limit()
        given_back = self.call.execute(BREAK)
        self.result("200 result=0\n")
        self.successResultOf(given_back)
        self.sent()
        self.clock.pump([RENEW_S] * 3)
        self.assertEqual(self.sent(), [])

    def test_refused(self) -> None:
        """A limit that cannot be set is no error: the call is told of by its own commands."""
        self.queue.answer = ManagerUnavailable("gone")
        self.call.keep_time_limit()
        self.clock.advance(RENEW_S)
        self.failureResultOf(self.call.execute("EXEC Dial PJSIP/21"), ConnectionClosed)


class EndTests(MagiChannelTest):
    """The end of a call."""

    def test_released(self) -> None:
        """The call is released when it is given back, or over; not by any other command."""
        self.assertFalse(self.call.is_released)
        self.assertEqual(self.call.rest, b"")
        self.call.execute("NOOP")
        self.assertFalse(self.call.is_released)
        self.result("200 result=0\n")
        self.call.execute(BREAK)
        self.assertTrue(self.call.is_released)
        self.assertFalse(self.call.ended)
        self.begin()
        self.call.end_received()
        self.assertTrue(self.call.is_released)

    def test_idle(self) -> None:
        """After an end between commands, later commands fail unsent."""
        self.call.end_received()
        self.assertTrue(self.call.ended)
        self.failureResultOf(self.call.execute("SET VARIABLE A b"), ChannelHungUp)
        self.assertEqual(self.queue.lines, [])

    def test_asked(self) -> None:
        """An end before the reply fails the command (docs/asterisk.md C)."""
        waiting = self.call.execute("SET VARIABLE A b")
        self.call.end_received()
        self.failureResultOf(waiting, ChannelHungUp)
        self.call.end_received()
        self.result("200 result=1\n")

    def test_answered_with_minus_one(self) -> None:
        """A ``-1`` that an end follows is a hang-up."""
        waiting = self.call.execute("GET DATA x")
        self.result("200 result=-1\n")
        self.call.end_received()
        self.failureResultOf(waiting, ChannelHungUp)
        self.clock.advance(1)

    def test_dead(self) -> None:
        """A reply 511 is the end of the call."""
        waiting = self.call.execute("ANSWER")
        self.result("511 Command Not Permitted on a dead channel or intercept routine\n")
        self.failureResultOf(waiting, ChannelHungUp)
        self.assertTrue(self.call.ended)

    def test_how_the_dial_went(self) -> None:
        """After the end the Dial's result is that of its events; nothing else is known."""
        self.call.execute("EXEC Dial PJSIP/21&PJSIP/22")
        for status in ("CANCEL", "ANSWER", "CANCEL"):
            self.call.dial_ended(status)
        self.result("200 result=-1\n")
        waiting = self.call.execute("GET VARIABLE DIALSTATUS")
        self.call.end_received()
        known = AGIReply(200, "1", "ANSWER", text="result=1 (ANSWER)")
        self.assertEqual(self.successResultOf(waiting), known)
        self.assertEqual(self.successResultOf(self.call.execute("GET VARIABLE DIALSTATUS")), known)
        self.failureResultOf(self.call.execute("GET VARIABLE HANGUPCAUSE"), ChannelHungUp)

    def test_an_earlier_dial(self) -> None:
        """A second Dial does not get the result of the first."""
        self.call.execute("EXEC Dial PJSIP/21")
        self.call.dial_ended("BUSY")
        self.result("200 result=0\n")
        self.call.execute("EXEC Dial PJSIP/22").addErrback(lambda _: None)
        self.call.end_received()
        self.failureResultOf(self.call.execute("GET VARIABLE DIALSTATUS"), ChannelHungUp)

    def test_commands_between_dial_and_its_end(self) -> None:
        """The Dial's result stays known over other commands."""
        self.call.execute("EXEC Dial PJSIP/21")
        self.call.dial_ended("BUSY")
        self.result("200 result=0\n")
        self.call.execute("EXEC Playback sorry").addErrback(lambda _: None)
        self.call.end_received()
        self.assertEqual(self.successResultOf(self.call.execute("GET VARIABLE DIALSTATUS")).data, "BUSY")

    def test_no_dial(self) -> None:
        """Without a Dial there is no result."""
        waiting = self.call.execute("GET VARIABLE DIALSTATUS")
        self.call.end_received()
        self.failureResultOf(waiting, ChannelHungUp)

    def test_after_the_question(self) -> None:
        """An end after DIALSTATUS was asked for changes nothing."""
        self.call.execute("EXEC Dial PJSIP/21")
        self.call.dial_ended("BUSY")
        self.result("200 result=0\n")
        self.call.execute("GET VARIABLE DIALSTATUS")
        self.result("200 result=1 (BUSY)\n")
        self.call.end_received()
        self.assertTrue(self.call.ended)

    def test_reasons(self) -> None:
        """A hang-up is no loss of the connection, and the first end counts."""
        self.call.end_received()
        self.call.connection_lost()
        error = self.failureResultOf(self.call.execute("NOOP"), ChannelHungUp).value
        self.assertNotIsInstance(error, ConnectionClosed)
        self.begin()
        waiting = self.call.execute("NOOP")
        self.call.connection_lost()
        self.call.connection_lost("another")
        for failed in (waiting, self.call.execute("NOOP")):
            line = str(self.failureResultOf(failed, ConnectionClosed).value)
            self.assertEqual(line, "the connection to AMI was lost")
        self.begin()
        self.call.connection_lost("the gateway stops")
        line = str(self.failureResultOf(self.call.execute("NOOP"), ConnectionClosed).value)
        self.assertEqual(line, "the gateway stops")

    def test_unsendable_at_the_end(self) -> None:
        """A command that cannot be sent is refused as such on a call that is over, too."""
        self.call.end_received()
        self.failureResultOf(self.call.execute("NOOP\n"), InvalidArgument)

    def test_not_there(self) -> None:
        """A channel that Asterisk does not know, or that has left AsyncAGI, has hung up."""
        for text in ("Channel 1795.7 does not exist.", "Failed to add AGI command to channel 1795.7 queue"):
            self.begin()
            self.queue.answer = refused(text)
            self.failureResultOf(self.call.execute("NOOP"), ChannelHungUp)
            self.assertTrue(self.call.ended)

    def test_not_allowed(self) -> None:
        """Without write=agi a command fails with Asterisk's words, and the call goes on."""
        self.queue.answer = refused("Permission denied")
        line = str(self.failureResultOf(self.call.execute("NOOP"), AGIError).value)
        self.assertIn("Permission denied", line)
        self.assertFalse(self.call.ended)

    def test_words_of_other_failures(self) -> None:
        """Only Asterisk's own refusal says that the channel is gone; a fault is no loss of the connection."""
        self.queue.answer = InvalidAction("the header Command does not exist")
        line = str(self.failureResultOf(self.call.execute("NOOP"), InvalidArgument).value)
        self.assertEqual(line, "the header Command does not exist")
        late: Deferred[None] = Deferred()
        self.queue.answer = late
        waiting = self.call.execute("NOOP")
        late.errback(ZeroDivisionError("a fault"))
        error = self.failureResultOf(waiting, AGIError).value
        self.assertEqual((str(error), isinstance(error, ChannelHungUp)), ("a fault", False))
        self.assertFalse(self.call.ended)

    def test_refusal_of_what_was_given_up(self) -> None:
        """A refusal that comes when no command waits is ignored."""
        late: Deferred[None] = Deferred()
        self.queue.answer = late
        self.call.execute("NOOP").addErrback(lambda _: None)
        self.clock.advance(REPLY_TIMEOUT_S)
        late.errback(refused("Channel 1795.7 does not exist."))
        self.assertFalse(self.call.ended)

    def test_connection_lost(self) -> None:
        """A lost connection fails the command in progress and later ones; the Dial's result is unknown."""
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
        """The refusal of a cancelled command does not fail the next one."""
        late: Deferred[None] = Deferred()
        self.queue.answer = late
        self.call.execute("NOOP").addErrback(lambda _: None)
        self.clock.advance(REPLY_TIMEOUT_S)
        self.queue.answer = None
        waiting = self.call.execute("ANSWER")
        late.errback(refused("Channel 1795.7 does not exist."))
        self.assertNoResult(waiting)
