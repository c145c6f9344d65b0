"""Parts that stop one after the other."""

from __future__ import annotations

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.gateway.sequential import SequentialService


class Part(Service):
    """Stops when told to."""

    def __init__(self, name: str, journal: list[str]) -> None:
        self.word = name
        self.journal = journal
        self.stopped: Deferred[None] = Deferred()

    def startService(self) -> None:
        """Note it."""
        super().startService()
        self.journal.append(f"+{self.word}")

    def stopService(self) -> Deferred[None]:
        """Note it; be done later."""
        super().stopService()
        self.journal.append(f"-{self.word}")
        return self.stopped


class SequentialTests(SynchronousTestCase):
    """Two parts."""

    def setUp(self) -> None:
        """Started."""
        self.journal: list[str] = []
        self.whole = SequentialService()
        self.parts = [Part(name, self.journal) for name in ("first", "second")]
        for part in self.parts:
            part.setServiceParent(self.whole)
        self.whole.startService()

    def test_order(self) -> None:
        """The last begins to stop; the first only when that is done."""
        stopped = self.whole.stopService()
        self.assertEqual(self.journal, ["+first", "+second", "-second"])
        self.parts[1].stopped.callback(None)
        self.assertEqual(self.journal[-1], "-first")
        self.assertNoResult(stopped)
        self.parts[0].stopped.callback(None)
        self.successResultOf(stopped)
        self.assertFalse(self.whole.running)

    def test_failure(self) -> None:
        """One that cannot stop is told, and holds up nothing."""
        stopped = self.whole.stopService()
        self.parts[1].stopped.errback(ValueError("no"))
        self.parts[0].stopped.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
