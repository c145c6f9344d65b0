"""Rows of the audit log, as the triggers wrote them (database.audit_triggers), and of the tables that it is about.

An undo must restore what was there, so a BLOB in a text column, and text that is not UTF-8, are
kept as bytes.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pbxrouter.database.audit_triggers import TABLES, AuditedTable
from pbxrouter.database.edit_text import EXTENSION_TAKEN, PIN_TAKEN
from pbxrouter.database.engine import Connection, ConstraintError
from pbxrouter.errors import EditConflict
from pbxrouter.text import Sentence, sentence

UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What reading rows raises that another program has written."""
PIN_HASH: Final = re.compile(r"[0-9a-f]{64}")

Row = dict[str, Any]
"""A row by column: text, numbers, None, bytes (a BLOB), RawText, HIDDEN."""


class RawText(bytes):
    """Text that is not UTF-8, as bytes."""


class Hidden:
    """A secret, such as a PIN in plain text, that the audit log does not keep."""

    def __repr__(self) -> str:
        """HIDDEN, as no secret is known."""
        return "HIDDEN"


HIDDEN: Final = Hidden()


@dataclass(frozen=True, slots=True)
class Recorded:
    """The recorded change of one row; None where there was, or is, no row."""

    table: AuditedTable
    key: Row
    before: Row | None
    after: Row | None


def recorded(table_name: str, before: str | None, after: str | None) -> Recorded:
    """Read a row of audit_rows.

    Raises:
        ValueError, KeyError: the triggers have not written it.
    """
    table = TABLES[table_name]
    rows = [None if text is None else _unpacked(json.loads(text)) for text in (before, after)]
    known = rows[0] if rows[0] is not None else rows[1]
    if known is None:
        raise ValueError("neither before nor after")
    return Recorded(table, key_of(table, known), rows[0], rows[1])


def from_text(text: object) -> list[Recorded] | None:
    """Read ``audit_log.changes`` of an entry from before schema version 10; None if the text is something else."""
    try:
        return [_recorded_then(item) for item in json.loads(text)]  # type: ignore[arg-type]  # caught below
    except UNREADABLE:
        return None


def _recorded_then(item: dict[str, Any]) -> Recorded:
    table, key = TABLES[item["table"]], _unpacked(item["key"])
    if tuple(key) != table.key:
        raise ValueError("the key is not the table's")
    before, after = (None if item[which] is None else _unpacked(item[which]) for which in ("before", "after"))
    return Recorded(table, key, before, after)


def _unpacked(row: Row) -> Row:
    return {str(column): _unpack(value) for column, value in row.items()}


def _unpack(value: Any) -> Any:
    if isinstance(value, dict):
        ((kind, content),) = value.items()
        return _KINDS[kind](content)
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError("this cannot be a value of a row")


def _text(digits: str) -> str | RawText:
    return _decode(bytes.fromhex(digits))


def _literal(text: str) -> bytes | float:
    return bytes.fromhex(text[2:-1]) if text[:1] in "Xx" else float(text)


_KINDS: Final[dict[str, Callable[[str], Any]]] = {
    "text": _text,
    "blob": bytes.fromhex,  # before schema version 10
    "sql": _literal,
    "hidden": lambda _: HIDDEN,
}


# --- rows in the database -----------------------------------------------------


def rows_with(connection: Connection, table: AuditedTable, where: Mapping[str, Any]) -> list[Row]:
    """The rows with these values, read exactly, by row number."""
    condition = " AND ".join(f"{column} = {_place(column, value)}" for column, value in where.items())
    query = f"SELECT * FROM {table.name} WHERE {condition} ORDER BY {table.row_id}"
    with _exact(connection):
        found = connection.execute(query, dict(where))
        columns = [part[0] for part in found.description or ()]
        return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def row_at(connection: Connection, table: AuditedTable, row_id: Any) -> Row | None:
    """The row of a number; None if there is none."""
    return next(iter(rows_with(connection, table, {table.row_id: row_id})), None)


def insert_row(connection: Connection, table: AuditedTable, row: Row) -> int:
    """Insert a row, and return its number."""
    places = ", ".join(_place(column, value) for column, value in row.items())
    statement = f"INSERT INTO {table.name} ({', '.join(row)}) VALUES ({places}) RETURNING {table.row_id}"
    (row_id,) = connection.execute(statement, row).fetchone()
    return int(row_id)


def update_row(connection: Connection, table: AuditedTable, row_id: int, values: Row) -> bool:
    """Update columns of a row, and return whether there is such a row."""
    places = ", ".join(f"{column} = {_place(column, value)}" for column, value in values.items())
    done = connection.execute(
        f"UPDATE {table.name} SET {places} WHERE {table.row_id} = :_row_id", {**values, "_row_id": row_id}
    )
    return done.rowcount > 0


def delete_row(connection: Connection, table: AuditedTable, row_id: int) -> bool:
    """Delete a row, and by foreign keys those that refer to it; return whether there was such a row."""
    done = connection.execute(f"DELETE FROM {table.name} WHERE {table.row_id} = :row_id", {"row_id": row_id})
    return done.rowcount > 0


def columns_of(connection: Connection, table: AuditedTable) -> frozenset[str]:
    """The columns of a table."""
    return frozenset(part[0] for part in connection.execute(f"SELECT * FROM {table.name} LIMIT 0").description or ())


def key_of(table: AuditedTable, row: Row) -> Row:
    """The values of a row's key."""
    return {column: row[column] for column in table.key}


def is_as_left(table: AuditedTable, now: Row, left: Row) -> bool:
    """Whether a row is unchanged; row numbers that are no key may differ.

    A secret that is not kept is taken for unchanged, if there is one that would not be kept.
    """
    return all(
        column in now and _is_as_left(column, now[column], value, table)
        for column, value in left.items()
        if column in table.key or column != table.row_id
    )


def _is_as_left(column: str, now: Any, left: Any, table: AuditedTable) -> bool:
    if left is HIDDEN:
        return now is not None and not (column in table.pins and isinstance(now, str) and PIN_HASH.fullmatch(now))
    return type(now) is type(left) and now == left


def explain_conflict(error: ConstraintError) -> EditConflict:
    """The EditConflict for a violated constraint."""
    why = str(error)
    for constraint, message, field in _CONSTRAINTS:
        if constraint in why:
            return EditConflict(message, field)
    return EditConflict(sentence("the database does not accept this: {why}", why=why))


def unreadable() -> EditConflict:
    """The error for an entry that another program, or a later version, has written."""
    return EditConflict(sentence("the rows in this entry of the audit log cannot be read"))


_CONSTRAINTS: Final = (
    ("users.user_pin", PIN_TAKEN, "pin"),
    ("extensions.extension_number", EXTENSION_TAKEN, "number"),
    ("console_users.login", Sentence("this login is already taken"), "login"),
    (
        "api_tokens.name",
        Sentence("there is already a token with this name; revoke it or choose another name"),
        "name",
    ),
    ("s_mappings.", Sentence("this grant already exists"), ""),
    ("FOREIGN KEY", Sentence("something that this change needs no longer exists"), ""),
)


def _place(column: str, value: Any) -> str:
    return f"CAST(:{column} AS TEXT)" if isinstance(value, RawText) else f":{column}"


@contextmanager
def _exact(connection: Connection) -> Iterator[None]:
    if not isinstance(connection, sqlite3.Connection):
        yield
        return
    usual = connection.text_factory
    connection.text_factory = _decode
    try:
        yield
    finally:
        connection.text_factory = usual


def _decode(stored: bytes) -> str | RawText:
    try:
        return stored.decode("utf-8")
    except UnicodeDecodeError:
        return RawText(stored)
