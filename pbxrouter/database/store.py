"""The database as the gateway sees it: Deferreds, one thread, and a file that may come and go.

adbapi over sqlite3 with a single connection: SQLite has one writer, and with several
connections of our own we would lock ourselves out. The file is looked at before every
use. If it was replaced (restored, moved over) it is opened anew; while it is away, calls
fail with StoreError and a later one finds it again.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThreadPool

from pbxrouter import database
from pbxrouter.database.rules import read_rules
from pbxrouter.errors import DatabaseLocked, StoreError
from pbxrouter.rules import RuleSet
from pbxrouter.text import sentence

T = TypeVar("T")


class Store:
    """One database file, used from the reactor's thread.

    Args:
        path: the file; it need not be there yet.
        hash_pin: makes of a PIN what is stored of it; called in the store's thread
            and wherever the RuleSet is used.
        reactor: runs the pool's thread and calls back (IReactorCore, IReactorThreads,
            IReactorFromThreads).
        timeout_s: how long, in seconds, a locked database is waited for.
    """

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
        self._used = self._closed = False
        # The rest belongs to the pool's thread.
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, ...] = ()
        self._opening = 0

    def load_rules(self) -> Deferred[RuleSet]:
        """Read all rules, in the thread.

        The Deferred fails with StoreError if the database cannot be read now.
        """
        return self.run(self._load_rules)

    def version(self) -> Deferred[tuple[int, ...]]:
        """A mark that is another one whenever somebody else may have changed the database.

        What this store itself writes leaves it as it was. The Deferred fails with
        StoreError if the database cannot be read now.
        """
        return self.run(self._version)

    def run(self, work: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        """Call ``work`` with the open database, in the thread.

        What it leaves uncommitted is rolled back; database.transaction is the way to write.
        The Deferred fails with what ``work`` raises, sqlite3's errors as StoreError.
        """
        if self._closed or self._pool.threadpool.joined:
            return fail(StoreError(sentence("database {path} is closed", path=self._path)))
        self._used = True
        return deferToThreadPool(self._reactor, self._pool.threadpool, self._in_thread, work)

    def close(self) -> Deferred[None]:
        """End what is being done, close the database and stop the thread. Later calls fail."""
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._used and not self._pool.threadpool.joined:
            self._pool.start()  # which the reactor may not have got to yet
            # The one thread does this after all that was asked before. The pool itself
            # would wait for that with the reactor standing still.
            await deferToThreadPool(self._reactor, self._pool.threadpool, self._disconnect)
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
            raise database.explain(error, self._path) from error

    def _current_connection(self) -> sqlite3.Connection:
        """The connection to what is at the path now."""
        # Looked at before it is opened: if it is replaced in between, the next call sees that.
        try:
            file = self._look()
        except OSError as error:
            raise database.explain(error, self._path) from error
        if self._connection is not None and file != self._file:
            self._disconnect()
        if self._connection is None:
            self._connection = self._pool.connect()
            self._file = file
            # A file may get the number of one that was deleted; this count tells them apart.
            self._opening += 1
        return self._connection

    def _look(self) -> tuple[int, ...]:
        """What tells the file from another, or from itself after something was copied over it.

        The latter SQLite would not notice. The time changes also when somebody's -wal is
        brought in; then the file is opened anew without need, which costs little.
        """
        status = os.stat(self._path)
        return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def _opened(self, connection: sqlite3.Connection) -> None:
        database.prepare(connection, self._path)

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
        """Bring what is in the -wal file into the database file, if nobody is in the way.

        Who moves a backup over the database leaves the -wal beside it, and SQLite would
        replay that into the backup.
        """
        try:
            # When there is nothing to do it must not be done: two gateways on one
            # database would each take it for a change by the other.
            if not os.path.getsize(f"{self._path}-wal"):
                return
        except OSError:
            return
        try:
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._file = self._look()
        except (sqlite3.OperationalError, OSError):
            pass  # Somebody is reading, or it is gone. It is tried again with the next change.
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(self._timeout_s * 1000)}")
