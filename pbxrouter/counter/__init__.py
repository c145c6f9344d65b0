"""The call counter: calls as AMI events tell of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbxrouter.counter.call_table import DOCTOR_PREFIX
from pbxrouter.counter.counts import (
    ALL,
    MINUTE_S,
    REASONS,
    Counts,
    label_name,
)
from pbxrouter.counter.live_calls import (
    CallView,
    LiveCalls,
    live_calls,
    live_version,
)
from pbxrouter.counter.outcome_figures import (
    OutcomeTotals,
    busiest,
    per_minute,
    totals,
)
from pbxrouter.counter.records import RecordsOfCounters
from pbxrouter.counter.report import Report, minutes_of
from pbxrouter.lazy import lazy_names

if TYPE_CHECKING:
    from pbxrouter.counter.service import CallCounter
    from pbxrouter.counter.talk import TalkOfCalls
    from pbxrouter.counter.turn import FileTurn, ServerTurn

__all__ = [
    "ALL",
    "DOCTOR_PREFIX",
    "MINUTE_S",
    "REASONS",
    "CallCounter",
    "CallView",
    "Counts",
    "FileTurn",
    "LiveCalls",
    "OutcomeTotals",
    "RecordsOfCounters",
    "Report",
    "ServerTurn",
    "TalkOfCalls",
    "busiest",
    "label_name",
    "live_calls",
    "live_version",
    "minutes_of",
    "per_minute",
    "report",
    "totals",
]

__getattr__ = lazy_names(
    __name__, {"CallCounter": "service", "FileTurn": "turn", "ServerTurn": "turn", "TalkOfCalls": "talk"}
)
