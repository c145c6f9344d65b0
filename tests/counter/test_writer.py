"""CounterWriter: only changes are written, and what cannot be written is kept in order."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.logger import LogLevel, capturedLogs, formatEvent

from pbxrouter import database
from pbxrouter.counter import storage
from pbxrouter.counter.call_table import CallTable, ChannelSeen, LiveCall
from pbxrouter.counter.counts import ALL, CallCounts, Counts
from pbxrouter.counter.storage import Batch
from pbxrouter.counter.turn import FileTurn, ServerTurn
from pbxrouter.counter.writer import CounterWriter
from pbxrouter.database import Connection, LockHolder, dialect_of, lock_holder
from pbxrouter.database.engine import EngineError
from pbxrouter.errors import StoreError
from pbxrouter.net import QueueFigures
from pbxrouter.rules.model import Decision, Verdict
from pbxrouter.rules.model import Mapping as Rule
from tests.counter_fakes import NOW, EnginesCase, FakeStore
from tests.database.postgresql import listen


def _header(headers: Mapping[str, str], name: str) -> str:
    """A header of an event."""
    return headers.get(name, "")


class WriterCase(EnginesCase):
    """Test case with a writer."""

    def setUp(self) -> None:
        """Make the writer; counting has just begun."""
        super().setUp()
        self.store = FakeStore(self.connection)
        self.counting = CallCounts()
        self.table = CallTable(self.counting)
        self.writer = CounterWriter("x", self.table, self.counting, self.store, lambda: NOW)
        self.writer.seen = NOW
        self.logs = self.enterContext(capturedLogs())

    def event(self, name: str, uniqueid: str, **headers: str) -> None:
        """Pass an event of a channel on."""
        all_headers = {"Uniqueid": uniqueid, "Linkedid": uniqueid, **headers}
        self.table.event(name, lambda key: all_headers.get(key, ""), NOW)

    def begin_writing(self, last: bool = False) -> Deferred[None]:
        """Begin to write what has been counted."""
        return Deferred.fromCoroutine(self.writer.write(last))

    def write(self, last: bool = False) -> None:
        """Write, and wait until it is done."""
        self.successResultOf(self.begin_writing(last))

    def live(self, column: str = "linkedid") -> list[Any]:
        """A column of the calls in progress, as written."""
        return [value for (value,) in self.rows(f"SELECT {column} FROM counter_live ORDER BY linkedid")]

    def change_by_hand(self) -> None:
        """Change the rows of the calls, so that rows written again can be told."""
        self.connection.execute("UPDATE counter_live SET caller = 'by hand'")
        self.connection.commit()

    def levels(self) -> list[LogLevel]:
        """The levels of the log lines above debug."""
        return [log["log_level"] for log in self.logs if log["log_level"] > LogLevel.debug]


class WriterTests(WriterCase):
    """A writer, its table and counts, on a real database."""

    def test_nothing_new(self) -> None:
        """Without changes nothing is written; a new ``seen`` alone is."""
        self.write()
        runs = self.store.runs
        self.write()
        self.assertEqual(self.store.runs, runs)
        self.writer.seen = NOW + 2
        self.write()
        self.assertEqual(self.store.runs, runs + 1)
        self.assertEqual(self.rows("SELECT last_seen FROM counter_asterisks"), [(NOW + 2,)])

    def test_figures(self) -> None:
        """The figures have each minute and label with counts, and each gap, while they wait and are written."""
        now = [float(NOW)]
        writer = CounterWriter("x", self.table, self.counting, self.store, lambda: now[0])
        self.assertEqual(writer.figures, QueueFigures("counter x", 0))
        self.event("Newchannel", "a")
        writer.gaps += [(1.0, 2.0), (3.0, 4.0)]
        now[0] += 7.0
        self.assertEqual(writer.figures, QueueFigures("counter x", 3, 7.0))
        self.store.slow = True
        writing = Deferred.fromCoroutine(writer.write())
        writer.gaps.append((5.0, 6.0))
        now[0] += 1.0
        self.assertEqual(writer.figures, QueueFigures("counter x", 4, 8.0))
        self.store.held.pop().callback(None)
        self.successResultOf(writing)
        now[0] += 2.0
        self.assertEqual(writer.figures, QueueFigures("counter x", 1, 2.0))
        now[0] -= 60.0
        self.assertEqual(writer.figures, QueueFigures("counter x", 1, 0.0))

    def test_each_kind_of_change(self) -> None:
        """A count, a new call, a changed call and a call that ended are each written."""
        self.write()

        def runs_after(change: Any) -> int:
            before = self.store.runs
            change()
            self.write()
            return self.store.runs - before

        self.assertEqual(runs_after(lambda: self.event("Newchannel", "a")), 1)
        self.assertEqual(runs_after(lambda: self.counting.label(self.table.live["a"], None, "BUSY")), 1)
        self.assertEqual(runs_after(lambda: self.counting.tick(NOW + 60)), 1)
        self.assertEqual(runs_after(lambda: self.table.restore([LiveCall("b", 1.0, channels={"b"})])), 1)
        self.assertEqual(runs_after(lambda: self.event("Hangup", "a")), 1)
        self.assertEqual(runs_after(lambda: None), 0)
        self.assertEqual(self.live(), ["b"])

    def test_only_what_changed(self) -> None:
        """The row of a changed call is written again, others are not."""
        for uniqueid in ("a", "b"):
            self.event("Newchannel", uniqueid, CallerIDNum="33")
        self.write()
        self.change_by_hand()
        self.counting.label(self.table.live["b"], None, "BUSY")
        self.write()
        self.assertEqual(self.live("caller"), ["by hand", "33"])
        self.assertEqual(self.live("outcome"), ["", "BUSY"])

    def test_rewrite(self) -> None:
        """On request, and at the end, every row is written again and other rows are deleted; otherwise they stay."""
        self.event("Newchannel", "a", CallerIDNum="33")
        self.write()
        for last in (False, True):
            stray = storage.live_row(LiveCall("stray", 1.0))
            storage.write(self.connection, Batch("x", live={"stray": stray}))
            self.change_by_hand()
            self.writer.seen = NOW + 1 + last
            self.write()
            self.assertEqual((self.live(), self.live("caller")), (["a", "stray"], ["by hand"] * 2))
            self.writer.rewrite = not last
            self.write(last)
            self.assertEqual((self.live(), self.live("caller")), (["a"], ["33"]))
            self.assertFalse(self.writer.rewrite)

    def test_first_write(self) -> None:
        """The first write deletes rows of an earlier run whose calls are not known any more."""
        storage.write(self.connection, Batch("x", live={"old": storage.live_row(LiveCall("old", 1.0))}))
        self.write()
        self.assertEqual(self.live(), [])

    def test_restored(self) -> None:
        """An earlier run is restored: its calls, until when it counted, when Asterisk was started."""
        row = storage.live_row(LiveCall("a", 1.0, channels={"a"}))
        storage.write(self.connection, Batch("x", live={"a": row}, seen=NOW - 9, started_up="then"))
        self.successResultOf(Deferred.fromCoroutine(self.writer.restore()))
        self.assertEqual((self.writer.seen, self.writer.started_up), (NOW - 9, "then"))
        self.assertEqual((list(self.table.live), self.counting.active), (["a"], 1))
        self.assertEqual(self.counting.drain(), {})

    def test_kept_while_away(self) -> None:
        """While the database is away counts, gaps in order, and rows are kept; afterwards each is written once."""
        self.event("Newchannel", "a", CallerIDNum="33")
        self.write()
        self.store.away = True
        self.writer.gaps.append((1.0, 2.0))
        self.event("Newchannel", "b")
        self.write()
        self.assertTrue(self.writer.rewrite)
        self.writer.gaps.append((3.0, 4.0))
        self.event("Hangup", "b", Cause="17")
        self.write()
        self.assertEqual(self.writer.gaps, [(1.0, 2.0), (3.0, 4.0)])
        self.change_by_hand()
        self.store.away = False
        self.write()
        self.assertEqual((self.writer.gaps, self.writer.rewrite), ([], False))
        self.assertEqual(self.rows("SELECT began, ended FROM counter_gaps ORDER BY 1"), [(1.0, 2.0), (3.0, 4.0)])
        self.assertEqual(self.rows("SELECT started, finished FROM counter_minutes"), [(2, 1)])
        self.assertEqual(self.rows("SELECT reason, calls FROM counter_failures"), [("busy", 1)])
        self.assertEqual((self.live(), self.live("caller")), (["a"], ["33"]))
        self.write()
        self.assertEqual(self.rows("SELECT started, finished FROM counter_minutes"), [(2, 1)])

    def test_gap_while_a_write_fails(self) -> None:
        """A gap that comes during a write that fails is written after those of that write."""
        self.store.slow = self.store.away = True
        self.writer.gaps.append((1.0, 2.0))
        writing = self.begin_writing()
        self.writer.gaps.append((3.0, 4.0))
        self.store.held.pop().callback(None)
        self.successResultOf(writing)
        self.assertEqual(self.writer.gaps, [(1.0, 2.0), (3.0, 4.0)])

    def test_gap_while_a_write_goes_well(self) -> None:
        """A gap that comes during a write is written by the next one."""
        self.store.slow = True
        self.writer.gaps.append((1.0, 2.0))
        writing = self.begin_writing()
        self.writer.gaps.append((3.0, 4.0))
        self.store.held.pop().callback(None)
        self.successResultOf(writing)
        self.assertEqual(self.writer.gaps, [(3.0, 4.0)])

    def test_one_write_at_a_time(self) -> None:
        """During a write another one is left out, except the last; afterwards writing goes on."""
        self.store.slow = True
        self.event("Newchannel", "a")
        first = self.begin_writing()
        self.event("Newchannel", "b")
        self.successResultOf(Deferred.fromCoroutine(self.writer.write()))
        self.assertEqual(self.store.runs, 1)
        last = self.begin_writing(last=True)
        self.assertEqual(self.store.runs, 2)
        for waiting in self.store.held:
            waiting.callback(None)
        for done in (first, last):
            self.successResultOf(done)
        self.assertEqual((self.live(), self.rows("SELECT started FROM counter_minutes")), (["a", "b"], [(2,)]))
        self.store.slow = False
        self.event("Newchannel", "c")
        self.write()
        self.assertEqual(self.live(), ["a", "b", "c"])

    def test_what_changed_while_a_write_was_under_way(self) -> None:
        """Changes during a write are written by the next one."""
        self.write()
        self.store.slow = True
        self.event("Newchannel", "a")
        writing = self.begin_writing()
        self.counting.label(self.table.live["a"], None, "BUSY")
        self.writer.seen = NOW + 1
        self.store.held.pop().callback(None)
        self.successResultOf(writing)
        self.store.slow = False
        self.write()
        self.assertEqual(self.live("outcome"), ["BUSY"])
        self.assertEqual(self.rows("SELECT last_seen FROM counter_asterisks"), [(NOW + 1,)])

    def test_said_once(self) -> None:
        """Each outage is logged once with its reason, and once when it is over."""
        expected = []
        for place in range(2):
            self.assertIsNone(self.writer.outage.away_since)
            self.store.away = True
            for second in range(3):
                self.writer.seen = NOW + 10 * place + second
                self.write()
                self.assertIsNotNone(self.writer.outage.away_since)
            expected.append(LogLevel.error)
            self.assertEqual(self.levels(), expected)
            self.assertEqual((self.logs[-1]["error"], self.logs[-1]["name"]), ("away", "x"))
            self.store.away = False
            for second in range(3):
                self.writer.seen = NOW + 10 * place + 5 + second
                self.write()
            expected.append(LogLevel.info)
            self.assertEqual(self.levels(), expected)

    def test_each_change_of_a_call(self) -> None:
        """A row is written again after each change of its call."""
        decision = Decision(Verdict.ALLOW, "21", Rule(1, "2X", "dial", ""), None, ())
        both = {"Linkedid": "a", "BridgeUniqueid": "x"}

        def resync() -> None:
            self.table.resync(self.table.channels, [ChannelSeen("c", "c", 1.0)], NOW)

        for change in (
            lambda: self.event("Newchannel", "a"),
            lambda: self.event("Newchannel", "b", Linkedid="a"),
            lambda: self.event("DialEnd", "a", DialStatus="BUSY"),
            lambda: self.event("BridgeEnter", "a", **both),
            lambda: self.event("BridgeEnter", "b", **both),
            lambda: self.counting.label(self.table.live["a"], decision, "DEAD"),
            lambda: self.counting.label(self.table.live["a"], None, "ANSWER"),
            lambda: self.event("Newchannel", "c"),
            lambda: self.event("BridgeLeave", "b", Linkedid="c"),
            lambda: self.event("Newchannel", "d", Linkedid="c"),
            lambda: self.event("Hangup", "b", Linkedid="c"),
            lambda: self.event("BridgeLeave", "d", Linkedid="e"),
            resync,
        ):
            change()
            self.writer.seen = NOW + 1
            self.write()
            columns = "started, answered, channels, caller, number, dial_status, outcome, labels, certain, talks"
            stored = self.rows(f"SELECT linkedid, {columns} FROM counter_live ORDER BY linkedid")
            self.assertEqual(
                stored,
                [(key, *storage.live_row(call, self.table.talk_of)) for key, call in sorted(self.table.live.items())],
            )

    def test_any_failure(self) -> None:
        """If a write raises anything, its counts are kept."""
        run, self.store.run = self.store.run, lambda work: fail(RuntimeError("anything"))  # type: ignore[method-assign]
        self.event("Newchannel", "a")
        self.write()
        self.assertIsNotNone(self.writer.outage.away_since)
        self.store.run = run  # type: ignore[method-assign]
        self.write()
        self.assertEqual(self.rows("SELECT started FROM counter_minutes"), [(1,)])

    def test_row_that_the_database_refuses(self) -> None:
        """A row that the database refuses is left out alone, counted, and named in the log; all else is written."""
        self.writer.gaps.append((None, 1.0))  # type: ignore[arg-type]
        self.event("Newchannel", "a")
        self.write()
        self.assertIsNone(self.writer.outage.away_since)
        self.assertEqual((self.writer.set_aside, self.writer.gaps), (1, []))
        self.assertEqual(self.rows("SELECT started FROM counter_minutes"), [(1,)])
        self.assertIn("counter_gaps.began", self.logs[-1]["why"])

    def test_takes_over(self) -> None:
        """A gateway that goes on with the counts knows since when Asterisk has run, and until when they are known."""
        storage.write(self.connection, Batch("x", seen=NOW - 10, started_up="then"))
        path = Path(self.mktemp()).absolute()
        other = FileTurn(path, "x")
        self.assertTrue(other.take())
        turn = FileTurn(path, "x")
        self.addCleanup(turn.leave)
        writer = CounterWriter("x", self.table, self.counting, self.store, lambda: NOW, turn)
        with capturedLogs() as logs:
            self.successResultOf(Deferred.fromCoroutine(writer.restore()))
            self.assertFalse(self.successResultOf(Deferred.fromCoroutine(writer.take_over())))
            self.assertEqual((writer.writes_all, writer.started_up), (False, ""))
            other.leave()
            self.assertTrue(self.successResultOf(Deferred.fromCoroutine(writer.take_over())))
        self.assertEqual((writer.writes_all, writer.started_up, writer.gaps), (True, "then", [(NOW - 10, NOW)]))
        said = [str(formatEvent(event)) for event in logs if event["log_level"] is LogLevel.warn]
        self.assertEqual(len(said), 2, said)
        self.assertIn("another gateway on this database writes the counts", said[0])
        self.assertIn("has ended; this one goes on", said[1])

    def test_forget(self) -> None:
        """Old rows are deleted; while the database is away nothing is logged, and it is tried again later."""
        self.writer.gaps.append((1.0, 2.0))
        self.write()
        self.store.away = True
        self.successResultOf(Deferred.fromCoroutine(self.writer.forget(NOW)))
        self.assertEqual(self.levels(), [])
        self.store.away = False
        self.successResultOf(Deferred.fromCoroutine(self.writer.forget(2.0)))
        self.assertEqual(self.rows("SELECT began FROM counter_gaps"), [(1.0,)])
        self.successResultOf(Deferred.fromCoroutine(self.writer.forget(2.5)))
        self.assertEqual(self.rows("SELECT began FROM counter_gaps"), [])


class AnyEventsTests(WriterCase):
    """Any events, each time with a new database of SQLite."""

    engine = "SQLite"

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 5), st.integers(0, 3)), max_size=40))
    def test_rows_are_those_of_the_calls(self, steps: list[tuple[int, int, int]]) -> None:
        """After any events, each write leaves the rows that the calls in progress have then."""
        self.setUp()
        decision = Decision(Verdict.ALLOW, "21", Rule(1, "2X", "dial", ""), "33", (), extension="33")
        for number, (kind, channel, call) in enumerate(steps):
            headers = {"Uniqueid": f"u{channel}", "Linkedid": f"l{call}", "BridgeUniqueid": f"b{call % 2}"}
            headers |= {"DialStatus": ("BUSY", "ANSWER")[call % 2], "Cause": "17", "DestUniqueid": f"u{channel}"}
            live = self.table.call_of(f"u{channel}")
            if kind < 5:
                name = ("Newchannel", "BridgeEnter", "BridgeLeave", "DialEnd", "Hangup")[kind]
                self.table.event(name, functools.partial(_header, headers), NOW + number)
            elif kind == 5 and live is not None:
                self.counting.label(live, decision, ("ANSWER", "DEAD")[call % 2])
            elif kind == 6:
                seen = [ChannelSeen(f"u{channel}", f"l{call}", 1.0, f"b{call % 2}", "33", "21")]
                self.table.resync(self.table.channels, seen, NOW + number)
            self.writer.seen = NOW + number
            self.write()
            columns = "started, answered, channels, caller, number, dial_status, outcome, labels, certain, talks"
            stored = self.rows(f"SELECT linkedid, {columns} FROM counter_live ORDER BY linkedid")
            wanted = [
                (key, *storage.live_row(live, self.table.talk_of)) for key, live in sorted(self.table.live.items())
            ]
            self.assertEqual(stored, wanted)


class LostCommitTests(WriterCase):
    """A connection to PostgreSQL that is lost in a commit: whether it was committed is found out afterwards."""

    engine = "PostgreSQL"

    def setUp(self) -> None:
        """Count a call, to be written by a store that loses answers."""
        super().setUp()
        self.lossy = LossyStore(self.connection)
        self.writer = CounterWriter("x", self.table, self.counting, self.lossy, lambda: NOW)
        self.writer.seen = NOW
        self.event("Newchannel", "a")

    def started(self) -> int:
        """The calls that have begun, as written."""
        ((count,),) = self.rows("SELECT coalesce(sum(started), 0) FROM counter_minutes WHERE kind = 'all'")
        return int(count)

    def test_was_committed(self) -> None:
        """Counts whose commit was not answered are there, and are not added again; what came since is."""
        self.lossy.loses_answer = True
        self.write()
        self.assertEqual((self.started(), self.writer.figures.length), (1, 1))
        self.event("Newchannel", "b")
        self.lossy.loses_answer = False
        self.write()
        self.assertEqual((self.started(), self.writer.figures.length), (2, 0))
        self.write()
        self.assertEqual(self.started(), 2)
        self.assertEqual(self.live(), ["a", "b"])

    def test_was_not_committed(self) -> None:
        """Counts of a transaction that was undone are written with the next ones."""
        self.writer.gaps.append((1.0, 2.0))
        self.lossy.undoes = True
        self.write()
        self.assertEqual((self.started(), self.writer.figures.length), (0, 2))
        self.event("Newchannel", "b")
        self.lossy.undoes = False
        self.write()
        self.assertEqual((self.started(), self.writer.figures.length), (2, 0))
        self.assertEqual(self.rows("SELECT began, ended FROM counter_gaps"), [(1.0, 2.0)])

    def test_is_not_over(self) -> None:
        """While the server has not ended the transaction, or is away, nothing is written: it is asked again."""
        other = self.open(self.place)
        with database.transaction(other):
            batch = Batch("x", minutes={(NOW, *ALL): Counts(started=5)}, mark=dialect_of(other).mark(other))
            self.writer._unsure = batch
            self.write()
            self.lossy.away = True
            self.write()
            self.assertEqual((self.started(), self.writer.figures.length), (0, 2))
        self.lossy.away = False
        self.write()
        self.assertEqual(self.started(), 1)

    def test_a_server_that_has_not_heard_of_it(self) -> None:
        """A standby that has taken over without the last transactions has no counts of them."""
        self.writer._unsure = Batch("x", minutes={(NOW, *ALL): Counts(started=5)}, mark=str(2**31))
        self.write()
        self.assertEqual(self.started(), 6)


class TurnTests(WriterCase):
    """Two gateways on a database of PostgreSQL."""

    engine = "PostgreSQL"

    def test_another_has_gone_on(self) -> None:
        """A gateway that was cut off for too long leaves the counts of all calls to the one that went on."""
        now = [0.0]
        writer = CounterWriter(
            "x", self.table, self.counting, self.store, lambda: NOW, ServerTurn(self.store, "x", lambda: now[0])
        )
        self.successResultOf(Deferred.fromCoroutine(writer.restore()))
        writer.seen = NOW
        self.event("Newchannel", "a")
        self.successResultOf(Deferred.fromCoroutine(writer.write()))
        second_store = FakeStore(self.open(self.place))
        counting = CallCounts()
        second = CounterWriter(
            "x",
            CallTable(counting),
            counting,
            second_store,
            lambda: NOW + 20,
            ServerTurn(second_store, "x", lambda: now[0]),
        )
        self.successResultOf(Deferred.fromCoroutine(second.restore()))
        self.assertFalse(second.writes_all)
        self.connection.close()
        while lock_holder(self.open(self.place), "counter x") is not LockHolder.NOBODY:
            time.sleep(0.01)
        for now[0], has in ((0.0, False), (15.0, True)):
            self.assertIs(self.successResultOf(Deferred.fromCoroutine(second.take_over())), has)
        self.store._connection = self.connection = self.open(self.place)
        self.event("Newchannel", "b")
        self.successResultOf(Deferred.fromCoroutine(writer.write()))
        self.assertFalse(writer.writes_all)
        self.assertEqual(self.rows("SELECT started FROM counter_minutes WHERE kind = 'all'"), [(1,)])
        self.assertIn("cut off", str(formatEvent(self.logs[-1])))
        second.seen = NOW + 20
        self.successResultOf(Deferred.fromCoroutine(second.write()))
        self.assertEqual(self.rows("SELECT began, ended FROM counter_gaps"), [(NOW, NOW + 20)])


class LossyStore(FakeStore):
    """A store whose connection is lost around a commit.

    Attributes:
        loses_answer: whether work is done, and its answer lost.
        undoes: whether work is undone just before its commit.
    """

    loses_answer = undoes = False

    def _run(self, work: Callable[[Connection], Any]) -> Deferred[Any]:
        if self.undoes:
            listen(self._connection, self._lose)
        done = super()._run(work)
        listen(self._connection, None)
        return done.addCallback(lambda _: fail(StoreError("lost"))) if self.loses_answer else done

    def _lose(self, statement: str) -> None:
        if "counter_asterisks" in statement:
            raise EngineError("the connection is lost")
