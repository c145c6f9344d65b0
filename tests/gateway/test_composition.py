"""A whole gateway in the real reactor: the settings reach the parts, and the parts are told of each other."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.application.internet import TimerService
from twisted.application.service import MultiService, Service
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs, formatEvent
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from pbxrouter import __version__, database
from pbxrouter.call import CallRecord, PinCalls, Reports
from pbxrouter.call.refusals import ALARM_CALLS
from pbxrouter.config import Config, gateway_id, parsing
from pbxrouter.counter import CallCounter
from pbxrouter.counter.counts import ALL
from pbxrouter.database.access import add_console_user
from pbxrouter.database.audit import Actor
from pbxrouter.database.calls import CallRow, add_calls
from pbxrouter.drivers import Outcome
from pbxrouter.errors import ConfigError
from pbxrouter.gateway import service
from pbxrouter.net import UNSHARED
from pbxrouter.rules.model import Facts
from pbxrouter.security import Role, keyfile, pins
from pbxrouter.security.guess_limits import FREE_GUESSES
from pbxrouter.simulator import Script, SimulatedAsterisk, SimulatedCall
from tests.counter_fakes import NOW, FakeAMIConnection, FakeStore
from tests.databases import sample_database
from tests.fakes import request_of, workshop_rules
from tests.held_time import until

FORGED = SimulatedCall("9\nagi_callerid: 22")


class Caller(Protocol):
    """Asterisk's end of one call over a socket.

    Args:
        garbled: whether a line that Asterisk would not write takes the place of the first reply.

    Attributes:
        over: fires when the connection is gone.
    """

    def __init__(self, asterisk: SimulatedAsterisk, garbled: bool = False) -> None:
        self._asterisk = asterisk
        self._garbled = garbled
        self.over: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Send the opening block."""
        assert self.transport is not None
        self.transport.write(self._asterisk.environment())

    def dataReceived(self, data: bytes) -> None:
        """Carry out the gateway's commands and send replies."""
        assert self.transport is not None
        answer = self._asterisk.receive(data)
        garbled, self._garbled = self._garbled, False
        self.transport.write(b"x\n" if garbled else answer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Record the end of the call."""
        self.over.callback(None)


class CompositionCase(TestCase):
    """A gateway on the workshop's rules, on Unix sockets with short names."""

    def setUp(self) -> None:
        """Create a directory with database and PIN key."""
        here = tempfile.TemporaryDirectory(prefix="pbxr-")  # trial's own folder is too long a path for a socket
        self.addCleanup(here.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(here.name)
        key = keyfile.create_key(Path("x.db.pinkey"))
        sample_database(Path("x.db"), lambda pin: pins.hash_pin(key, pin))
        self.connection = database.connect(Path("x.db"))
        self.addCleanup(self.connection.close)

    def start(self, settings: str) -> MultiService:
        """Start a gateway with these settings; it is stopped when the test ends."""
        text = f'database = "x.db"\ncontrol = "c"\n{settings}\n'
        gateway = service.build(parsing.parse(text, "x", Path.cwd()), reactor)
        gateway.privilegedStartService()
        gateway.startService()

        def stop() -> Any:
            return gateway.stopService() if gateway.running else None

        self.addCleanup(stop)
        return gateway

    async def run_call(self, call: SimulatedCall, *keys: str, garbled: bool = False) -> SimulatedAsterisk:
        """Make a call, and wait until it is over."""
        asterisk = SimulatedAsterisk(call, Script(keys=keys))
        caller = Caller(asterisk, garbled)
        await connectProtocol(clientFromString(reactor, "unix:s"), caller)
        await caller.over
        return asterisk

    def alarm_command(self, body: str) -> str:
        """The settings for alarms by a command with this shell text."""
        script = Path("alarm.sh").absolute()
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return f'[alarm]\ncommand = ["{script}"]\n'


SOCKET = '[fastagi]\nlisten = "unix:s"\n'


class SettingsTests(CompositionCase):
    """Settings, as a running gateway applies them."""

    async def test_trunks(self) -> None:
        """A caller number that comes by a trunk opens nothing, and wrong PINs count for trunk and number together."""
        self.start('trunks = ["PJSIP/out"]\n' + SOCKET)
        outside = await self.run_call(SimulatedCall("21", caller="33", channel="PJSIP/out-00000001"), "000000#")
        self.assertEqual((outside.prompts[0], outside.dials), ("agent-pass", []))
        inside = await self.run_call(SimulatedCall("21", caller="33"))
        self.assertEqual(inside.dials, [("PJSIP/21,60,i", "ANSWER")])
        scopes = self.connection.execute("SELECT scope, name FROM pin_guesses ORDER BY scope, name").fetchall()
        self.assertEqual(scopes[-1], ("trunk", "PJSIP/out 33"))
        self.assertNotIn("endpoint", dict(scopes))

    async def test_prompts(self) -> None:
        """The sounds of the settings are played."""
        self.start(SOCKET + '[prompts]\nask-pin = "our-question"\n')
        self.assertEqual((await self.run_call(SimulatedCall("34", caller="33"), "123456#")).prompts, ["our-question"])

    async def test_technologies(self) -> None:
        """Technologies have the names of the settings."""
        self.start(SOCKET + '[technologies]\nSIP = "IAX2"\n')
        self.assertEqual((await self.run_call(SimulatedCall("21", caller="33"))).dials[0][0], "IAX2/21,60,i")

    async def test_history(self) -> None:
        """Calls older than keep_days are deleted from the history; the others stay, and new ones come."""
        day_s, now = 86_400, time.time()
        for uniqueid, age in (("old", 5.01 * day_s), ("young", 4.99 * day_s)):
            began = now - age
            row = CallRow(
                began, began, uniqueid, "33", "", "21", "allow", "2X", "dial", "SIP", "33", "BUSY", "", None, "[]"
            )
            add_calls(self.connection, [row])
        gateway = self.start(SOCKET + "[history]\nkeep_days = 5\n")
        await self.run_call(SimulatedCall("21", caller="33", uniqueid="1.9"))
        await gateway.stopService()
        kept = self.connection.execute("SELECT uniqueid FROM calls ORDER BY began").fetchall()
        self.assertEqual(kept, [("young",), ("1.9",)])

    async def test_start(self) -> None:
        """The log says that the gateway is up, where it listens, and where its rules are."""
        with capturedLogs() as logs:
            self.start(SOCKET)
        said = [formatEvent(event) for event in logs if event["log_namespace"].endswith(".Banner")]
        own_id = gateway_id(parsing.parse(f'database = "x.db"\ncontrol = "c"\n{SOCKET}', "x", Path.cwd()))
        where = f"FastAGI at unix:s, rules in {Path('x.db').absolute()}"
        self.assertEqual(said[0], f"pbxrouter {__version__} (gateway {own_id}) is up: {where}")

    async def test_log(self) -> None:
        """Each call is one line of the log; its dialogue is logged only with debug, and without PINs."""
        for debug in (False, True):
            with capturedLogs() as logs:
                gateway = self.start(f"{SOCKET}debug = {str(debug).lower()}\n")
                await self.run_call(SimulatedCall("34", caller="33"), "123456#")
                await gateway.stopService()
            (line,) = self.lines(logs, "CallLog")
            self.assertTrue(line.startswith("call 1795409729.6: 33 -> 34: ANSWER ("), line)
            dialogue = self.lines(logs, "DialogueLog")
            self.assertEqual("1795409729.6 33->34 < 200 result=***" in dialogue, debug)
            self.assertEqual(bool(dialogue), debug)
            self.assertNotIn("123456", "\n".join(dialogue))

    def lines(self, logs: Sequence[LogEvent], name: str) -> list[str]:
        """The lines that a part's class has logged."""
        return [event["line"] for event in logs if event["log_namespace"].rpartition(".")[2] == name]


class Made:
    """A part of a gateway, and what it was made of."""

    def __init__(self) -> None:
        self.part: Any = None
        self.given: tuple[Any, ...] = ()
        self.named: dict[str, Any] = {}


class PartsTests(CompositionCase):
    """The parts have each other, and what the settings say."""

    def made(self, name: str) -> Made:
        """Note how the gateway makes a part of this kind."""
        kind, made = getattr(service, name), Made()

        def make(part: Any, *given: Any, **named: Any) -> None:
            made.part, made.given, made.named = part, given, named
            kind.__init__(part, *given, **named)

        self.patch(service, name, type(name, (kind,), {"__init__": make}))
        return made

    def reloadable(self, old: Config, new: Config) -> service.GatewayService:
        """A gateway by some settings that a reload finds changed; it is not started."""
        return service.build(old, reactor, read=lambda: new)

    def test_flow(self) -> None:
        """Calls are proven, journalled, limited by PIN and told to Asterisk's CDR, with the parts that others have."""
        flow, proofs, journal = self.made("CallFlow"), self.made("CallProofs"), self.made("CallJournal")
        pin_calls, changes, talk = self.made("PinCalls"), self.made("PinChanges"), self.made("TalkOfCalls")
        history, guard = self.made("HistoryWriter"), self.made("PinGuard")
        self.start('trunks = ["PJSIP/out"]\n' + SOCKET + '[history]\ncdr_field = "userfield"\n')
        for name, made in (("proofs", proofs), ("journal", journal), ("pin_calls", pin_calls), ("talks", talk)):
            self.assertIs(flow.named[name], made.part, name)
        self.assertIs(flow.named["pin_changes"], changes.part)
        self.assertIs(flow.named["guard"], guard.part)
        self.assertEqual((flow.named["cdr_field"], tuple(flow.named["trunks"])), ("userfield", ("PJSIP/out",)))
        self.assertIs(history.part.journal, journal.part)
        self.assertIs(talk.given[1], history.part)

    def test_database_that_stands_still(self) -> None:
        """What a call needs of the database to go on it waits CALL_WAIT_S for, and no longer."""
        limited, store = self.made("LimitedDatabase"), self.made("StoreService")
        waiting = [self.made(name) for name in ("PinGuard", "PinCalls", "PinChanges")]
        self.start(SOCKET)
        self.assertEqual(limited.given[:2], (store.given[0], service.CALL_WAIT_S))
        self.assertEqual(service.CALL_WAIT_S, 3.0)
        for made in waiting:
            self.assertIs(made.given[0], limited.part)

    def test_services(self) -> None:
        """All that watches, records and serves runs; calls end before what records them, and the database is last."""
        gateway = self.start(SOCKET)
        names = [type(part).__name__ for part in gateway]
        for name in (
            "AlarmService DescriptorWatch ClockWatch StoreService WorkerService HistoryWriter TalkOfCalls "
            "RepeatedCalls RulesReloader LastRecords StandstillGuard Lateness WhenRouting ControlService Drain"
        ).split():
            self.assertIn(name, names)
            if name not in ("AlarmService", "DescriptorWatch", "ClockWatch", "StoreService"):
                self.assertLess(names.index("StoreService"), names.index(name), name)
        self.assertEqual(names[-1], "Drain")  # the first to be stopped
        self.assertLess(names.index("HistoryWriter"), names.index("RepeatedCalls"))
        self.assertLess(names.index("LastRecords"), names.index("WhenRouting"))

    def test_known_by_its_id(self) -> None:
        """The dialplan and the other gateways are told this gateway's id, whichever way a call comes."""
        Path("secret").write_text("x\n")
        server, asterisk = self.made("FastAGIFactory"), self.made("AsteriskService")
        guard = self.made("StandstillGuard")
        settings = SOCKET + '[[asterisk]]\nname = "lab"\nsecret_file = "secret"\nami = "tcp:127.0.0.1:1"\n'
        self.start(settings)
        own_id = gateway_id(parsing.parse(f'database = "x.db"\ncontrol = "c"\n{settings}', "x", Path.cwd()))
        self.assertTrue(own_id)
        self.assertEqual((server.given[-2:], asterisk.given[-2]), ((own_id, guard.part), own_id))

    def test_state(self) -> None:
        """The state of the parts can be told."""
        gateway: Any = self.start(SOCKET)
        self.assertIn("calls in progress: 0, of them in a conversation: 0", list(gateway.state()))

    def test_regularly(self) -> None:
        """The calls that PINs have are written as often as other gateways expect, old wrong PINs deleted hourly."""
        gateway = self.start(SOCKET)
        steps = [part.step for part in gateway if isinstance(part, TimerService)]
        self.assertEqual(sorted(steps), sorted([PinCalls.WRITE_EVERY_S, service.FORGET_EVERY_S]))

    def test_repeats(self) -> None:
        """Calls that are listed together only are known to the history, so that its journal does not keep them."""
        history, repeats = self.made("HistoryWriter"), self.made("RepeatedCalls")
        self.start(SOCKET)
        self.assertEqual(repeats.given[1], history.part.leave_out)

    def test_admission(self) -> None:
        """The server knows how late the gateway is, and that there must be room for the Asterisk that is connected."""
        admission, lateness, proofs = self.made("Admission"), self.made("Lateness"), self.made("CallProofs")
        self.start(SOCKET)
        *_, behind, trusted, others, shared = admission.given
        type(lateness.part).seconds = 7.5
        self.assertEqual((behind(), trusted(), others, shared), (7.5, [], None, UNSHARED))
        proofs.part.managers = [SimpleNamespace(peer="192.0.2.7"), SimpleNamespace(peer="")]
        self.assertEqual(trusted(), ["192.0.2.7"])
        proofs.part.managers = []

    def test_proofs(self) -> None:
        """Calls are proven by the secret if there is one, else by the Asterisks that can be asked."""
        Path("secret").write_text("0123456789abcdef\n")
        one = '[[asterisk]]\nname = "a"\nsecret_file = "secret"\nami = "tcp:127.0.0.1:1"\n'
        other = '[[asterisk]]\nname = "b"\n'
        for settings, secret, others, complete, asked in (
            (SOCKET, False, False, True, 0),
            (SOCKET + 'secret_file = "secret"\nallow = ["192.0.2.1"]\n', True, True, True, 0),
            (SOCKET + one, False, False, True, 1),
            (SOCKET + one + other, False, False, False, 1),
        ):
            proofs = self.made("CallProofs")
            with capturedLogs():
                service.build(parsing.parse(f'database = "x.db"\n{settings}', "x", Path.cwd()), reactor)
            self.assertEqual((proofs.named["has_secret"], proofs.named["allows_others"]), (secret, others))
            self.assertEqual((proofs.part.is_complete, len(proofs.part.managers)), (complete, asked))

    async def test_reloaded(self) -> None:
        """A reload reaches every part: also how long the history and the counts of calls are kept."""
        history = self.made("HistoryWriter")
        text = 'database = "x.db"\n' + SOCKET
        later = parsing.parse(text + "[history]\nkeep_days = 7\n", "x", Path.cwd())
        gateway = self.reloadable(parsing.parse(text, "x", Path.cwd()), later)
        self.assertNotEqual(history.part.keep_days, 7)
        with capturedLogs():
            self.assertEqual(gateway.reload_all(), ["history.keep_days: reloaded"])
        self.assertEqual(history.part.keep_days, 7)

    def test_reload_refused(self) -> None:
        """Settings that a part cannot use are refused: those of the FastAGI server, and those of each Asterisk."""
        Path("secret").write_text("0123456789abcdef\n")
        asterisk = '[[asterisk]]\nname = "lab"\nsecret_file = "secret"\nami = "{0}"\n'
        text = 'database = "x.db"\n' + SOCKET
        for before, after, key in (
            (text, text + 'secret_file = "none"\n', "fastagi.secret_file"),
            (text + asterisk.format("tcp:127.0.0.1:1"), text + asterisk.format("nonsense"), "asterisk.ami"),
        ):
            old, new = (parsing.parse(settings, "x", Path.cwd()) for settings in (before, after))
            gateway = self.reloadable(old, new)
            with capturedLogs():
                self.assertIn(key, str(self.assertRaises(ConfigError, gateway.reload_all)))


class Client(LineOnlyReceiver):
    """The command line's end of the control socket; keeps what it is told."""

    delimiter = b"\n"

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def lineReceived(self, line: bytes) -> None:
        """Keep an answer of the control socket."""
        self.told.append(json.loads(line))


class ControlTests(CompositionCase):
    """The commands of the control socket."""

    async def ask(self, command: str, **arguments: object) -> Client:
        """Send a command, and wait for its first answer."""
        client = Client()
        await until(Path("c").exists)
        await connectProtocol(clientFromString(reactor, "unix:c"), client)
        client.sendLine(json.dumps({command: arguments}).encode())
        await until(lambda: client.told)
        assert client.transport is not None
        self.addCleanup(client.transport.loseConnection)
        return client

    async def test_watch(self) -> None:
        """The dialogues of calls are shown."""
        self.start(SOCKET)
        client = await self.ask("watch", extension="21")
        self.assertEqual(client.told, [{"watching": True}])
        await self.run_call(SimulatedCall("22", caller="33"))
        await self.run_call(SimulatedCall("21", caller="33"))
        await until(lambda: client.told[-1].get("direction") == "-")
        self.assertEqual({line["extension"] for line in client.told[1:]}, {"21"})
        self.assertIn("EXEC Dial PJSIP/21,60,i", [line["text"] for line in client.told[1:]])

    async def test_originate(self) -> None:
        """A call is originated on an Asterisk of the settings, by its settings."""
        Path("secret").write_text("x\n")
        asterisk = '[[asterisk]]\nname = "lab"\nsecret_file = "secret"\nami = "tcp:127.0.0.1:1"\n'
        self.start(SOCKET + asterisk)
        client = await self.ask("originate", channel="PJSIP/33", to="21", context="phones")
        self.assertIn("asterisk.originate lists no context", client.told[0]["error"])

    async def test_queues(self) -> None:
        """What waits in the gateway is told."""
        self.start(SOCKET)
        client = await self.ask("queues")
        self.assertIn("history", json.dumps(client.told[0]))

    async def test_reload(self) -> None:
        """The settings are read again, and each line of what came of it is told."""
        lines = ["trunks: reloaded", "web.listen: needs a restart"]
        self.patch(self.start(SOCKET), "reload_all", lambda: lines)
        client = await self.ask("reload")
        await until(lambda: len(client.told) > 1)
        self.assertEqual(client.told[:2], [{"line": line} for line in lines])


class StopTests(CompositionCase):
    """What is left when a gateway has stopped."""

    async def test_every_part(self) -> None:
        """Every part runs while the gateway does, and none afterwards."""

        def parts(service: MultiService) -> Iterator[Service]:
            for part in service:
                yield part
                if isinstance(part, MultiService):
                    yield from parts(part)

        gateway = self.start(SOCKET)
        names = [type(part).__name__ for part in parts(gateway)]
        self.assertTrue({"Banner", "WorkerService", "StoreService", "FastAGIService", "Drain"} <= set(names), names)
        self.assertEqual([type(part).__name__ for part in parts(gateway) if not part.running], [])
        at_work = list(parts(gateway))
        await gateway.stopService()
        self.assertEqual([type(part).__name__ for part in at_work if part.running], [])

    async def test_database(self) -> None:
        """The database is closed: its thread has ended, and the last call is in it."""
        before = threading.active_count()
        gateway = self.start(SOCKET)
        await self.run_call(SimulatedCall("21", caller="33", uniqueid="1.9"))
        self.assertGreater(threading.active_count(), before)
        await gateway.stopService()
        self.assertEqual(threading.active_count(), before)
        self.assertEqual(self.connection.execute("SELECT uniqueid FROM calls").fetchall(), [("1.9",)])


class Page(Protocol):
    """A web client that asks for one page.

    Attributes:
        host: the Host header.
        came: the response, as far as it has come.
        over: fires when the connection is gone.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.host = "localhost"
        self.came = b""
        self.over: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Send the request."""
        assert self.transport is not None
        self.transport.write(f"GET {self._path} HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n\r\n".encode())

    def dataReceived(self, data: bytes) -> None:
        """Keep the bytes of the response."""
        self.came += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The response is complete."""
        self.over.callback(None)


class WebTests(CompositionCase):
    """The web server of a gateway."""

    async def test_metrics(self) -> None:
        """Refused calls, refused connections and wrong PINs of the gateway are among the metrics."""
        add_console_user(self.connection, Actor("ana", "command"), 1.0, "ana", "h", Role.ADMIN)  # no link is printed
        self.start(SOCKET + '[web]\nlisten = "unix:w"\n')
        with capturedLogs():
            await self.run_call(FORGED)
            await self.run_call(SimulatedCall("34", caller="33"), "000000#", "000000#")
        page = Page("/metrics")
        await connectProtocol(clientFromString(reactor, "unix:w"), page)
        await page.over
        lines = page.came.decode().splitlines()
        self.assertEqual(lines[0].split()[1], "200")
        for line in ("pbxrouter_calls_refused_total 1.0", "pbxrouter_pins_wrong_total 2.0"):
            self.assertIn(line, lines)
        self.assertIn('pbxrouter_fastagi_refused_total{reason="network"} 0.0', lines)


class ApplicationTests(CompositionCase):
    """Applications that need more than a channel."""

    async def test_changepin(self) -> None:
        """A PIN that is changed by phone is stored, and the old one does not open the next call."""
        for statement in (
            "INSERT INTO applications_mappings (map_id, application_name, pattern) VALUES (90, 'changepin', '*99')",
            "INSERT INTO extensions_mappings (extension_id, map_id)"
            " SELECT extension_id, 90 FROM extensions WHERE extension_number = '33'",
        ):
            self.connection.execute(statement)
        self.connection.commit()
        self.start(SOCKET)
        changing = await self.run_call(SimulatedCall("*99", caller="33"), "123456#", "804726#", "804726#")
        self.assertEqual(changing.prompts[-1], "vm-passchanged")
        for pin, dials in (("123456", 0), ("804726", 1)):
            later = await self.run_call(SimulatedCall("34", caller="33"), f"{pin}#")
            self.assertEqual(len(later.dials), dials)


class CountedAsterisk(MultiService):
    """Provides an Asterisk's connection, as the counter needs it."""

    def __init__(self, manager: FakeAMIConnection | None) -> None:
        super().__init__()
        self.manager = manager


class CounterTests(CompositionCase):
    """The call counter of an Asterisk."""

    def test_told_of_calls(self) -> None:
        """A call is counted under the mapping and extension by which the gateway routed it."""
        manager, reports = FakeAMIConnection(), Reports()
        asterisk = CountedAsterisk(manager)
        counter = self.counter_of(asterisk, reports)
        asterisk.startService()
        manager.up()
        self.assertTrue(counter.in_sync)
        manager.says("Newchannel", "1.1", "1.1")
        request = request_of(SimulatedCall("21", caller="33", uniqueid="1.1"))
        reports(CallRecord(request, workshop_rules().decide(Facts("33", "21")), Outcome("BUSY")))
        self.assertEqual(set(counter.counting.totals), {ALL, ("mapping", "2X"), ("extension", "33")})

    def test_keep_days(self) -> None:
        """Counts older than keep_days are deleted; the others stay."""
        for age in (3.01, 2.99):
            self.connection.execute(
                "INSERT INTO counter_gaps (asterisk, began, ended) VALUES ('x', :at, :at)", {"at": NOW - age * 86_400}
            )
        self.connection.commit()
        asterisk = CountedAsterisk(FakeAMIConnection())
        self.counter_of(asterisk, Reports())
        asterisk.startService()
        kept = self.connection.execute("SELECT ended FROM counter_gaps").fetchall()
        self.assertEqual(kept, [(NOW - 2.99 * 86_400,)])

    def counter_of(self, asterisk: CountedAsterisk, reports: Reports) -> CallCounter:
        """Add a counter that keeps three days; an Asterisk without a connection gets none."""
        settings = parsing.parse("[counter]\nkeep_days = 3\n", "x", Path.cwd())
        clock = Clock()
        clock.advance(NOW)
        store: Any = FakeStore(self.connection)
        both: Any = [CountedAsterisk(None), asterisk]
        (counter,) = service.add_counters(settings, both, store, reports, clock, clock.seconds, clock.seconds)
        return counter


class AlarmTests(CompositionCase):
    """Alarms reach the command of the settings."""

    def told(self) -> list[str]:
        """The texts of the delivered alarms."""
        return Path("told").read_text().splitlines() if Path("told").exists() else []

    def start_with_alarms(self) -> None:
        """Start a gateway whose alarms are written to a file."""
        self.start(SOCKET + self.alarm_command(f'echo "$ALARM_KIND: $ALARM_TEXT" >> {Path("told").absolute()}'))

    async def lock_out(self) -> None:
        """Key one wrong PIN too many."""
        for _ in range(FREE_GUESSES + 1):
            await self.run_call(SimulatedCall("34", caller="33"), "000000#")

    async def test_lock_out(self) -> None:
        """Wrong PINs of calls are counted in the database; a lock-out raises an alarm."""
        self.start_with_alarms()
        await self.lock_out()
        await until(self.told)
        self.assertEqual(self.told(), ["pin-lockout: locked out after wrong PINs: endpoint PJSIP/33"])
        query = "SELECT wrong, unchecked FROM pin_guesses WHERE scope = 'endpoint'"
        self.assertEqual(self.connection.execute(query).fetchall(), [(FREE_GUESSES, 1)])

    async def test_forged_calls(self) -> None:
        """Forged calls raise an alarm, whether they were refused before or while they were served."""
        self.start_with_alarms()
        with capturedLogs():
            await self.run_call(SimulatedCall("21", caller="33"), garbled=True)
            for _ in range(ALARM_CALLS - 1):
                await self.run_call(FORGED)
            await until(self.told)
        self.assertEqual(self.told(), ["forged-calls: 5 calls refused as forged within 10 minutes"])

    async def test_stopped(self) -> None:
        """An alarm's command that still runs when the gateway stops is ended, before the stop is complete."""
        began, ended = Path("began").absolute(), Path("ended").absolute()
        body = f"trap 'touch {ended}; exit 1' TERM; touch {began}; while :; do sleep 0.05; done"
        gateway = self.start(SOCKET + self.alarm_command(body))
        await self.lock_out()
        await until(began.exists)
        with capturedLogs():
            await gateway.stopService()
        self.assertTrue(ended.exists())
