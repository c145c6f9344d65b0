"""The database for Twisted code: Deferreds, one thread, and a file that may be replaced.

adbapi over sqlite3 with a single connection: SQLite allows one writer, and several connections of
one process would lock each other out. The file's status is checked before every use. If it was
replaced (restored, moved over) it is opened again; while it is missing, calls fail with StoreError.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbxrouter import database
from pbxrouter.database.rules import read_rules
from pbxrouter.errors import DatabaseLocked, StoreError
from pbxrouter.net import make_leavable
from pbxrouter.rules import RuleSet
from pbxrouter.text import sentence

CLOSE_S: Final = 10.0
"""Seconds that the queued work may take when the gateway stops."""

T = TypeVar("T")


class Database(Protocol):
    """Runs work on the database in another thread; Store, or a fake of it."""

    def run(self, work: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        """Call ``work`` with the open database; see Store.run."""
        ...


class LimitedDatabase:
    """A database for those who cannot wait long: work that is not done in time fails with StoreError.

    Work that has not begun by then is not done at all; work that has begun may still be done.

    Args:
        seconds: for which an answer is waited for, from when it is asked.
    """

    def __init__(self, database: Database, seconds: float, clock: IReactorTime) -> None:
        self._database = database
        self._seconds = seconds
        self._clock = clock

    def run(self, work: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        """Run work as Store.run does; fail with StoreError when no answer comes in time."""
        given_up: list[StoreError] = []

        def unless_given_up(connection: sqlite3.Connection) -> T:
            if given_up:
                raise given_up[0]
            return work(connection)

        def give_up(result: Any, timeout: float) -> Any:
            if isinstance(result, Failure) and result.check(CancelledError):
                why = sentence("the database did not answer within {seconds} s", seconds=f"{timeout:g}")
                given_up.append(StoreError(why))
                raise given_up[0]
            return result

        return self._database.run(unless_given_up).addTimeout(self._seconds, self._clock, give_up)


class Store:
    """A database file, used from the reactor's thread.

    Args:
        path: the file; it need not exist yet.
        hash_pin: hashes a PIN as the database keeps it; called in the store's thread
            and wherever the RuleSet is used.
        reactor: runs the pool's thread and calls back (IReactorCore, IReactorThreads,
            IReactorFromThreads).
        timeout_s: how long to wait for a locked database, in seconds.
    """

    log = Logger()

    def __init__(
        self,
        path: Path,
        hash_pin: Callable[[str], str],
        reactor: Any,
        timeout_s: float = database.TIMEOUT_S,
    ) -> None:
        self._path: Final = path.absolute()
        self._hash_pin = hash_pin
        self._reactor = reactor
        self._timeout_s = timeout_s
        self._pool: Any = ConnectionPool(
            "sqlite3",
            database.uri_of(self._path),
            **database.OPTIONS,
            timeout=timeout_s,
            cp_min=1,
            cp_max=1,
            cp_openfun=self._opened,
            cp_reactor=reactor,
        )
        make_leavable(self._pool.threadpool)
        self._used = self._closed = False
        # The rest belongs to the pool's thread.
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, ...] = ()
        self._opening = 0

    def load_rules(self) -> Deferred[RuleSet]:
        """Read all rules.

        The Deferred fails with StoreError if the database cannot be read now.
        """
        return self.run(self._load_rules)

    def version(self) -> Deferred[tuple[int, ...]]:
        """A version that changes when another connection has written to the database.

        Writes of this store do not change it. The Deferred fails with StoreError if the
        database cannot be read now.
        """
        return self.run(self._version)

    def run(self, work: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        """Call ``work`` with the open database, in the store's thread.

        What ``work`` leaves uncommitted is rolled back; write inside database.transaction. The
        Deferred fails with what ``work`` raises; an sqlite3.Error becomes a StoreError.
        """
        if self._closed or self._pool.threadpool.joined:
            return fail(StoreError(sentence("database {path} is closed", path=self._path)))
        self._used = True
        return deferToThreadPool(self._reactor, self._pool.threadpool, self._in_thread, work)

    def close(self) -> Deferred[None]:
        """Finish the work that is queued, close the database and stop the thread. Later calls fail.

        Work that does not end within CLOSE_S, such as that on a disk that hangs, is left behind.
        """
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._used and not self._pool.threadpool.joined:
            self._pool.start()  # the reactor may not have started it yet
            # The thread does this after the work that is queued. The pool itself would block the
            # reactor for as long.
            closing = deferToThreadPool(self._reactor, self._pool.threadpool, self._disconnect)
            try:
                await closing.addTimeout(CLOSE_S, self._reactor)
            except TimeoutError:
                self.log.error("database {path}: does not answer, and is left without being closed", path=self._path)
                self._pool.connections.clear()  # the pool would wait for the thread that uses it
        if self._pool.running or self._pool.startID:
            self._pool.close()

    # --- in the pool's thread -------------------------------------------------

    def _in_thread(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection = self._current_connection()
            try:
                return work(connection)
            finally:
                connection.rollback()
        except (sqlite3.IntegrityError, DatabaseLocked):
            raise
        except StoreError:
            self._disconnect()
            raise
        except sqlite3.Error as error:
            self._disconnect()
            raise database.store_error(error, self._path) from error

    def _current_connection(self) -> sqlite3.Connection:
        """The connection to the file that is at the path now."""
        # Read before the file is opened: if it is replaced in between, the next call notices.
        try:
            file = self._file_status()
        except OSError as error:
            raise database.store_error(error, self._path) from error
        if self._connection is not None and file != self._file:
            self._disconnect()
        if self._connection is None:
            self._connection = self._pool.connect()
            self._file = file
            # A new file may get the inode number of a deleted one; this count tells them apart.
            self._opening += 1
        return self._connection

    def _file_status(self) -> tuple[int, ...]:
        """Identifies the file and its content, also after another file was copied over it.

        SQLite does not notice a copy. The modification time also changes when another program
        checkpoints its -wal; the file is then opened again without need, which costs little.
        """
        status = os.stat(self._path)
        return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def _opened(self, connection: sqlite3.Connection) -> None:
        database.prepare(connection, self._path, self._upgraded)

    def _upgraded(self, line: str) -> None:
        self.log.info("{line}", line=line)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._pool.disconnect(self._connection)
            self._connection = None

    def _version(self, connection: sqlite3.Connection) -> tuple[int, ...]:
        (data_version,) = connection.execute("PRAGMA data_version").fetchone()
        return (self._opening, data_version)

    def _load_rules(self, connection: sqlite3.Connection) -> RuleSet:
        rules = read_rules(connection, self._hash_pin)
        self._empty_journal(connection)
        return rules

    def _empty_journal(self, connection: sqlite3.Connection) -> None:
        """Checkpoint the -wal file, unless another program is reading or writing.

        If an owner moves a backup over the database, a -wal file that is left beside it would be
        replayed into the backup.
        """
        try:
            # An empty -wal must stay untouched: two gateways on one database would each take the
            # checkpoint for a change by the other.
            if not os.path.getsize(f"{self._path}-wal"):
                return
        except OSError:
            return
        try:
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._file = self._file_status()
        except (sqlite3.OperationalError, OSError):
            pass  # Another program is reading, or the file is gone; the next change tries again.
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(self._timeout_s * 1000)}")
