"""A gateway whose clock a test can set: the time of its own process, as a change of the system's clock shows in it."""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path
from typing import Final

_STEP: Final = struct.Struct("=d")


def program(path: Path) -> str:
    """The Python program that runs a gateway whose clock is ahead by what the file at this path says."""
    path.write_bytes(_STEP.pack(0.0))
    return (
        "from pathlib import Path; from tests.asterisk.chaos.clock import shift;"
        f" shift(Path({str(path)!r})); from twisted.scripts.twistd import run; run()"
    )


def step(path: Path, seconds: float) -> None:
    """Set the clock of that gateway: so many seconds ahead of the system's."""
    with path.open("r+b") as file:
        file.write(_STEP.pack(seconds))


def shift(path: Path) -> None:
    """Let this process take its time from the system's clock and the file at this path."""
    with path.open("rb") as file:
        ahead = mmap.mmap(file.fileno(), _STEP.size, access=mmap.ACCESS_READ)
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + float(_STEP.unpack(ahead)[0])
    time.time_ns = lambda: real_ns() + int(1e9 * _STEP.unpack(ahead)[0])
