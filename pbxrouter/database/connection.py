"""Opening and making a database file, and saying in one line why that failed."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pbxrouter.database.upgrade import SCHEMA_VERSION, run, schema, upgrade, version_of
from pbxrouter.errors import (
    DatabaseForeign,
    DatabaseLocked,
    DatabaseMissing,
    DatabaseTooNew,
    NotADatabase,
    StoreError,
)
from pbxrouter.text import Sentence, sentence

TIMEOUT_S: Final = 2.0
"""How long to wait, in seconds, for another program that has the database locked."""

OPTIONS: Final[dict[str, Any]] = {
    "uri": True,
    # Inserting and updating lock at once: a transaction that read first, and cannot
    # get the lock later, would fail without waiting.
    "isolation_level": "IMMEDIATE",
    # The pool closes connections from another thread than the one that used them.
    "check_same_thread": False,
}
"""How sqlite3.connect is called, next to the address from uri_of."""

WORKSHOP_TABLES: Final = frozenset(
    {"applications_mappings", "extensions", "extensions_mappings", "users", "users_mappings"}
)
_SQLITE_2: Final = b"** This file contains an SQLite 2"


def uri_of(path: Path) -> str:
    """The address under which sqlite3 opens a file that must be there already."""
    return f"{path.absolute().as_uri()}?mode=rw"


def connect(path: Path, *, timeout_s: float = TIMEOUT_S) -> sqlite3.Connection:
    """Open a database, upgrading one that an older version of the program made.

    Args:
        path: the file.
        timeout_s: how long to wait for a locked database, in seconds.

    Raises:
        DatabaseMissing: no file there.
        DatabaseLocked: another program kept it locked all that time.
        DatabaseTooNew: a later version of the program made it.
        DatabaseForeign: it is an SQLite database, but none of ours.
        NotADatabase: it is something else.
        StoreError: whatever else keeps it from being read and written.
    """
    try:
        connection: sqlite3.Connection = sqlite3.connect(uri_of(path), timeout=timeout_s, **OPTIONS)
    except sqlite3.Error as error:
        raise explain(error, path) from error
    prepare(connection, path)
    return connection


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Check a connection just opened, and set it up; one that is no good is closed.

    Raises:
        StoreError: as connect.
    """
    try:
        connection.text_factory = _decode
        _refuse_foreign(connection, path)
        version = version_of(connection)
        if version > SCHEMA_VERSION:
            raise DatabaseTooNew(
                sentence(
                    "database {path} was made by a newer pbxrouter (its schema is version {version}, this program "
                    "supports up to {known}): install that version",
                    path=path,
                    version=version,
                    known=SCHEMA_VERSION,
                )
            )
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        upgrade(connection)
    except sqlite3.Error as error:
        connection.close()
        raise explain(error, path) from error
    except BaseException:
        connection.close()
        raise


def create(path: Path) -> None:
    """Make a new, empty database from schema.sql, readable and writable by its owner alone.

    An empty file in that place is used as it is.

    Raises:
        StoreError: something is there already (it is left as it was), or the file
            cannot be made.
    """
    try:
        # Not sqlite3's doing: it would make a file that everybody may read.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(uri_of(path), timeout=TIMEOUT_S, **OPTIONS)
    except (OSError, sqlite3.Error) as error:
        raise explain(error, path) from error
    try:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise StoreError(sentence("database {path} exists already: it is left as it is", path=path))
        run(connection, schema(), "schema.sql")
        connection.commit()
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error as error:
        raise explain(error, path) from error
    finally:
        connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything inside is written, or nothing.

    Raises:
        sqlite3.IntegrityError: as it came, for whoever knows what to make of it.
        StoreError: instead of every other sqlite3.Error.
    """
    with _explained(connection):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.commit()
        except BaseException:
            connection.rollback()
            raise


@contextmanager
def reading(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything inside is read as of one moment.

    Raises:
        StoreError: instead of every sqlite3.Error.
    """
    with _explained(connection):
        if connection.in_transaction:
            yield
            return
        connection.execute("BEGIN")
        try:
            yield
        finally:
            connection.rollback()


@contextmanager
def _explained(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.Error as error:
        raise explain(error, path_of(connection)) from error


def path_of(connection: sqlite3.Connection) -> Path:
    """The file behind a connection."""
    try:
        return Path(connection.execute("PRAGMA database_list").fetchone()[2] or ":memory:")
    except sqlite3.Error:
        return Path("database")


def explain(error: sqlite3.Error | OSError, path: Path) -> StoreError:
    """What an error of sqlite3, or of the system, means to the owner of the database at ``path``."""
    if isinstance(error, OSError):
        return _explain_unopened(error, path)
    # The low byte is the error, the rest is detail. Errors of the Python module have no code.
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
                    "database {path} is damaged: bring it back from a backup, or see .recover of sqlite3",
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
    # Asked after the attempt, not before: in between, the answer may change.
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            return NotADatabase(sentence("database {path} is a directory; it must be a file", path=path))
    except (FileNotFoundError, NotADirectoryError):
        if not os.path.isdir(path.parent):
            return DatabaseMissing(
                sentence(
                    "database {path} cannot be there: there is no directory {folder}",
                    path=path,
                    folder=path.parent,
                )
            )
        if isinstance(error, sqlite3.Error | FileNotFoundError):
            return DatabaseMissing(sentence("database {path} is missing: make it with `pbxrouter init`", path=path))
    except OSError as why:
        return StoreError(sentence("database {path} cannot be opened: {why}", path=path, why=why.strerror))
    reason = error.strerror if isinstance(error, OSError) else None
    return StoreError(
        sentence(
            "database {path} cannot be opened: {why}",
            path=path,
            why=reason or Sentence("this user may not read and write it"),
        )
    )


def _explain_no_database(path: Path) -> NotADatabase:
    try:
        with path.open("rb") as file:
            beginning = file.read(len(_SQLITE_2))
    except OSError:
        beginning = b""
    if beginning == _SQLITE_2:
        return NotADatabase(
            sentence(
                "{path} is an SQLite 2 database: dump it with `sqlite {path} .dump > "
                "workshop.sql`, then `pbxrouter import workshop.sql`",
                path=path,
            )
        )
    return NotADatabase(sentence("{path} is not a database; the file that `pbxrouter init` makes is wanted", path=path))


def _refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    tables = {name.lower() for (name,) in rows}
    if tables >= {"schema_version", *WORKSHOP_TABLES}:
        return
    if not tables:
        raise DatabaseForeign(sentence("database {path} has no tables: make it with `pbxrouter init`", path=path))
    if tables >= WORKSHOP_TABLES:
        raise DatabaseForeign(
            sentence(
                "{path} is a database of the workshop: make a new one with `pbxrouter init`, "
                "then `pbxrouter import {path}`",
                path=path,
            )
        )
    raise DatabaseForeign(
        sentence("{path} is a database of some other program; one that `pbxrouter init` made is wanted", path=path)
    )


def _decode(stored: bytes) -> str:
    """Text as stored; what a hand wrote in another encoding must not keep the rules from loading."""
    return stored.decode("utf-8", "replace")
