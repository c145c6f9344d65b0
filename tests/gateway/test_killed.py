"""A gateway that is killed, or stopped while its database is away: the history has every call, once."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.gateway.raw_gateway import GatewayProcess, RawCall
from tests.waiting import wait_for


class GatewayCase(SynchronousTestCase):
    """A gateway in a process of its own, on the sample rules."""

    settings = ""

    def setUp(self) -> None:
        """Start a gateway."""
        self.gateway = GatewayProcess(settings=self.settings)
        self.addCleanup(self.gateway.clean_up)
        self.gateway.init()
        self.gateway.start()

    def journal(self) -> Path:
        """The journal's file."""
        return Path(f"{self.gateway.database}.calls")

    def in_progress(self, count: int, word: bytes, first: int = 0) -> list[RawCall]:
        """Begin calls, each up to a command with this word."""
        calls = [self.gateway.call(f"1.{number}") for number in range(first, first + count)]
        for call in calls:
            self.addCleanup(call.close)
            call.until(word)
        return calls

    def finish(self, count: int, first: int = 0) -> None:
        """Make calls that end."""
        for number in range(first, first + count):
            self.gateway.call(f"1.{number}").to_the_end()

    def restart(self, expected: int) -> dict[str, str]:
        """Start it again, wait until the history has so many calls, and return their outcomes by Uniqueid."""
        self.gateway.start()
        wait_for(f"{expected} calls in the history", lambda: len(self.gateway.history()) >= expected)
        history = self.gateway.history()
        self.assertEqual(max(Counter(uniqueid for uniqueid, _ in history).values()), 1, history)
        self.assertEqual(len(history), expected)
        return dict(history)


class KilledTests(GatewayCase):
    """A gateway that is killed by SIGKILL."""

    def test_in_the_middle_of_calls(self) -> None:
        """Calls that were over have their outcome, all others are cut; each is there once, after more starts too."""
        self.finish(12)
        self.in_progress(12, b"EXEC", first=12)
        last = self.in_progress(12, b"GET FULL VARIABLE", first=24)  # the first command
        self.finish(6, first=36)
        self.gateway.kill()
        outcomes = self.restart(42)
        over = [f"1.{number}" for number in (*range(12), *range(36, 42))]
        self.assertEqual({outcomes.pop(uniqueid) for uniqueid in over}, {"ANSWER"})
        self.assertEqual(set(outcomes.values()), {"UNKNOWN"})
        self.assertEqual(len(last), 12)
        self.assertIn("24 of them were cut when the gateway died", self.gateway.logged())
        said = self.gateway.command("history", "--outcome", "UNKNOWN", "--trace", "--limit", "1").stdout
        self.assertIn("33 -> 21", said)
        self.assertIn("cut: the gateway died during this call", said)
        self.gateway.kill()
        self.assertEqual(len(self.restart(42)), 42)
        self.assertNotIn("took up", self.gateway.logged())

    def test_a_journal_that_is_put_back(self) -> None:
        """A journal that was taken up before adds nothing."""
        self.finish(3)
        self.in_progress(3, b"EXEC", first=3)
        self.gateway.kill()
        kept = self.journal().read_bytes()
        self.restart(6)
        self.gateway.stop()
        self.journal().write_bytes(kept)
        self.restart(6)
        self.finish(1, first=9)
        wait_for("the next call is written", lambda: ("1.9", "ANSWER") in self.gateway.history())
        self.assertEqual(len(self.gateway.history()), 7)

    def test_killed_again_and_again(self) -> None:
        """Calls that a killed gateway had taken up, and not written yet, are taken up by the next one."""
        self.in_progress(5, b"EXEC")
        self.gateway.kill()
        with contextlib.closing(sqlite3.connect(self.gateway.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for _ in range(2):
                self.gateway.start()
                self.gateway.kill()
            other.execute("ROLLBACK")
        self.assertEqual(self.gateway.history(), [])
        self.assertEqual(set(self.restart(5).values()), {"UNKNOWN"})

    def test_no_secrets_and_no_readers(self) -> None:
        """The journal has mode 0600 and no PIN, neither keyed nor of the rules."""
        call = self.gateway.call("1.1", "34")
        self.addCleanup(call.close)
        call.until(b"GET DATA")
        call._socket.sendall(b"200 result=123456\n")
        call.until(b"EXEC")
        self.assertEqual(self.journal().stat().st_mode & 0o777, 0o600)
        wait_for("the decision is in the journal", lambda: b'["d"' in self.journal().read_bytes())
        self.assertNotIn(b"123456", self.journal().read_bytes())
        self.gateway.kill()
        self.restart(1)
        said = self.gateway.command("history", "--json").stdout
        self.assertIn('"granted_by": "moises silva"', said)
        self.assertIn('"application": "dial"', said)


class StoppedTests(GatewayCase):
    """SIGTERM while the database cannot be written."""

    CALLS = 150

    def kept_over_a_stop(self) -> None:
        """Stop it, and check that the log says how many calls the journal keeps."""
        self.gateway.stop()
        self.assertIn("could not be written; the next start takes them up from", self.gateway.logged())
        self.assertNotIn("Traceback", self.gateway.logged())

    def test_locked(self) -> None:
        """Calls that end while another program holds the lock are written by the next run."""
        with contextlib.closing(sqlite3.connect(self.gateway.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            self.finish(self.CALLS)
            self.kept_over_a_stop()
            other.execute("ROLLBACK")
        self.assertEqual(set(self.restart(self.CALLS).values()), {"ANSWER"})
        self.assertIn(f"took up {self.CALLS} calls that an earlier run left in", self.gateway.logged())

    def test_damaged(self) -> None:
        """Calls that end while the database is damaged are written once a backup is in its place."""
        backup = self.gateway.folder / "backup"
        self.finish(2)
        wait_for("the first calls are written", lambda: len(self.gateway.history()) == 2)
        with contextlib.closing(sqlite3.connect(self.gateway.database)) as other:
            other.execute("VACUUM INTO ?", (str(backup),))
        size = self.gateway.database.stat().st_size
        with self.gateway.database.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * (size - 4096))
        self.finish(self.CALLS, first=2)
        self.kept_over_a_stop()
        for suffix in ("-wal", "-shm"):
            Path(f"{self.gateway.database}{suffix}").unlink(missing_ok=True)
        os.replace(backup, self.gateway.database)
        self.assertEqual(set(self.restart(self.CALLS + 2).values()), {"ANSWER"})

    def test_deleted(self) -> None:
        """Calls that end while there is no database are written into the one that is put there."""
        backup = self.gateway.folder / "backup"
        shutil.copy(self.gateway.database, backup)
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.gateway.database}{suffix}").unlink(missing_ok=True)
        self.finish(self.CALLS)
        self.kept_over_a_stop()
        os.replace(backup, self.gateway.database)
        self.assertEqual(set(self.restart(self.CALLS).values()), {"ANSWER"})

    def test_nothing_left(self) -> None:
        """A stop with everything written leaves no journal."""
        self.finish(3)
        self.gateway.stop()
        self.assertEqual(len(self.gateway.history()), 3)
        self.assertFalse(self.journal().exists())
