"""Where console passwords are hashed: two threads, with a bound on what waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from pbxrouter.errors import EditRefused
from pbxrouter.net import make_leavable
from pbxrouter.text import sentence

MAX_WAITING: Final = 20
"""Maximum number of passwords waiting to be hashed; each takes 80 ms and 64 MiB in its turn."""


class PasswordThreads:
    """Hashes passwords in two threads, so that log-ins cannot keep the gateway busy."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool = make_leavable(ThreadPool(0, 2, "passwords"))
        self._waiting = 0

    async def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run the function in one of the threads.

        Raises:
            EditRefused: too many wait already.
        """
        if self._waiting >= MAX_WAITING:
            raise EditRefused(sentence("too many logins at the moment; try again"))
        if not self._pool.started:
            self._pool.start()
        self._waiting += 1
        try:
            return await deferToThreadPool(self._reactor, self._pool, function, *arguments)
        finally:
            self._waiting -= 1

    def stop(self) -> None:
        """Stop the threads."""
        if self._pool.started:
            self._pool.stop()
