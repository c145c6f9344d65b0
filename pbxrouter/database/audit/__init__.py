"""The audit log of changes, and undoing changes."""

from pbxrouter.database.audit.entries import (
    MAX_ENTRIES,
    MAX_SHOWN,
    NEVER_UNDONE,
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
    Edited,
    changing,
    note,
    undo,
    undo_together,
)

__all__ = [
    "MAX_ENTRIES",
    "MAX_SHOWN",
    "NEVER_UNDONE",
    "Actor",
    "AuditDetail",
    "AuditEntry",
    "AuditSearch",
    "Change",
    "Edited",
    "RowChange",
    "changing",
    "details_of",
    "entries_about",
    "entry",
    "find_entries",
    "note",
    "undo",
    "undo_together",
]
