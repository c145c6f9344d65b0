"""A timer that can be set again and cleared at any time."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.net.timers import Deadline, Timer


class OneShotTests(SynchronousTestCase):
    """At most one thing to do later."""

    def setUp(self) -> None:
        """A timer."""
        self.clock = Clock()
        self.timer = Timer(self.clock)
        self.done: list[str] = []

    def set(self, name: str, seconds: float = 1) -> None:
        """Something to do."""
        self.timer.set(seconds, lambda: self.done.append(name))

    def test_once(self) -> None:
        """It is done when its time comes, and only then."""
        self.set("a")
        self.clock.advance(0.9)
        self.assertEqual(self.done, [])
        self.clock.pump([0.1, 5])
        self.assertEqual(self.done, ["a"])

    def test_set_again(self) -> None:
        """Setting it anew forgets what was to be done."""
        self.set("a")
        self.set("b", 2)
        self.clock.pump([1, 1, 1])
        self.assertEqual(self.done, ["b"])

    def test_cleared(self) -> None:
        """Cleared before, after, and without anything to do."""
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
        """What is done may set it again, or clear it."""

        def then() -> None:
            self.timer.clear()
            self.set("next")

        self.timer.set(1, then)
        self.clock.pump([1, 1])
        self.assertEqual(self.done, ["next"])


class Deadlines(SynchronousTestCase):
    """One that is cleared more often than not."""

    def setUp(self) -> None:
        """Nothing is to be done."""
        self.clock = Clock()
        self.done: list[str] = []
        self.timer = Deadline(self.clock)

    def set(self, seconds: float, word: str) -> None:
        """Set it to say a word."""
        self.timer.set(seconds, lambda: self.done.append(word))

    def test_fires_once(self) -> None:
        """At its time, and never again."""
        self.set(2, "x")
        self.clock.advance(1.9)
        self.assertEqual(self.done, [])
        self.clock.pump([0.1, 10])
        self.assertEqual((self.done, self.clock.getDelayedCalls()), (["x"], []))

    def test_later(self) -> None:
        """Moved later it waits on, with the one delayed call there is."""
        self.set(1, "x")
        self.clock.advance(0.5)
        self.set(3, "y")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.pump([0.5, 2.4])
        self.assertEqual(self.done, [])
        self.clock.advance(0.1)
        self.assertEqual(self.done, ["y"])

    def test_sooner(self) -> None:
        """Moved sooner it is on time."""
        self.set(30, "x")
        self.set(1, "y")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.pump([1, 60])
        self.assertEqual(self.done, ["y"])

    def test_cleared(self) -> None:
        """It is not done; what is left with the clock ends by itself."""
        self.set(1, "x")
        self.timer.clear()
        self.timer.clear()
        self.clock.advance(5)
        self.assertEqual((self.done, self.clock.getDelayedCalls()), ([], []))

    def test_cleared_and_set(self) -> None:
        """The new time counts, sooner or later than the old."""
        for seconds in (1, 3):
            self.set(2, "x")
            self.timer.clear()
            self.set(seconds, "y")
            self.clock.pump([0.1] * 9 * seconds)
            self.assertEqual(self.done, [])
            self.clock.advance(0.2 * seconds)
            self.assertEqual(self.done.pop(), "y")

    def test_stopped(self) -> None:
        """Nothing is left with the clock."""
        self.timer.stop()
        self.set(1, "x")
        self.timer.stop()
        self.timer.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_set_from_within(self) -> None:
        """What it does may set it again."""

        def again() -> None:
            self.done.append("x")
            if len(self.done) < 3:
                self.timer.set(1, again)

        again()
        self.clock.pump([1, 1, 1])
        self.assertEqual(self.done, ["x"] * 3)
