"""A backup of the database file, made before its schema is upgraded."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from pbxrouter.config import Place
from pbxrouter.database.engine import Connection
from pbxrouter.errors import StoreError
from pbxrouter.text import sentence

_MEGABYTE = 1_000_000


def path_of(connection: sqlite3.Connection) -> Path:
    """The file behind a connection; ``:memory:`` if there is none."""
    text_factory = connection.text_factory
    connection.text_factory = bytes  # a file name need not be UTF-8
    try:
        return Path(os.fsdecode(connection.execute("PRAGMA database_list").fetchone()[2] or b":memory:"))
    except sqlite3.Error:
        return Path("database")
    finally:
        connection.text_factory = text_factory


def place_of(connection: Connection) -> Place:
    """Where the database of a connection is."""
    if isinstance(connection, sqlite3.Connection):
        return path_of(connection)
    place: Place = connection.place  # type: ignore[attr-defined]
    return place


def free_bytes(directory: Path) -> int:
    """The space left on a directory's file system, in bytes."""
    return shutil.disk_usage(directory).free


def back_up(
    connection: sqlite3.Connection,
    target: int,
    free: Callable[[Path], int] = free_bytes,
    seconds: Callable[[], float] = time.time,
) -> Path:
    """Copy a database to a file beside it, ``<name>.before-v<target>.<UTC time>``, mode 0600.

    Two processes that upgrade at once may each have a step of the same second: the second one's copy has a number
    behind the time. The copy holds all that is committed, including what is still in the -wal file. It gets its
    name when it is complete.

    Args:
        connection: holds the write lock and has written nothing, so that the copy is what the
            upgrade starts from.
        target: the schema version that the database is about to be upgraded to.
        free: returns the space left in a directory, in bytes.
        seconds: the time, in epoch seconds.

    Raises:
        StoreError: there is no room, or the copy cannot be written; no file is left behind.
    """
    path = path_of(connection)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds()))
    backup = _unused(path.with_name(f"{path.name}.before-v{target}.{stamp}"))
    partial = path.with_name(f"{path.name}.before-v{target}.partial")
    pages, page_size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    try:
        needed, available = pages * page_size, free(path.parent)
        if needed > available:
            raise StoreError(
                sentence(
                    "database {path} was not upgraded: its backup needs {needed} MB in {directory}, and {free} MB "
                    "are free; make room and try again",
                    path=path,
                    needed=-(-needed // _MEGABYTE),
                    directory=path.parent,
                    free=available // _MEGABYTE,
                )
            )
        partial.unlink(missing_ok=True)  # of an upgrade that was killed
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        # By another connection: SQLite does not copy from one that is in a write transaction, and
        # sqlite3 would wait for that without end.
        with (
            contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as source,
            contextlib.closing(sqlite3.connect(partial)) as copy,
        ):
            source.backup(copy)
        partial.rename(backup)
    except (OSError, sqlite3.Error) as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise StoreError(
            sentence(
                "database {path} was not upgraded: its backup {backup} cannot be written: {why}",
                path=path,
                backup=backup,
                why=getattr(error, "strerror", None) or str(error),
            )
        ) from error
    return backup


def _unused(path: Path) -> Path:
    """The path, with the first number from 2 behind it if there are files of that name."""
    numbered = (path.with_name(f"{path.name}.{number}") for number in itertools.count(2))
    return next(candidate for candidate in itertools.chain((path,), numbered) if not candidate.exists())
