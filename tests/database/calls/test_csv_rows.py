"""The history as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.config import Zone
from pbxrouter.database.calls import CallRow, CallsCsv
from pbxrouter.text import sentence
from tests.database.calls.test_history import row

AUTUMN = 1_793_493_000.0  # 1 November 2026, 00:30 UTC: in New York 20:30 of the day before
TWICE = 1_793_511_000.0  # 01:30 in New York for the first time; an hour later it is 01:30 again


class CallsCsvTests(SynchronousTestCase):
    """CallsCsv, as a spreadsheet reads it."""

    def rows(self, calls: Iterable[CallRow], zone: str = "America/New_York") -> list[dict[str, str]]:
        """The calls as a spreadsheet has them."""
        text = CallsCsv(Zone(zone))
        return list(csv.DictReader(io.StringIO(text.heading() + text.lines(calls), newline="")))

    def test_cells(self) -> None:
        """There is a cell for each heading; the trace is English text; telephone numbers stay as they are."""
        (cells,) = self.rows([row(0.0, "+4930", "0034600", "ANSWER", sentence("one"), sentence("two"))])
        self.assertNotIn(None, cells)
        self.assertNotIn(None, cells.values())
        self.assertEqual((cells["caller"], cells["number"], cells["trace"]), ("+4930", "0034600", "one; two"))

    def test_times(self) -> None:
        """Times are in the zone; the hour that is there twice is told apart by its epoch second."""
        cells = self.rows([row(AUTUMN), row(TWICE), row(TWICE + 3600)])
        self.assertEqual(
            [(row["began"], row["began_epoch"]) for row in cells],
            [
                ("2026-10-31 20:30:00", str(AUTUMN)),
                ("2026-11-01 01:30:00", str(TWICE)),
                ("2026-11-01 01:30:00", str(TWICE + 3600)),
            ],
        )

    def test_bom(self) -> None:
        """A byte order mark stands before the heading only."""
        zone = Zone("UTC")
        marked, plain = CallsCsv(zone, bom=True), CallsCsv(zone)
        self.assertEqual(marked.heading(), "\ufeff" + plain.heading())
        self.assertEqual(marked.lines([row(1.0)]), plain.lines([row(1.0)]))
