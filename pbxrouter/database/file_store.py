"""The store on a database of SQLite: one thread, and a file to which anything may happen.

adbapi over sqlite3 with a single connection: SQLite allows one writer, and several connections of
one process would lock each other out. The state of the file, and of the -wal and -shm files beside it, is
checked before every use. What SQLite does not notice is noticed here:

* Another file was moved over it, or it is missing. What the -wal still holds goes into the old file, which may have
  been moved aside; then all connections of this process are closed, and the -wal and -shm of the old file are deleted.
  SQLite would replay them into the new one, which destroys it. While the file is missing, work fails with StoreError.
* The -wal or -shm was taken away. What this process has of it goes into the file; then it is opened again.
* Another file was copied over it, or another program has checkpointed its -wal: it is opened again.

The -wal is emptied after each change, within a tenth of a second while ``version`` is asked for, so that there is
little in it when any of this happens.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred

from pbxrouter.database.connection import OPTIONS, TIMEOUT_S, prepare, uri_of
from pbxrouter.database.engine import Connection
from pbxrouter.database.failures import SQLITE_ERRORS, refuse_no_file, store_error
from pbxrouter.database.store import Store
from pbxrouter.errors import DatabaseFull, DatabaseLocked, StoreError
from pbxrouter.rules import RuleSet
from pbxrouter.text import sentence

T = TypeVar("T")

_all_stores: weakref.WeakSet[FileStore] = weakref.WeakSet()
_listing: Final = threading.Lock()
"""Held while a store is added or the stores are listed."""
_repairing: Final = threading.Lock()
"""Held while connections of several stores are closed, which takes all their locks."""


@dataclass(frozen=True, slots=True)
class FileState:
    """What is at a database's path, and beside it.

    Attributes:
        file: device and inode of the file; None if there is none.
        content: its size and modification time, which tell of another content.
        wal: device and inode of the -wal file; None if there is none.
        shm: likewise of the -shm file.
    """

    file: tuple[int, int] | None
    content: tuple[int, int]
    wal: tuple[int, int] | None
    shm: tuple[int, int] | None


class FileStore(Store):
    """A database file, used from the reactor's thread; see Store."""

    def __init__(
        self,
        path: Path,
        hash_pin: Callable[[str], str],
        reactor: Any,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._path: Final = path.absolute()
        pool = ConnectionPool(
            "sqlite3",
            uri_of(self._path),
            **OPTIONS,
            timeout=timeout_s,
            cp_min=1,
            cp_max=1,
            cp_openfun=self._opened,
            cp_reactor=reactor,
        )
        super().__init__(self._path, pool, hash_pin, reactor, timeout_s)
        # Held by the pool's thread while it works, and by another store's that closes all connections.
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._state: FileState | None = None  # as it was when the connection was opened, or by our own doing
        self._opening = 0
        self._has_written = False  # since the -wal was emptied
        self._must_reopen = False  # after an error
        self._is_closed_by_other = False  # the connection, by another store
        with _listing:
            _all_stores.add(self)

    def version(self) -> Deferred[tuple[int, ...]]:
        """A version that changes when another connection has written to the database.

        Writes of this store do not change it. The Deferred fails with StoreError if the
        database cannot be read now.
        """
        return self.run(self._version)

    # --- in the pool's thread -------------------------------------------------

    def _in_thread(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._leave_if_changed()
        with self._lock:
            try:
                connection = self._current_connection()
                changes = connection.total_changes
                try:
                    result = work(connection)
                finally:
                    connection.rollback()
                if connection.total_changes != changes:
                    self._written()
                return result
            except sqlite3.IntegrityError:
                raise
            except DatabaseLocked:
                self._set_patience(impatient=True)
                raise
            except DatabaseFull:
                raise
            except StoreError:
                self._must_reopen = True
                raise
            except SQLITE_ERRORS as error:
                self._must_reopen = True
                raise store_error(error, self._path) from error

    def _written(self) -> None:
        """Note that work has written; fail if it was into a file that has been replaced meanwhile."""
        self._has_written = True
        self._set_patience(impatient=False)
        if self._state is not None and self._look().file != self._state.file:
            raise StoreError(
                sentence(
                    "database {path} was replaced or deleted during a change, which may be lost: try again",
                    path=self._path,
                )
            )

    def _set_patience(self, impatient: bool) -> None:
        """Wait briefly for a database that stays locked: a call may be waiting for what comes next."""
        if impatient != self._is_impatient:
            self._is_impatient = impatient
            self._pool.connkw["timeout"] = self._patience_s
            if self._connection is not None:
                self._connection.execute(f"PRAGMA busy_timeout = {int(self._patience_s * 1000)}")

    def _current_connection(self) -> sqlite3.Connection:
        """The connection to the file that is at the path now."""
        if self._must_reopen or self._is_closed_by_other:
            self._disconnect()
        if self._connection is None:
            # Read before the file is opened: if it is replaced in between, the next call notices.
            before = self._look()
            refuse_no_file(self._path)
            if before.file is None:
                try:
                    os.stat(self._path)
                except OSError as error:
                    raise store_error(error, self._path) from error
            self._connection = self._pool.connect()
            now = self._look()  # SQLite has created the files beside it
            self._state = FileState(before.file, before.content, now.wal, now.shm)
            # A new file may get the inode number of a deleted one; this count tells them apart.
            self._opening += 1
        return self._connection

    def _look(self) -> FileState:
        try:
            status = os.stat(self._path)
        except OSError:
            return FileState(None, (0, 0), _identity(f"{self._path}-wal"), _identity(f"{self._path}-shm"))
        return FileState(
            (status.st_dev, status.st_ino),
            (status.st_size, status.st_mtime_ns),
            _identity(f"{self._path}-wal"),
            _identity(f"{self._path}-shm"),
        )

    def _leave_if_changed(self) -> None:
        """Close the connections of all stores on the file, if it is not as it was when this one was opened."""
        if self._connection is None or self._is_closed_by_other or self._look() == self._state:
            return
        with _repairing, contextlib.ExitStack() as locked:
            stores = self._all_on_the_file()
            for store in stores:
                locked.enter_context(store._lock)
            state = self._look()
            stores = [store for store in stores if store._connection is not None and not store._is_closed_by_other]
            if any(store._is_elsewhere(state) for store in stores):
                for store in stores:
                    store._empty_wal(always=True)
            old = [store._state for store in stores if store._state is not None]
            for store in stores:
                store._close_for_other()
            for left in old:
                if left.file != state.file:
                    _delete_if(f"{self._path}-wal", left.wal)
                    _delete_if(f"{self._path}-shm", left.shm)

    def _all_on_the_file(self) -> list[FileStore]:
        with _listing:
            return [store for store in _all_stores if store._path == self._path]

    def _is_elsewhere(self, state: FileState) -> bool:
        """Whether the connection is to another file than the one at the path, or to another -wal or -shm."""
        own = self._state
        return own is not None and (own.file, own.wal, own.shm) != (state.file, state.wal, state.shm)

    def _close_for_other(self) -> None:
        """Close the connection in another store's thread; the own thread forgets it before its next work."""
        connection = self._connection
        assert connection is not None  # see _leave_if_changed
        with contextlib.suppress(sqlite3.Error):
            connection.close()
        self._is_closed_by_other = True

    def _opened(self, connection: sqlite3.Connection) -> None:
        prepare(connection, self._path, self._upgraded)
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # _empty_wal does it

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._pool.disconnect(self._connection)
        self._connection = self._state = None
        self._has_written = self._must_reopen = self._is_closed_by_other = False

    def _last_work(self) -> None:
        self._leave_if_changed()
        with self._lock:
            self._disconnect()

    def _version(self, connection: Any) -> tuple[int, ...]:
        if self._has_written:
            self._empty_wal()
        (data_version,) = connection.execute("PRAGMA data_version").fetchone()
        return (self._opening, data_version)

    def _load_rules(self, connection: Connection) -> RuleSet:
        rules = super()._load_rules(connection)
        self._empty_wal()
        return rules

    def _empty_wal(self, always: bool = False) -> None:
        """Checkpoint the -wal file, unless another program is reading or writing.

        Args:
            always: also if there is none at the path, or an empty one.
        """
        connection, before = self._connection, self._look()
        try:
            # An empty -wal must stay untouched: two gateways on one database would each take the
            # checkpoint for a change by the other.
            if connection is None or not (always or self._has_written or os.path.getsize(f"{self._path}-wal")):
                return
        except OSError:
            return
        try:
            connection.execute("PRAGMA busy_timeout = 0")
            ((busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._has_written = bool(busy)
        except sqlite3.Error:
            return  # Another program is reading, or the file is damaged; the next change tries again.
        finally:
            with contextlib.suppress(sqlite3.Error):
                connection.execute(f"PRAGMA busy_timeout = {int(self._patience_s * 1000)}")
        now = self._look()
        if now.file == before.file:
            for store in self._all_on_the_file():  # it is no change for those that had seen what was there before
                if store._state == before:
                    store._state = now


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino)


def _delete_if(path: str, identity: tuple[int, int] | None) -> None:
    """Delete a file, if it is still the one that is meant."""
    if identity is not None and _identity(path) == identity:
        with contextlib.suppress(OSError):
            os.unlink(path)
