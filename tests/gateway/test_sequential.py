"""A service whose parts stop one after the other."""

from __future__ import annotations

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.gateway.sequential import STOP_S, SequentialService


class Part(Service):
    """A part whose stop the test ends."""

    def __init__(self, name: str, journal: list[str]) -> None:
        self.word = name
        self.journal = journal
        self.stopped: Deferred[None] = Deferred()

    def startService(self) -> None:
        """Note in the journal that the part has started."""
        super().startService()
        self.journal.append(f"+{self.word}")

    def stopService(self) -> Deferred[None]:
        """Record the stop, which ends later."""
        super().stopService()
        self.journal.append(f"-{self.word}")
        return self.stopped


class SequentialTests(SynchronousTestCase):
    """A service with two parts."""

    def setUp(self) -> None:
        """Start a SequentialService with two parts."""
        self.journal: list[str] = []
        self.clock = Clock()
        self.whole = SequentialService(self.clock)
        self.parts = [Part(name, self.journal) for name in ("first", "second")]
        for part in self.parts:
            part.setServiceParent(self.whole)
        self.whole.startService()

    def test_order(self) -> None:
        """The last part begins to stop first; the first one follows when that is done."""
        stopped = self.whole.stopService()
        self.assertEqual(self.journal, ["+first", "+second", "-second"])
        self.parts[1].stopped.callback(None)
        self.assertEqual(self.journal[-1], "-first")
        self.assertNoResult(stopped)
        self.parts[0].stopped.callback(None)
        self.successResultOf(stopped)
        self.assertFalse(self.whole.running)

    def test_hangs(self) -> None:
        """A part that does not stop is named in the log, and left behind after STOP_S."""
        stopped = self.whole.stopService()
        with capturedLogs() as logs:
            self.clock.advance(STOP_S - 0.1)
            self.assertEqual(self.journal[-1], "-second")
            self.clock.advance(0.1)
        self.assertEqual(self.journal[-1], "-first")
        (event,) = logs
        self.assertEqual(formatEvent(event), "gateway: Part did not stop within 15 s; going on without it")
        self.parts[0].stopped.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failure(self) -> None:
        """A part that fails to stop is logged, and does not keep the others from stopping."""
        stopped = self.whole.stopService()
        self.parts[1].stopped.errback(ValueError("no"))
        self.parts[0].stopped.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
