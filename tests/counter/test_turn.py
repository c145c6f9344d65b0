"""Whose turn it is to write the counts: one gateway's on each database, for each Asterisk."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.counter.turn import FileTurn, ServerTurn, TurnTaken
from pbxrouter.database import Connection, LockHolder, lock_holder
from pbxrouter.errors import StoreError
from tests.counter_fakes import FakeStore
from tests.database.postgresql import OnBothEngines


class FileTurnTests(SynchronousTestCase):
    """A lock on a file beside the database."""

    def setUp(self) -> None:
        """Have a directory for a database."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def turn(self, asterisk: str = "pbx", database: str = "db") -> FileTurn:
        """A gateway's turn."""
        turn = FileTurn(self.folder / database, asterisk)
        self.addCleanup(turn.leave)
        return turn

    def test_one_at_a_time(self) -> None:
        """One gateway has it, however often it asks, until it leaves it."""
        first, second = self.turn(), self.turn()
        self.assertEqual((first.take(), first.take(), second.take()), (True, True, False))
        first.leave()
        self.assertEqual((second.take(), first.take()), (True, False))

    def test_apart(self) -> None:
        """Other Asterisks and other databases have turns of their own."""
        turns = [self.turn(), self.turn("pbx2"), self.turn("pbx", "db2"), self.turn("\udcff")]
        self.assertEqual([turn.take() for turn in turns], [True] * 4)

    def test_no_file(self) -> None:
        """Where no file can be locked, as at a link, which is not followed, the counts are written."""
        elsewhere = self.folder / "elsewhere"
        turn = self.turn()
        turn.path.symlink_to(elsewhere)
        self.assertEqual((turn.take(), self.turn("pbx", "missing/db").take()), (True, True))
        self.assertFalse(elsewhere.exists())
        with elsewhere.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.assertTrue(self.turn().take())

    def test_file(self) -> None:
        """Others cannot read or lock the file, programs that the gateway starts do not have it, a pipe does no harm."""
        turn = self.turn()
        self.assertTrue(turn.take())
        self.assertEqual(turn.path.stat().st_mode & 0o777, 0o600)
        assert turn._descriptor is not None
        self.assertFalse(os.get_inheritable(turn._descriptor))
        pipe = self.turn("other")
        os.mkfifo(pipe.path)
        self.assertTrue(pipe.take())

    def test_no_locks(self) -> None:
        """Where the file system has no locks the counts are written, and no file is kept open."""
        tried: list[int] = []

        def lock(descriptor: int, _: int) -> None:
            tried.append(descriptor)
            raise OSError(errno.ENOLCK, "No locks available")

        turn = FileTurn(self.folder / "db", "pbx", lock)
        self.assertEqual((turn.take(), turn.take(), len(tried)), (True, True, 2))
        for descriptor in tried:
            self.assertRaises(OSError, os.fstat, descriptor)

    def test_files_that_stay_open(self) -> None:
        """A gateway whose turn it is not keeps no file open, however often it asks."""
        tried: list[int] = []

        def lock(descriptor: int, how: int) -> None:
            tried.append(descriptor)
            fcntl.flock(descriptor, how)

        first, second = self.turn(), FileTurn(self.folder / "db", "pbx", lock)
        self.assertTrue(first.take())
        self.assertFalse(second.take())
        self.assertRaises(OSError, os.fstat, tried[0])

    def test_left_twice(self) -> None:
        """Leaving what one does not have does nothing."""
        turn = self.turn()
        turn.leave()
        self.assertTrue(turn.take())


class ServerTurnTests(OnBothEngines):
    """A lock on a PostgreSQL server, of gateways on any machines."""

    engine = "PostgreSQL"

    def setUp(self) -> None:
        """Have a database."""
        self.place = self.new_place()
        self.now = 0.0

    def turn(self, asterisk: str = "pbx") -> tuple[ServerTurn, FakeStore, Connection]:
        """The turn of a gateway, with its connection."""
        connection = self.open(self.place)
        store = FakeStore(connection)
        return ServerTurn(store, asterisk, lambda: self.now), store, connection

    def take(self, turn: ServerTurn) -> bool:
        """Ask for it."""
        return self.successResultOf(turn.take())

    def lose(self, connection: Connection, asterisk: str = "pbx") -> None:
        """End a connection, and wait until the server has noticed."""
        connection.close()
        other = self.open(self.place)
        while lock_holder(other, f"counter {asterisk}") is not LockHolder.NOBODY:
            time.sleep(0.01)

    def test_one_at_a_time(self) -> None:
        """One gateway has it; another takes it when nobody has had it for fifteen seconds."""
        (first, _, _), (second, _, _) = self.turn(), self.turn()
        self.assertEqual((self.take(first), self.take(second)), (True, False))
        first.leave()
        for now, taken in ((0, False), (14.9, False), (15, True), (16, True)):
            self.now = float(now)
            self.assertIs(self.take(second), taken, now)

    def test_apart(self) -> None:
        """Other Asterisks have turns of their own, whatever they are called."""
        for name in ("pbx", "pbx2", "\udcff", "x" * 200):
            self.assertTrue(self.take(self.turn(name)[0]), name)

    def test_comes_back(self) -> None:
        """A gateway that had lost its connection has its turn again with its next write, if it is soon."""
        (first, store, connection), (second, _, _) = self.turn(), self.turn()
        self.assertEqual((self.take(first), self.take(second)), (True, False))
        self.lose(connection)
        self.assertFalse(self.take(second))
        self.now = 14.0
        store._connection = self.open(self.place)
        self.successResultOf(store.run(first.confirm))
        self.now = 16.0
        self.assertFalse(self.take(second))

    def test_the_server_has_not_noticed(self) -> None:
        """While the server does not know yet that a connection is lost, its gateway has its turn all the same."""
        (first, store, lost), (second, _, _) = self.turn(), self.turn()
        self.assertEqual((self.take(first), self.take(second)), (True, False))
        store._connection = own = self.open(self.place)
        with database.transaction(own):
            first.confirm(own)
        first.confirm(own)
        self.assertFalse(self.take(second))
        self.assertRaises(database.DATABASE_ERRORS, lost.execute, "SELECT 1")

    def test_nobody_elses_session_is_ended(self) -> None:
        """A gateway that finds another one's lock in the place of its own leaves that one alone."""
        (first, store, of_other), (second, _, _) = self.turn(), self.turn()
        self.assertEqual((self.take(first), self.take(second)), (True, False))
        first._session = "1 2026-01-01"
        store._connection = self.open(self.place)
        self.failureResultOf(store.run(first.confirm), TurnTaken)
        of_other.execute("SELECT 1")

    def test_too_late(self) -> None:
        """When it comes back too late another one has its turn, which it does not lose."""
        (first, store, connection), (second, _, own) = self.turn(), self.turn()
        self.assertEqual((self.take(first), self.take(second)), (True, False))
        self.lose(connection)
        self.assertFalse(self.take(second))
        self.now = 15.0
        self.assertTrue(self.take(second))
        store._connection = self.open(self.place)
        self.failureResultOf(store.run(first.confirm), TurnTaken)
        second.confirm(own)

    def test_a_database_that_is_away(self) -> None:
        """It is not known then; the next time is the first."""
        turn, store, _ = self.turn()
        store.away = True
        self.failureResultOf(turn.take(), StoreError)
        turn.leave()
        store.away = False
        self.assertTrue(self.take(turn))

    def test_a_transaction_that_is_undone(self) -> None:
        """The lock that a write took again stays, however the write ends."""
        (first, _, own), (second, _, _) = self.turn(), self.turn()
        with self.assertRaises(ZeroDivisionError), database.transaction(own):
            first.confirm(own)
            raise ZeroDivisionError
        self.assertFalse(self.take(second))
