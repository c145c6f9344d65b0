"""Whose turn it is to write the counts of an Asterisk to a database that several gateways use."""

from __future__ import annotations

import contextlib
import fcntl
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

LOCK_SUFFIX: Final = ".counter-"
"""What the lock file's name has behind that of the database; eight digits made from the Asterisk's name follow."""


class Turn(Protocol):
    """Says which of several gateways writes."""

    def take(self) -> bool:
        """Take it if no other gateway has it; whether this one has it then. Never fails."""
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

    def leave(self) -> None:
        """Unlock the file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)
