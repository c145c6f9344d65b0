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


class FakeTarget:
    """A target that answers when the test says so."""

    name = "webhook alarms.example.org"

    def __init__(self) -> None:
        self.asked: list[Notice] = []
        self.running: Deferred[None] = Deferred()

    def deliver(self, notice: Notice) -> Deferred[None]:
        """See targets.Target."""
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
        """Raise an alarm."""
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
        """Further alarms of a kind are counted; the next one that is sent has their number."""
        for _ in range(4):
            self.raise_alarm()
        self.target.running.callback(None)
        self.assertEqual(len(self.target.asked), 1)
        self.clock.advance(QUIET_S)
        self.raise_alarm()
        self.assertEqual([notice.suppressed for notice in self.target.asked], [0, 3])

    def test_bounded(self) -> None:
        """When too many alarms wait the oldest are dropped, but not the one that is being delivered."""
        for number in range(MAX_QUEUED + 2):
            self.raise_alarm(f"k{number}")
        for _ in range(MAX_QUEUED):
            self.target.running.callback(None)
            self.clock.advance(0)
        self.assertEqual(self.kinds(), ["k0", *(f"k{number}" for number in range(3, MAX_QUEUED + 2))])

    def test_stopped(self) -> None:
        """Stopping cancels the attempt and leaves nothing behind; later alarms are ignored."""
        self.raise_alarm("a")
        self.successResultOf(self.service.stopService())
        self.assertTrue(self.target.running.called)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.raise_alarm("b")
        self.assertEqual(self.kinds(), ["a"])
