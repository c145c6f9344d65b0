"""The SQLite database: opening it safely, its schema and upgrades, and the rules in it.

Everything here blocks and knows no Twisted; the gateway calls it in a thread (store),
the command line directly. Failures are StoreErrors, one line each. Not here: what the
rules mean (rules), and the workshop's databases (workshop).
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
from pbxrouter.database.rows import add_sample, check_columns, read_rules, set_pin
from pbxrouter.database.upgrade import SCHEMA_VERSION, upgrade

__all__ = [
    "OPTIONS",
    "SCHEMA_VERSION",
    "TIMEOUT_S",
    "add_sample",
    "check_columns",
    "connect",
    "create",
    "explain",
    "path_of",
    "prepare",
    "read_rules",
    "reading",
    "set_pin",
    "transaction",
    "upgrade",
    "uri_of",
]
