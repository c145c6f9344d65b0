"""Reads the workshop's tables from a file: SQL text, or an SQLite 3 database.

A database is copied first, with its journals, and the copy is opened: SQLite would write beside the
original even to read it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Final

from pbxrouter.database import SQLITE_2, dump_first
from pbxrouter.errors import ImportRefused
from pbxrouter.text import file_text, printable
from pbxrouter.workshop.sql import read_sql
from pbxrouter.workshop.tables import (
    ACCEPTED,
    COLUMNS,
    MAX_BYTES,
    WorkshopTables,
    decode,
    read_tables,
    refuse_columns,
    refuse_missing,
)

_SQLITE_3: Final = b"SQLite format 3\0"
_BESIDE: Final = ("", "-wal", "-journal")
_TRIES: Final = 5


def read_file(path: Path) -> WorkshopTables:
    """Read the workshop's tables from a file, SQL text or an SQLite 3 database.

    Raises:
        ImportRefused: it cannot be read, or is something else.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ImportRefused(f"{path} cannot be read: {error.strerror}") from None
    if content.startswith(_SQLITE_3):
        return read_sqlite(path)
    if content.startswith(SQLITE_2):
        raise ImportRefused(dump_first(path).english)
    if not content.strip():
        raise ImportRefused(f"{path} is empty; {ACCEPTED}")
    _refuse_large(path, len(content))
    return read_sql(_decode_file(content, path), str(path))


def read_sqlite(path: Path) -> WorkshopTables:
    """Read the workshop's tables from an SQLite 3 database, which another program may be using.

    Raises:
        ImportRefused: it cannot be read, has other tables, or is written to all the time.
    """
    with tempfile.TemporaryDirectory(prefix="pbxrouter-") as directory:
        copy = Path(directory, "copy")
        try:
            _copy_unchanged(path, copy)
        except OSError as error:
            raise ImportRefused(f"{path} cannot be read: {error.strerror}") from None
        try:
            with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
                return _read_copy(connection, path)
        except UnicodeDecodeError:  # of a message of SQLite with a damaged name in it
            raise ImportRefused(f"{path} is damaged; accepted is an SQLite 3 database") from None
        except sqlite3.Error as error:
            raise ImportRefused(
                f"{path} cannot be read: {printable(str(error))}; accepted is an SQLite 3 database"
            ) from None


def _read_copy(connection: sqlite3.Connection, path: Path) -> WorkshopTables:
    connection.text_factory = decode
    connection.execute("PRAGMA trusted_schema = OFF")
    found = {name.lower() for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "schema_version" in found:
        raise ImportRefused(f"{path} is a database of pbxrouter itself; {ACCEPTED}")
    refuse_missing(str(path), found)
    for table in COLUMNS:
        columns = connection.execute(f'PRAGMA table_info("{table}")')
        refuse_columns(str(path), table, (column[1] for column in columns))
    return read_tables(connection)


def _copy_unchanged(path: Path, copy: Path) -> None:
    """Copy a database and its journals in one consistent state."""
    for _ in range(_TRIES):
        before = _state(path)
        _refuse_large(path, sum(size for size, _, _ in before if size))
        for suffix in _BESIDE:
            Path(f"{copy}{suffix}").unlink(missing_ok=True)
            try:
                shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
            except FileNotFoundError:
                if not suffix:
                    raise
        if _state(path) == before:
            return
    raise ImportRefused(f"{path} is being written to: stop the program that uses it, and try again")


def _state(path: Path) -> list[tuple[int | None, int, int]]:
    found: list[tuple[int | None, int, int]] = []
    for suffix in _BESIDE:
        try:
            status = os.stat(f"{path}{suffix}")
        except FileNotFoundError:
            found.append((None, 0, 0))
        else:
            found.append((status.st_size, status.st_mtime_ns, status.st_ino))
    return found


def _decode_file(content: bytes, path: Path) -> str:
    try:
        text = file_text(content)
    except UnicodeDecodeError:
        text = decode(content)
    if "\0" in text and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ImportRefused(f"{path} is neither SQL text nor an SQLite 3 database; {ACCEPTED}")
    return text


def _refuse_large(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise ImportRefused(
            f"{path} is larger than {MAX_BYTES // 2**20} MiB; accepted are files with the workshop's tables"
        )
