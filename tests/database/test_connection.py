"""The database file: schema, opening, upgrades and rows, in real SQLite files."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.database.audit import Actor, find_entries
from pbxrouter.database.rules.holder_edits import set_pin
from pbxrouter.database.rules.loader import read_rules
from pbxrouter.database.rules.sample import add_sample
from pbxrouter.database.upgrade import find_steps, schema, statements, upgrade, version_of
from pbxrouter.errors import (
    DatabaseForeign,
    DatabaseLocked,
    DatabaseMissing,
    DatabaseTooNew,
    NotADatabase,
    PinError,
    StoreError,
)
from pbxrouter.rules.model import Facts
from tests.database.older import make_older
from tests.needs import PATIENCE_S

ROOT = Actor("root", "command")

WORKSHOP = """
INSERT INTO "applications_mappings" VALUES(1, 'dial', 'IAX2', '3X');
INSERT INTO "applications_mappings" VALUES(2, 'dial', 'SIP', '2X');
INSERT INTO "applications_mappings" VALUES(3, 'dial', 'Zap', 'XXXXXXXX');
INSERT INTO "applications_mappings" VALUES(4, 'voicemail', '', '66');
INSERT INTO "applications_mappings" VALUES(5, 'conference', '', '7X');
INSERT INTO "extensions" VALUES(1, 33);
INSERT INTO "extensions_mappings" VALUES(1, 1, 2);
INSERT INTO "users_mappings" VALUES(1, 1, 1);
"""

NOW = database.SCHEMA_VERSION
FIRST, SECOND = NOW + 1, NOW + 2
"""The versions that the steps of UpgradeTests lead to."""


def hash_pin(pin: str) -> str:
    """A readable stand-in for the hash of a PIN."""
    return pin.encode().hex().rjust(64, "0")


class DatabaseCase(SynchronousTestCase):
    """Has a path for a database."""

    def setUp(self) -> None:
        """Create a directory and choose the database's path."""
        directory = Path(self.mktemp())
        directory.mkdir()
        self.path = directory / "pbxrouter.sqlite"

    def made(self) -> sqlite3.Connection:
        """Make a database, which is closed when the test ends."""
        database.create(self.path)
        return self.opened()

    def opened(self) -> sqlite3.Connection:
        """Open the database."""
        connection = database.connect(self.path, timeout_s=0)
        self.addCleanup(connection.close)
        return connection

    def refused(self, kind: type[StoreError], path: Path | None = None) -> str:
        """Check that opening it fails; returns the one line."""
        where = path or self.path
        line = str(self.assertRaises(kind, database.connect, where, timeout_s=0))
        self.assertNotIn("\n", line)
        self.assertIn(str(where), line)
        return line

    def shell(self, script: str) -> None:
        """Run SQL as the sqlite3 shell does, with foreign keys unchecked."""
        with closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(script)


class ReadOnlyTests(DatabaseCase):
    """Databases that are only read."""

    def test_it_is_read(self) -> None:
        """What others write meanwhile is seen; nothing can be written."""
        connection = self.made()
        with closing(database.connect_read_only(self.path)) as reader:
            query = "SELECT count(*) FROM extensions"
            before = reader.execute(query).fetchone()
            with database.transaction(connection):
                connection.execute("INSERT INTO extensions (extension_number) VALUES ('77')")
            self.assertEqual((before, reader.execute(query).fetchone()), ((0,), (1,)))
            self.assertRaises(sqlite3.OperationalError, reader.execute, "DELETE FROM extensions")

    def test_it_is_refused(self) -> None:
        """What is no database of this version is refused, and left as it is."""
        self.made().close()
        for version, words in ((1, "earlier pbxrouter"), (database.SCHEMA_VERSION + 1, "later pbxrouter")):
            self.shell(f"DELETE FROM schema_version; INSERT INTO schema_version (version) VALUES ({version})")
            self.assertIn(words, str(self.assertRaises(StoreError, database.connect_read_only, self.path)))
            with closing(sqlite3.connect(self.path)) as connection:
                self.assertEqual(connection.execute("SELECT version FROM schema_version").fetchall(), [(version,)])
        self.shell("DROP TABLE schema_version")
        self.assertRaises(StoreError, database.connect_read_only, self.path)
        self.assertRaises(StoreError, database.connect_read_only, self.path / "away")

    def test_it_cannot_be_read(self) -> None:
        """A file that SQLite cannot read is refused with its name, as when it is opened for writing."""
        self.path.write_bytes(b"this is no database of any kind" * 100)
        error = self.assertRaises(NotADatabase, database.connect_read_only, self.path)
        self.assertEqual(str(error), self.refused(NotADatabase))


class SchemaTests(DatabaseCase):
    """schema.sql by itself, in an empty database."""

    def test_the_workshops_inserts_work(self) -> None:
        """The workshop's INSERT statements, which name no columns, work: the tables have the same columns."""
        connection = self.made()
        connection.executescript(WORKSHOP.replace('INSERT INTO "users_mappings" VALUES(1, 1, 1);', ""))
        self.assertEqual(connection.execute("SELECT * FROM extensions").fetchall(), [(1, "33")])

    def test_a_rule_by_hand(self) -> None:
        """A rule needs only its three columns."""
        self.made()
        self.shell(
            "INSERT INTO applications_mappings(application_name, application_data, pattern)"
            " VALUES ('dial', 'SIP', '2X');"
        )
        rules = read_rules(self.opened(), hash_pin)
        self.assertEqual(rules.decide(Facts("33", "21")).verdict.value, "pin")

    def test_a_pin_in_clear_is_refused(self) -> None:
        """A PIN in the clear is refused, and the constraint's name says how a PIN is set."""
        connection = self.made()
        for pin in ("123456", "'0123'", "'" + "G" * 64 + "'", "x'00'"):
            with self.assertRaisesRegex(sqlite3.IntegrityError, "user_pin_must_be_set_with_pbxrouter_pin"):
                connection.execute(f"INSERT INTO users VALUES (1, 'moises silva', {pin})")
            connection.rollback()

    def test_users_without_pin(self) -> None:
        """Any number of users may have no PIN."""
        connection = self.made()
        connection.execute("INSERT INTO users(user_name) VALUES ('ana'), ('berta')")

    def test_leading_zeros_live(self) -> None:
        """Numbers are text: leading zeros are kept."""
        connection = self.made()
        connection.execute("INSERT INTO extensions(extension_number) VALUES ('033')")
        self.assertEqual(connection.execute("SELECT extension_number FROM extensions").fetchone(), ("033",))

    def test_what_is_refused(self) -> None:
        """Rows without a meaning are refused by a constraint whose name says why."""
        connection = self.made()
        connection.executescript("INSERT INTO extensions VALUES (1, '33');")
        for statement, name in (
            (
                "INSERT INTO applications_mappings(application_name, pattern) VALUES (' ', '2X')",
                "application_name_is",
            ),
            (
                "INSERT INTO applications_mappings(application_name, pattern) VALUES ('dial', '')",
                "pattern_is_not",
            ),
            ("INSERT INTO applications_mappings(application_name) VALUES ('dial')", "NOT NULL"),
            ("INSERT INTO extensions(extension_number) VALUES ('33')", "UNIQUE"),
            ("INSERT INTO extensions(extension_number) VALUES ('')", "extension_number_is_not_empty"),
            ("INSERT INTO extensions_mappings(extension_id, map_id) VALUES (1, 9)", "FOREIGN KEY"),
            ("INSERT INTO users(user_name) VALUES ('')", "user_name_is_not_empty"),
        ):
            with self.assertRaisesRegex(sqlite3.IntegrityError, name):
                connection.execute(statement)
            connection.rollback()

    def test_grants_go_with_what_they_grant(self) -> None:
        """Deleting a mapping deletes its grants and its switch."""
        connection = self.made()
        add_sample(connection, hash_pin)
        connection.execute("INSERT INTO mappings_disabled(map_id) VALUES (2)")
        connection.execute("DELETE FROM applications_mappings WHERE map_id = 2")
        for table in ("extensions_mappings", "mappings_disabled"):
            self.assertEqual(connection.execute(f"SELECT * FROM {table}").fetchall(), [])

    def test_numbers_do_not_come_back(self) -> None:
        """Numbers are not used again: a grant left behind by the sqlite3 shell opens no later mapping."""
        add_sample(self.made(), hash_pin)
        self.shell(
            "INSERT INTO users_mappings(user_id, map_id) SELECT 1, 5 WHERE 0;"
            "DELETE FROM applications_mappings WHERE map_id = 5;"
            "INSERT INTO applications_mappings(application_name, application_data, pattern)"
            " VALUES ('dial', 'SIP', '0.');"
        )
        rules = read_rules(self.opened(), hash_pin)
        self.assertEqual(rules.decide(Facts("33", "0123", "123456")).verdict.value, "deny")
        self.assertEqual(
            [problem.english for problem in rules.problems],
            ["a grant of user moises silva is left out: there is no mapping 5"],
        )

    def test_version(self) -> None:
        """The schema has the version that the program expects."""
        self.assertEqual(version_of(self.made()), database.SCHEMA_VERSION)

    def test_the_packaged_schema(self) -> None:
        """The schema in the package is the one at the top, not a broken link, and only creates and inserts."""
        self.assertEqual(schema(), Path(database.__file__).parents[2].joinpath("schema.sql").read_text())
        self.assertEqual({text.split()[0] for _, text in statements(schema())}, {"CREATE", "INSERT"})


class CreateTests(DatabaseCase):
    """Creating a database file."""

    def test_for_its_owner_only(self) -> None:
        """The database, which has hashes of PINs, and SQLite's files beside it are readable by their owner only."""
        before = os.umask(0)
        try:
            connection = self.made()
            connection.execute("INSERT INTO extensions(extension_number) VALUES ('33')")
            connection.commit()
        finally:
            os.umask(before)
        modes = {
            path.name.removeprefix(self.path.name): stat.S_IMODE(path.stat().st_mode)
            for path in self.path.parent.iterdir()
        }
        self.assertEqual(modes, {"": 0o600, "-wal": 0o600, "-shm": 0o600})

    def test_settings(self) -> None:
        """A new database uses WAL and foreign keys, and each commit is on the disk when it is done."""
        connection = self.made()
        for pragma, value in (("journal_mode", "wal"), ("foreign_keys", 1), ("synchronous", 2)):
            self.assertEqual(connection.execute(f"PRAGMA {pragma}").fetchone()[0], value)

    def test_writes_begin_with_the_lock(self) -> None:
        """Python's own transactions take the write lock before they read, too."""
        connection, statements = self.made(), list[str]()
        connection.set_trace_callback(statements.append)
        connection.execute("INSERT INTO extensions (extension_number) VALUES ('33')")
        self.assertEqual(statements[0], "BEGIN IMMEDIATE")
        connection.rollback()

    def test_closed_in_another_thread(self) -> None:
        """A connection may be closed in another thread than the one that opened it, as the store's pool does."""
        connection = self.made()
        with ThreadPoolExecutor(1) as other:
            other.submit(connection.close).result(timeout=PATIENCE_S)
        self.assertRaises(sqlite3.ProgrammingError, connection.execute, "SELECT 1")

    def test_closed_when_refused(self) -> None:
        """An existing database is not locked, even while the refusal is handled."""
        self.made()
        try:
            database.create(self.path)
        except StoreError as error:
            add_sample(self.opened(), hash_pin)
            self.assertIn("exists already", str(error))
        else:
            self.fail("it was made anew")

    def test_what_is_there_stays(self) -> None:
        """Neither a database nor another file is overwritten."""
        add_sample(self.made(), hash_pin)
        error = self.assertRaises(StoreError, database.create, self.path)
        self.assertIn("exists already", str(error))
        self.assertEqual(len(self.opened().execute("SELECT * FROM applications_mappings").fetchall()), 5)
        other = self.path.with_name("notes.txt")
        other.write_text("remember the milk " * 100)
        self.assertRaises(NotADatabase, database.create, other)
        self.assertEqual(other.read_text(), "remember the milk " * 100)

    def test_an_empty_file_is_used(self) -> None:
        """An empty file, as mktemp or a killed `init` leaves it, is used."""
        self.path.touch()
        self.made()

    def test_impossible_places(self) -> None:
        """A directory, and a path in a missing directory, are refused."""
        directory = self.path.parent
        error = self.assertRaises(NotADatabase, database.create, directory)
        self.assertIn("is a directory", str(error))
        error = self.assertRaises(DatabaseMissing, database.create, directory / "no" / "x.sqlite")
        self.assertIn(f"there is no directory {directory / 'no'}", str(error))

    def test_odd_names(self) -> None:
        """?, #, % and blanks in a path stand for themselves."""
        for name in ("a b.sqlite", "a?mode=memory", "a#b", "100%41", "ñandú", os.fsdecode(b"\xff.db")):
            self.path = self.path.with_name(name)
            self.made()
            self.assertTrue(self.path.stat().st_size)


class RefusedTests(DatabaseCase):
    """A connection that cannot be used."""

    def test_closed(self) -> None:
        """It is closed, for whichever reason it is refused: a later version, garbage."""
        with closing(self.made()) as connection:
            connection.execute(f"UPDATE schema_version SET version = {NOW + 1}")
            connection.commit()
        garbage = self.path.with_name("garbage")
        garbage.write_bytes(b"no database " * 1000)
        for path, kind in ((self.path, DatabaseTooNew), (garbage, NotADatabase)):
            connection = sqlite3.connect(path)
            self.assertRaises(kind, database.prepare, connection, path)
            self.assertRaises(sqlite3.ProgrammingError, connection.execute, "SELECT 1")


class ConnectTests(DatabaseCase):
    """Opening: every failure is typed and one line."""

    def test_missing(self) -> None:
        """The error for a missing database says what makes one; opening makes none."""
        self.assertIn("`pbxrouter init`", self.refused(DatabaseMissing))
        self.assertEqual(list(self.path.parent.iterdir()), [])

    def test_no_directory(self) -> None:
        """A missing directory is named."""
        self.assertIn("no directory", self.refused(DatabaseMissing, self.path.parent / "no" / "x"))

    def test_directory(self) -> None:
        """A directory is not a database."""
        self.assertIn("is a directory", self.refused(NotADatabase, self.path.parent))

    def test_not_a_database(self) -> None:
        """Text and other files are no database."""
        self.path.write_text("[fastagi]\n" * 100)
        self.assertIn("is not a database", self.refused(NotADatabase))

    def test_sqlite_2(self) -> None:
        """A database of SQLite 2 is refused with how to import it."""
        self.path.write_bytes(b"** This file contains an SQLite 2.1 database **\0" + bytes(2000))
        self.assertIn(".dump > workshop.sql", self.refused(NotADatabase))

    def test_empty(self) -> None:
        """An empty file is no database."""
        self.path.touch()
        self.assertIn("`pbxrouter init`", self.refused(DatabaseForeign))

    def test_foreign(self) -> None:
        """Another program's database is refused and left as it was."""
        self.shell("CREATE TABLE songs (title)")
        content = self.path.read_bytes()
        self.assertIn("of another program", self.refused(DatabaseForeign))
        self.assertEqual(self.path.read_bytes(), content)

    def test_the_workshops(self) -> None:
        """A database of the workshop is refused: it can be imported."""
        for table in (
            "applications_mappings",
            "extensions",
            "extensions_mappings",
            "users",
            "users_mappings",
        ):
            self.shell(f"CREATE TABLE {table} (x)")
        self.assertIn(f"`pbxrouter import {self.path}`", self.refused(DatabaseForeign))

    def test_too_new(self) -> None:
        """A database of a later version is refused and left as it was."""
        self.made().close()
        self.shell("INSERT INTO schema_version(version) VALUES (99)")
        self.assertIn("version 99", self.refused(DatabaseTooNew))

    def test_locked(self) -> None:
        """A database that another program has locked is waited for only for a time."""
        self.made().close()
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            other.execute("INSERT INTO extensions(extension_number) VALUES ('33')")
            self.assertIn("locked", self.refused(DatabaseLocked))

    def test_a_writer_does_not_block_readers(self) -> None:
        """With WAL a writer does not block readers; another writer waits, then fails."""
        connection = self.made()
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            read_rules(self.opened(), hash_pin)
            error = self.assertRaises(DatabaseLocked, add_sample, connection, hash_pin)
            self.assertIn(str(self.path), str(error))
        add_sample(connection, hash_pin)

    def test_damaged(self) -> None:
        """A damaged file is an error of one line."""
        connection = self.made()
        add_sample(connection, hash_pin)
        connection.close()
        self.shell("PRAGMA journal_mode = DELETE;")
        content = bytearray(self.path.read_bytes())
        content[4096:] = b"\xa5" * (len(content) - 4096)
        self.path.write_bytes(content)
        with self.assertRaisesRegex(StoreError, "is damaged"):
            read_rules(self.opened(), hash_pin)

    def unreadable_database(self, mode: int, directory_mode: int = 0o555) -> None:
        """A database with these file modes."""
        directory = Path(tempfile.mkdtemp(prefix="pbxrouter-test-"))
        self.addCleanup(shutil.rmtree, directory)
        self.addCleanup(directory.chmod, 0o755)
        self.path = directory / "pbxrouter.sqlite"
        self.made().close()
        self.path.chmod(mode)
        directory.chmod(directory_mode)
        if os.geteuid() == 0:  # root may do everything
            os.seteuid(65534)
            self.addCleanup(os.seteuid, 0)

    def test_not_readable(self) -> None:
        """A database that cannot be read is refused."""
        self.unreadable_database(0)
        self.assertIn("may not read and write it", self.refused(StoreError))
        error = self.assertRaises(StoreError, database.create, self.path)
        self.assertIn("Permission denied", str(error))

    def test_not_writable(self) -> None:
        """A database or a directory that cannot be written is refused."""
        self.unreadable_database(0o444)
        self.assertIn("is read-only for this user", self.refused(StoreError))

    def test_in_a_closed_directory(self) -> None:
        """A database in a directory that cannot be entered is refused."""
        self.unreadable_database(0o644, 0)
        self.assertIn("Permission denied", self.refused(StoreError))


class UpgradeTests(DatabaseCase):
    """Upgrades from an older schema, with steps in a directory of the test's own."""

    def setUp(self) -> None:
        """Write two steps; the second rebuilds a table that others refer to."""
        super().setUp()
        self.steps = self.path.parent / "steps"
        self.steps.mkdir()
        (self.steps / f"{FIRST:04}_history.sql").write_text("CREATE TABLE history (call TEXT); -- new\n")
        (self.steps / f"{SECOND:04}_names.sql").write_text(
            "CREATE TABLE fresh (extension_id INTEGER PRIMARY KEY, extension_number TEXT, name TEXT);\n"
            "INSERT INTO fresh SELECT extension_id, extension_number, 'a;b' FROM extensions;\n"
            "DROP TABLE extensions; ALTER TABLE fresh RENAME TO extensions;\n"
            "CREATE TRIGGER t AFTER INSERT ON history BEGIN DELETE FROM history WHERE 0; SELECT 1; END;\n"
        )
        (self.steps / "__init__.py").touch()
        (self.steps / f"{FIRST:04}_history.sql~").touch()

    def test_all_steps(self) -> None:
        """Each step is taken once, in order, and recorded; grants survive a rebuilt table."""
        connection = self.made()
        add_sample(connection, hash_pin)
        self.assertEqual(upgrade(connection, SECOND, self.steps), [FIRST, SECOND])
        self.assertEqual(connection.execute("SELECT name FROM extensions").fetchall(), [("a;b",)])
        self.assertEqual(connection.execute("SELECT count(*) FROM extensions_mappings").fetchone(), (1,))
        self.assertEqual(
            connection.execute("SELECT version FROM schema_version").fetchall(),
            [(NOW,), (FIRST,), (SECOND,)],
        )
        self.assertEqual(connection.execute("PRAGMA foreign_keys").fetchone(), (1,))
        self.assertEqual(upgrade(connection, SECOND, self.steps), [])

    def test_a_step_is_whole(self) -> None:
        """A step that fails leaves nothing; the steps before it stay."""
        (self.steps / f"{SECOND:04}_names.sql").write_text("DELETE FROM history;\nDROP TABLE users;\nSELECT nothing;")
        connection = self.made()
        error = self.assertRaises(StoreError, upgrade, connection, SECOND, self.steps)
        self.assertIn(f"{SECOND:04}_names.sql, line 3", str(error))
        self.assertEqual(version_of(connection), FIRST)
        self.assertEqual(connection.execute("SELECT * FROM users").fetchall(), [])
        self.assertEqual(connection.execute("PRAGMA foreign_keys").fetchone(), (1,))

    def test_no_transactions_of_its_own(self) -> None:
        """A step with a COMMIT is refused."""
        (self.steps / f"{FIRST:04}_history.sql").write_text("CREATE TABLE history (call); COMMIT; BEGIN;")
        connection = self.made()
        error = self.assertRaises(StoreError, upgrade, connection, FIRST, self.steps)
        self.assertIn("COMMIT", str(error))
        self.assertEqual(version_of(connection), NOW)

    def test_where_a_script_is_split(self) -> None:
        """Statements are not split in strings, names, comments or triggers; the last needs no semicolon."""
        script = (
            "-- a; b\nSELECT 'x;''y'; /* ; */ SELECT \"a;b\", [c;d];;\n"
            "CREATE TRIGGER t AFTER INSERT ON x BEGIN SELECT 1; SELECT 2; END;\nSELECT `e;f` -- last; one\n"
        )
        found = list(statements(script))
        self.assertEqual([line for line, _ in found], [2, 2, 2, 3, 4])
        self.assertEqual(found[0][1], "SELECT 'x;''y';")
        self.assertEqual(found[1][1], 'SELECT "a;b", [c;d];')
        self.assertTrue(found[3][1].endswith("END;"))
        self.assertEqual(list(statements("-- nothing; here\n")), [])

    def backups(self) -> list[Path]:
        """The backups, whole or partial, beside the database."""
        return sorted(self.path.parent.glob("*.before-*"))

    def test_a_backup_before_the_first_step(self) -> None:
        """The backup has all that the database had, its -wal file included, for its owner only; one line names it."""
        connection = self.made()
        add_sample(connection, hash_pin)
        self.assertTrue(self.path.with_name(f"{self.path.name}-wal").stat().st_size)
        before = list(connection.iterdump())
        lines: list[str] = []
        mask = os.umask(0)
        try:
            upgrade(connection, SECOND, self.steps, lines.append)
        finally:
            os.umask(mask)
        (backup,) = self.backups()
        self.assertRegex(backup.name, rf"^pbxrouter\.sqlite\.before-v{SECOND}\.\d{{8}}T\d{{6}}Z$")
        self.assertEqual(stat.S_IMODE(backup.stat().st_mode), 0o600)
        with closing(sqlite3.connect(backup)) as copy:
            self.assertEqual(list(copy.iterdump()), before)
            self.assertEqual(copy.execute("PRAGMA integrity_check").fetchone(), ("ok",))
        self.assertEqual(len(lines), 1)
        self.assertIn(f"from schema version {NOW} to {SECOND}", lines[0])
        self.assertIn(str(backup.absolute()), lines[0])
        self.assertEqual(upgrade(connection, SECOND, self.steps, lines.append), [])
        self.assertEqual((len(lines), self.backups()), (1, [backup]))

    def test_a_backup_can_be_used(self) -> None:
        """Put in the place of the upgraded database, it is the database from before."""
        connection = self.made()
        add_sample(connection, hash_pin)
        upgrade(connection, SECOND, self.steps)
        connection.close()
        (backup,) = self.backups()
        backup.rename(self.path)
        connection = self.opened()
        self.assertEqual(version_of(connection), NOW)
        self.assertEqual(read_rules(connection, hash_pin).decide(Facts("33", "21")).verdict.value, "allow")

    def test_no_room_for_the_backup(self) -> None:
        """Without room for a backup the upgrade is refused with the size needed, and nothing is changed."""
        connection = self.made()
        add_sample(connection, hash_pin)
        before = list(connection.iterdump())
        asked: list[Path] = []

        def free(directory: Path) -> int:
            asked.append(directory)
            return 4096

        lines: list[str] = []
        error = self.assertRaises(StoreError, upgrade, connection, SECOND, self.steps, lines.append, free)
        self.assertIn("its backup needs 1 MB", str(error))
        self.assertIn("0 MB are free", str(error))
        self.assertEqual(asked, [self.path.parent.absolute()])
        self.assertEqual(list(connection.iterdump()), before)
        self.assertEqual((version_of(connection), self.backups(), lines), (NOW, [], []))
        self.assertEqual(upgrade(connection, SECOND, self.steps), [FIRST, SECOND])

    def test_a_backup_that_cannot_be_written(self) -> None:
        """A backup whose writing fails half-way refuses the upgrade and leaves nothing."""
        connection = self.made()
        connection.execute("CREATE TABLE large (content)")
        connection.execute("INSERT INTO large VALUES (zeroblob(1000000))")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = list(connection.iterdump())
        connection.close()
        program = (
            "import resource, sys, pathlib; from pbxrouter import database; from pbxrouter.errors import StoreError\n"
            "from pbxrouter.database.upgrade import upgrade\n"
            "connection = database.connect(pathlib.Path(sys.argv[1]))\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))\n"
            "try: upgrade(connection, int(sys.argv[3]), pathlib.Path(sys.argv[2]))\n"
            "except StoreError as error: print(error)\n"
        )
        output = subprocess.run(
            [sys.executable, "-c", program, str(self.path.absolute()), str(self.steps.absolute()), str(SECOND)],
            capture_output=True,
            text=True,
            cwd=Path(database.__file__).parents[2],
            check=True,
        ).stdout
        self.assertIn("was not upgraded: its backup", output)
        self.assertIn("cannot be written", output)
        self.assertEqual(self.backups(), [])
        connection = self.opened()
        self.assertEqual(version_of(connection), NOW)
        self.assertEqual(list(connection.iterdump()), before)

    def test_a_backup_is_kept_only_if_a_step_was_done(self) -> None:
        """The backup of an upgrade that failed is deleted, so that restarts do not fill the disk."""
        (self.steps / f"{SECOND:04}_names.sql").write_text("SELECT nothing;")
        connection = self.made()
        lines: list[str] = []
        self.assertRaises(StoreError, upgrade, connection, SECOND, self.steps, lines.append)
        kept = self.backups()
        self.assertEqual((len(kept), len(lines)), (1, 1))
        self.assertIn(f"from schema version {NOW} to {FIRST}", lines[0])
        kept[0].rename(self.path.with_name("kept"))
        for _ in range(2):
            self.assertRaises(StoreError, upgrade, connection, SECOND, self.steps, lines.append)
        self.assertEqual((self.backups(), len(lines)), ([], 1))

    def test_what_a_killed_backup_left(self) -> None:
        """The partial file of a killed backup is replaced."""
        connection = self.made()
        self.path.with_name(f"{self.path.name}.before-v{SECOND}.partial").write_text("half")
        upgrade(connection, SECOND, self.steps)
        (backup,) = self.backups()
        self.assertNotIn("partial", backup.name)

    def test_a_missing_step(self) -> None:
        """A missing step is an error, and the steps before it are taken."""
        (self.steps / f"{FIRST:04}_history.sql").unlink()
        error = self.assertRaises(StoreError, upgrade, self.made(), SECOND, self.steps)
        self.assertIn(f"from version {NOW} of the database to {FIRST}", str(error))

    def test_the_same_number_twice(self) -> None:
        """Two steps with one number are refused."""
        (self.steps / f"{FIRST:04}_other.sql").touch()
        error = self.assertRaises(StoreError, find_steps, self.steps)
        self.assertIn("twice", str(error))

    def test_two_processes_at_once(self) -> None:
        """Two processes that upgrade at once both succeed, and each step is taken once."""
        self.made().close()
        program = (
            "import sys, pathlib; from pbxrouter import database\n"
            "from pbxrouter.database.upgrade import upgrade\n"
            "connection = database.connect(pathlib.Path(sys.argv[1])); print('ready', flush=True)\n"
            "sys.stdin.readline(); print(*upgrade(connection, int(sys.argv[3]), pathlib.Path(sys.argv[2])))\n"
        )
        paths = [str(self.path.absolute()), str(self.steps.absolute()), str(SECOND)]
        root = Path(database.__file__).parent.parent.parent
        running = [
            subprocess.Popen(
                [sys.executable, "-c", program, *paths],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=root,
            )
            for _ in range(4)
        ]
        for process in running:
            assert process.stdout
            self.assertEqual(process.stdout.readline(), "ready\n")
        for process in running:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
        taken = [step for process in running for step in process.communicate(timeout=PATIENCE_S)[0].split()]
        self.assertEqual(sorted(map(int, taken)), [FIRST, SECOND])
        self.assertEqual([process.returncode for process in running], [0] * 4)

    def test_another_process_was_faster(self) -> None:
        """A step that another process has done since is not done again; no backup is made, and nothing is told."""
        connection, other = self.made(), self.opened()
        steps = self.steps
        lines: list[str] = []

        class Slow:
            """The steps' directory, in which another process finds them first."""

            name = "steps"

            def iterdir(self) -> Iterator[Path]:
                """The steps."""
                upgrade(other, SECOND, steps)
                yield from steps.iterdir()

        found: Any = Slow()
        self.assertEqual(upgrade(connection, SECOND, found, lines.append), [])
        self.assertEqual((version_of(connection), len(self.backups()), lines), (SECOND, 1, []))
        self.assertFalse(connection.in_transaction)
        self.assertEqual(connection.execute("PRAGMA foreign_keys").fetchone(), (1,))

    def test_version_that_is_no_number(self) -> None:
        """A database whose version is no number is not upgraded; the error names the file, and what to do."""
        connection = self.made()
        connection.executescript(
            "DROP TABLE schema_version; CREATE TABLE schema_version (version);INSERT INTO schema_version VALUES ('x')"
        )
        for ask in (version_of, upgrade):
            error = self.assertRaises(StoreError, ask, connection)
            self.assertEqual(
                str(error),
                f"database {self.path.absolute()} has no version in its table schema_version: restore a backup",
            )

    def test_the_packages_own_steps(self) -> None:
        """The package's steps lead from version 1 to the newest without a gap."""
        self.assertEqual(sorted(find_steps()), list(range(2, NOW + 1)))

    def test_the_same_schema(self) -> None:
        """An upgraded database of version 1 has the schema of schema.sql, and keeps its rows."""
        connection = self.made()
        query = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
        new = connection.execute(query).fetchall()
        add_sample(connection, hash_pin)
        make_older(self.path)
        self.assertNotEqual(connection.execute(query).fetchall(), new)
        self.assertEqual(upgrade(connection), list(range(2, NOW + 1)))
        self.assertEqual(connection.execute(query).fetchall(), new)
        self.assertEqual(connection.execute("SELECT count(*) FROM users_mappings").fetchone(), (4,))
        self.assertEqual(len(self.backups()), 1)

    def test_opening_tells_of_the_upgrade(self) -> None:
        """connect passes the line about the backup on; opening a database of this version has no line."""
        self.made().close()
        make_older(self.path)
        lines: list[str] = []
        for _ in range(2):
            database.connect(self.path, notify=lines.append).close()
        self.assertEqual(len(lines), 1)
        self.assertIn(
            f"from schema version 1 to {NOW}; the backup from before is {self.backups()[0].absolute()}", lines[0]
        )


class RowTests(DatabaseCase):
    """Which rows become rules."""

    def test_the_sample(self) -> None:
        """The sample is the workshop's rules, with its numbers."""
        connection = self.made()
        add_sample(connection, hash_pin)
        rules = read_rules(connection, hash_pin)
        for caller, number, pin, verdict in (
            ("33", "21", None, "allow"),
            ("33", "34", None, "pin"),
            ("33", "34", "123456", "allow"),
            ("33", "34", "000000", "deny"),
            ("33", "66", "123456", "allow"),
            ("33", "75", "123456", "allow"),
            ("33", "12345678", "123456", "deny"),
            ("33", "999", None, "invalid"),
            (None, "21", "123456", "allow"),
        ):
            self.assertEqual(rules.decide(Facts(caller, number, pin)).verdict.value, verdict, number)
        self.assertEqual(rules.problems, ())
        error = self.assertRaises(StoreError, add_sample, connection, hash_pin)
        self.assertIn("has rules already", str(error))

    def test_switched_off(self) -> None:
        """A mapping in mappings_disabled matches nothing, and the trace says so."""
        connection = self.made()
        add_sample(connection, hash_pin)
        connection.execute("INSERT INTO mappings_disabled(map_id) VALUES (2)")
        decision = read_rules(connection, hash_pin).decide(Facts("33", "21"))
        self.assertEqual(decision.verdict.value, "invalid")
        self.assertIn("2X would match but is disabled", decision.trace_lines())

    def test_nonsense_is_left_out(self) -> None:
        """Invalid rows become problems; the others count."""
        add_sample(self.made(), hash_pin)
        self.shell(
            "PRAGMA ignore_check_constraints = ON;"
            "INSERT INTO extensions_mappings(extension_id, map_id) VALUES (1, 77), (88, 1);"
            "INSERT INTO users_mappings(user_id, map_id) VALUES (99, 1);"
            "INSERT INTO applications_mappings(application_name, pattern)"
            " VALUES ('dial', '4['), (x'ff', '4X');"
            "INSERT INTO users(user_name, user_pin) VALUES (CAST(x'4d6f6973e973' AS TEXT), '4444');"
        )
        rules = read_rules(self.opened(), hash_pin)
        self.assertEqual(rules.decide(Facts("33", "21")).verdict.value, "allow")
        words = "\n".join(problem.english for problem in rules.problems)
        for expected in (
            "a grant of extension 33 is left out: there is no mapping 77",
            "there is no extension 88",
            "there is no user 99",
            "the PIN of user Mois\ufffds is in plain text",
            "mapping 6 is left out",
            "mapping 7 is left out",
        ):
            self.assertIn(expected, words)
        self.assertNotIn("4444", words)
        self.assertEqual(rules.decide(Facts("33", "34", "4444")).verdict.value, "deny")

    def test_set_pin(self) -> None:
        """A PIN is set by the user's name, and removed with None; a PIN belongs to one user."""
        connection = self.made()
        add_sample(connection, hash_pin)
        connection.execute("INSERT INTO users(user_name) VALUES ('ana'), ('eva'), ('eva')")
        connection.commit()
        set_pin(connection, ROOT, 7.0, "ana", hash_pin("0123"))
        error = self.assertRaises(PinError, set_pin, connection, ROOT, 7.0, "ana", hash_pin("123456"))
        self.assertIn("choose another one", str(error))
        self.assertEqual(
            connection.execute("SELECT user_pin FROM users WHERE user_name = 'ana'").fetchone(),
            (hash_pin("0123"),),
        )
        set_pin(connection, ROOT, 7.0, "moises silva", None)
        set_pin(connection, ROOT, 7.0, "ana", hash_pin("123456"))
        for name, words in (("otto", "no user"), ("eva", "several users")):
            error = self.assertRaises(StoreError, set_pin, connection, ROOT, 7.0, name, None)
            self.assertIn(words, str(error))
        self.assertEqual(
            [
                (entry.who, entry.via, entry.changed_at, entry.action, entry.name)
                for entry in find_entries(connection, limit=3)
            ],
            [("root", "command", 7.0, "pin", name) for name in ("ana", "moises silva", "ana")],
        )

    def test_read_as_of_one_moment(self) -> None:
        """Rules are read as of one moment, also while another program writes."""
        connection = self.made()
        add_sample(connection, hash_pin)
        with database.reading(connection):
            connection.execute("SELECT 1 FROM users").fetchall()
            self.shell("DELETE FROM users")
            self.assertEqual(connection.execute("SELECT count(*) FROM users").fetchone(), (1,))
        self.assertEqual(connection.execute("SELECT count(*) FROM users").fetchone(), (0,))
