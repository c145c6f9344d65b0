"""The gateway as a whole in the real reactor, and its parts."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import msgspec
from twisted.application.internet import TimerService
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import MemoryReactor
from twisted.logger import LogEvent, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pbxrouter import database
from pbxrouter.agi.channel import Channel
from pbxrouter.agi.dialogue_watch import DialogueLine, DialogueWatch
from pbxrouter.call.record import CallRecord
from pbxrouter.call.refusals import refusal_note
from pbxrouter.config import parsing, schema
from pbxrouter.config.schema import Config
from pbxrouter.drivers import Outcome
from pbxrouter.errors import ConfigError, ConnectionClosed, ForgedRequest, KeyFileError
from pbxrouter.fastagi.server import FastAGIFactory
from pbxrouter.fastagi.standstill import StandstillGuard
from pbxrouter.gateway import service
from pbxrouter.gateway.call_log import CallLog, DialogueLog
from pbxrouter.gateway.service import FORGET_EVERY_S, Banner, FastAGIService
from pbxrouter.rules.model import Facts, Forwarder
from pbxrouter.security import keyfile, pins
from pbxrouter.simulator import Script, SimulatedAsterisk, SimulatedCall
from tests.databases import sample_database
from tests.fakes import AsteriskEnd, loud, request_of, workshop_rules

ENOUGH = 1000
"""Tenths of a second for what takes one second on a quiet machine."""


class AsteriskOverASocket(Protocol):
    """A simulated Asterisk that calls the gateway for real."""

    def __init__(self, asterisk: SimulatedAsterisk) -> None:
        self.asterisk = asterisk
        self.over: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Send the opening block of the call."""
        assert self.transport is not None
        self.transport.write(self.asterisk.environment())

    def dataReceived(self, data: bytes) -> None:
        """Answer the gateway's commands."""
        assert self.transport is not None
        self.transport.write(self.asterisk.receive(data))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Record that the gateway closed the connection."""
        self.over.callback(None)


def wait(seconds: float) -> Deferred[None]:
    """Let a moment of real time pass."""
    clock = IReactorTime(reactor)
    return deferLater(clock, seconds, lambda: None)


class WholeGateway(TestCase):
    """A gateway with socket, rules from a database, drivers and control socket, in the real reactor."""

    def setUp(self) -> None:
        """Start a gateway with the workshop's rules, on Unix sockets with short paths."""
        here = Path(self.mktemp())
        here.mkdir(parents=True)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(here)
        path = Path("x.db").absolute()
        key = keyfile.create_key(Path("x.db.pinkey"))
        sample_database(path, lambda pin: pins.hash_pin(key, pin))
        self.path = path
        settings = parsing.parse('database = "x.db"\n[fastagi]\nlisten = "unix:s"\ndebug = true', "x", Path.cwd())
        self.settings = msgspec.structs.replace(settings, control="c")
        self.gateway = service.build(self.settings, reactor)

    async def run_call(self, extension: str, *keys: str) -> SimulatedAsterisk:
        """Make a call of 33 over the socket."""
        asterisk = SimulatedAsterisk(SimulatedCall(extension, caller="33"), Script(keys=keys))
        endpoint = clientFromString(reactor, "unix:s")
        protocol = await connectProtocol(endpoint, AsteriskOverASocket(asterisk))
        await protocol.over
        return asterisk

    async def test_forged_call_in_the_history(self) -> None:
        """A call that is refused before it is served is in the history, with channel and reason."""
        self.gateway.privilegedStartService()
        self.gateway.startService()
        with capturedLogs():
            forged = await self.run_call("9\nagi_callerid: 22")
            await self.gateway.stopService()
        self.assertEqual(forged.dials, [])
        connection = database.connect(self.path)
        self.addCleanup(connection.close)
        ((uniqueid, outcome, trace),) = connection.execute("SELECT uniqueid, outcome, trace FROM calls").fetchall()
        genuine = request_of(SimulatedCall("9"))
        self.assertEqual((uniqueid, outcome), (genuine.uniqueid, "REFUSED"))
        self.assertIn(genuine.channel, trace)

    async def test_no_rules_at_the_start(self) -> None:
        """A gateway built on a database that cannot be read does not listen until it can."""
        hidden = self.path.rename("hidden.db")
        gateway = service.build(self.settings, reactor)
        with capturedLogs() as logs:
            gateway.privilegedStartService()
            gateway.startService()
            try:
                for _ in range(ENOUGH):
                    if loud(logs):
                        break
                    await wait(0.1)
                self.assertFalse(os.path.exists("s"))
                hidden.rename(self.path)
                for _ in range(ENOUGH):
                    if os.path.exists("s"):
                        break
                    await wait(0.1)
                self.assertEqual((await self.run_call("21")).dials, [("PJSIP/21,60,i", "ANSWER")])
            finally:
                await gateway.stopService()
        said = [formatEvent(event) for event in loud(logs)]
        self.assertEqual(len(said), 1, said)
        self.assertIn("rules: cannot be read, and no call is taken until they can", said[0])

    async def test_from_start_to_stop(self) -> None:
        """Calls are served, changed rules count for the next call, and a stop leaves nothing."""
        self.gateway.privilegedStartService()
        self.gateway.startService()
        try:
            self.assertEqual(os.stat("c").st_mode & 0o777, 0o600)
            granted = await self.run_call("21")
            self.assertEqual(granted.dials, [("PJSIP/21,60,i", "ANSWER")])
            by_pin = await self.run_call("34", "000000#", "123456#")
            self.assertEqual(by_pin.prompts, ["agent-pass", "vm-incorrect", "agent-pass"])
            self.assertEqual(len(by_pin.dials), 1)
            await self.change_the_rules()
        finally:
            await self.gateway.stopService()
        self.assertEqual((os.path.exists("s"), os.path.exists("c")), (False, False))

    async def test_forgiven_guesses(self) -> None:
        """Wrong PINs that were forgiven more than a day ago are deleted; others stay."""
        now = time.time()
        connection = database.connect(self.path)
        self.addCleanup(connection.close)
        for name, forgiven_at in (("old", now - 90_000), ("late", now - 80_000), ("open", now + 600)):
            connection.execute(
                "INSERT INTO pin_guesses (scope, name, forgiven_at, wrong, unchecked, last_at)"
                " VALUES ('number', :name, :forgiven_at, 1, 0, 0)",
                {"name": name, "forgiven_at": forgiven_at},
            )
        connection.commit()
        hourly = [part for part in self.gateway if isinstance(part, TimerService) and part.step == FORGET_EVERY_S]
        self.assertEqual((len(hourly), FORGET_EVERY_S), (1, 3600.0))
        self.gateway.privilegedStartService()
        self.gateway.startService()
        await self.gateway.stopService()
        kept = connection.execute("SELECT name FROM pin_guesses ORDER BY name").fetchall()
        self.assertEqual(kept, [("late",), ("open",)])

    async def change_the_rules(self) -> None:
        """Change the rules with SQL; soon calls are routed by them."""
        self.assertEqual((await self.run_call("911")).prompts, ["invalid"])
        connection = database.connect(self.path)
        connection.execute(
            "INSERT INTO applications_mappings(application_name, application_data, pattern)"
            " VALUES ('playback', 'hello-world', '911')"
        )
        connection.execute(
            "INSERT INTO extensions_mappings(extension_id, map_id)"
            " SELECT extension_id, map_id FROM extensions, applications_mappings"
            " WHERE extension_number = '33' AND pattern = '911'"
        )
        connection.commit()
        connection.close()
        for _ in range(ENOUGH):
            await wait(0.1)
            prompts = (await self.run_call("911")).prompts
            if prompts != ["invalid"]:
                break
        self.assertEqual(prompts, ["hello-world"])


class Refusing(MemoryReactor):
    """A reactor that cannot open a port."""

    def listenTCP(self, *args: object, **arguments: object) -> Any:
        """Fail: another program uses the port."""
        raise CannotListenError("", 4573, OSError("in use"))


class DeafGuard(StandstillGuard):
    """A guard that counts how often it is told that the port is closed."""

    told = 0

    def deaf(self) -> None:
        """Count the calls of this."""
        self.told += 1


class Parts(SynchronousTestCase):
    """Parts of the gateway."""

    def test_cannot_listen(self) -> None:
        """A port that cannot be opened is an error of one line with setting and endpoint."""

        async def serve(channel: Channel) -> None:
            """Serve a call; none comes."""

        factory = FastAGIFactory(serve, Clock(), DialogueWatch())
        fastagi = FastAGIService("tcp:4573", factory, Refusing(), StandstillGuard(Clock()))
        line = str(self.assertRaises(ConfigError, fastagi.privilegedStartService))
        self.assertEqual(line, "fastagi.listen: cannot listen at tcp:4573: in use")

    def test_calls_at_the_stop(self) -> None:
        """Stopping waits for the command in progress of a call; meanwhile no other call comes in."""

        async def serve(channel: Channel) -> None:
            with contextlib.suppress(ConnectionClosed):
                await channel.execute("EXEC Dial x")

        factory = FastAGIFactory(serve, Clock(), DialogueWatch())
        fastagi = FastAGIService("tcp:4573", factory, MemoryReactor(), StandstillGuard(Clock()))
        fastagi.privilegedStartService()
        fastagi.startService()
        protocol = factory.buildProtocol(None)
        assert protocol is not None
        asterisk = AsteriskEnd(protocol)
        asterisk.says(SimulatedCall("21").environment())
        stopped = fastagi.stopService()
        self.assertNoResult(stopped)
        self.assertIsNone(factory.buildProtocol(None))
        self.assertFalse(asterisk.is_closed)
        asterisk.goes()
        self.successResultOf(stopped)

    def test_calls_after_the_drain(self) -> None:
        """Once the conversations had their time, a stop closes the calls at once, also in a command."""

        async def serve(channel: Channel) -> None:
            with contextlib.suppress(ConnectionClosed):
                await channel.execute("EXEC Dial x")

        clock = Clock()
        factory = FastAGIFactory(serve, clock, DialogueWatch())
        guard = DeafGuard(clock)
        fastagi = FastAGIService("tcp:4573", factory, MemoryReactor(), guard)
        fastagi.privilegedStartService()
        fastagi.startService()
        protocol = factory.buildProtocol(None)
        assert protocol is not None
        asterisk = AsteriskEnd(protocol)
        asterisk.says(SimulatedCall("21").environment())
        fastagi.refuse_new()
        self.assertEqual((asterisk.is_closed, guard.told), (False, 1))
        stopped = fastagi.stopService()
        clock.advance(0)
        self.assertTrue(asterisk.is_closed)
        asterisk.goes()
        self.successResultOf(stopped)

    def test_admission(self) -> None:
        """Admission has networks, secret and bounds of the settings, as far as the limit of open files allows."""
        secret = Path(self.mktemp())
        secret.write_text("0123456789abcdef\n")
        fastagi = schema.FastAGI(allow=("192.0.2.7",), secret_file=str(secret))
        admission = service.admission(Config(fastagi=fastagi), Clock())
        self.assertIsNone(admission.enter(IPv4Address("TCP", "192.0.2.8", 1)))
        self.assertIsNotNone(admission.enter(IPv4Address("TCP", "192.0.2.7", 1)))
        for arguments, known in (((), False), (("secret=0123456789abcdef",), True)):
            request = request_of(SimulatedCall("21", arguments=arguments))
            self.assertEqual(admission.knows_secret(request, "192.0.2.7"), known)
        for most, of_peer, bounds in (
            (0, 0, (840, 630, 420, 315)),
            (100, 0, (100, 75, 50, 37)),
            (100, 10, (100, 10, 50, 5)),
            (5000, 5000, (840, 840, 420, 420)),
            (1, 0, (1, 1, 1, 1)),
        ):
            fastagi = schema.FastAGI(max_connections=most, max_connections_per_peer=of_peer)
            found = service.fastagi_bounds(Config(fastagi=fastagi), 1024)
            self.assertEqual((found.most, found.of_network, found.waiting, found.waiting_of_network), bounds)
        web = Config(web=schema.Web("tcp:8080"))
        self.assertEqual(service.fastagi_bounds(web, 1024).most, 392)
        self.assertEqual(service.fastagi_reserve(web, 1024), 56)

    def test_key(self) -> None:
        """Without the PIN key the gateway does not start."""
        settings = parsing.resolved(Config(), Path(self.mktemp()).absolute())
        self.assertRaises(KeyFileError, service.build, settings, reactor)

    def test_banner(self) -> None:
        """The log says that the gateway runs, and what to type next."""
        with capturedLogs() as logs:
            Banner(Config()).startService()
        said = [event["log_format"] for event in logs if event["log_namespace"].startswith("pbxrouter")]
        self.assertIn("is up", said[0])
        self.assertIn("pbxrouter call 21 --from 33", said[-1])
        self.assertEqual(loud(logs), [])

    def said_of(self, extension: str, caller: str | None, decided: bool) -> LogEvent:
        """The log's one line for a call."""
        request = request_of(SimulatedCall(extension, caller=caller))
        decision = workshop_rules().decide(Facts(caller, extension, "123456")) if decided else None
        with capturedLogs() as logs:
            CallLog().report(CallRecord(request, decision, Outcome("BUSY")))
        (event,) = (event for event in logs if event["log_namespace"].startswith("pbxrouter"))
        return event

    def test_call_log(self) -> None:
        """The line has caller, number, outcome and reason, and no PIN."""
        event = self.said_of("34", "33", decided=True)
        self.assertEqual(
            (event["uniqueid"], event["caller"], event["number"], event["outcome"]),
            ("1795409729.6", "33", "34", "BUSY"),
        )
        self.assertIn("pepe may use 3X by PIN", event["trace"])
        self.assertNotIn("123456", str(event["trace"]))
        self.assertEqual(
            event["line"],
            "call 1795409729.6: 33 -> 34: BUSY "
            "(34 matches 3X: dial IAX2; 33 has no grant for 3X; pepe may use 3X by PIN)",
        )
        event = self.said_of("2\udcff\x1b", None, decided=False)
        self.assertEqual((event["caller"], event["number"]), ("unknown", "2\\udcff\\x1b"))
        self.assertEqual(event["trace"], "nothing decided")

    def test_call_log_of_other_parties(self) -> None:
        """The log names the party that forwarded a call, and the reason of a refused call."""
        request = request_of(SimulatedCall("21", caller="33"))
        decision = workshop_rules().decide(Facts("33", "21", forwarders=(Forwarder("PJSIP/22"),)))
        refused = CallRecord(request, None, Outcome("REFUSED"), note=refusal_note(request, ForgedRequest("so")))
        with capturedLogs() as logs:
            CallLog().report(CallRecord(request, decision, Outcome("BUSY")))
            CallLog().report(refused)
        first, second = (event["line"] for event in logs if event["log_namespace"].startswith("pbxrouter"))
        self.assertTrue(first.startswith("call 1795409729.6: 33 forwarded by PJSIP/22 -> 21: BUSY ("), first)
        self.assertEqual(
            second,
            "call 1795409729.6: 33 -> 21: REFUSED (nothing decided; refused as forged: so; "
            "channel PJSIP/33-00000001, from ?)",
        )

    def test_dialogue_log(self) -> None:
        """Each line of a dialogue is logged if the settings say so."""
        with capturedLogs() as logs:
            DialogueLog().tell(DialogueLine("1.2", "33", "21", ">", "NOOP {x}"))
        (event,) = (event for event in logs if event["log_namespace"].startswith("pbxrouter"))
        self.assertEqual(event["line"], "1.2 33->21 > NOOP {x}")
