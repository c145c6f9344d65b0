"""What StarPy does: all that the adapters rely on, and the faults of its own that docs/starpy.md tells.

Each test runs on the stand-in and, where StarPy is installed, on StarPy as well, so that the two stay alike.
StarPyTests, about what the stand-in does not have, are skipped without StarPy. The gateway on either of the
two is in test_starpy, what our classes under StarPy's names do instead in tests/compat.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.ami.protocol import AMIProtocol
from pbxrouter.errors import InvalidAction
from pbxrouter.simulator import SimulatedCall
from tests.adapters.library import LIBRARIES, STAND_IN, STARPY, WHY_NOT, Library

CALL = SimulatedCall("21", caller="33")
OPENING = CALL.environment()
SYNTAX = b"520-Invalid command syntax.  Proper usage follows:\nUsage: X\n520 End of proper usage.\n"


class Quiet(SynchronousTestCase):
    """A test with StarPy's logger, which writes to standard error, silenced."""

    def setUp(self) -> None:
        """Silence it; only test_secrets_in_the_log looks at the log."""
        for name in ("FastAGI", "AMI"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


class AGICall:
    """A call on a library's own FastAGI, with Asterisk's end in memory.

    Attributes:
        agi: what the handler got; None until the opening block is read.
    """

    def __init__(self, library: Library, opening: bytes = OPENING) -> None:
        self.agi: Any = None
        factory = library.fastagi.FastAGIFactory(lambda agi: setattr(self, "agi", agi))
        self.protocol: Any = factory.buildProtocol(None)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)
        self.says(opening)

    def says(self, data: bytes) -> None:
        """Receive bytes from Asterisk."""
        self.protocol.dataReceived(data)

    def hears(self) -> str:
        """What was sent since the last look."""
        text: str = self.transport.value().decode()
        self.transport.clear()
        return text

    def goes(self) -> None:
        """Lose the connection."""
        self.protocol.connectionLost(Failure(ConnectionDone()))


class FastAGITests(Quiet):
    """FastAGI, as far as the adapter uses it."""

    def test_opening(self) -> None:
        """The handler is called when the block ends; names are in lower case; other lines are passed over."""
        for library in LIBRARIES:
            call = AGICall(library, b"AGI_Callerid: 33\r\nnonsense\nagi_dnid:  2:1 \n")
            self.assertIsNone(call.agi)
            self.assertTrue(call.protocol.readingVariables)
            call.says(b"\n")
            self.assertIs(call.agi, call.protocol)
            self.assertFalse(call.protocol.readingVariables)
            self.assertEqual(call.agi.variables, {"agi_callerid": "33", "agi_dnid": " 2:1 "})

    def test_replies(self) -> None:
        """Replies go to commands in their order; a line without a command is dropped."""
        for library in LIBRARIES:
            call = AGICall(library)
            call.says(b"200 result=9\n")
            texts = [
                "200 result=0",
                "200 result=1 (a b)",
                "200 result=5 endpos=7",
                "200 RESULT=2",
                "200 x",
                "200",
            ]
            waiting = [call.agi.sendCommand(f"NOOP {text}") for text in texts]
            call.says("\n".join([*texts, ""]).encode())
            results = [self.successResultOf(answer) for answer in waiting]
            self.assertEqual(results, ["0", "1 (a b)", "5 endpos=7", "2", "x", ""])
            self.assertEqual(call.hears(), "".join(f"NOOP {text}\n" for text in texts))

    def test_failures(self) -> None:
        """A reply that is no 200 fails with its code and words; without a code, with 500."""
        for library in LIBRARIES:
            call = AGICall(library)
            for says, failure in (
                ("510 Invalid or unknown command", (510, "Invalid or unknown command")),
                ("511 Command Not Permitted", (511, "Command Not Permitted")),
                ("520 a  b", (520, "a  b")),
                ("nonsense", (500, "nonsense")),
                ("no sense", (500, "sense")),
            ):
                waiting = call.agi.sendCommand("X")
                call.says(f"{says}\n".encode())
                why: Any = self.failureResultOf(waiting, library.error.AGICommandFailure).value
                self.assertEqual(why.args, failure)

    def test_lost(self) -> None:
        """Commands in flight fail with ConnectionDone; onClose, the same for all, fails with the reason."""
        for library in LIBRARIES:
            call = AGICall(library)
            closed = call.agi.onClose()
            self.assertIs(call.agi.onClose(), closed)
            waiting = [call.agi.sendCommand("A"), call.agi.sendCommand("B")]
            call.goes()
            for answer in (*waiting, closed):
                self.failureResultOf(answer, ConnectionDone)

    def test_finish(self) -> None:
        """finish() closes the connection, with what was written before."""
        for library in LIBRARIES:
            call = AGICall(library)
            call.agi.sendCommand("A\r\n")
            call.agi.finish()
            self.assertTrue(call.transport.disconnecting)
            self.assertEqual(call.hears(), "A\n")

    def test_protocol_of_ones_own(self) -> None:
        """The factory makes the protocol that stands in its attribute, and longer lines are let through."""
        for library in LIBRARIES:
            mine = type("Mine", (library.fastagi.FastAGIProtocol,), {"MAX_LENGTH": 1 << 20})
            factory = library.fastagi.FastAGIFactory(lambda agi: None)
            factory.protocol = mine
            protocol = factory.buildProtocol(None)
            self.assertIsInstance(protocol, mine)
            protocol.makeConnection(StringTransport())
            protocol.dataReceived(OPENING)
            waiting = protocol.sendCommand("X")
            protocol.dataReceived(b"200 result=1 (" + b"x" * 20000 + b")\n")
            self.assertEqual(len(self.successResultOf(waiting)), 20004)


class FastAGIFaultTests(Quiet):
    """Faults of StarPy's FastAGI that the adapter, or our own classes, do not have."""

    def test_hangup_line(self) -> None:
        """HANGUP is taken for a reply, and every reply after it goes to the wrong command."""
        for library in LIBRARIES:
            call = AGICall(library)
            first, second = call.agi.sendCommand("EXEC Wait 1"), call.agi.sendCommand("GET VARIABLE CHANNEL")
            call.says(b"HANGUP\n200 result=-1\n200 result=1 (PJSIP/33)\n")
            self.failureResultOf(first, library.error.AGICommandFailure)
            self.assertEqual(self.successResultOf(second), "-1")

    def test_syntax(self) -> None:
        """Of a 520 the first line fails the command under code 500; the others answer what comes next."""
        for library in LIBRARIES:
            call = AGICall(library)
            first, second = call.agi.sendCommand("X"), call.agi.sendCommand("NOOP")
            call.says(SYNTAX)
            failure: Any = self.failureResultOf(first, library.error.AGICommandFailure).value
            self.assertEqual(failure.args[0], 500)
            self.failureResultOf(second, library.error.AGICommandFailure)

    def test_not_waited_for(self) -> None:
        """Commands are written at once, though Asterisk drops or delays those that follow.

        Source: docs/asterisk.md A6.
        """
        for library in LIBRARIES:
            call = AGICall(library)
            call.agi.sendCommand("STREAM FILE beep")
            call.agi.sendCommand("NOOP")
            self.assertEqual(call.hears().count("\n"), 2)

    def test_not_utf8(self) -> None:
        """A byte that is not UTF-8, which any caller can send, breaks the connection."""
        opening = OPENING.replace(b"agi_callerid: 33", b"agi_callerid: 3\xff")
        for library in LIBRARIES:
            self.assertRaises(UnicodeDecodeError, AGICall, library, opening)

    def test_long_reply(self) -> None:
        """A reply of more than 16384 bytes closes the connection."""
        for library in LIBRARIES:
            call = AGICall(library)
            waiting = call.agi.sendCommand("GET VARIABLE X")
            call.says(b"200 result=1 (" + b"x" * 20000 + b")\n")
            self.assertTrue(call.transport.disconnecting)
            self.assertNoResult(waiting)

    def test_forged(self) -> None:
        """Of a key that stands twice the last one counts, and a caller can add one."""
        opening = OPENING.replace(b"agi_extension: 21\n", b"agi_extension: 9\nagi_callerid: 22\n")
        for library in LIBRARIES:
            self.assertEqual(AGICall(library, opening).agi.variables["agi_callerid"], "22")

    def test_line_end_in_a_command(self) -> None:
        """A line end makes a second command."""
        for library in LIBRARIES:
            call = AGICall(library)
            call.agi.sendCommand("NOOP\nHANGUP")
            self.assertEqual(call.hears(), "NOOP\nHANGUP\n")

    def test_asked_too_late(self) -> None:
        """A command on a connection that is gone never fires."""
        for library in LIBRARIES:
            call = AGICall(library)
            call.goes()
            self.assertNoResult(call.agi.sendCommand("NOOP"))

    def test_failing_handler(self) -> None:
        """A handler whose Deferred fails leaves a call that never ends."""
        for library in LIBRARIES:
            asked: list[Any] = []

            def handler(agi: Any, asked: list[Any] = asked) -> Deferred[Any]:
                asked.append(agi)
                return fail(ZeroDivisionError()).addErrback(lambda _: None)

            protocol = library.fastagi.FastAGIFactory(handler).buildProtocol(None)
            transport = StringTransport()
            protocol.makeConnection(transport)
            protocol.dataReceived(OPENING)
            self.assertEqual(asked, [protocol])
            self.assertFalse(transport.disconnecting)


def messages(data: bytes) -> list[list[tuple[str, str]]]:
    """The headers of each action sent over AMI."""
    return [
        [(name, value) for name, _, value in (line.partition(": ") for line in action.split("\r\n"))]
        for action in data.decode().split("\r\n\r\n")[:-1]
    ]


class AMI:
    """A connection on a library's own AMI, with Asterisk's end in memory.

    Args:
        own_login: the library logs in by itself; otherwise the login is in the test's hands.

    Attributes:
        asked: which login was asked for.
        attempt: what that login fires.
    """

    def __init__(self, library: Library, plain: bool = True, own_login: bool = False) -> None:
        self.asked: list[str] = []
        self.attempt: Deferred[Any] = Deferred()
        self.factory = library.manager.AMIFactory("gateway", "enero2007", plaintext_login=plain)
        self.logged_in = self.factory.loginDefer = Deferred()
        logins = {name: self._login(name) for name in ("login", "loginChallengeResponse")}
        if not own_login:
            self.factory.protocol = type("LoginInTheTest", (library.manager.AMIProtocol,), logins)
        self.protocol: Any = self.factory.buildProtocol(None)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)
        self.says("Asterisk Call Manager/11.0.0\r\n")

    def _login(self, name: str) -> Callable[[Any], Deferred[Any]]:
        def login(protocol: Any) -> Deferred[Any]:
            self.asked.append(name)
            return self.attempt

        return login

    def says(self, text: str) -> None:
        """Receive bytes from Asterisk."""
        self.protocol.dataReceived(text.encode())

    def answers(self, *lines: str) -> None:
        """Answer the last action."""
        first, *rest = lines
        action_id = dict(self.hears()[-1])["actionid"]
        self.says("\r\n".join([first, f"ActionID: {action_id}", *rest, "", ""]))

    def hears(self) -> list[list[tuple[str, str]]]:
        """The actions sent since the last look."""
        sent = messages(self.transport.value())
        self.transport.clear()
        return sent


class AMITests(Quiet):
    """AMI, as far as the adapter uses it."""

    def test_login(self) -> None:
        """The factory's flag chooses between two methods, and loginDefer tells the end."""
        for library in LIBRARIES:
            for plain, name in ((True, "login"), (False, "loginChallengeResponse")):
                ami = AMI(library, plain)
                self.assertEqual(ami.asked, [name])
                self.assertNoResult(ami.logged_in)
                ami.attempt.callback({"response": "Success"})
                self.assertIs(self.successResultOf(ami.logged_in), ami.protocol)
            ami = AMI(library)
            ami.attempt.errback(library.error.AMICommandFailure({"message": "no"}))
            self.failureResultOf(ami.logged_in, library.error.AMICommandFailure)
            self.assertTrue(ami.transport.disconnecting)

    def test_banner(self) -> None:
        """The banner is no header, and its version is kept."""
        for library in LIBRARIES:
            ami = AMI(library)
            ami.says("Event: FullyBooted\r\n\r\n")
            self.assertEqual(ami.protocol.amiVersion, "11.0.0")
            self.assertEqual(ami.protocol.VERSION_PREFIX, "Asterisk Call Manager")

    def test_actions(self) -> None:
        """Headers are sent in their order; what bears the ActionID goes to the sender, again and again."""
        for library in LIBRARIES:
            ami, got = AMI(library), list[Any]()
            ami.protocol.sendMessage([["Action", "Ping"], ["ActionID", "a-1"], ["Variable", "A=1"]], got.append)
            self.assertEqual(ami.hears(), [[("action", "Ping"), ("actionid", "a-1"), ("variable", "A=1")]])
            self.assertEqual(list(ami.protocol.actionIDCallbacks), ["a-1"])
            for text in ("Response: Success", "Event: Item"):
                ami.says(f"{text}\r\nActionID: a-1\r\nX:  y \r\n\r\nResponse: Success\r\nActionID: a-2\r\n\r\n")
            self.assertEqual([message["x"] for message in got], ["y", "y"])
            del ami.protocol.actionIDCallbacks["a-1"]
            ami.says("Response: Success\r\nActionID: a-1\r\n\r\n")
            self.assertEqual(len(got), 2)

    def test_deferred(self) -> None:
        """sendDeferred makes an ActionID, fires with the response as a dictionary, and forgets it."""
        for library in LIBRARIES:
            ami = AMI(library)
            waiting = ami.protocol.sendDeferred({"Action": "Ping", "x": "y"})
            [[*headers, (last, action_id)]] = ami.hears()
            self.assertEqual((headers, last), ([("action", "Ping"), ("x", "y")], "actionid"))
            ami.says(f"Response: Success\r\nActionID: {action_id}\r\nPing: Pong\r\n\r\n")
            answer = {"response": "Success", "actionid": action_id, "ping": "Pong"}
            self.assertEqual(self.successResultOf(waiting), answer)
            self.assertEqual(ami.protocol.actionIDCallbacks, {})

    def test_events(self) -> None:
        """Functions for a name, then those for every event; an action's own before them."""
        for library in LIBRARIES:
            ami, got = AMI(library), list[Any]()
            ami.protocol.sendMessage([["Action", "X"], ["ActionID", "a-1"]], lambda _, got=got: got.append("action"))
            ami.protocol.registerEvent(None, lambda *told, got=got: got.append(told))
            ami.protocol.registerEvent("Hangup", lambda *_, got=got: got.append("hangup"))
            ami.says("Event: Hangup\r\nActionID: a-1\r\n\r\nResponse: Success\r\n\r\n")
            event = {"event": "Hangup", "actionid": "a-1"}
            self.assertEqual(got, ["action", "hangup", (ami.protocol, event)])

    def test_lost(self) -> None:
        """A sender in flight is called with the failure."""
        for library in LIBRARIES:
            ami, got = AMI(library), list[Any]()
            ami.protocol.sendMessage([["Action", "X"], ["ActionID", "a-1"]], got.append)
            ami.protocol.connectionLost(Failure(ConnectionDone()))
            [told] = got
            self.assertIsInstance(told, ConnectionDone)


class AMIFaultTests(Quiet):
    """Faults of StarPy's AMI that the adapter mends, and that our own has not (tests/ami)."""

    def test_not_utf8(self) -> None:
        """An event with a byte that is not UTF-8 breaks the connection."""
        for library in LIBRARIES:
            data = b"Event: X\r\nY: \xff\r\n\r\n"
            self.assertRaises(UnicodeDecodeError, AMI(library).protocol.dataReceived, data)

    def test_injection(self) -> None:
        """A line end in a value makes a second action; our own refuses it."""
        for library in LIBRARIES:
            ami = AMI(library)
            ami.protocol.sendDeferred({"action": "Setvar", "value": "a\r\n\r\nAction: Logoff"})
            self.assertEqual(len(ami.hears()), 2)
        ours = AMIProtocol(Clock(), {})
        ours.makeConnection(StringTransport())
        self.failureResultOf(ours.action("Setvar", [("Value", "a\r\n\r\nAction: Logoff")]), InvalidAction)

    def test_event_as_answer(self) -> None:
        """An event that bears the ActionID is taken for the response; the id can be guessed."""
        for library in LIBRARIES:
            ami = AMI(library)
            waiting = ami.protocol.sendDeferred({"action": "Ping"})
            action_id = dict(ami.hears()[0])["actionid"]
            ami.says(f"Event: Forged\r\nActionID: {action_id}\r\nResponse: Success\r\n\r\n")
            self.assertEqual(self.successResultOf(waiting)["event"], "Forged")
            ami.protocol.sendDeferred({"action": "Ping"})
            front, _, number = action_id.rpartition("-")
            self.assertEqual(dict(ami.hears()[0])["actionid"], f"{front}-{int(number) + 1}")

    def test_lost_in_flight(self) -> None:
        """With an action in flight, the end of the connection raises, and the others never fire."""
        for library in LIBRARIES:
            ami = AMI(library)
            waiting = [ami.protocol.sendDeferred({"action": "Ping"}) for _ in range(2)]
            for answer in waiting:
                answer.addErrback(lambda _: None)
            self.assertRaises(RuntimeError, ami.protocol.connectionLost, Failure(ConnectionDone()))
            self.assertNoResult(waiting[1])

    def test_every_event_is_read(self) -> None:
        """An event without a handler is parsed all the same."""
        for library in LIBRARIES:
            ami, read = AMI(library), list[Any]()
            ami.protocol.dispatchEvent = read.append
            ami.says("Event: Unwanted\r\nX: 1\r\n\r\n")
            self.assertEqual(read, [{"event": "Unwanted", "x": "1"}])

    def test_repeated_headers(self) -> None:
        """Of a header that stands twice the last one counts: a forged event cannot be told."""
        for library in LIBRARIES:
            ami, got = AMI(library), list[Any]()
            ami.protocol.registerEvent("Newchannel", lambda _, event, got=got: got.append(event["channel"]))
            ami.says("Event: Newchannel\r\nChannel: a\r\nChannel: b\r\n\r\n")
            self.assertEqual(got, ["b"])


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    """Name, kind and default of each."""
    return [(value.name, value.kind, value.default) for value in inspect.signature(function).parameters.values()]


class StarPyTests(Quiet):
    """What only StarPy's own code can show."""

    skip = WHY_NOT

    def test_names_and_signatures(self) -> None:
        """The stand-in's classes, methods and attributes are StarPy's, on the same classes of Twisted."""
        compared = []
        for module in ("error", "fastagi", "manager"):
            for name, ours in vars(STAND_IN.module(module)).items():
                if not inspect.isclass(ours) or ours.__module__ != f"{STAND_IN.package}.{module}":
                    continue
                theirs = getattr(STARPY.module(module), name)
                foreign = [
                    [base for base in cls.__mro__ if not base.__module__.startswith(library.package)]
                    for cls, library in ((ours, STAND_IN), (theirs, STARPY))
                ]
                self.assertEqual(foreign[0], foreign[1], name)
                for member, value in vars(ours).items():
                    if member != "__init__" and member.startswith("_"):
                        continue
                    compared.append(f"{name}.{member}")
                    known = getattr(theirs, member)
                    if inspect.isfunction(value):
                        self.assertEqual(parameters(value), parameters(known), compared[-1])
                    elif inspect.isclass(value):
                        self.assertEqual(value.__name__, known.__name__, compared[-1])
                    else:
                        self.assertEqual(value, known, compared[-1])
                if issubclass(ours, Exception):
                    continue
                arguments = {"FastAGIFactory": (print,), "AMIFactory": ("gateway", "enero2007")}.get(name, ())
                in_ours, in_theirs = vars(ours(*arguments)), vars(theirs(*arguments))
                self.assertEqual([key for key in in_ours if key[0] != "_" and key not in in_theirs], [], name)
        for expected in ("FastAGIProtocol.sendCommand", "AMIProtocol.sendMessage", "AMIFactory.__init__"):
            self.assertIn(expected, compared)

    def test_quoting(self) -> None:
        """Blanks and quotation marks in arguments fall apart."""
        call = AGICall(STARPY)
        for act, apart in (
            (lambda agi: agi.setVariable("A", "b c"), 'SET VARIABLE "A" ""b c""\n'),
            (lambda agi: agi.sendText("b c"), "SEND TEXT 'b c'\n"),
            (lambda agi: agi.setContext("b c"), "SET CONTEXT b c\n"),
            (lambda agi: agi.playback("beep"), 'EXEC "PLAYBACK "beep" "answer""\n'),
        ):
            act(call.agi)
            self.assertEqual(call.hears(), apart)

    def test_wrong_reply(self) -> None:
        """After a HANGUP line a method reads the reply of the command before its own."""
        call = AGICall(STARPY)
        first, second = call.agi.execute("Wait", 1), call.agi.getVariable("CHANNEL")
        call.says(b"HANGUP\n200 result=-1\n200 result=1 (PJSIP/33)\n")
        self.failureResultOf(first, STARPY.error.AGICommandFailure)
        self.failureResultOf(second, IndexError)

    def test_delimiter(self) -> None:
        """Options are joined with | unless told otherwise; since 1.6 that is no separator."""
        call = AGICall(STARPY)
        call.agi.execute("Dial", "PJSIP/22", 20)
        self.assertEqual(call.hears(), 'EXEC "Dial" "PJSIP/22|20"\n')

    def test_fractions(self) -> None:
        """Durations and moments are sent as Python writes them."""
        call = AGICall(STARPY)
        call.agi.getData("p", 2.5)
        self.assertEqual(call.hears(), 'GET DATA "p" 2500.0\n')

    def test_md5_login(self) -> None:
        """The login by challenge fails on Python 3."""
        ami = AMI(STARPY, plain=False, own_login=True)
        ami.answers("Response: Success", "Challenge: 1")
        self.failureResultOf(ami.logged_in, TypeError)

    def test_command(self) -> None:
        """command() always fails, and of many lines of output the last is kept."""
        ami = AMI(STARPY, own_login=True)
        ami.answers("Response: Success")
        self.assertIs(self.successResultOf(ami.logged_in), ami.protocol)
        waiting = ami.protocol.command("core show channels")
        ami.answers("Response: Success", "Message: Command output follows", "Output: a", "Output: b")
        failure: Any = self.failureResultOf(waiting, STARPY.error.AMICommandFailure).value
        [message] = failure.args
        self.assertEqual(message["output"], "b")

    def test_secrets_in_the_log(self) -> None:
        """At level DEBUG the secret is logged."""
        told: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
        log = logging.getLogger("AMI")
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)
        log.propagate = False
        self.addCleanup(setattr, log, "propagate", True)
        self.addCleanup(log.removeHandler, handler)
        AMI(STARPY, own_login=True)
        self.assertIn("enero2007", " ".join(told))
