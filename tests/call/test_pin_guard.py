"""The PIN guard over a real database: calls at once, gateways that share it, a database that is away."""

from __future__ import annotations

import pathlib
import re
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import LogEvent, LogLevel, formatEventAsClassicLogText, globalLogPublisher
from twisted.trial.unittest import TestCase

from pbxrouter import database
from pbxrouter.agi import AGIRequest
from pbxrouter.alarms import Alarm
from pbxrouter.call.pin_guard import PinAttempt, PinGuard
from pbxrouter.database import Store
from pbxrouter.security import GuessKey
from pbxrouter.security.guess_limits import FREE_GUESSES, MAPPING_GUESSES
from pbxrouter.simulator import SimulatedCall
from tests.fakes import hash_pin, request_of
from tests.paths import ROOT


class GuardCase(TestCase):
    """A database, and gateways on it."""

    def setUp(self) -> None:
        """No PIN was guessed yet."""
        self.now = 1_000_000.0
        self.path = pathlib.Path(self.mktemp())
        database.create(self.path)
        self.logged: list[LogEvent] = []
        self.alarms: list[Alarm] = []
        observer: Any = self.logged.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def guard(self, *trunks: str) -> PinGuard:
        """The guard of one more gateway on the database."""
        store = Store(self.path, hash_pin, reactor)
        self.addCleanup(store.close)
        return PinGuard(store, trunks, lambda: self.now, self.alarms.append)

    def request(self, endpoint: str = "PJSIP/33", caller: str = "33") -> AGIRequest:
        """A call."""
        return request_of(SimulatedCall("34", caller=caller, channel=f"{endpoint}-0000001a"))

    async def guess(self, guard: PinGuard, request: AGIRequest | None = None) -> PinAttempt:
        """Key a wrong PIN."""
        request = request or self.request()
        attempt = await guard.admit(request, 1)
        guard.wrong(attempt, request, "192.0.2.1", "34")
        return attempt

    def said(self, level: LogLevel) -> list[str]:
        """What the guard logged."""
        return [
            str(event["log_format"]).format_map(event)
            for event in self.logged
            if event.get("log_level") is level and str(event["log_format"]).startswith("PIN guard")
        ]


class PinGuardTests(GuardCase):
    """Across calls, gateways and restarts."""

    async def test_at_the_same_time(self) -> None:
        """Forty calls at once share the guesses of their endpoint."""
        guard = self.guard()
        admitted = await gatherResults([Deferred.fromCoroutine(guard.admit(self.request(), 1)) for _ in range(40)])
        self.assertEqual(sum(attempt.is_checked for attempt in admitted), FREE_GUESSES)

    async def test_two_gateways_and_a_restart(self) -> None:
        """What one gateway counted, another on the same database knows, and a later one too."""
        one, other = self.guard(), self.guard()
        for gateway in (one, other, one, other, one):
            self.assertTrue((await self.guess(gateway)).is_checked)
        for gateway in (one, other, self.guard()):
            self.assertFalse((await self.guess(gateway)).is_checked)

    async def test_right_ones_cost_nothing(self) -> None:
        """However often a caller keys the right PIN."""
        guard = self.guard()
        for _ in range(20):
            attempt = await guard.admit(self.request(), 1)
            self.assertTrue(attempt.is_checked)
            await guard.right(attempt)
        self.assertEqual(guard.statistics.wrong, 0)

    async def test_lifted(self) -> None:
        """A lock-out that is lifted is over at once, on this gateway and on another."""
        guard, other = self.guard(), self.guard()
        for _ in range(FREE_GUESSES + 1):
            await self.guess(guard)
        keys = [GuessKey("endpoint", "PJSIP/33"), GuessKey("number", "33"), GuessKey("number", "99")]
        self.assertEqual(await guard.lift(keys), 2)
        self.assertTrue((await self.guess(guard)).is_checked)
        self.assertTrue((await self.guess(other)).is_checked)

    async def test_the_database_is_away(self) -> None:
        """Guesses are counted in memory meanwhile."""
        guard = self.guard()
        self.path.rename(f"{self.path}.away")
        checked = [(await self.guess(guard)).is_checked for _ in range(FREE_GUESSES + 2)]
        self.assertEqual(checked, [True] * FREE_GUESSES + [False] * 2)

    async def test_the_log(self) -> None:
        """One line for each wrong PIN with peer, channel and number; one for a lock-out, however long it lasts."""
        guard = self.guard()
        for _ in range(FREE_GUESSES + 3):
            await self.guess(guard)
        self.assertEqual(
            self.said(LogLevel.info)[0],
            "PIN guard: wrong PIN from 192.0.2.1, channel PJSIP/33-0000001a, caller 33, number 34",
        )
        self.assertEqual(len(self.said(LogLevel.info)), FREE_GUESSES)
        (line,) = self.said(LogLevel.warn)
        self.assertIn("locked out endpoint PJSIP/33", line)
        self.assertEqual((guard.statistics.lockouts, guard.statistics.unchecked), (1, 3))
        (alarm,) = self.alarms
        self.assertEqual((alarm.kind, alarm.text), ("pin-lockout", "locked out after wrong PINs: endpoint PJSIP/33"))
        self.assertEqual(
            alarm.details, {"peer": "192.0.2.1", "channel": "PJSIP/33-0000001a", "caller": "33", "number": "34"}
        )

    async def test_fail2ban(self) -> None:
        """The filter of docs/operations.md finds the peer; what a caller calls himself is not taken for one."""
        (regex,) = re.findall(r"^failregex = (.*)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
        finds = re.compile(regex.replace("<HOST>", r"(?P<host>\S+)")).search
        guard = self.guard()
        name = "PIN guard: wrong PIN from 198.51.100.9, channel"
        await self.guess(guard, self.request(caller=name))
        lines = [formatEventAsClassicLogText(event) or "" for event in self.logged]
        hosts = [found["host"] for line in lines if (found := finds(line.partition(" ")[2]))]
        self.assertEqual(hosts, ["192.0.2.1"])
        self.assertIn(name, lines[-1])
        self.assertIsNone(finds(f" [pbxrouter.x#info] {name}"))

    async def test_alarm(self) -> None:
        """An attack from many places raises one alarm."""
        guard = self.guard()
        for line in range(100):
            await self.guess(guard, self.request(f"PJSIP/{line % 50}", str(line % 50)))
        self.assertEqual(self.said(LogLevel.critical), ["PIN guard: ALARM: wrong PINs from many places at mapping 1"])
        self.assertEqual(guard.statistics.alarms, 1)
        self.assertEqual([alarm.kind for alarm in self.alarms].count("pin-attack"), 1)

    async def test_forged_numbers(self) -> None:
        """One guess by each of many numbers on a trunk raises the alarm; then one more is checked of each, not two."""
        guard = self.guard("PJSIP/out")
        for number in range(MAPPING_GUESSES + 1):
            request = self.request("PJSIP/out", f"555{number}")
            self.assertTrue((await self.guess(guard, request)).is_checked)
        self.assertEqual(guard.statistics.alarms, 1)
        self.assertFalse((await self.guess(guard, request)).is_checked)
        honest = self.request("PJSIP/out", "600")
        attempt = await guard.admit(honest, 1)
        self.assertEqual((attempt.is_checked, attempt.ruling.delay_s), (True, 0.0))
        inside = await guard.admit(self.request(), 1)
        self.assertEqual((inside.is_checked, inside.ruling.delay_s), (True, 0.0))

    def test_calls_at_once(self) -> None:
        """A PIN has as many calls as its user may have."""
        guard = PinGuard(None, (), lambda: self.now)
        self.assertEqual([guard.begin_call("ana", 2) for _ in range(3)], [True, True, False])
        guard.end_call("ana")
        self.assertTrue(guard.begin_call("ana", 2))
        self.assertTrue(guard.begin_call("eva", 1))
