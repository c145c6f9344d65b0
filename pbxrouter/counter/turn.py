"""Whose turn it is to write the counts of an Asterisk to a database that several gateways use."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from twisted.internet.defer import Deferred

from pbxrouter.database import (
    Connection,
    Database,
    LockHolder,
    leave_lock,
    lock_holder,
    session_with_lock,
    take_lock,
    take_lock_from,
)
from pbxrouter.errors import StoreError
from pbxrouter.text import sentence

LOCK_SUFFIX: Final = ".counter-"
"""What the lock file's name has behind that of the database; eight digits made from the Asterisk's name follow."""


PATIENCE_S: Final = 15.0
"""Seconds for which nobody has had the turn on a server until another gateway takes it: one that has lost its
connection is given time to come back, with the counts that it has kept."""


class TurnTaken(StoreError):
    """Another gateway has taken the turn."""


class Turn(Protocol):
    """Says which of several gateways writes."""

    def take(self) -> bool | Deferred[bool]:
        """Take it if no other gateway has it; whether this one has it then.

        Raises, or fails with:
            StoreError: the database cannot be asked now.
        """
        ...

    def confirm(self, connection: Connection) -> None:
        """Check that this gateway still has it, in the transaction that writes.

        Raises:
            TurnTaken: it has not.
        """
        ...

    def leave(self) -> None:
        """Leave it to another gateway. Never fails."""
        ...


class FileTurn:
    """A turn that is kept by a lock on a file beside the database, which ends with the process.

    Where no file can be locked the counts are written: then there is no other gateway on the database, or its owner
    finds them doubled.

    Args:
        database: the database's file.
        asterisk: the Asterisk's name in the configuration.
        lock: locks a descriptor, as fcntl.flock.
    """

    def __init__(self, database: Path, asterisk: str, lock: Callable[[int, int], object] = fcntl.flock) -> None:
        number = zlib.crc32(asterisk.encode("utf-8", "surrogateescape"))
        self.path = database.with_name(f"{database.name}{LOCK_SUFFIX}{number:08x}")
        self._lock = lock
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Lock the file, unless another gateway has locked it."""
        if self._descriptor is not None:
            return True
        flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(self.path, flags, 0o600)
        except OSError:
            return True
        try:
            self._lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            os.close(descriptor)
            return True
        self._descriptor = descriptor
        return True

    def confirm(self, connection: Connection) -> None:
        """The lock is kept until it is left."""

    def leave(self) -> None:
        """Unlock the file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)


class ServerTurn:
    """A turn that is kept by a lock on the PostgreSQL server, which ends with the connection that writes.

    After the connection was lost the gateway that had the turn has it again with its next write, unless another one has
    taken it meanwhile, which does so after PATIENCE_S.

    Args:
        store: the database that is written to.
        asterisk: the Asterisk's name in the configuration.
        monotonic: returns monotonic seconds.
    """

    def __init__(self, store: Database, asterisk: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._name = f"counter {asterisk}".encode("utf-8", "replace").decode("utf-8")
        self._monotonic = monotonic
        self._has_asked = False
        self._free_since: float | None = None
        self._session = ""  # that of the connection by which this gateway had it last

    def take(self) -> Deferred[bool]:
        """Take the turn if it is free: at the first request at once, later when it has been free for PATIENCE_S."""
        return self._store.run(self._take)

    def _take(self, connection: Connection) -> bool:
        if not self._has_asked:
            taken = take_lock(connection, self._name)
            self._has_asked = True
            return self._noted(connection, taken)
        there = lock_holder(connection, self._name)
        if there is not LockHolder.NOBODY:
            self._free_since = None
            return there is LockHolder.THIS
        if self._free_since is None:
            self._free_since = self._monotonic()
        if self._monotonic() - self._free_since < PATIENCE_S:
            return False
        self._free_since = None
        return self._noted(connection, take_lock(connection, self._name))

    def _noted(self, connection: Connection, taken: bool) -> bool:
        if taken:
            self._session = session_with_lock(connection, self._name)
        return taken

    def confirm(self, connection: Connection) -> None:
        """Take the lock again, if the connection is another one than before.

        The server may not have noticed yet that the one before is lost.
        """
        if lock_holder(connection, self._name) is LockHolder.THIS:
            return
        if not self._noted(connection, take_lock_from(connection, self._name, self._session)):
            raise TurnTaken(sentence("another gateway has gone on with the counts"))

    def leave(self) -> None:
        """Leave the lock to another gateway, at once."""
        self._store.run(lambda connection: leave_lock(connection, self._name)).addErrback(lambda _: None)
