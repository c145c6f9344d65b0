"""The audit log of changes, and undoing them."""

from pbxrouter.database.audit.entries import (
    MAX_ENTRIES,
    MAX_SHOWN,
    AuditDetail,
    AuditEntry,
    AuditSearch,
    RowChange,
    details_of,
    entries_about,
    entry,
    find_entries,
)
from pbxrouter.database.audit.log import (
    Actor,
    Change,
    changing,
    note,
    undo,
)

__all__ = [
    "MAX_ENTRIES",
    "MAX_SHOWN",
    "Actor",
    "AuditDetail",
    "AuditEntry",
    "AuditSearch",
    "Change",
    "RowChange",
    "changing",
    "details_of",
    "entries_about",
    "entry",
    "find_entries",
    "note",
    "undo",
]
