"""Calls that were refused as forged: their records, their number, and the alarm when it rises."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

from pbxrouter.agi import AGIRequest
from pbxrouter.alarms import Alarm
from pbxrouter.call.record import CallRecord, GatewayOutcome
from pbxrouter.drivers import Outcome
from pbxrouter.errors import ProtocolViolation
from pbxrouter.text import Sentence, printable, sentence

ALARM_CALLS: Final = 5
"""Refused calls within ALARM_S that raise the alarm; it is raised anew each time their number has doubled."""
ALARM_S: Final = 600.0
MAX_REMEMBERED: Final = 10_000


class Refusals:
    """Counts refused calls and logs an alarm when many come.

    Args:
        report: receives the record of a call that was refused before it was served.
        now: epoch seconds.
        alarm: tells the owner of many.

    Attributes:
        total: calls refused since the process started.
    """

    log = Logger()

    def __init__(
        self,
        report: Callable[[CallRecord], object],
        now: Callable[[], float] = time.time,
        alarm: Callable[[Alarm], object] = lambda alarm: None,
    ) -> None:
        self._raise_alarm = alarm
        self._report = report
        self._now = now
        self._recent: deque[float] = deque(maxlen=MAX_REMEMBERED)
        self._alarm_at = ALARM_CALLS
        self.total = 0

    def refused(self, request: AGIRequest, violation: ProtocolViolation) -> None:
        """Record a call that was refused before it was served.

        A connection that named no call is counted, but is no call for the history.
        """
        if request.uniqueid:
            now = self._now()
            note = refusal_note(request, violation)
            refused = Outcome(GatewayOutcome.REFUSED)
            source, asterisk = source_of(violation), violation.asterisk
            self._report(CallRecord(request, None, refused, now, now, note, source=source, asterisk=asterisk))
        else:
            self._count(request, violation.peer)

    def report(self, record: CallRecord) -> None:
        """Count a call that is over, if it was refused; a listener of Reports."""
        if record.outcome.status == GatewayOutcome.REFUSED:
            peer = "" if record.note is None else str(record.note.values.get("peer", ""))
            self._count(record.request, peer, record.asterisk)

    def _count(self, request: AGIRequest, peer: str, asterisk: str = "") -> None:
        self.total += 1
        now = self._now()
        recent = self._recent
        recent.append(now)
        while now - recent[0] > ALARM_S:
            recent.popleft()
        if len(recent) < ALARM_CALLS:
            self._alarm_at = ALARM_CALLS
        if len(recent) >= self._alarm_at:
            self._alarm_at = 2 * len(recent)
            told = {
                "peer": printable(peer) or "(unknown)",
                "channel": printable(request.channel) or "(unknown)",
                "uniqueid": printable(request.uniqueid) or "(unknown)",
            }
            self.log.error(
                "calls: ALARM: {count} refused as forged within {minutes:.0f} minutes; the last by {peer},"
                " channel {channel}, call {uniqueid}",
                count=len(recent),
                minutes=ALARM_S / 60,
                **told,
            )
            if asterisk:
                told["asterisk"] = asterisk
            text = f"{len(recent)} calls refused as forged within {ALARM_S / 60:.0f} minutes"
            self._raise_alarm(Alarm("forged-calls", text, told))


def source_of(violation: ProtocolViolation) -> str:
    """What refused calls are counted by; see CallRecord."""
    return f"refused by {violation.peer}"


def refusal_note(request: AGIRequest, violation: ProtocolViolation) -> Sentence:
    """The step of a refused call's trace: why it was refused, its channel, and the peer that brought it."""
    return sentence(
        "refused as forged: {why}; channel {channel}, from {peer}",
        why=violation,
        channel=printable(request.channel) or "?",
        peer=violation.peer or "?",
    )
