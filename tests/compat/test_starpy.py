"""StarPy's interface over our server: results, failures, order, life of a call. StarPy itself is not needed."""

from __future__ import annotations

import datetime
import io
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

import pbxrouter.compat.starpy as starpy
from pbxrouter.compat.starpy import AGICommandFailure, FastAGIFactory, FastAGIProtocol, InSequence, error
from pbxrouter.simulator import SimulatedCall
from tests.paths import ROOT

CALL = SimulatedCall("21", caller="33", arguments=("one", "a,b"))
DEAD = "511 Command Not Permitted on a dead channel or intercept routine"
SYNTAX = "520-Invalid command syntax.  Proper usage follows:\nUsage: X\n520 End of proper usage."


class Call:
    """A handler's call over our server, with Asterisk's end in memory."""

    def __init__(
        self,
        handler: Callable[[Any], Any] = lambda agi: None,
        protocol: Any = None,
        opening: bytes = CALL.environment(),
    ) -> None:
        self.clock = Clock()
        self.calls: list[Any] = []
        self.factory = FastAGIFactory(self._keep, self.clock)
        if protocol is not None:
            self.factory.protocol = protocol
        self._handler = handler
        self.transport = StringTransport()
        server = self.factory.buildProtocol(None)
        assert server is not None
        self.server = server
        self.server.makeConnection(self.transport)
        self.server.dataReceived(opening)
        self.clock.pump([0.5, 0.5])

    def _keep(self, agi: Any) -> Any:
        self.calls.append(agi)
        return self._handler(agi)

    @property
    def agi(self) -> Any:
        """The protocol object that the handler got."""
        return self.calls[0]

    def says(self, text: str) -> None:
        """Receive lines, and let a second pass."""
        self.server.dataReceived(f"{text}\n".encode())
        self.clock.pump([0.5, 0.5])

    def hears(self) -> list[str]:
        """The commands sent since the last call."""
        lines: list[str] = self.transport.value().decode().split("\n")[:-1]
        self.transport.clear()
        return lines

    @property
    def is_closed(self) -> bool:
        """Whether the gateway closed the connection."""
        return bool(self.transport.disconnecting)

    def goes(self) -> None:
        """Lose the connection."""
        self.server.connectionLost(Failure(ConnectionDone()))


class CompatTest(SynchronousTestCase):
    """Test case with one call, served by a StarPy program."""

    def setUp(self) -> None:
        """Begin a call whose handler does nothing; the test uses its protocol."""
        logging.getLogger("FastAGI").setLevel(logging.CRITICAL)
        self.call = Call()
        self.agi = self.call.agi

    def asked(self, waiting: Deferred[Any], command: str, says: str) -> Any:
        """Check what a method sends, and what it fires with for a reply."""
        self.assertEqual(self.call.hears(), [command])
        self.call.says(says)
        return self.successResultOf(waiting)

    def refused(self, waiting: Deferred[Any], says: str) -> tuple[int, str]:
        """Check that a command fails; returns code and words."""
        self.call.says(says)
        code, words = self.failureResultOf(waiting, AGICommandFailure).value.args
        self.call.hears()
        return code, words


class ResultTests(CompatTest):
    """What each method sends, and what it fires with."""

    def test_numbers(self) -> None:
        """Methods that fire with a number."""
        agi = self.agi
        for waiting, command, says, result in (
            (lambda: agi.answer(), "ANSWER", "0", 0),
            (lambda: agi.channelStatus(), "CHANNEL STATUS", "6", 6),
            (lambda: agi.channelStatus("PJSIP/2"), "CHANNEL STATUS PJSIP/2", "4", 4),
            (lambda: agi.noop(), "NOOP", "0", 0),
            (lambda: agi.noop("a b"), 'NOOP "a b"', "0", 0),
            (lambda: agi.verbose("it's a b", 3), 'VERBOSE "it\'s a b" 3', "1", 1),
            (lambda: agi.setContext("c"), "SET CONTEXT c", "0", 0),
            (lambda: agi.setExtension(21), "SET EXTENSION 21", "0", 0),
            (lambda: agi.setPriority(3), "SET PRIORITY 3", "0", 0),
            (lambda: agi.setCallerID("44"), "SET CALLERID 44", "1", 1),
            (lambda: agi.setAutoHangup(5), "SET AUTOHANGUP 5", "0", 0),
            (lambda: agi.setMusic(True, "jazz"), "SET MUSIC ON jazz", "0", 0),
            (lambda: agi.setMusic(False), "SET MUSIC OFF", "0", 0),
            (lambda: agi.tddMode(None), "TDD MODE MATE", "1", 1),
            (lambda: agi.setVariable("A", 'b "c" d'), 'SET VARIABLE A "b c d"', "1", 1),
            (lambda: agi.databasePut("f", "k", "v w"), 'DATABASE PUT f k "v w"', "1", 1),
            (lambda: agi.databaseSet("f", "k", 5), "DATABASE PUT f k 5", "1", 1),
            (lambda: agi.databaseDel("f", "k"), "DATABASE DEL f k", "1", 1),
            (lambda: agi.databaseDeltree("f"), "DATABASE DELTREE f", "1", 1),
            (lambda: agi.databaseDelTree("f", "k"), "DATABASE DELTREE f k", "1", 1),
            (lambda: agi.sendText("a b"), 'SEND TEXT "a b"', "0", 0),
            (lambda: agi.sendImage("x"), "SEND IMAGE x", "0", 0),
            (lambda: agi.waitForDigit(2.5), "WAIT FOR DIGIT 2500", "53", 53),
            (lambda: agi.waitForDigit(-1), "WAIT FOR DIGIT -1", "0", 0),
            (lambda: agi.playback("beep"), "EXEC Playback beep", "0", 0),
            (lambda: agi.playback("beep", -1), "EXEC Playback beep,skip", "0", 0),
            (lambda: agi.sayDigits("1-2", "*#"), "SAY DIGITS 12 *#", "0", 0),
            (lambda: agi.sayNumber(42), 'SAY NUMBER 42 ""', "35", 35),
            (lambda: agi.sayAlpha("a b!"), 'SAY ALPHA ab ""', "0", 0),
            (lambda: agi.sayPhonetic("ab"), 'SAY PHONETIC ab ""', "0", 0),
            (lambda: agi.sayXXX("SAY DIGITS", 7), 'SAY DIGITS 7 ""', "0", 0),
            (lambda: agi.sayDateTime(1795409729.9), 'SAY DATETIME 1795409729 ""', "0", 0),
            (
                lambda: agi.sayDateTime(1, "#", "A 'digits/at' I", "UTC"),
                "SAY DATETIME 1 # \"A 'digits/at' I\" UTC",
                "0",
                0,
            ),
        ):
            self.assertEqual(self.asked(waiting(), command, f"200 result={says}"), result, command)

    def test_moments(self) -> None:
        """A time may be given in any of Python's types."""
        noon = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)
        seconds = int(noon.timestamp())
        local = time.localtime(seconds)
        day = datetime.date(2026, 11, 23)
        midnight = int(time.mktime(day.timetuple()))
        for given, sent in ((noon, seconds), (local, seconds), (day, midnight), (seconds + 0.5, seconds)):
            self.asked(self.agi.sayDate(given), f'SAY DATE {sent} ""', "200 result=0")
        self.asked(self.agi.sayTime(noon, "1"), f"SAY TIME {seconds} 1", "200 result=0")

    def test_values(self) -> None:
        """Variables and database values come without their parentheses; a missing one is a failure."""
        get = self.agi.getVariable
        self.assertEqual(self.asked(get("X"), "GET VARIABLE X", "200 result=1 (a (b) c)"), "a (b) c")
        self.assertEqual(self.asked(get("X"), "GET VARIABLE X", "200 result=1 ()"), "")
        self.assertEqual(self.asked(get("X"), "GET VARIABLE X", "200 result=1 (a\nb)"), "a\nb")
        self.assertEqual(self.refused(get("X"), "200 result=0"), (-1, "0"))
        got = self.agi.databaseGet("f", "k")
        self.assertEqual(self.asked(got, "DATABASE GET f k", "200 result=1 (v w)"), "v w")
        self.assertEqual(self.refused(self.agi.databaseGet("f", "k"), "200 result=0"), (-1, "0"))

    def test_names_for_a_program_that_reads_the_docstring(self) -> None:
        """One of StarPy's examples takes variables' names from getVariable's documentation."""
        lines = (self.agi.getVariable.__doc__ or "").splitlines()
        names = [line.split(" -- ")[0].strip() for line in lines if len(line.split(" -- ")) == 2]
        self.assertIn("EXTEN", names)

    def test_keys(self) -> None:
        """GET DATA gives digits and whether it timed out; GET OPTION gives one digit and the position."""
        get = self.agi.getData
        self.assertEqual(self.asked(get("p"), "GET DATA p 2000", "200 result=1234"), ("1234", False))
        self.assertEqual(self.asked(get("p", 5, 4), "GET DATA p 5000 4", "200 result=12 (timeout)"), ("12", True))
        self.assertEqual(self.asked(get("p"), "GET DATA p 2000", "200 result= (timeout)"), ("", True))
        self.assertEqual(self.asked(get("p"), "GET DATA p 2000", "200 result="), ("", False))
        self.assertEqual(self.refused(get("p"), "200 result=-1"), (-1, "-1"))
        option = self.agi.getOption
        self.assertEqual(
            self.asked(option("p", "12", 0.001), "GET OPTION p 12 1", "200 result=49 endpos=77"), ("1", 77)
        )
        self.assertEqual(self.asked(option("p", "12"), "GET OPTION p 12", "200 result=0 endpos=9"), ("", 9))
        char = self.agi.receiveChar(1)
        self.assertEqual(self.asked(char, "RECEIVE CHAR 1000", "200 result=65 (timeout)"), ("65", True))
        self.assertEqual(self.asked(self.agi.receiveText(), "RECEIVE TEXT", "200 result=1 (hi)"), "1 (hi)")

    def test_sounds(self) -> None:
        """STREAM FILE gives key and position; a position that did not move is a failure."""
        play = self.agi.streamFile
        self.assertEqual(self.asked(play("beep"), 'STREAM FILE beep "" 0', "200 result=0 endpos=3520"), (0, 3520))
        self.assertEqual(self.asked(play("beep", "5"), "STREAM FILE beep 5 0", "200 result=53 endpos=7"), (53, 7))
        self.assertEqual(self.refused(play("no"), "200 result=-1 endpos=0"), (-1, "-1 endpos=0"))
        self.assertEqual(self.refused(play("empty"), "200 result=0 endpos=0")[0], -1)
        wind = self.agi.controlStreamFile("beep", "1", 3000, pauseChar="0")
        self.assertEqual(self.asked(wind, "CONTROL STREAM FILE beep 1 3000 * # 0", "200 result=49 endpos=5"), (49, 5))
        wind = self.agi.controlStreamFile("beep", "1")
        self.assertEqual(self.asked(wind, "CONTROL STREAM FILE beep 1 0 * #", "200 result=0"), (0, None))

    def test_recording(self) -> None:
        """A recording tells what ended it; a hang-up does so as well, with the length recorded."""
        record = self.agi.recordFile
        line = 'RECORD FILE "my file" wav # 10000 BEEP s=5'
        waiting = record("my file", "wav", "#", 10, silence=5)
        self.assertEqual(self.asked(waiting, line, "200 result=35 (dtmf) endpos=800"), (35, "dtmf", 800))
        waiting = record("f", "wav", "", beep=False)
        self.assertEqual(
            self.asked(waiting, 'RECORD FILE f wav "" -1', "200 result=-1 (hangup) endpos=12\nHANGUP"),
            (-1, "hangup", 12),
        )

    def test_execute(self) -> None:
        """An application's result is given, -1 included; only an unknown application is a failure."""
        run = self.agi.execute
        self.assertEqual(self.asked(run("Wait", 1), "EXEC Wait 1", "200 result=0"), "0")
        dial = run("Dial", "PJSIP/22", 20, comma_delimiter=True)
        self.assertEqual(self.asked(dial, "EXEC Dial PJSIP/22,20", "200 result=-1"), "-1")
        old = run("Dial", "PJSIP/22", 20, comma_delimiter=False)
        self.assertEqual(self.asked(old, 'EXEC Dial "PJSIP/22|20"', "200 result=0"), "0")
        self.assertEqual(self.refused(run("NoSuch"), "200 result=-2"), (-1, "-2"))

    def test_wait(self) -> None:
        """wait sends nothing to Asterisk; a time in the past is now."""
        waiting = self.agi.wait(2)
        self.call.clock.advance(1.5)
        self.assertNoResult(waiting)
        self.call.clock.advance(0.5)
        self.assertEqual(self.successResultOf(waiting), 0)
        waiting = self.agi.wait(-3)
        self.call.clock.advance(0)
        self.assertEqual(self.successResultOf(waiting), 0)
        self.assertEqual(self.call.hears(), [])

    def test_variables(self) -> None:
        """The call's variables have their whole names."""
        self.assertEqual(self.agi.variables["agi_callerid"], "33")
        self.assertEqual(self.agi.variables["agi_extension"], "21")
        self.assertEqual((self.agi.variables["agi_arg_1"], self.agi.variables["agi_arg_2"]), ("one", "a,b"))


class FailureTests(CompatTest):
    """How failures of commands reach a StarPy program."""

    def test_refusals(self) -> None:
        """A failure has AGI's code and words; the lines of a 520 are one reply, and the call goes on."""
        self.assertEqual(
            self.refused(self.agi.sendCommand("FOO"), "510 Invalid or unknown command"),
            (510, "Invalid or unknown command"),
        )
        code, words = self.refused(self.agi.sendCommand("GET VARIABLE"), SYNTAX)
        self.assertEqual(code, 520)
        self.assertIn("Usage: X", words)
        self.assertEqual(self.asked(self.agi.noop(), "NOOP", "200 result=0"), 0)

    def test_hung_up(self) -> None:
        """HANGUP is no reply: each later reply belongs to its own command."""
        self.call.says("HANGUP")
        self.assertEqual(
            self.asked(self.agi.getVariable("DIALSTATUS"), "GET VARIABLE DIALSTATUS", "200 result=1 (ANSWER)"),
            "ANSWER",
        )
        self.assertEqual(self.failureResultOf(self.agi.answer(), AGICommandFailure).value.args[0], 511)
        self.assertEqual(self.call.hears(), [])

    def test_hung_up_meanwhile(self) -> None:
        """A -1 of a prompt is a failure, that of an application a result; then comes 511."""
        dial = self.agi.execute("Dial", "PJSIP/22")
        self.assertEqual(self.asked(dial, "EXEC Dial PJSIP/22", "200 result=-1\nHANGUP"), "-1")
        self.call = Call()
        self.assertEqual(self.refused(self.call.agi.getData("p"), "200 result=-1\nHANGUP"), (-1, "-1"))
        self.call = Call()
        self.assertEqual(self.refused(self.call.agi.answer(), DEAD)[0], 511)

    def test_hang_up(self) -> None:
        """hangup() fires with or without a HANGUP line."""
        self.assertEqual(self.asked(self.agi.hangup(), "HANGUP", "200 result=1\nHANGUP"), 1)

    def test_unsendable(self) -> None:
        """Text that would become another command fails, and nothing is sent."""
        for waiting in (self.agi.verbose("a\nHANGUP"), self.agi.sendCommand("NOOP\nHANGUP")):
            self.assertEqual(self.failureResultOf(waiting, AGICommandFailure).value.args[0], -1)
        self.assertEqual(self.call.hears(), [])
        self.assertEqual(self.asked(self.agi.sendCommand("NOOP\n"), "NOOP", "200 result=0"), "0")

    def test_wrong_results(self) -> None:
        """A result of another kind than expected is a failure."""
        self.assertEqual(self.refused(self.agi.answer(), "200 result=x"), (-1, "x"))
        waiting = self.agi.streamFile("beep")
        self.call.says("200 result=0")
        self.failureResultOf(waiting, ValueError)
        with self.assertRaises(TypeError):
            self.agi.playback("beep", 7)

    def test_jump_on_error(self) -> None:
        """The errback of jumpOnError sends the dialplan to priority + 100; other failures pass through."""
        waiting = self.agi.answer().addErrback(self.agi.jumpOnError)
        self.call.says("200 result=-1")
        self.assertEqual(self.call.hears(), ["ANSWER", "SET CONTEXT pbxrouter"])
        self.call.says("200 result=0")
        self.call.says("200 result=0")
        self.assertEqual(self.call.hears(), ["SET EXTENSION 21", "SET PRIORITY 101"])
        self.call.says("200 result=0")
        self.successResultOf(waiting)
        self.assertTrue(self.call.is_closed)
        failing = fail(ValueError()).addErrback(self.agi.jumpOnError, forErrors=AGICommandFailure)
        self.failureResultOf(failing, ValueError)

    def test_names(self) -> None:
        """All of StarPy's exceptions exist."""
        for name in "MenuExit MenuTimeout MenuUnexpectedOption".split():
            self.assertTrue(issubclass(getattr(error, name), error.MenuFinished))
        self.assertIs(starpy.fastagi.FastAGIProtocol, FastAGIProtocol)
        self.assertTrue(issubclass(error.AMICommandFailure, Exception))
        self.assertEqual(starpy.fastagi.FAILURE_CODE, -1)


class LifeTests(CompatTest):
    """Order of commands, and the beginning and end of a call."""

    def test_one_at_a_time(self) -> None:
        """Commands that are not waited for are sent one after the other; a prompt is not cut short."""
        waiting = [self.agi.streamFile("beep"), self.agi.noop(), self.agi.verbose("x")]
        self.assertEqual(self.call.hears(), ['STREAM FILE beep "" 0'])
        self.call.says("200 result=0 endpos=7")
        self.assertEqual(self.call.hears(), ["NOOP"])
        self.call.says("200 result=0")
        self.assertEqual(self.call.hears(), ["VERBOSE x"])
        self.call.says("200 result=1")
        self.assertEqual([self.successResultOf(deferred) for deferred in waiting], [(0, 7), 0, 1])

    def test_finish(self) -> None:
        """finish() closes the connection; later commands fail."""
        self.assertFalse(self.call.is_closed)
        self.agi.finish()
        self.assertTrue(self.call.is_closed)
        self.failureResultOf(self.agi.noop(), ConnectionDone)
        self.agi.finish()

    def test_finish_at_once(self) -> None:
        """Commands sent before finish() are still sent."""
        waiting = [self.agi.setVariable("A", 1), self.agi.setVariable("B", 2)]
        self.agi.finish()
        self.assertFalse(self.call.is_closed)
        self.call.says("200 result=1")
        self.assertEqual(self.call.hears(), ["SET VARIABLE A 1", "SET VARIABLE B 2"])
        self.assertTrue(self.call.is_closed)
        self.successResultOf(waiting[0])
        self.failureResultOf(waiting[1], ConnectionDone)

    def test_stays_open(self) -> None:
        """A handler that returns keeps its call until it finishes it."""
        call = Call(lambda agi: succeed(None))
        call.clock.advance(3600)
        self.assertFalse(call.is_closed)

    def test_handler_fails(self) -> None:
        """A handler that raises, or whose Deferred fails, ends its call."""
        for handler in (
            lambda agi: 1 / 0,
            lambda agi: fail(ZeroDivisionError()),
            lambda agi: fail(AGICommandFailure(-1, "x")),
        ):
            self.assertTrue(Call(handler).is_closed)

    def test_async_handler(self) -> None:
        """A handler may be a coroutine function."""

        async def handler(agi: FastAGIProtocol) -> None:
            await agi.answer()
            agi.finish()

        call = Call(handler)
        call.says("200 result=0")
        self.assertTrue(call.is_closed)

    def test_connection_lost(self) -> None:
        """Every pending command fails with ConnectionDone, and onClose fires."""
        closed = self.agi.onClose()
        waiting = [self.agi.getData("p"), self.agi.noop()]
        self.call.goes()
        for value in (*waiting, self.agi.noop(), closed):
            self.failureResultOf(value, ConnectionDone)

    def test_asked_too_late(self) -> None:
        """onClose of a call that has ended fails at once."""
        self.call.goes()
        self.failureResultOf(self.agi.onClose(), ConnectionDone)

    def test_protocol_of_ones_own(self) -> None:
        """The factory's protocol may be a subclass with its own connectionMade and connectionLost."""

        class Mine(FastAGIProtocol):
            told = ""

            def __init__(self) -> None:
                super().__init__()
                self.told = "made"

            def connectionLost(self, reason: Failure) -> None:
                super().connectionLost(reason)
                self.told += ", lost"

        call = Call(protocol=Mine)
        call.goes()
        self.assertEqual(call.agi.told, "made, lost")

    def test_helpers(self) -> None:
        """StarPy's internals that subclasses use exist."""
        self.assertEqual(self.agi.checkFailure("0"), "0")
        self.assertEqual(self.agi.resultAsInt("5"), 5)
        self.assertIs(self.agi.factory, self.call.factory)
        self.assertIs(self.agi.transport, self.call.transport)


class DifferenceTests(CompatTest):
    """Rows of docs/starpy.md: what our classes do where StarPy itself (test_starpy_itself) does otherwise."""

    def test_hangup_line(self) -> None:
        """HANGUP is no reply: each reply goes to its own command."""
        run = self.agi.execute("Wait", 1)
        self.call.says("HANGUP\n200 result=-1")
        self.assertEqual(self.successResultOf(run), "-1")
        asked = self.agi.getVariable("CHANNEL")
        self.call.says("200 result=1 (PJSIP/33)")
        self.assertEqual(self.successResultOf(asked), "PJSIP/33")

    def test_syntax(self) -> None:
        """A 520 is one reply, under its own code; the command behind it gets its own."""
        first, second = self.agi.sendCommand("X"), self.agi.noop()
        self.call.says(SYNTAX)
        self.assertEqual(self.failureResultOf(first, AGICommandFailure).value.args[0], 520)
        self.call.says("200 result=0")
        self.assertEqual(self.successResultOf(second), 0)

    def test_not_waited_for(self) -> None:
        """Of two commands the second waits for the first one's reply (docs/asterisk.md A6)."""
        self.agi.streamFile("beep")
        self.agi.noop()
        self.assertEqual(len(self.call.hears()), 1)

    def test_not_utf8(self) -> None:
        """A byte that is not UTF-8 arrives as a surrogate escape."""
        call = Call(opening=CALL.environment().replace(b"agi_callerid: 33", b"agi_callerid: 3\xff"))
        self.assertEqual(call.agi.variables["agi_callerid"], "3\udcff")

    def test_long_reply(self) -> None:
        """A reply of more than 16384 bytes comes whole."""
        waiting = self.agi.getVariable("X")
        self.call.says(f"200 result=1 ({'x' * 20000})")
        self.assertEqual(len(self.successResultOf(waiting)), 20000)

    def test_forged(self) -> None:
        """A caller who adds a line to the opening is refused: the handler is not called."""
        opening = CALL.environment().replace(b"agi_extension: 21\n", b"agi_extension: 9\nagi_callerid: 22\n")
        self.assertEqual(Call(opening=opening).calls, [])

    def test_quoting(self) -> None:
        """Blanks in arguments arrive; a line end is refused."""
        for act, whole in (
            (lambda agi: agi.setVariable("A", "b c"), 'SET VARIABLE A "b c"'),
            (lambda agi: agi.sendText("b c"), 'SEND TEXT "b c"'),
            (lambda agi: agi.setContext("b c"), 'SET CONTEXT "b c"'),
            (lambda agi: agi.playback("beep"), "EXEC Playback beep"),
        ):
            self.asked(act(self.agi), whole, "200 result=0")
        self.failureResultOf(self.agi.sendCommand("NOOP\nHANGUP"), AGICommandFailure)
        self.assertEqual(self.call.hears(), [])

    def test_delimiter(self) -> None:
        """Options are joined with commas."""
        self.agi.execute("Dial", "PJSIP/22", 20)
        self.assertEqual(self.call.hears(), ["EXEC Dial PJSIP/22,20"])

    def test_fractions(self) -> None:
        """Durations are sent as whole numbers."""
        self.agi.getData("p", 2.5)
        self.assertEqual(self.call.hears(), ["GET DATA p 2500"])

    def test_asked_too_late(self) -> None:
        """A command on a connection that is gone fails."""
        self.call.goes()
        self.failureResultOf(self.agi.noop(), ConnectionDone)

    def test_failing_handler(self) -> None:
        """A handler whose Deferred fails ends its call."""
        self.assertTrue(Call(lambda agi: fail(ZeroDivisionError())).is_closed)


class SequenceTests(CompatTest):
    """InSequence runs functions one after the other."""

    def test_order(self) -> None:
        """Functions run one after the other, and all results are given."""
        sequence = InSequence()
        sequence.append(self.agi.answer)
        sequence.append(self.agi.sayNumber, 5, escapeDigits="*")
        sequence.append(self.agi.finish)
        done = sequence()
        self.assertEqual(self.call.hears(), ["ANSWER"])
        self.call.says("200 result=0")
        self.assertEqual(self.call.hears(), ["SAY NUMBER 5 *"])
        self.call.says("200 result=42")
        self.assertEqual(self.successResultOf(done), [0, 42, None])
        self.assertTrue(self.call.is_closed)

    def test_failure(self) -> None:
        """The first failure ends the sequence, and carries the results so far."""
        sequence = InSequence()
        sequence.append(lambda: 1)
        sequence.append(self.agi.answer)
        sequence.append(self.agi.finish)
        done = sequence()
        self.call.says("200 result=-1")
        failure: Any = self.failureResultOf(done, AGICommandFailure)
        self.assertEqual(failure.results, [1])
        self.assertFalse(self.call.is_closed)


PROGRAM = """
import sys
import logging
from {module} import {name}
from starpy_helper import HELP
fastagi.log.setLevel(logging.DEBUG)
def main(agi):
    sequence = fastagi.InSequence()
    sequence.append(agi.finish)
    return sequence()
factory = fastagi.FastAGIFactory(main)
print(factory.mainFunction is main, fastagi.error.AGICommandFailure.__name__, sys.argv[1:], HELP)
"""


class ProgramTests(SynchronousTestCase):
    """Programs written for StarPy, in processes of their own."""

    def _said(self, text: str, *how: str) -> str:
        folder = Path(tempfile.mkdtemp())
        (folder / "starpy_helper.py").write_text("HELP = 'helped'\n")
        (folder / "program.py").write_text(text)
        done = subprocess.run(
            [sys.executable, *how, str(folder / "program.py"), "argument"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={"PYTHONPATH": str(ROOT), "PATH": ""},
        )
        return done.stdout

    def test_imports(self) -> None:
        """Both spellings of the import work."""
        for module, name in (
            ("pbxrouter.compat.starpy", "fastagi"),
            ("pbxrouter.compat", "starpy as fastagi"),
        ):
            said = self._said(PROGRAM.format(module=module, name=name))
            self.assertEqual(said, "True AGICommandFailure ['argument'] helped\n")

    def test_unchanged(self) -> None:
        """A program run by pbxrouter.compat needs no change."""
        said = self._said(PROGRAM.format(module="starpy", name="fastagi"), "-m", "pbxrouter.compat.starpy")
        self.assertEqual(said, "True AGICommandFailure ['argument'] helped\n")

    def test_usage(self) -> None:
        """Without a program the module prints its usage."""
        done = subprocess.run(
            [sys.executable, "-m", "pbxrouter.compat.starpy"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        self.assertEqual((done.returncode, done.stderr[:6]), (1, "usage:"))


class LogTests(CompatTest):
    """The logger FastAGI, which StarPy's programs use."""

    def test_no_pin(self) -> None:
        """Commands and replies are logged at level DEBUG, without digits that callers keyed."""
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        starpy.log.addHandler(handler)
        starpy.log.setLevel(logging.DEBUG)
        self.addCleanup(starpy.log.removeHandler, handler)
        starpy.log.propagate = False
        self.addCleanup(setattr, starpy.log, "propagate", True)
        waiting = self.agi.getData("agent-pass")
        self.call.says("200 result=123456")
        self.assertEqual(self.successResultOf(waiting), ("123456", False))
        self.assertIn("GET DATA agent-pass", stream.getvalue())
        self.assertNotIn("123456", stream.getvalue())
        self.agi.noop()
        self.call.says("200 result=0")
        self.assertIn("Reply: 200 result=0\n", stream.getvalue())


class ManagerTests(SynchronousTestCase):
    """StarPy's AMI, which is not provided."""

    def test_imported(self) -> None:
        """A program may import it; using it fails in one line that names what replaces it."""
        from pbxrouter.compat.starpy import manager

        for absent in (manager.AMIFactory, manager.AMIProtocol):
            error = self.assertRaises(NotImplementedError, absent, "user", "secret")
            self.assertIn("pbxrouter.library", str(error))
