"""The end of conversations at a stop."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.call import CallFlow
from pbxrouter.gateway.drain import DRAIN_S, LOOK_EVERY_S, Drain, LastRecords


class FakeFlow:
    """The numbers of a call flow."""

    def __init__(self, in_progress: int, talking: int) -> None:
        self.in_progress = in_progress
        self.talking = talking


class WayIn:
    """Where calls come from."""

    def __init__(self) -> None:
        self.refusals = 0

    def refuse_new(self) -> None:
        """Count that new calls are refused."""
        self.refusals += 1


class DrainTests(SynchronousTestCase):
    """Drain and LastRecords."""

    def stop(self, in_progress: int, talking: int) -> Any:
        """Stop with so many calls; returns the Deferred."""
        self.clock, self.flow = Clock(), FakeFlow(in_progress, talking)
        self.ways_in = [WayIn(), WayIn()]
        drain = Drain(cast(CallFlow, self.flow), self.ways_in, self.clock)
        drain.startService()
        stopped = drain.stopService()
        self.assertFalse(drain.running)
        return stopped

    def test_no_calls(self) -> None:
        """Without calls there is nothing to wait for and nothing to say; each way in takes no more."""
        with capturedLogs() as logs:
            self.successResultOf(self.stop(0, 0))
        self.assertEqual([way_in.refusals for way_in in self.ways_in], [1, 1])
        self.assertEqual(list(logs), [])

    def test_applications(self) -> None:
        """Calls in an application are waited for a second only: a Dial that fails does so at once."""
        with capturedLogs() as logs:
            stopped = self.stop(3, 0)
            self.clock.pump([0.05] * 19)
            self.assertNoResult(stopped)
            self.clock.advance(0.05)
            self.successResultOf(stopped)
        (line,) = map(formatEvent, logs)
        self.assertIn("0 conversations may take 10 s to end; 3 calls in an application go on", line)

    def test_conversations(self) -> None:
        """Conversations are waited for; when the last one ends, so does the wait."""
        stopped = self.stop(3, 2)
        for _ in range(round(DRAIN_S / LOOK_EVERY_S) - 2):
            self.clock.advance(LOOK_EVERY_S)
        self.assertNoResult(stopped)
        self.flow.talking = 0
        self.clock.advance(LOOK_EVERY_S)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_too_long(self) -> None:
        """After DRAIN_S the wait ends, with a line."""
        with capturedLogs() as logs:
            stopped = self.stop(3, 2)
            self.clock.pump([LOOK_EVERY_S] * (round(DRAIN_S / LOOK_EVERY_S) - 1))
            self.assertNoResult(stopped)
            self.clock.advance(LOOK_EVERY_S)
        self.successResultOf(stopped)
        self.assertIn("2 conversations did not end in 10 s and are cut", formatEvent(logs[-1]))

    def test_records(self) -> None:
        """Calls that were closed are waited for until they are recorded, for two seconds at most."""
        for ended in (True, False):
            clock, flow = Clock(), FakeFlow(1, 0)
            last = LastRecords(cast(CallFlow, flow), clock)
            last.startService()
            stopped = last.stopService()
            self.assertFalse(last.running)
            clock.pump([0.05] * 39)
            self.assertNoResult(stopped)
            flow.in_progress = 0 if ended else 1
            clock.advance(0.05)
            self.successResultOf(stopped)
