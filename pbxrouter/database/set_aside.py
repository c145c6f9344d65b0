"""Writes many rows so that one that cannot be written does not hold up the others.

Such a row is set aside: it goes as a line of JSON into a file beside the database (for one of PostgreSQL: beside the
settings), from where it can be looked at, and the rest is written.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pbxrouter.config import Place, beside
from pbxrouter.database.backup import place_of
from pbxrouter.database.engine import Connection, ConstraintViolated, EngineError
from pbxrouter.database.values import storable
from pbxrouter.text import printable

SUFFIX: Final = ".set-aside"
"""What the name of the file has behind that of the database."""
MAX_FILE: Final = 10_000_000
"""Bytes of the file; further rows are counted and named in the log, but not kept."""
MAX_CELL: Final = 2000
"""Characters that the file keeps of each value."""

_OF_THE_ROW: Final = (
    UnicodeError,
    OverflowError,
    TypeError,
    ValueError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)
_PERHAPS_OF_THE_ROW: Final = frozenset(
    {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_INTERNAL}
)
_STATES_OF_THE_ROW: Final = ("22",)
"""How the codes of PostgreSQL's errors begin that are of the row."""
_STATES_PERHAPS_OF_THE_ROW: Final = ("42", "54", "P0", "XX")


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A row that cannot be written.

    Attributes:
        place: its place among the rows that were to be written.
        values: the row.
        error: why not.
    """

    place: int
    values: Sequence[object]
    error: Exception


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row that was set aside.

    Attributes:
        place: its place among the rows that were to be written.
        why: the error.
        file: where it is kept; ``""`` if it is not.
    """

    place: int
    why: str
    file: str = ""

    @property
    def where(self) -> str:
        """What became of it, for the log."""
        return f"it is set aside in {self.file}" if self.file else "it is left out"


def set_aside_file(place: Place) -> Path:
    """The file that keeps what was set aside of a database."""
    return beside(place, SUFFIX)


def write_rows(connection: Connection, statement: str, rows: Sequence[Sequence[object]]) -> list[FailedRow]:
    """Write rows in the transaction that is open, but for those that cannot be written.

    Args:
        statement: with a ``?`` for each value of a row.

    Returns:
        The rows that cannot be written; they go to ``keep_aside`` when the transaction is committed.

    Raises:
        DATABASE_ERRORS: the database cannot be written, whichever the row.
    """
    values = [tuple(map(storable, row)) for row in rows]
    connection.execute("SAVEPOINT all_rows")
    try:
        connection.executemany(statement, values)
    except Exception as error:
        if not connection.in_transaction or not _may_be_of_a_row(error):
            raise
        connection.execute("ROLLBACK TO all_rows")
        failed = _one_by_one(connection, statement, values)
    else:
        failed = []
    connection.execute("RELEASE all_rows")
    return failed


def _one_by_one(connection: Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> list[FailedRow]:
    """Write each row by itself."""
    failed: list[FailedRow] = []
    for place, row in enumerate(rows):
        connection.execute("SAVEPOINT one_row")
        try:
            connection.execute(statement, row)
        except Exception as error:
            if not connection.in_transaction or not _may_be_of_a_row(error):
                raise
            connection.execute("ROLLBACK TO one_row")
            failed.append(FailedRow(place, row, error))
        connection.execute("RELEASE one_row")
    if len(failed) == len(rows):  # where none can be written, such an error says nothing about the rows
        for row_failed in failed:
            if not _is_of_a_row(row_failed.error):
                raise row_failed.error
    return failed


def _is_of_a_row(error: Exception) -> bool:
    """Whether the cause is the row."""
    if isinstance(error, EngineError):
        return isinstance(error, ConstraintViolated) or error.sqlstate.startswith(_STATES_OF_THE_ROW)
    return isinstance(error, _OF_THE_ROW)


def _may_be_of_a_row(error: Exception) -> bool:
    """Whether the cause may be the row, and not that the database is locked, full or damaged."""
    if _is_of_a_row(error):
        return True
    if isinstance(error, EngineError):
        return error.sqlstate.startswith(_STATES_PERHAPS_OF_THE_ROW)
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _PERHAPS_OF_THE_ROW


def keep_aside(connection: Connection, table: str, failed: Iterable[FailedRow]) -> list[SetAside]:
    """Write rows that cannot be written to the database into the file beside it. Never fails.

    Args:
        table: named in the file.
    """
    found = list(failed)
    if not found:
        return []
    place = place_of(connection)
    return [_keep(place, table, row) for row in found]


def _keep(place: Place, table: str, row: FailedRow) -> SetAside:
    why = printable(str(row.error), 300) or type(row.error).__name__
    line = json.dumps({"table": table, "why": why, "row": [_cell(value) for value in row.values]})
    file = set_aside_file(place)
    try:
        kept = file.is_absolute() and _append(file, line)
    except OSError:
        kept = False
    return SetAside(row.place, why, str(file) if kept else "")


def _cell(value: object) -> object:
    return value if value is None or isinstance(value, int | float) else printable(str(value), MAX_CELL)


def _append(file: Path, line: str) -> bool:
    """Append a line, unless the file is full."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(descriptor).st_size + len(line) > MAX_FILE:
            return False
        os.write(descriptor, f"{line}\n".encode("ascii"))
        return True
    finally:
        os.close(descriptor)
