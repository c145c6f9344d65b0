"""One call's conversation, and what is kept of it."""

from pbxrouter.call.active_calls import (
    ActiveCalls,
    GatewayCall,
    Phase,
    short,
)
from pbxrouter.call.flow import CallFlow
from pbxrouter.call.history import History
from pbxrouter.call.outcomes import WELL, outcome_kind, outcome_words
from pbxrouter.call.record import CallRecord, GatewayOutcome
from pbxrouter.call.refusals import Refusals
from pbxrouter.call.reports import Reports

__all__ = [
    "WELL",
    "ActiveCalls",
    "CallFlow",
    "CallRecord",
    "GatewayCall",
    "GatewayOutcome",
    "History",
    "Phase",
    "Refusals",
    "Reports",
    "outcome_kind",
    "outcome_words",
    "short",
]
