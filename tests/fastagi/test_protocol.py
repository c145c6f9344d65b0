"""One call's protocol: every state, every time-out, what callers forge; closed in every case."""

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
from pbxrouter.simulator import SimulatedCall
from tests.fakes import AsteriskEnd, FakeOwner, byte_by_byte, failure_of, in_one, loud, request_of

CALL = SimulatedCall("21", caller="33")
REFUSAL = b"SET VARIABLE PBXROUTER refused\n"
HOUR_S = 3600


class ProtocolCase(SynchronousTestCase):
    """A connection in memory."""

    def setUp(self) -> None:
        """Asterisk connects."""
        self.connect()

    def connect(self) -> None:
        """A connection that has said nothing yet."""
        self.owner = FakeOwner()
        self.call = FastAGIProtocol(self.owner)
        self.asterisk = AsteriskEnd(self.call)

    def open(self, call: SimulatedCall = CALL) -> None:
        """The opening block comes."""
        self.asterisk.says(call.environment())

    def begin(self) -> None:
        """A call whose first reply has come, so that the next ones are told at once."""
        self.open()
        self.ask("NOOP")
        self.asterisk.says(b"200 result=0\n")
        self.passes(fastagi.SETTLE_S)

    def ask(self, command: str) -> Deferred[AGIReply]:
        """Send a command, and take it off the wire."""
        waiting = self.call.execute(command)
        self.assertEqual(self.asterisk.hears(), command.encode() + b"\n")
        return waiting

    def passes(self, seconds: float) -> None:
        """Time."""
        self.owner.time.advance(seconds)

    def assertOver(self) -> None:
        """The connection gets closed, and nothing is left behind."""
        self.owner.time.pump([HOUR_S] * 4)
        self.assertTrue(self.asterisk.is_closed)
        self.asterisk.goes()
        self.assertEqual(self.owner.told[-1], "closed")
        self.assertEqual(self.owner.told.count("closed"), 1)
        self.assertEqual(self.owner.time.getDelayedCalls(), [])


class Opening(ProtocolCase):
    """From the connection to the first command."""

    def test_opened(self) -> None:
        """The owner is told when the block is whole, not before."""
        for segment in byte_by_byte(CALL.environment()):
            self.assertEqual(self.owner.told, ["opened"])
            self.asterisk.says(segment)
        self.assertEqual(self.owner.told, ["opened", "begin"])
        self.assertEqual(self.call.request.extension, "21")
        self.passes(HOUR_S)  # what is done with the call takes as long as it takes
        self.assertFalse(self.asterisk.is_closed)
        self.assertEqual(self.owner.time.getDelayedCalls(), [])

    def test_silence(self) -> None:
        """Who says nothing is closed after ten seconds, quietly."""
        with capturedLogs() as logs:
            self.asterisk.says(b"agi_network: yes\n")
            self.passes(fastagi.OPENING_TIMEOUT_S - 0.1)
            self.assertFalse(self.asterisk.is_closed)
            self.passes(0.1)
            self.assertTrue(self.asterisk.is_closed)
        self.assertEqual(loud(logs), [])
        self.assertOver()

    def test_does_not_let_go(self) -> None:
        """Who does not take our last bytes is cut off five seconds later."""
        self.open()
        self.call.close()
        self.assertFalse(self.asterisk.is_aborted)
        self.passes(fastagi.ENDING_TIMEOUT_S)
        self.assertTrue(self.asterisk.is_aborted)
        self.assertOver()

    def test_hangup_between_any_two_bytes(self) -> None:
        """A connection that ends in the block costs nothing."""
        block = CALL.environment()
        with capturedLogs() as logs:
            for place in range(len(block) + 1):
                self.connect()
                self.asterisk.says(block[:place])
                self.asterisk.goes()
                self.assertEqual(self.owner.told[-1], "closed")
                self.assertEqual(self.owner.time.getDelayedCalls(), [])
        self.assertEqual(loud(logs), [])

    def test_mebibyte_without_end(self) -> None:
        """It is refused when the limit is passed, and what follows is not kept."""
        self.asterisk.says(b"agi_network: ")
        for _ in range(16):
            self.asterisk.says(b"x" * 65_536)
        self.passes(refusal.DRAIN_S)
        self.assertEqual(self.asterisk.hears(), REFUSAL)
        self.asterisk.says(b"x" * 65_536)
        self.assertNotIn("begin", self.owner.told)
        self.assertOver()

    def test_garbage(self) -> None:
        """Who speaks another protocol is turned away; the log says who, on one line."""
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
            self.assertNotIn("begin", self.owner.told)
            self.assertOver()

    def test_closed_by_the_owner(self) -> None:
        """Also before the block is there; what comes then is not read."""
        self.call.close()
        self.open()
        self.call.close()
        self.assertEqual(self.owner.told, ["opened"])
        self.assertOver()

    def test_keep_alive(self) -> None:
        """Where the connection is TCP a peer that vanished is found out."""
        transport = TCPTransport()
        FastAGIProtocol(self.owner).makeConnection(transport)
        self.assertTrue(transport.keeps_alive)

    def test_unix_peer(self) -> None:
        """A peer without a host is named as well as it can be."""
        call = FastAGIProtocol(self.owner)
        call.makeConnection(StringTransport(peerAddress=UNIXAddress("/run/x")))
        with capturedLogs() as logs:
            call.dataReceived(b"x\n\n")
        self.assertIn("/run/x", loud(logs)[0]["peer"])
        self.passes(HOUR_S)


class TCPTransport(StringTransport):
    """One that can be told to keep alive."""

    keeps_alive = False

    def __init__(self) -> None:
        super().__init__()
        directlyProvides(self, ITCPTransport)

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """As TCP's own."""
        self.keeps_alive = enabled


class Forged(ProtocolCase):
    """A caller put line ends into a number or a name (docs/asterisk.md A7)."""

    IN_ORDER = "9\nagi_priority: 1\nagi_enhanced: 0.0\nagi_accountcode: \nagi_threadid: 1\n\n200 resu"  # 79 bytes

    def assertRefused(self, asked: bool = False) -> None:
        """Marked, hung up, closed, one command after the other; one warning."""
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
        """Segments arrive, with the log watched."""
        with capturedLogs() as self.logs:
            for segment in segments:
                self.asterisk.says(segment)

    def test_examples(self) -> None:
        """Those of the facts, whole and byte by byte: none becomes a call, none changes who calls."""
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
                self.assertNotIn("begin", self.owner.told)
                self.assertIsNone(self.call.request.caller)
                self.assertRefused()

    def test_in_order_same_segment(self) -> None:
        """A number that completes the block in order is betrayed by the rest of the true one."""
        self.comes(SimulatedCall(self.IN_ORDER, caller="33", dnid="9").environment())
        self.assertNotIn("begin", self.owner.told)
        self.assertRefused()

    def test_in_order_other_segment(self) -> None:
        """Also when the rest comes later, and nothing was asked yet."""
        block, end, rest = SimulatedCall(self.IN_ORDER, caller="33", dnid="9").environment().partition(b"\n\n")
        self.comes(block + end, rest)
        self.assertEqual(self.call.request.caller, "33")
        self.assertRefused()
        self.failureResultOf(self.call.execute("NOOP"), ConnectionClosed)

    def test_in_order_every_cut(self) -> None:
        """Wherever it is cut, a question already asked is never answered by the number."""
        data = SimulatedCall(self.IN_ORDER, caller="33", dnid="9").environment()
        block_end = data.index(b"\n\n") + 2
        for place in range(block_end, len(data)):
            self.connect()
            with capturedLogs() as self.logs:
                self.asterisk.says(data[:place])
                if "begin" not in self.owner.told:
                    self.assertGreater(place, block_end)
                    self.assertRefused()
                    continue
                waiting = self.ask("SET VARIABLE PBXROUTER routing")
                self.asterisk.says(data[place:])
                self.failureResultOf(waiting, ProtocolViolation)
            self.assertRefused(asked=True)

    def test_argument_that_ends_the_block(self) -> None:
        """An argument may end the block with a reply behind it; the true end betrays it."""
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
        """A second reply, or a line that is none, ends the call; the command fails."""
        for line in (b"agi_callerid: 22\n", b"\n", b"200\n", b"\xff\xfe\n", b"404 x\n", b"x" * (2 << 20)):
            self.connect()
            self.begin()
            waiting = self.ask("GET DATA x")
            self.comes(line)
            failure_of(self, waiting, ProtocolViolation)
            self.assertRefused(asked=True)

    def test_after_a_reply(self) -> None:
        """A reply that nobody asked for, behind the true one."""
        for first in (b"200 result=1\n", b"200 result=-1\n"):
            self.connect()
            self.begin()
            waiting = self.ask("GET DATA x")
            self.comes(first + b"200 result=1\n")
            self.failureResultOf(waiting, ProtocolViolation)
            self.assertRefused(asked=True)

    def test_after_a_reply_later(self) -> None:
        """In a segment of its own, also while a -1 is held."""
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
        """The first reply may be the caller's: it is not told before the rest would be here."""
        self.open()
        waiting = self.ask("SET VARIABLE PBXROUTER routing")
        self.comes(b"200 result=1\n")
        self.assertNoResult(waiting)
        self.assertTrue(self.call.is_busy)
        self.comes(b"agi_priority: 1\n")
        self.failureResultOf(waiting, ProtocolViolation)
        self.assertRefused()

    def test_last_words_wait(self) -> None:
        """Each waits for its reply, and only for that."""
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
        """The far end may go before we have said all of it."""
        self.comes(SimulatedCall("9\nagi_callerid: 22").environment())
        self.asterisk.goes()
        self.assertEqual(self.owner.time.getDelayedCalls(), [])
        self.assertEqual(self.owner.told, ["opened", "closed"])

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
        """What the owner closes meanwhile is hung up all the same: a forger is not given back."""
        self.comes(SimulatedCall("9\nagi_callerid: 22").environment())
        self.call.close()
        self.assertRefused()

    def test_uniqueid_in_the_log(self) -> None:
        """A call known already is named."""
        self.open()
        self.comes(b"x\n")
        self.assertEqual(loud(self.logs)[0]["uniqueid"], "1795409729.6")
        self.assertRefused()

    def test_kind(self) -> None:
        """What a block holds too much is a forgery to those who are told."""
        self.assertTrue(issubclass(ForgedRequest, ProtocolViolation))


class Commands(ProtocolCase):
    """Asking and being answered. What every channel does is in test_channel."""

    def setUp(self) -> None:
        """A call."""
        super().setUp()
        self.begin()

    def test_hundred_commands(self) -> None:
        """One after another, each answered before the next; there is never more than one timer."""
        for number in range(100):
            waiting = self.ask(f"NOOP {number}")
            self.assertTrue(self.call.is_busy)
            self.asterisk.says(b"200 result=%d\n" % number)
            self.assertEqual(self.successResultOf(waiting).result, str(number))
            self.assertEqual(len(self.owner.time.getDelayedCalls()), 1)
        self.passes(HOUR_S)
        self.assertFalse(self.asterisk.is_closed)
        self.call.close()
        self.assertOver()

    def test_trying(self) -> None:
        """A few lines of 100, each by itself, and then the answer."""
        waiting = self.ask("GOSUB a b 1")
        for _ in range(10):
            self.asterisk.says(b"100 result=0 Trying...\n")
            self.assertNoResult(waiting)
        self.asterisk.says(b"200 result=0 Gosub complete\n")
        self.assertEqual(self.successResultOf(waiting).result, "0")
        self.call.close()
        self.assertOver()

    def test_next_from_the_answer(self) -> None:
        """A command may be sent while the last one's answer is being told."""
        later: list[Deferred[AGIReply]] = []
        self.ask("NOOP 1").addCallback(lambda _: later.append(self.call.execute("NOOP 2")))
        self.asterisk.says(b"200 result=0\n")
        self.assertEqual(self.asterisk.hears(), b"NOOP 2\n")
        self.asterisk.says(b"200 result=7\n")
        self.assertEqual(self.successResultOf(later[0]).result, "7")
        self.call.close()
        self.assertOver()

    def test_520_of_many_lines(self) -> None:
        """One line of it is told, and the next reply is the next command's."""
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
        """A command that takes no time, one that waits for keys: each has its end, said in the log."""
        for command, seconds in (("NOOP", REPLY_TIMEOUT_S), ("GET DATA x", KEYING_TIMEOUT_S)):
            self.connect()
            self.begin()
            waiting = self.ask(command)
            self.passes(seconds - 0.1)
            self.assertNoResult(waiting)
            with capturedLogs() as logs:
                self.passes(0.1)
            failure_of(self, waiting, ReplyTimeout)
            self.assertEqual([event["log_level"] for event in loud(logs)], [LogLevel.warn])
            self.assertTrue(self.asterisk.is_closed)
            self.assertOver()

    def test_application_takes_its_time(self) -> None:
        """A conversation may last for days."""
        waiting = self.ask("EXEC Dial x")
        self.passes(HOUR_S * 50)
        self.assertNoResult(waiting)
        self.asterisk.says(b"200 result=0\n")
        self.successResultOf(waiting)
        self.call.close()
        self.assertOver()

    def test_cancelled(self) -> None:
        """Who gives a command up gives the call up."""
        waiting = self.ask("EXEC Dial x")
        waiting.cancel()
        self.failureResultOf(waiting, ConnectionClosed)
        self.assertOver()

    def test_closed_while_asked(self) -> None:
        """The command fails, and later ones too; its reply is not read any more."""
        waiting = self.ask("GET DATA x")
        self.call.close()
        self.failureResultOf(waiting, ConnectionClosed)
        self.asterisk.says(b"200 result=1\n")
        self.failureResultOf(self.call.execute("NOOP"), ConnectionClosed)
        self.assertEqual(self.asterisk.hears(), b"")
        self.assertOver()

    def test_draining(self) -> None:
        """While we stop, the running command is finished, and the next closes the call."""
        waiting = self.ask("GET DATA x")
        self.owner.draining = True
        self.asterisk.says(b"200 result=1\n")
        self.successResultOf(waiting)
        self.failureResultOf(self.call.execute("NOOP"), ConnectionClosed)
        self.assertEqual(self.asterisk.hears(), b"")
        self.assertOver()


class HangingUp(ProtocolCase):
    """The caller goes, in every state."""

    def setUp(self) -> None:
        """A call, and a watched log."""
        super().setUp()
        self.begin()
        self.logs = self.enterContext(capturedLogs())

    def assertQuiet(self) -> None:
        """Nothing in the log above info, and all is closed once we close."""
        self.call.close()
        self.assertEqual(loud(self.logs), [])
        self.assertOver()

    def test_between_commands(self) -> None:
        """What a dead channel does not do is not sent; the rest is."""
        self.asterisk.says(b"HANGUP\n")
        self.assertTrue(self.call.hung_up)
        self.failureResultOf(self.call.execute("ANSWER"), ChannelHungUp)
        waiting = self.ask("SET VARIABLE A b")
        self.asterisk.says(b"HANGUP\n")
        self.assertNoResult(waiting)
        self.asterisk.says(b"200 result=1\n")
        self.successResultOf(waiting)
        self.assertQuiet()

    def test_before_the_reply(self) -> None:
        """A command sent at that moment finds HANGUP first; its own reply follows and is not mixed up."""
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
        """Between the lines of a 520, of a command that a dead channel does and of one that it does not."""
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
        """Its own answer is waited for, which tells how it went."""
        waiting = self.ask("EXEC Dial x")
        self.asterisk.says(b"HANGUP\n")
        self.assertNoResult(waiting)
        self.asterisk.says(b"200 result=0\n")
        self.assertEqual(self.successResultOf(waiting).result, "0")
        self.assertQuiet()

    def test_in_an_application_minus_one(self) -> None:
        """A -1 after HANGUP is hung up at once; but how a Dial went can still be asked."""
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
        """HANGUP right behind the -1."""
        waiting = self.ask("GET DATA x")
        self.asterisk.says(b"200 result=-1\nHANGUP\n")
        self.failureResultOf(waiting, ChannelHungUp)
        self.assertQuiet()

    def test_minus_one_later(self) -> None:
        """HANGUP 100 ms after the -1; until then nobody is told, and nothing else is sent."""
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
        """Commands of no time have their -1 at once."""
        waiting = self.ask("CHANNEL STATUS other")
        self.asterisk.says(b"200 result=-1\n")
        self.assertEqual(self.successResultOf(waiting).result, "-1")
        self.assertQuiet()

    def test_minus_one_then_the_end(self) -> None:
        """AGIEXITONHANGUP: two lines and the end; or the end alone while a -1 is held."""
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
        """The command fails, as do all after it."""
        waiting = self.ask("GET DATA x")
        self.asterisk.goes()
        self.failureResultOf(waiting, ConnectionClosed)
        self.failureResultOf(self.call.execute("NOOP"), ConnectionClosed)
        self.call.close()
        self.assertEqual(self.owner.time.getDelayedCalls(), [])
        self.assertEqual(loud(self.logs), [])


class Watching(ProtocolCase):
    """The dialogue as somebody sees it."""

    def setUp(self) -> None:
        """Somebody watches."""
        super().setUp()
        self.seen: list[DialogueLine] = []
        self.owner.watch.add(self.seen.append)

    def test_whole_dialogue(self) -> None:
        """The block, commands, replies, hang-up, end; what was keyed is starred, lines are lines."""
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
    """Whatever is said, whenever."""

    @given(st.lists(st.one_of(PIECES, st.binary(max_size=3), st.sampled_from(STEPS)), max_size=12), st.booleans())
    def test_ends_closed(self, steps: list[bytes | Callable[[ProtocolCase], object]], opens: bool) -> None:
        """Never an exception, never two commands in flight, closed in the end, every Deferred fired."""
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
