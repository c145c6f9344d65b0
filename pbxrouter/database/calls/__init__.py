"""The history of calls in the database."""

from pbxrouter.database.calls.csv_rows import CallsCsv
from pbxrouter.database.calls.history import (
    CHUNK,
    UNKNOWN,
    CallPage,
    CallRow,
    KeptCall,
    ListPosition,
    Search,
    add_calls,
    call,
    find_calls,
    find_page,
    forget_calls,
    outcomes,
    trace_text,
)

__all__ = [
    "CHUNK",
    "UNKNOWN",
    "CallPage",
    "CallRow",
    "CallsCsv",
    "KeptCall",
    "ListPosition",
    "Search",
    "add_calls",
    "call",
    "find_calls",
    "find_page",
    "forget_calls",
    "outcomes",
    "trace_text",
]
