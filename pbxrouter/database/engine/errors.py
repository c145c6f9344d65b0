"""The failures of both engines, as tuples for ``except``, without importing psycopg."""

from __future__ import annotations

import sqlite3
from typing import Final


class EngineError(Exception):
    """A failure of PostgreSQL, or of the connection to it.

    The message is the server's first line: neither values of rows nor a password are in it.

    Attributes:
        sqlstate: PostgreSQL's code of five characters; ``""`` where there is none, as when the connection is lost.
    """

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate: Final = sqlstate


class ConstraintViolated(EngineError):
    """A constraint of the database was violated.

    The message is written as SQLite writes it: ``UNIQUE constraint failed: users.user_pin``, ``CHECK constraint
    failed: pattern_is_not_empty``, ``FOREIGN KEY constraint failed``, ``NOT NULL constraint failed: users.user_name``.

    Attributes:
        constraint: its name; ``""`` for NOT NULL.
    """

    def __init__(self, message: str, sqlstate: str, constraint: str) -> None:
        super().__init__(message, sqlstate)
        self.constraint: Final = constraint


DATABASE_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError, EngineError)
"""What a Connection raises; the second for a message of SQLite with a damaged name in it."""
CONSTRAINT_ERRORS: Final = (sqlite3.IntegrityError, ConstraintViolated)
"""What a Connection raises for a violated constraint."""

ConstraintError = sqlite3.IntegrityError | ConstraintViolated
"""One of CONSTRAINT_ERRORS, for annotations."""
DatabaseError = sqlite3.Error | UnicodeDecodeError | EngineError
"""One of DATABASE_ERRORS, for annotations."""
