"""CallCounter: Asterisk's clock, rows, reports, the service on a fake AMI connection, and the command."""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.ami.channel_check import ASK_AGAIN_S
from pbxrouter.ami.messages import AMIMessage
from pbxrouter.call.record import CallRecord
from pbxrouter.counter import report as counter_report
from pbxrouter.counter import storage
from pbxrouter.counter.call_table import LiveCall
from pbxrouter.counter.clock import AsteriskClock
from pbxrouter.counter.counts import ALL, Counts
from pbxrouter.counter.service import CONFIRM_S, POLL_S, RESYNC_S, SLICE, CallCounter
from pbxrouter.counter.storage import Batch
from pbxrouter.counter.turn import FileTurn
from pbxrouter.drivers import Outcome
from pbxrouter.errors import ActionFailed, ManagerError, ManagerUnavailable, StoreError
from pbxrouter.net import QueueFigures
from pbxrouter.rules.model import Facts
from pbxrouter.simulator import SimulatedCall
from tests.cli.test_app import CommandTestCase
from tests.counter_fakes import NOW, SNAPSHOT, DatabaseCase, FakeAMIConnection, FakeStore, message
from tests.fakes import request_of, workshop_rules


class ClockTests(SynchronousTestCase):
    """Asterisk's clock and the gateway's."""

    def test_agree(self) -> None:
        """Clocks that differ by less than a second count as one."""
        clock = AsteriskClock()
        clock.compare(f"{NOW + 0.7}", NOW, NOW + 0.2)
        self.assertEqual((clock.ahead_s, clock.to_local(f"{NOW - 3}.5", NOW)), (0.0, NOW - 2.5))

    def test_ahead(self) -> None:
        """If Asterisk's clock is an hour ahead an hour is taken off."""
        clock = AsteriskClock()
        clock.compare(f"{NOW + 3600}", NOW, NOW)
        self.assertEqual(clock.to_local(f"{NOW + 3590}", NOW), NOW - 10)

    def test_slow_answer(self) -> None:
        """A response that took long tells nothing about the clock."""
        clock = AsteriskClock()
        clock.compare(f"{NOW + 3600}", NOW, NOW + 5)
        self.assertEqual(clock.ahead_s, 0.0)

    def test_not_believed(self) -> None:
        """An invalid time, the far past and the future count as now."""
        for text in ("", "x", "nan", "1e10", f"{NOW - 301}", f"{NOW + 3}", "9" * 30):
            self.assertEqual(AsteriskClock().to_local(text, NOW), NOW)

    def test_how_far_ahead(self) -> None:
        """The offset is from the middle between Ping and response; a second or more, ahead or behind, counts."""
        for timestamp, asked, answered, ahead_s in (
            (f"{NOW + 3600.25}", NOW, NOW + 0.5, 3600.0),
            (f"{NOW - 3600}", NOW, NOW, -3600.0),
            (f"{NOW + 1}", NOW, NOW, 1.0),
            (f"{NOW - 1}", NOW, NOW, -1.0),
            (f"{NOW}.75", NOW, NOW, 0.0),
            (f"{NOW - 0.75}", NOW, NOW, 0.0),
            (f"{NOW + 3600.375}", NOW, NOW + 0.75, 3600.0),
        ):
            clock = AsteriskClock()
            clock.compare(timestamp, asked, answered)
            self.assertEqual(clock.ahead_s, ahead_s, timestamp)

    def test_the_last_good_answer_counts(self) -> None:
        """A late response or one without a time changes nothing; one that agrees corrects the clock."""
        clock = AsteriskClock()
        clock.compare(f"{NOW + 60}", NOW, NOW)
        clock.compare(f"{NOW + 3600}", NOW, NOW + 1)
        for text in ("garbage", f"{NOW + 3600}x", f"x{NOW + 3600}", ""):
            clock.compare(text, NOW, NOW)
        self.assertEqual(clock.ahead_s, 60.0)
        clock.compare(f"{NOW}", NOW, NOW)
        self.assertEqual(clock.ahead_s, 0.0)

    def test_set(self) -> None:
        """After the gateway's clock was set events are as of now, until the clocks are compared again."""
        clock = AsteriskClock()
        clock.compare(f"{NOW + 60}", NOW, NOW)
        clock.was_set()
        self.assertEqual(clock.to_local(f"{NOW + 55}", NOW), NOW)
        clock.compare(f"{NOW + 60}", NOW, NOW - 30)
        self.assertEqual(clock.to_local(f"{NOW + 55}", NOW), NOW)
        clock.compare(f"{NOW + 30}", NOW, NOW)
        self.assertEqual(clock.to_local(f"{NOW + 25}", NOW), NOW - 5)

    def test_bounds(self) -> None:
        """Times of less than five minutes ago and less than two seconds ahead are believed."""
        clock = AsteriskClock()
        for offset, believed in ((-300, False), (-299.75, True), (-299, True), (1.75, True), (2, False), (2.5, False)):
            self.assertEqual(clock.to_local(f"{NOW + offset}", NOW), NOW + offset if believed else NOW, offset)

    def test_form_of_a_timestamp(self) -> None:
        """A Timestamp has seconds since 1970 in nine to eleven digits and up to nine digits of a fraction."""
        clock = AsteriskClock()
        for now, timestamp, when in (
            (12345678.0, "12345677", 12345678.0),
            (123456789.0, "123456788", 123456788.0),
            (12345678901.0, "12345678900", 12345678900.0),
            (123456789012.0, "123456789011", 123456789012.0),
            (NOW, f"{NOW - 1}.250000000", NOW - 0.75),
            (NOW, f"{NOW - 1}.2500000000", NOW),
            (NOW, f"{NOW - 1}.", NOW),
            (NOW, f"{NOW - 1}x", NOW),
            (NOW, f" {NOW - 1}", NOW),
        ):
            self.assertEqual(clock.to_local(timestamp, now), when, timestamp)


class RowTests(DatabaseCase):
    """Rows that are written and read again."""

    def test_counts_add_up(self) -> None:
        """Counts written twice are added up; the higher peak stays."""
        first = Counts(started=2, answered=1, finished=2, talked=1, talk_s=1.5, peak=4, failed={"busy": 1})
        second = Counts(started=1, finished=1, served=1, peak=3, failed={"busy": 1, "other": 1})
        for counts in (first, second):
            storage.write(self.connection, Batch("a", {(NOW, *ALL): counts}))
        self.assertEqual(self.rows("SELECT * FROM counter_minutes"), [(NOW, "a", "all", "", 3, 1, 3, 1, 1, 1.5, 4)])
        self.assertEqual(
            self.rows("SELECT reason, calls FROM counter_failures ORDER BY reason"),
            [("busy", 2), ("other", 1)],
        )

    def test_live_calls(self) -> None:
        """Calls in progress are read as they were written, but uncertain; bytes that are not UTF-8 do no harm."""
        call = LiveCall("a", 1.0, 2.0, {"a", "b"}, "33", "22\udcff", "BUSY", outcome="ANSWER")
        call.labels = {("mapping", "2X"), ("user", "pepe")}
        rows = {"a": storage.live_row(call), "z": storage.live_row(LiveCall("z", 3.0))}
        storage.write(self.connection, Batch("x", live=rows))
        storage.write(self.connection, Batch("y", live=rows))
        storage.write(self.connection, Batch("x", gone=["z"]))
        (kept,) = storage.load(self.connection, "x").live
        call.number, call.certain = "22\\udcff", False
        self.assertEqual(kept, call)
        storage.write(self.connection, Batch("x", all_live=True))
        self.assertEqual(storage.load(self.connection, "x").live, ())
        self.assertEqual(len(storage.load(self.connection, "y").live), 2)

    def test_spoilt_by_hand(self) -> None:
        """Invalid labels are left out."""
        storage.write(self.connection, Batch("x", live={"a": storage.live_row(LiveCall("a", 1.0))}))
        self.connection.execute("UPDATE counter_live SET labels = '{'")
        self.assertEqual(storage.load(self.connection, "x").live[0].labels, set())

    def test_seen(self) -> None:
        """What is written is until when calls were counted, and when Asterisk was started."""
        self.assertEqual(storage.load(self.connection, "x"), storage.Kept(None, "", ()))
        for seen in (NOW, NOW + 9):
            storage.write(self.connection, Batch("x", seen=seen, started_up="then"))
        self.assertEqual(self.rows("SELECT * FROM counter_asterisks"), [("x", NOW, NOW + 9, "then")])

    def test_whole_or_not(self) -> None:
        """A batch that fails in the middle leaves nothing."""
        batch = Batch("x", {(NOW, *ALL): Counts(started=1)}, seen=1.0)
        self.connection.execute("ALTER TABLE counter_asterisks RENAME TO away")
        self.assertRaises(StoreError, storage.write, self.connection, batch)
        self.assertEqual(self.rows("SELECT * FROM counter_minutes"), [])

    def test_row_that_cannot_be_written(self) -> None:
        """A row that the database does not take is set aside alone, in a file beside it; the others are written."""
        gaps = [(1.0, 2.0), (None, 3.0), (4.0, 5.0)]
        batch = Batch("x", {(NOW, *ALL): Counts(started=1)}, gaps=gaps)  # type: ignore[arg-type]
        (row,) = storage.write(self.connection, batch)
        self.assertEqual((row.place, row.why), (1, "NOT NULL constraint failed: counter_gaps.began"))
        self.assertEqual(self.rows("SELECT began FROM counter_gaps"), [(1.0,), (4.0,)])
        self.assertEqual(self.rows("SELECT started FROM counter_minutes"), [(1,)])
        self.assertEqual(
            json.loads(pathlib.Path(row.file).read_text()),
            {"table": "counter_gaps", "why": row.why, "row": ["x", None, 3.0]},
        )

    def test_forget(self) -> None:
        """Rows that are too old are deleted."""
        for minute in (NOW, NOW + 60):
            counts = Counts(started=1, failed={"busy": 1})
            storage.write(self.connection, Batch("x", {(minute, *ALL): counts}, gaps=[(minute, minute + 1)]))
        storage.forget(self.connection, NOW + 60)
        for table in ("counter_minutes", "counter_failures", "counter_gaps"):
            self.assertEqual(self.rows(f"SELECT count(*) FROM {table}"), [(1,)])


class ReportTests(DatabaseCase):
    """Reports from the rows."""

    def write(self, asterisk: str = "x", **batch: Any) -> None:
        """Write a batch of counts to the database."""
        storage.write(self.connection, Batch(asterisk, **batch))

    def read(self, *names: str, began: int = NOW, ended: int = NOW + 300) -> counter_report.Report:
        """Read five minutes, at their end."""
        return counter_report.read(self.connection, names or ["x"], began, ended, ended + 1.0)

    def test_nothing_known(self) -> None:
        """An Asterisk that was never counted, or none at all, is unknown for the whole span."""
        for names in (["x"], []):
            report = counter_report.read(self.connection, names, NOW, NOW + 300, NOW + 301.0)
            self.assertEqual((report.unknown_s(), report.active, report.is_known()), (300, None, False))

    def test_zero_is_known(self) -> None:
        """Without calls in a counted time the figures are zero."""
        self.write(seen=NOW - 5)
        self.write(seen=NOW + 300)
        report = self.read()
        self.assertEqual((report.unknown_s(), report.active, report.is_known()), (0, 0, True))
        self.assertEqual((report.total, report.busiest(3)), (Counts(), []))

    def test_partly(self) -> None:
        """The time before counting, in gaps and after counting is unknown."""
        self.write(seen=NOW + 60)
        self.write(seen=NOW + 200, gaps=[(NOW + 100, NOW + 110), (NOW + 105, NOW + 120), (1, 2)])
        report = self.read()
        self.assertEqual(report.unknown_s(), 60 + 20 + 100)
        self.assertEqual(report.unknown_s(NOW + 60, NOW + 120), 20)
        self.assertTrue(report.is_known(NOW + 120, NOW + 180))
        self.assertIs(report.active, None)

    def test_several(self) -> None:
        """Several Asterisks are added up; a time unknown for one is unknown for all."""
        for name in "xy":
            self.write(name, seen=NOW, live={"a": storage.live_row(LiveCall("a", 1.0))})
            self.write(
                name,
                seen=NOW + 300,
                minutes={
                    (NOW, *ALL): Counts(started=2, peak=2, failed={"busy": 1}),
                    (NOW + 60, *ALL): Counts(started=1, peak=1),
                    (NOW, "mapping", "2X"): Counts(started=1, failed={"busy": 1}),
                    (NOW + 300, *ALL): Counts(started=9),
                },
            )
        self.write("y", gaps=[(NOW + 10, NOW + 20)])
        report = self.read("x", "y")
        self.assertEqual(report.total, Counts(started=6, peak=4, failed={"busy": 2}))
        self.assertEqual(report.by, {("mapping", "2X"): Counts(started=2, failed={"busy": 2})})
        self.assertEqual((report.active, report.unknown_s(), report.is_known()), (2, 10, True))
        self.assertEqual([minute for minute, _ in report.busiest(1)], [NOW])
        self.assertEqual(counter_report.asterisks(self.connection), ["x", "y"])
        self.assertEqual(len(counter_report.minutes_of(report)), 5)


class ServiceCase(DatabaseCase):
    """A CallCounter on a fake store and a fake AMI connection."""

    def setUp(self) -> None:
        """Create the counter's service, not yet connected."""
        super().setUp()
        self.clock = Clock()
        self.clock.advance(NOW)
        self.set_by_s = 0.0
        self.store = FakeStore(self.connection)
        self.counter = self.begin()

    def begin(self, turn: FileTurn | None = None) -> CallCounter:
        """Start the counter's service."""
        self.manager = FakeAMIConnection()
        counter = CallCounter(
            self.manager,  # type: ignore[arg-type]
            self.store,
            self.clock,
            30,
            lambda: self.clock.seconds() + self.set_by_s,
            self.clock.seconds,
            turn,
        )
        counter.startService()
        self.addCleanup(counter.stopService)
        return counter

    def wait(self, seconds: float = 1) -> None:
        """Advance the clock."""
        self.clock.pump([0.5] * int(seconds * 2))

    def total(self) -> tuple[int, int, int]:
        """Started, answered and finished calls, as written."""
        query = "SELECT total(started), total(answered), total(finished) FROM counter_minutes WHERE kind = 'all'"
        started, answered, finished = self.rows(query)[0]
        return int(started), int(answered), int(finished)

    def call(self, uniqueid: str = "a") -> None:
        """Begin a call, as AMI's Newchannel tells it."""
        self.manager.says("Newchannel", uniqueid, uniqueid)

    def listed(self, uniqueid: str, duration: str = "00:00:07", **headers: str) -> AMIMessage:
        """An item of CoreShowChannels."""
        return message(
            "Event",
            "CoreShowChannel",
            **{**SNAPSHOT, "Uniqueid": uniqueid, "Linkedid": uniqueid, "Duration": duration, "BridgeId": "", **headers},
        )


class ServiceTests(ServiceCase):
    """The service with a manager that the test plays."""

    def test_written(self) -> None:
        """Counts and calls in progress are in the database a second later."""
        self.manager.up()
        self.call()
        self.wait()
        self.assertEqual(self.total(), (1, 0, 0))
        self.assertEqual(self.rows("SELECT linkedid FROM counter_live"), [("a",)])
        self.manager.says("Hangup", Cause="17")
        self.wait()
        self.assertEqual(self.total(), (1, 0, 1))
        self.assertEqual(self.rows("SELECT linkedid FROM counter_live"), [])
        self.assertEqual(self.rows("SELECT reason, calls FROM counter_failures"), [("busy", 1)])
        self.assertEqual(self.rows("SELECT * FROM counter_gaps"), [])

    def test_seen(self) -> None:
        """Asterisk's responses move ``seen``; while it is silent or away, ``seen`` stays."""
        self.assertIs(self.counter.active, None)
        self.manager.up()
        self.wait(3)
        self.assertEqual(self.rows("SELECT first_seen, last_seen FROM counter_asterisks"), [(NOW, NOW + 2)])
        self.manager.error = ManagerError("silent")
        self.wait(10)
        self.assertEqual(self.rows("SELECT last_seen FROM counter_asterisks"), [(NOW + 2,)])

    def test_clock_set(self) -> None:
        """When the clock is set no call lasts longer or shorter, nothing is counted twice, and no gap appears."""
        self.manager.up()
        self.set_by_s = 0.0
        for talked, step_s in enumerate((3600.0, -3600.0, 30.0, -30.0), 1):
            began = self.clock.seconds() + self.set_by_s
            uniqueid = f"a{talked}"
            self.call(uniqueid)
            for channel in (uniqueid, f"b{talked}"):
                self.manager.says("Newchannel", channel, uniqueid)
                self.manager.says("BridgeEnter", channel, uniqueid, BridgeUniqueid="x")
            self.wait(3)
            self.set_by_s += step_s
            self.wait(3)
            self.manager.says("HangupRequest", uniqueid, uniqueid)
            for name in ("BridgeLeave", "Hangup"):
                for channel in (uniqueid, f"b{talked}"):
                    self.manager.says(name, channel, uniqueid, Cause="16", BridgeUniqueid="x")
            self.wait(1)
            self.assertEqual(self.total(), (talked, talked, talked))
            self.assertEqual(
                self.rows("SELECT total(talk_seconds) FROM counter_minutes WHERE kind = 'all'"), [(6.0 * talked,)]
            )
            started = self.rows("SELECT minute, started FROM counter_minutes WHERE kind = 'all' AND started > 0")
            self.assertIn(int(began // 60 * 60), [minute for minute, _ in started])
            ended = self.rows("SELECT minute FROM counter_minutes WHERE kind = 'all' AND finished > 0")
            self.assertIn((int((began + 6 + step_s) // 60 * 60),), ended)
        self.assertEqual(self.rows("SELECT * FROM counter_gaps"), [])
        self.assertEqual((self.counter.unknown_s, self.counter.in_sync), (0.0, True))

    def test_clock_set_before_the_first_connection(self) -> None:
        """A clock that is set before Asterisk was ever seen makes no gap."""
        self.wait(3)
        self.set_by_s = 3600.0
        self.manager.up()
        self.wait(3)
        self.assertEqual((self.counter.gaps, self.counter.unknown_s, self.counter.in_sync), (0, 0.0, True))
        self.assertEqual(self.rows("SELECT last_seen FROM counter_asterisks"), [(NOW + 6 + 3600,)])

    def test_clock_set_while_asterisk_is_asked(self) -> None:
        """A clock that is set between Ping and response tells nothing about Asterisk's, though it hides the wait."""
        self.manager.up()
        self.manager.hold.add("Ping")
        self.manager.timestamp = f"{NOW + 2}"
        self.clock.advance(2)
        self.clock.advance(5)
        self.set_by_s = -4.5
        self.manager.held.pop().callback(None)
        self.manager.says("Newchannel", Timestamp=f"{NOW - 20}")
        self.assertEqual([call.started for call in self.counter.live], [NOW + 2.5])

    def test_clock_set_back_while_calls_go_on(self) -> None:
        """Asterisk is asked, and ``seen`` moves, while the clock is behind what it was."""
        self.manager.up()
        self.wait(3)
        self.set_by_s = -3600.0
        self.wait(4)
        (seen,) = self.rows("SELECT last_seen FROM counter_asterisks")[0]
        self.assertEqual(seen, NOW + 6 - 3600)

    def test_clock_set_just_before_a_write(self) -> None:
        """What is written right after the clock was set has the new time already."""
        self.manager.up()
        self.call()
        self.wait(3)
        (before,) = self.rows("SELECT started, last_seen FROM counter_live, counter_asterisks")
        self.set_by_s = 3600.0
        self.successResultOf(Deferred.fromCoroutine(self.counter.write()))
        (after,) = self.rows("SELECT started, last_seen FROM counter_live, counter_asterisks")
        self.assertEqual(after, tuple(value + 3600 for value in before))

    def test_gap(self) -> None:
        """A lost connection is a gap; calls are reconciled."""
        self.manager.up()
        for uniqueid in ("gone", "stays"):
            self.call(uniqueid)
        self.wait(3)
        self.manager.down()
        self.assertEqual((self.counter.active, self.counter.is_connected), (None, False))
        self.call("unheard")
        self.wait(30)
        self.assertEqual(self.counter.unknown_s, 31)
        self.manager.channels = [self.listed("stays"), self.listed("new"), self.listed("odd", "x")]
        self.manager.up()
        self.wait()
        self.assertEqual(self.counter.active, 3)
        self.assertEqual(self.total(), (4, 0, 1))
        self.assertEqual(self.rows("SELECT began, ended FROM counter_gaps"), [(NOW + 2, NOW + 33)])
        self.assertEqual((self.counter.gaps, self.counter.unknown_s), (1, 31))
        self.assertEqual(self.rows("SELECT reason FROM counter_failures"), [("unknown",)])

    def test_killed(self) -> None:
        """A new gateway restores what a killed one has left; nothing counts twice."""
        self.manager.up()
        for uniqueid in ("gone", "stays"):
            self.call(uniqueid)
        self.wait(3)
        self.counter.stopService = lambda: succeed(None)  # type: ignore[method-assign]
        self.wait(0)
        second = self.begin()
        self.manager.channels = [self.listed("stays")]
        self.manager.up()
        self.wait(2)
        self.manager.says("Hangup", "stays", "stays", Cause="16")
        self.wait(2)
        self.assertEqual(self.total(), (2, 0, 2))
        self.assertEqual(second.active, 0)

    def test_asterisk_restarted(self) -> None:
        """A restart of Asterisk is noticed by the time at which it was started."""
        self.manager.up()
        self.call()
        self.manager.down()
        self.manager.startup = "2026-11-23 08:00:00"
        self.manager.up()
        self.wait()
        self.assertEqual((self.counter.restarts, self.total()), (1, (1, 0, 1)))
        self.assertEqual(self.rows("SELECT started_up FROM counter_asterisks"), [(self.manager.startup,)])
        self.manager.down()
        self.manager.startup = "2026-11-24 08:00:00"
        self.manager.up()
        self.assertEqual(self.counter.restarts, 2)

    def test_resync(self) -> None:
        """Every few minutes, and after a Shutdown that may be forged, Asterisk is asked for its channels."""
        self.manager.up()
        self.manager.asked.clear()
        self.wait(RESYNC_S - 10)
        self.assertNotIn("CoreShowChannels", self.manager.asked)
        self.wait(20)
        self.assertEqual(self.manager.asked.count("CoreShowChannels"), 1)
        self.call()
        self.manager.channels = [self.listed("a")]
        self.manager.says("Shutdown")
        self.wait(POLL_S + 1)
        self.assertEqual(self.manager.asked.count("CoreShowChannels"), 2)
        self.assertEqual((self.counter.active, self.rows("SELECT * FROM counter_gaps")), (1, []))

    def test_resync_writes_all(self) -> None:
        """After a list of channels all calls in progress are written anew, whatever became of their rows."""
        self.manager.up()
        self.call()
        self.wait(2)
        self.connection.execute("UPDATE counter_live SET caller = 'by hand'")
        self.connection.commit()
        self.manager.channels = [self.listed("a")]
        self.wait(RESYNC_S - 10)
        self.assertEqual(self.rows("SELECT caller FROM counter_live"), [("by hand",)])
        self.wait(12)
        self.assertEqual(self.rows("SELECT linkedid, caller FROM counter_live"), [("a", "x")])

    def test_forged_hangup(self) -> None:
        """A Hangup of a channel that goes on ends no call; the genuine one does, at its own time."""
        self.manager.up()
        self.call()
        self.manager.alive = {"a"}
        with capturedLogs() as logs:
            for _ in range(3):
                self.manager.says("Hangup", Cause="17")
                self.wait(2)
                self.assertEqual((self.counter.active, self.total()), (1, (1, 0, 0)))
        self.assertEqual([log["event"] for log in logs if log["log_level"] >= LogLevel.warn], ["Hangup"])
        self.assertEqual(self.manager.forged_events, 3)
        self.manager.alive = set()
        self.manager.says("Hangup", Cause="16", Timestamp=f"{self.clock.seconds() - 1}")
        self.assertEqual(self.counter.active, 1)
        self.wait()
        self.assertEqual((self.counter.active, self.total()), (0, (1, 0, 1)))
        self.assertEqual(self.rows("SELECT reason, calls FROM counter_failures"), [])
        self.assertEqual(self.manager.forged_events, 3)

    def test_hangup_that_cannot_be_checked(self) -> None:
        """While Asterisk does not answer, a Hangup does not count; the next list of channels decides."""
        self.manager.up()
        self.call()
        self.manager.hold.add("Status")
        self.manager.says("Hangup", Cause="17")
        self.wait(60)
        self.assertEqual((self.counter.active, self.total()), (1, (1, 0, 0)))
        self.manager.channels = [self.listed("a")]
        self.wait(RESYNC_S)
        self.assertEqual((self.counter.active, self.total()), (1, (1, 0, 0)))
        self.manager.channels = []
        self.wait(RESYNC_S)
        self.assertEqual((self.counter.active, self.total()), (0, (1, 0, 1)))

    def test_hangup_while_the_connection_is_lost(self) -> None:
        """A Hangup that cannot be asked about counts with its cause by the list of the next connection."""
        self.manager.up()
        self.call()
        self.manager.says("Hangup", Cause="17")
        self.manager.error = ManagerUnavailable("there is no connection now")
        self.clock.advance(CONFIRM_S)
        self.assertEqual(self.counter.active, 1)
        self.manager.down()
        self.manager.error = None
        self.manager.up()
        self.wait()
        self.assertEqual((self.counter.active, self.total()), (0, (1, 0, 1)))
        self.assertEqual(self.rows("SELECT reason, calls FROM counter_failures"), [("busy", 1)])

    def test_queue(self) -> None:
        """What waits to be written while the database is away is counted by its name, with its age."""
        self.manager.up()
        self.wait(2)
        self.assertEqual(self.counter.queue, QueueFigures("counter x", 0))
        self.store.away = True
        self.call()
        self.wait(3)
        queue = self.counter.queue
        self.assertEqual((queue.name, queue.length > 0, queue.oldest_s), ("counter x", True, 3.0))
        self.store.away = False
        self.wait(1)
        self.assertEqual(self.counter.queue.length, 0)

    def test_hangup_on_its_way(self) -> None:
        """A channel that is still there for a moment after its Hangup is asked for again."""
        self.manager.up()
        self.call()
        self.manager.alive = {"a"}
        self.manager.says("Hangup")
        self.clock.advance(CONFIRM_S)
        self.assertEqual((self.manager.asked.count("Status"), self.counter.active), (1, 1))
        self.manager.alive = set()
        self.clock.advance(ASK_AGAIN_S[0])
        self.assertEqual((self.manager.asked.count("Status"), self.counter.active), (2, 0))
        self.assertEqual(self.manager.forged_events, 0)

    def test_hangups_and_restart(self) -> None:
        """Hangups that the connection's end overtakes count with their cause; a list of channels confirms, too."""
        self.manager.up()
        for uniqueid in ("a", "b"):
            self.call(uniqueid)
            self.manager.says("Hangup", uniqueid, uniqueid, Cause="17")
        self.manager.down()
        self.manager.up()
        self.wait()
        self.assertEqual((self.counter.active, self.total()), (0, (2, 0, 2)))
        self.assertEqual(self.rows("SELECT reason, calls FROM counter_failures"), [("busy", 2)])
        self.assertNotIn("Status", self.manager.asked)

    def test_hangup_and_stop(self) -> None:
        """Hangups that arrive just before the gateway stops are counted."""
        self.manager.up()
        self.call()
        self.manager.says("Hangup", Cause="17")
        self.counter.stopService()
        self.assertEqual(self.total(), (1, 0, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_hangup_of_others(self) -> None:
        """Asterisk is not asked about a channel that is not counted."""
        self.manager.up()
        self.manager.says("Hangup", "z", "z")
        self.wait()
        self.assertNotIn("Status", self.manager.asked)

    def test_forged(self) -> None:
        """Events with repeated headers, or without a channel, are ignored."""
        self.manager.up()
        self.manager.says("Newchannel", "a", "a", "Uniqueid: b")
        self.manager.handlers["Newchannel"](message("Event", "Newchannel", Uniqueid="c", Linkedid="c"))
        self.manager.says("Newchannel", "\udcff".encode("utf-8", "replace").decode())
        self.assertEqual(self.counter.active, 0)

    def test_database_away(self) -> None:
        """Counts and gaps that cannot be written are kept and written later; the outage and its end are logged once."""
        self.manager.up()
        self.wait()
        self.store.away = True
        with capturedLogs() as logs:
            self.call("a")
            self.wait(5)
            self.manager.says("Hangup", "a", "a", Cause="17")
            self.call("b")
            self.assertFalse(self.counter.database_up)
            self.wait(55)
            self.manager.channels = [self.listed("b")]
            self.manager.down()
            self.wait(5)
            self.manager.up()
            self.wait(5)
            self.store.away = False
            self.wait(3)
        self.assertTrue(self.counter.database_up)
        self.assertEqual(self.total(), (2, 0, 1))
        self.assertEqual(self.rows("SELECT linkedid FROM counter_live"), [("b",)])
        self.assertEqual(self.rows("SELECT began, ended FROM counter_gaps"), [(NOW + 60, NOW + 66)])
        said = [log["log_level"] for log in logs if "counts" in log["log_format"]]
        self.assertEqual(said, [LogLevel.error, LogLevel.info])

    def test_database_away_at_first(self) -> None:
        """Until the rows of an earlier run are read nothing is counted, since it might be counted twice."""
        self.store.away = True
        counter = self.begin()
        self.manager.up()
        self.call("a")
        self.wait(5)
        self.assertIs(counter.active, None)
        self.store.away = False
        self.manager.channels = [self.listed("a")]
        self.wait(5)
        self.assertEqual((counter.active, self.total()), (1, (1, 0, 0)))

    def test_not_permitted(self) -> None:
        """A missing event class is logged once, and the list is tried again."""
        self.manager.error = ActionFailed("CoreStatus: Permission denied")
        with capturedLogs() as logs:
            self.manager.up()
            self.wait(20)
        self.assertEqual(len(self.warnings(logs)), 1)
        self.assertFalse(self.counter.in_sync)
        assert self.counter.trouble is not None
        self.assertIn("Permission denied", self.counter.trouble.english)
        self.manager.error = None
        self.wait(5)
        self.assertTrue(self.counter.in_sync)
        self.assertIsNone(self.counter.trouble)

    def test_live(self) -> None:
        """The calls can be looked at, with a number that changes when they do."""
        self.manager.up()
        before = self.counter.changes
        self.call("a")
        self.assertNotEqual(self.counter.changes, before)
        (call,) = self.counter.live
        self.assertEqual((call.linkedid, self.counter.call_of("a")), ("a", call))
        self.assertIsNone(self.counter.call_of("b"))
        before = self.counter.changes
        self.manager.down()
        self.manager.up()  # and it is not among Asterisk's channels
        self.assertNotEqual(self.counter.changes, before)
        self.assertEqual(list(self.counter.live), [])

    def test_changes_of_what_is_shown(self) -> None:
        """Calls that are shown under one value of ``changes`` are the same, whatever happens between two looks."""
        shown: dict[tuple[int, bool], list[str]] = {}

        def look() -> None:
            calls = sorted(repr(call) for call in self.counter.live)
            version = (self.counter.changes, self.counter.in_sync)
            self.assertEqual(shown.setdefault(version, calls), calls)

        def hear(name: str, uniqueid: str, linkedid: str = "a", **headers: str) -> None:
            self.manager.says(name, uniqueid, linkedid, **headers)
            look()

        for _ in range(3):
            self.manager.up()
            look()
            hear("Newchannel", "a")
            hear("Newchannel", "b")
            hear("Newchannel", "c", "c")
            hear("BridgeEnter", "a", BridgeUniqueid="x")
            hear("BridgeEnter", "b", BridgeUniqueid="x")
            hear("BridgeLeave", "b", BridgeUniqueid="x")
            hear("Hangup", "b")
            self.wait(1)
            look()
            hear("Hangup", "a")
            self.wait(1)
            look()
            self.manager.channels = [self.listed("d")]
            self.manager.says("Shutdown")
            self.wait(POLL_S)
            look()
            self.manager.down()
            look()
        self.assertEqual([call.linkedid for call in self.counter.live], ["d"])

    def record(self, uniqueid: str, number: str = "21") -> CallRecord:
        """A call's record, as the gateway reports it."""
        request = request_of(SimulatedCall(number, caller="33"))
        request.variables["uniqueid"] = uniqueid  # type: ignore[index]
        return CallRecord(request, workshop_rules().decide(Facts("33", number)), Outcome("BUSY"))

    def test_talk_of(self) -> None:
        """The talk of a channel is known from its beginning on; that of another Asterisk's channel is not."""
        self.manager.up()
        self.call("a")
        talk = self.counter.talk_of("a")
        self.assertEqual(talk is not None and talk.ended is None, True)
        self.assertIsNone(self.counter.talk_of("b"))

    def test_routed(self) -> None:
        """Calls that the gateway routed count by mapping and extension, also if its report comes first."""
        self.manager.up()
        self.call("a")
        self.counter.report(self.record("a"))
        self.counter.report(self.record("b"))
        self.counter.report(self.record("another Asterisk's"))
        self.call("b")
        self.manager.says("Hangup", "a", "a", Cause="17")
        self.wait()
        self.assertEqual(
            self.rows("SELECT kind, name, started, finished FROM counter_minutes WHERE kind <> 'all'"),
            [("extension", "33", 2, 1), ("mapping", "2X", 2, 1)],
        )

    def turn(self) -> FileTurn:
        """A gateway's turn for the Asterisk x."""
        return FileTurn(self.path, "x")

    def test_two_gateways(self) -> None:
        """Of two on one database one writes the counts of all calls, each those of what it routed; neither doubles."""
        self.successResultOf(self.counter.stopService())
        first, hears = self.begin(self.turn()), self.manager
        hears.up()
        with capturedLogs() as logs:
            second = self.begin(self.turn())
        self.assertEqual([event["name"] for event in logs if event["log_level"] is LogLevel.warn], ["x"])
        self.manager.up()
        managers = (hears, self.manager)
        for uniqueid in "ab":
            for manager in managers:
                manager.says("Newchannel", uniqueid, uniqueid)
        first.report(self.record("a"))
        second.report(self.record("b"))
        self.wait(3)
        for uniqueid in "ab":
            for manager in managers:
                manager.says("Hangup", uniqueid, uniqueid, Cause="17")
        self.wait(3)
        self.assertEqual(self.total(), (2, 0, 2))
        self.assertEqual(
            self.rows("SELECT kind, name, started, finished FROM counter_minutes WHERE kind <> 'all'"),
            [("extension", "33", 2, 2), ("mapping", "2X", 2, 2)],
        )
        self.assertEqual(self.rows("SELECT * FROM counter_gaps"), [])
        self.assertEqual((first.writes_elsewhere, second.writes_elsewhere), (False, True))

    def test_takes_over(self) -> None:
        """When the one that writes has ended the other goes on: no call is counted twice, and a gap is recorded."""
        turn = self.turn()
        self.successResultOf(self.counter.stopService())
        first, hears = self.begin(turn), self.manager
        hears.up()
        second = self.begin(self.turn())
        self.manager.up()
        for uniqueid in ("stays", "ends"):
            for manager in (hears, self.manager):
                manager.says("Newchannel", uniqueid, uniqueid)
        first.report(self.record("stays"))
        self.wait(3)
        hears.down()  # it has nothing to write any more
        self.wait(2)
        self.manager.says("Newchannel", "new", "new")
        self.manager.says("Hangup", "ends", "ends", Cause="17")
        self.wait(2)
        self.assertEqual(self.total(), (2, 0, 0))
        turn.leave()
        self.manager.says("Newchannel", "late", "late")  # not drained before it goes on
        self.manager.channels = [self.listed("stays"), self.listed("new"), self.listed("late")]
        self.wait(4)
        self.assertEqual((self.total(), second.writes_elsewhere, second.active), ((4, 0, 1), False, 3))
        ((began, ended),) = self.rows("SELECT began, ended FROM counter_gaps")
        self.assertTrue(NOW + 2 <= began < ended <= NOW + 9, (began, ended))
        self.manager.says("Hangup", "stays", "stays", Cause="17")
        self.wait(2)
        self.assertEqual(self.total(), (4, 0, 2))
        finished = "SELECT finished FROM counter_minutes WHERE kind = 'mapping' AND finished > 0"
        self.assertEqual(self.rows(finished), [(1,)])

    def test_take_over_while_the_database_is_away(self) -> None:
        """A gateway that cannot read what the other has counted tries again."""
        turn = self.turn()
        self.successResultOf(self.counter.stopService())
        self.begin(turn)
        second = self.begin(self.turn())
        self.manager.up()
        self.wait(1)
        self.store.away = True
        turn.leave()
        self.wait(3)
        self.assertTrue(second.writes_elsewhere)
        self.store.away = False
        self.wait(2)
        self.assertFalse(second.writes_elsewhere)

    def test_left_at_the_stop(self) -> None:
        """A gateway that is stopped leaves its turn after its last write."""
        first = self.begin(self.turn())
        self.manager.up()
        self.assertFalse(self.turn().take())
        self.successResultOf(first.stopService())
        again = self.turn()
        self.assertTrue(again.take())
        again.leave()

    def test_old_rows_go(self) -> None:
        """Rows older than the settings say are deleted."""
        storage.write(self.connection, Batch("x", {(NOW - 31 * 86400, *ALL): Counts(started=1)}))
        storage.write(self.connection, Batch("x", {(NOW - 6 * 86400, *ALL): Counts(started=1)}))
        self.wait(3601)
        self.assertEqual(self.total(), (1, 0, 0))
        self.counter.keep_days = 5
        self.wait(3600)
        self.assertEqual(self.total(), (0, 0, 0))

    # --- the times that are promised ---

    def test_written_every_second(self) -> None:
        """Counts are written one second after the last write."""
        self.manager.up()
        self.call()
        self.clock.advance(0.75)
        self.assertEqual(self.total(), (0, 0, 0))
        self.clock.advance(0.25)
        self.assertEqual(self.total(), (1, 0, 0))

    def test_asked_every_two_seconds(self) -> None:
        """Asterisk is asked for a sign of life every two seconds, and for its channels every three minutes."""
        self.manager.up()
        self.manager.asked.clear()
        self.wait(20)
        # Once it is asked how many calls it has, since no event of any has come.
        self.assertEqual(self.manager.asked, [*["Ping"] * 8, "CoreStatus", "Ping", "Ping"])
        self.wait(159)
        self.assertNotIn("CoreShowChannels", self.manager.asked)
        self.wait(1)
        self.assertEqual(self.manager.asked[-2:], ["CoreStatus", "CoreShowChannels"])
        self.manager.asked.clear()
        self.wait(179)
        self.assertNotIn("CoreShowChannels", self.manager.asked)

    def test_looks_do_not_overlap(self) -> None:
        """While a response is awaited nothing more is asked; afterwards asking goes on."""
        self.manager.up()
        self.manager.asked.clear()
        self.manager.hold.add("Ping")
        self.wait(10)
        self.assertEqual(self.manager.asked, ["Ping"])
        self.manager.hold.clear()
        self.manager.held.pop().callback(None)
        self.wait(4)
        self.assertEqual(self.manager.asked, ["Ping"] * 3)

    def test_old_rows_go_by_the_hour(self) -> None:
        """Rows older than thirty days are deleted, once an hour."""
        edge = NOW + 3600 - 30 * 86400
        for minute in (edge - 60, edge):
            storage.write(self.connection, Batch("x", {(minute, *ALL): Counts(started=1)}))
        self.wait(3599)
        self.assertEqual(self.total(), (2, 0, 0))
        self.wait(1)
        self.assertEqual(self.rows("SELECT minute FROM counter_minutes"), [(edge,)])

    # --- what is believed ---

    def test_list_of_a_lost_connection(self) -> None:
        """A list that was asked for before the connection was lost is not believed, nor after it is back."""
        for back in (False, True):
            self.manager.up()
            self.call()
            self.manager.hold.add("CoreShowChannels")
            self.manager.says("Shutdown")
            self.wait(2)
            self.manager.down()
            if back:
                self.manager.up()
            self.manager.hold.clear()
            held, self.manager.held = self.manager.held, []
            self.manager.channels = [self.listed("never")]
            for waiting in held:
                waiting.callback(None)
            self.assertEqual([call.linkedid for call in self.counter.live], ["a"])
            self.assertFalse(self.counter.in_sync)
            self.manager.channels = [self.listed("a")]
            self.manager.down()

    def test_connection_lost_while_a_long_list_is_read(self) -> None:
        """A long list is read in slices; one whose connection is lost between two of them is not believed."""
        self.manager.channels = [self.listed(f"a{number}") for number in range(2 * SLICE + 1)]
        self.manager.up()
        self.manager.down()
        self.clock.pump([0] * 5)
        self.assertEqual((list(self.counter.live), self.counter.in_sync), ([], False))
        self.manager.up()
        self.clock.pump([0] * 5)
        self.assertEqual((self.counter.active, self.counter.in_sync), (2 * SLICE + 1, True))

    def test_in_step_again_after_a_list_of_a_lost_connection(self) -> None:
        """After the connection is back, the new one is asked for its own list."""
        self.manager.hold.add("CoreShowChannels")
        self.manager.up()
        self.manager.down()
        self.manager.up()
        self.manager.hold.clear()
        self.manager.held.pop().callback(None)
        self.assertFalse(self.counter.in_sync)
        self.manager.channels = [self.listed("a")]
        self.wait(2)
        self.assertEqual((self.counter.in_sync, self.counter.active), (True, 1))

    def test_item_that_is_not_whole(self) -> None:
        """A listed channel without each header once may be forged, and is left out."""
        forged = AMIMessage(self.listed("a").raw + b"\r\nUniqueid: b")
        self.manager.channels = [forged, self.listed("c")]
        self.manager.up()
        self.assertEqual([call.linkedid for call in self.counter.live], ["c"])

    def test_listed(self) -> None:
        """What a list tells of a channel: how long it exists, its bridge, caller and number."""
        self.manager.channels = [
            self.listed("a", "01:02:03", BridgeId="b", CallerIDNum="33", Exten="22"),
            self.listed("c", "00:00:05", BridgeId="b"),
            self.listed("d", "garbage"),
            self.listed("e", "100000:00:00"),
            self.listed("f", "1:2:3"),
        ]
        self.manager.up()
        calls = {call.linkedid: call for call in self.counter.live}
        first = calls["a"]
        self.assertEqual((first.started, first.answered, first.caller, first.number), (NOW - 3723, NOW, "33", "22"))
        self.assertEqual((calls["d"].started, calls["d"].answered), (NOW, None))
        self.assertEqual((calls["e"].started, calls["f"].started), (NOW - 360_000_000, NOW))

    def test_events_at_their_own_time(self) -> None:
        """Events count at the time that Asterisk gives, a Hangup too."""
        self.manager.up()
        self.wait(10)
        for name, uniqueid, at, more in (
            ("Newchannel", "a", 1, {}),
            ("Newchannel", "b", 2, {}),
            ("BridgeEnter", "a", 3, {"BridgeUniqueid": "x"}),
            ("BridgeEnter", "b", 3.5, {"BridgeUniqueid": "x"}),
            ("Hangup", "a", 5.25, {}),
            ("Hangup", "b", 6, {}),
        ):
            self.manager.says(name, uniqueid, "a", Timestamp=f"{NOW + at}", **more)
        self.wait()
        # The talk ends when the first of the two hangs up.
        self.assertEqual(self.rows("SELECT talked, talk_seconds FROM counter_minutes"), [(1, 1.75)])

    def test_clock_of_asterisk(self) -> None:
        """If Asterisk's clock is an hour ahead its times are corrected; this is logged once for each change."""
        self.manager.timestamp = f"{NOW + 3600}"
        with capturedLogs() as logs:
            self.manager.up()
            self.manager.says("Newchannel", Timestamp=f"{NOW + 3600 - 120}")
            self.assertEqual([call.started for call in self.counter.live], [NOW - 120])
            for _ in range(5):
                self.clock.advance(2)
                self.manager.timestamp = f"{self.clock.seconds() + 3600}"
            self.assertEqual([log["ahead"] for log in logs if log["log_level"] >= LogLevel.warn], [3600.0])
            self.manager.timestamp = "garbage"
            self.wait(4)
            self.assertEqual(len([log for log in logs if log["log_level"] >= LogLevel.warn]), 1)
            for ahead in (0, 60):
                self.manager.timestamp = f"{self.clock.seconds() + 2 + ahead}"
                self.clock.advance(2)
            self.assertEqual([log["ahead"] for log in logs if log["log_level"] >= LogLevel.warn], [3600.0, 60.0])

    # --- Hangups ---

    def test_hangup_twice(self) -> None:
        """Two Hangups of a channel are one question and one end; Hangups are asked about together, in turn."""
        self.manager.up()
        for uniqueid in ("a", "b"):
            self.call(uniqueid)
        self.manager.asked.clear()
        self.manager.says("Hangup", "a", "a")
        self.clock.advance(CONFIRM_S / 2)
        self.manager.says("Hangup", "b", "b")
        self.manager.says("Hangup", "a", "a")
        self.assertEqual(self.manager.asked, [])
        self.clock.advance(CONFIRM_S / 2)
        self.assertEqual(self.manager.asked, ["Status", "Status"])
        self.assertEqual(self.counter.active, 0)
        self.wait()
        self.assertEqual(self.total(), (2, 0, 2))

    def test_hangup_later(self) -> None:
        """Hangups that come after a batch are asked about too."""
        self.manager.up()
        for uniqueid in ("a", "b"):
            self.call(uniqueid)
            self.manager.says("Hangup", uniqueid, uniqueid)
            self.assertEqual(self.counter.active, 1)
            self.clock.advance(0.1)
            self.assertEqual(self.counter.active, 0)

    def test_hangup_that_a_list_contradicts_for_now(self) -> None:
        """A Hangup whose channel is still listed is not counted by the list, but asked about."""
        self.manager.up()
        self.call()
        self.manager.channels = [self.listed("a")]
        self.wait(179)
        self.manager.hold.add("Status")
        self.manager.says("Hangup")
        self.clock.advance(1)  # the list comes
        self.assertEqual(self.counter.active, 1)
        self.manager.held.pop().callback(None)
        self.assertEqual(self.counter.active, 0)

    def test_hangup_confirmed_by_a_list(self) -> None:
        """A Hangup that a list confirms while Asterisk is asked counts once, at its own time and with its cause."""
        self.manager.up()
        self.call()
        self.wait(179)
        self.manager.hold.add("Status")
        self.manager.says("Hangup", Cause="17")
        self.clock.advance(1)
        self.assertEqual(self.counter.active, 0)
        self.manager.held.pop().callback(None)
        self.wait()
        self.assertEqual(self.total(), (1, 0, 1))
        self.assertEqual(self.rows("SELECT reason, calls FROM counter_failures"), [("busy", 1)])

    def test_hangup_confirmed_by_a_list_and_contradicted(self) -> None:
        """An answer that contradicts what a list has confirmed meanwhile changes nothing."""
        self.manager.up()
        self.call()
        self.wait(179)
        self.manager.alive = {"a"}
        self.manager.hold.add("Status")
        self.manager.says("Hangup")
        self.clock.advance(1)
        self.manager.hold.clear()
        self.manager.held.pop().callback(None)
        self.wait()
        self.assertEqual((self.counter.active, self.total()), (0, (1, 0, 1)))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_hangup_and_an_error(self) -> None:
        """If the question raises, that is logged, and the next list of channels decides."""
        self.manager.up()
        self.call()
        self.manager.error = ZeroDivisionError("on purpose")
        self.manager.says("Hangup")
        self.clock.advance(CONFIRM_S)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.manager.error = None
        self.assertEqual(self.counter.active, 1)

    def test_changes(self) -> None:
        """Each event that may change the calls in progress changes the number; a DialEnd and ignored events do not."""
        self.manager.up()

        def changed(tell: Callable[[], None]) -> bool:
            before = self.counter.changes
            tell()
            return self.counter.changes != before

        self.assertTrue(changed(self.call))
        self.assertFalse(changed(lambda: self.manager.says("DialEnd", DialStatus="BUSY")))
        self.assertTrue(changed(lambda: self.manager.says("BridgeEnter", BridgeUniqueid="b")))
        self.assertTrue(changed(lambda: self.manager.says("BridgeLeave", BridgeUniqueid="b")))
        self.assertFalse(changed(lambda: self.manager.says("Newchannel", "b", "b", "Uniqueid: c")))
        self.assertFalse(changed(lambda: self.manager.says("Hangup")))
        self.assertTrue(changed(lambda: self.clock.advance(CONFIRM_S)))
        before = self.counter.changes
        self.manager.down()
        self.assertFalse(changed(self.call))
        self.assertEqual(self.counter.changes, before)

    def test_changes_are_never_the_same_again(self) -> None:
        """The number never returns to an earlier value, so that changes are seen however rarely it is read."""
        seen = [self.counter.changes]
        for place in range(3):
            for change in (
                self.manager.up,
                lambda: self.call("b"),
                lambda: self.call("a"),
                lambda: self.manager.says("BridgeEnter", BridgeUniqueid="b"),
                lambda: self.manager.says("Hangup"),
                lambda: self.clock.advance(CONFIRM_S),
            ):
                self.manager.channels = [self.listed("b")] if place else []
                change()
                seen.append(self.counter.changes)
            self.clock.advance(100)
            self.manager.down()
        self.assertEqual(sorted(seen), seen)
        self.assertEqual(len(set(seen)), len(seen) - 3)  # a Hangup that is not confirmed yet is no change

    def test_dial_end(self) -> None:
        """A DialEnd lacks some headers of a channel, and still gives the reason of a failed call."""
        self.manager.up()
        self.call()
        self.manager.handlers["DialEnd"](message("Event", "DialEnd", Uniqueid="a", DialStatus="CANCEL"))
        self.manager.says("Hangup", Cause="16")
        self.wait()
        self.assertEqual(self.rows("SELECT reason FROM counter_failures"), [("cancelled",)])

    def test_subscribed(self) -> None:
        """The counter subscribes to these events."""
        self.assertEqual(
            set(self.manager.handlers),
            {"Newchannel", "BridgeEnter", "BridgeLeave", "Hangup", "DialBegin", "DialEnd", "Shutdown"}
            | {"HangupRequest", "SoftHangupRequest", "Rename", "LocalOptimizationBegin"},
        )

    # --- reports of the gateway that come early ---

    def labelled(self) -> list[str]:
        """The numbers of the extension 33's calls, by Linkedid."""
        return sorted(call.linkedid for call in self.counter.live if ("extension", "33") in call.labels)

    def test_early_report_is_kept_for_half_a_minute(self) -> None:
        """A report before the call's first event waits thirty seconds for it."""
        self.manager.up()
        self.counter.report(self.record("a"))
        self.counter.report(self.record("b"))
        self.wait(30)
        self.counter.report(self.record("z"))
        self.call("a")
        self.assertEqual(self.labelled(), ["a"])
        self.clock.advance(0.25)
        self.counter.report(self.record("z"))
        self.call("b")
        self.assertEqual(self.labelled(), ["a"])

    def test_early_report_waits_for_the_first_event_only(self) -> None:
        """Another event of the channel, whose first was missed, neither takes the report nor keeps it longer."""
        self.manager.up()
        self.counter.report(self.record("a"))
        self.wait(20)
        self.manager.says("BridgeEnter", "a", "a", BridgeUniqueid="x")
        self.wait(11)
        self.counter.report(self.record("z"))
        self.call("a")
        self.assertEqual(self.labelled(), [])

    def test_early_reports_are_bounded(self) -> None:
        """A thousand reports wait, and no more; one that is taken makes room."""
        self.manager.up()
        for place in range(1001):
            self.counter.report(self.record(f"c{place}"))
        for place in (999, 1000):
            self.call(f"c{place}")
        self.assertEqual(self.labelled(), ["c999"])
        self.counter.report(self.record("d"))
        self.call("d")
        self.assertEqual(self.labelled(), ["c999", "d"])

    def test_early_report_counts_once(self) -> None:
        """A report is used by the call's first event, once, with its outcome."""
        self.manager.up()
        self.counter.report(self.record("a"))
        self.call("a")
        (call,) = self.counter.live
        self.assertEqual(call.outcome, "BUSY")
        call.outcome = ""
        self.call("a")
        self.assertEqual(call.outcome, "")

    def test_early_report_of_a_call_that_began_unseen(self) -> None:
        """A report is also used by the list of channels."""
        self.manager.up()
        self.counter.report(self.record("a"))
        self.manager.channels = [self.listed("a")]
        self.manager.says("Shutdown")
        self.wait(2)
        self.assertEqual(self.labelled(), ["a"])

    # --- gaps and restarts ---

    def test_first_start_is_no_gap(self) -> None:
        """Before the first time nothing was to be counted; no gap and no restart are told."""
        self.wait(10)
        self.assertEqual(self.counter.unknown_s, 0)
        with capturedLogs() as logs:
            self.manager.up()
        self.assertEqual((self.counter.gaps, self.counter.restarts, self.counter.unknown_s), (0, 0, 0))
        self.assertEqual([log["log_format"] for log in logs if log["log_level"] >= LogLevel.info], [])

    def test_two_gaps(self) -> None:
        """Unknown times add up, also while one lasts; the end of each is logged, with its length."""
        self.manager.up()
        with capturedLogs() as logs:
            for expected in (10, 20):
                self.manager.down()
                self.clock.advance(10)
                self.assertEqual(self.counter.unknown_s, expected)
                self.manager.up()
                self.assertEqual(self.counter.unknown_s, expected)
        self.assertEqual(self.counter.gaps, 2)
        self.assertEqual([log["seconds"] for log in logs if log["log_level"] is LogLevel.info], [10, 10])
        self.wait()
        self.assertEqual(
            self.rows("SELECT began, ended FROM counter_gaps ORDER BY 1"), [(NOW, NOW + 10), (NOW + 10, NOW + 20)]
        )

    def test_lost_for_no_time(self) -> None:
        """A connection that is back at the same moment leaves no gap."""
        self.manager.up()
        self.manager.down()
        self.manager.up()
        self.wait()
        self.assertEqual((self.counter.gaps, self.rows("SELECT * FROM counter_gaps")), (0, []))

    def test_gap_of_a_stopped_gateway(self) -> None:
        """The time in which no gateway ran is a gap; calls that ended in it ended at its beginning."""
        row = storage.live_row(LiveCall("old", NOW - 900.0, NOW - 800.0, {"old"}))
        storage.write(self.connection, Batch("x", live={"old": row}, seen=NOW - 600))
        counter = self.begin()
        self.manager.up()
        self.wait()
        self.assertEqual((counter.gaps, counter.unknown_s, counter.active), (1, 600, 0))
        self.assertEqual(self.rows("SELECT began, ended FROM counter_gaps"), [(NOW - 600, NOW)])
        self.assertEqual(self.rows("SELECT minute, talk_seconds FROM counter_minutes"), [(NOW - 600, 200.0)])

    def test_clock_set_back(self) -> None:
        """If ``seen`` is in the future the clock was set back: there is no gap, and calls end now."""
        row = storage.live_row(LiveCall("old", NOW - 90.0, NOW - 60.0, {"old"}))
        storage.write(self.connection, Batch("x", live={"old": row}, seen=NOW + 600))
        counter = self.begin()
        self.wait()
        self.assertEqual(counter.unknown_s, 0)
        self.manager.up()
        self.wait()
        self.assertEqual((counter.gaps, counter.unknown_s), (0, 0))
        self.assertEqual(self.rows("SELECT * FROM counter_gaps"), [])
        self.assertEqual(self.rows("SELECT talk_seconds FROM counter_minutes"), [(61.0,)])

    def test_restart_while_no_gateway_ran(self) -> None:
        """A restart of Asterisk between two runs of the gateway is noticed; the same start time is none."""
        for started_up, restarts in (("2026-11-23 07:00:00", 0), ("2026-11-22 07:00:00", 1), ("", 0)):
            self.connection.execute("DELETE FROM counter_asterisks")
            self.connection.commit()
            storage.write(self.connection, Batch("x", seen=NOW, started_up=started_up))
            counter = self.begin()
            with capturedLogs() as logs:
                self.manager.up()
            self.assertEqual(counter.restarts, restarts)
            told = [log["when"] for log in logs if log["log_level"] >= LogLevel.info]
            self.assertEqual(told, ["2026-11-23 07:00:00"] * restarts)

    def test_never_told_when_started(self) -> None:
        """An Asterisk that does not tell when it was started has not restarted."""
        self.manager.startup = ""
        for startup in ("", "", "2026-11-23 07:00:00"):
            self.manager.startup = startup
            self.manager.up()
            self.manager.down()
        self.assertEqual(self.counter.restarts, 0)

    def test_peak_of_each_minute(self) -> None:
        """Calls in progress are in the peak of every minute in which they are known to go on, and of no other."""
        self.manager.up()
        self.call()
        self.wait(121)
        self.manager.down()
        self.wait(120)
        self.assertEqual(
            self.rows("SELECT minute, peak FROM counter_minutes"), [(NOW, 1), (NOW + 60, 1), (NOW + 120, 1)]
        )

    def test_written_while_the_connection_is_away(self) -> None:
        """What was counted before the loss is written though there is no connection."""
        self.manager.up()
        self.call()
        self.manager.down()
        self.wait()
        self.assertEqual(self.total(), (1, 0, 0))

    # --- what is said ---

    def warnings(self, logs: Sequence[dict[str, Any]]) -> list[str]:
        """The log lines above info."""
        return [log["why"] for log in logs if log["log_level"] >= LogLevel.warn]

    def test_missing_right_is_said_once(self) -> None:
        """A problem of counting is logged once, however often it occurs, and again after a success."""
        with capturedLogs() as logs:
            for place in range(2):
                self.manager.error = ActionFailed("CoreStatus: Permission denied")
                self.manager.up()
                self.wait(20)
                self.assertEqual(len(self.warnings(logs)), place + 1)
                self.assertIn("reporting", self.warnings(logs)[-1])
                self.manager.error = None
                self.wait(4)
                self.assertIsNone(self.counter.trouble)
                self.manager.down()

    def test_another_trouble_is_said_too(self) -> None:
        """Another reason is logged too."""
        with capturedLogs() as logs:
            self.manager.error = ActionFailed("CoreStatus: Permission denied")
            self.manager.up()
            self.wait(4)
            self.manager.error = ActionFailed("CoreStatus: out of order")
            self.wait(4)
        self.assertEqual(len(self.warnings(logs)), 2)

    def test_silence_is_not_said(self) -> None:
        """An Asterisk that misses one response, or whose connection is just lost, is no problem of counting."""
        self.manager.up()
        with capturedLogs() as logs:
            self.manager.error = ManagerError("silent")
            self.wait(10)
            self.manager.error = None
            self.manager.down()
            self.wait(10)
            self.manager.hold.add("Ping")
            self.manager.up()
            self.manager.down()
            self.manager.error = ManagerError("lost")
            self.manager.held.pop().errback(ManagerError("lost"))
        self.assertEqual(self.warnings(logs), [])
        self.assertIsNone(self.counter.trouble)

    def test_database_away_at_first_is_said_once(self) -> None:
        """A database that is away at the start is logged once."""
        self.store.away = True
        with capturedLogs() as logs:
            counter = self.begin()
            self.manager.up()
            self.wait(10)
            self.assertEqual(len(self.warnings(logs)), 1)
            self.assertIn("away", self.warnings(logs)[0])
            assert counter.trouble is not None
            self.assertIn("not counted: ", counter.trouble.english)
            self.store.away = False
            self.wait(4)
        self.assertIsNone(counter.trouble)
        self.assertEqual(len(self.warnings(logs)), 1)

    def test_restored_without_a_connection(self) -> None:
        """What an earlier run has left is restored without a connection, and Asterisk is not asked."""
        storage.write(
            self.connection,
            Batch("x", live={"old": storage.live_row(LiveCall("old", 1.0, channels={"old"}))}, seen=NOW),
        )
        counter = self.begin()
        self.assertEqual([call.linkedid for call in counter.live], ["old"])
        self.assertEqual((counter.in_sync, counter.active, self.manager.asked), (False, None, []))
        self.call("a")
        self.assertEqual(len(counter.live), 1)

    def test_listens_from_the_first_moment(self) -> None:
        """If the database answers only when there is a connection already, events count from then on."""
        self.store.slow = True
        counter = self.begin()
        self.manager.up()
        self.call("unheard")
        self.store.slow = False
        self.manager.hold.add("CoreShowChannels")
        self.store.held.pop(0).callback(None)
        self.call("heard")
        self.assertEqual([call.linkedid for call in counter.live], ["heard"])

    def test_error_in_a_look(self) -> None:
        """An unexpected exception is logged, and the next look is made."""
        self.manager.up()
        self.manager.error = ZeroDivisionError("on purpose")
        self.wait(2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.manager.error = None
        self.wait(2)
        self.assertEqual(self.rows("SELECT last_seen FROM counter_asterisks"), [(NOW + 4,)])

    def test_what_is_told(self) -> None:
        """The state has connection, forged events and database."""
        self.assertEqual((self.counter.is_connected, self.counter.forged_events), (False, 0))
        self.manager.up()
        self.manager.forged_events = 3
        self.assertEqual((self.counter.is_connected, self.counter.forged_events), (True, 3))
        self.assertEqual((self.counter.asterisk, self.counter.database_up), ("x", True))

    def test_stop_during_a_write(self) -> None:
        """What is counted while a write is under way is written at the stop, too."""
        self.manager.up()
        self.wait()
        self.call("a")
        self.store.slow = True
        self.wait(2)
        self.assertEqual(len(self.store.held), 1)
        self.call("b")
        stopped = self.counter.stopService()
        for waiting in self.store.held:
            waiting.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.total(), (2, 0, 0))

    def test_stop_waits_for_the_last_write(self) -> None:
        """Stopping ends when the last counts are written; Asterisk is not asked any more."""
        self.manager.up()
        self.wait()
        self.call()
        self.store.slow = True
        stopped = self.counter.stopService()
        self.assertNoResult(stopped)
        for waiting in self.store.held:
            waiting.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.total(), (1, 0, 0))
        self.manager.asked.clear()
        self.manager.down()
        self.manager.up()
        self.assertEqual((self.manager.asked, self.clock.getDelayedCalls()), ([], []))

    def test_stop_before_anything_was_restored(self) -> None:
        """A gateway that never could read the database does not write over what is there."""
        row = storage.live_row(LiveCall("old", 1.0, channels={"old"}))
        storage.write(self.connection, Batch("x", live={"old": row}, seen=NOW))
        self.store.away = True
        counter = self.begin()
        self.store.away = False
        self.successResultOf(counter.stopService())
        self.assertEqual(self.rows("SELECT linkedid FROM counter_live"), [("old",)])

    def test_stop(self) -> None:
        """Counts of the last moment are written."""
        self.manager.up()
        self.wait()
        self.call()
        self.successResultOf(self.counter.stopService())
        self.assertEqual(self.total(), (1, 0, 0))


class CommandTests(CommandTestCase):
    """The command `pbxrouter counter`."""

    def setUp(self) -> None:
        """Make a database in which the last minutes are known."""
        super().setUp()
        self.good("init")
        self.minute = int(time.time()) // 60 * 60 - 120
        counts = Counts(started=12, answered=9, finished=10, talked=8, talk_s=61.4, peak=4, failed={"busy": 2})
        self.batch("pbx", seen=self.minute - 7200)
        self.batch(
            "pbx",
            seen=time.time(),
            live={"a": storage.live_row(LiveCall("a", 1.0))},
            minutes={(self.minute, *ALL): counts, (self.minute, "mapping", "2X"): counts},
        )

    def batch(self, asterisk: str, **what: Any) -> None:
        """Write a batch of counts to the database."""
        with closing(database.connect(self.database)) as connection:
            storage.write(connection, Batch(asterisk, **what))

    def test_line(self) -> None:
        """The default is one line for Cacti: calls, answered, active first, then the rest."""
        line = self.good("counter", "--minutes", "5")
        self.assertRegex(
            line,
            r"\Acalls:12 answered:9 active:1 finished:10 failed:2 served:0 talk:61 peak:4 unseen:0 busy:2 ",
        )
        self.assertEqual(line.count("\n"), 1)
        for field in line.split():
            self.assertRegex(field, r"\A[a-z]{1,19}:(\d+|U)\Z")
        self.assertEqual(len({field.partition(":")[0] for field in line.split()}), len(line.split()))

    def test_unknown(self) -> None:
        """Unknown figures are U."""
        self.execute("UPDATE counter_asterisks SET last_seen = last_seen - 600")
        line = self.good("counter", "--minutes", "5")
        self.assertIn("calls:U answered:U active:U", line)
        self.assertIn("unseen:300", line)

    def test_never_counted(self) -> None:
        """A new database, and an Asterisk that was never reached, have no figures."""
        self.execute("DELETE FROM counter_asterisks")
        self.assertIn("calls:U", self.good("counter", "--minutes", "5"))
        self.write('database = "rules.sqlite"\n[[asterisk]]\nname = "new"\nsecret_file = "x"\n')
        self.assertIn("active:U", self.good("counter", "--asterisk", "new"))

    def test_taken_out(self) -> None:
        """An Asterisk that is no longer in the settings is asked for by name only."""
        self.write('database = "rules.sqlite"\n[[asterisk]]\nname = "new"\nsecret_file = "x"\n')
        self.assertIn("calls:U", self.good("counter", "--minutes", "5"))
        self.assertIn("calls:12", self.good("counter", "--minutes", "5", "--asterisk", "pbx"))
        self.assertIn("accepted is new, pbx", self.bad("counter", "--asterisk", "x"))

    def test_one_of_several_is_away(self) -> None:
        """One that is away makes the sum of minutes unknown; it hides neither the other's nor what a day has."""
        self.write(
            'database = "rules.sqlite"\n'
            + "".join(
                f'[[asterisk]]\nname = "{name}"\nsecret_file = "x"\nami = "tcp:127.0.0.1:{port}"\n'
                for name, port in (("pbx", 1), ("away", 2))
            )
        )
        self.batch("away", seen=self.minute - 7200)
        self.assertIn("calls:U answered:U active:U", self.good("counter", "--minutes", "5"))
        lines = self.good("counter", "--minutes", "5", "--by", "asterisk").splitlines()
        self.assertRegex(lines[0], r"\Apbx  calls:12 answered:9 active:1 .* unseen:0 busy:2 ")
        self.assertRegex(lines[1], r"\Aaway  calls:U answered:U active:U .* unseen:300 ")
        shown = json.loads(self.good("counter", "--minutes", "5", "--json"))
        self.assertEqual((shown["known"], shown["calls"]), (False, None))
        each = {name: (of_one["known"], of_one["calls"]) for name, of_one in shown["asterisks"].items()}
        self.assertEqual(each, {"pbx": (True, 12), "away": (False, None)})
        self.assertEqual(shown["asterisks"]["pbx"]["reasons"]["busy"], 2)
        if time.localtime().tm_hour * 60 + time.localtime().tm_min >= 3:
            self.assertIn("calls:12 ", self.good("counter", "--day"))

    def test_today(self) -> None:
        """Without a time the report is for today, the current minute included."""
        if time.localtime().tm_hour == 0 and time.localtime().tm_min < 3:
            return
        self.assertIn("calls:12 answered:9 active:1 ", self.good("counter"))

    def test_day(self) -> None:
        """For a day or week its known counts are shown; for unknown ones, U."""
        if time.localtime().tm_hour == 0 and time.localtime().tm_min < 3:
            return
        self.assertIn("calls:12 ", self.good("counter", "--day"))
        self.assertIn("calls:12 ", self.good("counter", "--week"))
        self.assertIn("calls:U ", self.good("counter", "--day", "2020-02-29"))
        self.assertIn("unseen:604800 ", self.good("counter", "--week", "2020-02-29"))

    def test_zone(self) -> None:
        """A day is one of the time zone of the settings."""
        self.write('database = "rules.sqlite"\n[web]\ntimezone = "Asia/Tokyo"\n')
        shown = json.loads(self.good("counter", "--asterisk", "pbx", "--day", "2020-02-29", "--json"))
        self.assertEqual((shown["began"], shown["ended"]), ("2020-02-29T00:00:00+09:00", "2020-03-01T00:00:00+09:00"))
        self.write('database = "rules.sqlite"\n[web]\ntimezone = "Mars/Base"\n')
        self.assertIn("web.timezone: accepted is", self.bad("counter"))

    def test_busiest(self) -> None:
        """--busiest lists the minutes with most calls."""
        lines = self.good("counter", "--minutes", "60", "--busiest", "3").splitlines()
        self.assertEqual(len(lines), 1)
        self.assertRegex(lines[0], r"\A\d{4}-\d\d-\d\d \d\d:\d\d  calls:12 answered:9 .* peak:4\Z")
        self.batch("pbx", gaps=[(self.minute, self.minute + 30)])
        self.assertIn("at least", self.good("counter", "--minutes", "60", "--busiest"))

    def test_by(self) -> None:
        """--by prints a line for each name."""
        self.assertRegex(self.good("counter", "--minutes", "5", "--by", "mapping"), r"\A2X  calls:12 answered:9 ")
        self.assertEqual(self.good("counter", "--by", "user"), "")

    def test_json(self) -> None:
        """--json has every minute."""
        shown = json.loads(self.good("counter", "--minutes", "5", "--json", "--busiest", "1"))
        self.assertEqual((shown["calls"], shown["active"], shown["known"]), (12, 1, True))
        self.assertEqual(shown["mappings"]["2X"]["reasons"], {"busy": 2})
        self.assertEqual(shown["reasons"]["busy"], 2)
        self.assertEqual(len(shown["minutes"]), 5)
        self.assertEqual(sum(report["calls"] for report in shown["minutes"]), 12)
        self.assertEqual(shown["busiest"][0]["calls"], 12)
        self.execute("UPDATE counter_asterisks SET last_seen = last_seen - 600")
        shown = json.loads(self.good("counter", "--minutes", "5", "--json"))
        self.assertEqual([report["calls"] for report in shown["minutes"]], [None] * 5)
        self.assertEqual(len(shown["gaps"]), 1)
        self.assertNotIn("minutes", json.loads(self.good("counter", "--json", "--week")))

    def test_refused(self) -> None:
        """Invalid options are refused."""
        self.assertIn("exclude each other", self.bad("counter", "--day", "--week"))
        self.assertIn("is not a date", self.bad("counter", "--day", "9999-12-31"))
        self.assertIn("is not a date", self.bad("counter", "--week", "0001-01-01"))
        self.assertIn("'x' is not a date", self.bad("counter", "--day", "x"))
        self.assertIn("0 is not in the range", self.bad("counter", "--minutes", "0"))
