"""Wrong PINs in the database: charged, refunded, listed, lifted and forgotten."""

from __future__ import annotations

from typing import Any

from pbxrouter.database import guesses as guesses_module
from pbxrouter.database.audit import Actor
from pbxrouter.database.guesses import (
    MAX_LISTED,
    LockoutFigures,
    WrongGuesses,
    admit_guess,
    forget_guesses,
    is_known,
    lift_guesses,
    lift_lockout,
    list_guesses,
    lockout_figures,
    note_known,
    refund_guess,
)
from pbxrouter.errors import NotThere
from pbxrouter.security import GuessKey, Ruling
from tests.database.postgresql import OnBothEngines

NOW = 1_000_000.0
PHONE = GuessKey("endpoint", "PJSIP/33")
NUMBER = GuessKey("number", "33")
INTERVAL_S = 360.0
"""Ten guesses an hour are forgiven."""
DAY_S = 86_400.0


class GuessCase(OnBothEngines):
    """Has a database without guesses."""

    def setUp(self) -> None:
        """Create the database and connect to it."""
        self.connection = self.database()

    def rows(self) -> list[Any]:
        """The rows of the table, by key."""
        return self.connection.execute(
            "SELECT scope, name, forgiven_at, wrong, unchecked, last_at FROM pin_guesses ORDER BY scope, name"
        ).fetchall()

    def guess(self, *keys: GuessKey, times: int = 1, now: float = NOW) -> Ruling:
        """Charge wrong guesses; returns the last ruling."""
        for _ in range(times):
            ruling = admit_guess(self.connection, keys, now)
        return ruling


class ChargingTests(GuessCase):
    """admit_guess counts a PIN in advance, refund_guess takes it back."""

    def test_each_key_is_charged(self) -> None:
        """A guess is charged to each key of the call, and forgiven after six minutes."""
        self.assertEqual(self.guess(PHONE, NUMBER), Ruling(None, 0.0, 0.0, None))
        self.guess(NUMBER, now=NOW + 60)
        self.assertEqual(
            self.rows(),
            [
                ("endpoint", "PJSIP/33", NOW + INTERVAL_S, 1, 0, NOW),
                ("number", "33", NOW + 2 * INTERVAL_S, 2, 0, NOW + 60),
            ],
        )

    def test_keys_are_told_apart(self) -> None:
        """Keys differ by scope and by name."""
        keys = (GuessKey("endpoint", "33"), GuessKey("number", "33"), GuessKey("number", "34"))
        for count, key in enumerate(keys, 1):
            self.guess(key, times=count)
        refund_guess(self.connection, keys[1:2], NOW)
        self.assertEqual(
            [(*row[:2], row[3]) for row in self.rows()],
            [("endpoint", "33", 1), ("number", "33", 1), ("number", "34", 3)],
        )

    def test_locked(self) -> None:
        """A locked key is charged no more; its unchecked PINs are counted, for all keys of the call."""
        self.guess(PHONE, times=5)
        before = self.rows()[0]
        ruling = self.guess(PHONE, NUMBER, now=NOW + 1)
        self.assertEqual((ruling.locked_by, ruling.locked_until), (PHONE, NOW + INTERVAL_S))
        self.assertEqual(
            self.rows(),
            [("endpoint", "PJSIP/33", before[2], 5, 1, NOW + 1), ("number", "33", 0.0, 0, 1, NOW + 1)],
        )
        self.assertIsNone(self.guess(PHONE, now=NOW + INTERVAL_S).locked_by)
        self.assertEqual(self.rows()[0], ("endpoint", "PJSIP/33", before[2] + INTERVAL_S, 6, 1, NOW + INTERVAL_S))

    def test_refund(self) -> None:
        """A right PIN takes back its own charge only; counts never go below zero."""
        self.guess(NUMBER, PHONE, times=2)
        refund_guess(self.connection, (NUMBER,), NOW + 5)
        self.assertEqual([row[2:4] for row in self.rows()], [(NOW + 2 * INTERVAL_S, 2), (NOW + INTERVAL_S, 1)])
        for _ in range(3):
            refund_guess(self.connection, (NUMBER,), NOW + 5)
        self.assertEqual(self.rows()[1], ("number", "33", NOW, 0, 0, NOW))
        refund_guess(self.connection, (GuessKey("number", "99"),), NOW)
        self.assertEqual(len(self.rows()), 2)

    def test_names_from_outside(self) -> None:
        """A name that SQLite does not accept, or a long one, is counted as a key of its own."""
        odd, long = GuessKey("number", "3\udcff3"), GuessKey("number", "9" * 150)
        for key in (odd, long):
            self.assertIsNone(self.guess(key, times=5).locked_by)
            self.assertEqual(self.guess(key).locked_by, key)
        self.assertEqual([row[1] for row in self.rows()], ["3?3", "9" * 100])
        refund_guess(self.connection, (odd, long), NOW)
        self.assertEqual([row[3] for row in self.rows()], [4, 4])
        self.assertEqual(lift_guesses(self.connection, (odd, long)), 2)


class ListingTests(GuessCase):
    """list_guesses, lift_guesses and forget_guesses."""

    def test_listed(self) -> None:
        """Locked keys are listed first, of each kind the latest first; forgiven ones are left out."""
        self.guess(NUMBER, times=6)
        self.guess(PHONE, times=2, now=NOW + 10)
        other = GuessKey("number", "34")
        self.guess(other, now=NOW + 20)
        self.guess(GuessKey("number", "35"), now=NOW - INTERVAL_S)
        self.assertEqual(
            list_guesses(self.connection, NOW + 20),
            [
                WrongGuesses(NUMBER, 5, 5, 1, NOW, NOW + 5 * INTERVAL_S, is_locked=True),
                WrongGuesses(other, 1, 1, 0, NOW + 20, NOW + 20 + INTERVAL_S, is_locked=False),
                WrongGuesses(PHONE, 2, 2, 0, NOW + 10, NOW + 10 + 2 * INTERVAL_S, is_locked=False),
            ],
        )
        later = list_guesses(self.connection, NOW + INTERVAL_S)
        self.assertEqual(
            [(row.key, row.open, row.is_locked) for row in later][1:], [(PHONE, 2, False), (NUMBER, 4, False)]
        )
        self.assertEqual([row.key for row in list_guesses(self.connection, NOW + 2 * INTERVAL_S + 10)], [NUMBER])

    def test_written_by_hand(self) -> None:
        """A row of a scope that this version does not know is not listed."""
        self.guess(NUMBER, PHONE)
        self.connection.execute("UPDATE pin_guesses SET scope = 'planet' WHERE scope = 'number'")
        self.assertEqual([row.key for row in list_guesses(self.connection, NOW)], [PHONE])

    def test_bounded(self) -> None:
        """The list has the latest MAX_LISTED keys."""
        for number in range(MAX_LISTED + 1):
            self.guess(GuessKey("number", str(number)), now=NOW + number)
        listed = list_guesses(self.connection, NOW)
        self.assertEqual([row.key.name for row in listed], [str(number) for number in range(MAX_LISTED, 0, -1)])
        self.assertEqual(MAX_LISTED, 200)

    def test_lifted(self) -> None:
        """The given keys of their scope are lifted, and counted."""
        self.guess(NUMBER, PHONE, GuessKey("endpoint", "33"), times=5)
        self.assertEqual(lift_guesses(self.connection, [NUMBER, GuessKey("number", "99")]), 1)
        self.assertIsNone(self.guess(NUMBER).locked_by)
        self.assertEqual(lift_guesses(self.connection, [NUMBER, PHONE]), 2)
        self.assertEqual([row[:2] for row in self.rows()], [("endpoint", "33")])
        self.assertEqual(lift_guesses(self.connection, []), 0)

    def test_forgotten(self) -> None:
        """A row is deleted a day after its guesses are forgiven."""
        self.guess(NUMBER)
        forgiven_at = NOW + INTERVAL_S
        forget_guesses(self.connection, forgiven_at + DAY_S)
        self.assertEqual(len(self.rows()), 1)
        forget_guesses(self.connection, forgiven_at + DAY_S + 0.5)
        self.assertEqual(self.rows(), [])

    def test_lockout_lifted(self) -> None:
        """Lifting forgives one key and is recorded in the audit log; a key that is forgiven already is NotThere."""
        self.guess(PHONE, NUMBER, times=6)
        lift_lockout(self.connection, Actor("ana", "console"), NOW + 9, PHONE)
        self.assertEqual([row[:2] for row in self.rows()], [("number", "33")])
        entries = self.connection.execute(
            "SELECT changed_at, who, via, action, kind, name FROM audit_log ORDER BY audit_id"
        ).fetchall()
        self.assertEqual(entries, [(NOW + 9, "ana", "console", "lift", "lockout", "endpoint PJSIP/33")])
        for key, when in ((PHONE, NOW), (NUMBER, NOW + 99 * DAY_S)):
            refused = self.assertRaises(NotThere, lift_lockout, self.connection, Actor("ana", "console"), when, key)
            self.assertIn(f"no wrong PINs are held against {key.scope} {key.name}", str(refused))


class BoundsTests(GuessCase):
    """How many rows are kept, and which give way."""

    def test_a_flood_takes_no_lock_out_away(self) -> None:
        """Above MAX_KEYS those that are forgiven first go: a locked key stays, and so do mapping and gateway."""
        self.patch(guesses_module, "MAX_KEYS", 20)
        self.guess(PHONE, times=5)
        self.guess(GuessKey("mapping", "1"), GuessKey("gateway", ""))
        for number in range(100):
            self.guess(GuessKey("number", str(number)), now=NOW + number / 10)
        forget_guesses(self.connection, NOW + 10)
        rows = self.rows()
        self.assertEqual(len(rows), 20)
        self.assertEqual([row[0] for row in rows].count("number"), 17)
        self.assertEqual(self.guess(PHONE, now=NOW + 10).locked_by, PHONE)
        self.assertEqual([row[1] for row in rows if row[0] == "number"], [str(number) for number in range(83, 100)])

    def test_ended_ones_go_first(self) -> None:
        """Rows whose guesses are forgiven go before those whose are not."""
        self.patch(guesses_module, "MAX_KEYS", 2)
        self.guess(NUMBER)
        self.guess(PHONE, now=NOW + INTERVAL_S)
        self.guess(GuessKey("number", "34"), now=NOW + INTERVAL_S)
        forget_guesses(self.connection, NOW + INTERVAL_S)
        self.assertEqual([row[:2] for row in self.rows()], [("endpoint", "PJSIP/33"), ("number", "34")])

    def test_known_callers(self) -> None:
        """A caller is known for thirty days after a right PIN; a flood of keys does not change that."""
        self.patch(guesses_module, "MAX_KEYS", 3)
        self.patch(guesses_module, "MAX_KNOWN", 2)
        for place, key in enumerate((PHONE, NUMBER, GuessKey("trunk", "PJSIP/out 555"))):
            self.assertFalse(is_known(self.connection, key, NOW))
            note_known(self.connection, key, NOW + place)
            self.assertTrue(is_known(self.connection, key, NOW))
        for number in range(10):
            self.guess(GuessKey("number", str(number)))
        forget_guesses(self.connection, NOW + 3)
        known = [is_known(self.connection, key, NOW + 3) for key in (PHONE, NUMBER, GuessKey("trunk", "PJSIP/out 555"))]
        self.assertEqual(known, [False, True, True])
        self.assertTrue(is_known(self.connection, NUMBER, NOW + 30 * DAY_S))
        self.assertFalse(is_known(self.connection, NUMBER, NOW + 30 * DAY_S + 1))
        forget_guesses(self.connection, NOW + 30 * DAY_S + 2)
        self.assertEqual([row[0] for row in self.rows()], [])

    def test_known_callers_stay(self) -> None:
        """Thousands of known callers are kept."""
        keys = [GuessKey("number", str(number)) for number in range(3)]
        for key in keys:
            note_known(self.connection, key, NOW)
        forget_guesses(self.connection, NOW)
        self.assertEqual([is_known(self.connection, key, NOW) for key in keys], [True] * 3)
        self.assertEqual(guesses_module.MAX_KNOWN, 10_000)

    def test_unless_it_is_said_a_caller_is_not_known(self) -> None:
        """During an attack a number that is not known is locked out by one wrong PIN; one that is known is not."""
        mapping = GuessKey("mapping", "1")
        for place in range(60):
            self.guess(GuessKey("endpoint", f"PJSIP/x{place}"), mapping)
        self.assertIsNone(self.guess(NUMBER, mapping).locked_by)
        self.assertEqual(admit_guess(self.connection, (NUMBER, mapping), NOW).locked_by, NUMBER)
        self.assertIsNone(admit_guess(self.connection, (NUMBER, mapping), NOW, True).locked_by)

    def test_not_listed(self) -> None:
        """Known callers and queues are no lock-outs."""
        note_known(self.connection, PHONE, NOW)
        queue = GuessKey("queue", "PJSIP/out")
        for place in range(31):
            ruling = self.guess(GuessKey("trunk", f"PJSIP/out {place}"), queue, GuessKey("mapping", "1"))
        self.assertEqual((ruling.locked_by, ruling.delay_s), (None, 0.0))
        again = self.guess(GuessKey("trunk", "PJSIP/out 99"), queue, GuessKey("mapping", "1"))
        self.assertEqual(again.delay_s, 10.0)
        refund_guess(self.connection, (queue,), NOW)
        held = self.guess(GuessKey("trunk", "PJSIP/out 98"), queue, GuessKey("mapping", "1"))
        self.assertEqual(held.delay_s, 20.0)
        self.assertEqual({row.key.scope for row in list_guesses(self.connection, NOW)}, {"trunk", "mapping"})


class ClockTests(GuessCase):
    """A clock that was set back."""

    def test_a_clock_set_back_by_a_day(self) -> None:
        """A wrong PIN of tomorrow is one wrong PIN, and five of them lock out until one is forgiven, not for a day."""
        self.guess(PHONE, now=NOW + DAY_S)
        self.assertIsNone(self.guess(PHONE, now=NOW).locked_by)
        self.guess(NUMBER, times=5, now=NOW + DAY_S)
        (listed,) = [row for row in list_guesses(self.connection, NOW) if row.key == NUMBER]
        self.assertEqual((listed.open, listed.is_locked, listed.forgiven_at), (5, True, NOW + 5 * INTERVAL_S))
        self.assertEqual(lockout_figures(self.connection, NOW), LockoutFigures(1, False))
        ruling = self.guess(NUMBER, now=NOW)
        self.assertEqual((ruling.locked_by, ruling.locked_until), (NUMBER, NOW + INTERVAL_S))
        self.assertIsNone(self.guess(NUMBER, now=NOW + INTERVAL_S).locked_by)

    def test_right_pins_of_tomorrow(self) -> None:
        """Right PINs leave nothing that counts when the clock is set back."""
        for seconds in (0, 1, 500):
            self.guess(PHONE, now=NOW + DAY_S + seconds)
            refund_guess(self.connection, (PHONE,), NOW + DAY_S + seconds + 1)
        self.assertEqual(list_guesses(self.connection, NOW), [])
        self.assertIsNone(self.guess(PHONE, times=5, now=NOW).locked_by)
        self.assertEqual(self.guess(PHONE, now=NOW).locked_by, PHONE)

    def test_set_back_before_a_right_pin(self) -> None:
        """A charge of tomorrow is taken back today."""
        self.guess(PHONE, now=NOW + DAY_S)
        refund_guess(self.connection, (PHONE,), NOW)
        self.assertEqual(list_guesses(self.connection, NOW), [])
