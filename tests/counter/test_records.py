"""Records of finished calls come to the counter of their Asterisk."""

from __future__ import annotations

from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.call import CallRecord
from pbxrouter.counter import RecordsOfCounters
from pbxrouter.counter.call_table import LiveCall
from pbxrouter.drivers import Outcome
from pbxrouter.simulator import SimulatedCall
from tests.fakes import request_of

REQUEST = request_of(SimulatedCall("21", caller="33"))


class FakeCounter:
    """A counter that knows the channels that the test gives, and keeps records."""

    def __init__(self, asterisk: str, *channels: str) -> None:
        self.asterisk = asterisk
        self.channels = channels
        self.records: list[CallRecord] = []

    def call_of(self, uniqueid: str) -> LiveCall | None:
        """Some call, if the channel is known."""
        return cast(LiveCall, object()) if uniqueid in self.channels else None

    def report(self, record: CallRecord) -> None:
        """Note the record."""
        self.records.append(record)


class RecordsTests(SynchronousTestCase):
    """To which counter a record comes."""

    def came_to(self, asterisk: str, *counters: FakeCounter) -> list[str]:
        """The counters that a record came to."""
        record = CallRecord(REQUEST, None, Outcome("ANSWER"), asterisk=asterisk)
        RecordsOfCounters(counters).report(record)
        return [counter.asterisk for counter in counters for _ in counter.records]

    def test_its_own(self) -> None:
        """A record comes to its own Asterisk's counter alone, also before that knows the channel."""
        both = REQUEST.uniqueid
        self.assertEqual(self.came_to("b", FakeCounter("a", both), FakeCounter("b", both)), ["b"])
        self.assertEqual(self.came_to("b", FakeCounter("a", both), FakeCounter("b")), ["b"])
        self.assertEqual(self.came_to("c", FakeCounter("a", both), FakeCounter("b")), [])

    def test_not_known(self) -> None:
        """Without its Asterisk it comes to the only counter, or the only one that knows its channel; else to none."""
        both = REQUEST.uniqueid
        self.assertEqual(self.came_to("", FakeCounter("a")), ["a"])
        self.assertEqual(self.came_to("", FakeCounter("a"), FakeCounter("b", both)), ["b"])
        self.assertEqual(self.came_to("", FakeCounter("a", both), FakeCounter("b", both)), [])
        self.assertEqual(self.came_to("", FakeCounter("a"), FakeCounter("b")), [])
        self.assertEqual(self.came_to(""), [])
