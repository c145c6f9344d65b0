"""Explains failures of the engines and of opening a database file, each in one line that says what to do."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from pathlib import Path
from typing import Final

from pbxrouter.config import Place, PostgreSQLPlace
from pbxrouter.database.engine import DatabaseError, EngineError
from pbxrouter.database.server_failures import server_error
from pbxrouter.errors import DatabaseFull, DatabaseLocked, DatabaseMissing, NotADatabase, StoreError
from pbxrouter.text import Sentence, sentence

SQLITE_2: Final = b"** This file contains an SQLite 2"
"""The beginning of a database that SQLite 2 wrote."""

_SHM_BYTES: Final = 64 * 1024
_EFFECTIVE: Final = os.access in os.supports_effective_ids


SQLITE_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)
"""What the functions of sqlite3 raise for a database; the second for a message of SQLite with a damaged name in it."""


def dump_first(path: Path) -> Sentence:
    """What to do with a database that SQLite 2 wrote."""
    return sentence(
        "{path} is an SQLite 2 database: dump it with `sqlite {path} .dump > workshop.sql`, "
        "then `pbxrouter import workshop.sql`",
        path=path,
    )


def refuse_no_file(path: Path) -> None:
    """Refuse a pipe or a device: opening it could wait for ever.

    Raises:
        NotADatabase: there is one at the path.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # opening it tells why
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise NotADatabase(sentence("database {path} is not a file; accepted is a file", path=path))


def store_error(error: DatabaseError | OSError, place: Place) -> StoreError:
    """The StoreError for an error of an engine or of the system; its message says what to do."""
    if isinstance(error, EngineError):
        return server_error(error, place)
    if isinstance(place, PostgreSQLPlace):
        return StoreError(sentence("database {path}: {why}", path=place, why=error))
    path = place
    if isinstance(error, OSError):
        return _explain_unopened(error, path)
    if isinstance(error, UnicodeDecodeError):
        return _damaged(path)
    if str(error).startswith("malformed database schema"):  # with a code that says less
        return _damaged(path)
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
            return _damaged(path)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            if _is_mounted_read_only(path):
                return _mounted_read_only(path)
            return StoreError(
                sentence(
                    "database {path} cannot be written: its file or directory is read-only for this user",
                    path=path,
                )
            )
        case sqlite3.SQLITE_FULL:
            return _full(path)
        case sqlite3.SQLITE_IOERR:
            if _is_disk_full(path):  # as when the -shm file cannot be made longer
                return _full(path)
            return StoreError(
                sentence("database {path} cannot be read or written: the disk reports an error", path=path)
            )
        case _:
            return StoreError(sentence("database {path}: {why}", path=path, why=error))


def _damaged(path: Path) -> StoreError:
    return StoreError(sentence("database {path} is damaged: restore a backup, or see .recover of sqlite3", path=path))


def _is_mounted_read_only(path: Path) -> bool:
    try:
        return bool(os.statvfs(path.parent).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _mounted_read_only(path: Path) -> StoreError:
    return StoreError(
        sentence(
            "database {path} cannot be written: the file system of {folder} is mounted read-only; mount it writable",
            path=path,
            folder=path.parent,
        )
    )


def _full(path: Path) -> DatabaseFull:
    return DatabaseFull(sentence("database {path} cannot be written: the disk is full", path=path))


def _is_disk_full(path: Path) -> bool:
    """Whether there is less room than SQLite needs to open a database."""
    try:
        return shutil.disk_usage(path.parent).free < _SHM_BYTES
    except OSError:
        return False


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
    if isinstance(error, OSError):
        return StoreError(sentence("database {path} cannot be opened: {why}", path=path, why=error.strerror))
    used_up = _used_up()
    if used_up:
        return StoreError(sentence("database {path} cannot be opened: {why}", path=path, why=used_up))
    if _is_mounted_read_only(path):
        return _mounted_read_only(path)
    for suffix in ("", "-wal", "-shm", "-journal"):
        beside = Path(f"{path}{suffix}")
        if os.path.isdir(beside):
            return StoreError(
                sentence("database {path} cannot be opened: {file} is a directory; remove it", path=path, file=beside)
            )
        if beside.exists() and not os.access(beside, os.R_OK | os.W_OK, effective_ids=_EFFECTIVE):
            return StoreError(
                sentence(
                    "database {path} cannot be opened: this user may not read and write {file}; make it the user's own "
                    "(chown), with mode 0600",
                    path=path,
                    file=beside if suffix else Sentence("it"),
                )
            )
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=_EFFECTIVE):
        return StoreError(
            sentence(
                "database {path} cannot be opened: this user may not make files in {folder}, where SQLite keeps a -wal "
                "and a -shm file; make the directory the user's own (chown)",
                path=path,
                folder=path.parent,
            )
        )
    if _is_disk_full(path):
        return _full(path)
    return StoreError(
        sentence(
            "database {path} cannot be opened: {why}", path=path, why=Sentence("this user may not read and write it")
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
