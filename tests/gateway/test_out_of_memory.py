"""A gateway without memory ends."""

from __future__ import annotations

import sys

from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.gateway import out_of_memory
from pbxrouter.gateway.out_of_memory import PROBE, OutOfMemory, has_memory


class OutOfMemoryTests(SynchronousTestCase):
    """OutOfMemory, among the observers of a log."""

    def setUp(self) -> None:
        """A log."""
        self.ends = 0
        self.is_left = False
        self.log = Logger(observer=LogPublisher(OutOfMemory(self.end, lambda: self.is_left)))

    def end(self) -> None:
        """Count that the gateway would end."""
        self.ends += 1

    def report(self, error: Exception) -> None:
        """Log an error."""
        self.log.failure("something failed", Failure(error))

    def test_none_left(self) -> None:
        """It ends once."""
        self.report(MemoryError())
        self.report(MemoryError())
        self.assertEqual(self.ends, 1)

    def test_enough_left(self) -> None:
        """One thing that was too large ends nothing; what comes later may."""
        self.is_left = True
        self.report(MemoryError())
        self.assertEqual(self.ends, 0)
        self.is_left = False
        self.report(MemoryError())
        self.assertEqual(self.ends, 1)

    def test_other_events(self) -> None:
        """Other errors, and lines without one, end nothing."""
        self.report(OSError())
        self.log.error("MemoryError")
        self.assertEqual(self.ends, 0)

    def test_probe(self) -> None:
        """Here there is memory; there is none where the system does not give what is tried."""
        self.assertTrue(has_memory())
        self.assertGreaterEqual(PROBE, 1 << 20)
        self.patch(out_of_memory, "PROBE", sys.maxsize)
        self.assertFalse(has_memory())
