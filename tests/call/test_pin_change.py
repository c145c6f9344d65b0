"""Changing a PIN by phone: the driver changepin in a call flow, over a real database."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from pbxrouter import database
from pbxrouter.agi.prompts import Prompts
from pbxrouter.call.active_calls import ActiveCalls
from pbxrouter.call.flow import CallFlow
from pbxrouter.call.pin_change import CallerPins, PinChanges
from pbxrouter.call.pin_guard import PinAttempt, PinGuard
from pbxrouter.config.schema import Config
from pbxrouter.database import Connection, Database, Store, list_guesses, open_store
from pbxrouter.database.audit import AuditSearch, details_of, find_entries
from pbxrouter.drivers.changepin import ChangePin
from pbxrouter.errors import ApplicationFailed, ChannelHungUp, CommandRefused, StoreError
from pbxrouter.rules.engine import RulesEngine
from pbxrouter.rules.model import Facts
from pbxrouter.rules.reloader import RulesReloader
from pbxrouter.security import GuessKey, pins
from pbxrouter.security.guess_limits import FREE_GUESSES
from pbxrouter.simulator import SimulatedCall
from tests.databases import new_database
from tests.fakes import HUNG_UP, Answers, FakeChannel, Reports

T = TypeVar("T")

hash_pin = functools.partial(pins.hash_pin, b"k" * 32)
OLD, NEW, TAKEN, WEAK = "629471", "804726", "917354", "123456"


class LateWriter:
    """A store on which another user gets a PIN just before a piece of work.

    Args:
        turn: before which one, from 1.
        pin_hash: the PIN, which Eva gets.
    """

    def __init__(self, store: Store, turn: int, pin_hash: str) -> None:
        self._store = store
        self._left = turn
        self._pin_hash = pin_hash

    def run(self, work: Callable[[Any], T]) -> Deferred[T]:
        """Run work; before the chosen piece another user gets the PIN."""
        self._left -= 1
        if not self._left:
            self._store.run(self._write)
        return self._store.run(work)

    def _write(self, connection: Any) -> None:
        connection.execute("UPDATE users SET user_pin = :pin WHERE user_name = 'Eva'", {"pin": self._pin_hash})
        connection.commit()


class FailingStore:
    """A store that is away for one piece of work.

    Args:
        turn: for which one, from 1.
    """

    def __init__(self, store: Store, turn: int) -> None:
        self._store = store
        self._left = turn

    def run(self, work: Callable[[Connection], T]) -> Deferred[T]:
        """Run work, or fail."""
        self._left -= 1
        return self._store.run(work) if self._left else fail(StoreError("on purpose"))


class ChangePinTests(TestCase):
    """Ana has OLD, Eva has TAKEN; 33 may dial *99."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        """Create a gateway with users and PINs."""
        self.now = 1_000_000.0
        self.path = pathlib.Path(self.mktemp())
        new_database(self.path)
        connection = database.connect(self.path)
        connection.executescript(
            f"""
            INSERT INTO applications_mappings (map_id, application_name, pattern) VALUES (1, 'changepin', '*99');
            INSERT INTO extensions (extension_id, extension_number) VALUES (1, '33');
            INSERT INTO extensions_mappings (extension_id, map_id) VALUES (1, 1);
            INSERT INTO users (user_name, user_pin) VALUES ('Ana', '{hash_pin(OLD)}'), ('Eva', '{hash_pin(TAKEN)}');
            """
        )
        connection.close()
        store = self.store = open_store(self.path, hash_pin, reactor)
        self.addCleanup(store.close)
        self.engine = RulesEngine(["changepin"])
        self.reloader = RulesReloader(store, self.engine, reactor)
        await self.reloader.poll()
        self.guard = PinGuard(store, (), lambda: self.now, seconds=lambda: self.now)
        self.reports = Reports()
        changes = PinChanges(store, self.guard, hash_pin, self.reloader.reload, lambda: self.now)
        self.flow = CallFlow(
            self.engine,
            {"changepin": ChangePin(Config())},
            Prompts(),
            self.reports,
            ActiveCalls(),
            guard=self.guard,
            pin_changes=changes,
        )

    async def call(self, old: list[str] | str, new: list[str], again: list[str] | None = None) -> tuple[str, list[str]]:
        """Dial *99 and key PINs; returns the outcome and the commands."""
        answers: dict[str, object] = {
            "GET DATA agent-pass": [_keyed(pin) for pin in ([old] if isinstance(old, str) else old)],
            "GET DATA vm-newpassword": [f"200 result={pin}" for pin in new],
            "GET DATA vm-reenterpassword": [f"200 result={pin}" for pin in again or new],
        }
        channel = FakeChannel(SimulatedCall("*99", caller="33", channel="PJSIP/33-0000001a"), answers)  # type: ignore[arg-type]
        await self.flow.serve(channel)
        return self.reports.statuses[-1], channel.commands

    async def stored(self) -> dict[str, str]:
        """The hash of each user's PIN."""
        return await self.store.run(
            lambda connection: dict(connection.execute("SELECT user_name, user_pin FROM users"))
        )

    async def test_changed(self) -> None:
        """Old PIN, new PIN twice; it holds for the next call, and the audit log has it without the PIN."""
        outcome, commands = await self.call(OLD, [NEW])
        self.assertEqual(outcome, "DONE")
        self.assertEqual(
            [line for line in commands if line.startswith(("GET DATA", "EXEC"))],
            [
                "GET DATA agent-pass 5000 20",
                "GET DATA vm-newpassword 5000 20",
                "GET DATA vm-reenterpassword 5000 20",
                "EXEC Playback vm-passchanged",
            ],
        )
        self.assertEqual((await self.stored())["Ana"], hash_pin(NEW))
        assert self.engine.rules is not None
        decided = [self.engine.rules.decide(Facts("44", "*99", pin)).user for pin in (OLD, NEW, TAKEN)]
        self.assertEqual(decided, [None, "Ana", "Eva"])
        self.assertEqual((await self.call(NEW, [OLD]))[0], "DONE")
        entry, _ = await self.store.run(lambda connection: find_entries(connection, AuditSearch(), 2))
        self.assertEqual((entry.who, entry.via, entry.action, entry.name), ("Ana", "phone", "pin", "Ana"))
        shown = repr(await self.store.run(lambda connection: details_of(connection, [entry])))
        for secret in (OLD, NEW, hash_pin(OLD), hash_pin(NEW)):
            self.assertNotIn(secret, shown)
        self.assertEqual(self.guard.statistics.wrong, 0)

    async def test_wrong_old_pin(self) -> None:
        """The old PIN may be keyed three times; each wrong one counts, and the new PIN is not asked for."""
        outcome, commands = await self.call(["000000", NEW, "999"], [NEW])
        self.assertEqual(outcome, "DENIED")
        self.assertEqual([line for line in commands if "newpassword" in line], [])
        self.assertEqual(commands.count("EXEC Playback vm-incorrect"), 3)
        self.assertEqual(self.guard.statistics.wrong, 3)
        self.assertEqual((await self.stored())["Ana"], hash_pin(OLD))

    async def test_refused(self) -> None:
        """Weak, short and used PINs, and the same PIN, are refused alike and counted, until one is accepted."""
        heard = []
        for pin in (WEAK, "8047", TAKEN, OLD):
            self.now += 86_400
            outcome, commands = await self.call(OLD, [pin, NEW, OLD])
            self.assertEqual(outcome, "DONE")
            heard.append([line for line in commands if "EXEC" in line])
            await self.call(NEW, [OLD])
        self.assertEqual(heard[0], ["EXEC Playback vm-invalid-password", "EXEC Playback vm-passchanged"])
        self.assertEqual(heard, [heard[0]] * 4)
        self.assertEqual(self.guard.statistics.wrong, 4)
        self.assertEqual(await self.stored(), {"Ana": hash_pin(OLD), "Eva": hash_pin(TAKEN)})

    async def test_no_oracle(self) -> None:
        """A user who tries others' PINs as a new one is locked out like a guesser."""
        for _ in range(2):
            outcome, _ = await self.call(OLD, ["501927", "501928", "501929"], ["x", "x", "x"])  # differ: not counted
            self.assertEqual(outcome, "DENIED")
        self.assertEqual(self.guard.statistics.wrong, 0)
        self.assertEqual((await self.call(OLD, [TAKEN] * 3))[0], "DENIED")
        outcome, commands = await self.call(OLD, [TAKEN, WEAK, NEW])
        self.assertEqual(outcome, "LOCKEDOUT")
        self.assertEqual(self.guard.statistics.wrong, FREE_GUESSES)
        self.assertEqual(commands.count("EXEC Playback vm-invalid-password"), 3)
        self.assertEqual((await self.stored())["Ana"], hash_pin(OLD))
        self.assertEqual((await self.call([OLD] * 3, [NEW]))[0], "LOCKEDOUT")
        record = self.reports.records[-1]
        assert record.decision is not None
        self.assertIn("the PIN was not checked", " ".join(record.decision.trace_lines()))
        self.assertEqual((await self.call([OLD, HUNG_UP], [NEW]))[0], "LOCKEDOUT")

    async def test_database_away(self) -> None:
        """The caller hears that something is wrong, and the dialplan goes on."""
        self.path.rename(f"{self.path}.away")
        outcome, commands = await self.call(OLD, [NEW])
        self.assertEqual(outcome, "FAILED")
        self.assertIn("EXEC Playback tt-somethingwrong", commands)

    async def test_changed_meanwhile(self) -> None:
        """A PIN that an operator changed during the call stays as the operator set it."""
        caller = PinChanges(self.store, self.guard, hash_pin, self.reloader.reload, lambda: self.now).of(
            FakeChannel(SimulatedCall("*99", caller="33")), 1, "*99"
        )
        self.assertTrue(await caller.identify(OLD))

        def operator(connection: object) -> None:
            connection.execute("UPDATE users SET user_pin = NULL WHERE user_name = 'Ana'")  # type: ignore[attr-defined]
            connection.commit()  # type: ignore[attr-defined]

        await self.store.run(operator)
        why = "changepin: the PIN cannot be changed now: the PIN has been changed meanwhile"
        with self.assertRaisesRegex(ApplicationFailed, f"^{why}$"):
            await caller.change(NEW)
        self.assertEqual((await self.stored())["Ana"], None)

    def caller(self, answers: Answers | None = None, store: Database | None = None, peer: str = "") -> CallerPins:
        """The PINs for a caller on a channel of its own; it has a peer, such as one of FastAGI, if one is given."""
        changes = PinChanges(store or self.store, self.guard, hash_pin, self.reloader.reload, lambda: self.now)
        channel = FakeChannel(SimulatedCall("*99", caller="33", channel="PJSIP/33-0000001a"), answers)
        if peer:
            channel.peer = peer  # type: ignore[attr-defined]
        return changes.of(channel, 1, "*99")

    async def test_right_pins_cost_nothing(self) -> None:
        """Neither the old PIN nor the new one counts as a guess when it is accepted, however often PINs change."""
        for old, new in [(OLD, NEW), (NEW, OLD)] * FREE_GUESSES:
            outcome, commands = await self.call(old, [new])
            self.assertEqual(outcome, "DONE")
            self.assertEqual([line for line in commands if line.startswith("EXEC Wait")], [])
        held = await self.store.run(lambda connection: list_guesses(connection, self.now))
        self.assertEqual(held, [])

    async def test_taken_just_now(self) -> None:
        """A PIN that another user gets while it is checked is refused and counted as one that was taken before."""
        caller = self.caller(store=LateWriter(self.store, 3, hash_pin(NEW)))
        self.assertTrue(await caller.identify(OLD))
        self.assertIs(await caller.change(NEW), False)
        self.assertEqual(self.guard.statistics.wrong, 1)
        self.assertEqual(await self.stored(), {"Ana": hash_pin(OLD), "Eva": hash_pin(NEW)})

    async def test_log(self) -> None:
        """A change is one line of the log with the user; a wrong PIN is logged with the peer. No line has a PIN."""
        with capturedLogs() as logs:
            caller = self.caller(peer="192.0.2.7")
            self.assertIs(await caller.identify("000000"), False)
            self.assertTrue(await caller.identify(OLD))
            self.assertIs(await caller.change(TAKEN), False)
            self.assertTrue(await caller.change(NEW))
            self.assertIs(await self.caller().identify(TAKEN[::-1]), False)
        lines = [formatEvent(event) for event in logs if event["log_namespace"].startswith("pbxrouter.call.")]
        wrong = "PIN guard: wrong PIN from {}, channel PJSIP/33-0000001a, caller 33, number *99"
        known, unknown = wrong.format("192.0.2.7"), wrong.format("?")
        self.assertEqual(lines, [known, known, "PINs: Ana has changed the PIN by phone", unknown])

    async def test_locked_by(self) -> None:
        """The record keeps the lock-out when a later PIN of the same call is checked."""
        for _ in range(FREE_GUESSES):
            self.assertIs(await self.caller().identify("000000"), False)
        caller = self.caller()
        self.assertIsNone(caller.locked_by)
        self.assertIs(await caller.identify(OLD), False)
        locked_by = caller.locked_by
        self.assertEqual(locked_by, GuessKey("endpoint", "PJSIP/33"))
        self.now += 86_400
        self.assertTrue(await caller.identify(OLD))
        self.assertEqual(caller.locked_by, locked_by)

    async def test_changed_twice_in_a_call(self) -> None:
        """The second change in one call starts from the PIN that the first has set."""
        caller = self.caller()
        self.assertTrue(await caller.identify(OLD))
        self.assertTrue(await caller.change(NEW))
        self.assertTrue(await caller.change("530918"))
        self.assertEqual((await self.stored())["Ana"], hash_pin("530918"))

    async def test_not_identified(self) -> None:
        """Without a user, also after a wrong PIN, nothing is changed, and the error says why."""
        caller = self.caller()
        for _ in range(2):
            with self.assertRaises(ApplicationFailed) as refused:
                await caller.change(NEW)
            self.assertEqual(str(refused.exception), "changepin: no user was identified")
            self.assertFalse(await caller.identify("000000"))
        self.assertEqual(await self.stored(), {"Ana": hash_pin(OLD), "Eva": hash_pin(TAKEN)})

    async def test_hung_up_while_waiting(self) -> None:
        """A guess counts though the caller hangs up before the answer, and identifies no user."""
        for _ in range(3):
            self.assertFalse(await self.caller().identify("000000"))
        self.assertEqual(self.guard.statistics.wrong, 3)
        impatient = self.caller({"EXEC Wait": HUNG_UP})
        with self.assertRaises(ChannelHungUp):
            await impatient.identify(OLD)
        self.assertEqual(self.guard.statistics.wrong, 4)
        with self.assertRaises(ApplicationFailed):
            await impatient.change(NEW)
        self.assertEqual((await self.stored())["Ana"], hash_pin(OLD))

    async def test_refused_while_waiting(self) -> None:
        """A guess whose wait Asterisk refuses stays charged, and no longer counts as one that is being checked."""
        for _ in range(3):
            self.assertFalse(await self.caller().identify("000000"))
        with self.assertRaises(CommandRefused):
            await self.caller({"EXEC Wait": "510 Invalid or unknown command"}).identify(OLD)
        self.assertEqual(self.guard.statistics.wrong, 3)
        self.assertTrue(await self.caller().identify(OLD))

    async def test_whose_pins_they_were(self) -> None:
        """The guard is told the user's name with each right PIN, the old one and the new one."""
        users, right = [], self.guard.right

        async def note(attempt: PinAttempt, user: str) -> None:
            users.append(user)
            await right(attempt, user)

        self.patch(self.guard, "right", note)
        self.assertEqual((await self.call(OLD, [NEW]))[0], "DONE")
        self.assertEqual(users, ["Ana", "Ana"])

    async def test_failed_while_checked(self) -> None:
        """A PIN, old or new, whose check fails holds up no other; its guess stays charged."""
        for is_new in (False, True):
            for turn in range(FREE_GUESSES):
                store = FailingStore(self.store, 2 if is_new else 1)
                caller = self.caller(store=store)
                if is_new:
                    self.assertTrue(await caller.identify(OLD))
                with self.assertRaisesRegex(ApplicationFailed, "cannot be changed now: on purpose"):
                    await (caller.change(NEW) if is_new else caller.identify(OLD))
                self.assertFalse(self.guard._attempts, (is_new, turn))
            self.assertFalse(await self.caller().identify(OLD))  # which would wait for them for ever
            self.now += 86_400.0


def _keyed(pin: str) -> str:
    return pin if pin == HUNG_UP else f"200 result={pin}"
