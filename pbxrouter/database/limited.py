"""The database for those who cannot wait long, such as a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pbxrouter.database.engine import Connection
from pbxrouter.database.store import Database
from pbxrouter.errors import StoreError
from pbxrouter.text import sentence

T = TypeVar("T")


class LimitedDatabase:
    """A database for those who cannot wait long: work that is not done in time fails with StoreError.

    Work that has not begun by then is not done at all; work that has begun may still be done.

    Args:
        seconds: for which an answer is waited for, from when it is asked.
    """

    def __init__(self, database: Database, seconds: float, clock: IReactorTime) -> None:
        self._database = database
        self._seconds = seconds
        self._clock = clock

    def run(self, work: Callable[[Connection], T]) -> Deferred[T]:
        """Run work as Store.run does; fail with StoreError when no answer comes in time."""
        given_up: list[StoreError] = []

        def unless_given_up(connection: Connection) -> T:
            if given_up:
                raise given_up[0]
            return work(connection)

        def give_up(_: object, timeout: float) -> T:
            why = sentence("the database did not answer within {seconds} s", seconds=f"{timeout:g}")
            error = StoreError(why)
            given_up.append(error)
            raise error

        return self._database.run(unless_given_up).addTimeout(self._seconds, self._clock, give_up)
