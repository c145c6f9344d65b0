"""Rows as the audit log keeps them: read exactly, written as JSON, and put back.

Exactly, since an undo must bring back what was there: a BLOB where text belongs, and text
that is not UTF-8, are kept as their bytes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pbxrouter.errors import EditConflict
from pbxrouter.text import Sentence, sentence

Row = dict[str, Any]
"""A row by its columns: text, numbers, None, bytes (BLOBs), RawText."""


class RawText(bytes):
    """Text that is not UTF-8, as its bytes."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose changes may be recorded.

    Attributes:
        row_id: the column that numbers its rows.
        key: what tells a row from others. Of a grant that is who and what: its number
            is given again to others after it is gone, and nobody refers to it.
        children: tables and columns that point here, whose rows go with the row.
    """

    name: str
    row_id: str
    key: tuple[str, ...]
    children: tuple[tuple[str, str], ...] = ()


def _table(name: str, row_id: str, *key: str, children: tuple[tuple[str, str], ...] = ()) -> Table:
    return Table(name, row_id, key or (row_id,), children)


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
        _table("extensions", "extension_id", children=(("extensions_mappings", "extension_id"),)),
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
    """One row's change; None where there was, or is, no row."""

    table: Table
    key: Row
    before: Row | None
    after: Row | None


def to_text(changes: list[Recorded]) -> str:
    """Changes as the column ``changes`` keeps them."""
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
    """What ``to_text`` wrote; None if a hand has made something else of it."""
    try:
        return [_recorded(item) for item in json.loads(text)]  # type: ignore[arg-type]  # caught below
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _recorded(item: dict[str, Any]) -> Recorded:
    table, key = TABLES[item["table"]], _unpacked(item["key"])
    if tuple(key) != table.key:
        raise ValueError("not the table's key")
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
    raise ValueError("no value of a row")


# --- rows in the database -----------------------------------------------------


def rows_with(connection: sqlite3.Connection, table: Table, where: Mapping[str, Any]) -> list[Row]:
    """The rows whose columns have these values, as they are, in the order of their numbers."""
    condition = " AND ".join(f"{column} = {_place(column, value)}" for column, value in where.items())
    query = f"SELECT * FROM {table.name} WHERE {condition} ORDER BY {table.row_id}"
    with _exact(connection):
        found = connection.execute(query, dict(where))
        columns = [part[0] for part in found.description]
        return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def insert_row(connection: sqlite3.Connection, table: Table, row: Row) -> int:
    """Put a row there, and return its number."""
    places = ", ".join(_place(column, value) for column, value in row.items())
    done = connection.execute(f"INSERT INTO {table.name} ({', '.join(row)}) VALUES ({places})", row)
    assert done.lastrowid is not None
    return done.lastrowid


def update_row(connection: sqlite3.Connection, table: Table, row_id: int, values: Row) -> None:
    """Change columns of the row of a number."""
    places = ", ".join(f"{column} = {_place(column, value)}" for column, value in values.items())
    connection.execute(
        f"UPDATE {table.name} SET {places} WHERE {table.row_id} = :_row_id", {**values, "_row_id": row_id}
    )


def delete_row(connection: sqlite3.Connection, table: Table, row_id: int) -> None:
    """Take the row of a number away."""
    connection.execute(f"DELETE FROM {table.name} WHERE {table.row_id} = :row_id", {"row_id": row_id})


def columns_of(connection: sqlite3.Connection, table: Table) -> frozenset[str]:
    """The columns that a table has."""
    return frozenset(part[0] for part in connection.execute(f"SELECT * FROM {table.name} LIMIT 0").description)


def key_of(table: Table, row: Row) -> Row:
    """What tells a row from others."""
    return {column: row[column] for column in table.key}


def is_as_left(table: Table, now: Row, left: Row) -> bool:
    """Whether a row still says what it said; a number that nobody refers to does not count."""
    return all(
        column in now and type(now[column]) is type(value) and now[column] == value
        for column, value in left.items()
        if column in table.key or column != table.row_id
    )


def explain_conflict(error: sqlite3.IntegrityError) -> EditConflict:
    """What a constraint of the database means to whoever changes it."""
    why = str(error)
    for constraint, message, field in _CONSTRAINTS:
        if constraint in why:
            return EditConflict(message, field)
    return EditConflict(sentence("the database does not accept this: {why}", why=why))


def unreadable() -> EditConflict:
    """What is said of an entry that a hand, or a later version, has written."""
    return EditConflict(sentence("the rows in this entry of the audit log cannot be read"))


_CONSTRAINTS: Final = (
    ("users.user_pin", Sentence("this PIN cannot be used; choose another one"), "pin"),
    ("extensions.extension_number", Sentence("there is an extension with this number already"), "number"),
    ("console_users.login", Sentence("somebody has this login already"), "login"),
    (
        "api_tokens.name",
        Sentence("there is a token of this name already; revoke it or choose another name"),
        "name",
    ),
    ("s_mappings.", Sentence("this grant is there already"), ""),
    ("FOREIGN KEY", Sentence("something that this needs is gone"), ""),
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
