"""Calls that a PIN has at once: in one gateway, in several on one database, after a crash, without the database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.call.pin_calls import PinCalls
from pbxrouter.database.pin_calls import STALE_S
from tests.counter_fakes import FakeStore
from tests.databases import new_database


class PinCallsCase(SynchronousTestCase):
    """Has a database, and counts of several gateways on it."""

    def setUp(self) -> None:
        """Create the database and connect to it."""
        self.now = 1_000_000.0
        path = Path(self.mktemp())
        new_database(path)
        self.connection = database.connect(path)
        self.addCleanup(self.connection.close)

    def gateway(self) -> PinCalls:
        """The count of a further gateway on the database."""
        store: Any = FakeStore(self.connection)
        return PinCalls(store, lambda: self.now)

    def begun(self, calls: PinCalls, user: str, limit: int, times: int = 1) -> list[bool]:
        """Whether each of so many further calls of a user may begin."""
        return [self.successResultOf(calls.begin(user, limit)) for _ in range(times)]

    def rows(self) -> list[tuple[str, int]]:
        """What the database holds: user and calls."""
        return self.connection.execute("SELECT user_name, calls FROM pin_calls ORDER BY user_name, calls").fetchall()


class OneGatewayTests(PinCallsCase):
    """The calls of a PIN at one gateway, within the limit of its user."""

    def test_limit(self) -> None:
        """A PIN has as many calls at a time as its user may have, with and without a database."""
        for calls in (self.gateway(), PinCalls(None, lambda: self.now)):
            self.assertEqual(self.begun(calls, "ana", 2, 3), [True, True, False])
            calls.end("ana")
            self.assertEqual(self.begun(calls, "ana", 2), [True])
            self.assertEqual(self.begun(calls, "eva", 1), [True])
            for user, limit in (("ana", 2), ("eva", 1)):
                for _ in range(limit):
                    calls.end(user)
                self.assertEqual(self.begun(calls, user, limit, limit + 1), [True] * limit + [False])
                for _ in range(limit):
                    calls.end(user)
        self.assertEqual(self.rows(), [])

    def test_more_ends_than_calls(self) -> None:
        """Ending a call that never began allows no extra call."""
        calls = self.gateway()
        calls.end("ana")
        self.assertEqual(self.begun(calls, "ana", 1, 2), [True, False])

    def test_lowered_limit(self) -> None:
        """A limit that is lowered while calls go on holds for the next ones."""
        calls = self.gateway()
        self.assertEqual(self.begun(calls, "ana", 3, 3), [True] * 3)
        self.assertEqual(self.begun(calls, "ana", 1), [False])
        calls.end("ana")
        self.assertEqual(self.begun(calls, "ana", 2), [False])

    def test_at_the_same_time(self) -> None:
        """Of calls whose rows wait for the database no more begin than the limit allows."""
        store = FakeStore(self.connection)
        store.slow = True
        gateway: Any = store
        calls = PinCalls(gateway, lambda: self.now)
        other = self.gateway()
        self.assertEqual(self.begun(other, "ana", 2), [True])
        waiting = [Deferred.fromCoroutine(calls.begin("ana", 2)) for _ in range(3)]
        for held in list(store.held):
            held.callback(None)
        self.assertEqual([self.successResultOf(begun) for begun in waiting], [True, False, False])


class SeveralGatewaysTests(PinCallsCase):
    """Gateways on one database."""

    def test_together(self) -> None:
        """The limit is for the calls of all gateways together."""
        first, second = self.gateway(), self.gateway()
        self.assertEqual(self.begun(first, "ana", 2), [True])
        self.assertEqual(self.begun(second, "ana", 2, 2), [True, False])
        self.assertEqual(self.begun(first, "ana", 2), [False])
        self.assertEqual(self.begun(second, "eva", 2), [True])
        second.end("ana")
        self.assertEqual(self.begun(first, "ana", 2), [True])
        self.assertEqual(self.begun(second, "ana", 2), [False])
        self.assertEqual(self.rows(), [("ana", 2), ("eva", 1)])

    def test_killed(self) -> None:
        """A killed gateway's calls count for a minute, those of one that lives as long as they last."""
        killed, living, third = self.gateway(), self.gateway(), self.gateway()
        self.begun(killed, "ana", 2)
        self.begun(living, "ana", 2)
        for _ in range(round(STALE_S / PinCalls.WRITE_EVERY_S)):
            self.assertEqual(self.begun(third, "ana", 2), [False])
            self.now += PinCalls.WRITE_EVERY_S
            self.successResultOf(living.write())
        self.assertEqual(self.begun(third, "ana", 2, 2), [True, False])
        self.assertEqual(self.rows(), [("ana", 1), ("ana", 1)])

    def test_clock_set_back(self) -> None:
        """What was written by a clock that was ahead counts no longer."""
        self.begun(self.gateway(), "ana", 1)
        self.now -= STALE_S
        self.assertEqual(self.begun(self.gateway(), "ana", 1), [True])

    def test_database_away(self) -> None:
        """While the database is away a gateway counts its own calls and says so; later it writes them."""
        store = FakeStore(self.connection)
        gateway: Any = store
        calls = PinCalls(gateway, lambda: self.now)
        store.away = True
        with capturedLogs() as logs:
            self.assertEqual(self.begun(calls, "ana", 2, 3), [True, True, False])
            calls.end("ana")
        warned = [event for event in logs if event["log_level"] is LogLevel.warn]
        self.assertEqual(len(warned), 2)
        self.assertIn("PIN calls: the database cannot be used, counting in memory", warned[0]["log_format"])
        self.assertEqual(self.rows(), [])
        store.away = False
        self.successResultOf(calls.write())
        self.assertEqual(self.rows(), [("ana", 1)])


class FailingStore:
    """A store whose work fails otherwise than with a StoreError."""

    def run(self, work: Any) -> Deferred[Any]:
        """Fail without running the work."""
        return fail(RuntimeError("unexpected"))


class FailureTests(PinCallsCase):
    """Failures that are no StoreError."""

    def test_nothing_is_counted(self) -> None:
        """They are raised, and leave no call counted."""
        store: Any = FailingStore()
        calls = PinCalls(store, lambda: self.now)
        for _ in range(3):
            self.failureResultOf(Deferred.fromCoroutine(calls.begin("ana", 1)), RuntimeError)
        self.assertEqual(dict(calls._counts), {})
