"""Reads the workshop's SQL by running it in a database in memory.

An authorizer allows nothing but the five tables. SQLite 2 stored 0123 in an INTEGER column as it was
written; here columns have no type and such numbers are quoted, so that they stay the same.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import Final

from pbxrouter.errors import ImportRefused
from pbxrouter.workshop.mysql import is_mysql_dump, sqlite_text
from pbxrouter.workshop.sql_split import Statement, split
from pbxrouter.workshop.tables import (
    COLUMNS,
    MAX_BYTES,
    WorkshopTables,
    decode,
    read_tables,
    refuse_columns,
    refuse_missing,
)

_OPCODES_BETWEEN_CHECKS: Final = 100_000
_MAX_CHECKS: Final = 500  # of one statement: seconds
_MAX_PAGES: Final = 65_536  # of 4 KiB

# Statements in dumps of SQLite 2 and 3 that do not matter here.
_SKIPPED: Final = frozenset({"BEGIN", "COMMIT", "END", "PRAGMA", "ANALYZE", "VACUUM", "REINDEX"})
_SKIPPED_PAIRS: Final = frozenset(
    {
        ("CREATE", "INDEX"),
        ("CREATE", "UNIQUE"),
        ("DROP", "INDEX"),
        ("DELETE", "FROM", "SQLITE_SEQUENCE"),
        ("INSERT", "INTO", "SQLITE_SEQUENCE"),
    }
)
_HARMLESS: Final = frozenset(
    "abs char coalesce count glob hex ifnull length like lower ltrim max min nullif quote replace rtrim "
    "substr total trim unistr upper".split()
)
_ESCAPE: Final = re.compile(r"\\(?:(\\)|u([0-9A-Fa-f]{4})|\+([0-9A-Fa-f]{6})|U([0-9A-Fa-f]{8})|([0-9A-Fa-f]{4}))")
_ALLOWED: Final = "accepted are CREATE TABLE, INSERT, UPDATE and DELETE on the workshop's five tables"


def read_sql(text: str, source: str = "the SQL") -> WorkshopTables:
    """Read the workshop's tables from SQL text.

    Accepted are the workshop's own statements, also with the lines that mark a code
    block, and dumps by SQLite 2 and 3, MySQL and MariaDB.

    Args:
        text: the statements.
        source: the name of the text in messages, such as the file's.

    Raises:
        ImportRefused: a statement fails or is not accepted, or a table is missing or
            has other columns. The message names the line, without any value.
    """
    if len(text) > MAX_BYTES:
        raise ImportRefused(f"{source} is longer than {MAX_BYTES // 2**20} MiB; accepted are the workshop's tables")
    if "\0" in text:
        raise ImportRefused(f"{source} has a NUL character, so it is no SQL text; {_ALLOWED}")
    if is_mysql_dump(text):
        text = sqlite_text(text)
    with closing(_Scratch(source)) as scratch:
        for statement in split(text.removeprefix("\ufeff"), keep_digits=True):
            scratch.run(statement)
        return scratch.tables()


class _Scratch:
    """A database in memory that accepts the five tables only."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._rows = _memory()
        self._rows.execute(f"PRAGMA max_page_count = {_MAX_PAGES}")
        self._rows.set_authorizer(_authorize_rows)
        self._rows.set_progress_handler(self._check, _OPCODES_BETWEEN_CHECKS)
        # The tables as the text creates them, for their columns.
        self._shape = _memory()
        self._shape.set_authorizer(_authorize_shape)
        self._made: set[str] = set()
        self._checks = 0

    def close(self) -> None:
        self._rows.close()
        self._shape.close()

    def run(self, statement: Statement) -> None:
        words = statement.words
        if words[:1] and (words[0] in _SKIPPED or words[:2] in _SKIPPED_PAIRS or words[:3] in _SKIPPED_PAIRS):
            return
        if words[:2] == ("DROP", "TABLE") and not self._made:
            return  # Before the tables are made, as some dumps do.
        self._checks = 0
        where = f"{self._source}, line {statement.line}"
        try:
            if words[:2] == ("CREATE", "TABLE"):
                self._make_table(statement, where)
            else:
                self._rows.execute(statement.text)
        except sqlite3.Error as error:
            # `from None`: SQLite's message can contain a PIN.
            raise ImportRefused(f"{where}: {statement.head}: {_in_words(error)}") from None
        except (ValueError, UnicodeError, sqlite3.Warning):
            raise ImportRefused(f"{where}: {statement.head}: no SQL text") from None

    def tables(self) -> WorkshopTables:
        refuse_missing(self._source, self._made)
        self._rows.set_authorizer(None)
        return read_tables(self._rows)

    def _make_table(self, statement: Statement, where: str) -> None:
        self._shape.execute(statement.text)
        self._shape.set_authorizer(None)
        names = self._shape.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in names:
            table = name.lower()
            if table in self._made or table not in COLUMNS:
                continue
            columns = self._shape.execute(f'PRAGMA table_info("{name}")').fetchall()
            refuse_columns(where, table, (column[1] for column in columns))
            self._rows.set_authorizer(None)
            self._rows.execute(f'CREATE TABLE "{table}" ({", ".join(_untyped(table, column) for column in columns)})')
            self._rows.set_authorizer(_authorize_rows)
            self._made.add(table)
        self._shape.set_authorizer(_authorize_shape)

    def _check(self) -> int:
        self._checks += 1
        return int(self._checks > _MAX_CHECKS)


def _memory() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.text_factory = decode
    # SQLite 3.50 dumps texts with line ends by it; older ones lack it.
    connection.create_function("unistr", 1, _unistr, deterministic=True)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_BYTES)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    return connection


def _unistr(text: object) -> str | None:
    """SQLite's function of this name: a text with its escapes replaced; NULL for NULL."""
    if text is None:
        return None
    return _ESCAPE.sub(
        lambda found: "\\" if found[1] == "\\" else chr(int(next(filter(None, found.groups()[1:])), 16)), str(text)
    )


def _untyped(table: str, column: tuple[int, str, str, int, str | None, int]) -> str:
    """A column's definition without a type, from a row of table_info, so that values are stored unchanged."""
    _, name, _, _, default, _ = column
    if name.lower() == COLUMNS[table][0]:
        return f'"{name}" INTEGER PRIMARY KEY'
    return f'"{name}"' + (f" DEFAULT ({default})" if default is not None else "")


def _authorize_rows(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    match action:
        case sqlite3.SQLITE_SELECT:
            return sqlite3.SQLITE_OK
        case sqlite3.SQLITE_FUNCTION if (second or "").lower() in _HARMLESS:
            return sqlite3.SQLITE_OK
        case sqlite3.SQLITE_INSERT | sqlite3.SQLITE_UPDATE | sqlite3.SQLITE_DELETE | sqlite3.SQLITE_READ:
            return sqlite3.SQLITE_OK if (first or "").lower() in COLUMNS else sqlite3.SQLITE_DENY
        case _:
            return sqlite3.SQLITE_DENY


def _authorize_shape(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    match action:
        case sqlite3.SQLITE_CREATE_TABLE:
            allowed = (first or "").lower() in {*COLUMNS, "sqlite_sequence"}
        case sqlite3.SQLITE_INSERT | sqlite3.SQLITE_UPDATE | sqlite3.SQLITE_READ:
            allowed = (first or "").startswith("sqlite_")
        case sqlite3.SQLITE_CREATE_INDEX | sqlite3.SQLITE_REINDEX:
            allowed = True  # those that come with UNIQUE
        case sqlite3.SQLITE_FUNCTION:
            allowed = (second or "").lower() in _HARMLESS
        case _:
            allowed = False
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _in_words(error: sqlite3.Error) -> str:
    """SQLite's message, without values."""
    words = str(error)
    if isinstance(error, sqlite3.ProgrammingError) and "bindings" in words:
        return "a placeholder such as ? stands where a value must be"
    # Python's own errors have no code.
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF:
        case sqlite3.SQLITE_AUTH:
            return f"not accepted; {_ALLOWED}"
        case sqlite3.SQLITE_ERROR if words.startswith("not authorized"):
            return f"not accepted; {_ALLOWED}"
        case sqlite3.SQLITE_INTERRUPT | sqlite3.SQLITE_FULL | sqlite3.SQLITE_TOOBIG:
            return f"it asks for too much work; {_ALLOWED}"
    if re.search(r"\bhas \d+ columns but \d+ values\b", words) or words.startswith("UNIQUE constraint failed"):
        return words
    if words.startswith(("no such table", "table ")) and not re.search(r"\d", words):
        return words
    return "SQLite cannot read it" if "near" in words or "token" in words else "SQLite does not accept it"
