"""The workshop's five tables: their columns, and how their rows are read.

SQLite 2, which the workshop used, stored values of any type in any column, so a number can be text,
integer or float, and text can be in any encoding.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Final

from pbxrouter.errors import ImportRefused

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "applications_mappings": ("map_id", "application_name", "application_data", "pattern"),
    "extensions": ("extension_id", "extension_number"),
    "extensions_mappings": ("ext_map_id", "extension_id", "map_id"),
    "users": ("user_id", "user_name", "user_pin"),
    "users_mappings": ("usr_map_id", "user_id", "map_id"),
}
"""The tables with their columns; the first is the key."""

ACCEPTED: Final = "accepted are the workshop's five tables: " + "; ".join(
    f"{table}({', '.join(columns)})" for table, columns in COLUMNS.items()
)

MAX_BYTES: Final = 64 * 1024 * 1024
"""The largest file that is read."""


@dataclass(frozen=True, slots=True)
class WorkshopTables:
    """The rows of a file, including NULLs and invalid values.

    Attributes:
        mappings: map_id, application_name, application_data, pattern.
        extensions: extension_id, extension_number.
        extension_grants: extension_id, map_id.
        users: user_id, user_name, the PIN in clear.
        user_grants: user_id, map_id.
    """

    mappings: tuple[tuple[int | None, str | None, str | None, str | None], ...]
    extensions: tuple[tuple[int | None, str | None], ...]
    extension_grants: tuple[tuple[int | None, int | None], ...]
    users: tuple[tuple[int | None, str | None, str | None], ...] = field(repr=False)
    user_grants: tuple[tuple[int | None, int | None], ...]

    def content(self) -> str:
        """A text that is the same for the same rows, in any order and file format. It contains PINs."""
        return json.dumps([sorted(map(json.dumps, getattr(self, column.name))) for column in fields(self)])


def read_tables(connection: sqlite3.Connection) -> WorkshopTables:
    """Read the five tables, which must exist, from a database."""

    def rows(table: str, *readers: Callable[[object], object]) -> Iterable[tuple[object, ...]]:
        columns = COLUMNS[table][-len(readers) :]
        names = ", ".join(f'"{column}"' for column in columns)
        for row in connection.execute(f'SELECT {names} FROM "{table}" ORDER BY "{COLUMNS[table][0]}"'):
            yield tuple(read(value) for read, value in zip(readers, row, strict=True))

    return WorkshopTables(
        mappings=tuple(rows("applications_mappings", _key, _text, _text, _text)),  # type: ignore[arg-type]
        extensions=tuple(rows("extensions", _key, _text)),  # type: ignore[arg-type]
        extension_grants=tuple(rows("extensions_mappings", _key, _key)),  # type: ignore[arg-type]
        users=tuple(rows("users", _key, _text, _text)),  # type: ignore[arg-type]
        user_grants=tuple(rows("users_mappings", _key, _key)),  # type: ignore[arg-type]
    )


def refuse_columns(where: str, table: str, found: Iterable[str]) -> None:
    """Check the columns of a table.

    Raises:
        ImportRefused: they are not the workshop's.
    """
    columns = [name.lower() for name in found]
    if sorted(columns) != sorted(COLUMNS[table]):
        raise ImportRefused(
            f"{where}: table {table} has the columns {', '.join(columns)}; accepted are {', '.join(COLUMNS[table])}"
        )


def refuse_missing(where: str, found: Iterable[str]) -> None:
    """Check that all five tables exist.

    Raises:
        ImportRefused: one is missing.
    """
    present = set(found)
    missing = [table for table in COLUMNS if table not in present]
    if missing:
        raise ImportRefused(f"{where} has no table {', '.join(missing)}; {ACCEPTED}")


def decode(stored: bytes) -> str:
    """Decode text: UTF-8, or else Windows-1252, which was usual in 2006."""
    try:
        return stored.decode("utf-8")
    except UnicodeDecodeError:
        return stored.decode("cp1252", "replace")


def _key(value: object) -> int | None:
    """A row number; None for a value that cannot be one."""
    text = _text(value)
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def _text(value: object) -> str | None:
    """A value as it was typed; None for NULL."""
    match value:
        case None:
            return None
        case bytes():
            return decode(value).strip()
        case float() if value.is_integer() and abs(value) < 2**53:
            return str(int(value))
        case _:
            return str(value).strip()
