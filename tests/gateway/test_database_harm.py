"""A gateway whose database is replaced, deleted, locked or full while it runs: routing goes on, nothing is lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.gateway.raw_gateway import GatewayProcess
from tests.gateway.test_killed import GatewayCase
from tests.needs import PATIENCE_S, missing
from tests.waiting import wait_for


class HarmCase(GatewayCase):
    """A gateway with console, so that it has two connections to its database."""

    settings = '[web]\nlisten = "unix:w"\n'

    def backup(self, name: str = "backup") -> Path:
        """A backup of the database, made as the documentation says."""
        path = self.gateway.folder / name
        with contextlib.closing(sqlite3.connect(self.gateway.database)) as other:
            other.execute("VACUUM INTO ?", (str(path),))
        return path

    def shell(self, script: str, path: Path | None = None) -> None:
        """Change a database as another program does."""
        with contextlib.closing(sqlite3.connect(path or self.gateway.database)) as other:
            other.executescript(script)

    def wait_for_history(self, *uniqueids: str) -> None:
        """Wait until the history has these calls."""

        def all_there() -> bool:
            try:
                found = {uniqueid for uniqueid, _ in self.gateway.history()}
            except sqlite3.Error:
                return False
            return found >= set(uniqueids)

        wait_for(f"{uniqueids} in the history", all_there)

    def look(self) -> None:
        """Look at the console, which reads the database by a connection of its own."""
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as browser:
            browser.settimeout(PATIENCE_S)
            browser.connect(str(self.gateway.folder / "w"))
            browser.sendall(b"GET /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            self.assertTrue(browser.recv(4096).startswith(b"HTTP/1.1 "))

    def routed(self, uniqueid: str) -> bool:
        """Make a call from 33 to 21; returns whether it was dialled."""
        call = self.gateway.call(uniqueid)
        dialled = False
        while command := call.command():
            dialled = dialled or b"Dial" in command
            call.answer(command)
        call.close()
        return dialled


class ReplacedTests(HarmCase):
    """Another file in the database's place."""

    def test_a_backup_moved_over_it(self) -> None:
        """Again and again, amid calls: the backup is used and stays whole, and so does the old file, moved aside."""
        backup = self.backup()
        for turn in range(6):
            copy = self.gateway.folder / "copy"
            shutil.copy(backup, copy)
            if turn % 2:  # one with other rules, and of another size
                self.shell(
                    "DELETE FROM extensions_mappings;"
                    " CREATE TABLE filling AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL"
                    " SELECT x + 1 FROM n WHERE x < 5000) SELECT x, hex(randomblob(100)) AS y FROM n;",
                    copy,
                )
            self.look()
            self.finish(5, first=100 * turn)
            self.gateway.database.rename(self.gateway.folder / f"aside-{turn}")
            copy.rename(self.gateway.database)
            wait_for("the backup's rules", partial(self.is_routed_as, turn))
            self.finish(5, first=100 * turn + 50)
            self.wait_for_history(*(f"1.{100 * turn + number}" for number in range(50, 55)))
            self.assertEqual(self.gateway.integrity(), ["ok"])
            with contextlib.closing(sqlite3.connect(self.gateway.folder / f"aside-{turn}")) as aside:
                self.assertEqual(aside.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        self.gateway.stop()
        self.assertNotIn("Traceback", self.gateway.logged())
        self.assertEqual(self.gateway.integrity(), ["ok"])

    def is_routed_as(self, turn: int) -> bool:
        """Whether a call is routed as in this turn: every other file lacks the grants."""
        return self.routed(f"2.{turn}") is not bool(turn % 2)

    def test_a_backup_copied_over_it(self) -> None:
        """A backup that was copied over the file, in place, is used and stays whole."""
        backup = self.backup()
        self.finish(5)
        self.wait_for_history("1.4")
        self.look()
        self.shell("DELETE FROM extensions_mappings")
        made: list[str] = []

        def is_refused() -> bool:
            made.append(f"2.{len(made)}")
            return not self.routed(made[-1])

        wait_for("the new rules", is_refused)
        # A row that is written during the copy would go into it, at places of the old file: cp cannot exclude that.
        self.wait_for_history(*made)
        wait_for("the -wal is empty", lambda: not os.path.getsize(f"{self.gateway.database}-wal"))
        shutil.copyfile(backup, self.gateway.database)
        wait_for("the backup's rules", lambda: self.routed("3.1"))
        self.finish(5, first=50)
        self.wait_for_history("1.50", "1.54")
        self.assertEqual(self.gateway.integrity(), ["ok"])

    def test_no_database(self) -> None:
        """Garbage, a folder, an empty file or nothing: calls go by the last rules, and are written afterwards."""
        backup = self.backup()
        database = self.gateway.database

        def nothing() -> None:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{database}{suffix}").unlink(missing_ok=True)

        def folder() -> None:
            database.unlink()
            database.mkdir()

        harms: list[Callable[[], object]] = [
            database.unlink,
            nothing,
            lambda: database.write_bytes(b"x" * 5000),
            lambda: database.write_bytes(b""),
            folder,
        ]
        for turn, harm in enumerate(harms):
            harm()
            for number in range(5):
                self.assertTrue(self.routed(f"3.{10 * turn + number}"), turn)
            wait_for("the log says so", lambda: "history: calls cannot be written and wait" in self.gateway.logged())
            if database.is_dir():
                database.rmdir()
            shutil.copy(backup, self.gateway.folder / "copy")
            (self.gateway.folder / "copy").rename(database)
            self.wait_for_history(*(f"3.{10 * turn + number}" for number in range(5)))
            self.assertEqual(self.gateway.integrity(), ["ok"])
        self.assertNotIn("Traceback", self.gateway.logged())


class TakenAwayTests(HarmCase):
    """What SQLite needs beside the database is taken away."""

    def test_wal(self) -> None:
        """With -wal or -shm deleted or replaced amid calls, no call is lost and the file stays whole."""
        database = self.gateway.database
        beside = [Path(f"{database}{suffix}") for suffix in ("-wal", "-shm")]
        for turn, gone in enumerate((beside, beside[:1], beside[1:]) * 2):
            self.look()
            self.finish(5, first=100 * turn)
            for path in gone:
                path.unlink(missing_ok=True)
                if turn > 2:
                    path.write_bytes(b"")
            self.finish(5, first=100 * turn + 50)
            expected = [
                f"1.{100 * earlier + number}" for earlier in range(turn + 1) for number in (*range(5), *range(50, 55))
            ]
            self.wait_for_history(*expected)
            self.assertEqual(self.gateway.integrity(), ["ok"])
        self.gateway.kill()
        self.restart(60)
        self.assertEqual(self.gateway.integrity(), ["ok"])


class LockedTests(HarmCase):
    """Another program that holds the lock."""

    def test_calls_with_a_pin(self) -> None:
        """Callers who key a PIN are served meanwhile, and calls are written when the lock is gone."""
        with contextlib.closing(sqlite3.connect(self.gateway.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for number in range(5):
                call = self.gateway.call(f"4.{number}", "34")
                call.until(b"GET DATA")
                call._socket.sendall(b"200 result=123456\n")
                call.until(b"EXEC")
                call._socket.sendall(b"200 result=0\n")
                call.to_the_end()
            other.execute("ROLLBACK")
        self.wait_for_history(*(f"4.{number}" for number in range(5)))


class FullDiskTests(HarmCase):
    """A disk without room, which is a small tmpfs."""

    def setUp(self) -> None:
        """Mount it, and start the gateway there."""
        if os.geteuid() != 0:
            missing("a tmpfs wants root")
        self.folder = Path(tempfile.mkdtemp(prefix="pbxr-"))
        self.addCleanup(self.folder.rmdir)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", self.folder], capture_output=True)
        if mounted.returncode:
            missing(f"no tmpfs can be mounted: {mounted.stderr.decode()}")
        self.addCleanup(partial(subprocess.run, ["umount", "--lazy", self.folder], check=True))
        self.outside = Path(self.mktemp()).absolute()
        self.outside.mkdir()
        self.gateway = GatewayProcess(self.folder, settings=self.settings)
        self.gateway.log = self.outside / "log"
        self.addCleanup(self.gateway.clean_up)
        self.assertEqual(self.gateway.command("init", "--sample").returncode, 0)
        self.gateway.start()

    def test_full(self) -> None:
        """Calls go on; those that end meanwhile are kept over a stop, and written when there is room."""
        self.finish(5)
        self.wait_for_history("1.4")
        filling = self.folder / "filling"
        with contextlib.suppress(OSError), filling.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        with self.assertRaises(OSError), (self.folder / "more").open("wb") as file:
            file.write(bytes(100_000))
        for number in range(450):
            self.assertTrue(self.routed(f"5.{number}"))
        self.gateway.stop()
        self.assertNotIn("are lost", self.gateway.logged())
        (self.folder / "more").unlink()
        filling.unlink()
        self.assertEqual(set(self.restart(455).values()), {"ANSWER"})
        self.assertEqual(self.gateway.integrity(), ["ok"])


class AmidWritesTests(HarmCase):
    """A gateway that is killed while it writes."""

    def test_killed_amid_writes(self) -> None:
        """Killed in the middle of writes, again and again: the database is whole, and each call is there once."""
        total = 0
        for _ in range(3):
            assert self.gateway.process is not None
            first = total
            while total < first + 200:
                self.finish(20, first=total)
                total += 20
            self.gateway.process.send_signal(signal.SIGKILL)
            self.gateway.kill()
            self.restart(total)
            self.assertEqual(self.gateway.integrity(), ["ok"])
