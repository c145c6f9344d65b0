"""Figures of queues: when one is late, and how its state is told."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.net import QueueFigures
from pbxrouter.net.queues import LATE_S


class QueueTests(SynchronousTestCase):
    """QueueFigures tells the state of a queue."""

    def test_late(self) -> None:
        """A queue whose oldest entry has waited longer than half a minute is late, and bad."""
        self.assertEqual(LATE_S, 30.0)
        for oldest_s, late in ((0.0, False), (30.0, False), (30.1, True)):
            queue = QueueFigures("history", 1, oldest_s, set_aside=1, lost=1)
            self.assertEqual((queue.is_late, queue.state), (late, "bad" if late else "plain"))

    def test_state(self) -> None:
        """One that has lost something, or set it aside, is neither good nor bad."""
        for queue, state in (
            (QueueFigures("history", 0), "good"),
            (QueueFigures("history", 7, 29.0), "good"),
            (QueueFigures("history", 0, set_aside=1), "plain"),
            (QueueFigures("history", 0, lost=1), "plain"),
        ):
            self.assertEqual(queue.state, state, queue)

    def test_new(self) -> None:
        """A queue of which nothing else is known waits for nothing and has lost nothing."""
        self.assertEqual(QueueFigures("history", 0), QueueFigures("history", 0, 0.0, 0, 0))

    def test_sentence(self) -> None:
        """What waits, was set aside and was lost is told, as far as there is any."""
        for queue, told in (
            (QueueFigures("history", 0, 0.0), "nothing waits"),
            (QueueFigures("history", 2, 3.6), "2 waiting, the oldest for 4 s"),
            (QueueFigures("history", 0, 0.0, 3), "3 set aside"),
            (QueueFigures("history", 0, 0.0, 0, 4), "4 lost"),
            (QueueFigures("history", 1, 0.4, 2, 3), "1 waiting, the oldest for 0 s, 2 set aside, 3 lost"),
        ):
            self.assertEqual(queue.sentence.english, told)
