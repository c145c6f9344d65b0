"""The conversation of a call, the calls in progress, and the history of finished ones."""

from pbxrouter.call.active_calls import (
    ActiveCalls,
    GatewayCall,
    Phase,
    short,
)
from pbxrouter.call.asterisk_finder import AsteriskFinder
from pbxrouter.call.flow import CallFlow
from pbxrouter.call.history_writer import HistoryWriter, row_of
from pbxrouter.call.journal import CallJournal, JournalEntry
from pbxrouter.call.journal_file import journal_files, read_journal
from pbxrouter.call.pin_calls import PinCalls
from pbxrouter.call.pin_change import PinChanges
from pbxrouter.call.pin_guard import PinAttempt, PinGuard, PinSource, PinStatistics
from pbxrouter.call.proof import CallProofs
from pbxrouter.call.record import SUCCESSFUL, CallRecord, GatewayOutcome, outcome_kind, outcome_sentence
from pbxrouter.call.refusals import Refusals
from pbxrouter.call.repeats import RepeatedCalls
from pbxrouter.call.reports import Reports

__all__ = [
    "SUCCESSFUL",
    "ActiveCalls",
    "AsteriskFinder",
    "CallFlow",
    "CallJournal",
    "CallProofs",
    "CallRecord",
    "GatewayCall",
    "GatewayOutcome",
    "HistoryWriter",
    "JournalEntry",
    "Phase",
    "PinAttempt",
    "PinCalls",
    "PinChanges",
    "PinGuard",
    "PinSource",
    "PinStatistics",
    "Refusals",
    "RepeatedCalls",
    "Reports",
    "journal_files",
    "outcome_kind",
    "outcome_sentence",
    "read_journal",
    "row_of",
    "short",
]
