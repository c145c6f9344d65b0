"""Opens, creates and checks the database file; the transactions in which it is read and written."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, overload

from pbxrouter.config import Place, PostgreSQLPlace
from pbxrouter.database import server
from pbxrouter.database.audit_triggers import ensure_triggers
from pbxrouter.database.backup import place_of
from pbxrouter.database.engine import CONSTRAINT_ERRORS, DATABASE_ERRORS, Connection, dialect_of
from pbxrouter.database.failures import SQLITE_ERRORS, refuse_no_file, store_error
from pbxrouter.database.upgrade import (
    SCHEMA_VERSION,
    WORKSHOP_TABLES,
    run,
    schema,
    too_new,
    too_old,
    upgrade,
    version_of,
)
from pbxrouter.errors import DatabaseForeign, NotThere, StoreError
from pbxrouter.text import sentence

TIMEOUT_S: Final = 2.0
"""How long to wait for a database that another program has locked, in seconds."""

OPTIONS: Final[dict[str, Any]] = {
    "uri": True,
    # Take the write lock at the first INSERT or UPDATE: a transaction that has read before, and
    # cannot get the lock then, fails without waiting.
    "isolation_level": "IMMEDIATE",
    # The pool closes connections from another thread than the one that used them.
    "check_same_thread": False,
}
"""Arguments of sqlite3.connect besides the URI from uri_of."""


def uri_of(path: Path, mode: str = "rw") -> str:
    """The URI by which sqlite3 opens a file that must exist."""
    return f"{path.absolute().as_uri()}?mode={mode}"


@overload
def connect(
    place: Path, *, timeout_s: float = ..., notify: Callable[[str], object] | None = ...
) -> sqlite3.Connection: ...


@overload
def connect(place: Place, *, timeout_s: float = ..., notify: Callable[[str], object] | None = ...) -> Connection: ...


def connect(place: Place, *, timeout_s: float = TIMEOUT_S, notify: Callable[[str], object] | None = None) -> Connection:
    """Open a database; one of an older version is upgraded, one of SQLite after a backup.

    Args:
        place: the file, or the database of a server.
        timeout_s: how long to wait for a locked database, in seconds.
        notify: called with one line if the database was upgraded.

    Raises:
        DatabaseMissing: the file does not exist.
        DatabaseLocked: another program kept it locked for that long.
        DatabaseTooNew: a later version of the program made it.
        DatabaseForeign: it is a database of another program, or an empty one.
        NotADatabase: it is not an SQLite database.
        StoreError: it cannot be read, written or upgraded for another reason.
    """
    if isinstance(place, PostgreSQLPlace):
        to_server = server.connect(place, timeout_s)
        server.prepare(to_server, notify)
        return to_server
    refuse_no_file(place)
    try:
        connection: sqlite3.Connection = sqlite3.connect(uri_of(place), timeout=timeout_s, **OPTIONS)
    except sqlite3.Error as error:
        raise store_error(error, place) from error
    prepare(connection, place, notify)
    return connection


@overload
def connect_read_only(place: Path, timeout_s: float = ...) -> sqlite3.Connection: ...


@overload
def connect_read_only(place: Place, timeout_s: float = ...) -> Connection: ...


def connect_read_only(place: Place, timeout_s: float = TIMEOUT_S) -> Connection:
    """Open a database that is only read; one of an older version is left as it is.

    Raises:
        StoreError: as connect; or it is of an older version.
    """
    if isinstance(place, PostgreSQLPlace):
        to_server = server.connect(place, timeout_s)
        server.prepare_read_only(to_server)
        return to_server
    refuse_no_file(place)
    try:
        connection: sqlite3.Connection = sqlite3.connect(uri_of(place, "ro"), timeout=timeout_s, **OPTIONS)
    except sqlite3.Error as error:
        raise store_error(error, place) from error
    try:
        version = _checked_version(connection, place)
        if version < SCHEMA_VERSION:
            raise too_old(place, version)
    except SQLITE_ERRORS as error:
        connection.close()
        raise store_error(error, place) from error
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(connection: sqlite3.Connection, path: Path, notify: Callable[[str], object] | None = None) -> None:
    """Check and set up a connection of SQLite that was just opened.

    Args:
        notify: called with one line if the database was upgraded.

    Raises:
        StoreError: as connect; the connection is closed.
    """
    try:
        _checked_version(connection, path)
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        upgrade(connection, notify=notify)
        ensure_triggers(connection)
    except SQLITE_ERRORS as error:
        connection.close()
        raise store_error(error, path) from error
    except BaseException:
        connection.close()
        raise


def _checked_version(connection: sqlite3.Connection, path: Path) -> int:
    """Its schema version, when it is a database of this program that this version can read."""
    connection.text_factory = _decode
    _refuse_foreign(connection, path)
    version = version_of(connection)
    if version > SCHEMA_VERSION:
        raise too_new(path, version)
    return version


def peek_version(place: Place) -> int | None:
    """The schema version of a database, read without an upgrade; None if it cannot be read."""
    try:
        if isinstance(place, PostgreSQLPlace):
            with contextlib.closing(server.connect(place, TIMEOUT_S)) as to_server:
                return version_of(to_server)
        refuse_no_file(place)
        with contextlib.closing(sqlite3.connect(uri_of(place, "ro"), uri=True, timeout=TIMEOUT_S)) as connection:
            return version_of(connection)
    except (StoreError, *DATABASE_ERRORS, ValueError):
        return None


def is_empty(place: PostgreSQLPlace) -> bool:
    """Whether a database of a server has no tables yet.

    Raises:
        StoreError: there is no connection.
    """
    with contextlib.closing(server.connect(place, TIMEOUT_S)) as connection:
        return server.is_empty(connection)


def create(place: Place) -> None:
    """Create an empty database from schema.sql: a file of mode 0600, or the tables in an empty database of a server.

    An empty file at the path is used.

    Raises:
        StoreError: the place holds something already, which is left unchanged, or the file or the tables cannot be
            created.
    """
    if isinstance(place, PostgreSQLPlace):
        with contextlib.closing(server.connect(place, TIMEOUT_S)) as to_server:
            server.create(to_server)
    else:
        _create_file(place)


def _create_file(path: Path) -> None:
    refuse_no_file(path)
    try:
        # sqlite3 would create a file that everyone can read.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(uri_of(path), timeout=TIMEOUT_S, **OPTIONS)
    except (OSError, sqlite3.Error) as error:
        raise store_error(error, path) from error
    try:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise StoreError(sentence("database {path} exists already: it is left as it is", path=path))
        run(connection, schema(), "schema.sql")
        ensure_triggers(connection)
        connection.commit()
        connection.execute("PRAGMA journal_mode = WAL")
    except SQLITE_ERRORS as error:
        raise store_error(error, path) from error
    finally:
        connection.close()


@contextmanager
def transaction(connection: Connection, *, outlasts_power: bool = True) -> Iterator[None]:
    """A write transaction: committed at the end of the block, rolled back if it raises.

    No other writer of this program has one at the same time.

    Args:
        outlasts_power: whether it is on the disk when the block ends, as what is acknowledged to a person must be.
            Without that a commit is much cheaper, and a power cut may cost the last second.

    Raises:
        CONSTRAINT_ERRORS: unchanged, for callers that can explain the constraint.
        StoreError: in place of every other of DATABASE_ERRORS.
    """
    with _explained(connection):
        dialect_of(connection).begin_writing(connection, outlasts_power)
        try:
            yield
            connection.commit()
        except BaseException:
            connection.rollback()
            raise


@contextmanager
def reading(connection: Connection) -> Iterator[None]:
    """A read transaction: all queries in the block see the same snapshot.

    Raises:
        StoreError: in place of all DATABASE_ERRORS but CONSTRAINT_ERRORS.
    """
    with _explained(connection):
        if connection.in_transaction:
            yield
            return
        dialect_of(connection).begin_reading(connection)
        try:
            yield
        finally:
            connection.rollback()


def read_row(connection: Connection, query: str, values: Mapping[str, object], missing: NotThere) -> tuple[Any, ...]:
    """Read the one row that a query finds.

    Args:
        missing: the error if there is no such row.

    Raises:
        NotThere: missing.
        StoreError: as reading.
    """
    with reading(connection):
        row: tuple[Any, ...] | None = connection.execute(query, values).fetchone()
    if row is None:
        raise missing
    return row


@contextmanager
def _explained(connection: Connection) -> Iterator[None]:
    try:
        yield
    except CONSTRAINT_ERRORS:
        raise
    except DATABASE_ERRORS as error:
        raise store_error(error, place_of(connection)) from error


def _refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    tables = {name.lower() for (name,) in rows}
    if tables >= {"schema_version", *WORKSHOP_TABLES}:
        return
    if not tables:
        raise DatabaseForeign(sentence("database {path} has no tables: create them with `pbxrouter init`", path=path))
    if tables >= WORKSHOP_TABLES:
        raise DatabaseForeign(
            sentence(
                "{path} is a database of the 2006 workshop: create a new one with `pbxrouter init`, "
                "then run `pbxrouter import {path}`",
                path=path,
            )
        )
    raise DatabaseForeign(
        sentence("{path} is a database of another program; accepted is one that `pbxrouter init` creates", path=path)
    )


def _decode(stored: bytes) -> str:
    """Stored text; bytes that are not UTF-8 are replaced, so that the rules still load."""
    return stored.decode("utf-8", "replace")
