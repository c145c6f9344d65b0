"""Whose turn it is to write the counts: one gateway's on each database, for each Asterisk."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.counter.turn import FileTurn


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
