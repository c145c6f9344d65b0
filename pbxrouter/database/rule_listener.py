"""Listens for changes of the rules on a PostgreSQL server (LISTEN), by a connection of its own.

The connection is made in a thread and watched by the reactor. The server sends a notification when a transaction that
has changed rules is committed. While there is no connection, changes go unheard: after each connection all rules count
as changed once. Every few seconds the server is asked for a sign of life, since a network that is cut says nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from pbxrouter.config import PostgreSQLPlace
from pbxrouter.database import server
from pbxrouter.database.connection import TIMEOUT_S
from pbxrouter.database.engine import CHANNEL, DATABASE_ERRORS, DatabaseError, EngineError, PostgreSQLConnection
from pbxrouter.database.failures import store_error
from pbxrouter.errors import StoreError
from pbxrouter.net import Worker

FIRST_PAUSE_S: Final = 0.25
MAX_PAUSE_S: Final = 5.0
"""The bounds of the time until the next attempt to connect, which doubles with each."""
ALIVE_EVERY_S: Final = 5.0
"""How often the server is asked for a sign of life; the next time there must have been one."""


@implementer(IReadDescriptor)
class RuleListener:
    """Counts the changes of the rules.

    Args:
        own_pid: returns the server's process for the connection whose changes are not counted; 0 if there is none.
        reactor: watches the connection (IReactorFDSet, IReactorTime) and calls back from a thread.

    Attributes:
        changes: the number of connections so far, and of changes heard by them; None before the first connection.
        error: why nothing is heard now; None while the connection is up, or is made for the first time.
    """

    def __init__(self, place: PostgreSQLPlace, own_pid: Callable[[], int], reactor: Any) -> None:
        self._place = place
        self._own_pid = own_pid
        self._reactor = reactor
        self._worker = Worker(reactor, "rules")
        self._connection: PostgreSQLConnection | None = None
        self._descriptor = -1
        self._timer: Any = None
        self._pause_s = FIRST_PAUSE_S
        self._waiting: list[Deferred[tuple[int, ...]]] = []
        self._is_stopped = False
        self._has_answered = True
        self.changes: tuple[int, int] | None = None
        self.error: StoreError | None = None

    def start(self) -> None:
        """Connect, and again whenever the connection was lost."""
        self._timer = None
        self._worker.run(self._connect).addCallbacks(self._connected, self._failed)

    def stop(self) -> None:
        """Close the connection, for good."""
        self._is_stopped = True
        self._cancel_timer()
        self._leave()
        self._worker.stop()
        self._answer(StoreError("the database is closed"))

    def once_connected(self) -> Deferred[tuple[int, ...]]:
        """Fires with ``changes`` at the end of the attempt to connect; fails with StoreError."""
        waiting: Deferred[tuple[int, ...]] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _connect(self) -> PostgreSQLConnection:
        connection = server.connect(self._place, TIMEOUT_S)
        try:
            connection.run_script(f"LISTEN {CHANNEL}")
        except DATABASE_ERRORS as error:
            connection.close()
            raise store_error(error, self._place) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _connected(self, connection: PostgreSQLConnection) -> None:
        if self._is_stopped:
            connection.close()
            return
        try:
            # Of our own: libpq closes its one as soon as it finds the connection lost, and the number may then be that
            # of another connection, which the reactor would confuse with it.
            descriptor = os.dup(connection.fileno())
        except OSError as error:
            connection.close()
            self._try_again(StoreError(f"rules: changes cannot be heard: {error.strerror}"))
            return
        self._connection = connection
        self._has_answered = True
        self._pause_s = FIRST_PAUSE_S
        self.error = None
        connections, heard = self.changes or (0, 0)
        self.changes = (connections + 1, heard)
        self._descriptor = descriptor
        self._reactor.addReader(self)
        self._timer = self._reactor.callLater(ALIVE_EVERY_S, self._ask)
        self._answer(None)

    def _failed(self, failure: Any) -> None:
        if not self._is_stopped:
            error = failure.value
            self._try_again(error if isinstance(error, StoreError) else StoreError(f"{type(error).__name__}: {error}"))

    def _lost(self, error: DatabaseError) -> None:
        self._leave()
        if not self._is_stopped:
            self._try_again(store_error(error, self._place))

    def _try_again(self, error: StoreError) -> None:
        self.error = error
        self._cancel_timer()
        self._timer = self._reactor.callLater(self._pause_s, self.start)
        self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)
        self._answer(error)

    def _answer(self, error: StoreError | None) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if error is None and self.changes is not None:
                one.callback(self.changes)
            else:
                one.errback(error or StoreError("the database is closed"))

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._reactor.removeReader(self)
            os.close(self._descriptor)
            with contextlib.suppress(*DATABASE_ERRORS):
                connection.close()

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _ask(self) -> None:
        """Ask for a sign of life; the connection is lost if there was none since the last time."""
        self._timer = None
        connection = self._connection
        if connection is None:
            return
        if not self._has_answered:
            self._lost(EngineError("the server has not answered"))
            return
        self._has_answered = False
        try:
            connection.send_ping()
        except DATABASE_ERRORS as error:
            self._lost(error)
        else:
            self._timer = self._reactor.callLater(ALIVE_EVERY_S, self._ask)

    # --- IReadDescriptor ---

    def fileno(self) -> int:
        """The connection's socket; -1 without one."""
        return -1 if self._connection is None else self._descriptor

    def logPrefix(self) -> str:
        """A name for Twisted's log."""
        return "rules"

    def doRead(self) -> None:
        """Take what the server has sent, without waiting."""
        connection = self._connection
        if connection is None:
            return
        try:
            pids = connection.received()
        except DATABASE_ERRORS as error:
            self._lost(error)
            return
        self._has_answered = True
        own = self._own_pid()
        if any(pid != own for pid in pids) and self.changes is not None:
            connections, heard = self.changes
            self.changes = (connections, heard + 1)

    def connectionLost(self, reason: Any) -> None:
        """The reactor has found the socket closed."""
        if self._connection is not None:
            self._lost(EngineError("server closed the connection"))
