"""The database engines, SQLite and PostgreSQL: one face for both, and all in which they differ.

``protocol`` has the connection that the subjects' SQL is written for. psycopg is imported only for a database of
PostgreSQL.
"""

from pbxrouter.database.engine.dialect import POSTGRESQL, SQLITE, Dialect, dialect_of, is_sqlite
from pbxrouter.database.engine.errors import (
    CONSTRAINT_ERRORS,
    DATABASE_ERRORS,
    ConstraintError,
    ConstraintViolated,
    DatabaseError,
    EngineError,
)
from pbxrouter.database.engine.protocol import Connection, Cursor, Values

__all__ = [
    "CONSTRAINT_ERRORS",
    "DATABASE_ERRORS",
    "POSTGRESQL",
    "SQLITE",
    "Connection",
    "ConstraintError",
    "ConstraintViolated",
    "Cursor",
    "DatabaseError",
    "Dialect",
    "EngineError",
    "Values",
    "dialect_of",
    "is_sqlite",
]
