"""Timers, deadlines and work at regular intervals."""

from __future__ import annotations

from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.net.timers import Deadline, Timer, at_most, every, in_slices


class EveryTests(SynchronousTestCase):
    """every runs a coroutine at an interval."""

    def setUp(self) -> None:
        """A service that has not started, with work every two seconds."""
        self.clock = Clock()
        self.runs = 0
        self.blocked: Deferred[None] | None = None
        self.parent = MultiService()
        every(2, self.work, self.clock, self.parent)

    async def work(self) -> None:
        """Count a run; wait if the test says so."""
        self.runs += 1
        if self.blocked is not None:
            await self.blocked

    def test_runs(self) -> None:
        """Not before the service starts; then at once and at each interval, until it stops."""
        self.clock.advance(5)
        self.assertEqual(self.runs, 0)
        self.parent.startService()
        self.assertEqual(self.runs, 1)
        self.clock.advance(1.9)
        self.assertEqual(self.runs, 1)
        self.clock.pump([0.1, 2, 2])
        self.assertEqual(self.runs, 4)
        self.successResultOf(self.parent.stopService())
        self.clock.advance(10)
        self.assertEqual((self.runs, self.clock.getDelayedCalls()), (4, []))

    def test_slow(self) -> None:
        """A run that takes longer than the interval is not overlapped; stopping waits for it."""
        blocked: Deferred[None] = Deferred()
        self.blocked = blocked
        self.parent.startService()
        self.clock.pump([2, 2, 1])
        self.assertEqual(self.runs, 1)
        self.blocked = None
        blocked.callback(None)
        self.clock.advance(1)
        self.assertEqual(self.runs, 2)
        self.blocked = blocked = Deferred()
        self.clock.advance(2)
        stopped = self.parent.stopService()
        self.assertNoResult(stopped)
        blocked.callback(None)
        self.successResultOf(stopped)
        self.assertEqual((self.runs, self.clock.getDelayedCalls()), (3, []))

    def test_raises(self) -> None:
        """A run that raises is logged and is the last one."""
        self.blocked = Deferred()
        self.parent.startService()
        self.blocked.errback(ZeroDivisionError("on purpose"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(10)
        self.assertEqual(self.runs, 1)


class TimerTests(SynchronousTestCase):
    """Timer can be restarted and stopped."""

    def setUp(self) -> None:
        """A timer that is not set."""
        self.clock = Clock()
        self.timer = Timer(self.clock)
        self.done: list[str] = []

    def set(self, name: str, seconds: float = 1) -> None:
        """Set the timer to record a name."""
        self.timer.set(seconds, lambda: self.done.append(name))

    def test_once(self) -> None:
        """The function is called at its time, and only then."""
        self.set("a")
        self.clock.advance(0.9)
        self.assertEqual(self.done, [])
        self.clock.pump([0.1, 5])
        self.assertEqual(self.done, ["a"])

    def test_set_again(self) -> None:
        """Setting it again replaces the call."""
        self.set("a")
        self.set("b", 2)
        self.clock.pump([1, 1, 1])
        self.assertEqual(self.done, ["b"])

    def test_cleared(self) -> None:
        """A timer may be cleared before it is set, before it fires and after."""
        self.timer.clear()
        self.set("a")
        self.timer.clear()
        self.timer.clear()
        self.clock.advance(5)
        self.assertEqual((self.done, self.clock.getDelayedCalls()), ([], []))
        self.set("b")
        self.clock.advance(1)
        self.timer.clear()
        self.assertEqual(self.done, ["b"])

    def test_set_from_within(self) -> None:
        """The function may set the timer again, or clear it."""

        def function() -> None:
            self.timer.clear()
            self.set("next")

        self.timer.set(1, function)
        self.clock.pump([1, 1])
        self.assertEqual(self.done, ["next"])


class StoodStillTests(SynchronousTestCase):
    """A process that was stopped finds its timers due long ago when it goes on."""

    def setUp(self) -> None:
        """A timer and a deadline, set to one second."""
        self.clock = Clock()
        self.done: list[str] = []
        self.timer, self.deadline = Timer(self.clock), Deadline(self.clock)
        self.timer.set(1, lambda: self.done.append("timer"))
        self.deadline.set(1, lambda: self.done.append("deadline"))

    def test_put_off(self) -> None:
        """They are put off once, by half a second."""
        self.clock.advance(30)
        self.clock.advance(0.45)
        self.assertEqual(self.done, [])
        self.clock.advance(0.05)
        self.assertEqual(self.done, ["timer", "deadline"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cleared_meanwhile(self) -> None:
        """What was waited for is found then, and clears them."""
        self.clock.advance(30)
        self.timer.clear()
        self.deadline.clear()
        self.clock.advance(30)
        self.assertEqual(self.done, [])

    def test_stopped_meanwhile(self) -> None:
        """A deadline that is stopped meanwhile leaves no delayed call."""
        self.clock.advance(30)
        self.timer.clear()
        self.deadline.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_little_late(self) -> None:
        """A timer of a busy process fires late, by up to a second and a half, and at once."""
        self.clock.advance(1 + 1.5)
        self.assertEqual(self.done, ["timer", "deadline"])

    def test_too_late(self) -> None:
        """One that is later than that is put off."""
        self.clock.advance(1 + 1.55)
        self.assertEqual(self.done, [])


class Deadlines(SynchronousTestCase):
    """Deadline fires unless it is moved."""

    def setUp(self) -> None:
        """A deadline that is not set."""
        self.clock = Clock()
        self.done: list[str] = []
        self.timer = Deadline(self.clock)

    def set(self, seconds: float, word: str) -> None:
        """Set it to record a word."""
        self.timer.set(seconds, lambda: self.done.append(word))

    def test_fires_once(self) -> None:
        """The function is called at its time, and never again."""
        self.set(2, "x")
        self.clock.advance(1.9)
        self.assertEqual(self.done, [])
        self.clock.pump([0.1, 10])
        self.assertEqual((self.done, self.clock.getDelayedCalls()), (["x"], []))

    def test_later(self) -> None:
        """Moved later it fires later, with the same delayed call."""
        self.set(1, "x")
        (before,) = self.clock.getDelayedCalls()
        self.clock.advance(0.5)
        self.set(3, "y")
        (after,) = self.clock.getDelayedCalls()
        self.assertIs(after, before)
        self.clock.pump([0.5, 2.4])
        self.assertEqual(self.done, [])
        self.clock.advance(0.1)
        self.assertEqual(self.done, ["y"])

    def test_sooner(self) -> None:
        """Moved sooner it fires sooner."""
        self.set(30, "x")
        self.set(1, "y")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.pump([1, 60])
        self.assertEqual(self.done, ["y"])

    def test_cleared(self) -> None:
        """A deadline that is cleared calls nothing; the delayed call that is left ends by itself."""
        self.set(1, "x")
        self.timer.clear()
        self.timer.clear()
        self.clock.advance(5)
        self.assertEqual((self.done, self.clock.getDelayedCalls()), ([], []))

    def test_cleared_and_set(self) -> None:
        """After clearing, a new time counts, be it sooner or later than the old one."""
        for seconds in (1, 3):
            self.set(2, "x")
            self.timer.clear()
            self.set(seconds, "y")
            self.clock.pump([0.1] * 9 * seconds)
            self.assertEqual(self.done, [])
            self.clock.advance(0.2 * seconds)
            self.assertEqual(self.done.pop(), "y")

    def test_stopped(self) -> None:
        """Stopping cancels the delayed call, and may be repeated."""
        self.timer.stop()
        self.set(1, "x")
        self.timer.stop()
        self.timer.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_set_from_within(self) -> None:
        """The function may set the deadline again."""

        def again() -> None:
            self.done.append("x")
            if len(self.done) < 3:
                self.timer.set(1, again)

        again()
        self.clock.pump([1, 1, 1])
        self.assertEqual(self.done, ["x"] * 3)


class AtMost(SynchronousTestCase):
    """at_most waits for work no longer than so many seconds."""

    def setUp(self) -> None:
        """Work that the test ends."""
        self.clock = Clock()
        self.work: Deferred[str] = Deferred()
        self.waiting = at_most(3, self.work, self.clock)

    def test_in_time(self) -> None:
        """Work that is done in time is waited for, and no timer stays."""
        self.clock.advance(2.9)
        self.assertNoResult(self.waiting)
        self.work.callback("done")
        self.assertIs(self.successResultOf(self.waiting), True)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_too_long(self) -> None:
        """Work that takes longer is not waited for; it goes on, and its end harms nothing."""
        self.clock.advance(3)
        self.assertIs(self.successResultOf(self.waiting), False)
        self.assertFalse(self.work.called)
        self.work.callback("done")

    def test_done_before(self) -> None:
        """Work that is done already is not waited for."""
        done: Deferred[None] = Deferred()
        done.callback(None)
        self.assertIs(self.successResultOf(at_most(3, done, self.clock)), True)

    def test_failure(self) -> None:
        """Work that fails is over; its failure is left for its owner."""
        self.work.errback(ValueError("no"))
        self.assertIs(self.successResultOf(self.waiting), True)
        self.failureResultOf(self.work, ValueError)


class SliceTests(SynchronousTestCase):
    """in_slices lets other work run between slices of a long iteration."""

    def test_slices(self) -> None:
        """Each item comes once and in order; after each slice, and only then, the reactor goes on."""
        seen: list[int] = []
        paused_after: list[int] = []

        class Pauses(Clock):
            """Notes how many items came before each pause."""

            def callLater(self, *when_and_what: Any, **named: Any) -> IDelayedCall:
                """Note it, and pause."""
                paused_after.append(len(seen))
                return super().callLater(*when_and_what, **named)

        clock = Pauses()

        async def look(count: int) -> None:
            async for item in in_slices(range(count), 3, clock):
                seen.append(item)

        for count, pauses in ((0, []), (3, []), (4, [3]), (7, [3, 6]), (10, [3, 6, 9])):
            seen.clear()
            paused_after.clear()
            looking = Deferred.fromCoroutine(look(count))
            self.assertEqual(len(seen), min(count, 3))
            self.assertEqual(len(clock.getDelayedCalls()), min(len(pauses), 1))
            clock.advance(0)
            self.successResultOf(looking)
            self.assertEqual((seen, paused_after), (list(range(count)), pauses))
