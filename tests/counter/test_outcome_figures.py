"""Figures from the history: by outcome and by minute."""

from __future__ import annotations

from pbxrouter.counter import OutcomeTotals, busiest, per_minute, totals
from pbxrouter.database import transaction
from pbxrouter.database.calls.history import CallRow, add_calls
from pbxrouter.errors import StoreError
from tests.counter_fakes import NOW, EnginesCase


class OutcomeTests(EnginesCase):
    """Figures of calls over a few minutes."""

    def began(self, *calls: tuple[float, str]) -> None:
        """Add calls that began so long after NOW, with these outcomes."""
        add_calls(
            self.connection,
            [
                CallRow(
                    NOW + at, NOW + at + 5, "u", "33", "", "21", "allow", "2X", "dial", "SIP", "33", outcome, "", 3, ""
                )
                for at, outcome in calls
            ],
        )

    def test_totals(self) -> None:
        """The first second belongs to the span, the last does not; outcomes without calls are left out."""
        self.began((-0.5, "ANSWER"), (0, "ANSWER"), (5, "BUSY"), (9.5, "ANSWER"), (10, "BUSY"), (20, "DENIED"))
        found = totals(self.connection, NOW, NOW + 10)
        self.assertEqual(dict(found.by_outcome), {"ANSWER": 2, "BUSY": 1})
        self.assertEqual((found.calls, found.of("ANSWER"), found.of("ANSWER", "BUSY", "DENIED")), (3, 2, 3))

    def test_no_calls(self) -> None:
        """Without calls every figure is zero."""
        none, busy = OutcomeTotals({}), OutcomeTotals({"BUSY": 1})
        self.assertEqual((none.calls, none.of("ANSWER"), busy.of()), (0, 0, 0))
        self.assertEqual(totals(self.connection, NOW, NOW + 10), OutcomeTotals({}))

    def test_per_minute(self) -> None:
        """Calls are counted by the first second of the minute in which they began, within the span."""
        self.began(*((at, "ANSWER") for at in (-0.5, 0, 59.5, 60, 119.5, 120, 121)))
        self.assertEqual(per_minute(self.connection, NOW, NOW + 121), {NOW: 2, NOW + 60: 2, NOW + 120: 1})

    def test_of_one_asterisk(self) -> None:
        """The figures are of one Asterisk, or of the calls of which it is not known, if that is wished."""
        self.began((0, "ANSWER"), (1, "BUSY"), (61, "ANSWER"))
        with transaction(self.connection):
            self.connection.execute("UPDATE calls SET asterisk = 'a' WHERE began <= :until", {"until": NOW + 1})
        for asterisk, by_outcome, minutes in (
            (None, {"ANSWER": 2, "BUSY": 1}, {NOW: 2, NOW + 60: 1}),
            ("a", {"ANSWER": 1, "BUSY": 1}, {NOW: 2}),
            ("", {"ANSWER": 1}, {NOW + 60: 1}),
            ("b", {}, {}),
        ):
            self.assertEqual(dict(totals(self.connection, NOW, NOW + 99, asterisk).by_outcome), by_outcome)
            self.assertEqual(per_minute(self.connection, NOW, NOW + 99, asterisk), minutes)

    def test_busiest(self) -> None:
        """Minutes with most calls come first, of equal ones the earlier; no more than asked for."""
        minutes = {240: 2, 0: 1, 60: 3, 180: 2}
        self.assertEqual(busiest(minutes, 9), [(60, 3), (180, 2), (240, 2), (0, 1)])
        self.assertEqual(busiest(minutes, 2), [(60, 3), (180, 2)])

    def test_unreadable(self) -> None:
        """A database that cannot be read is a StoreError."""
        self.connection.execute("DROP TABLE calls")
        self.connection.commit()
        for read in (totals, per_minute):
            self.assertRaises(StoreError, read, self.connection, NOW, NOW + 10)
            self.assertFalse(self.connection.in_transaction)

    def test_without_an_index(self) -> None:
        """A missing index is a StoreError on SQLite, since counting without it would block the console."""
        for index, read in (("calls_by_outcome", totals), ("calls_by_time", per_minute)):
            self.began((0, "ANSWER"))
            self.connection.execute(f"DROP INDEX {index}")
            self.connection.commit()
            if self.is_sqlite:
                self.assertRaises(StoreError, read, self.connection, NOW, NOW + 10)
            else:
                self.assertTrue(read(self.connection, NOW, NOW + 10))
            self.assertFalse(self.connection.in_transaction)
