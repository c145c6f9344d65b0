"""Alarm delivery: queues and attempts, on a fake clock."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.alarms import Alarm
from pbxrouter.alarms.delivery import BACK_OFF_S, MAX_QUEUED, QUIET_S, AlarmService
from pbxrouter.alarms.message import Notice
from pbxrouter.errors import AlarmFailed
from pbxrouter.net import QueueFigures


class FakeTarget:
    """A target that answers when the test says so."""

    name = "webhook alarms.example.org"

    def __init__(self) -> None:
        self.asked: list[Notice] = []
        self.running: Deferred[None] = Deferred()

    def deliver(self, notice: Notice) -> Deferred[None]:
        """Keep the alarm; the test fires the Deferred."""
        self.asked.append(notice)
        self.running = Deferred()
        return self.running


class DeliveryTests(SynchronousTestCase):
    """An alarm service with a single target."""

    def setUp(self) -> None:
        """Start the service without an alarm."""
        self.clock = Clock()
        self.target = FakeTarget()
        self.service = AlarmService([self.target], self.clock, self.clock.seconds)
        self.service.startService()

    def raise_alarm(self, kind: str = "test") -> None:
        """Put an alarm of a kind into the queue."""
        self.service.raise_alarm(Alarm(kind, "a text"))

    def kinds(self) -> list[str]:
        """The kinds of the alarms that the target was asked to deliver."""
        return [notice.alarm.kind for notice in self.target.asked]

    def test_back_off(self) -> None:
        """A failed attempt is made again with the same id, later each time, and given up at last; the log names it."""
        self.raise_alarm()
        with capturedLogs() as logs:
            for seconds in BACK_OFF_S:
                self.target.running.errback(AlarmFailed("it answered with status 500"))
                asked = len(self.target.asked)
                self.clock.advance(seconds - 0.1)
                self.assertEqual(len(self.target.asked), asked)
                self.clock.advance(0.1)
                self.assertEqual(len(self.target.asked), asked + 1)
            self.target.running.errback(AlarmFailed("it answered with status 500"))
        self.assertEqual(len({notice.number for notice in self.target.asked}), 1)
        lines = [log["log_format"].format(**log) for log in logs if log["log_level"] is LogLevel.error]
        self.assertEqual(len(lines), len(BACK_OFF_S) + 1)
        self.assertIn("webhook alarms.example.org: test ", lines[0])
        self.assertIn("it answered with status 500; next attempt in 2 s", lines[0])
        self.assertIn("given up", lines[-1])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.raise_alarm("other")
        self.assertEqual(self.kinds()[-1], "other")

    def test_figures(self) -> None:
        """The queue's length, the age of its oldest, and what was dropped or given up."""
        name = f"alarms {self.target.name}"
        self.assertEqual(self.service.queues, [QueueFigures(name, 0)])
        for place in range(MAX_QUEUED + 2):
            self.raise_alarm(f"kind {place}")
        self.clock.advance(1.5)
        self.assertEqual(self.service.queues, [QueueFigures(name, MAX_QUEUED, 1.5, 0, 2)])
        for seconds in (*BACK_OFF_S, 0.0):
            self.target.running.errback(AlarmFailed("away"))
            self.clock.advance(seconds)
        (figures,) = self.service.queues
        self.assertEqual((figures.length, figures.lost), (MAX_QUEUED - 1, 3))

    def test_one_after_the_other(self) -> None:
        """The next alarm waits until the previous one is delivered; a target's bug is logged and stops nothing."""
        self.raise_alarm("a")
        self.raise_alarm("b")
        self.assertEqual(self.kinds(), ["a"])
        self.target.running.callback(None)
        self.clock.advance(0)
        self.assertEqual(self.kinds(), ["a", "b"])
        self.target.running.errback(ValueError("a bug"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.clock.advance(BACK_OFF_S[0])
        self.assertEqual(self.kinds(), ["a", "b", "b"])

    def test_quiet(self) -> None:
        """Further alarms of a kind are counted; the next one that is sent has their number, the one after it none."""
        for _ in range(4):
            self.raise_alarm()
        self.target.running.callback(None)
        self.assertEqual(len(self.target.asked), 1)
        self.clock.advance(QUIET_S)
        self.raise_alarm()
        self.assertEqual([notice.suppressed for notice in self.target.asked], [0, 3])
        self.target.running.callback(None)
        self.clock.advance(QUIET_S)
        self.raise_alarm()
        self.assertEqual([notice.suppressed for notice in self.target.asked], [0, 3, 0])

    def test_quiet_of_each_kind(self) -> None:
        """Each kind of alarm has its own quiet time, which begins with the alarm that was sent."""
        self.raise_alarm("a")
        self.clock.advance(QUIET_S - 1)
        self.raise_alarm("a")
        self.raise_alarm("b")
        self.target.running.callback(None)
        self.clock.advance(1)
        self.raise_alarm("a")
        self.target.running.callback(None)
        self.clock.advance(0)
        self.assertEqual([(n.alarm.kind, n.suppressed) for n in self.target.asked], [("a", 0), ("b", 0), ("a", 1)])

    def test_clock_set_back(self) -> None:
        """After the system clock is set back alarms are still sent."""
        now = 1_000_000.0
        service = AlarmService([self.target], self.clock, lambda: now)
        service.raise_alarm(Alarm("test", "a text"))
        self.target.running.callback(None)
        now -= 86_400.0
        service.raise_alarm(Alarm("test", "a text"))
        self.assertEqual([notice.raised_at for notice in self.target.asked], [1_000_000.0, now])
        service.raise_alarm(Alarm("test", "a text"))
        self.target.running.callback(None)
        now += QUIET_S
        service.raise_alarm(Alarm("test", "a text"))
        self.assertEqual([notice.suppressed for notice in self.target.asked], [0, 0, 1])

    def test_bounded(self) -> None:
        """When too many alarms wait the oldest are dropped and logged, but not the one being delivered."""
        with capturedLogs() as logs:
            for number in range(MAX_QUEUED + 2):
                self.raise_alarm(f"k{number}")
        said = [log["log_format"].format(**log) for log in logs if log["log_level"] is LogLevel.error]
        self.assertEqual(
            [line.rpartition(" ")[0] for line in said],
            [f"alarms: webhook alarms.example.org: too many wait; dropped {kind}" for kind in ("k1", "k2")],
        )
        self.target.running.errback(AlarmFailed("it answered with status 500"))
        self.clock.advance(BACK_OFF_S[0])
        self.assertEqual(self.kinds(), ["k0", "k0"])
        for _ in range(MAX_QUEUED):
            self.target.running.callback(None)
            self.clock.advance(0)
        self.assertEqual(self.kinds()[1:], ["k0", *(f"k{number}" for number in range(3, MAX_QUEUED + 2))])

    def test_other_targets(self) -> None:
        """What waits still goes to the former target, what is raised later to the new one; a stop ends both."""
        self.raise_alarm("one")
        self.raise_alarm("two")
        other = FakeTarget()
        self.service.set_targets([other])
        self.raise_alarm("three")
        self.target.running.callback(None)
        self.clock.advance(0)
        self.assertEqual(self.kinds(), ["one", "two"])
        self.assertEqual([notice.alarm.kind for notice in other.asked], ["three"])
        with capturedLogs() as logs:
            self.successResultOf(self.service.stopService())
        self.assertEqual(sum("was not delivered: the gateway stops" in event["log_format"] for event in logs), 2)

    def test_former_targets(self) -> None:
        """A former target with nothing to deliver is forgotten."""
        self.raise_alarm()
        self.target.running.callback(None)
        other = FakeTarget()
        self.service.set_targets([other])
        self.raise_alarm("three")
        other.running.callback(None)
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.kinds(), ["test"])

    def test_stopped(self) -> None:
        """Stopping cancels the attempt, logs alarms that wait as not delivered, and ignores later ones."""
        self.raise_alarm("a")
        self.raise_alarm("z")
        with capturedLogs() as logs:
            self.successResultOf(self.service.stopService())
        said = [log["log_format"].format(**log) for log in logs if log["log_level"] is LogLevel.error]
        for line, kind in zip(said, "az", strict=True):
            self.assertRegex(line, rf": {kind} \w+ was not delivered: the gateway stops$")
        self.assertTrue(self.target.running.called)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.raise_alarm("b")
        self.assertEqual(self.kinds(), ["a"])
