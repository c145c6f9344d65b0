"""The SQLite database: opening it safely, its schema, its upgrades.

All functions block and know no Twisted; the gateway calls them in a thread (``database.store``),
the command line directly. Failures are StoreErrors. What is kept in the tables has a package for
each subject: ``rules``, ``audit``, ``people``, ``click``, ``calls``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbxrouter.database.connection import (
    OPTIONS,
    TIMEOUT_S,
    connect,
    create,
    explain,
    path_of,
    prepare,
    reading,
    transaction,
    uri_of,
)
from pbxrouter.database.edit_text import MAX_NAME
from pbxrouter.database.guesses import (
    WrongGuesses,
    admit_guess,
    forget_guesses,
    lift_guesses,
    list_guesses,
    refund_guess,
)
from pbxrouter.database.paging import MAX_LIMIT, MAX_SEARCH, Page
from pbxrouter.database.sql_split import Statement, split
from pbxrouter.database.upgrade import SCHEMA_VERSION, upgrade, version_of
from pbxrouter.lazy import lazy_names

if TYPE_CHECKING:
    from pbxrouter.database.store import Store

__all__ = [
    "MAX_LIMIT",
    "MAX_NAME",
    "MAX_SEARCH",
    "OPTIONS",
    "SCHEMA_VERSION",
    "TIMEOUT_S",
    "Page",
    "Statement",
    "Store",
    "WrongGuesses",
    "admit_guess",
    "connect",
    "create",
    "explain",
    "forget_guesses",
    "lift_guesses",
    "list_guesses",
    "path_of",
    "prepare",
    "reading",
    "refund_guess",
    "split",
    "transaction",
    "upgrade",
    "uri_of",
    "version_of",
]

__getattr__ = lazy_names(__name__, {"Store": "store"})
