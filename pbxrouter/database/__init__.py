"""The database, of SQLite or PostgreSQL: opening it, its schema, its upgrades.

All functions block and do not use Twisted; the gateway calls them in a thread (``Store``), the
command line directly. Failures are StoreErrors. Each subject has a package: ``rules``, ``audit``,
``access``, ``click_to_dial``, ``calls``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbxrouter.config import Place, PostgreSQLPlace
from pbxrouter.database.backup import place_of
from pbxrouter.database.connection import (
    OPTIONS,
    TIMEOUT_S,
    connect,
    connect_read_only,
    create,
    is_empty,
    peek_version,
    prepare,
    reading,
    transaction,
    uri_of,
)
from pbxrouter.database.edit_text import MAX_NAME
from pbxrouter.database.engine import (
    CONSTRAINT_ERRORS,
    DATABASE_ERRORS,
    Connection,
    ConstraintError,
    Cursor,
    dialect_of,
    is_sqlite,
)
from pbxrouter.database.failures import SQLITE_2, dump_first, refuse_no_file, store_error
from pbxrouter.database.guesses import (
    MAX_LISTED,
    LockoutFigures,
    WrongGuesses,
    admit_guess,
    forget_guesses,
    is_known,
    lift_guesses,
    lift_lockout,
    list_guesses,
    lockout_figures,
    note_known,
    refund_guess,
)
from pbxrouter.database.paging import MAX_LIMIT, MAX_SEARCH, Page
from pbxrouter.database.pin_calls import begin_pin_call, write_pin_calls
from pbxrouter.database.session_lock import (
    LockHolder,
    leave_lock,
    lock_holder,
    session_with_lock,
    take_lock,
    take_lock_from,
)
from pbxrouter.database.set_aside import FailedRow, SetAside, keep_aside, set_aside_file, write_rows
from pbxrouter.database.upgrade import SCHEMA_VERSION, WORKSHOP_TABLES, upgrade, version_of
from pbxrouter.database.values import count_of, seconds_of, shown_text, text_of
from pbxrouter.lazy import lazy_names

if TYPE_CHECKING:
    from pbxrouter.database.limited import LimitedDatabase
    from pbxrouter.database.migrate import carry_over
    from pbxrouter.database.store import Database, Store
    from pbxrouter.database.stores import open_store

__all__ = [
    "CONSTRAINT_ERRORS",
    "DATABASE_ERRORS",
    "MAX_LIMIT",
    "MAX_LISTED",
    "MAX_NAME",
    "MAX_SEARCH",
    "OPTIONS",
    "SCHEMA_VERSION",
    "SQLITE_2",
    "TIMEOUT_S",
    "WORKSHOP_TABLES",
    "Connection",
    "ConstraintError",
    "Cursor",
    "Database",
    "FailedRow",
    "LimitedDatabase",
    "LockHolder",
    "LockoutFigures",
    "Page",
    "Place",
    "PostgreSQLPlace",
    "SetAside",
    "Store",
    "WrongGuesses",
    "admit_guess",
    "begin_pin_call",
    "carry_over",
    "connect",
    "connect_read_only",
    "count_of",
    "create",
    "dialect_of",
    "dump_first",
    "forget_guesses",
    "is_empty",
    "is_known",
    "is_sqlite",
    "keep_aside",
    "leave_lock",
    "lift_guesses",
    "lift_lockout",
    "list_guesses",
    "lock_holder",
    "lockout_figures",
    "note_known",
    "open_store",
    "peek_version",
    "place_of",
    "prepare",
    "reading",
    "refund_guess",
    "refuse_no_file",
    "seconds_of",
    "session_with_lock",
    "set_aside_file",
    "shown_text",
    "store_error",
    "take_lock",
    "take_lock_from",
    "text_of",
    "transaction",
    "upgrade",
    "uri_of",
    "version_of",
    "write_pin_calls",
    "write_rows",
]

__getattr__ = lazy_names(
    __name__,
    {
        "carry_over": "migrate",
        "Database": "store",
        "LimitedDatabase": "limited",
        "Store": "store",
        "open_store": "stores",
    },
)
