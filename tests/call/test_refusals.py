"""Refused calls: their records, their number, the alarm."""

from __future__ import annotations

from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.messages import AGIRequest
from pbxrouter.call.history_writer import row_of
from pbxrouter.call.record import CallRecord
from pbxrouter.call.refusals import ALARM_CALLS, ALARM_S, Refusals, refusal_note
from pbxrouter.call.reports import Reports
from pbxrouter.drivers import Outcome
from pbxrouter.errors import ForgedRequest
from tests import fakes

REQUEST = AGIRequest({"channel": "IAX2/peer-1", "uniqueid": "1795.7"})


class RefusalTests(SynchronousTestCase):
    """Refusals among those who are told of calls, at a time of the test's own."""

    def setUp(self) -> None:
        """No call yet."""
        self.time = 1000.0
        self.reports, self.records = Reports(), fakes.Reports()
        self.refusals = Refusals(self.reports, lambda: self.time)
        self.reports.add(self.refusals.report)
        self.reports.add(self.records)
        self.violation = ForgedRequest("the opening block is not as Asterisk writes it")
        self.violation.peer = "192.0.2.7"

    def refuse(self, calls: int, request: AGIRequest = REQUEST) -> list[str]:
        """So many calls are refused; returns the log's lines above warnings."""
        with capturedLogs() as logs:
            for _ in range(calls):
                self.refusals.refused(request, self.violation)
        return [log["log_format"].format(**log) for log in logs if log["log_level"] >= LogLevel.error]

    def test_record(self) -> None:
        """The history has channel, Uniqueid, peer and reason of a call that was refused before it was served."""
        self.refuse(1)
        (record,) = self.records.records
        row = row_of(record)
        self.assertEqual((row.uniqueid, row.outcome, row.began, row.ended), ("1795.7", "REFUSED", 1000.0, 1000.0))
        self.assertEqual(
            [step.english for step in row.steps],
            ["refused as forged: the opening block is not as Asterisk writes it; channel IAX2/peer-1, from 192.0.2.7"],
        )

    def test_count(self) -> None:
        """Calls that were refused while served count, too; other calls do not; a stranger's bytes are no call."""
        note = refusal_note(REQUEST, self.violation)
        self.reports(CallRecord(REQUEST, None, Outcome("REFUSED"), note=note))
        self.reports(CallRecord(REQUEST, None, Outcome("ANSWER")))
        self.assertEqual(self.refusals.total, 1)
        self.refuse(1)
        self.refuse(1, AGIRequest({}))
        self.assertEqual((self.refusals.total, len(self.records.records)), (3, 3))

    def test_alarm(self) -> None:
        """A rising number is an alarm, which is raised anew each time it has doubled."""
        self.assertEqual(self.refuse(ALARM_CALLS - 1), [])
        (line,) = self.refuse(1)
        for text in (f"ALARM: {ALARM_CALLS} calls", "192.0.2.7", "IAX2/peer-1", "1795.7"):
            self.assertIn(text, line)
        self.assertEqual(self.refuse(ALARM_CALLS - 1), [])
        (line,) = self.refuse(1)
        self.assertIn(f"ALARM: {2 * ALARM_CALLS} calls", line)

    def test_slow(self) -> None:
        """A few calls over a long time are none; after a quiet time it begins anew."""
        for _ in range(3 * ALARM_CALLS):
            self.assertEqual(self.refuse(1), [])
            self.time += ALARM_S
        self.time += ALARM_S
        for _ in range(2):
            self.assertEqual(len(self.refuse(ALARM_CALLS)), 1)
            self.time += ALARM_S + 1
