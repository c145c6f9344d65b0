"""Lateness: how late the reactor is."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.net.lateness import TICK_S, Lateness


class LatenessTests(SynchronousTestCase):
    """Lateness tells how late the reactor runs."""

    def test_late(self) -> None:
        """It is the time for which the timer is overdue; 0 in time, and while the service does not run."""
        clock = Clock()
        lateness = Lateness(clock)
        self.assertEqual(lateness.seconds, 0.0)
        lateness.startService()
        for _ in range(8):
            clock.advance(TICK_S)
            self.assertEqual(lateness.seconds, 0.0)
        clock.rightNow += 5.0  # a round that takes so long
        self.assertEqual(lateness.seconds, 5.0 - TICK_S)
        clock.advance(0)
        self.assertEqual(lateness.seconds, 0.0)
        clock.rightNow += 5.0
        self.successResultOf(lateness.stopService())
        self.assertEqual(lateness.seconds, 0.0)
