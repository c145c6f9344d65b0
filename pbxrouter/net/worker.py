"""A thread of its own for blocking work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from pbxrouter.net.threads import make_leavable

T = TypeVar("T")


class Worker:
    """One thread, which is started at its first work.

    Args:
        reactor: calls back (IReactorFromThreads).
        name: of the thread.
    """

    def __init__(self, reactor: Any, name: str) -> None:
        self._reactor = reactor
        self._pool = make_leavable(ThreadPool(0, 1, name))

    def run(self, work: Callable[[], T]) -> Deferred[T]:
        """Do work in the thread, after what was asked for before."""
        if not self._pool.started:
            self._pool.start()
        return deferToThreadPool(self._reactor, self._pool, work)

    def stop(self) -> None:
        """End the thread; work that is under way is waited for briefly (net.threads)."""
        if self._pool.started and not self._pool.joined:
            self._pool.stop()
