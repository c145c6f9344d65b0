"""Calls that repeat are told of in a summary: a flood of guesses fills neither log nor history."""

from __future__ import annotations

import pathlib

from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.agi import AGIRequest
from pbxrouter.call import CallJournal, HistoryWriter, repeats
from pbxrouter.call.record import CallRecord
from pbxrouter.call.repeats import RECORDED_EACH, TELL_EVERY_S, RepeatedCalls
from pbxrouter.database.calls import CallRow
from pbxrouter.drivers import Outcome
from pbxrouter.text import Sentence
from tests.call.test_history_writer import FakeStore
from tests.databases import new_database

SOURCE = "locked out endpoint PJSIP/33"


def call(number: int, source: str = SOURCE, note: Sentence | None = None, key: str = "") -> CallRecord:
    """The record of a call."""
    request = AGIRequest({"uniqueid": f"1.{number}", "channel": f"PJSIP/33-{number:08x}"})
    return CallRecord(request, None, Outcome("LOCKEDOUT"), note=note, key=key, source=source)


class RepeatedCallsTests(SynchronousTestCase):
    """RepeatedCalls, on a clock of the test's."""

    def setUp(self) -> None:
        """Make one that runs."""
        self.clock = Clock()
        self.recorded: list[CallRecord] = []
        self.left_out: list[CallRecord] = []
        self.repeats = RepeatedCalls(self.recorded.append, self.left_out.append, self.clock)
        self.repeats.startService()
        self.addCleanup(self.repeats.stopService)

    def flood(self, calls: int, source: str = SOURCE) -> list[CallRecord]:
        """So many calls of one source."""
        records = [call(number, source) for number in range(calls)]
        for record in records:
            self.repeats.report(record)
        return records

    def notes(self) -> list[str]:
        """What was added to the recorded calls."""
        return [record.note.english for record in self.recorded if record.note is not None]

    def test_other_calls(self) -> None:
        """Calls without a source are recorded unchanged, however many they are."""
        records = self.flood(3 * RECORDED_EACH, "")
        self.assertEqual((self.recorded, self.left_out), (records, []))

    def test_flood(self) -> None:
        """Of many calls of one source the first are recorded each; then the latest of a minute, with a number."""
        records = self.flood(1000)
        self.assertEqual(self.recorded, records[:RECORDED_EACH])
        self.assertEqual(self.left_out, records[RECORDED_EACH:])
        self.clock.advance(TELL_EVERY_S)
        self.assertEqual(self.recorded[RECORDED_EACH:], [records[-1]])
        left_out = 1000 - RECORDED_EACH - 1
        self.assertEqual(self.notes(), [f"{left_out} calls like this one came shortly before and are not listed"])
        self.clock.advance(TELL_EVERY_S)
        self.assertEqual(len(self.recorded), RECORDED_EACH + 1)

    def test_hour(self) -> None:
        """An hour of guesses is at most two records a minute, besides the first."""
        for _ in range(60):
            self.flood(20)
            self.clock.advance(60)
        self.assertLessEqual(len(self.recorded), RECORDED_EACH + 2 * 60)
        self.assertEqual(len(self.recorded) - len(self.notes()) + self.counted(), 1200)

    def counted(self) -> int:
        """How many calls the recorded ones stand for, besides themselves."""
        return sum(int(note.split()[0]) + 1 for note in self.notes())

    def test_sources(self) -> None:
        """Each source has its own number: a flood hides no calls of another."""
        self.flood(RECORDED_EACH + 5)
        other = self.flood(2, "locked out endpoint PJSIP/34")
        self.assertEqual(self.recorded[RECORDED_EACH:], other)

    def test_very_many_sources(self) -> None:
        """Calls of sources beyond a bound are told of together."""
        self.patch(repeats, "MAX_SOURCES", 2)
        for source in range(5):
            self.flood(RECORDED_EACH + 3, f"refused by {source}")
        self.recorded.clear()
        self.clock.advance(TELL_EVERY_S)
        self.assertEqual(sorted(note.split()[0] for note in self.notes()), ["2", "2", "8"])

    def test_note(self) -> None:
        """The note of a call that was refused stays, and a single call that was left out gets none."""
        self.flood(RECORDED_EACH)
        for _ in range(2):
            self.repeats.report(call(1, note=Sentence("refused as forged")))
        self.clock.advance(TELL_EVERY_S)
        self.repeats.report(call(2))
        self.clock.advance(TELL_EVERY_S)
        self.assertEqual(
            self.notes(), ["refused as forged; 1 calls like this one came shortly before and are not listed"]
        )
        self.assertEqual(len(self.recorded), RECORDED_EACH + 2)

    def test_stop(self) -> None:
        """What was left out is told of when the gateway stops."""
        self.flood(RECORDED_EACH + 7)
        self.repeats.stopService()
        self.assertEqual(self.notes(), ["6 calls like this one came shortly before and are not listed"])


class HistoryTests(SynchronousTestCase):
    """Calls that the history shall not have."""

    def test_journal(self) -> None:
        """A call that is left out leaves the journal, and may be recorded later all the same."""
        path = pathlib.Path(self.mktemp())
        new_database(path)
        connection = database.connect(path)
        self.addCleanup(connection.close)
        journal = CallJournal(path, lambda: 1000.0, lambda work: succeed(work()))
        clock = Clock()
        history = HistoryWriter(FakeStore(connection), 90, clock, lambda: 1000.0, journal)
        history.startService()
        self.addCleanup(history.stopService)
        record = call(1, key="a-1")
        history.leave_out(record)
        history.leave_out(call(2))
        self.assertEqual((journal.calls, history.queued), (0, 0))
        history.report(record)
        self.assertEqual(journal.calls, 1)
        clock.advance(1)
        rows: list[CallRow] = connection.execute("SELECT call_key FROM calls").fetchall()
        self.assertEqual((rows, journal.calls), ([("a-1",)], 0))
