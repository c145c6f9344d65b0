"""Wrong PINs in the database: which are listed, counted and forgotten."""

from __future__ import annotations

from pbxrouter import database
from pbxrouter.database import MAX_LISTED, admit_guess, forget_guesses, list_guesses, lockout_figures, note_known
from pbxrouter.security import keys_of
from pbxrouter.security.guess_limits import FREE_GUESSES, GATEWAY_GUESSES
from tests.database.postgresql import OnBothEngines

NOW = 1_000_000.0


class GuessesTests(OnBothEngines):
    """Guesses in a database."""

    def setUp(self) -> None:
        """Create the database and connect to it."""
        self.connection = self.database()

    def guess(self, caller: str, count: int, now: float = NOW, map_id: int = 1) -> None:
        """Key wrong PINs from a number on a trunk."""
        keys = keys_of("PJSIP/out-0000001a", caller, map_id, frozenset({"PJSIP/out"}))
        for _ in range(count):
            admit_guess(self.connection, keys, now)

    def test_locked_ones_first(self) -> None:
        """A locked caller stays at the top of the list, however many others have guessed since."""
        self.guess("1", FREE_GUESSES)
        self.assertEqual(lockout_figures(self.connection, NOW), database.LockoutFigures(1, False))
        self.connection.executemany(
            "INSERT INTO pin_guesses (scope, name, forgiven_at, wrong, last_at) VALUES ('number', ?, ?, 1, ?)",
            [(str(number), NOW + 300, NOW + 1) for number in range(MAX_LISTED + 5)],
        )
        rows = list_guesses(self.connection, NOW)
        self.assertEqual(len(rows), MAX_LISTED)
        self.assertEqual([(row.key.name, row.is_locked) for row in rows[:2]], [("PJSIP/out 1", True), ("0", False)])

    def test_alarm(self) -> None:
        """During an alarm all callers who have guessed wrong are locked; it begins at its bound."""
        for number in range(GATEWAY_GUESSES - 1):
            self.guess(f"9{number}", 1, map_id=number)
        self.assertEqual(lockout_figures(self.connection, NOW), database.LockoutFigures(0, False))
        self.guess("8", 1)
        figures = lockout_figures(self.connection, NOW)
        self.assertEqual(figures, database.LockoutFigures(GATEWAY_GUESSES, True))
        listed = list_guesses(self.connection, NOW)
        self.assertEqual(sum(row.is_locked for row in listed if row.key.is_caller), GATEWAY_GUESSES)

    def test_known_callers(self) -> None:
        """During an alarm a known caller is locked from the third wrong guess on, and else as always."""
        key = keys_of("PJSIP/out-0000001a", "7", 1, frozenset({"PJSIP/out"}))[0]
        note_known(self.connection, key, NOW - 1)
        self.guess("7", 2)
        for number in range(GATEWAY_GUESSES - 2):
            self.guess(f"9{number}", 1, map_id=number)
        figures = database.LockoutFigures(GATEWAY_GUESSES - 2, True)
        self.assertEqual(lockout_figures(self.connection, NOW), figures)
        admit_guess(self.connection, (key,), NOW, True)
        self.assertEqual(lockout_figures(self.connection, NOW).locked, GATEWAY_GUESSES - 1)
        (row,) = [row for row in list_guesses(self.connection, NOW) if row.key == key]
        self.assertTrue(row.is_locked)

    def test_forgotten(self) -> None:
        """A row is deleted a day after all is forgiven."""
        self.guess("1", 1)
        forget_guesses(self.connection, NOW + 86_400)
        self.assertEqual(self.connection.execute("SELECT count(*) FROM pin_guesses").fetchone()[0], 3)
        forget_guesses(self.connection, NOW + 86_400 + 361)
        self.assertEqual(self.connection.execute("SELECT count(*) FROM pin_guesses").fetchone()[0], 0)
