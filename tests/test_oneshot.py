"""A timer that is set again and cleared at any time."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.oneshot import OneShot


class Timing(SynchronousTestCase):
    """One thing in the future, at most."""

    def setUp(self) -> None:
        """Nothing is to be done."""
        self.clock = Clock()
        self.done: list[str] = []
        self.timer = OneShot(self.clock)

    def test_fires_once(self) -> None:
        """At its time, and never again."""
        self.timer.set(2, lambda: self.done.append("x"))
        self.clock.advance(1.9)
        self.assertEqual(self.done, [])
        self.clock.pump([0.1, 10])
        self.assertEqual(self.done, ["x"])
        self.timer.clear()

    def test_set_anew(self) -> None:
        """The one before is forgotten."""
        self.timer.set(1, lambda: self.done.append("x"))
        self.timer.set(3, lambda: self.done.append("y"))
        self.clock.pump([1, 2])
        self.assertEqual(self.done, ["y"])

    def test_cleared(self) -> None:
        """It is not done; twice is once."""
        self.timer.set(1, lambda: self.done.append("x"))
        self.timer.clear()
        self.timer.clear()
        self.clock.advance(5)
        self.assertEqual((self.done, self.clock.getDelayedCalls()), ([], []))

    def test_set_from_within(self) -> None:
        """What it does may set it again, or clear it."""

        def again() -> None:
            self.timer.clear()
            self.done.append("x")
            if len(self.done) < 3:
                self.timer.set(1, again)

        again()
        self.clock.pump([1, 1, 1])
        self.assertEqual(self.done, ["x"] * 3)
