"""The PIN guard over a real database: gateways that share it, a database that is away."""

from __future__ import annotations

import pathlib
import re
from contextlib import closing
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, LogLevel, formatEventAsClassicLogText, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pbxrouter import database
from pbxrouter.agi import AGIRequest
from pbxrouter.alarms import Alarm
from pbxrouter.call import pin_guard
from pbxrouter.call.pin_guard import NEW_KNOWN_A_DAY, PinAttempt, PinGuard, PinSource
from pbxrouter.database import open_store
from pbxrouter.security import GuessKey
from pbxrouter.security.guess_limits import FREE_GUESSES, MAPPING_GUESSES, QUEUE_STEP_S
from pbxrouter.simulator import SimulatedCall
from tests.databases import new_database
from tests.fakes import hash_pin, request_of
from tests.paths import ROOT


class GuardCase(TestCase):
    """Has a database, and guards of several gateways on it."""

    def setUp(self) -> None:
        """Create the database, and collect logs and alarms."""
        self.now = 1_000_000.0
        self.path = pathlib.Path(self.mktemp())
        new_database(self.path)
        self.logged: list[LogEvent] = []
        self.alarms: list[Alarm] = []
        observer: Any = self.logged.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def guard(self, *trunks: str) -> PinGuard:
        """Make the guard of a further gateway on the database."""
        store = open_store(self.path, hash_pin, reactor)
        self.addCleanup(store.close)
        return PinGuard(store, trunks, lambda: self.now, self.alarms.append, lambda: self.now)

    def request(self, endpoint: str = "PJSIP/33", caller: str = "33") -> AGIRequest:
        """The request of a call."""
        return request_of(SimulatedCall("34", caller=caller, channel=f"{endpoint}-0000001a"))

    async def guess(self, guard: PinGuard, request: AGIRequest | None = None) -> PinAttempt:
        """Key a wrong PIN."""
        request = request or self.request()
        attempt = await guard.admit(request, 1)
        guard.wrong(attempt, request, "192.0.2.1", "34")
        return attempt

    def said(self, level: LogLevel) -> list[str]:
        """The log lines of the guard."""
        return [
            str(event["log_format"]).format_map(event)
            for event in self.logged
            if event.get("log_level") is level and str(event["log_format"]).startswith("PIN guard")
        ]


class SeveralAsterisksTests(SynchronousTestCase):
    """The PIN guard where each Asterisk's PJSIP/33 is a phone of its own."""

    def attempts(self, has_several: bool, *asterisks: str) -> list[tuple[bool, str, str]]:
        """Wrong PINs of PJSIP/33 on Asterisks: whether each was checked, its first key, and what the alarm names."""
        alarms: list[Alarm] = []
        guard = PinGuard(None, (), lambda: 1000.0, alarms.append, lambda: 1000.0, has_several)
        found = []
        for asterisk in asterisks:
            request = request_of(SimulatedCall("34", caller="33", channel="PJSIP/33-0000001a"))
            source = PinSource(asterisk=asterisk)
            attempt = self.successResultOf(Deferred.fromCoroutine(guard.admit(request, 1, source)))
            guard.wrong(attempt, request, "192.0.2.1", "34")
            named = alarms[-1].details.get("asterisk", "") if alarms else ""
            found.append((attempt.is_checked, attempt.keys[0].name, named))
        return found

    def test_each_has_its_own(self) -> None:
        """A phone that is locked out locks out none of the same name on another Asterisk; the alarm names its own."""
        found = self.attempts(True, *["a"] * (FREE_GUESSES + 1), "b", "")
        self.assertEqual(found[0], (True, "a:PJSIP/33", ""))
        self.assertEqual(found[-3], (False, "a:PJSIP/33", "a"))
        self.assertEqual(found[-2], (True, "b:PJSIP/33", "a"))
        self.assertEqual(found[-1][:2], (True, "PJSIP/33"))

    def test_one(self) -> None:
        """With one Asterisk its name is in no key, so that lock-outs of earlier versions go on."""
        found = self.attempts(False, *["a"] * (FREE_GUESSES + 1))
        self.assertEqual(found[0], (True, "PJSIP/33", ""))
        self.assertEqual(found[-1], (False, "PJSIP/33", ""))


class PinGuardTests(GuardCase):
    """The PIN guard across calls, gateways and restarts."""

    def keyed_at_once(self, guard: PinGuard, count: int = 40) -> tuple[list[PinAttempt], Deferred[list[PinAttempt]]]:
        """Key so many PINs at once; returns those that were ruled on, which grow, and the result when all were."""
        ruled: list[PinAttempt] = []

        async def key() -> PinAttempt:
            ruled.append(await guard.admit(self.request(), 1))
            return ruled[-1]

        return ruled, gatherResults([Deferred.fromCoroutine(key()) for _ in range(count)])

    async def until(self, ruled: list[PinAttempt], count: int) -> None:
        """Wait until so many PINs were ruled on."""
        while len(ruled) < count:
            await deferLater(reactor, 0.001)

    async def test_at_the_same_time(self) -> None:
        """Forty calls at once share the guesses of their endpoint; those for which none is left know it at the end."""
        guard = self.guard()
        ruled, everything = self.keyed_at_once(guard)
        await self.until(ruled, FREE_GUESSES)
        for attempt in ruled[:]:
            guard.wrong(attempt, self.request(), "192.0.2.1", "34")
        admitted = await everything
        self.assertEqual(sum(attempt.is_checked for attempt in admitted), FREE_GUESSES)
        self.assertFalse((await guard.admit(self.request(), 1)).is_checked)  # at once

    async def test_right_at_the_same_time(self) -> None:
        """Forty right PINs at once are all checked, without delay: none is locked out by another's that is checked."""
        guard = self.guard()
        ruled, everything = self.keyed_at_once(guard)
        for place in range(40):
            await self.until(ruled, place + 1)
            await guard.right(ruled[place], "pepe")
        admitted = await everything
        self.assertEqual([(attempt.is_checked, attempt.ruling.delay_s) for attempt in admitted], [(True, 0.0)] * 40)
        self.assertEqual([row for row in await self.counted(guard) if row[2] or row[3]], [])

    async def test_one_right_at_the_same_time(self) -> None:
        """A right PIN among wrong ones at once leaves its guess to one that waits; the others are not checked."""
        guard = self.guard()
        ruled, everything = self.keyed_at_once(guard, 10)
        await self.until(ruled, FREE_GUESSES)
        await guard.right(ruled[0], "pepe")
        await self.until(ruled, FREE_GUESSES + 1)
        for attempt in ruled[1:]:
            guard.wrong(attempt, self.request(), "192.0.2.1", "34")
        admitted = await everything
        self.assertEqual(sum(attempt.is_checked for attempt in admitted), FREE_GUESSES + 1)
        self.assertIn(("endpoint", "PJSIP/33", FREE_GUESSES, 4), await self.counted(guard))

    async def test_given_up(self) -> None:
        """A check that fails keeps its guess and holds up no other; to give it up twice changes nothing."""
        guard = self.guard()
        ruled, everything = self.keyed_at_once(guard, 7)
        await self.until(ruled, FREE_GUESSES)
        for attempt in ruled[:]:
            guard.give_up(attempt)
            guard.give_up(attempt)
        admitted = await everything
        self.assertEqual(sum(attempt.is_checked for attempt in admitted), FREE_GUESSES)
        guard.give_up(admitted[0])
        self.assertFalse((await guard.admit(self.request(), 1)).is_checked)

    async def counted(self, guard: PinGuard) -> list[tuple[Any, ...]]:
        """The rows of wrong PINs: scope, name, wrong and unchecked."""
        store: Any = guard._store
        rows: list[tuple[Any, ...]] = await store.run(
            lambda connection: connection.execute("SELECT scope, name, wrong, unchecked FROM pin_guesses").fetchall()
        )
        return rows

    async def test_two_gateways_and_a_restart(self) -> None:
        """A wrong PIN counted by one gateway counts on another with the same database, and after a restart."""
        one, other = self.guard(), self.guard()
        for gateway in (one, other, one, other, one):
            self.assertTrue((await self.guess(gateway)).is_checked)
        for gateway in (one, other, self.guard()):
            self.assertFalse((await self.guess(gateway)).is_checked)

    async def test_right_ones_cost_nothing(self) -> None:
        """Right PINs are not counted, however often they are keyed."""
        guard = self.guard()
        for _ in range(20):
            attempt = await guard.admit(self.request(), 1)
            self.assertTrue(attempt.is_checked)
            await guard.right(attempt, "pepe")
        self.assertEqual(guard.statistics.wrong, 0)

    async def test_no_source(self) -> None:
        """Without a word on where the call came from it is AMI's, its channel is relied on, and no phone is known."""
        guard = self.guard()
        attempt = await guard.admit(request_of(SimulatedCall("34", caller=None, channel="")), 7)
        self.assertEqual(
            attempt.keys, (GuessKey("unnamed", "AMI, mapping 7"), GuessKey("mapping", "7"), GuessKey("gateway", ""))
        )
        attempt = await guard.admit(self.request(), 7)
        self.assertEqual([key.scope for key in attempt.keys], ["endpoint", "number", "mapping", "gateway"])
        self.assertIs(attempt.is_known, False)

    async def test_lifted(self) -> None:
        """Lifting a lock-out ends it at once, on this gateway and on another."""
        guard, other = self.guard(), self.guard()
        for _ in range(FREE_GUESSES + 1):
            await self.guess(guard)
        keys = [GuessKey("endpoint", "PJSIP/33"), GuessKey("number", "33"), GuessKey("number", "99")]
        self.assertEqual(await guard.lift(keys), 2)
        self.assertTrue((await self.guess(guard)).is_checked)
        self.assertTrue((await self.guess(other)).is_checked)

    async def test_the_database_is_away(self) -> None:
        """While the database is away guesses are counted in memory."""
        guard = self.guard()
        self.path.rename(f"{self.path}.away")
        checked = [(await self.guess(guard)).is_checked for _ in range(FREE_GUESSES + 2)]
        self.assertEqual(checked, [True] * FREE_GUESSES + [False] * 2)

    async def test_the_log(self) -> None:
        """Each wrong PIN is logged with peer, channel and number; a lock-out is logged once, however long it lasts."""
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
        """The filter for peers finds the peer, and no text that the caller sends."""
        (regex,) = re.findall(
            r"^failregex = (.*)$", (ROOT / "contrib/fail2ban/pbxrouter-pin-peers.conf").read_text(), re.MULTILINE
        )
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
        """One guess by each of many numbers on a trunk raises the alarm; then one more of each is checked."""
        guard = self.guard("PJSIP/out")
        for number in range(MAPPING_GUESSES + 1):
            request = self.request("PJSIP/out", f"555{number}")
            self.assertTrue((await self.guess(guard, request)).is_checked)
        self.assertEqual(guard.statistics.alarms, 1)
        self.assertFalse((await self.guess(guard, request)).is_checked)
        honest = self.request("PJSIP/out", "600")
        attempt = await guard.admit(honest, 1)
        # A number of which nothing is known waits its turn among those of the trunk.
        self.assertEqual((attempt.is_checked, attempt.ruling.delay_s), (True, QUEUE_STEP_S))
        inside = await guard.admit(self.request(), 1)
        self.assertEqual((inside.is_checked, inside.ruling.delay_s), (True, 0.0))

    async def test_known_in_the_database(self) -> None:
        """One user's right PINs make so many callers known a day; further names are known in no gateway."""
        guard = self.guard()
        for number in range(NEW_KNOWN_A_DAY + 2):
            attempt = await guard.admit(self.request(f"PJSIP/7{number}", f"7{number}"), 1)
            await guard.right(attempt, "pepe")
        with closing(database.connect(self.path)) as connection:
            (known,) = connection.execute("SELECT count(*) FROM pin_guesses WHERE scope = 'known'").fetchone()
        self.assertEqual(known, NEW_KNOWN_A_DAY)


class InMemoryTests(GuardCase):
    """The guard without a database, at a fixed time."""

    def setUp(self) -> None:
        """Create a guard that has no database."""
        super().setUp()
        self.set_by_s = 0.0
        self.memory = PinGuard(None, ["PJSIP/provider"], lambda: self.now + self.set_by_s, seconds=lambda: self.now)

    def test_clock_set(self) -> None:
        """A clock that is set forgives nothing that is remembered, and holds nothing against a caller."""
        for _ in range(FREE_GUESSES):
            self.assertTrue(self.key().is_checked)
        for self.set_by_s in (3600.0, -3600.0):
            ruling = self.key().ruling
            self.assertEqual(ruling.locked_until, self.now + self.set_by_s + 360)
        other = self.request("PJSIP/34", "34")
        for self.set_by_s in (3600.0, 0.0, -3600.0):
            attempt = self.successResultOf(Deferred.fromCoroutine(self.memory.admit(other, 2)))
            self.assertEqual((attempt.is_checked, attempt.ruling.delay_s), (True, 0.0))
            self.successResultOf(Deferred.fromCoroutine(self.memory.right(attempt, "pepe")))

    def key(self, request: AGIRequest | None = None, peer: str = "192.0.2.1") -> PinAttempt:
        """Key a wrong PIN."""
        request = request or self.request()
        attempt = self.successResultOf(Deferred.fromCoroutine(self.memory.admit(request, 1)))
        self.memory.wrong(attempt, request, peer, "34")
        return attempt

    def test_keys(self) -> None:
        """A guess is charged to endpoint, number, mapping and gateway; on a trunk to trunk and number together."""
        self.assertEqual(
            self.key().keys,
            (
                GuessKey("endpoint", "PJSIP/33"),
                GuessKey("number", "33"),
                GuessKey("mapping", "1"),
                GuessKey("gateway", ""),
            ),
        )
        self.assertEqual(self.key(self.request("PJSIP/provider")).keys[0], GuessKey("trunk", "PJSIP/provider 33"))

    def test_trunks_replaced(self) -> None:
        """Other endpoints can be made trunks while the gateway runs; those from before are none any more."""
        self.memory.set_trunks(iter(["PJSIP/33"]))
        self.assertEqual(self.key().keys[0], GuessKey("trunk", "PJSIP/33 33"))
        self.assertEqual(self.key(self.request("PJSIP/provider")).keys[0], GuessKey("endpoint", "PJSIP/provider"))

    def test_known_callers_are_bounded(self) -> None:
        """Of the callers from whom a right PIN came the latest are known; each right PIN makes it late again."""
        self.patch(pin_guard, "MAX_IN_MEMORY", 2)

        def right(name: str) -> None:
            admit = self.memory.admit(self.request(f"PJSIP/{name}", name), 1)
            attempt = self.successResultOf(Deferred.fromCoroutine(admit))
            self.successResultOf(Deferred.fromCoroutine(self.memory.right(attempt, f"user of {name}")))

        for name in ("1", "2", "1", "3"):
            right(name)
        self.assertEqual(list(self.memory._known), [GuessKey("endpoint", f"PJSIP/{name}") for name in "13"])

    def test_long_texts(self) -> None:
        """Texts that a caller sends are cut in an alarm, and so is the name of what is locked out."""
        guard = PinGuard(None, (), lambda: self.now, self.alarms.append, lambda: self.now)
        request = AGIRequest({"channel": f"PJSIP/{'x' * 500}-0000001a", "callerid": "7" * 500})
        for _ in range(FREE_GUESSES + 1):
            attempt = self.successResultOf(Deferred.fromCoroutine(guard.admit(request, 1)))
            guard.wrong(attempt, request, "192.0.2.1", "9" * 500)
        (alarm,) = self.alarms
        for name, kept in (
            ("channel", f"PJSIP/{'x' * (pin_guard.MAX_SHOWN - 6)}…"),
            ("caller", f"{'7' * pin_guard.MAX_SHOWN}…"),
            ("number", f"{'9' * pin_guard.MAX_SHOWN}…"),
        ):
            self.assertTrue(alarm.details[name].startswith(kept), name)
        self.assertNotIn("x" * (pin_guard.MAX_SHOWN + 1), alarm.text)

    def test_charged_to_each(self) -> None:
        """Guesses of an endpoint with varying caller numbers are counted together, and so are those of a number."""
        for number in range(FREE_GUESSES):
            self.key(self.request("PJSIP/33", f"{number}"))
        self.assertEqual(self.key(self.request("PJSIP/33", "77")).ruling.locked_by, GuessKey("endpoint", "PJSIP/33"))
        for number in range(FREE_GUESSES):
            self.key(self.request(f"PJSIP/x{number}", "88"))
        # Its own first three wrong PINs are checked; from then on the number counts for it, too.
        for _ in range(3):
            self.assertIsNone(self.key(self.request("PJSIP/other", "88")).ruling.locked_by)
        self.assertEqual(self.key(self.request("PJSIP/other", "88")).ruling.locked_by, GuessKey("number", "88"))

    def test_not_charged_while_locked(self) -> None:
        """PINs that are not checked are not charged: a lock-out ends in its time, however often a PIN is keyed."""
        for _ in range(FREE_GUESSES):
            self.key()
        until = self.key().ruling.locked_until
        for _ in range(20):
            self.assertEqual(self.key().ruling.locked_until, until)
        self.now = until
        self.assertTrue(self.key().is_checked)

    def test_right(self) -> None:
        """A right PIN takes back its own charge from each of its keys, and no other."""
        for _ in range(FREE_GUESSES - 1):
            self.key()
        for _ in range(30):
            attempt = self.successResultOf(Deferred.fromCoroutine(self.memory.admit(self.request(), 1)))
            self.assertTrue(attempt.is_checked)
            self.successResultOf(Deferred.fromCoroutine(self.memory.right(attempt, "pepe")))
        self.assertTrue(self.key().is_checked)
        self.assertFalse(self.key().is_checked)

    def test_right_in_the_queue(self) -> None:
        """A place in the queue of an attacked trunk is used up by a right PIN, too."""
        for line in range(60):
            self.key(self.request(f"PJSIP/{line % 25}", str(line % 25)))
        delays = []
        for caller in ("5551", "5552", "5553"):
            request = self.request("PJSIP/provider", caller)
            attempt = self.successResultOf(Deferred.fromCoroutine(self.memory.admit(request, 1)))
            self.assertTrue(attempt.is_checked)
            self.successResultOf(Deferred.fromCoroutine(self.memory.right(attempt, "pepe")))
            delays.append(attempt.ruling.delay_s)
        self.assertEqual(delays, [place * QUEUE_STEP_S for place in range(3)])

    def test_statistics(self) -> None:
        """Wrong and unchecked PINs and lock-outs are counted; a new lock-out after the first is over counts again."""
        for _ in range(FREE_GUESSES + 2):
            self.key()
        statistics = self.memory.statistics
        self.assertEqual((statistics.wrong, statistics.unchecked, statistics.lockouts), (FREE_GUESSES, 2, 1))
        self.now += 360.0
        self.key()
        self.key()
        self.assertEqual((statistics.wrong, statistics.unchecked, statistics.lockouts), (FREE_GUESSES + 1, 3, 2))
        self.assertEqual((statistics.alarms, statistics.alarmed_until), (0, 0.0))
        self.assertEqual(len(self.said(LogLevel.warn)), 2)

    def test_lock_outs_of_several(self) -> None:
        """Each key that is locked is logged by itself, and once."""
        one, other = self.request("PJSIP/1", "1"), self.request("PJSIP/2", "2")
        for request in (one, other):
            for _ in range(FREE_GUESSES):
                self.key(request)
        for _ in range(3):
            self.key(one)
            self.key(other)
        self.assertEqual(
            self.said(LogLevel.warn),
            [
                f"PIN guard: locked out endpoint PJSIP/{name} after wrong PINs from 192.0.2.1, "
                f"channel PJSIP/{name}-0000001a, caller {name}, number 34"
                for name in "12"
            ],
        )

    def test_lock_outs_that_are_over(self) -> None:
        """Of lock-outs that were logged only those that last are remembered, however many there were."""
        for number in range(5):
            for _ in range(FREE_GUESSES + 1):
                self.key(self.request(f"PJSIP/{number}", str(number)))
            self.assertEqual([key.name for key in self.memory._locked], [f"PJSIP/{number}"])
            self.now += 3600.0

    def test_what_callers_write(self) -> None:
        """Log lines have no line end that a caller sent, and a question mark for an unknown peer."""
        request = AGIRequest({"channel": "a\nb", "callerid": "1\n2"})
        for _ in range(FREE_GUESSES + 1):
            self.key(request, peer="")
        for line in (*self.said(LogLevel.info), *self.said(LogLevel.warn)):
            self.assertTrue(line.isprintable(), line)
            self.assertIn("from ?,", line)
        self.key(AGIRequest({"channel": "PJSIP/9-0000001a"}), peer="x\ny")
        line = self.said(LogLevel.info)[-1]
        self.assertIn('from "x\\ny", channel PJSIP/9-0000001a, caller unknown, number 34', line)

    def test_alarms(self) -> None:
        """An attacked mapping raises one alarm while the attack lasts, and another after a quiet time."""
        for line in range(60):
            self.key(self.request(f"PJSIP/{line % 25}", str(line % 25)))
        statistics = self.memory.statistics
        self.assertEqual((statistics.alarms, statistics.alarmed_until), (1, self.now + 120.0))
        self.assertEqual(self.said(LogLevel.critical), ["PIN guard: ALARM: wrong PINs from many places at mapping 1"])
        self.now += 4 * 3600.0
        for line in range(60):
            self.key(self.request(f"PJSIP/{line % 25}", str(line % 25)))
        self.assertEqual((statistics.alarms, statistics.alarmed_until), (2, self.now + 120.0))

    def test_alarm_of_the_gateway(self) -> None:
        """Guesses at ever other mappings raise the gateway's alarm."""
        for line in range(80):
            request = self.request(f"PJSIP/{line % 35}", str(line % 35))
            attempt = self.successResultOf(Deferred.fromCoroutine(self.memory.admit(request, line)))
            self.memory.wrong(attempt, request, "", "34")
        self.assertEqual(self.said(LogLevel.critical), ["PIN guard: ALARM: wrong PINs from many places at the gateway"])
        self.assertEqual(self.memory.statistics.alarmed_until, self.now + 60.0)

    def test_memory_is_bounded(self) -> None:
        """The memory is bounded: what is forgiven first is forgotten first, so a flood takes no lock-out away."""
        self.patch(pin_guard, "MAX_IN_MEMORY", 12)
        old, kept = self.request("PJSIP/old", "1"), self.request("PJSIP/kept", "2")
        for request in (old, kept):
            for _ in range(FREE_GUESSES):
                self.key(request)
        for number in range(200):
            self.key(self.request(f"PJSIP/x{number}", f"x{number}"))
            self.assertLessEqual(len(self.memory._memory), 12)
        self.assertFalse(self.key(old).is_checked)
        self.assertFalse(self.key(kept).is_checked)
        for place in range(2):  # the flood's own names were forgotten
            self.assertNotIn(GuessKey("endpoint", f"PJSIP/x{place}"), self.memory._memory)

    def test_who_guesses_again_is_remembered(self) -> None:
        """A caller counts as of the last guess, not of the first, when others are forgotten."""
        self.patch(pin_guard, "MAX_IN_MEMORY", 8)
        first = self.request("PJSIP/first", "1")
        for _ in range(FREE_GUESSES - 1):
            self.key(first)
        for number in "23":
            self.key(self.request(f"PJSIP/{number}", number))
        self.key(first)
        self.key(self.request("PJSIP/4", "4"))
        self.assertFalse(self.key(first).is_checked)

    def test_lift(self) -> None:
        """Lifting ends a lock-out, and a new one is logged again."""
        for _ in range(FREE_GUESSES + 1):
            self.key()
        keys = [GuessKey("endpoint", "PJSIP/33"), GuessKey("number", "33"), GuessKey("number", "99")]
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(self.memory.lift(iter(keys)))), 0)
        for _ in range(FREE_GUESSES):
            self.assertTrue(self.key().is_checked)
        self.assertFalse(self.key().is_checked)
        self.assertEqual((self.memory.statistics.lockouts, len(self.said(LogLevel.warn))), (2, 2))

    def test_lift_of_an_attack(self) -> None:
        """The alarm lasts until the attacked mapping or the gateway is forgiven, also if its callers are."""
        statistics = self.memory.statistics
        for key, map_id, guesses in ((GuessKey("mapping", "1"), 1, 50), (GuessKey("gateway", ""), None, 80)):
            for line in range(guesses):
                request = self.request(f"PJSIP/{line % 35}", str(line % 35))
                admitted = self.memory.admit(request, line if map_id is None else map_id)
                self.memory.wrong(self.successResultOf(Deferred.fromCoroutine(admitted)), request, "", "34")
            self.assertGreater(statistics.alarmed_until, self.now)
            until = statistics.alarmed_until
            self.memory.lifted([GuessKey("endpoint", "PJSIP/1"), GuessKey("number", "1")])
            self.assertEqual(statistics.alarmed_until, until)
            self.memory.lifted([key])
            self.assertEqual(statistics.alarmed_until, 0.0)
            self.assertTrue(self.key(self.request("PJSIP/1", "1")).is_checked)
            self.assertEqual(statistics.alarmed_until, 0.0)
            self.now += 86_400.0


class AwayTests(GuardCase):
    """The PIN guard while its database cannot be used."""

    async def test_said(self) -> None:
        """The log says that guesses are counted in memory, and that a right PIN could not be noted."""
        guard = self.guard()
        self.path.rename(f"{self.path}.away")
        attempt = await guard.admit(self.request(), 1)
        await guard.right(attempt, "pepe")
        first, second = self.said(LogLevel.warn)
        self.assertIn("PIN guard: the database cannot be used, counting in memory: ", first)
        self.assertIn("PIN guard: a right PIN could not be noted: ", second)
        for _ in range(FREE_GUESSES):
            self.assertTrue((await self.guess(guard)).is_checked)

    async def test_counted_before_it_went_away(self) -> None:
        """Guesses counted before the database went away still count."""
        guard = self.guard()
        for _ in range(FREE_GUESSES - 1):
            await self.guess(guard)
        self.path.rename(f"{self.path}.away")
        self.assertEqual([(await self.guess(guard)).is_checked for _ in range(2)], [True, False])

    async def test_old_ones_cannot_be_deleted(self) -> None:
        """Rows that cannot be deleted now stay, without more than a line for the curious; later they are."""
        guard = self.guard()
        await self.guess(guard)
        self.now += 10 * 86_400.0
        away = self.path.rename(f"{self.path}.away")
        await guard.forget()
        self.assertEqual(len(self.said(LogLevel.debug)), 1)
        self.assertIn("old wrong PINs cannot be deleted now: ", self.said(LogLevel.debug)[0])
        self.assertEqual(self.said(LogLevel.warn), [])
        away.rename(self.path)
        self.assertGreater(self.rows(), 0)
        await guard.forget()
        self.assertEqual(self.rows(), 0)

    async def test_forgotten_every_so_many(self) -> None:
        """Rows are bounded each time that so many PINs were admitted, without waiting for the hour."""
        self.patch(pin_guard, "FORGET_EVERY", 3)
        guard = self.guard()
        await self.guess(guard)
        before = self.rows()
        self.now += 10 * 86_400.0
        await self.guess(guard, self.request("PJSIP/7", "7"))
        self.assertGreater(self.rows(), before)
        await self.guess(guard, self.request("PJSIP/7", "7"))
        self.assertEqual(self.rows(), before)
        self.now += 10 * 86_400.0
        for more in (1, 1, 0):
            await self.guess(guard, self.request("PJSIP/8", "8"))
            self.assertEqual(self.rows() > before, bool(more))

    async def test_without_a_database(self) -> None:
        """A guard without a database has nothing to delete and says nothing."""
        await PinGuard(None, (), lambda: self.now).forget()
        self.assertEqual(self.said(LogLevel.debug), [])

    def rows(self) -> int:
        """How many keys the database has."""
        with closing(database.connect(self.path)) as connection:
            return int(connection.execute("SELECT count(*) FROM pin_guesses").fetchone()[0])
