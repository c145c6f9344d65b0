"""The health of the gateway, as its parts report it, and its sentences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import __version__
from pbxrouter.agi.channel import Channel
from pbxrouter.agi.dialogue_watch import DialogueWatch
from pbxrouter.ami.connection import AMIConnection
from pbxrouter.call import CallJournal
from pbxrouter.call.history_writer import MAX_QUEUED, HistoryWriter
from pbxrouter.counter.service import CallCounter
from pbxrouter.errors import StoreError
from pbxrouter.fastagi.server import FastAGIFactory
from pbxrouter.health import NO_ACCOUNT, WRITES_ELSEWHERE, AsteriskHealth, Health, HealthProbe
from pbxrouter.magi import Claims
from pbxrouter.net import DescriptorWatch, QueueFigures
from pbxrouter.rules.engine import RulesEngine
from pbxrouter.rules.reloader import RulesReloader
from pbxrouter.rules.ruleset import RuleSet
from pbxrouter.simulator import SimulatedAsterisk, SimulatedCall
from pbxrouter.text.sentences import Sentence, sentence
from tests.call.test_history_writer import record
from tests.fakes import AsteriskEnd, workshop_rules

NOW = 1_800_000_000.0


class FakeStore:
    """A database that is available or not."""

    def __init__(self) -> None:
        self.away = True

    def run(self, work: Any) -> Deferred[Any]:
        """Run nothing, or fail while the database is away."""
        return self._answer([])

    def load_rules(self) -> Deferred[RuleSet]:
        """The workshop's rules, or a failure while the database is away."""
        return self._answer(workshop_rules())

    def version(self) -> Deferred[tuple[int, ...]]:
        """The version of the rules, or a failure while the database is away."""
        return self._answer((1,))

    def _answer(self, value: Any) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        if self.away:
            return fail(StoreError(sentence("database {path} is locked", path="x.db")))
        answer.callback(value)
        return answer


class FakeDisk:
    """Does work at once, or fails."""

    def __init__(self) -> None:
        self.broken = False

    def run(self, work: Any) -> Deferred[Any]:
        """Do blocking work at once, in place of a thread."""
        return fail(OSError("broken")) if self.broken else succeed(work())


class FakeAMIConnection:
    """The part of AMIConnection that a Health reads."""

    is_up = True
    since: float | None = NOW
    trouble: Sentence | None = None


class FakeCounter:
    """The part of CallCounter that a Health reads."""

    asterisk = "lab"
    in_sync = True
    active: int | None = 3
    unknown_s = 1.5
    restarts = 1
    database_up = True
    writes_elsewhere = False
    trouble: Sentence | None = None
    queue = QueueFigures("counter lab", 0)


@dataclass
class FakeClaims:
    """The part of Claims that a Health reads."""

    standing_by: int
    notes: list[Sentence]


class HealthCase(SynchronousTestCase):
    """Has a gateway's parts, real but for the database and AMI."""

    def setUp(self) -> None:
        """The database is away, AMI is connected."""
        self.clock = Clock()
        self.clock.advance(NOW)
        self.set_by_s = 0.0
        self.store = FakeStore()
        self.engine = RulesEngine({"dial"})
        self.reloader = RulesReloader(self.store, self.engine, self.clock, self.clock.seconds)
        self.history = HistoryWriter(self.store, 90, self.clock, self.clock.seconds)
        self.fastagi = FastAGIFactory(self.serve, self.clock, DialogueWatch(), now=self.clock.seconds)
        self.manager, self.counter = FakeAMIConnection(), FakeCounter()
        self.free = 100
        self.descriptors = DescriptorWatch(self.clock, self.clock.seconds, lambda: self.free)
        self.look = HealthProbe(
            [("lab", cast(AMIConnection, self.manager)), ("bare", None)],
            [cast(CallCounter, self.counter)],
            self.engine,
            self.reloader,
            self.history,
            "tcp:4573",
            self.fastagi,
            lambda: self.clock.seconds() + self.set_by_s,
            self.clock.seconds,
            self.descriptors,
        )
        self.ends: list[Deferred[None]] = []

    async def serve(self, channel: Channel) -> None:
        """Serve a call until the test ends it."""
        self.ends.append(Deferred())
        await self.ends[-1]

    def refresh(self) -> None:
        """Poll the rules for changes."""
        self.successResultOf(Deferred.fromCoroutine(self.reloader.poll()))

    def write(self) -> None:
        """Write what is queued."""
        self.successResultOf(Deferred.fromCoroutine(self.history.write()))


class UptimeTests(HealthCase):
    """The time since the start."""

    def test_clock_set(self) -> None:
        """It is right after the system's clock was set, too."""
        self.clock.advance(100)
        for step_s in (3600.0, -7200.0):
            self.set_by_s += step_s
            health = self.look()
            self.assertEqual((health.uptime_s, health.now), (100.0, NOW + 100 + self.set_by_s))


class DatabaseTests(HealthCase):
    """The health of rules, history and counts."""

    def test_before_the_first_rules(self) -> None:
        """Before the first rules the state is unknown, which becomes a problem later."""
        database = self.look().database
        self.assertEqual((database.state, database.sentence.english), ("plain", "loading the rules"))
        self.refresh()
        database = self.look().database
        self.assertEqual((database.state, database.rules_away_since), ("bad", NOW))
        self.assertEqual(database.sentence.english, "cannot be read; no call is taken until the rules are loaded")
        assert database.trouble is not None
        self.assertEqual(database.trouble.english, "database x.db is locked")

    def test_rules_away(self) -> None:
        """An outage of the rules has its time, and ends when they can be read."""
        self.store.away = False
        self.refresh()
        self.assertEqual((self.look().database.state, self.look().database.trouble), ("good", None))
        self.store.away = True
        self.clock.advance(5)
        self.refresh()
        self.clock.advance(5)
        self.refresh()
        database = self.look().database
        self.assertEqual((database.rules_away_since, database.has_rules), (NOW + 5, True))
        self.assertEqual(database.sentence.english, "cannot be read; the last rules stay in force")
        self.store.away = False
        self.refresh()
        self.assertEqual(self.look().database.rules_away_since, None)

    def test_history_away(self) -> None:
        """Calls that wait to be written, and calls that are lost, are counted, also after the outage."""
        self.store.away = False
        self.refresh()
        self.store.away = True
        for _ in range(MAX_QUEUED + 2):
            self.history.report(record())
        self.write()
        self.clock.advance(3)
        self.write()
        database = self.look().database
        self.assertEqual((database.history_away_since, database.queued, database.lost), (NOW, MAX_QUEUED, 2))
        self.assertEqual(
            (database.state, database.sentence.english), ("bad", "calls cannot be saved; 20000 wait in memory")
        )
        self.store.away = False
        self.write()
        database = self.look().database
        self.assertEqual(
            (database.history_away_since, database.queued, database.lost, database.state),
            (None, 0, 2, "good"),
        )

    def test_journal(self) -> None:
        """The journal's calls and length are named, and that it cannot be written."""
        self.store.away = False
        self.refresh()
        aside = FakeDisk()
        self.history.journal = journal = CallJournal(Path(self.mktemp()).absolute() / "x.db", lambda: NOW, aside.run)
        journal._database.parent.mkdir()
        journal.open()
        self.addCleanup(lambda: Deferred.fromCoroutine(journal.close()))
        self.store.away = True
        for _ in range(3):
            self.history.report(record())
        self.write()
        database = self.look().database
        self.assertEqual((database.journal_calls, database.journal_bytes), (3, journal.size))
        self.assertEqual(
            (database.state, database.sentence.english), ("bad", "calls cannot be saved; 3 wait in the journal")
        )
        aside.broken = True
        with capturedLogs():
            Deferred.fromCoroutine(journal.sync())
        self.assertEqual(self.look().database.sentence.english, "calls cannot be saved; 3 wait in memory")
        self.store.away = False
        self.write()
        database = self.look().database
        self.assertEqual(
            (database.state, database.sentence.english, database.journal_away_since, database.trouble),
            ("bad", "calls are saved, but their journal cannot be written", NOW, sentence("{text}", text="broken")),
        )
        aside.broken = False
        Deferred.fromCoroutine(journal.sync())
        self.assertEqual(self.look().database.state, "good")

    def test_reading_breaks(self) -> None:
        """An unexpected error while the rules are read counts as an outage."""

        def broken() -> Any:
            raise ZeroDivisionError("on purpose")

        self.store.version = broken  # type: ignore[method-assign]
        self.refresh()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.look().database.rules_away_since, NOW)

    def test_counts(self) -> None:
        """Counts that cannot be written are a problem."""
        self.store.away = False
        self.refresh()
        self.counter.database_up = False
        self.assertEqual(self.look().database.state, "bad")
        self.assertIn("call counts", self.look().database.sentence.english)


class AsteriskTests(HealthCase):
    """The health of the connections to AMI."""

    def lab(self) -> AsteriskHealth:
        """The health of the first Asterisk."""
        return self.look().asterisks[0]

    def test_well(self) -> None:
        """A good Asterisk is connected, with its calls known."""
        lab = self.lab()
        self.assertEqual((lab.name, lab.up, lab.since, lab.active), ("lab", True, NOW, 3))
        self.assertEqual((lab.unknown_s, lab.restarts, lab.trouble), (1.5, 1, None))
        self.assertEqual((lab.state, lab.sentence.english), ("good", "connected; calls are synchronised"))

    def test_down(self) -> None:
        """An Asterisk that is away has the reason, and nothing about its calls."""
        self.manager.is_up, self.manager.trouble = False, Sentence("no answer")
        self.counter.trouble = Sentence("another")
        lab = self.lab()
        self.assertEqual((lab.state, lab.active, lab.in_sync), ("bad", None, False))
        self.assertEqual((lab.sentence.english, lab.trouble), ("no connection", Sentence("no answer")))

    def test_not_in_sync(self) -> None:
        """Unknown calls right after the connection are no problem, unless an error was found."""
        self.counter.in_sync, self.counter.active = False, None
        self.assertEqual((self.lab().state, self.lab().sentence.english), ("plain", "connected; synchronising calls"))
        self.counter.trouble = Sentence("not permitted")
        self.assertEqual((self.lab().state, self.lab().trouble), ("bad", Sentence("not permitted")))

    def test_other_gateways(self) -> None:
        """What is worth knowing of other gateways is told, and makes nothing bad."""
        self.counter.writes_elsewhere = True
        lab = self.lab()
        self.assertEqual((lab.state, lab.standing_by, lab.notes), ("good", 0, (WRITES_ELSEWHERE,)))
        self.counter.writes_elsewhere = False
        claims = FakeClaims(1, [Sentence("stands by")])
        self.look = HealthProbe(
            [("lab", cast(AMIConnection, self.manager))],
            [cast(CallCounter, self.counter)],
            self.engine,
            self.reloader,
            self.history,
            "tcp:4573",
            self.fastagi,
            self.clock.seconds,
            self.clock.seconds,
            claims={"lab": cast(Claims, claims)},
        )
        lab = self.lab()
        self.assertEqual((lab.state, lab.standing_by, lab.notes), ("good", 1, (Sentence("stands by"),)))

    def test_no_account(self) -> None:
        """An Asterisk without a secret file is named, too."""
        bare = self.look().asterisks[1]
        self.assertEqual((bare.name, bare.up, bare.since, bare.trouble), ("bare", False, None, NO_ACCOUNT))


class WholeTests(HealthCase):
    """The health of FastAGI, and of the whole gateway."""

    def begin(self) -> AsteriskEnd:
        """Begin a call."""
        protocol = self.fastagi.buildProtocol(None)
        assert protocol is not None
        end = AsteriskEnd(protocol)
        end.says(SimulatedAsterisk(SimulatedCall("21", caller="33")).environment())
        return end

    def test_fastagi(self) -> None:
        """Calls are counted when they open."""
        fastagi = self.look().fastagi
        self.assertEqual(
            (fastagi.state, fastagi.sentence.english), ("plain", "does not listen until the rules are loaded")
        )
        self.store.away = False
        self.refresh()
        fastagi = self.look().fastagi
        self.assertEqual((fastagi.listen, fastagi.open_calls, fastagi.served), ("tcp:4573", 0, 0))
        self.assertEqual(sum(fastagi.refused.values()), 0)
        self.assertEqual((fastagi.last_call, fastagi.sentence.english), (None, "no call received yet"))
        first = self.begin()
        self.clock.advance(2)
        self.begin()
        first.goes()
        fastagi = self.look().fastagi
        self.assertEqual((fastagi.open_calls, fastagi.served, fastagi.last_call), (1, 2, NOW + 2))
        self.assertEqual((fastagi.state, fastagi.sentence.english), ("good", "receiving calls"))
        self.free = 0
        self.successResultOf(Deferred.fromCoroutine(self.descriptors.look()))
        fastagi = self.look().fastagi
        self.assertEqual(fastagi.state, "bad")
        self.assertIn("file descriptors are in use: new calls are closed at once", fastagi.sentence.english)
        for end in self.ends:
            end.callback(None)

    def test_all(self) -> None:
        """The worst severity of the parts, with version and uptime."""
        self.clock.advance(60)
        health = self.look()
        self.assertEqual((health.version, health.started, health.uptime_s), (__version__, NOW, 60))
        self.assertEqual((health.state, health.sentence.english), ("bad", "there are problems"))
        well = Health("1", NOW, NOW - 5, health.asterisks[:1], health.database, health.fastagi)
        self.assertEqual((well.state, well.sentence.english), ("plain", "not ready yet"))
        self.assertEqual(well.uptime_s, 0)
        self.store.away = False
        self.refresh()
        well = Health("1", NOW, NOW, well.asterisks, self.look().database, self.look().fastagi)
        self.assertEqual((well.state, well.sentence.english), ("good", "no problems"))

    def test_queues(self) -> None:
        """Each queue has its figures; one that lags makes the whole bad, one that has lost anything does not."""
        self.history.report(record(began=NOW - 20))
        self.clock.advance(5)
        history, counter = self.look().queues
        self.assertEqual((history, counter), (QueueFigures("history", 1, 18.0), self.counter.queue))
        self.assertEqual((history.state, counter.state), ("good", "good"))
        self.assertEqual(counter.sentence.english, "nothing waits")
        self.clock.advance(13)
        self.assertEqual([queue.state for queue in self.look().queues], ["bad", "good"])
        self.store.away = False
        self.refresh()
        self.write()
        health = self.look()
        parts = (health.asterisks[:1], health.database, health.fastagi)
        for queue, state, said in (
            (QueueFigures("x", 5, 30.0), "good", "5 waiting, the oldest for 30 s"),
            (QueueFigures("x", 5, 30.1), "bad", "5 waiting, the oldest for 30 s"),
            (QueueFigures("x", 0, 0.0, 1, 2), "good", "1 set aside, 2 lost"),
        ):
            self.assertEqual(Health("1", NOW, NOW, *parts, (queue,)).state, state)
            self.assertEqual(queue.sentence.english, said)
