"""Where console passwords are hashed: two threads, with a bound on what waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from pbxrouter.errors import EditRefused
from pbxrouter.text import sentence

MAX_WAITING: Final = 20
"""Passwords that wait to be hashed; each takes 80 ms and 64 MiB while it is its turn."""


class PasswordThreads:
    """Where passwords are hashed: two at a time, so that nobody can make the gateway busy by logging in."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, 2, "passwords")
        self._waiting = 0

    async def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the function there.

        Raises:
            EditRefused: too many wait already.
        """
        if self._waiting >= MAX_WAITING:
            raise EditRefused(sentence("too many people are logging in just now; try again"))
        if not self._pool.started:
            self._pool.start()
        self._waiting += 1
        try:
            return await deferToThreadPool(self._reactor, self._pool, function, *arguments)
        finally:
            self._waiting -= 1

    def stop(self) -> None:
        """End the threads."""
        if self._pool.started:
            self._pool.stop()
