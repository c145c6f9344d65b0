"""The history of calls: the queue, its bound, batches, outages, deletion of old calls."""

from __future__ import annotations

import pathlib
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.agi.messages import AGIRequest
from pbxrouter.call import history_writer
from pbxrouter.call.history_writer import (
    MAX_QUEUED,
    MAX_TEXT,
    HistoryWriter,
    row_of,
)
from pbxrouter.call.journal import CallJournal
from pbxrouter.call.record import CallRecord
from pbxrouter.config import Zone
from pbxrouter.database.calls.csv_rows import CallsCsv
from pbxrouter.database.calls.history import CallRow, Search, find_calls
from pbxrouter.drivers import Outcome
from pbxrouter.errors import StoreError
from pbxrouter.net import QueueFigures
from pbxrouter.rules.model import Decision, Mapping, Verdict
from pbxrouter.text.sentences import sentence
from tests.databases import new_database
from tests.fakes import loud

DAY_S = 86_400.0


class FakeStore:
    """A real database that can be made to fail."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.away = False
        self.works = 0

    def run(self, work: Callable[[sqlite3.Connection], Any]) -> Deferred[Any]:
        """Run work on the connection, or fail while the database is away."""
        self.works += 1
        return fail(StoreError("away")) if self.away else succeed(work(self.connection))


def record(number: str = "21", caller: str = "33", began: float = 1000.0, outcome: str = "ANSWER") -> CallRecord:
    """The record of a call that was allowed."""
    decision = Decision(
        Verdict.ALLOW,
        number,
        Mapping(2, "2X", "dial", "SIP"),
        caller,
        (sentence("{caller} may use {pattern} by its own grant", caller=caller, pattern="2X"),),
    )
    request = AGIRequest({"callerid": caller, "calleridname": "Tr\nes\udcff", "uniqueid": "1.2", "extension": number})
    return CallRecord(request, decision, Outcome(outcome, answered_s=5), began, began + 7)


class HistoryCase(SynchronousTestCase):
    """A HistoryWriter on a real database, with a clock of the test's."""

    def setUp(self) -> None:
        """Create a database, and a HistoryWriter on a clock."""
        path = pathlib.Path(self.mktemp())
        new_database(path)
        self.connection = database.connect(path)
        self.addCleanup(self.connection.close)
        self.store = FakeStore(self.connection)
        self.clock = Clock()
        self.now = 2000.0
        self.history = HistoryWriter(self.store, 90, self.clock, lambda: self.now)
        self.history.startService()

    def found(self, **search: Any) -> list[str]:
        """The numbers of the calls that are found, newest first."""
        return [row.number for row in find_calls(self.connection, Search(**search), 100)]


class Writing(HistoryCase):
    """Writing finished calls to the history."""

    def test_batch(self) -> None:
        """Calls are written at the next second, all in one transaction."""
        works = self.store.works
        for number in ("21", "22"):
            self.history.report(record(number))
        self.assertEqual(self.found(), [])
        self.clock.advance(1)
        self.assertEqual(self.store.works, works + 1)
        self.assertEqual(self.found(), ["22", "21"])

    def test_what_was_no_call(self) -> None:
        """What was no call is in neither history nor queue, nor left in the journal."""
        self.history.drop(record("21"))
        journal = CallJournal(pathlib.Path(self.mktemp()), lambda: self.now, lambda work: succeed(work()))
        journal.open()
        self.history.journal = journal
        self.history.drop(record("21"))
        self.assertEqual(journal.calls, 0)
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(journal.close())))
        self.history.journal = None
        self.clock.advance(1)
        self.assertEqual((self.found(), self.history.queued), ([], 0))

    def test_away(self) -> None:
        """Nothing is lost or reordered while the database is away; the log tells once that it is, and once when
        it is back."""
        self.store.away = True
        logs = cast("list[LogEvent]", self.enterContext(capturedLogs()))
        for number in ("21", "22", "23"):
            self.history.report(record(number))
        self.clock.pump([1] * 5)
        self.assertEqual((self.history.queued, self.history.outage.away_since), (3, self.now))
        (line,) = loud(logs)
        self.assertEqual((line["log_level"], line["error"]), (LogLevel.error, "away"))
        self.assertEqual(line["log_format"], "history: calls cannot be written and wait in memory: {error}")
        self.history.report(record("24"))
        self.store.away = False
        logs.clear()
        self.clock.pump([1] * 3)
        self.assertEqual(self.found(), ["24", "23", "22", "21"])
        self.assertEqual((self.history.queued, self.history.outage.away_since), (0, None))
        self.assertEqual([event["log_format"] for event in logs], ["history: calls are written again"])

    def test_calls_that_end_during_a_failing_write(self) -> None:
        """Calls of a batch that fails are written before those that ended during the write."""
        slow: Deferred[None] = Deferred()
        run, self.store.run = self.store.run, lambda work: slow  # type: ignore[method-assign]
        for number in ("21", "22"):
            self.history.report(record(number))
        self.clock.advance(1)
        self.history.report(record("23"))
        self.assertEqual(self.history.queued, 1)
        with capturedLogs() as logs:
            slow.errback(StoreError("away"))
        self.assertEqual((self.history.queued, len(loud(logs))), (3, 1))
        self.store.run = run  # type: ignore[method-assign]
        self.clock.advance(1)
        self.assertEqual(self.found(), ["23", "22", "21"])

    def test_calls_that_end_during_a_write(self) -> None:
        """A call that ends while a batch is being written is written within the same second."""
        slow: Deferred[None] = Deferred()
        run = self.store.run
        self.store.run = lambda work: slow.addCallback(lambda _: run(work))  # type: ignore[method-assign]
        self.history.report(record("21"))
        self.clock.advance(1)
        self.history.report(record("22"))
        slow.callback(None)
        self.assertEqual(self.found(), ["22", "21"])

    def test_figures(self) -> None:
        """The queue's figures have what waits and what is being written, and the age of the oldest of them."""
        self.assertEqual(self.history.figures, QueueFigures("history", 0))
        slow: Deferred[None] = Deferred()
        run = self.store.run
        self.store.run = lambda work: slow.addCallback(lambda _: run(work))  # type: ignore[method-assign]
        self.history.report(record("21", began=1900.0))
        self.history.report(record("22", began=1910.0))
        self.assertEqual(self.history.figures, QueueFigures("history", 2, 93.0))
        self.clock.advance(1)
        self.history.report(record("23", began=1920.0))
        self.assertEqual(self.history.figures, QueueFigures("history", 3, 93.0))
        self.now = 1000.0  # the clock was set back
        self.assertEqual(self.history.figures, QueueFigures("history", 3, 0.0))
        slow.callback(None)
        self.assertEqual(self.history.figures, QueueFigures("history", 0))

    def test_set_aside(self) -> None:
        """A call that the database does not take is counted, and named in the log; the others are written."""
        self.connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON calls WHEN NEW.number IN ('22', '') "
            "BEGIN SELECT RAISE(ABORT, 'no such call'); END"
        )
        odd = AGIRequest({"callerid": "x" * 300, "uniqueid": "", "extension": ""})
        with capturedLogs() as logs:
            for call in (record("21"), record("22"), CallRecord(odd, None, Outcome(), 1000.0, 1001.0)):
                self.history.report(call)
            self.clock.advance(1)
        self.assertEqual((self.found(), self.history.set_aside, self.history.queued), (["21"], 2, 0))
        self.assertEqual(self.history.figures.set_aside, 2)
        first, second = [formatEvent(event) for event in loud(logs)]
        file = database.set_aside_file(database.place_of(self.connection))
        self.assertEqual(
            first, f"history: call 1.2 from 33 to 22 cannot be written, it is set aside in {file}: no such call"
        )
        self.assertIn(f"history: call ? from {'x' * MAX_TEXT}", second)
        self.assertIn(" to ? cannot be written", second)
        self.assertNotIn("x" * (MAX_TEXT + 1), second)

    def test_any_fault(self) -> None:
        """An exception that is not the database's loses no call either."""
        run, self.store.run = self.store.run, lambda work: fail(ZeroDivisionError())  # type: ignore[method-assign]
        self.history.report(record("21"))
        with capturedLogs() as logs:
            self.clock.advance(1)
        self.assertEqual((self.history.queued, len(loud(logs))), (1, 1))
        self.store.run = run  # type: ignore[method-assign]
        self.clock.advance(1)
        self.assertEqual(self.found(), ["21"])

    def test_stop_when_away(self) -> None:
        """Stopping does not wait for a database that is away; nothing is written afterwards."""
        self.history.report(record("21"))
        self.store.away = True
        with capturedLogs():
            self.successResultOf(self.history.stopService())
        self.store.away = False
        self.clock.advance(7200)
        self.assertEqual(self.found(), [])

    def test_nothing_to_write(self) -> None:
        """Without calls the database is not used."""
        works = self.store.works
        self.clock.pump([1] * 5)
        self.assertEqual(self.store.works, works)

    def test_lost_twice(self) -> None:
        """Each line about lost calls has the number lost since the last one, and all are counted."""
        self.patch(history_writer, "MAX_QUEUED", 10)
        for lost, total in ((3, 3), (2, 5)):
            self.store.away = True
            with capturedLogs():
                for number in range(10 + lost):
                    self.history.report(record(str(number)))
                self.clock.advance(1)
            self.store.away = False
            with capturedLogs() as logs:
                self.clock.pump([1, 1])
            self.assertEqual([event["lost"] for event in loud(logs)], [lost])
            self.assertEqual(self.history.lost, total)

    def test_bound(self) -> None:
        """Beyond the bound the oldest calls are discarded, which is logged once the others are written."""
        self.store.away = True
        logs = cast("list[LogEvent]", self.enterContext(capturedLogs()))
        for number in range(MAX_QUEUED + 3):
            self.history.report(record(str(number)))
        self.assertEqual(loud(logs), [])
        self.store.away = False
        self.clock.pump([1, 1])
        self.assertEqual([event["lost"] for event in loud(logs)], [3])
        self.assertEqual(self.history.lost, 3)
        (count,) = self.connection.execute("SELECT count(*) FROM calls").fetchone()
        self.assertEqual((count, MAX_QUEUED), (20_000, 20_000))
        self.assertEqual(self.found(number="2"), [])
        self.assertEqual(self.found(number="3"), ["3"])

    def test_many(self) -> None:
        """More calls than a batch holds are written in several transactions."""
        for number in range(1001):
            self.history.report(record(str(number)))
        works = self.store.works
        self.clock.advance(1)
        self.assertEqual(self.store.works, works + 2)

    def test_stop(self) -> None:
        """Stopping writes the calls that are queued."""
        self.history.report(record("21"))
        self.successResultOf(self.history.stopService())
        self.assertEqual(self.found(), ["21"])

    def test_forget(self) -> None:
        """Calls that are older than keep_days are deleted, once an hour."""
        self.history.report(record("21", began=0.0))
        self.history.report(record("22", began=10 * DAY_S - 1))
        self.history.report(record("23", began=10 * DAY_S))
        self.clock.advance(1)
        self.now = 100 * DAY_S
        self.clock.advance(3598)
        self.assertEqual(self.found(), ["23", "22", "21"])
        self.clock.advance(1)
        self.assertEqual(self.found(), ["23"])

    def test_forget_when_away(self) -> None:
        """Old calls that cannot be deleted are deleted an hour later."""
        self.history.report(record("21", began=0.0))
        self.clock.advance(1)
        self.now = 100 * DAY_S
        self.store.away = True
        self.clock.advance(3599)
        self.store.away = False
        self.assertEqual(self.found(), ["21"])
        self.clock.advance(3600)
        self.assertEqual(self.found(), [])


class Completing(HistoryCase):
    """What is learnt later of a call."""

    def row(self, outcome: str = "LEFT", key: str = "k") -> CallRow:
        """The row of a call that may go on."""
        return replace(row_of(record(outcome=outcome)), answered_s=None, call_key=key)

    def shown(self) -> list[tuple[str, int | None]]:
        """Outcome and talk of what the history has."""
        return [(row.outcome, row.answered_s) for row in find_calls(self.connection, Search(), 10)]

    def test_completed(self) -> None:
        """Outcome and talk are replaced, of the row that has the key."""
        self.history.add(self.row())
        self.history.add(self.row(key="other"))
        self.clock.advance(1)
        self.assertEqual(self.shown(), [("LEFT", None)] * 2)
        self.history.complete(replace(self.row(), answered_s=60))
        self.history.complete(replace(self.row(key="gone"), answered_s=1))
        self.history.complete(replace(self.row(key=""), answered_s=1))
        self.store.away = True
        self.clock.advance(1)
        self.history.complete(replace(self.row("LOST", "other"), answered_s=7))
        self.assertIsNotNone(self.history.outage.away_since)
        self.store.away = False
        self.clock.advance(1)
        self.assertEqual(sorted(self.shown()), [("LEFT", 60), ("LOST", 7)])
        self.assertIsNone(self.history.outage.away_since)

    def test_too_many(self) -> None:
        """Of more completions than are kept the oldest is dropped."""
        self.history.add(self.row())
        self.history.add(self.row(key="other"))
        self.clock.advance(1)
        self.store.away = True
        self.history.complete(replace(self.row(), answered_s=60))
        for number in range(MAX_QUEUED - 1):
            self.history.complete(replace(self.row(key=f"gone{number}"), answered_s=1))
        self.history.complete(replace(self.row(key="other"), answered_s=7))
        self.store.away = False
        self.clock.advance(2)
        self.assertEqual(sorted(self.shown(), key=str), [("LEFT", 7), ("LEFT", None)])

    def test_learnt_twice(self) -> None:
        """What is learnt of a call while an earlier completion of it is being written, in vain, is what stays."""
        self.history.add(self.row())
        self.clock.advance(1)
        held: Deferred[Any] = Deferred()
        run, self.store.run = self.store.run, lambda work: held  # type: ignore[method-assign]
        self.history.complete(replace(self.row(), answered_s=60))
        self.clock.advance(1)
        self.history.complete(replace(self.row(), answered_s=90))
        self.store.run = run  # type: ignore[method-assign]
        held.errback(StoreError("away"))
        self.clock.advance(1)
        self.assertEqual(self.shown(), [("LEFT", 90)])

    def test_left(self) -> None:
        """The calls of the last day that may go on and whose talk is not known."""
        self.now = 1008.0
        for key, row in enumerate(
            [
                self.row("LEFT"),
                self.row("LOST"),
                self.row("UNKNOWN"),
                self.row("ANSWER"),
                replace(self.row("LEFT"), answered_s=3),
                replace(self.row("LEFT"), began=-DAY_S, ended=-DAY_S + 5),
            ]
        ):
            self.history.add(replace(row, call_key=f"k{key}"))
        self.history.add(self.row(key=""))
        self.clock.advance(1)
        left = self.successResultOf(Deferred.fromCoroutine(self.history.left()))
        self.assertEqual(
            {(row.outcome, row.call_key) for row in left}, {("LEFT", "k0"), ("LOST", "k1"), ("UNKNOWN", "k2")}
        )
        self.store.away = True
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(self.history.left())), [])


class Talk(SynchronousTestCase):
    """What is said of a call's talk."""

    def test_unknown(self) -> None:
        """None is unknown, but for outcomes after which no two people talked."""
        row = replace(row_of(record()), answered_s=None)
        said = {
            outcome: replace(row, outcome=outcome).talk_s for outcome in ("ANSWER", "DONE", "LEFT", "BUSY", "DENIED")
        }
        self.assertEqual(said, {"ANSWER": None, "DONE": None, "LEFT": None, "BUSY": 0, "DENIED": 0})
        csv = CallsCsv(Zone("UTC"))
        place = csv.heading().split(",").index("answered_s")
        cells = [csv.lines([replace(row, answered_s=seconds)]).split(",")[place] for seconds in (None, 0, 7)]
        self.assertEqual(cells, ["unknown", "0", "7"])


class Rows(HistoryCase):
    """row_of, and finding rows."""

    def test_row(self) -> None:
        """A row holds facts, decision, outcome and trace; text from outside is printable."""
        self.history.report(record())
        self.clock.advance(1)
        (row,) = find_calls(self.connection, Search(), 10)
        self.assertEqual((row.began, row.ended, row.caller, row.number), (1000.0, 1007.0, "33", "21"))
        self.assertEqual((row.verdict, row.pattern, row.application, row.data), ("allow", "2X", "dial", "SIP"))
        self.assertEqual((row.granted_by, row.outcome, row.answered_s), ("33", "ANSWER", 5))
        self.assertEqual(row.caller_name, "Tr\\nes\\udcff")
        self.assertEqual([step.english for step in row.steps], ["33 may use 2X by its own grant"])

    def test_refused(self) -> None:
        """The note of a call stands behind what was decided; the cause is kept."""
        decided = record()
        row = row_of(CallRecord(decided.request, decided.decision, Outcome("BUSY", "17"), note=sentence("it was so")))
        self.assertEqual([step.english for step in row.steps], ["33 may use 2X by its own grant", "it was so"])
        self.assertEqual((row.outcome, row.cause, row.answered_s), ("BUSY", "17", None))
        row = row_of(CallRecord(decided.request, None, Outcome(), note=sentence("it was so")))
        self.assertEqual([step.english for step in row.steps], ["it was so"])

    def test_denied(self) -> None:
        """A call without mapping or grant has none in its row."""
        decision = Decision(Verdict.INVALID, "999", None, None, ())
        row = row_of(CallRecord(record().request, decision, Outcome("INVALID")))
        self.assertEqual((row.number, row.verdict, row.granted_by), ("999", "invalid", ""))
        self.assertEqual((row.pattern, row.application, row.data, row.trace), ("", "", "", "[]"))

    def test_undecided(self) -> None:
        """A call that ended before any decision has a row too."""
        row = row_of(CallRecord(AGIRequest({"extension": "s\n", "uniqueid": "1\n"}), None, Outcome("HANGUP")))
        self.assertEqual((row.number, row.verdict, row.caller, row.trace), ("s\\n", "", "", "[]"))
        self.assertEqual((row.uniqueid, row.pattern, row.application, row.data), ("1\\n", "", "", ""))

    def test_search(self) -> None:
        """Rows are found by caller, number, outcome and time."""
        self.history.report(record("21", "33", 100.0))
        self.history.report(record("22", "44", 200.0, "BUSY"))
        self.clock.advance(1)
        self.assertEqual(self.found(caller="44"), ["22"])
        self.assertEqual(self.found(number="21"), ["21"])
        self.assertEqual(self.found(outcome="BUSY"), ["22"])
        self.assertEqual(self.found(since=200.0), ["22"])
        self.assertEqual(self.found(until=200.0), ["21"])
        self.assertEqual(self.found(caller="44", outcome="ANSWER"), [])
