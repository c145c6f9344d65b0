"""Threads that cannot keep the process from ending, however long their work hangs."""

from __future__ import annotations

import threading
from typing import Any, Final

from twisted.python.threadpool import ThreadPool

LEAVE_S: Final = 0.5
"""Seconds for which the end of the process waits for a thread's work."""


class LeavableThread(threading.Thread):
    """A daemon thread that is waited for only briefly: system calls such as a look-up of a name cannot be ended."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **{**named, "daemon": True})

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of the thread, for LEAVE_S at most."""
        super().join(LEAVE_S if timeout is None else min(timeout, LEAVE_S))


def make_leavable(pool: ThreadPool) -> ThreadPool:
    """Let a pool's threads be LeavableThreads; returns the pool. Call it before the pool starts."""
    pool.threadFactory = LeavableThread
    return pool
