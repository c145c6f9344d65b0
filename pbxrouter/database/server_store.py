"""The store on a database of PostgreSQL: one thread and one connection, which is made anew after it was lost.

Work that the connection is lost under fails with StoreError, and is not done again: whether it was committed may not be
known, and is for those to find out who asked for it. The first work after that connects again. While that fails, the
next attempt waits a little, and work fails at once meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred, fail, succeed

from pbxrouter.config import PostgreSQLPlace
from pbxrouter.database import server
from pbxrouter.database.connection import TIMEOUT_S
from pbxrouter.database.engine import ANSWER_S, CONSTRAINT_ERRORS, DATABASE_ERRORS, PostgreSQLConnection
from pbxrouter.database.failures import store_error
from pbxrouter.database.rule_listener import RuleListener
from pbxrouter.database.store import Store
from pbxrouter.errors import DatabaseLocked, StoreError
from pbxrouter.text import sentence

SHORT_ANSWER_S: Final = 5.0
"""How long to wait for an answer of a server that has left the last one out, until it has answered again."""
MIN_PAUSE_S: Final = 0.5
MAX_PAUSE_S: Final = 10.0
"""The bounds of the time until the next attempt to connect; in between three times what the last one took."""

T = TypeVar("T")


class ServerStore(Store):
    """A database of PostgreSQL, used from the reactor's thread; see Store."""

    def __init__(
        self,
        place: PostgreSQLPlace,
        hash_pin: Callable[[str], str],
        reactor: Any,
        timeout_s: float = TIMEOUT_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        pool = ConnectionPool(
            server.__name__,
            place,
            lock_timeout_s=timeout_s,
            cp_min=1,
            cp_max=1,
            cp_noisy=False,
            cp_openfun=self._opened,
            cp_reactor=reactor,
        )
        super().__init__(place, pool, hash_pin, reactor, timeout_s)
        self._server: Final = place
        self._monotonic = monotonic
        self._connection: PostgreSQLConnection | None = None
        self._own_pid = 0
        self._why_away: StoreError | None = None  # while no connection can be made
        self._again_at = 0.0
        self._listener: RuleListener | None = None

    def version(self) -> Deferred[tuple[int, ...]]:
        """How often the server has told of changed rules, and how often the connection for that was made.

        The server tells of them by itself; nothing is asked. The first call begins to listen.
        """
        if self._closed:
            return fail(StoreError(sentence("database {path} is closed", path=self._place)))
        if self._listener is None:
            self._listener = RuleListener(self._server, lambda: self._own_pid, self._reactor)
            self._listener.start()
        listener = self._listener
        if listener.error is not None:
            return fail(listener.error)
        if listener.changes is None:
            return listener.once_connected()
        return succeed(listener.changes)

    async def _close(self) -> None:
        if self._listener is not None:
            self._listener.stop()
        await super()._close()

    # --- in the pool's thread -------------------------------------------------

    def _in_thread(self, work: Callable[[Any], T]) -> T:
        connection = self._current_connection()
        changes = connection.total_changes
        try:
            try:
                result = work(connection)
            finally:
                connection.rollback()
            if connection.total_changes != changes:
                self._set_patience(connection, impatient=False)
            self._pool.connkw["answer_s"] = connection.answer_s = ANSWER_S
            return result
        except CONSTRAINT_ERRORS:
            raise
        except DatabaseLocked:
            self._set_patience(connection, impatient=True)
            raise
        except DATABASE_ERRORS as error:
            raise store_error(error, self._server) from error
        finally:
            if connection.is_lost:
                self._pool.connkw["answer_s"] = SHORT_ANSWER_S
                self._disconnect()

    def _set_patience(self, connection: PostgreSQLConnection, impatient: bool) -> None:
        if impatient != self._is_impatient:
            self._is_impatient = impatient
            self._pool.connkw["lock_timeout_s"] = self._patience_s
            if not connection.is_lost:
                connection.set_lock_timeout(self._patience_s)

    def _current_connection(self) -> PostgreSQLConnection:
        if self._connection is not None and self._connection.has_ended():
            self._disconnect()
        if self._connection is None:
            if self._why_away is not None and self._monotonic() < self._again_at:
                raise self._why_away
            began = self._monotonic()
            try:
                self._connection = self._pool.connect()
            except StoreError as error:
                self._why_away = error
                now = self._monotonic()
                self._again_at = now + max(MIN_PAUSE_S, min(3 * (now - began), MAX_PAUSE_S))
                raise
            self._why_away = None
            self._own_pid = self._connection.pid
        return self._connection

    def _opened(self, connection: PostgreSQLConnection) -> None:
        server.prepare(connection, self._upgraded)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._pool.disconnect(self._connection)
        self._connection = None

    def _last_work(self) -> None:
        self._disconnect()
