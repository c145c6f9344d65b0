"""What a worker asks and reports, and what the main process's parts make of it; also when either is gone."""

from __future__ import annotations

from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi import AGIRequest, DialogueLine
from pbxrouter.alarms import Alarm
from pbxrouter.call import (
    ActiveCalls,
    CallRecord,
    GatewayOutcome,
    PinCalls,
    PinGuard,
    PinSource,
    Refusals,
    Reports,
)
from pbxrouter.call.active_calls import Phase
from pbxrouter.database.calls import CallRow
from pbxrouter.errors import ForgedRequest
from pbxrouter.security import Standing
from pbxrouter.security.guess_limits import FREE_GUESSES
from pbxrouter.text import sentence
from pbxrouter.workers import (
    FinishedCalls,
    MainParts,
    MainProcess,
    RemoteManager,
    RemotePinCalls,
    RemotePinGuard,
    ReportedCalls,
    Reporter,
    SharedWatch,
    WorkerWatch,
    send_alarm,
    send_line,
)
from pbxrouter.workers.worker_connection import WorkerConnection
from tests.workers.links import Wire
from tests.workers.test_codec import RECORD

NOW = 1_800_000_000.0


class FakeJournal:
    """A journal that keeps rows in a dict, as the parts of both processes use it."""

    outage = SimpleNamespace(away_since=None, trouble=None)

    def __init__(self) -> None:
        self.kept: dict[str, CallRow] = {}
        self.left: dict[str, Any] = {}
        self.taken_over: list[str] = []

    def finish(self, row: CallRow) -> CallRow:
        """Keep a row."""
        self.kept[row.call_key] = row
        return row

    def written(self, rows: list[CallRow]) -> None:
        """Forget rows."""
        for row in rows:
            self.kept.pop(row.call_key, None)

    def leave_to(self, key: str, written: Any) -> bool:
        """Note that a worker has it; as MainJournal."""
        was_left = key in self.left
        self.left[key] = written
        return was_left

    def take_over(self, row: CallRow) -> None:
        """Note a row that a worker hands over."""
        self.taken_over.append(row.call_key)


class FakeHistory:
    """A history that keeps rows in a list."""

    def __init__(self) -> None:
        self.rows: list[CallRow] = []

    def add(self, row: CallRow) -> None:
        """Take a row."""
        self.rows.append(row)


class FakeTalk:
    """Knows of one channel's talks."""

    def __init__(self) -> None:
        self.left: list[str] = []

    def talks_so_far(self, uniqueid: str, asterisk: str) -> int | None:
        """Two talks of one channel."""
        return 2 if (uniqueid, asterisk) == ("1.2", "office") else None

    def watch_left(self, row: CallRow) -> None:
        """Note a call that goes on."""
        self.left.append(row.call_key)


class FakeBoard:
    """The main process's signs of life.

    Attributes:
        beat_at: the last one.
    """

    beat_at = 0.0

    def last_beat(self, column: int) -> float:
        """The last one, of the main process."""
        return self.beat_at


class ConnectionCase(SynchronousTestCase):
    """A main process with real parts, and a worker's parts, on one connection in memory."""

    def setUp(self) -> None:
        """Connect the main process and the worker."""
        self.clock = Clock()
        self.records: list[CallRecord] = []
        self.alarms: list[Alarm] = []
        self.shown: list[DialogueLine] = []
        self.loaded = 0
        reports = Reports()
        reports.add(self.records.append)
        self.guard = PinGuard(None, (), lambda: NOW, self.alarms.append, self.clock.seconds)
        self.pin_calls = PinCalls(None, lambda: NOW)
        self.refusals = Refusals(reports, lambda: NOW, self.alarms.append)
        self.main_journal, self.main_history, self.talk = FakeJournal(), FakeHistory(), FakeTalk()
        self.proofs = SimpleNamespace(managers=[], is_complete=True)
        self.active, self.watch = ActiveCalls(), SharedWatch()
        self.parts = MainParts(
            reports,
            self.refusals,
            self.guard,
            self.pin_calls,
            self.proofs,  # type: ignore[arg-type]
            self.talk,  # type: ignore[arg-type]
            self.main_journal,  # type: ignore[arg-type]
            self.main_history,  # type: ignore[arg-type]
            self.active,
            self.watch,
            self.alarms.append,
            self.load_rules,
        )
        self.events: list[str] = []
        self.worker = WorkerConnection(
            2, self.parts, self.clock, lambda: self.events.append("ready"), lambda: self.events.append("lost")
        )
        self.worker.link.makeConnection(Wire())
        self.journal, self.history = FakeJournal(), FakeHistory()
        self.link = _worker_link(self)
        self.board = FakeBoard()
        self.main = MainProcess(self.link, self.board, self.clock, self.clock.seconds)  # type: ignore[arg-type]
        self.logged: list[CallRecord] = []
        self.finished = FinishedCalls(self.main, self.journal, self.history, self.logged.append)  # type: ignore[arg-type]

    async def load_rules(self) -> None:
        """Count that the rules were to be loaded."""
        self.loaded += 1

    def carry(self) -> None:
        """Carry what was sent, both ways, until nothing more is."""
        moved = True
        while moved:
            moved = False
            for one, other in ((self.worker.link, self.link), (self.link, self.worker.link)):
                one.flush()
                data = one.transport.value()
                one.transport.clear()
                if data:
                    other.dataReceived(data)
                    moved = True

    def run_in_worker(self, work: Coroutine[Deferred[Any], Any, Any]) -> Any:
        """Run a coroutine of the worker to its end."""
        done = Deferred.fromCoroutine(work)
        self.carry()
        return self.successResultOf(done)

    def freeze_main(self) -> None:
        """The main process stands still: it gives no sign of life, and reads nothing."""
        self.clock.advance(10)

    def cut(self) -> None:
        """The worker is gone."""
        self.worker.link.connectionLost(Failure(ConnectionDone()))


def _worker_link(case: ConnectionCase) -> Any:
    from pbxrouter.workers import Link

    link = Link(case.clock, {"written": lambda keys: case.finished.written(keys)}, lambda: None)
    link.makeConnection(Wire())
    return link


class ReportTests(ConnectionCase):
    """What a worker reports."""

    def test_ended(self) -> None:
        """A finished call reaches the reports as it was, with its talks; the worker keeps it until it is written."""
        self.link.tell("begun", "ab-1", "1.2", "office")
        self.finished.report(RECORD)
        self.carry()
        self.assertEqual(self.records, [RECORD])
        self.assertEqual((self.records[0].talks_before, self.records[0].key), (2, "ab-1"))
        self.assertEqual((list(self.journal.kept), self.finished.kept), (["ab-1"], 1))
        self.main_journal.left["ab-1"]("ab-1")
        self.worker.tell_written()
        self.carry()
        self.assertEqual((self.journal.kept, self.finished.kept), ({}, 0))

    def test_alone(self) -> None:
        """When the main process is gone, the worker logs and writes what that has not written, and what comes."""
        self.finished.report(RECORD)
        self.finished.be_alone()
        self.finished.report(RECORD)
        self.assertEqual([row.call_key for row in self.history.rows], ["ab-1", "ab-1"])
        self.assertEqual(self.logged, [RECORD])

    def test_handed_over(self) -> None:
        """A worker that ends hands over what is not written yet; if it cannot, it writes it."""
        self.finished.report(RECORD)
        self.board.beat_at = self.clock.seconds()
        stopped = self.finished.stopService()
        self.carry()
        self.successResultOf(stopped)
        self.assertEqual((self.main_journal.taken_over, self.journal.kept, self.history.rows), (["ab-1"], {}, []))
        self.finished.report(RECORD)
        self.freeze_main()
        self.successResultOf(self.finished.stopService())
        self.assertEqual([row.call_key for row in self.history.rows], ["ab-1"])

    def test_left_by_a_killed_worker(self) -> None:
        """Rows of a killed worker's journal reach the history, unless the main process has the call already."""
        rows = [
            CallRow(
                1.0, 2.0, "1.2", "33", "", "34", "", "", "", "", "", GatewayOutcome.UNKNOWN, "", None, "", call_key=key
            )
            for key in ("a", "b")
        ]
        self.main_journal.left["a"] = None
        self.finished.send(rows)
        self.carry()
        self.assertEqual(([row.call_key for row in self.main_history.rows], self.talk.left), (["b"], ["b"]))

    def test_refused(self) -> None:
        """A forged call is counted, recorded and told of as in the main process; so is one that names no call."""
        violation = ForgedRequest(sentence("a line too many: {line}", line="x"))
        violation.peer = "192.0.2.7"
        for variables in ({"uniqueid": "1.2"}, {}):
            self.finished.refused(AGIRequest(variables), violation)
        self.carry()
        self.assertEqual(self.refusals.total, 1)  # the other is counted by its record
        self.assertEqual([record.outcome.status for record in self.records], [GatewayOutcome.REFUSED])
        note = self.records[0].note
        assert note is not None
        self.assertIn("a line too many: x", note.english)
        self.assertIn("192.0.2.7", note.english)

    def test_calls_in_progress(self) -> None:
        """Calls that last are listed with the main process's own; they go when they end, or when the worker does."""
        calls = ReportedCalls()
        reporter = Reporter(self.link, calls, lambda: [5, 2, NOW, {"full": 1}, 2, 1, None], self.clock)
        one = calls.add(AGIRequest({"uniqueid": "1.1", "extension": "21"}), NOW)
        two = calls.add(AGIRequest({"uniqueid": "1.2"}), NOW)
        calls.remove(calls.add(AGIRequest({"uniqueid": "short"}), NOW))
        own = self.active.add(AGIRequest({"uniqueid": "own"}), NOW)
        self.run_in_worker(reporter.tell())
        self.assertEqual([call.uniqueid for call in self.active.calls], ["own", "1.1", "1.2"])
        self.assertEqual(len({call.serial for call in self.active.calls}), 3)
        version = self.active.version
        calls.set_phase(one, Phase.PIN)
        calls.remove(two)
        self.run_in_worker(reporter.tell())
        self.assertNotEqual(self.active.version, version)
        self.assertEqual([(call.uniqueid, call.phase) for call in self.active.calls][1:], [("1.1", Phase.PIN)])
        self.assertEqual((self.worker.figures.served, self.worker.figures.open_calls), (5, 2))
        self.cut()
        self.assertEqual(list(self.active.calls), [own])
        self.assertEqual((self.worker.figures.served, self.worker.figures.open_calls), (5, 0))
        self.assertEqual(self.events, ["lost"])

    def test_lines_and_alarms(self) -> None:
        """Watchers see the worker's dialogues, only those that they asked for; alarms are the main process's."""
        watch = WorkerWatch(lambda number, line: send_line(self.link, number, line))
        self.watch.changed = lambda: watch.follow(self.watch.wanted)
        stop = self.watch.add(self.shown.append, "33")
        watch.sent(AGIRequest({"callerid": "33", "uniqueid": "1"}), "ANSWER")
        watch.sent(AGIRequest({"callerid": "22", "uniqueid": "2"}), "ANSWER")
        send_alarm(self.link, Alarm("pin-attack", "text", {"peer": "x"}))
        self.carry()
        self.assertEqual([line.uniqueid for line in self.shown], ["1"])
        self.assertEqual(self.alarms, [Alarm("pin-attack", "text", {"peer": "x"})])
        watch.sent(AGIRequest({"callerid": "33"}), "ANSWER")
        stop()
        self.carry()
        self.assertEqual((len(self.shown), watch.active, self.watch.active), (1, False, False))

    def test_log(self) -> None:
        """Lines about calls are the same whoever writes them; others name the worker."""
        with capturedLogs() as captured:
            for namespace in ("pbxrouter.call.pin_guard.PinGuard", "pbxrouter.net.descriptors.DescriptorWatch"):
                self.link.tell("log", "warn", namespace, None, "a {line}")
            self.carry()
        self.assertEqual(
            [(event["log_namespace"], event["log_level"].name, event["log_text"]) for event in captured],
            [
                ("pbxrouter.call.pin_guard.PinGuard", "warn", "a {line}"),
                ("pbxrouter.net.descriptors.DescriptorWatch", "warn", "a {line} [worker 2]"),
            ],
        )

    def test_ready(self) -> None:
        """The owner is told when the worker takes calls."""
        self.link.tell("ready")
        self.carry()
        self.assertEqual((self.events, self.worker.is_ready), (["ready"], True))


class QuestionTests(ConnectionCase):
    """What a worker asks."""

    def setUp(self) -> None:
        """Add the worker's guard and its count of calls."""
        super().setUp()
        self.remote = RemotePinGuard(self.main, None, (), lambda: NOW, self.alarms.append, self.clock.seconds)
        self.counted = RemotePinCalls(self.main, None, lambda: NOW)
        self.request = AGIRequest({"channel": "PJSIP/33-00000001", "callerid": "33"})
        self.source = PinSource("PJSIP/33", "127.0.0.1", Standing.PROVEN)

    def wrong(self, guard: PinGuard) -> bool:
        """Key a wrong PIN; returns whether it was checked."""
        attempt = self.run_in_worker(guard.admit(self.request, 1, self.source))
        guard.wrong(attempt, self.request, "127.0.0.1", "34")
        self.carry()
        return bool(attempt.is_checked)

    def test_guesses_are_counted_together(self) -> None:
        """Wrong PINs in worker and main process count as if one had asked for all."""
        checked = [self.wrong(guard) for guard in (self.remote, self.guard) * FREE_GUESSES]
        self.assertEqual(sum(checked), FREE_GUESSES)
        self.assertEqual(self.guard.statistics.wrong, FREE_GUESSES)
        self.assertEqual((self.guard.statistics.lockouts, self.remote.statistics.wrong), (1, 0))

    def test_right(self) -> None:
        """A right PIN takes its guess back, in both."""
        for _ in range(FREE_GUESSES + 1):
            attempt = self.run_in_worker(self.remote.admit(self.request, 1, self.source))
            self.assertTrue(attempt.is_checked)
            self.run_in_worker(self.remote.right(attempt, "moises"))
            self.remote.give_up(attempt)

    def test_one_that_is_being_checked(self) -> None:
        """A PIN waits for one of another process that has the last guess; it is free if the worker is killed."""
        for _ in range(FREE_GUESSES - 1):
            self.wrong(self.guard)
        attempt = self.run_in_worker(self.remote.admit(self.request, 1, self.source))
        self.assertTrue(attempt.is_checked)
        waiting = Deferred.fromCoroutine(self.guard.admit(self.request, 1, self.source))
        self.assertNoResult(waiting)
        self.cut()
        self.assertFalse(self.successResultOf(waiting).is_checked)

    def test_frozen_main_process(self) -> None:
        """While the main process stands still the worker counts by itself; what it had asked is given up there."""
        asked = Deferred.fromCoroutine(self.remote.admit(self.request, 1, self.source))
        self.assertNoResult(asked)
        self.freeze_main()
        self.run_in_worker(self.main._look())
        attempt = self.successResultOf(asked)
        self.assertTrue(attempt.is_checked)
        self.remote.give_up(attempt)
        self.assertEqual(sum(self.guard._unfinished.values()), 0)
        checked = [self.wrong(self.remote) for _ in range(FREE_GUESSES + 1)]
        self.assertEqual(sum(checked), FREE_GUESSES - 1)

    def test_calls_of_a_pin(self) -> None:
        """A PIN's calls count in all processes together, until they end or their worker does."""
        self.assertTrue(self.run_in_worker(self.counted.begin("moises", 2)))
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(self.pin_calls.begin("moises", 2))))
        self.assertFalse(self.run_in_worker(self.counted.begin("moises", 2)))
        self.counted.end("moises")
        self.carry()
        self.assertTrue(self.run_in_worker(self.counted.begin("moises", 2)))
        self.cut()
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(self.pin_calls.begin("moises", 2))))

    def test_calls_of_a_pin_while_frozen(self) -> None:
        """A call that the main process is asked about too late does not count there."""
        asked = Deferred.fromCoroutine(self.counted.begin("moises", 1))
        self.freeze_main()
        self.run_in_worker(self.main._look())
        self.assertTrue(self.successResultOf(asked))
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(self.pin_calls.begin("moises", 1))))
        self.assertFalse(self.run_in_worker(self.counted.begin("moises", 1)))
        self.counted.end("moises")
        self.assertTrue(self.run_in_worker(self.counted.begin("moises", 1)))

    def test_channels(self) -> None:
        """Asterisk is asked through the main process; one that it does not have, or no answer, is None."""
        asked: list[Any] = []

        class Manager:
            peer = "192.0.2.7"
            name = "office"

            def action_list(self, *given: Any) -> Deferred[list[Any]]:
                asked.append(given)
                return succeed([SimpleNamespace(all=lambda name: ["PBXROUTER_PROOF=abc"])])

        self.proofs.managers = [Manager()]
        self.assertEqual(self.worker.asterisks, [[["office", "192.0.2.7"]], True])
        manager = RemoteManager(self.main, 0, "office", "192.0.2.7")
        question = RemoteManager.has_variable(manager, "123.4", "PBXROUTER_PROOF", "abc")
        self.assertEqual((self.run_in_worker(question), len(asked)), (True, 1))
        other = RemoteManager(self.main, 1)
        self.assertIsNone(self.run_in_worker(RemoteManager.has_variable(other, "123.4", "PBXROUTER_PROOF", "abc")))
        self.freeze_main()
        self.assertIsNone(self.run_in_worker(RemoteManager.has_variable(manager, "123.4", "PBXROUTER_PROOF", "abc")))

    def test_rules(self) -> None:
        """A change by a worker's caller has the rules loaded everywhere."""
        self.run_in_worker(self.main.ask("load_rules"))
        self.assertEqual(self.loaded, 1)
