"""Changing a PIN by phone: the driver changepin in a call flow, over a real database."""

from __future__ import annotations

import functools
import pathlib

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from pbxrouter import database
from pbxrouter.agi.prompts import Prompts
from pbxrouter.call.active_calls import ActiveCalls
from pbxrouter.call.flow import CallFlow
from pbxrouter.call.pin_change import PinChanges
from pbxrouter.call.pin_guard import PinGuard
from pbxrouter.config.schema import Config
from pbxrouter.database import Store
from pbxrouter.database.audit import AuditSearch, details_of, find_entries
from pbxrouter.drivers.changepin import ChangePin
from pbxrouter.rules.engine import RulesEngine
from pbxrouter.rules.reloader import RulesReloader
from pbxrouter.security import pins
from pbxrouter.security.guess_limits import FREE_GUESSES
from pbxrouter.simulator import SimulatedCall
from tests.fakes import HUNG_UP, FakeChannel, Reports

hash_pin = functools.partial(pins.hash_pin, b"k" * 32)
OLD, NEW, TAKEN, WEAK = "629471", "804726", "917354", "123456"


class ChangePinTests(TestCase):
    """Ana has OLD, Eva has TAKEN; 33 may dial *99."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        """Make a gateway."""
        self.now = 1_000_000.0
        self.path = pathlib.Path(self.mktemp())
        database.create(self.path)
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
        store = self.store = Store(self.path, hash_pin, reactor)
        self.addCleanup(store.close)
        self.engine = RulesEngine(["changepin"])
        self.reloader = RulesReloader(store, self.engine, reactor)
        await self.reloader.poll()
        self.guard = PinGuard(store, (), lambda: self.now)
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
        self.assertEqual({user.name for user in self.engine.rules.users}, {"Ana", "Eva"})
        self.assertEqual((await self.call(NEW, [OLD]))[0], "DONE")
        entry, _ = await self.store.run(lambda connection: find_entries(connection, AuditSearch(), 5))
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
        with self.assertRaisesRegex(Exception, "the PIN has been changed meanwhile"):
            await caller.change(NEW)
        self.assertEqual((await self.stored())["Ana"], None)


def _keyed(pin: str) -> str:
    return pin if pin == HUNG_UP else f"200 result={pin}"
