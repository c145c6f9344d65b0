"""Every command that opens the database, and the gateway's start, on files that cannot be used: one line each."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.config import parsing
from pbxrouter.doctor.files import check_database as check_files
from pbxrouter.errors import StoreError
from pbxrouter.tap import check, check_database
from tests import needs
from tests.cli.test_app import WORKSHOP, run
from tests.databases import sample_database

COMMANDS = (
    ("explain", "21", "--from", "33"),
    ("pin", "moises silva"),
    ("endpoint", "33", "PJSIP/33"),
    ("token", "list"),
    ("token", "create", "shop"),
    ("lockouts",),
    ("changes",),
    ("changes", "show", "1"),
    ("console", "list"),
    ("counter",),
    ("history",),
    ("import", "workshop.sql"),
)
PAGE = 4096

DAMAGED = "is damaged"
"""What is said of a file that SQLite cannot understand, whichever of its errors tells it."""


class UnusableCase(SynchronousTestCase):
    """A folder with settings, and the bytes of a good database."""

    def setUp(self) -> None:
        """Make the folder, and a database with the sample rules."""
        self.folder = Path(tempfile.mkdtemp(prefix="pbxr-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        self.path = self.folder / "x.db"
        self.assertEqual(run("init", "--sample", "--database", "x.db").exit_code, 0)
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            self.roots = dict(connection.execute("SELECT name, rootpage FROM sqlite_master WHERE type = 'table'"))
        self.good = self.path.read_bytes()
        Path("workshop.sql").write_text(WORKSHOP)
        self.config = parsing.parse('database = "x.db"\n[fastagi]\nlisten = "unix:s"\n', "x", self.folder)

    def remove(self) -> None:
        """Remove the database and what is beside it."""
        for suffix in ("", "-wal", "-shm", "-journal"):
            path = Path(f"{self.path}{suffix}")
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)

    def start(self) -> None:
        """What the gateway checks before it starts."""
        check(self.config, reactor)

    def line_of(self, command: tuple[str, ...]) -> str:
        """The one line of a command that fails; a command that does not need what is damaged may succeed."""
        result = run(command[0], "--database", "x.db", *command[1:], stdin="482915\n482915\n")
        said = result.stderr
        self.assertNotIn("a bug in", said)
        self.assertNotIn("Traceback", said)
        self.assertIn(result.exit_code, (0, 2), said)
        self.assertIn(said.count("\n"), (1,) if result.exit_code else (0, 1), said)
        return str(said)

    def refused(self, words: str) -> None:
        """Check that the start and all commands say this in one line, with the file's name."""
        error = str(self.assertRaises(StoreError, self.start))
        for line in (error, *map(self.line_of, COMMANDS)):
            self.assertIn(str(self.path), line)
            self.assertRegex(line, words)
        findings = list(check_files(self.path, None, (frozenset({"dial"}), ())))
        self.assertEqual(findings[0].state, "wrong")
        self.assertLessEqual({finding.state for finding in findings[1:]}, {"unknown"})
        self.assertRegex(findings[0].what, words)


class FileTests(UnusableCase):
    """Other things in the database's place."""

    def test_other_files(self) -> None:
        """Text, an empty file, a folder, a pipe, a device, a loop and nothing are named, with what to do."""
        cases: list[tuple[Callable[[], object], str]] = [
            (
                lambda: self.path.write_text("x" * 5000),
                "is not a database; accepted is one that `pbxrouter init` creates",
            ),
            (lambda: self.path.write_bytes(b""), "has no tables: create them with `pbxrouter init`"),
            (self.path.mkdir, "is a directory; accepted is a file"),
            (lambda: os.mkfifo(self.path), "is not a file; accepted is a file"),
            (lambda: self.path.symlink_to("/dev/zero"), "is not a file; accepted is a file"),
            (lambda: self.path.symlink_to(self.path), "Too many levels of symbolic links"),
            (lambda: None, "does not exist: create it with `pbxrouter init`"),
            (lambda: self.path.symlink_to(self.folder / "elsewhere"), "does not exist: create it with"),
        ]
        for make, words in cases:
            self.remove()
            make()
            self.refused(words)

    def test_newer(self) -> None:
        """A database of a later version says which version to install."""
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.execute("INSERT INTO schema_version (version) VALUES (99)")
            connection.commit()
        self.refused("was created by a later pbxrouter .*: install the later one")

    def test_version_that_is_none(self) -> None:
        """A version that is no number is named."""
        for value in ("'x'", "x'ff'", "1.5"):
            with contextlib.closing(sqlite3.connect(self.path)) as connection:
                connection.executescript(
                    f"DROP TABLE schema_version; CREATE TABLE schema_version (version); INSERT INTO schema_version"
                    f" VALUES ({value})"
                )
            self.refused("has no version in its table schema_version: restore a backup")

    def test_directory_beside(self) -> None:
        """A directory in place of -wal is named."""
        self.remove()
        self.path.write_bytes(self.good)
        Path(f"{self.path}-wal").mkdir()
        self.refused(re.escape(f"{self.path}-wal is a directory; remove it"))


class DamagedTests(UnusableCase):
    """Databases of which a part is damaged."""

    def changed(self, script: str) -> None:
        """Put a database in place whose schema was changed by hand."""
        self.remove()
        self.path.write_bytes(self.good)
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(f"PRAGMA writable_schema = ON; {script}")

    def test_schema(self) -> None:
        """A damaged sqlite_master is a damaged database, also with a name that is no text."""
        for script in (
            "UPDATE sqlite_master SET sql = 'CREATE TABLE x(' WHERE name = 'users'",
            "UPDATE sqlite_master SET sql = 'garbage' WHERE name = 'calls'",
            "UPDATE sqlite_master SET rootpage = 99999 WHERE name = 'extensions'",
            "UPDATE sqlite_master SET sql = x'ff00ff' WHERE name = 'extensions'",
            "UPDATE sqlite_master SET name = CAST(x'ff' AS TEXT), tbl_name = CAST(x'ff' AS TEXT) WHERE name = 'users'",
        ):
            self.changed(script)
            self.refused(DAMAGED)
            self.assertIn(DAMAGED, self.line_of(("init", "--sample")), script)

    def test_pages(self) -> None:
        """A damaged page of rules keeps the gateway from its start; every command says so or does not need it."""
        for table in ("applications_mappings", "extensions", "users", "extensions_mappings", "users_mappings"):
            self.page(table)
            error = str(self.assertRaises(StoreError, self.start))
            self.assertEqual(error, f"database {self.path} is damaged: restore a backup, or see .recover of sqlite3")
            self.assertIn(DAMAGED, self.line_of(("explain", "21", "--from", "33")))

    def test_other_pages(self) -> None:
        """Whatever page is damaged, no command ends in more than one line."""
        for table in self.roots:
            self.page(table)
            with contextlib.suppress(StoreError):
                self.start()
            for command in (*COMMANDS, ("init",), ("init", "--sample")):
                self.line_of(command)

    def test_cut(self) -> None:
        """Nor whichever length the file is cut to."""
        for size in (10, 50, 100, 1000, PAGE, PAGE + 1, 3 * PAGE, len(self.good) // 2):
            self.remove()
            self.path.write_bytes(self.good[:size])
            with contextlib.suppress(StoreError):
                self.start()
            for command in (*COMMANDS, ("init",)):
                self.line_of(command)

    def page(self, table: str) -> None:
        """Put a database in place of which the first page of a table is damaged."""
        self.remove()
        content = bytearray(self.good)
        place = PAGE * (self.roots[table] - 1)
        content[place : place + PAGE] = b"\xa5" * PAGE
        self.path.write_bytes(content)


class RightsTests(SynchronousTestCase):
    """Files and directories that the user may not use, as another user than root."""

    def setUp(self) -> None:
        """Make a database that belongs to a user without rights."""
        if os.geteuid() != 0:
            needs.missing("another user's rights want root")
        self.user = pwd.getpwnam("nobody")
        self.folder = Path(tempfile.mkdtemp(prefix="pbxr-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = self.folder / "x.db"
        sample_database(self.path, lambda pin: pin.encode().hex().rjust(64, "0"))
        for path in (self.folder, *self.folder.iterdir()):
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Another program has the database open, so that there are -wal and -shm."""
        script = (
            "import sqlite3, sys; other = sqlite3.connect(sys.argv[1]);"
            " other.execute('CREATE TABLE IF NOT EXISTS more (x)'); other.execute('INSERT INTO more VALUES (1)');"
            " other.commit(); print('ready', flush=True); sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script, str(self.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            assert other.stdout is not None
            self.assertEqual(other.stdout.readline(), b"ready\n")
            for suffix in ("-wal", "-shm"):
                os.chown(f"{self.path}{suffix}", self.user.pw_uid, self.user.pw_gid)
            yield
            other.communicate(timeout=needs.PATIENCE_S)

    def start(self) -> str:
        """What the check at the start says to that user."""
        os.setegid(self.user.pw_gid)
        os.seteuid(self.user.pw_uid)
        try:
            check_database(self.path)
        except StoreError as error:
            return str(error)
        finally:
            os.seteuid(0)
            os.setegid(0)
        return "up"

    def test_good(self) -> None:
        """With all rights it starts, also while another program has the database open."""
        self.assertEqual(self.start(), "up")
        with self.in_use():
            self.assertEqual(self.start(), "up")

    def test_rights(self) -> None:
        """Without rights to the file, the -wal, the -shm or the directory it names which, and what to do."""
        self.path.chmod(0)
        self.assertIn(
            "this user may not read and write it; make it the user's own (chown), with mode 0600", self.start()
        )
        self.path.chmod(0o444)
        self.assertIn("cannot be written: its file or directory is read-only for this user", self.start())
        self.path.chmod(0o600)
        for suffix in ("-wal", "-shm"):
            with self.in_use():
                os.chmod(f"{self.path}{suffix}", 0)
                self.assertRegex(
                    self.start(), re.escape(f"{self.path}{suffix}") + "; make it the user's own|read-only for"
                )
        self.folder.chmod(0o500)
        self.assertRegex(self.start(), f"may not make files in {self.folder}|its file or directory is read-only")
        self.folder.chmod(0)
        self.assertIn("Permission denied", self.start())
        self.folder.chmod(0o700)

    def test_read_only_file_system(self) -> None:
        """On a file system that is mounted read-only it says that it cannot be written."""
        bind = subprocess.run(["mount", "--bind", self.folder, self.folder], capture_output=True)
        if bind.returncode:
            needs.missing("nothing can be mounted")
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", self.folder], check=True)
            self.assertRegex(self.start(), "is mounted read-only; mount it writable")
        finally:
            subprocess.run(["umount", "--lazy", self.folder], check=True)
