"""The database for Twisted code: Deferreds, and one thread in which all work is done in turn.

``FileStore`` is the one for SQLite, ``ServerStore`` for PostgreSQL; ``stores.open_store`` takes the one that fits.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred, TimeoutError, fail
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from pbxrouter.config import Place
from pbxrouter.database.engine import Connection
from pbxrouter.database.rules import read_rules
from pbxrouter.errors import StoreError
from pbxrouter.net import QueueFigures, make_leavable
from pbxrouter.rules import RuleSet
from pbxrouter.text import sentence

CLOSE_S: Final = 10.0
"""Seconds that the queued work may take when the gateway stops."""
SHORT_TIMEOUT_S: Final = 0.05
"""How long to wait for a database that was found locked, until something could be written again."""

T = TypeVar("T")


class Database(Protocol):
    """Runs work on the database in another thread; Store, or a fake of it."""

    def run(self, work: Callable[[Connection], T]) -> Deferred[T]:
        """Call ``work`` with the open database; see Store.run."""
        ...


class Store(ABC):
    """A database, used from the reactor's thread.

    Args:
        place: where it is; it need not be there yet.
        pool: has one thread and connects.
        hash_pin: hashes a PIN as the database keeps it; called in the store's thread
            and wherever the RuleSet is used.
        reactor: runs the pool's thread and calls back (IReactorCore, IReactorThreads,
            IReactorFromThreads).
        timeout_s: how long to wait for a locked database, in seconds.
    """

    log = Logger()

    def __init__(
        self, place: Place, pool: ConnectionPool, hash_pin: Callable[[str], str], reactor: Any, timeout_s: float
    ) -> None:
        self._place: Final = place
        self._pool: Any = pool
        self._hash_pin = hash_pin
        self._reactor = reactor
        self._timeout_s = timeout_s
        self._is_impatient = False
        make_leavable(self._pool.threadpool)
        self._used = self._closed = False
        self._asked: deque[float] = deque()  # monotonic seconds at which work was asked for that is not done

    @property
    def place(self) -> Place:
        """Where the database is."""
        return self._place

    def load_rules(self) -> Deferred[RuleSet]:
        """Read all rules.

        The Deferred fails with StoreError if the database cannot be read now.
        """
        return self.run(self._load_rules)

    @abstractmethod
    def version(self) -> Deferred[tuple[int, ...]]:
        """A version that changes when another connection has changed the rules, and perhaps other rows.

        Writes of this store do not change it. The Deferred fails with StoreError if the database cannot be read now.
        """

    def run(self, work: Callable[[Connection], T]) -> Deferred[T]:
        """Call ``work`` with the open database, in the store's thread.

        What ``work`` leaves uncommitted is rolled back; write inside database.transaction. The
        Deferred fails with what ``work`` raises; DATABASE_ERRORS become a StoreError, but for CONSTRAINT_ERRORS.
        """
        if self._closed or self._pool.threadpool.joined:
            return fail(StoreError(sentence("database {path} is closed", path=self._place)))
        self._used = True
        self._asked.append(time.monotonic())
        return deferToThreadPool(self._reactor, self._pool.threadpool, self._next_work, work)

    @property
    def figures(self) -> QueueFigures:
        """The figures of the work that waits for the thread, or is being done."""
        try:
            oldest_s = time.monotonic() - self._asked[0]
        except IndexError:
            return QueueFigures("database", 0)
        return QueueFigures("database", len(self._asked), oldest_s)

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
            closing = deferToThreadPool(self._reactor, self._pool.threadpool, self._last_work)
            try:
                await closing.addTimeout(CLOSE_S, self._reactor)
            except TimeoutError:
                self.log.error("database {path}: does not answer, and is left without being closed", path=self._place)
                self._pool.connections.clear()  # the pool would wait for the thread that uses it
        if self._pool.running or self._pool.startID:
            self._pool.close()

    # --- in the pool's thread -------------------------------------------------

    def _next_work(self, work: Callable[[Connection], T]) -> T:
        """Do work in turn; there is one thread, so the first that was asked for is the first that is done."""
        try:
            return self._in_thread(work)
        finally:
            self._asked.popleft()

    @abstractmethod
    def _in_thread(self, work: Callable[[Any], T]) -> T:
        """Do work; see run."""

    @abstractmethod
    def _last_work(self) -> None:
        """Close the database."""

    def _load_rules(self, connection: Connection) -> RuleSet:
        return read_rules(connection, self._hash_pin)

    def _upgraded(self, line: str) -> None:
        self.log.info("{line}", line=line)

    @property
    def _patience_s(self) -> float:
        """How long to wait for a locked database: briefly if it stays locked, since a call may wait for what comes."""
        return min(SHORT_TIMEOUT_S, self._timeout_s) if self._is_impatient else self._timeout_s
