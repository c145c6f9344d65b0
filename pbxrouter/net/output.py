"""Standard output for a log whose reader may stand still: writing never blocks the program."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TextIO

MAX_WAITING: Final = 1 << 20
"""Characters that wait for the reader of the output; further lines are dropped and counted."""
CLOSING_S: Final = 1.0
"""Seconds that the last lines may take when the program ends."""


class UnblockedOutput:
    """A text stream whose lines are written by a thread of their own.

    Otherwise a pipe that is not read, or a terminal that is stopped, would hold up every caller. What does not fit
    into the buffer is dropped, and as soon as there is room again a line says how many lines that were.

    Args:
        stream: an open file, where the lines go.
        max_waiting: characters that may wait.

    Attributes:
        dropped: lines dropped since the start.
        encoding: of the stream.
    """

    def __init__(self, stream: TextIO, max_waiting: int = MAX_WAITING) -> None:
        stream.flush()
        self._file = os.dup(stream.fileno())  # its own: closing the stream must not lead a late line elsewhere
        self._max_waiting = max_waiting
        self._texts: deque[str] = deque()
        self._waiting = 0
        self._untold = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ends_at: float | None = None
        self.dropped = 0
        self.encoding = stream.encoding or "utf-8"

    def write(self, text: str) -> int:
        """Queue text; returns at once, also while nothing can be written."""
        with self._changed:
            if self._waiting + len(text) > self._max_waiting:
                lines = text.count("\n")
                self.dropped += lines
                self._untold += lines
                return len(text)
            if self._untold:
                self._put(f"log: {self._untold} lines are missing here, since the log's output was not read\n")
                self._untold = 0
            self._put(text)
            self._changed.notify_all()
            self._drain()
        return len(text)

    def flush(self) -> None:
        """Do nothing: the thread writes without a buffer."""

    def isatty(self) -> bool:
        """Whether the output is a terminal."""
        return os.isatty(self._file)

    def fileno(self) -> int:
        """The output's file descriptor."""
        return self._file

    def close(self, patience_s: float = CLOSING_S) -> None:
        """Wait until what is queued is written, for so many seconds at most; later lines share that time."""
        with self._changed:
            self._ends_at = time.monotonic() + patience_s
            self._drain()

    def _put(self, text: str) -> None:
        self._texts.append(text)
        self._waiting += len(text)
        if self._thread is None:
            # A daemon, for a thread that cannot write must not keep the process from ending. It starts with the
            # first line: twistd forks before that if it does.
            self._thread = threading.Thread(target=self._write_all, name="log output", daemon=True)
            self._thread.start()

    def _drain(self) -> None:
        """Once closing, wait for the thread as long as there is time."""
        while self._ends_at is not None and self._waiting and (left_s := self._ends_at - time.monotonic()) > 0:
            self._changed.wait(left_s)

    # --- in the thread ---

    def _write_all(self) -> None:
        while True:
            with self._changed:
                while not self._texts:
                    self._changed.wait()
                text = self._texts.popleft()
            with contextlib.suppress(OSError):  # there is nowhere to say that the log is gone
                self._write(text.encode(self.encoding, "backslashreplace"))
            with self._changed:
                self._waiting -= len(text)
                self._changed.notify_all()

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._file, data) :]
            except BlockingIOError:  # another program has made the pipe non-blocking
                select.select([], [self._file], [])


def unblock_output(reactor: Any) -> Callable[[], object]:
    """Let what is written to sys.stdout from now on never block; what is queued is written when the reactor ends.

    Does nothing without a standard output.

    Returns:
        A function that waits until what is queued is written, for CLOSING_S at most.
    """
    stream = sys.stdout
    if stream is None or isinstance(stream, UnblockedOutput):
        return _nothing_waits
    try:
        output = UnblockedOutput(stream)
    except (OSError, ValueError):  # it is closed, or no file
        return _nothing_waits
    sys.stdout = output
    reactor.addSystemEventTrigger("after", "shutdown", output.close)
    return output.close


def _nothing_waits() -> None:
    """Wait for nothing."""
