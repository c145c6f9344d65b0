"""Reports of a span of time: which rows belong to it, what of it is unknown, which minutes were busiest."""

from __future__ import annotations

from typing import Any

from pbxrouter.counter import minutes_of, report, storage
from pbxrouter.counter.call_table import LiveCall
from pbxrouter.counter.counts import ALL, Counts
from pbxrouter.counter.report import Gap, Report
from pbxrouter.counter.storage import Batch
from pbxrouter.errors import StoreError
from tests.counter_fakes import NOW, EnginesCase

LIVE = storage.live_row(LiveCall("a", 1.0))


class ReadingCase(EnginesCase):
    """Has rows that were written by batches."""

    def write(self, asterisk: str = "x", **batch: Any) -> None:
        """Write a batch of counts to the database."""
        storage.write(self.connection, Batch(asterisk, **batch))

    def counted(self, asterisk: str = "x", **batch: Any) -> None:
        """Say that calls were counted from a minute before the span to its end."""
        self.write(asterisk, seen=NOW - 60)
        self.write(asterisk, seen=NOW + 300, **batch)

    def read(self, *names: str, now: float = NOW + 301, only_all: bool = False) -> Report:
        """Read the report of five minutes."""
        return report.read(self.connection, names or ["x"], NOW, NOW + 300, now, only_all)


class FigureTests(ReadingCase):
    """The counts of a span."""

    def test_each_figure(self) -> None:
        """Each figure is read from its column, by the minute and by name."""
        counts = Counts(1, 2, 3, 4, 5, 6.5, 7, {"busy": 8, "other": 9})
        self.counted(minutes={(NOW, *ALL): counts, (NOW, "user", "pepe"): counts, (NOW, "mapping", "pepe"): counts})
        found = self.read()
        self.assertEqual(found.minutes, {NOW: counts})
        self.assertEqual(found.by, {("user", "pepe"): counts, ("mapping", "pepe"): counts})
        self.assertEqual((found.began, found.ended, found.total), (NOW, NOW + 300, counts))

    def test_bounds(self) -> None:
        """The first minute belongs to the span, the one after the last does not; failures likewise."""
        one = Counts(started=1, failed={"busy": 1})
        self.counted(minutes={(NOW + offset, *ALL): one for offset in (-60, 0, 240, 300)})
        self.assertEqual(self.read().minutes, {NOW: one, NOW + 240: one})

    def test_of_another_asterisk(self) -> None:
        """Only the Asterisks asked for are added up, each with its own failures."""
        for name in ("x", "y"):
            self.counted(name, minutes={(NOW, *ALL): Counts(started=1, failed={"busy": 1})}, live={"a": LIVE})
        found = self.read("y")
        self.assertEqual((found.total, found.active), (Counts(started=1, failed={"busy": 1}), 1))
        self.assertEqual(self.read("x", "y").total, Counts(started=2, failed={"busy": 2}))
        found = report.read(self.connection, (name for name in "xy"), NOW, NOW + 300, NOW + 301)
        self.assertEqual((found.total.started, found.active, found.unknown_s()), (2, 2, 0))

    def test_minutes_by_name_add_up(self) -> None:
        """Over minutes, counts by name are summed; so are their failures, and the peaks of ``total`` are not."""
        one = Counts(started=1, peak=3, failed={"busy": 1})
        self.counted(
            minutes={(NOW + offset, kind, name): one for offset in (0, 60) for kind, name in (ALL, ("user", "p"))}
        )
        found = self.read()
        self.assertEqual(found.by, {("user", "p"): Counts(started=2, peak=3, failed={"busy": 2})})
        self.assertEqual(found.total, Counts(started=2, peak=3, failed={"busy": 2}))

    def test_only_all(self) -> None:
        """Names and their failures can be left out; the other figures are the same."""
        one = Counts(started=1, failed={"busy": 1})
        self.counted(minutes={(NOW, *ALL): one, (NOW, "user", "pepe"): one})
        found = self.read(only_all=True)
        self.assertEqual((found.by, found.minutes), ({}, {NOW: one}))

    def test_busiest(self) -> None:
        """Minutes with most calls begun come first, of equal ones the earlier; no more than asked for."""
        self.counted(
            minutes={
                (NOW + offset, *ALL): Counts(started=started)
                for offset, started in ((180, 2), (120, 1), (60, 2), (0, 3))
            }
        )
        found = self.read()
        self.assertEqual([minute - NOW for minute, _ in found.busiest(9)], [0, 60, 180, 120])
        self.assertEqual([(minute - NOW, counts.started) for minute, counts in found.busiest(2)], [(0, 3), (60, 2)])

    def test_minutes_of(self) -> None:
        """minutes_of gives all minutes of a span, with calls or without."""
        self.assertEqual(minutes_of(self.read()), [NOW, NOW + 60, NOW + 120, NOW + 180, NOW + 240])

    def test_asterisks(self) -> None:
        """All Asterisks that were ever counted are listed by name."""
        for name in ("y", "x", "z"):
            self.write(name, seen=NOW)
        self.assertEqual(report.asterisks(self.connection), ["x", "y", "z"])

    def test_written_by_hand(self) -> None:
        """A name or a minute of another type than the gateway writes is read as text, or as a minute."""
        counts = Counts(started=1, failed={"busy": 1})
        self.write("x", minutes={(NOW, *ALL): counts}, seen=NOW)
        if self.is_sqlite:
            self.connection.execute("UPDATE counter_asterisks SET asterisk = CAST('x' AS BLOB)")
            for table in ("counter_minutes", "counter_failures"):
                self.connection.execute(f"UPDATE {table} SET minute = minute + 0.5")
        self.assertEqual(report.asterisks(self.connection), ["x"])
        self.assertEqual(self.read().minutes, {NOW: counts})

    def test_unreadable(self) -> None:
        """A database that cannot be read is a StoreError."""
        self.connection.execute("DROP TABLE counter_failures")
        self.connection.commit()
        self.assertRaises(StoreError, self.read)
        self.assertFalse(self.connection.in_transaction)


class ActiveTests(ReadingCase):
    """The number of calls in progress now."""

    def test_fresh(self) -> None:
        """Fifteen seconds after the gateway last looked the number is still known; later it is not."""
        self.counted(live={"a": LIVE, "b": LIVE})
        self.assertEqual(self.read(now=NOW + 315).active, 2)
        self.assertIs(self.read(now=NOW + 315.5).active, None)

    def test_of_several(self) -> None:
        """The number for several Asterisks is the sum, and known only if known for each."""
        self.counted("x", live={"a": LIVE})
        self.counted("y", live={"a": LIVE, "b": LIVE})
        self.assertEqual(self.read("x", "y").active, 3)
        for names in (("x", "never"), ("never", "x")):
            self.assertIs(self.read(*names).active, None)

    def test_of_none(self) -> None:
        """Without an Asterisk nothing is known of any second."""
        found = report.read(self.connection, [], NOW, NOW + 300, NOW + 300)
        self.assertIs(found.active, None)
        self.assertEqual(found.gaps, (Gap("", NOW, NOW + 300),))


class GapTests(ReadingCase):
    """Gaps: times in a span whose calls are unknown."""

    def gaps(self, **when: float) -> list[tuple[float, float]]:
        """The gaps of the span, from its beginning."""
        return [(gap.began - NOW, gap.ended - NOW) for gap in self.read(**when).gaps]  # type: ignore[arg-type]

    def test_cut_to_the_span(self) -> None:
        """Gaps that reach beyond the span are cut to it; those that only touch it are left out."""
        self.counted(
            gaps=[
                (NOW - 50, NOW - 20),
                (NOW - 20, NOW),
                (NOW - 10, NOW + 10),
                (NOW + 290, NOW + 310),
                (NOW + 300, NOW + 320),
            ]
        )
        self.assertEqual(self.gaps(), [(0, 10), (290, 300)])
        self.assertEqual({gap.asterisk for gap in self.read().gaps}, {"x"})

    def test_before_and_after_counting(self) -> None:
        """The time before counting began and after it ended is unknown."""
        self.write(seen=NOW + 60)
        self.write(seen=NOW + 200)
        self.assertEqual(self.gaps(), [(0, 60), (200, 300)])
        self.assertEqual(self.read().unknown_s(), 160)

    def test_not_yet_stale(self) -> None:
        """The time since the last look counts as known for fifteen seconds."""
        self.write(seen=NOW - 60)
        self.write(seen=NOW + 290)
        self.assertEqual(self.gaps(now=NOW + 305), [])
        self.assertEqual(self.gaps(now=NOW + 305.5), [(290, 300)])

    def test_of_several(self) -> None:
        """Gaps of several Asterisks are in order; a time unknown for two counts once."""
        self.counted("x", gaps=[(NOW + 100, NOW + 150)])
        self.counted("y", gaps=[(NOW + 20, NOW + 30), (NOW + 140, NOW + 160)])
        found = self.read("x", "y")
        self.assertEqual([gap.asterisk for gap in found.gaps], ["y", "x", "y"])
        self.assertEqual(found.unknown_s(), 10 + 60)

    def test_part_of_a_span(self) -> None:
        """For a part of the span only the unknown time within it counts."""
        found = Report(0, 300, 0, {}, {}, (Gap("x", 10, 100), Gap("x", 50, 60), Gap("x", 200, 250)))
        self.assertEqual(found.unknown_s(), 140)
        self.assertEqual(found.unknown_s(60, 120), 40)
        self.assertEqual(found.unknown_s(began=90), 60)
        self.assertEqual(found.unknown_s(ended=210), 100)
        self.assertEqual(found.unknown_s(100, 200), 0)

    def test_tolerable(self) -> None:
        """A tenth of the span may be unknown, and no second more; of a part a tenth of the part."""
        found = Report(0, 300, 0, {}, {}, (Gap("x", 100, 130),))
        self.assertTrue(found.is_known())
        self.assertFalse(found.is_known(began=1))
        self.assertFalse(found.is_known(ended=299))
        self.assertFalse(found.is_known(60, 120))
        self.assertTrue(found.is_known(130, 131))
        self.assertFalse(Report(0, 300, 0, {}, {}, (Gap("x", 100, 131),)).is_known())
