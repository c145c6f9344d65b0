"""The history of calls in the database."""

from pbxrouter.database.calls.csv_process import CSV_PROGRAM, CsvOrder
from pbxrouter.database.calls.csv_rows import CallsCsv
from pbxrouter.database.calls.history import (
    GOES_ON,
    UNKNOWN,
    CallPage,
    CallRow,
    KeptCall,
    ListPosition,
    Search,
    add_calls,
    call,
    complete_calls,
    find_calls,
    find_page,
    forget_calls,
    left_calls,
    outcomes,
    trace_text,
)

__all__ = [
    "CSV_PROGRAM",
    "GOES_ON",
    "UNKNOWN",
    "CallPage",
    "CallRow",
    "CallsCsv",
    "CsvOrder",
    "KeptCall",
    "ListPosition",
    "Search",
    "add_calls",
    "call",
    "complete_calls",
    "find_calls",
    "find_page",
    "forget_calls",
    "left_calls",
    "outcomes",
    "trace_text",
]
