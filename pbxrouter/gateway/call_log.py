"""Logs calls: one line for each, and the whole AGI dialogue if configured."""

from __future__ import annotations

from twisted.logger import Logger

from pbxrouter.agi import DialogueLine
from pbxrouter.call import CallRecord
from pbxrouter.text import at_asterisk, printable


class CallLog:
    """Logs one line for each call.

    Args:
        has_several: whether there are several Asterisks, so that a call's line names its own.
    """

    log = Logger()

    def __init__(self, has_several: bool = False) -> None:
        self._has_several = has_several

    def report(self, record: CallRecord) -> None:
        """Log a call that the gateway has finished."""
        request, decision = record.request, record.decision
        uniqueid = printable(request.uniqueid) or "?"
        call = at_asterisk(record.asterisk, uniqueid) if self._has_several else uniqueid
        caller = printable(request.caller or "unknown")
        who = f"{caller} forwarded by {decision.forwarded_by}" if decision and decision.forwarded_by else caller
        number = decision.number if decision else printable(request.extension) or "?"
        outcome = record.outcome.status
        steps = decision.trace_lines() if decision else ["nothing decided"]
        trace = "; ".join(steps if record.note is None else [*steps, record.note.english])
        # Formatted here: each field costs Twisted's formatter more than all of this.
        self.log.info(
            "{line}",
            line=f"call {call}: {who} -> {number}: {outcome} ({trace})",
            uniqueid=uniqueid,
            asterisk=record.asterisk,
            caller=caller,
            forwarded_by=decision.forwarded_by if decision else "",
            number=number,
            outcome=outcome,
            trace=trace,
        )


class DialogueLog:
    """Logs every AGI dialogue (``[fastagi] debug``)."""

    log = Logger()

    def tell(self, line: DialogueLine) -> None:
        """Log one line of a dialogue."""
        self.log.info("{line}", line=str(line))
