"""The triggers that write the audit log, generated for every audited table and each engine.

The triggers are the only writer of rows into the audit log, for changes by console, API, commands and phones as for
those by any SQL tool, so each change has exactly one record, and all records look the same. ``tables`` says what is
recorded; ``sqlite`` and ``postgresql`` make the triggers of it.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from pbxrouter.database.audit_triggers import sqlite
from pbxrouter.database.audit_triggers.tables import TABLES, AuditedTable, Unique
from pbxrouter.database.engine import Connection

__all__ = [
    "TABLES",
    "AuditedTable",
    "Unique",
    "begin_entry",
    "drop_triggers",
    "end_entry",
    "ensure_any_missing",
    "ensure_triggers",
]


def ensure_triggers(connection: Connection) -> None:
    """Create the triggers of all audited tables, if they are missing or are not these.

    They are missing after a table was rebuilt with SQL. The transaction that is open is used, else one of its own.

    Raises:
        One of DATABASE_ERRORS: the database cannot be written.
    """
    _engine(connection).ensure_triggers(connection)


def ensure_any_missing(connection: Connection) -> None:
    """As ensure_triggers, in little time if none is missing: before a change that must be recorded.

    Raises:
        One of DATABASE_ERRORS: the database cannot be written.
    """
    _engine(connection).ensure_any_missing(connection)


def drop_triggers(connection: Connection) -> None:
    """Drop the triggers of the audit log, in the transaction that is open: an upgrade is no change to record."""
    _engine(connection).drop_triggers(connection)


def begin_entry(connection: Connection, who: str, via: str, now: float) -> None:
    """Begin an entry in the open transaction: what is changed from now on is recorded under this author.

    Args:
        now: epoch seconds.
    """
    _engine(connection).begin_entry(connection, who, via, now)


def end_entry(connection: Connection) -> int | None:
    """End it, before the transaction is committed; return its number, or None if nothing was changed."""
    number: int | None = _engine(connection).end_entry(connection)
    return number


def _engine(connection: Connection) -> Any:
    if isinstance(connection, sqlite3.Connection):
        return sqlite
    from pbxrouter.database.audit_triggers import postgresql

    return postgresql
