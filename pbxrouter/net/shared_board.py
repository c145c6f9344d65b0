"""Memory that the processes of one gateway share: their signs of life, and how many connections each has open.

Each process writes a column of its own and reads those of the others, so nothing is locked. It says at once what a
message between processes would say late, and also what a process that stands still can no longer say.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import secrets
import struct
import tempfile
from typing import Final

KEY_BYTES: Final = 16
HEADER: Final = 64
"""Bytes before the columns; the first KEY_BYTES key the hash of networks: a peer cannot choose its bucket."""
BUCKETS: Final = 8192
"""Counters for networks in a column; two networks that share one count as one."""
COLUMN: Final = 16 + 4 * BUCKETS
"""Bytes of a column: the last sign of life (double, monotonic seconds), all connections (unsigned), 4 bytes unused, and
the connections by bucket (unsigned)."""

_BEAT: Final = struct.Struct("=d")
_COUNT: Final = struct.Struct("=I")


class SharedBoard:
    """The shared memory, as one of the processes sees it.

    Args:
        descriptor: of the memory; it is kept.
        columns: number of processes.
        own: the column that this process writes.

    Attributes:
        descriptor: the same.
        columns: the same.
    """

    def __init__(self, descriptor: int, columns: int, own: int) -> None:
        self.descriptor = descriptor
        self.columns = columns
        self._own = own
        self._memory = mmap.mmap(descriptor, _size(columns))
        self._key = bytes(self._memory[:KEY_BYTES])
        self._others = [column for column in range(columns) if column != own]

    @classmethod
    def create(cls, columns: int) -> SharedBoard:
        """Make the memory; this process has the first column.

        Raises:
            OSError: there is no memory.
        """
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("pbxrouter", os.MFD_CLOEXEC)
        else:  # pragma: no cover - another system than Linux
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, _size(columns))
        os.pwrite(descriptor, secrets.token_bytes(KEY_BYTES), 0)
        return cls(descriptor, columns, 0)

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
        with contextlib.suppress(OSError):
            os.close(self.descriptor)

    # --- signs of life ---

    def beat(self, now: float) -> None:
        """Write a sign of life of this process.

        Args:
            now: seconds of ``time.monotonic``, which all processes of the machine share.
        """
        _BEAT.pack_into(self._memory, _place(self._own), now)

    def last_beat(self, column: int) -> float:
        """The last sign of life of a process; 0 before the first."""
        beat: float = _BEAT.unpack_from(self._memory, _place(column))[0]
        return beat

    def beat_places(self) -> list[int]:
        """Where the signs of life are in the memory: a double for each process, monotonic seconds."""
        return [_place(column) for column in range(self.columns)]

    def clear(self, column: int) -> None:
        """Forget what a process wrote that has ended."""
        start = _place(column)
        self._memory[start : start + COLUMN] = bytes(COLUMN)

    # --- connections ---

    def count(self, network: str, change: int) -> None:
        """Count connections of a network that this process has opened, or closed if it is negative."""
        for place in (_place(self._own) + 8, self._bucket(self._own, network)):
            _COUNT.pack_into(self._memory, place, max(0, self._read(place) + change))

    def elsewhere(self) -> int:
        """Number of connections that the other processes have open."""
        return sum(self._read(_place(column) + 8) for column in self._others)

    def elsewhere_of(self, network: str) -> int:
        """Number of connections of a network that the other processes have open."""
        return sum(self._read(self._bucket(column, network)) for column in self._others)

    def _read(self, place: int) -> int:
        count: int = _COUNT.unpack_from(self._memory, place)[0]
        return count

    def _bucket(self, column: int, network: str) -> int:
        hashed = hashlib.blake2b(network.encode("utf-8", "surrogateescape"), digest_size=4, key=self._key).digest()
        return _place(column) + 16 + 4 * (int.from_bytes(hashed, "big") % BUCKETS)


def _size(columns: int) -> int:
    return HEADER + columns * COLUMN


def _place(column: int) -> int:
    return HEADER + column * COLUMN
