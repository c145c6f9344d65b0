"""Rows for the audit log: read exactly, written as JSON, restored.

An undo must restore what was there, so a BLOB in a text column, and text that is not UTF-8, are
kept as bytes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pbxrouter.database.edit_text import EXTENSION_TAKEN, PIN_TAKEN
from pbxrouter.errors import EditConflict
from pbxrouter.text import Sentence, sentence

Row = dict[str, Any]
"""A row by column: text, numbers, None, bytes (a BLOB), RawText."""


class RawText(bytes):
    """Text that is not UTF-8, as bytes."""


@dataclass(frozen=True, slots=True)
class AuditedTable:
    """A table whose changes are recorded.

    Attributes:
        row_id: the column with the row's number.
        key: the columns that identify a row. A grant's are holder and mapping: its number is
            reused after it is deleted, and no table refers to it.
        children: tables and columns that refer to this one; their rows are deleted with the row.
    """

    name: str
    row_id: str
    key: tuple[str, ...]
    children: tuple[tuple[str, str], ...] = ()


def _table(name: str, row_id: str, *key: str, children: tuple[tuple[str, str], ...] = ()) -> AuditedTable:
    return AuditedTable(name, row_id, key or (row_id,), children)


TABLES: Final = {
    table.name: table
    for table in (
        _table(
            "applications_mappings",
            "map_id",
            children=(
                ("extensions_mappings", "map_id"),
                ("users_mappings", "map_id"),
                ("mappings_disabled", "map_id"),
            ),
        ),
        _table("mappings_disabled", "map_id"),
        _table(
            "extensions",
            "extension_id",
            children=(("extensions_mappings", "extension_id"), ("extensions_endpoints", "extension_id")),
        ),
        _table("extensions_endpoints", "extension_id"),
        _table("extensions_mappings", "ext_map_id", "extension_id", "map_id"),
        _table("users", "user_id", children=(("users_mappings", "user_id"),)),
        _table("users_mappings", "usr_map_id", "user_id", "map_id"),
        _table("console_users", "console_user_id"),
        _table("api_tokens", "token_id"),
        _table("dial_links", "link_id"),
    )
}


@dataclass(frozen=True, slots=True)
class Recorded:
    """The recorded change of one row; None where there was, or is, no row."""

    table: AuditedTable
    key: Row
    before: Row | None
    after: Row | None


def to_text(changes: list[Recorded]) -> str:
    """Changes as JSON, for the column ``changes``."""
    return json.dumps(
        [
            {
                "table": change.table.name,
                "key": _packed(change.key),
                "before": None if change.before is None else _packed(change.before),
                "after": None if change.after is None else _packed(change.after),
            }
            for change in changes
        ]
    )


def from_text(text: object) -> list[Recorded] | None:
    """Read what ``to_text`` wrote; None if the text is something else."""
    try:
        return [_recorded(item) for item in json.loads(text)]  # type: ignore[arg-type]  # caught below
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _recorded(item: dict[str, Any]) -> Recorded:
    table, key = TABLES[item["table"]], _unpacked(item["key"])
    if tuple(key) != table.key:
        raise ValueError("the key is not the table's")
    before, after = (None if item[which] is None else _unpacked(item[which]) for which in ("before", "after"))
    return Recorded(table, key, before, after)


def _packed(row: Row) -> Row:
    return {column: _pack(value) for column, value in row.items()}


def _pack(value: Any) -> Any:
    if isinstance(value, RawText):
        return {"text": value.hex()}
    return {"blob": value.hex()} if isinstance(value, bytes) else value


def _unpacked(row: Row) -> Row:
    return {str(column): _unpack(value) for column, value in row.items()}


def _unpack(value: Any) -> Any:
    if isinstance(value, dict):
        ((kind, digits),) = value.items()
        return {"text": RawText, "blob": bytes}[kind](bytes.fromhex(digits))
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError("this cannot be a value of a row")


# --- rows in the database -----------------------------------------------------


def rows_with(connection: sqlite3.Connection, table: AuditedTable, where: Mapping[str, Any]) -> list[Row]:
    """The rows with these values, read exactly, by row number."""
    condition = " AND ".join(f"{column} = {_place(column, value)}" for column, value in where.items())
    query = f"SELECT * FROM {table.name} WHERE {condition} ORDER BY {table.row_id}"
    with _exact(connection):
        found = connection.execute(query, dict(where))
        columns = [part[0] for part in found.description]
        return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def insert_row(connection: sqlite3.Connection, table: AuditedTable, row: Row) -> int:
    """Insert a row, and return its number."""
    places = ", ".join(_place(column, value) for column, value in row.items())
    done = connection.execute(f"INSERT INTO {table.name} ({', '.join(row)}) VALUES ({places})", row)
    assert done.lastrowid is not None
    return done.lastrowid


def update_row(connection: sqlite3.Connection, table: AuditedTable, row_id: int, values: Row) -> None:
    """Update columns of a row."""
    places = ", ".join(f"{column} = {_place(column, value)}" for column, value in values.items())
    connection.execute(
        f"UPDATE {table.name} SET {places} WHERE {table.row_id} = :_row_id", {**values, "_row_id": row_id}
    )


def delete_row(connection: sqlite3.Connection, table: AuditedTable, row_id: int) -> None:
    """Delete a row of one of the tables that the audit log records."""
    connection.execute(f"DELETE FROM {table.name} WHERE {table.row_id} = :row_id", {"row_id": row_id})


def columns_of(connection: sqlite3.Connection, table: AuditedTable) -> frozenset[str]:
    """The columns of a table."""
    return frozenset(part[0] for part in connection.execute(f"SELECT * FROM {table.name} LIMIT 0").description)


def key_of(table: AuditedTable, row: Row) -> Row:
    """The values of a row's key."""
    return {column: row[column] for column in table.key}


def is_as_left(table: AuditedTable, now: Row, left: Row) -> bool:
    """Whether a row is unchanged; row numbers that are no key may differ."""
    return all(
        column in now and type(now[column]) is type(value) and now[column] == value
        for column, value in left.items()
        if column in table.key or column != table.row_id
    )


def explain_conflict(error: sqlite3.IntegrityError) -> EditConflict:
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
def _exact(connection: sqlite3.Connection) -> Iterator[None]:
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
