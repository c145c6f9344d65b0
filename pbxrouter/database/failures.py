"""Explains failures of SQLite and of opening a database file, each in one line that says what to do."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from typing import Final

from pbxrouter.errors import DatabaseLocked, DatabaseMissing, NotADatabase, StoreError
from pbxrouter.text import Sentence, sentence

SQLITE_2: Final = b"** This file contains an SQLite 2"
"""The beginning of a database that SQLite 2 wrote."""


def dump_first(path: Path) -> Sentence:
    """What to do with a database that SQLite 2 wrote."""
    return sentence(
        "{path} is an SQLite 2 database: dump it with `sqlite {path} .dump > workshop.sql`, "
        "then `pbxrouter import workshop.sql`",
        path=path,
    )


def store_error(error: sqlite3.Error | OSError, path: Path) -> StoreError:
    """The StoreError for an error of sqlite3 or of the system; its message says what to do."""
    if isinstance(error, OSError):
        return _explain_unopened(error, path)
    # The low byte is the primary code. Errors of the Python module itself have no code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return DatabaseLocked(
                sentence("database {path} is locked: another program has not ended its transaction", path=path)
            )
        case sqlite3.SQLITE_NOTADB:
            return _explain_no_database(path)
        case sqlite3.SQLITE_CANTOPEN:
            return _explain_unopened(error, path)
        case sqlite3.SQLITE_CORRUPT:
            return StoreError(
                sentence(
                    "database {path} is damaged: restore a backup, or see .recover of sqlite3",
                    path=path,
                )
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return StoreError(
                sentence(
                    "database {path} cannot be written: its file or directory is read-only for this user",
                    path=path,
                )
            )
        case sqlite3.SQLITE_FULL:
            return StoreError(sentence("database {path} cannot be written: the disk is full", path=path))
        case sqlite3.SQLITE_IOERR:
            return StoreError(
                sentence("database {path} cannot be read or written: the disk reports an error", path=path)
            )
        case _:
            return StoreError(sentence("database {path}: {why}", path=path, why=error))


def _explain_unopened(error: sqlite3.Error | OSError, path: Path) -> StoreError:
    # Checked after the attempt: before it, the answer could change in between.
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            return NotADatabase(sentence("database {path} is a directory; accepted is a file", path=path))
    except (FileNotFoundError, NotADirectoryError):
        if not os.path.isdir(path.parent):
            return DatabaseMissing(
                sentence(
                    "database {path} cannot exist: there is no directory {folder}",
                    path=path,
                    folder=path.parent,
                )
            )
        if isinstance(error, sqlite3.Error | FileNotFoundError):
            return DatabaseMissing(
                sentence("database {path} does not exist: create it with `pbxrouter init`", path=path)
            )
    except OSError as why:
        return StoreError(sentence("database {path} cannot be opened: {why}", path=path, why=why.strerror))
    reason = error.strerror if isinstance(error, OSError) else _used_up()
    return StoreError(
        sentence(
            "database {path} cannot be opened: {why}",
            path=path,
            why=reason or Sentence("this user may not read and write it"),
        )
    )


def _used_up() -> str | None:
    """Why nothing can be opened, if it is not for the file: SQLite does not tell."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.strerror
    return None


def _explain_no_database(path: Path) -> NotADatabase:
    try:
        with path.open("rb") as file:
            beginning = file.read(len(SQLITE_2))
    except OSError:
        beginning = b""
    if beginning == SQLITE_2:
        return NotADatabase(dump_first(path))
    return NotADatabase(sentence("{path} is not a database; accepted is one that `pbxrouter init` creates", path=path))
