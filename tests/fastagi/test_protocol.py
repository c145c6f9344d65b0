"""The FastAGI protocol: opening, commands, hang-ups, forgeries, timeouts; each connection gets closed."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from pbxrouter.agi.commands import KEYING_TIMEOUT_S, REPLY_TIMEOUT_S
from pbxrouter.agi.dialogue_watch import DialogueLine
from pbxrouter.agi.messages import AGIReply
from pbxrouter.errors import (
    AGIError,
    ChannelHungUp,
    CommandRefused,
    ConnectionClosed,
    ForgedRequest,
    ProtocolViolation,
    ReplyTimeout,
)
from pbxrouter.fastagi import protocol as fastagi
from pbxrouter.fastagi import refusal
from pbxrouter.fastagi.protocol import FastAGIProtocol
from pbxrouter.fastagi.states import IllegalTransition
from pbxrouter.net import GRACE_S
from pbxrouter.simulator import SimulatedCall
from tests.fakes import AsteriskEnd, FakeOwner, byte_by_byte, failure_of, in_one, loud, request_of

CALL = SimulatedCall("21", caller="33")
REFUSAL = b"SET VARIABLE PBXROUTER refused\n"
HOUR_S = 3600


class ProtocolCase(SynchronousTestCase):
    """A connection in memory."""

    def setUp(self) -> None:
        """Connect Asterisk to a FastAGIProtocol."""
        self.connect()

    def connect(self) -> None:
        """Make a connection on which nothing has come yet."""
        self.owner = FakeOwner()
        self.call = FastAGIProtocol(self.owner)
        self.asterisk = AsteriskEnd(self.call)

    def open(self, call: SimulatedCall = CALL) -> None:
        """Receive the opening block."""
        self.asterisk.says(call.environment())

    def begin(self) -> None:
        """Open a call and get its first reply, so that the next ones are passed on at once."""
        self.open()
        self.ask("NOOP")
        self.asterisk.says(b"200 result=0\n")
        self.passes(fastagi.SETTLE_S)

    def ask(self, command: str) -> Deferred[AGIReply]:
        """Send a command and check that it was sent."""
        waiting = self.call.execute(command)
        self.assertEqual(self.asterisk.hears(), command.encode() + b"\n")
        return waiting

    def passes(self, seconds: float) -> None:
        """Advance the clock."""
        self.owner.time.advance(seconds)

    def hours(self, count: int = 1) -> None:
        """Let hours pass, in which timers that are due find the process at work: one that is very late is put off."""
        self.owner.time.pump([HOUR_S, GRACE_S] * count)

    def assertOver(self) -> None:
        """Check that the connection gets closed and no timer is left."""
        self.owner.time.pump([HOUR_S, GRACE_S] * 4)
        self.assertTrue(self.asterisk.is_closed)
        self.asterisk.goes()
        self.assertEqual(self.owner.events[-1], "closed")
        self.assertEqual(self.owner.events.count("closed"), 1)
        self.assertEqual(self.owner.time.getDelayedCalls(), [])


class Opening(ProtocolCase):
    """A connection until its first command."""

    def test_opened(self) -> None:
        """The owner is called when the block is complete, and not before; then there is no timeout."""
        for segment in byte_by_byte(CALL.environment()):
            self.assertEqual(self.owner.events, ["opened"])
            self.asterisk.says(segment)
        self.assertEqual(self.owner.events, ["opened", "begin"])
        self.assertEqual(self.call.request.extension, "21")
        self.hours()  # what is done with the call takes as long as it takes
        self.assertFalse(self.asterisk.is_closed)
        self.assertEqual(self.owner.time.getDelayedCalls(), [])

    def test_silence(self) -> None:
        """A connection without a complete block is closed after ten seconds, with no log line above info."""
        with capturedLogs() as logs:
            self.asterisk.says(b"agi_network: yes\n")
            self.passes(fastagi.OPENING_TIMEOUT_S - 0.1)
            self.assertFalse(self.asterisk.is_closed)
            self.passes(0.1)
            self.assertTrue(self.asterisk.is_closed)
        self.assertEqual(loud(logs), [])
        (line,) = logs
        self.assertEqual((line["peer"], line["seconds"]), (self.call.peer, 10.0))
        self.assertOver()

    def test_second_command(self) -> None:
        """A command while another one waits is named in the failure; the first one goes on."""
        self.open()
        first = self.call.execute("GET DATA x")
        second = self.failureResultOf(self.call.execute("SET VARIABLE PIN 1234"), AGIError).value
        self.assertEqual(str(second), "a command is still being answered; SET was not sent")
        self.assertNoResult(first)
        first.addErrback(lambda _: None)

    def test_does_not_let_go(self) -> None:
        """A peer that does not read the last bytes is aborted five seconds later."""
        self.open()
        self.call.close()
        self.assertFalse(self.asterisk.is_aborted)
        self.passes(4.9)
        self.assertFalse(self.asterisk.is_aborted)
        self.passes(0.1)
        self.assertTrue(self.asterisk.is_aborted)
        self.assertOver()

    def test_hangup_between_any_two_bytes(self) -> None:
        """A connection may end at any byte of the block: no timer is left, nothing is logged above info."""
        block = CALL.environment()
        with capturedLogs() as logs:
            for place in range(len(block) + 1):
                self.connect()
                self.asterisk.says(block[:place])
                self.asterisk.goes()
                self.assertEqual(self.owner.events[-1], "closed")
                self.assertEqual(self.owner.time.getDelayedCalls(), [])
                messages = [event["log_format"] for event in logs if "before its opening block" in event["log_format"]]
                self.assertEqual(len(messages), min(place + 1, len(block)))
        self.assertEqual(loud(logs), [])

    def test_mebibyte_without_end(self) -> None:
        """A block is refused beyond the limit; what follows, even the rest of a genuine block, opens no call."""
        self.asterisk.says(b"agi_network: ")
        for _ in range(16):
            self.asterisk.says(b"x" * 65_536)
        self.passes(refusal.DRAIN_S)
        self.assertEqual(self.asterisk.hears(), REFUSAL)
        self.asterisk.says(b"x" * 65_536 + b"\n" + CALL.environment().partition(b"\n")[2])
        self.assertNotIn("begin", self.owner.events)
        self.assertOver()

    def test_garbage(self) -> None:
        """Another protocol is refused; one log line names the peer."""
        for garbage in (
            b"GET / HTTP/1.1\r\n\r\n\n\n",
            b"\n\n",
            b"\0" * 99 + b"\n\n",
            b"\xff\xfe\n\n",
            b"a\nb\n\n",
        ):
            self.connect()
            with capturedLogs() as logs:
                self.asterisk.says(garbage)
            (event,) = loud(logs)
            self.assertEqual((event["uniqueid"], event["peer"]), ("(unknown)", "192.168.1.1"))
            self.assertTrue(event["error"].isprintable())
            self.assertNotIn("begin", self.owner.events)
            self.assertOver()

    def test_closed_by_the_owner(self) -> None:
        """The owner may close before the block has come; what comes then is not read."""
        self.call.close()
        self.open()
        self.call.close()
        self.assertEqual(self.owner.events, ["opened"])
        self.assertOver()

    def test_closed_while_asked(self) -> None:
        """When the owner closes, the command that waits fails, and all later ones; that is no stop of the gateway."""
        self.begin()
        waiting = self.ask("GET DATA x")
        self.call.close()
        for asked in (waiting, self.call.execute("NOOP")):
            self.assertIs(type(self.failureResultOf(asked, ConnectionClosed).value), ConnectionClosed)
        self.assertOver()

    def test_turned_away_while_served(self) -> None:
        """A served call is not told that the gateway is busy: the fault is logged, and the connection aborted."""
        self.begin()
        waiting = self.ask("GET DATA x")
        self.call.turn_away()
        self.failureResultOf(waiting, ConnectionClosed)
        self.assertEqual((self.asterisk.hears(), self.asterisk.is_aborted), (b"", True))
        self.assertNotIn("turned away", self.owner.events)
        (failure,) = self.flushLoggedErrors(IllegalTransition)
        self.assertIn("TURNED_AWAY is impossible in the state ASKED", failure.getErrorMessage())
        self.asterisk.goes()
        self.assertEqual(self.owner.time.getDelayedCalls(), [])

    def test_keep_alive(self) -> None:
        """A TCP connection has keep-alive, so that a vanished peer is noticed."""
        transport = TCPTransport()
        FastAGIProtocol(self.owner).makeConnection(transport)
        self.assertTrue(transport.keeps_alive)

    def test_unix_peer(self) -> None:
        """A peer on a Unix socket is named by its path; one that has none, as Asterisk's, is called just that."""
        for path, expected in (
            ("/run/x", "/run/x"),
            (b"/run/\xc3\xb1\n", "/run/ñ\\n"),
            (None, "a Unix socket"),
            (b"", "a Unix socket"),
        ):
            call = FastAGIProtocol(self.owner)
            call.makeConnection(StringTransport(peerAddress=UNIXAddress(path)))
            with capturedLogs() as logs:
                call.dataReceived(b"x\n\n")
            self.assertEqual(loud(logs)[0]["peer"], expected)
            self.hours()


class TCPTransport(StringTransport):
    """A transport with keep-alive."""

    keeps_alive = False

    def __init__(self) -> None:
        super().__init__()
        directlyProvides(self, ITCPTransport)

    def getHandle(self) -> None:
        """It has no socket."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Keep the setting of TCP keepalive."""
        self.keeps_alive = enabled


class Forged(ProtocolCase):
    """A caller put line ends into a number or a name (docs/asterisk.md A7)."""

    IN_ORDER = "9\nagi_priority: 1\nagi_enhanced: 0.0\nagi_accountcode: \nagi_threadid: 1\n\n200 resu"  # 79 bytes

    def assertRefused(self, asked: bool = False) -> None:
        """Check that the call was marked, hung up and closed, one command after the other, with one warning."""
        (event,) = loud(self.logs)
        self.assertEqual(event["log_level"], LogLevel.warn)
        self.assertTrue(event["error"].isprintable())
        if asked:  # what was asked before is given its time
            self.assertEqual(self.asterisk.hears(), b"")
            self.passes(refusal.STEP_S)
        else:  # what is still being written is let come
            self.assertEqual(self.asterisk.hears(), b"")
            self.passes(refusal.DRAIN_S)
        self.assertEqual(self.asterisk.hears(), REFUSAL)
        self.assertFalse(self.asterisk.is_closed)
        self.passes(refusal.STEP_S)
        self.assertEqual(self.asterisk.hears(), b"HANGUP\n")
        self.asterisk.says(b"200 result=1\nHANGUP\n")
        self.assertTrue(self.asterisk.is_closed)
        self.assertEqual(self.asterisk.hears(), b"")
        self.assertOver()

    def comes(self, *segments: bytes) -> None:
        """Let segments arrive, and capture the log."""
        with capturedLogs() as self.logs:
            for segment in segments:
                self.asterisk.says(segment)

    def test_examples(self) -> None:
        """The examples of docs/asterisk.md A7, whole and byte by byte: none becomes a call, none changes the caller."""
        for call in (
            SimulatedCall("9\nagi_callerid: 22", caller="33"),
            SimulatedCall("21", caller="22\nagi_extension: 900\nagi_threadid: 1\n\n200 result=1234", name="x"),
            SimulatedCall("9", caller="555\nagi_callerid: 22"),
            SimulatedCall(self.IN_ORDER.removesuffix("\n\n200 resu"), caller="33", dnid="9"),
            SimulatedCall("21", arguments=("x\nagi_callerid: 22",)),
            SimulatedCall("21", arguments=("x\nagi_arg_2: y", "z")),
        ):
            for cut in (in_one, byte_by_byte):
                self.connect()
                self.comes(*cut(call.environment()))
                self.assertNotIn("begin", self.owner.events)
                self.assertIsNone(self.call.request.caller)
                self.assertRefused()

    def test_forged_on_a_dead_channel(self) -> None:
        """What is asked on a dead channel is given its time before the call is ended, too."""
        self.open()
        waiting = self.ask("EXEC Dial PJSIP/21")
        self.asterisk.says(b"HANGUP\n")
        self.assertNoResult(waiting)
        self.comes(b"hello\n")
        self.failureResultOf(waiting, ProtocolViolation)
        self.passes(refusal.DRAIN_S)
        self.assertRefused(asked=True)

    def test_in_order_same_segment(self) -> None:
        """A number that completes the block in order is noticed by the rest of the true block."""
        self.comes(SimulatedCall(self.IN_ORDER, caller="33", dnid="9").environment())
        self.assertNotIn("begin", self.owner.events)
        self.assertRefused()

    def test_in_order_other_segment(self) -> None:
        """The same, when the rest comes later and no command was sent yet."""
        block, end, rest = SimulatedCall(self.IN_ORDER, caller="33", dnid="9").environment().partition(b"\n\n")
        self.comes(block + end, rest)
        self.assertEqual(self.call.request.caller, "33")
        self.assertRefused()
        self.failureResultOf(self.call.execute("NOOP"), ConnectionClosed)

    def test_in_order_every_cut(self) -> None:
        """Wherever the bytes are cut, a command that was sent is never answered by the number."""
        data = SimulatedCall(self.IN_ORDER, caller="33", dnid="9").environment()
        block_end = data.index(b"\n\n") + 2
        for place in range(block_end, len(data)):
            self.connect()
            with capturedLogs() as self.logs:
                self.asterisk.says(data[:place])
                if "begin" not in self.owner.events:
                    self.assertGreater(place, block_end)
                    self.assertRefused()
                    continue
                waiting = self.ask("SET VARIABLE PBXROUTER routing")
                self.asterisk.says(data[place:])
                self.failureResultOf(waiting, ProtocolViolation)
            self.assertRefused(asked=True)

    def test_argument_that_ends_the_block(self) -> None:
        """An argument that ends the block with a reply behind it is noticed by the true end."""
        data = SimulatedCall("21", arguments=("x\n\n200 result=1",)).environment()
        self.comes(data)
        self.assertRefused()
        self.connect()
        block, end, rest = data.partition(b"\n\n")
        self.asterisk.says(block + end)
        first = self.ask("SET VARIABLE PBXROUTER routing")
        with capturedLogs() as self.logs:
            self.asterisk.says(rest)
        self.failureResultOf(first, ProtocolViolation)
        self.assertRefused(asked=True)

    def test_while_a_command_runs(self) -> None:
        """A line that is no reply ends the call; the command fails."""
        for line in (b"agi_callerid: 22\n", b"\n", b"200\n", b"\xff\xfe\n", b"404 x\n", b"x" * (2 << 20)):
            self.connect()
            self.begin()
            waiting = self.ask("GET DATA x")
            self.comes(line)
            failure_of(self, waiting, ProtocolViolation)
            self.assertRefused(asked=True)

    def test_while_an_application_ends(self) -> None:
        """The same after the caller's hang-up: the reply to the running command is given its time."""
        self.begin()
        waiting = self.ask("EXEC ConfBridge x")
        self.asterisk.says(b"HANGUP\n")
        self.comes(b"agi_callerid: 22\n")
        failure_of(self, waiting, ProtocolViolation)
        self.assertRefused(asked=True)

    def test_after_a_reply(self) -> None:
        """A second reply behind the true one ends the call; the command fails."""
        for first in (b"200 result=1\n", b"200 result=-1\n"):
            self.connect()
            self.begin()
            waiting = self.ask("GET DATA x")
            self.comes(first + b"200 result=1\n")
            self.failureResultOf(waiting, ProtocolViolation)
            self.assertRefused(asked=True)

    def test_after_a_reply_later(self) -> None:
        """The same with the second reply in a segment of its own, also while a -1 is held."""
        self.begin()
        waiting = self.ask("GET DATA x")
        self.comes(b"200 result=1\n", b"200 result=1\n")
        self.successResultOf(waiting)
        self.assertRefused()
        self.connect()
        self.begin()
        waiting = self.ask("GET DATA x")
        self.comes(b"200 result=-1\n", b"200 result=1\n")
        self.failureResultOf(waiting, ProtocolViolation)
        self.assertRefused()

    def test_first_reply_settles(self) -> None:
        """The first reply may be forged: it is held until the rest of the block would have come."""
        self.open()
        waiting = self.ask("SET VARIABLE PBXROUTER routing")
        self.comes(b"200 result=1\n")
        self.assertNoResult(waiting)
        self.assertTrue(self.call.is_busy)
        self.comes(b"agi_priority: 1\n")
        self.failureResultOf(waiting, ProtocolViolation)
        self.assertRefused()

    def test_last_words_wait(self) -> None:
        """Each command that ends a forged call waits for a reply, and for nothing else."""
        self.begin()
        self.ask("GET DATA x").addErrback(lambda _: None)
        self.comes(b"garbage\n")
        self.asterisk.says(b"more\n")
        self.assertEqual(self.asterisk.hears(), b"")
        self.asterisk.says(b"200 result=12\n")
        self.assertEqual(self.asterisk.hears(), REFUSAL)
        self.asterisk.says(b"200 result=1\n")
        self.assertEqual(self.asterisk.hears(), b"HANGUP\n")
        self.asterisk.says(b"200 result=1\n")
        self.assertOver()

    def test_refused_goes_first(self) -> None:
        """The connection may end before all of these commands were sent."""
        self.comes(SimulatedCall("9\nagi_callerid: 22").environment())
        self.asterisk.goes()
        self.assertEqual(self.owner.time.getDelayedCalls(), [])
        self.assertEqual(self.owner.events, ["opened", "closed"])

    def test_owner_is_told(self) -> None:
        """Of a call that was refused before it was served the owner hears channel, Uniqueid and peer."""
        self.comes(SimulatedCall("9\nagi_callerid: 22").environment())
        ((request, violation),) = self.owner.refusals
        genuine = request_of(SimulatedCall("9")).variables
        self.assertEqual(request.variables, {name: genuine[name] for name in ("channel", "uniqueid")})
        self.assertEqual(violation.peer, self.asterisk.transport.getPeer().host)
        self.assertRefused()

    def test_owner_is_told_once(self) -> None:
        """Of a call that is being served its conversation tells, also when it was refused between two commands."""
        self.open()
        self.comes(b"x\n")
        self.assertEqual(self.owner.refusals, [])
        violation = self.failureResultOf(self.call.execute("NOOP"), ProtocolViolation).value
        self.assertEqual(violation.peer, self.asterisk.transport.getPeer().host)
        self.assertRefused()

    def test_closing_hurries_nothing(self) -> None:
        """A forged call that the owner closes meanwhile is still marked and hung up."""
        self.comes(SimulatedCall("9\nagi_callerid: 22").environment())
        self.call.close()
        self.assertRefused()

    def test_uniqueid_in_the_log(self) -> None:
        """The log line names a call that has opened."""
        self.open()
        self.comes(b"x\n")
        self.assertEqual(loud(self.logs)[0]["uniqueid"], "1795409729.6")
        self.assertRefused()

    def test_kind(self) -> None:
        """ForgedRequest is a ProtocolViolation."""
        self.assertTrue(issubclass(ForgedRequest, ProtocolViolation))


class Commands(ProtocolCase):
    """Commands and replies; the contract of every channel is in tests/agi/test_channel.py."""

    def setUp(self) -> None:
        """Begin a call."""
        super().setUp()
        self.begin()

    def test_hundred_commands(self) -> None:
        """Commands one after another, each answered before the next, use one timer."""
        for number in range(100):
            waiting = self.ask(f"NOOP {number}")
            self.assertTrue(self.call.is_busy)
            self.asterisk.says(b"200 result=%d\n" % number)
            self.assertEqual(self.successResultOf(waiting).result, str(number))
            self.assertEqual(len(self.owner.time.getDelayedCalls()), 1)
        self.hours()
        self.assertFalse(self.asterisk.is_closed)
        self.call.close()
        self.assertOver()

    def test_trying(self) -> None:
        """Lines 100 may come before the reply."""
        waiting = self.ask("GOSUB a b 1")
        for _ in range(10):
            self.asterisk.says(b"100 result=0 Trying...\n")
            self.assertNoResult(waiting)
        self.asterisk.says(b"200 result=0 Gosub complete\n")
        self.assertEqual(self.successResultOf(waiting).result, "0")
        self.call.close()
        self.assertOver()

    def test_next_from_the_answer(self) -> None:
        """A command may be sent from the callback of the last one's reply."""
        later: list[Deferred[AGIReply]] = []
        self.ask("NOOP 1").addCallback(lambda _: later.append(self.call.execute("NOOP 2")))
        self.asterisk.says(b"200 result=0\n")
        self.assertEqual(self.asterisk.hears(), b"NOOP 2\n")
        self.asterisk.says(b"200 result=7\n")
        self.assertEqual(self.successResultOf(later[0]).result, "7")
        self.call.close()
        self.assertOver()

    def test_520_of_many_lines(self) -> None:
        """The failure tells one line of it, and the next reply is the next command's."""
        waiting = self.ask("GET VARIABLE")
        lines = b" Example return code: 200 result=1 (testvariable)\n" * 200
        self.asterisk.says(b"520-Invalid command syntax.  Proper usage follows:\n" + lines)
        self.assertNoResult(waiting)
        self.asterisk.says(b"520 End of proper usage.\n")
        self.assertIn("520 to GET VARIABLE: Invalid", failure_of(self, waiting, CommandRefused))
        waiting = self.ask("NOOP")
        self.asterisk.says(b"200 result=0\n")
        self.successResultOf(waiting)
        self.call.close()
        self.assertOver()

    def test_no_reply(self) -> None:
        """A command without a reply fails after its time, with a warning; the dialplan is told, and the call closed."""
        for command, seconds in (("NOOP", REPLY_TIMEOUT_S), ("GET DATA x", KEYING_TIMEOUT_S)):
            self.connect()
            self.begin()
            waiting = self.ask(command)
            self.passes(seconds - 0.1)
            self.assertNoResult(waiting)
            with capturedLogs() as logs:
                self.passes(0.1)
            failure_of(self, waiting, ReplyTimeout)
            (event,) = loud(logs)
            self.assertEqual((event["log_level"], event["name"]), (LogLevel.warn, command.split(" ")[0]))
            self.assertEqual(self.asterisk.hears(), b"SET VARIABLE PBXROUTER busy\n")
            self.passes(refusal.STEP_S)
            self.assertTrue(self.asterisk.is_closed)
            self.assertOver()

    def test_application_takes_its_time(self) -> None:
        """An application may run for days."""
        waiting = self.ask("EXEC Dial x")
        self.hours(50)
        self.assertNoResult(waiting)
        self.asterisk.says(b"200 result=0\n")
        self.successResultOf(waiting)
        self.call.close()
        self.assertOver()

    def test_cancelled(self) -> None:
        """Cancelling a command's Deferred closes the call."""
        waiting = self.ask("EXEC Dial x")
        waiting.cancel()
        self.failureResultOf(waiting, ConnectionClosed)
        self.assertOver()

    def test_closed_while_asked(self) -> None:
        """After close() the command fails, and so do later ones; the reply is not read."""
        waiting = self.ask("GET DATA x")
        self.call.close()
        self.failureResultOf(waiting, ConnectionClosed)
        self.asterisk.says(b"200 result=1\n")
        self.failureResultOf(self.call.execute("NOOP"), ConnectionClosed)
        self.assertEqual(self.asterisk.hears(), b"")
        self.assertOver()

    def test_draining(self) -> None:
        """While the server stops, the running command is finished, and the next one closes the call."""
        waiting = self.ask("GET DATA x")
        self.owner.draining = True
        self.asterisk.says(b"200 result=1\n")
        self.successResultOf(waiting)
        self.failureResultOf(self.call.execute("NOOP"), ConnectionClosed)
        self.assertEqual(self.asterisk.hears(), b"")
        self.assertOver()


class HangingUp(ProtocolCase):
    """The caller hangs up, in every state."""

    def setUp(self) -> None:
        """A call, with the log captured."""
        super().setUp()
        self.begin()
        self.logs = self.enterContext(capturedLogs())

    def assertQuiet(self) -> None:
        """Check that nothing was logged above info and that close() ends everything."""
        self.call.close()
        self.assertEqual(loud(self.logs), [])
        self.assertOver()

    def test_between_commands(self) -> None:
        """Commands that a dead channel refuses are not sent; the others are."""
        self.asterisk.says(b"HANGUP\n")
        self.assertTrue(self.call.hung_up)
        self.failureResultOf(self.call.execute("ANSWER"), ChannelHungUp)
        waiting = self.ask("SET VARIABLE A b")
        self.asterisk.says(b"HANGUP\n")
        self.assertNoResult(waiting)
        self.asterisk.says(b"200 result=1\n")
        self.successResultOf(waiting)
        self.assertQuiet()

    def test_dead_channel(self) -> None:
        """A 511 tells that the caller is gone, without a HANGUP: the call is hung up, not lost."""
        waiting = self.ask("GET DATA x")
        self.assertFalse(self.call.saw_hangup)
        self.asterisk.says(b"511 Command Not Permitted on a dead channel or intercept routine\n")
        self.failureResultOf(waiting, ChannelHungUp)
        self.assertTrue(self.call.saw_hangup)

    def test_before_the_reply(self) -> None:
        """HANGUP may overtake the reply to a command; that reply is not taken for the next one."""
        waiting = self.ask("GET DATA x")
        self.asterisk.says(b"HANGUP\n")
        self.failureResultOf(waiting, ChannelHungUp)
        self.failureResultOf(self.call.execute("NOOP"), ChannelHungUp)  # one is being answered
        self.assertEqual(self.asterisk.hears(), b"")
        self.asterisk.says(b"511 Command Not Permitted on a dead channel or intercept routine\n")
        waiting = self.ask("NOOP")
        self.asterisk.says(b"200 result=0\n")
        self.successResultOf(waiting)
        self.assertQuiet()

    def test_inside_a_reply(self) -> None:
        """HANGUP may stand between the lines of a 520, be it that of a command that a dead channel does or not."""
        for command, kind in (("GET VARIABLE", CommandRefused), ("GET DATA", ChannelHungUp)):
            self.connect()
            self.begin()
            waiting = self.ask(command)
            self.asterisk.says(b"520-Invalid\n x\nHANGUP\n520 End of proper usage.\n")
            self.failureResultOf(waiting, kind)
        waiting = self.ask("NOOP")
        self.asterisk.says(b"200 result=0\n")
        self.successResultOf(waiting)
        self.assertQuiet()

    def test_in_an_application(self) -> None:
        """The application's reply is waited for, since it tells the result."""
        waiting = self.ask("EXEC Dial x")
        self.asterisk.says(b"HANGUP\n")
        self.assertNoResult(waiting)
        self.asterisk.says(b"200 result=0\n")
        self.assertEqual(self.successResultOf(waiting).result, "0")
        self.assertQuiet()

    def test_in_an_application_minus_one(self) -> None:
        """After HANGUP a -1 means hung up at once, except from a Dial, whose result can still be asked for."""
        waiting = self.ask("EXEC Dial x")
        self.asterisk.says(b"HANGUP\n200 result=-1\n")
        self.assertEqual(self.successResultOf(waiting).result, "-1")
        waiting = self.ask("EXEC ConfBridge x")
        self.asterisk.says(b"200 result=-1\n")
        self.failureResultOf(waiting, ChannelHungUp)
        self.assertQuiet()

    def test_in_an_application_silence(self) -> None:
        """An application that does not end with the caller is left after five seconds."""
        waiting = self.ask("EXEC Dial x")
        self.asterisk.says(b"HANGUP\n")
        self.passes(fastagi.ENDING_TIMEOUT_S)
        self.failureResultOf(waiting, ChannelHungUp)
        self.failureResultOf(self.call.execute("GET VARIABLE X"), ChannelHungUp)
        self.assertEqual(self.asterisk.hears(), b"")
        self.assertQuiet()

    def test_minus_one_same_segment(self) -> None:
        """HANGUP in the same segment behind the -1 explains it."""
        waiting = self.ask("GET DATA x")
        self.asterisk.says(b"200 result=-1\nHANGUP\n")
        self.failureResultOf(waiting, ChannelHungUp)
        self.assertQuiet()

    def test_minus_one_later(self) -> None:
        """HANGUP may come 100 ms after the -1; until then the command waits."""
        waiting = self.ask("GET DATA x")
        self.asterisk.says(b"200 result=-1\n")
        self.passes(0.1)
        self.assertNoResult(waiting)
        self.assertTrue(self.call.is_busy)
        self.asterisk.says(b"HANGUP\n")
        self.failureResultOf(waiting, ChannelHungUp)
        self.assertQuiet()

    def test_minus_one_never(self) -> None:
        """Without HANGUP the -1 is the reply, after a quarter of a second."""
        waiting = self.ask("GET DATA x")
        self.asterisk.says(b"200 result=-1\n")
        self.passes(fastagi.HANGUP_GRACE_S)
        self.assertEqual(self.successResultOf(waiting).result, "-1")
        self.assertFalse(self.call.hung_up)
        self.assertQuiet()

    def test_minus_one_that_means_nothing(self) -> None:
        """A -1 of a command that takes no time is passed on at once."""
        waiting = self.ask("CHANNEL STATUS other")
        self.asterisk.says(b"200 result=-1\n")
        self.assertEqual(self.successResultOf(waiting).result, "-1")
        self.assertQuiet()

    def test_minus_one_then_the_end(self) -> None:
        """After a -1 the connection may end, with two HANGUP lines (AGIEXITONHANGUP) or without."""
        for last in (b"200 result=-1\nHANGUP\nHANGUP\n", b"200 result=-1\n"):
            self.connect()
            self.begin()
            waiting = self.ask("GET DATA x")
            self.asterisk.says(last)
            self.asterisk.goes()
            self.failureResultOf(waiting, ChannelHungUp)
            self.assertEqual(self.owner.time.getDelayedCalls(), [])
        self.assertEqual(loud(self.logs), [])

    def test_connection_ends_while_asked(self) -> None:
        """When the connection ends the command fails, and so do all later ones."""
        waiting = self.ask("GET DATA x")
        self.asterisk.goes()
        self.failureResultOf(waiting, ConnectionClosed)
        self.failureResultOf(self.call.execute("NOOP"), ConnectionClosed)
        self.call.close()
        self.assertEqual(self.owner.time.getDelayedCalls(), [])
        self.assertEqual(loud(self.logs), [])


class Watching(ProtocolCase):
    """The dialogue as a watcher sees it."""

    def setUp(self) -> None:
        """Begin a call that is watched."""
        super().setUp()
        self.seen: list[DialogueLine] = []
        self.owner.watch.add(self.seen.append)

    def test_whole_dialogue(self) -> None:
        """A watcher sees block, commands, replies, hang-up and end; digits are starred, each line is printable."""
        self.open(SimulatedCall("21", caller="33", name="\udcff\x1b[31m"))
        waiting = self.ask("GET DATA x")
        self.asterisk.says(b"200 result=1234\nHANGUP\n")
        self.asterisk.goes()
        self.failureResultOf(waiting, ChannelHungUp)
        lines = [str(line) for line in self.seen]
        self.assertEqual(lines[0], "1795409729.6 33->21 < agi_network: yes")
        self.assertIn("1795409729.6 33->21 < agi_calleridname: \\udcff\\x1b[31m", lines)
        self.assertEqual(
            [line.removeprefix("1795409729.6 33->21 ") for line in lines[-4:]],
            ["> GET DATA x", "< 200 result=***", "< HANGUP", "- the connection is closed"],
        )


PIECES = st.sampled_from(
    [
        *(b"200 result=0\n", b"200 result=-1\n", b"HANGUP\n", b"100 x\n", b"510 x\n", b"511 x\n", b"520-x\n"),
        *(b"520 x\n", b"200 result=1 (", b")\n", b"\n", b"agi_arg_1: x\n", b"\xff"),
    ]
)
STEPS: list[Callable[[ProtocolCase], object]] = [
    lambda case: case.call.execute("GET DATA x").addErrback(lambda _: None),
    lambda case: case.call.execute("EXEC Dial x").addErrback(lambda _: None),
    lambda case: case.call.execute("GET VARIABLE X").addErrback(lambda _: None),
    lambda case: case.passes(0.2),
    lambda case: case.passes(6),
]


class AnyConversation(ProtocolCase):
    """Arbitrary bytes, commands and pauses."""

    @given(st.lists(st.one_of(PIECES, st.binary(max_size=3), st.sampled_from(STEPS)), max_size=12), st.booleans())
    def test_ends_closed(self, steps: list[bytes | Callable[[ProtocolCase], object]], opens: bool) -> None:
        """There is no exception and never a second command before the reply; in the end the connection is closed
        and every Deferred has fired."""
        waiting: list[Deferred[object]] = []
        self.connect()
        if opens:
            self.open()
        for step in steps:
            if callable(step):
                self.asterisk.hears()
                if isinstance(asked := step(self), Deferred):
                    waiting.append(asked)
                if REFUSAL not in self.asterisk.transport.value():
                    self.assertLessEqual(self.asterisk.transport.value().count(b"\n"), 1)
            else:
                self.asterisk.says(step)
        self.call.close()
        self.assertOver()
        self.assertTrue(all(deferred.called for deferred in waiting))
