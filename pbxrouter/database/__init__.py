"""The SQLite database: opening it safely, its schema, its upgrades.

All functions block and know no Twisted; the gateway calls them in a thread (``database.store``),
the command line directly. Failures are StoreErrors. What is kept in the tables has a package for
each subject: ``rules``, ``audit``, ``people``, ``click``, ``calls``.
"""

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
from pbxrouter.database.upgrade import SCHEMA_VERSION, upgrade

__all__ = [
    "OPTIONS",
    "SCHEMA_VERSION",
    "TIMEOUT_S",
    "connect",
    "create",
    "explain",
    "path_of",
    "prepare",
    "reading",
    "transaction",
    "upgrade",
    "uri_of",
]
