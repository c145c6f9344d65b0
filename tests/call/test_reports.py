"""Passing on the records of finished calls."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.call.record import CallRecord
from pbxrouter.call.reports import Reports
from pbxrouter.drivers import Outcome
from pbxrouter.simulator import SimulatedCall
from tests.fakes import Reports as Recorder
from tests.fakes import request_of


class ReportsTests(SynchronousTestCase):
    """Reports tells its listeners of finished calls."""

    def test_all_are_told(self) -> None:
        """All listeners are called; the exception of one is logged and does not keep the record from the others."""
        first, last = Recorder(), Recorder()
        reports = Reports()
        reports.add(first)
        reports.add(lambda record: 1 / 0)
        reports.add(last)
        record = CallRecord(request_of(SimulatedCall("21", caller="33")), None, Outcome())
        reports(record)
        self.assertEqual((first.records, last.records), ([record], [record]))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
