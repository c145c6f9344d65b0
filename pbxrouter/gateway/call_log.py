"""What the gateway logs of calls: one line for each, and its dialogue on request."""

from __future__ import annotations

from twisted.logger import Logger

from pbxrouter.agi import DialogueLine
from pbxrouter.call import CallRecord
from pbxrouter.text import printable


class CallLog:
    """One line in the log for each call."""

    log = Logger(namespace="pbxrouter.calls")

    def report(self, record: CallRecord) -> None:
        """The call is over for us."""
        request, decision = record.request, record.decision
        uniqueid = printable(request.uniqueid) or "?"
        caller = printable(request.caller or "unknown")
        number = decision.number if decision else printable(request.extension) or "?"
        outcome = record.outcome.status
        trace = "; ".join(decision.trace_lines()) if decision else "nothing decided"
        # Put together here: each place to fill costs Twisted's formatter more than all of this.
        self.log.info(
            "{line}",
            line=f"call {uniqueid}: {caller} -> {number}: {outcome} ({trace})",
            uniqueid=uniqueid,
            caller=caller,
            number=number,
            outcome=outcome,
            trace=trace,
        )


class DialogueLog:
    """``[fastagi] debug``: every dialogue in the log."""

    log = Logger(namespace="pbxrouter.agi")

    def tell(self, line: DialogueLine) -> None:
        """A line was said."""
        self.log.info("{line}", line=str(line))
