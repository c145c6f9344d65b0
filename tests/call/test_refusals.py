"""Refused calls: their records, their number, the alarm."""

from __future__ import annotations

import time

from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.messages import AGIRequest
from pbxrouter.alarms import Alarm
from pbxrouter.call import refusals
from pbxrouter.call.history_writer import row_of
from pbxrouter.call.record import CallRecord
from pbxrouter.call.refusals import ALARM_CALLS, ALARM_S, Refusals, refusal_note
from pbxrouter.call.reports import Reports
from pbxrouter.drivers import Outcome
from pbxrouter.errors import ForgedRequest
from tests import fakes

REQUEST = AGIRequest({"channel": "IAX2/peer-1", "uniqueid": "1795.7"})


class RefusalTests(SynchronousTestCase):
    """Refused calls, on a fixed clock."""

    def setUp(self) -> None:
        """Create Refusals on a clock."""
        self.time = 1000.0
        self.alarms: list[Alarm] = []
        self.reports, self.records = Reports(), fakes.Reports()
        self.refusals = Refusals(self.reports, lambda: self.time, self.alarms.append)
        self.reports.add(self.refusals.report)
        self.reports.add(self.records)
        self.violation = ForgedRequest("the opening block is not as Asterisk writes it")
        self.violation.peer = "192.0.2.7"

    def refuse(self, calls: int, request: AGIRequest = REQUEST) -> list[str]:
        """Refuse so many calls; returns the log lines above warning."""
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
        """Calls that were refused while being served count too; other calls and strangers' bytes do not."""
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
        for text in (f"calls: ALARM: {ALARM_CALLS} refused", "192.0.2.7", "IAX2/peer-1", "1795.7"):
            self.assertIn(text, line)
        (alarm,) = self.alarms
        self.assertEqual(
            (alarm.kind, alarm.text), ("forged-calls", f"{ALARM_CALLS} calls refused as forged within 10 minutes")
        )
        self.assertEqual(alarm.details, {"peer": "192.0.2.7", "channel": "IAX2/peer-1", "uniqueid": "1795.7"})
        self.assertEqual(self.refuse(ALARM_CALLS - 1), [])
        (line,) = self.refuse(1)
        self.assertIn(f"calls: ALARM: {2 * ALARM_CALLS} refused", line)

    def test_alarm_of_what_is_not_known(self) -> None:
        """An alarm about connections that named no call, by a peer that is not known, says so."""
        self.violation.peer = ""
        (line,) = self.refuse(ALARM_CALLS, AGIRequest({}))
        self.assertEqual(
            line,
            f"calls: ALARM: {ALARM_CALLS} refused as forged within {ALARM_S / 60:.0f} minutes; the last by (unknown),"
            " channel (unknown), call (unknown)",
        )

    def test_alarm_is_one_line(self) -> None:
        """What a caller wrote into the alarm's values is made printable."""
        self.violation.peer = "x\ny"
        (line,) = self.refuse(ALARM_CALLS, AGIRequest({"channel": "a\nb", "uniqueid": "1\n2"}))
        self.assertNotIn("\n", line)

    def test_alarm_names_the_peer_of_a_call_in_progress(self) -> None:
        """The alarm about a call that was refused while served names the peer of its note; without one, none."""
        with capturedLogs() as logs:
            for _ in range(ALARM_CALLS):
                note = refusal_note(REQUEST, self.violation)
                self.reports(CallRecord(REQUEST, None, Outcome("REFUSED"), note=note))
            self.refusals.report(CallRecord(REQUEST, None, Outcome("REFUSED")))
            for _ in range(ALARM_CALLS - 1):
                self.refusals.report(CallRecord(REQUEST, None, Outcome("REFUSED")))
        alarms = [log for log in logs if log["log_level"] >= LogLevel.error]
        self.assertEqual([alarm["peer"] for alarm in alarms], ["192.0.2.7", "(unknown)"])
        self.assertEqual([alarm["count"] for alarm in alarms], [ALARM_CALLS, 2 * ALARM_CALLS])

    def test_note_of_what_is_not_known(self) -> None:
        """Channel and peer that are not known are a question mark."""
        self.violation.peer = ""
        self.assertEqual(
            refusal_note(AGIRequest({}), self.violation).english,
            "refused as forged: the opening block is not as Asterisk writes it; channel ?, from ?",
        )

    def test_edge_of_the_time(self) -> None:
        """A call just ALARM_S ago counts among the recent ones; a little longer ago it does not."""
        for late_s, alarms in ((0.0, 1), (0.5, 0)):
            self.setUp()
            self.refuse(1)
            self.time += 600.0 + late_s
            self.assertEqual(len(self.refuse(ALARM_CALLS - 1)), alarms)

    def test_quiet_for_a_while(self) -> None:
        """When fewer than ALARM_CALLS are recent, the next alarm is raised at ALARM_CALLS again."""
        self.assertEqual(len(self.refuse(4 * ALARM_CALLS)), 3)
        self.time += ALARM_S / 2
        self.assertEqual(self.refuse(ALARM_CALLS - 2), [])
        self.time += ALARM_S / 2 + 1
        self.assertEqual(self.refuse(1), [])
        self.assertEqual(len(self.refuse(1)), 1)

    def test_what_is_remembered_is_bounded(self) -> None:
        """The memory is bounded: of very many calls at once all are counted, and the alarm ends to double."""
        self.patch(refusals, "MAX_REMEMBERED", 30)
        self.reports = Reports()
        self.refusals = Refusals(self.reports, lambda: self.time)
        self.reports.add(self.refusals.report)
        alarms = self.refuse(200)
        self.assertEqual([alarm.split()[2] for alarm in alarms], ["5", "10", "20"])
        self.assertEqual(self.refusals.total, 200)

    def test_time_of_the_record(self) -> None:
        """By default the time is the epoch's."""
        refusals = Refusals(self.records)
        before = time.time()
        refusals.refused(REQUEST, self.violation)
        (record,) = self.records.records
        self.assertTrue(before <= record.began == record.ended <= time.time())

    def test_slow(self) -> None:
        """A few calls over a long time raise no alarm; after a quiet time the alarm starts again."""
        for _ in range(3 * ALARM_CALLS):
            self.assertEqual(self.refuse(1), [])
            self.time += ALARM_S
        self.time += ALARM_S
        for _ in range(2):
            self.assertEqual(len(self.refuse(ALARM_CALLS)), 1)
            self.time += ALARM_S + 1
