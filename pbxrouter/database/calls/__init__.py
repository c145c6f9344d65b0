"""The history of calls in the database."""

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
    csv_cells,
    csv_heading,
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
    "KeptCall",
    "ListPosition",
    "Search",
    "add_calls",
    "call",
    "csv_cells",
    "csv_heading",
    "find_calls",
    "find_page",
    "forget_calls",
    "outcomes",
    "trace_text",
]
