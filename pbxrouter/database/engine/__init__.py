"""The database engines, SQLite and PostgreSQL: one face for both, and all in which they differ.

``protocol`` has the connection that the subjects' SQL is written for. psycopg is imported only for a database of
PostgreSQL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbxrouter.database.engine.catalogue import Column, begin_behind, columns_of, empty_tables, last_numbers, tables_of
from pbxrouter.database.engine.ddl import part_for, postgresql_of
from pbxrouter.database.engine.dialect import FUNCTIONS, POSTGRESQL, SQLITE, Dialect, dialect_of, is_sqlite
from pbxrouter.database.engine.errors import (
    CONSTRAINT_ERRORS,
    DATABASE_ERRORS,
    ConstraintError,
    ConstraintViolated,
    DatabaseError,
    EngineError,
)
from pbxrouter.database.engine.protocol import Connection, Cursor, Values
from pbxrouter.database.engine.rule_changes import CHANNEL, RULES_CHANGED, rule_triggers
from pbxrouter.lazy import lazy_names

if TYPE_CHECKING:
    from pbxrouter.database.engine.postgresql import ANSWER_S, PostgreSQLConnection, connect_to_server

__all__ = [
    "ANSWER_S",
    "CHANNEL",
    "CONSTRAINT_ERRORS",
    "DATABASE_ERRORS",
    "FUNCTIONS",
    "POSTGRESQL",
    "RULES_CHANGED",
    "SQLITE",
    "Column",
    "Connection",
    "ConstraintError",
    "ConstraintViolated",
    "Cursor",
    "DatabaseError",
    "Dialect",
    "EngineError",
    "PostgreSQLConnection",
    "Values",
    "begin_behind",
    "columns_of",
    "connect_to_server",
    "dialect_of",
    "empty_tables",
    "is_sqlite",
    "last_numbers",
    "part_for",
    "postgresql_of",
    "rule_triggers",
    "tables_of",
]

# They import psycopg, which need not be installed.
__getattr__ = lazy_names(
    __name__,
    {"ANSWER_S": "postgresql", "PostgreSQLConnection": "postgresql", "connect_to_server": "postgresql"},
)
