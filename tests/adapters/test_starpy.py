"""The gateway on StarPy's protocols: on StarPy where it is installed, or else on its stand-in.

Each row of the tables in docs/starpy.md has its test here, in test_starpy_itself or in tests/compat.
"""

from __future__ import annotations

import logging
import pathlib
import re
import socket
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.adapters import demand_starpy
from pbxrouter.agi.channel import Channel
from pbxrouter.agi.dialogue_watch import DialogueWatch
from pbxrouter.agi.messages import AGIRequest
from pbxrouter.agi.reader import MAX_BUFFER, MAX_TRYING
from pbxrouter.config import parsing, schema
from pbxrouter.errors import (
    ActionFailed,
    ActionTimeout,
    CommandRefused,
    ConfigError,
    ConnectionClosed,
    InvalidAction,
    InvalidArgument,
    LoginRefused,
    ManagerUnavailable,
    ProtocolViolation,
    ReplyTimeout,
)
from pbxrouter.fastagi import Admission, refusal
from pbxrouter.fastagi.protocol import ENDING_TIMEOUT_S, OPENING_TIMEOUT_S, SETTLE_S
from pbxrouter.fastagi.server import FastAGIFactory
from pbxrouter.gateway.asterisk_service import protocol_factory
from pbxrouter.gateway.service import fastagi_factory
from pbxrouter.net import Bounds
from pbxrouter.simulator import SimulatedCall
from tests.adapters.library import LIBRARIES, LIBRARY, adapter, installed_as_starpy
from tests.agi import test_channel
from tests.fastagi.test_sender import FakeSocket
from tests.paths import ROOT

CALL = SimulatedCall("21", caller="33")
REFUSAL = "SET VARIABLE PBXROUTER refused"


class ChoiceTests(SynchronousTestCase):
    """The setting ``library``: which classes it chooses, and its error if StarPy is not installed."""

    def _parsed(self, text: str) -> schema.Config:
        return parsing.parse(text, "x.toml", pathlib.Path("/nowhere"))

    def test_default(self) -> None:
        """Without the setting our own classes are used."""
        parsed = self._parsed("[[asterisk]]\n")
        self.assertIs(fastagi_factory(parsed), FastAGIFactory)
        self.assertIsNone(protocol_factory(parsed.asterisk[0]))

    def test_unknown(self) -> None:
        """Any other value is refused in one line."""
        for text in ('[fastagi]\nlibrary = "pystrix"', '[[asterisk]]\nlibrary = "pystrix"'):
            line = str(self.assertRaises(ConfigError, self._parsed, text))
            self.assertIn("library", line)
            self.assertNotIn("\n", line)

    def _choices(self) -> list[Callable[[], object]]:
        parsed = self._parsed('[fastagi]\nlibrary = "starpy"\n[[asterisk]]\nlibrary = "starpy"')
        return [lambda: fastagi_factory(parsed), lambda: protocol_factory(parsed.asterisk[0])]

    def test_starpy(self) -> None:
        """With StarPy installed, its adapters are used."""
        for library in LIBRARIES:
            with installed_as_starpy(library):
                from pbxrouter.adapters.starpy_ami import StarpyAMIFactory
                from pbxrouter.adapters.starpy_fastagi import StarpyFactory

                chosen = [choice() for choice in self._choices()]
                self.assertEqual(chosen, [StarpyFactory, StarpyAMIFactory])
                self.assertTrue(issubclass(StarpyAMIFactory, library.manager.AMIFactory))
                demand_starpy("fastagi.library")

    def test_missing(self) -> None:
        """Where StarPy is missing, one line says how to install it."""
        with installed_as_starpy(None):
            for choice, key in zip(self._choices(), ("fastagi", "asterisk"), strict=True):
                line = str(self.assertRaises(ConfigError, choice))
                self.assertTrue(line.startswith(f'{key}.library: "starpy"'), line)
                self.assertIn("pip install", line)
                self.assertNotIn("\n", line)


class PageTests(SynchronousTestCase):
    """The tests that docs/starpy.md names."""

    def test_every_difference_has_its_test(self) -> None:
        """The last cell of each row names tests, and they exist."""
        root = ROOT / "tests"
        tests = "".join(
            (root / path).read_text("utf-8")
            for path in (
                "adapters/test_starpy.py",
                "adapters/test_starpy_itself.py",
                "compat/test_starpy.py",
                "agi/test_channel.py",
            )
        )
        page = (root.parent / "docs" / "starpy.md").read_text("utf-8")
        rows = [line.split("|")[-2] for line in page.splitlines() if line.startswith("|") and "---" not in line]
        cells = [cell for cell in rows if cell.strip() != "test"]
        self.assertGreater(len(cells), 20)
        for cell in cells:
            names = re.findall(r"`(test_\w+)`", cell)
            self.assertTrue(names, cell)
            for name in names:
                self.assertIn(f"def {name}(self)", tests)


class Served:
    """One call on the gateway's FastAGI server over StarPy, with Asterisk's end in memory."""

    def __init__(self, opening: bytes | None = None) -> None:
        self.clock = Clock()
        self.watch = DialogueWatch()
        self.channels: list[Channel] = []
        self.over: Any = None
        self.refusals: list[tuple[AGIRequest, ProtocolViolation]] = []
        self.factory = adapter("starpy_fastagi").StarpyFactory(
            self._serve, self.clock, self.watch, on_refused=self._refused
        )
        self.transport = StringTransport()
        self.protocol = self.factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)
        self.says(CALL.environment() if opening is None else opening)

    def _refused(self, request: AGIRequest, violation: ProtocolViolation) -> None:
        self.refusals.append((request, violation))

    async def _serve(self, channel: Channel) -> None:
        from twisted.internet.defer import Deferred

        self.channels.append(channel)
        self.over = Deferred()
        await self.over

    def says(self, data: bytes) -> None:
        """Receive bytes in one segment, and let the time pass for which the first reply is held."""
        self.comes(data)
        self.clock.advance(SETTLE_S)

    def comes(self, data: bytes) -> None:
        """Receive bytes in one segment."""
        self.protocol.dataReceived(data)

    def hears(self) -> list[str]:
        """All commands that the protocol has sent."""
        lines: list[str] = self.transport.value().decode().split("\n")[:-1]
        return lines

    @property
    def is_closed(self) -> bool:
        """Whether we closed the connection."""
        return bool(self.transport.disconnecting)

    def goes(self) -> None:
        """Lose the connection."""
        self.protocol.connectionLost(Failure(ConnectionDone()))


class Admitted(SynchronousTestCase):
    """The server over StarPy refuses as our own does."""

    def test_places(self) -> None:
        """A connection that tells of no call gives its place to another; a call's connection keeps it."""
        clock = Clock()
        admission = Admission(clock, secret="0123456789abcdef", bounds=Bounds(2, 2, 1, 1))
        served: list[Channel] = []

        async def serve(channel: Channel) -> None:
            """Send one command and keep the call open."""
            served.append(channel)
            await channel.execute("ANSWER")

        factory = adapter("starpy_fastagi").StarpyFactory(serve, clock, DialogueWatch(), admission)

        def connect() -> tuple[Any, StringTransport]:
            """Open a connection from one address."""
            protocol, transport = factory.buildProtocol(IPv4Address("TCP", "192.0.2.7", 1)), StringTransport()
            protocol.makeConnection(transport)
            return protocol, transport

        silent, late = connect()
        call, transport = connect()
        self.assertEqual((late.value(), late.disconnecting), (b"SET VARIABLE PBXROUTER busy\n", False))
        silent.dataReceived(SimulatedCall("21").environment())
        silent.dataReceived(b"200 result=1\n")
        self.assertEqual((late.value(), late.disconnecting), (b"SET VARIABLE PBXROUTER busy\n", True))
        silent.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((served, len(clock.getDelayedCalls())), ([], 1))  # of the other
        call.dataReceived(SimulatedCall("21", arguments=("secret=0123456789abcdef",)).environment())
        self.assertEqual((len(served), transport.disconnecting), (1, False))
        stranger, refused = connect()
        stranger.dataReceived(SimulatedCall("21", arguments=("secret=0123456789abcdeF",)).environment())
        self.assertEqual((len(served), refused.disconnecting, refused.value()), (1, True, b""))
        further, told = connect()
        self.assertEqual(told.value(), b"SET VARIABLE PBXROUTER busy\n")
        further.dataReceived(b"200 result=1\n")
        self.assertTrue(told.disconnecting)
        stranger.connectionLost(Failure(ConnectionDone()))
        connect()
        self.assertEqual(
            {reason: count for reason, count in admission.refused.items() if count},
            {"half-open": 1, "secret": 1, "peer": 1},
        )

    def test_told_at_once(self) -> None:
        """A connection without a slot is told at once: the next one may end it before the reactor writes."""

        class Socket(FakeSocket):
            """A socket with options."""

            def setsockopt(self, *option: int) -> None:
                """Accept any option."""

            def getsockopt(self, *option: int) -> bytes:
                """Its peer has just sent data."""
                return bytes(56)

        async def serve(channel: Channel) -> None:
            """Serve a call; none comes."""

        admission = Admission(Clock(), bounds=Bounds(9, 9, 1, 1), reserve=1)
        factory = adapter("starpy_fastagi").StarpyFactory(serve, Clock(), DialogueWatch(), admission)
        sockets = [Socket() for _ in range(3)]
        for fake in sockets:
            protocol = factory.buildProtocol(IPv4Address("TCP", "192.0.2.7", 1))
            transport = Connection(cast(socket.socket, fake), protocol, MemoryReactorClock())
            transport.connected = True
            protocol.makeConnection(transport)
        busy = b"SET VARIABLE PBXROUTER busy\n"
        self.assertEqual([fake.taken for fake in sockets], [busy, busy, b""])

    def test_forged_while_many_are_turned_away(self) -> None:
        """A forged call is refused, told of and marked as on our own server, also where the reserve has no room."""
        refusals: list[tuple[str, str, str]] = []

        async def serve(channel: Channel) -> None:
            """No call comes."""

        for factory_of in (FastAGIFactory, adapter("starpy_fastagi").StarpyFactory):
            refusals.clear()
            factory: Any = factory_of(
                serve,
                Clock(),
                DialogueWatch(),
                Admission(Clock(), bounds=Bounds(9, 9, 1, 1), reserve=1),
                lambda request, violation: refusals.append((request.channel, request.uniqueid, violation.peer)),
            )
            transports = []
            for number in range(4):
                call = SimulatedCall("21", caller="33", uniqueid=f"1795.{number}")
                protocol, transport = factory.buildProtocol(IPv4Address("TCP", "192.0.2.7", 1)), Transport()
                transport.protocol = protocol
                protocol.makeConnection(transport)
                protocol.dataReceived(call.environment().replace(b"agi_dnid", b"agi_callerid: 22\nagi_dnid"))
                transports.append(transport)
            self.assertEqual([transport.aborted for transport in transports], [True, True, False, False])
            marked = b"SET VARIABLE PBXROUTER refused\n"
            self.assertEqual([transport.value() for transport in transports], [marked, marked, marked, b""])
            told = [("PJSIP/33-00000001", f"1795.{number}", "192.0.2.7") for number in range(4)]
            self.assertEqual(refusals, told, factory_of)


class Transport(StringTransport):
    """A connection from 192.0.2.7 whose abortion is seen at once."""

    aborted = False
    protocol: Any = None

    def __init__(self) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", "192.0.2.7", 1))

    def abortConnection(self) -> None:
        """End the connection."""
        self.aborted = True
        self.protocol.connectionLost(Failure(ConnectionDone()))


class OverStarPy(test_channel.ChannelContract, SynchronousTestCase):
    """StarPy's FastAGI keeps the contract of a Channel, but for values with line ends."""

    def setUp(self) -> None:
        """Silence StarPy's logger, which writes to standard error."""
        logging.getLogger("FastAGI").setLevel(logging.CRITICAL)

    def open(self, turns: list[test_channel.Turn]) -> None:
        """Open a call."""
        self.served = Served()
        self.channel = self.served.channels[0]

    def say(self, says: str) -> None:
        """Receive bytes, and let a second pass."""
        self.served.says(says.encode() + b"\n")
        self.served.clock.advance(1)

    def sent(self) -> list[str]:
        """The lines on the wire."""
        return self.served.hears()

    def test_replies(self) -> None:
        """StarPy is given the first line of a value: the value ends there."""
        self.open([])
        waiting = self.channel.execute("GET VARIABLE X")
        self.say("200 result=1 (a\nb)")
        reply = self.successResultOf(waiting)
        self.assertEqual((reply.result, reply.data), ("1", None))
        for says, data in (("200 result=5 (timeout)", "timeout"), ("200 result=1 (a b)", "a b")):
            self.open([])
            waiting = self.channel.execute("GET DATA x 1")
            self.say(says)
            self.assertEqual(self.successResultOf(waiting).data, data)


class ServerTests(SynchronousTestCase):
    """The gateway's FastAGI server over StarPy, beyond the contract of a Channel."""

    def test_closes(self) -> None:
        """When the conversation is over the connection is closed."""
        served = Served()
        self.assertEqual(served.factory.open_calls, 1)
        served.over.callback(None)
        self.assertTrue(served.is_closed)
        served.goes()
        self.assertEqual(served.factory.open_calls, 0)

    def test_lost(self) -> None:
        """A connection that is gone fails what waits, and all that follows."""
        served = Served()
        waiting = served.channels[0].execute("GET DATA x")
        served.goes()
        self.failureResultOf(waiting, ConnectionClosed)
        self.failureResultOf(served.channels[0].execute("NOOP"), ConnectionClosed)

    def test_silence(self) -> None:
        """A command that takes no time and is not answered ends the call, which is marked."""
        served = Served()
        waiting = served.channels[0].execute("NOOP")
        served.clock.advance(31)
        self.failureResultOf(waiting, ReplyTimeout)
        self.assertEqual(served.hears()[1:], ["SET VARIABLE PBXROUTER busy"])
        self.failureResultOf(served.channels[0].execute("NOOP"), ConnectionClosed)
        self.assertEqual(len(served.hears()), 2)
        served.clock.advance(refusal.STEP_S)
        self.assertTrue(served.is_closed)

    def test_forged(self) -> None:
        """A caller who adds a line to the opening is refused: StarPy alone would believe the last one."""
        opening = CALL.environment().replace(b"agi_extension: 21\n", b"agi_extension: 9\nagi_callerid: 22\n")
        served = Served(opening)
        starpy: Any = LIBRARY.fastagi.FastAGIFactory(lambda _: None).buildProtocol(None)
        starpy.makeConnection(StringTransport())
        starpy.dataReceived(opening)
        self.assertEqual(starpy.variables["agi_callerid"], "22")
        self.assertEqual(served.protocol.variables, {})
        self.assertEqual(served.channels, [])
        ((request, violation),) = served.refusals
        self.assertEqual(sorted(request.variables), ["channel", "uniqueid"])
        self.assertEqual(violation.peer, served.transport.getPeer().host)
        served.clock.advance(0.2)
        self.assertEqual(served.hears(), ["SET VARIABLE PBXROUTER refused"])
        served.says(b"200 result=1\n")
        self.assertEqual(served.hears()[1:], ["HANGUP"])
        served.says(b"200 result=1\nHANGUP\n")
        self.assertTrue(served.is_closed)

    def test_bytes(self) -> None:
        """A byte that is not UTF-8 comes through in the opening, is marked in a reply, cannot be sent."""
        served = Served(CALL.environment().replace(b"agi_callerid: 33", b"agi_callerid: 3\xff"))
        channel = served.channels[0]
        self.assertEqual(channel.request.caller, "3\udcff")
        waiting = channel.execute("GET VARIABLE X")
        served.says(b"200 result=1 (a\xff)\n")
        self.assertEqual(self.successResultOf(waiting).data, "a\ufffd")
        self.failureResultOf(channel.execute("NOOP \udcff"), InvalidArgument)

    def refused_by(self, *segments: bytes, opening: bytes | None = None, command: str = "") -> Served:
        """A call that is refused when these segments come, after a command if one is named."""
        served = Served(opening)
        waiting = served.channels[0].execute(command) if command else None
        for segment in segments:
            served.comes(segment)
        if waiting is not None:
            self.failureResultOf(waiting, ProtocolViolation)
            self.assertNotIn(REFUSAL, served.hears())
            served.comes(b"200 result=0\n")  # the reply of the command in progress, or the time for it
        served.clock.pump([refusal.DRAIN_S, refusal.STEP_S])
        self.assertIn(REFUSAL, served.hears())
        self.assertFalse(served.is_closed)
        served.clock.pump([refusal.STEP_S, refusal.STEP_S])
        self.assertEqual(served.hears()[-2:], [REFUSAL, "HANGUP"])
        self.assertTrue(served.is_closed)
        served.goes()
        self.assertEqual(served.factory.open_calls, 0)
        self.assertEqual(served.clock.getDelayedCalls(), [])
        return served

    def test_forged_whole(self) -> None:
        """A number that holds the rest of a block and its end is refused by what is left over behind it."""
        block = CALL.environment()
        start = block.index(b"agi_callerid: ")
        opening = block[:start] + b"agi_callerid: " + block[start + 14 :] + block[start + 16 :]
        self.assertEqual(self.refused_by(opening=opening).channels, [])
        for rest in (b"200 result=1\n", b"x", b"HANGUP\nx\n"):
            self.assertEqual(self.refused_by(opening=block + rest).channels, [])

    def test_forged_reply(self) -> None:
        """A reply that came before its command, or two for one command, refuse the call."""
        self.refused_by(b"200 result=1\n")
        self.refused_by(b"200 result=1\n200 result=1\n", command="GET DATA x")

    def test_forged_reply_behind(self) -> None:
        """The first reply is held for a moment: a line right behind it refuses the call."""
        served = self.refused_by(b"200 result=1234\n", b"200 result=0\n", command="GET DATA x")
        self.assertEqual(served.protocol.channel.is_busy, False)

    def test_unasked(self) -> None:
        """A line that answers nothing refuses the call, at any moment."""
        served = Served()
        waiting = served.channels[0].execute("NOOP")
        served.says(b"200 result=0\n")
        self.successResultOf(waiting)
        served.says(b"200 result=0\n")
        served.clock.advance(refusal.DRAIN_S)
        self.assertEqual(served.hears()[1:], [REFUSAL])
        violation = self.failureResultOf(served.channels[0].execute("NOOP"), ProtocolViolation)
        self.assertIn("answers no command", str(violation.value))
        served.over.callback(None)
        self.assertFalse(served.is_closed)

    def test_endless(self) -> None:
        """520- lines, 100 lines and the lines of a value are bounded."""
        self.refused_by(b"100 Trying...\n" * (MAX_TRYING + 1), command="NOOP")
        self.refused_by(b"520-Invalid\n" + b"x\n" * MAX_BUFFER, command="GET DATA x")
        self.refused_by(b"200 result=1 (" + b"x" * MAX_BUFFER, command="GET VARIABLE X")
        self.refused_by(opening=b"agi_network: " + b"x" * MAX_BUFFER)

    def test_syntax_once(self) -> None:
        """A 520 of many lines is one answer; the next reply is the next command's."""
        served = Served()
        waiting = served.channels[0].execute("NOOP")
        served.says(b"520-Invalid command syntax.  Proper usage follows:\n x\n520 End of proper usage.\n")
        self.assertIn("Invalid command syntax", str(self.failureResultOf(waiting, CommandRefused).value))
        waiting = served.channels[0].execute("NOOP")
        served.says(b"200 result=7\n")
        self.assertEqual(self.successResultOf(waiting).result, "7")

    def test_lines_of_a_value(self) -> None:
        """The further lines of a value answer no other command."""
        served = Served()
        waiting = served.channels[0].execute("GET VARIABLE X")
        served.says(b"200 result=1 (a\n200 result=9\nb)\n")
        self.assertIsNone(self.successResultOf(waiting).data)
        waiting = served.channels[0].execute("NOOP")
        served.says(b"200 result=7\n")
        self.assertEqual(self.successResultOf(waiting).result, "7")

    def test_blank_line(self) -> None:
        """A line of blanks does not end the opening block, as it does to StarPy."""
        opening = CALL.environment().replace(b"agi_dnid", b"  \nagi_dnid")
        self.assertEqual(self.refused_by(opening=opening).channels, [])

    def test_says_nothing(self) -> None:
        """A connection that does not open is closed in time, and aborted if its end does not come."""
        served = Served(b"agi_network: yes\n")
        self.assertEqual(served.factory.open_calls, 1)
        served.clock.advance(OPENING_TIMEOUT_S)
        self.assertTrue(served.is_closed)
        served.comes(CALL.environment())
        self.assertEqual(served.channels, [])
        served.clock.advance(ENDING_TIMEOUT_S)
        self.assertTrue(served.transport.disconnected)

    def test_drain_unopened(self) -> None:
        """A stop closes connections that have not opened, and waits for their end."""
        served = Served(b"agi_network: yes\n")
        drained = served.factory.drain()
        self.assertTrue(served.is_closed)
        self.assertNoResult(drained)
        served.goes()
        self.successResultOf(drained)

    def test_given_up(self) -> None:
        """A command that is given up closes the connection: its reply would answer the next."""
        served = Served()
        waiting = served.channels[0].execute("GET DATA x")
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertTrue(served.is_closed)

    def test_refused_and_gone(self) -> None:
        """Where the connection of a refused call ends first, nothing more is written."""
        opening = CALL.environment().replace(b"agi_extension: 21\n", b"agi_extension: 9\nagi_callerid: 22\n")
        served = Served(opening)
        served.goes()
        self.assertEqual(served.clock.getDelayedCalls(), [])
        self.assertEqual(served.hears(), [])

    def test_long_reply(self) -> None:
        """A reply of more than 16384 bytes comes whole."""
        served = Served()
        waiting = served.channels[0].execute("GET VARIABLE X")
        served.says(b"200 result=1 (" + b"x" * 20000 + b")\n")
        self.assertEqual(self.successResultOf(waiting).data, "x" * 20000)

    def test_nonsense(self) -> None:
        """A line that is no reply fails the command."""
        served = Served()
        waiting = served.channels[0].execute("NOOP")
        served.says(b"nonsense\n")
        self.failureResultOf(waiting, ProtocolViolation)

    def test_watched(self) -> None:
        """pbxrouter debug shows the dialogue, PINs masked."""
        served = Served()
        told: list[str] = []
        served.watch.add(lambda line: told.append(line.text))
        waiting = served.channels[0].execute("GET DATA x")
        served.says(b"200 result=123456\n")
        self.successResultOf(waiting)
        served.goes()
        self.assertEqual(told[0], "GET DATA x")
        self.assertNotIn("123456", " ".join(told))
        self.assertEqual(len(told), 3)

    def test_drain(self) -> None:
        """A stop lets the command in progress finish, and takes no new calls."""
        served = Served()
        waiting = served.channels[0].execute("GET DATA x")
        drained = served.factory.drain()
        self.assertIsNone(served.factory.buildProtocol(None))
        self.assertFalse(served.is_closed)
        served.says(b"200 result=1\n")
        self.successResultOf(waiting)
        self.failureResultOf(served.channels[0].execute("NOOP"), ConnectionClosed)
        self.assertTrue(served.is_closed)
        served.goes()
        self.successResultOf(drained)


def messages(data: bytes) -> list[dict[str, str]]:
    """What was sent over AMI; header names in lower case."""
    return [
        {name.lower(): value for name, _, value in (line.partition(": ") for line in part.split("\r\n"))}
        for part in data.decode().split("\r\n\r\n")[:-1]
    ]


class AMI:
    """One AMI connection over StarPy, with Asterisk's end in memory."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.handlers: dict[bytes, list[Any]] = {}
        self.factory = adapter("starpy_ami").StarpyAMIFactory(self.clock, self.handlers)
        self.protocol: Any = self.factory.buildProtocol(None)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)
        self.says("Asterisk Call Manager/11.0.0\r\n")

    def says(self, text: str | bytes) -> None:
        """Receive bytes from Asterisk."""
        self.protocol.dataReceived(text if isinstance(text, bytes) else text.encode())

    def hears(self) -> list[dict[str, str]]:
        """The actions sent since the last look."""
        sent = messages(self.transport.value())
        self.transport.clear()
        return sent

    def answers(self, sent: dict[str, str], *lines: str) -> None:
        """Answer the one action sent since the last call."""
        first, *rest = lines
        self.says("\r\n".join([first, f"ActionID: {sent['actionid']}", *rest, "", ""]))

    def goes(self) -> None:
        """Lose the connection."""
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def log_in(self) -> AMI:
        """Log in."""
        from twisted.internet.defer import Deferred

        done = Deferred.fromCoroutine(self.protocol.log_in("gateway", "enero2007", "call", plain=True))
        self.answers(self.hears()[0], "Response: Success", "Message: Authentication accepted")
        assert done.called
        return self


class AMITests(SynchronousTestCase):
    """StarPy's AMIProtocol as an AMIConnection uses it."""

    def setUp(self) -> None:
        """Silence StarPy's logger, which writes to standard error."""
        logging.getLogger("AMI").setLevel(logging.CRITICAL)

    def _log_in(self, ami: AMI, plain: bool = False) -> Any:
        from twisted.internet.defer import Deferred

        return Deferred.fromCoroutine(ami.protocol.log_in("gateway", "enero2007", "system,call", plain))

    def test_login(self) -> None:
        """The login is by challenge, with the event classes that were asked for; the secret is never sent."""
        ami = AMI()
        self.assertEqual(ami.hears(), [])
        done = self._log_in(ami)
        [asked] = ami.hears()
        self.assertEqual((asked["action"], asked["authtype"]), ("Challenge", "MD5"))
        ami.answers(asked, "Response: Success", "Challenge: 115944560")
        [asked] = ami.hears()
        self.assertEqual((asked["username"], asked["events"]), ("gateway", "system,call"))
        self.assertRegex(asked["key"], r"^[0-9a-f]{32}$")
        self.assertNotIn("secret", asked)
        ami.answers(asked, "Response: Success")
        self.successResultOf(done)
        self.assertEqual(ami.protocol.banner, "Asterisk Call Manager/11.0.0")

    def test_plain_login(self) -> None:
        """With plain=True the login has the secret in the clear, and the event classes."""
        ami = AMI()
        done = self._log_in(ami, plain=True)
        [asked] = ami.hears()
        self.assertEqual((asked["action"], asked["secret"]), ("Login", "enero2007"))
        self.assertEqual((asked["username"], asked["events"]), ("gateway", "system,call"))
        ami.answers(asked, "Response: Success")
        self.successResultOf(done)

    def test_refused_login(self) -> None:
        """A wrong secret, silence and a lost connection each have an exception of their own."""
        ami = AMI()
        done = self._log_in(ami, plain=True)
        ami.answers(ami.hears()[0], "Response: Error", "Message: Authentication failed")
        self.assertIn("Authentication failed", str(self.failureResultOf(done, LoginRefused).value))
        ami = AMI()
        done = self._log_in(ami)
        ami.clock.advance(11)
        self.failureResultOf(done, ManagerUnavailable)
        ami = AMI()
        done = self._log_in(ami)
        ami.goes()
        self.failureResultOf(done, ManagerUnavailable)

    def test_actions(self) -> None:
        """Responses in any order reach their actions; headers may be repeated."""
        ami = AMI().log_in()
        first = ami.protocol.action("Ping")
        second = ami.protocol.action("Originate", [("Variable", "A=1"), ("Variable", "B=2")])
        self.assertIn("variable: A=1\r\nvariable: B=2", ami.transport.value().decode())
        sent = ami.hears()
        ami.answers(sent[1], "Response: Error", "Message: no")
        ami.answers(sent[0], "Response: Success", "Output: a", "Output: b")
        self.assertEqual(self.successResultOf(first).all("Output"), ["a", "b"])
        self.assertEqual(str(self.failureResultOf(second, ActionFailed).value), "Originate: no")
        late = ami.protocol.action("Ping")
        ami.clock.advance(10)
        self.failureResultOf(late, ActionTimeout)
        sent = ami.hears()
        ami.answers(sent[0], "Response: Success")
        # StarPy keeps none of them, but the Ping that watches over the connection.
        self.assertEqual(list(ami.protocol.actionIDCallbacks), [sent[1]["actionid"]])

    def test_action_list(self) -> None:
        """A list has its items, or none; list items reach no event handler."""
        ami = AMI().log_in()
        got: list[Any] = []
        ami.handlers[b"CoreShowChannel"] = [got.append]
        listed = ami.protocol.action_list("CoreShowChannels")
        [sent] = ami.hears()
        ami.answers(sent, "Response: Success", "EventList: start")
        ami.answers(sent, "Event: CoreShowChannel", "Channel: x")
        ami.answers(sent, "Event: CoreShowChannelsComplete", "EventList: Complete", "ListItems: 1")
        self.assertEqual([row.get("Channel") for row in self.successResultOf(listed)], ["x"])
        self.assertEqual(got, [])
        listed = ami.protocol.action_list("X")
        ami.answers(ami.hears()[0], "Response: Success")
        self.assertEqual(self.successResultOf(listed), [])

    def test_events(self) -> None:
        """Events arrive whole, also with bytes that are not UTF-8; a failing handler does not stop the others."""
        ami = AMI().log_in()
        got: list[Any] = []
        ami.handlers[b"Newchannel"] = [lambda event: 1 / 0, got.append]
        ami.says(b"Event: Newchannel\r\nChannel: 3\xff\r\nChannel: b\r\n\r\nEvent: Other\r\n\r\n")
        self.assertEqual([event.all("Channel") for event in got], [["3\udcff", "b"]])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_event_behind_the_banner(self) -> None:
        """The banner, which ends in no empty line, is no part of the message behind it."""
        ami = AMI()
        got: list[Any] = []
        ami.handlers[b"FullyBooted"] = [got.append]
        ami.says("Event: FullyBooted\r\nStatus: Fully Booted\r\n\r\n")
        self.assertEqual([event.get("Status") for event in got], ["Fully Booted"])
        self.assertEqual(ami.protocol.banner, "Asterisk Call Manager/11.0.0")

    def test_long_header(self) -> None:
        """A header of more than 16384 bytes comes whole."""
        ami = AMI().log_in()
        waiting = ami.protocol.action("Command", [("Command", "x")])
        ami.answers(ami.hears()[0], "Response: Success", f"Output: {'x' * 20000}")
        self.assertEqual(len(self.successResultOf(waiting).get("Output")), 20000)

    def test_no_event_is_an_answer(self) -> None:
        """An event with our ActionID is no response."""
        ami = AMI().log_in()
        waiting = ami.protocol.action("Ping")
        [sent] = ami.hears()
        ami.answers(sent, "Event: Forged", "Response: Success")
        self.assertNoResult(waiting)

    def test_unsendable(self) -> None:
        """Text that would become another action, or is not UTF-8, is not sent."""
        ami = AMI().log_in()
        for value in ("a\r\n\r\nAction: Logoff", "\udcff"):
            self.failureResultOf(ami.protocol.action("Setvar", [("Value", value)]), InvalidAction)
        self.assertEqual(ami.hears(), [])

    def test_lost(self) -> None:
        """Every action in flight fails when the connection is lost."""
        ami = AMI().log_in()
        waiting = [ami.protocol.action("Ping"), ami.protocol.action_list("X")]
        ami.goes()
        for value in (*waiting, ami.protocol.action("Ping")):
            self.failureResultOf(value, ManagerUnavailable)
        self.successResultOf(ami.protocol.lost)

    def test_dead_peer(self) -> None:
        """An Asterisk that answers no Ping is disconnected within 30 s."""
        ami = AMI().log_in()
        ami.clock.pump([8, 1])
        [ping] = ami.hears()
        ami.answers(ping, "Response: Success", "Ping: Pong")
        ami.clock.pump([8, 5, 5])
        self.assertTrue(ami.transport.disconnected or ami.transport.disconnecting)
