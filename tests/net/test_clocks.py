"""Monotonic time for the reactor, and the notice of a clock that was set."""

from __future__ import annotations

from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.net.clocks import LOOK_EVERY_S, ClockSteps, ClockWatch, use_monotonic_time


class MonotonicTime(SynchronousTestCase):
    """use_monotonic_time, with a reactor that does not run."""

    def setUp(self) -> None:
        """A reactor on a wall clock that the test sets, and its timers."""
        self.wall, self.monotonic = 1_800_000_000.0, 5000.0
        self.fired: list[str] = []
        self.reactor: Any = SelectReactor()
        self.reactor.running = True
        self.addCleanup(self.reactor.removeAll)
        self.reactor.seconds = lambda: self.wall
        self.early: DelayedCall = self.reactor.callLater(20, self.fired.append, "early")
        use_monotonic_time(self.reactor, lambda: self.monotonic)
        self.late: DelayedCall = self.reactor.callLater(10, self.fired.append, "late")

    def passes(self, seconds: float) -> None:
        """Let time pass on both clocks, and run what is due, twice a second."""
        for _ in range(round(seconds * 2)):
            self.wall += 0.5
            self.monotonic += 0.5
            self.reactor.runUntilCurrent()

    def frozen(self, seconds: float) -> None:
        """Let time pass while the process does not run."""
        self.wall += seconds
        self.monotonic += seconds
        self.reactor.runUntilCurrent()

    def test_frozen(self) -> None:
        """While the process is frozen the time stands still: no timer fires early for it."""
        self.passes(1)
        self.frozen(3600)
        self.assertEqual((self.fired, self.reactor.seconds()), ([], 1_800_000_001.0))
        self.passes(8.5)
        self.assertEqual(self.fired, [])
        self.passes(0.5)
        self.assertEqual(self.fired, ["late"])

    def test_slow_turn(self) -> None:
        """A turn of the reactor that takes less than FROZEN_S is time as any other."""
        self.frozen(3.5)
        self.assertEqual(self.reactor.seconds(), 1_800_000_003.5)

    def test_before_the_start(self) -> None:
        """A start that takes long is no freeze."""
        self.reactor.running = False
        self.frozen(10)
        self.assertEqual(self.fired, ["late"])

    def test_goes_on(self) -> None:
        """The time goes on from where it was."""
        self.assertEqual(self.reactor.seconds(), 1_800_000_000.0)
        self.passes(1)
        self.assertEqual(self.reactor.seconds(), 1_800_000_001.0)

    def test_set_back(self) -> None:
        """Timers set before and after keep their time when the clock is set back."""
        self.wall -= 3600
        self.passes(9.5)
        self.assertEqual(self.fired, [])
        self.passes(1)
        self.assertEqual(self.fired, ["late"])
        self.passes(9.5)
        self.assertEqual(self.fired, ["late", "early"])

    def test_set_forward(self) -> None:
        """No timer fires early when the clock is set forward, nor does one that is delayed or set again."""
        self.wall += 3600
        self.passes(1)
        self.assertEqual(self.fired, [])
        self.early.reset(5)
        self.late.delay(5)
        self.passes(4.5)
        self.assertEqual((self.fired, self.reactor.timeout()), ([], 0.5))
        self.passes(0.5)
        self.assertEqual(self.fired, ["early"])

    def test_twice(self) -> None:
        """A second call changes nothing."""
        use_monotonic_time(self.reactor, lambda: self.monotonic)
        self.wall += 3600
        self.passes(10)
        self.assertEqual((self.fired, self.reactor.seconds()), (["late"], 1_800_000_010.0))


class Steps(SynchronousTestCase):
    """ClockSteps notices when the system's clock was set."""

    def setUp(self) -> None:
        """Two clocks that the test sets."""
        self.wall, self.monotonic = 1_800_000_000.0, 5000.0
        self.steps = ClockSteps(lambda: self.wall, lambda: self.monotonic)

    def test_steps(self) -> None:
        """Each step is told once, in both directions; the mere passing of time is none."""
        for step_s in (30.0, -30.0, 3600.0, -3600.0, 1.0, -1.0):
            self.wall += 100
            self.monotonic += 100
            self.assertEqual(self.steps.step_s(), 0.0)
            self.wall += step_s
            self.assertEqual(self.steps.step_s(), step_s)
            self.assertEqual(self.steps.step_s(), 0.0)

    def test_adjusted_slowly(self) -> None:
        """Small changes count when they have come to a second together."""
        told = []
        for _ in range(5):
            self.wall += 0.25
            told.append(self.steps.step_s())
        self.assertEqual(told, [0.0, 0.0, 0.0, 1.0, 0.0])


class Watching(SynchronousTestCase):
    """ClockWatch logs steps of the clock and a frozen process."""

    def test_lines(self) -> None:
        """A clock that was set, and a process that was frozen, are logged once each, with how far or how long."""
        clock = Clock()
        self.wall = self.frozen = 0.0
        watch = ClockWatch(
            clock, lambda: clock.seconds() + self.frozen + self.wall, lambda: clock.seconds() + self.frozen
        )
        watch.startService()
        with capturedLogs() as logs:
            for self.wall, self.frozen in ((0, 0), (3600, 0), (0, 0), (0, 0), (0, 30), (0, 30)):
                clock.advance(LOOK_EVERY_S)
        self.assertEqual(
            [formatEvent(event) for event in logs],
            [
                "clock: the system's clock was set forward by 3600 s",
                "clock: the system's clock was set back by 3600 s",
                "clock: the process did not run for 30 s; its time limits go on",
            ],
        )
        self.successResultOf(watch.stopService())
