"""The database for those who cannot wait long."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.database import Connection, LimitedDatabase
from pbxrouter.errors import StoreError
from tests.counter_fakes import FakeStore

T = TypeVar("T")


class Waiting(SynchronousTestCase):
    """LimitedDatabase, on a database that answers when the test says so."""

    def setUp(self) -> None:
        """Create a limited database, whose store the test answers for."""
        self.connection = sqlite3.connect(":memory:")
        self.addCleanup(self.connection.close)
        self.store, self.clock = FakeStore(self.connection), Clock()
        self.limited = LimitedDatabase(self.store, 3, self.clock)
        self.done: list[str] = []

    def ask(self, what: str = "1") -> Deferred[object]:
        """Ask for something."""

        def work(connection: Connection) -> object:
            self.done.append(what)
            return connection.execute(f"SELECT {what}").fetchone()[0]

        return self.limited.run(work)

    def test_answers(self) -> None:
        """Answers and failures come as they are, and no timer stays."""
        self.assertEqual(self.successResultOf(self.ask()), 1)
        self.failureResultOf(self.ask("nonsense"), sqlite3.OperationalError)
        self.store.away = True
        self.failureResultOf(self.ask(), StoreError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_too_late(self) -> None:
        """Without an answer in time it fails; work that had not begun is never done, and later work is."""
        self.store.slow = True
        waiting = self.ask()
        self.clock.advance(2.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.1)
        failure = self.failureResultOf(waiting, StoreError)
        self.assertEqual(str(failure.value), "the database did not answer within 3 s")
        (held,) = self.store.held
        held.callback(None)
        self.assertEqual(self.done, [])
        self.store.slow = False
        self.assertEqual(self.successResultOf(self.ask()), 1)

    def test_its_turn_comes_too_late(self) -> None:
        """Work whose turn comes after its time is not done, and says why; work that has begun in time is done."""
        turns: list[Callable[[], object]] = []

        class Queue(FakeStore):
            """A store whose thread takes work when the test says so."""

            def run(self, work: Callable[[Connection], T]) -> Deferred[T]:
                """Put work into the queue."""
                turns.append(partial(work, connection))
                return Deferred()

        connection = self.connection
        self.limited = LimitedDatabase(Queue(connection), 3, self.clock)
        late, early = self.ask("1"), self.ask("2")
        turns[1]()
        self.clock.advance(3)
        for waiting in (late, early):
            self.failureResultOf(waiting, StoreError)
        error = self.assertRaises(StoreError, turns[0])
        self.assertEqual(str(error), "the database did not answer within 3 s")
        self.assertEqual(self.done, ["2"])
