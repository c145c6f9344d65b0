"""The backup before an upgrade, and the steps: names, limits and messages."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from functools import partial
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.database.backup import back_up, path_of
from pbxrouter.database.upgrade import find_steps, run, statements, upgrade, version_of
from pbxrouter.errors import StoreError
from tests.databases import new_database


class BackupCase(SynchronousTestCase):
    """Has a database in a directory of its own."""

    def setUp(self) -> None:
        """Make and open it."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        self.path = directory / "rules.sqlite"
        new_database(self.path)
        self.connection = database.connect(self.path)
        self.addCleanup(self.connection.close)
        self.backup = directory / "rules.sqlite.before-v9.19700101T000001Z"
        self.partial = directory / "rules.sqlite.before-v9.partial"


class BackupTests(BackupCase):
    """back_up copies the database to a file beside it."""

    def failed(self, why: str) -> None:
        """Check that the backup fails with this sentence."""
        error = self.assertRaises(StoreError, back_up, self.connection, 9, seconds=lambda: 1.0)
        self.assertEqual(
            str(error), f"database {self.path} was not upgraded: its backup {self.backup} cannot be written: {why}"
        )

    def test_name(self) -> None:
        """The backup is named for version and time in UTC; the partial file is gone."""
        self.assertEqual(back_up(self.connection, 9, seconds=lambda: 1.0), self.backup)
        self.assertTrue(self.backup.exists())
        self.assertFalse(self.partial.exists())

    def test_there_already(self) -> None:
        """A backup of the same second is not overwritten: the next ones have a number, and nothing else is left."""
        self.backup.write_text("the earlier one")
        for number in (2, 3):
            made = back_up(self.connection, 9, seconds=lambda: 1.0)
            self.assertEqual(made, self.backup.with_name(f"{self.backup.name}.{number}"))
            self.assertTrue(made.exists())
        self.assertEqual(self.backup.read_text(), "the earlier one")
        self.assertFalse(self.partial.exists())

    def test_the_system_refuses(self) -> None:
        """The system's reason is named, also if the partial file cannot be removed."""
        self.partial.mkdir()
        self.failed("Is a directory")
        self.assertTrue(self.partial.is_dir())
        self.assertFalse(self.backup.exists())

    def test_sqlite_refuses(self) -> None:
        """SQLite's reason is named, and the empty copy removed."""
        self.path.unlink()
        self.failed("unable to open database file")
        self.assertFalse(self.partial.exists())
        self.assertFalse(self.backup.exists())

    def test_room(self) -> None:
        """As many free bytes as the database has are enough; with one less the error has the megabytes, rounded up."""
        pages, size = (self.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        error = self.assertRaises(StoreError, back_up, self.connection, 9, lambda _: pages * size - 1)
        self.assertEqual(
            str(error),
            f"database {self.path} was not upgraded: its backup needs 1 MB in {self.path.parent}, and 0 MB are free;"
            " make room and try again",
        )
        self.assertTrue(back_up(self.connection, 9, lambda _: pages * size).exists())

    def test_room_in_megabytes(self) -> None:
        """The megabytes that are needed are rounded up, those that are free are rounded down."""
        self.connection.execute("CREATE TABLE large (content)")
        self.connection.execute("INSERT INTO large VALUES (zeroblob(2100000))")
        self.connection.commit()
        error = self.assertRaises(StoreError, back_up, self.connection, 9, lambda _: 1_999_999)
        self.assertIn(f"needs 3 MB in {self.path.parent}, and 1 MB are free", str(error))

    def test_path(self) -> None:
        """path_of gives the file of a connection, and a placeholder for one without a file or one that is closed."""
        self.assertEqual(path_of(self.connection), self.path)
        memory = sqlite3.connect(":memory:")
        self.assertEqual(path_of(memory), Path(":memory:"))
        self.assertIs(memory.text_factory, str)
        memory.close()
        self.assertEqual(path_of(memory), Path("database"))

    def test_path_that_is_not_text(self) -> None:
        """A file name need not be UTF-8."""
        path = os.path.join(os.fsencode(self.path.parent), b"a\xff.sqlite")
        with contextlib.closing(sqlite3.connect(path)) as connection:
            self.assertEqual(os.fsencode(path_of(connection)), os.path.realpath(path))


class StepTests(BackupCase):
    """The files of an upgrade, and running them."""

    def test_names_of_steps(self) -> None:
        """Four digits, a name, .sql; everything else in the directory is ignored."""
        directory = self.path.parent / "steps"
        directory.mkdir()
        for name in (
            "0007_a.sql", "0012_two_words.sql",
            "0008_.sql", "0008.sql", "008_a.sql", "00008_a.sql", "0008-a.sql", "0008_a-b.sql", "0008_aXsql",
            "0008_a.sql~", "0008_a.sql.orig", "x0008_a.sql", "abcd_a.sql",
        ):  # fmt: skip
            (directory / name).touch()
        found = find_steps(directory)
        self.assertEqual({version: step.name for version, step in found.items()}, {
            7: "0007_a.sql", 12: "0012_two_words.sql",
        })  # fmt: skip

    def test_the_same_number_twice(self) -> None:
        """Two steps with the same number are named."""
        directory = self.path.parent / "steps"
        directory.mkdir()
        for name in ("0007_a.sql", "0007_b.sql"):
            (directory / name).touch()
        words = str(self.assertRaises(StoreError, find_steps, directory))
        self.assertTrue(words.startswith("upgrade 0007 is there twice: 0007_"), words)
        self.assertIn("0007_a.sql", words)
        self.assertIn("0007_b.sql", words)

    def test_blanks_and_comments(self) -> None:
        """A statement begins after blanks and comments, and is named by its own line."""
        script = (
            "\n  /* of\ntwo; lines */ -- and more\n\nSELECT 1; /* a */ /* b */\nSELECT /* inside */ 2;\n/* end */\n"
        )
        self.assertEqual(list(statements(script)), [(5, "SELECT 1;"), (6, "SELECT /* inside */ 2;")])
        self.assertEqual(list(statements("SELECT 1")), [(1, "SELECT 1")])
        self.assertEqual(list(statements("")), [])

    def test_what_is_not_allowed(self) -> None:
        """Statements that end or need a transaction are refused in any case; line and word are named."""
        for word in ("BEGIN", "COMMIT", "END", "ROLLBACK", "PRAGMA", "VACUUM"):
            for text in (f"{word};", f"{word.lower()} x;"):
                error = self.assertRaises(StoreError, run, self.connection, f"SELECT 1;\n{text}", "a.sql")
                written = text.split()[0].rstrip(";")
                self.assertEqual(str(error), f"a.sql, line 2: {written} is not allowed in an upgrade")

    def test_a_statement_that_fails(self) -> None:
        """A failing statement is named by its line, its first three words, and the reason."""
        error = self.assertRaises(StoreError, run, self.connection, "\nINSERT INTO absent VALUES (1);", "a.sql")
        self.assertEqual(str(error), "a.sql, line 2: INSERT INTO absent: no such table: absent")

    def test_versions(self) -> None:
        """The version is the largest in the table, 0 if it is empty; an upgrade to the current version does nothing."""
        self.assertEqual(version_of(self.connection), database.SCHEMA_VERSION)
        self.assertEqual(upgrade(self.connection, database.SCHEMA_VERSION - 1), [])
        self.connection.execute("INSERT INTO schema_version (version) VALUES (1)")
        self.assertEqual(version_of(self.connection), database.SCHEMA_VERSION)
        self.connection.execute("DELETE FROM schema_version")
        self.assertEqual(version_of(self.connection), 0)
        self.connection.rollback()

    def test_settings_of_a_connection(self) -> None:
        """Opening sets WAL if another program has turned it off, foreign keys, and the time to wait."""

        def setting(name: str) -> object:
            return self.connection.execute(f"PRAGMA {name}").fetchone()[0]

        self.connection.execute("PRAGMA journal_mode = DELETE")
        self.connection.close()
        for timeout, connect in ((2000, database.connect), (250, partial(database.connect, timeout_s=0.25))):
            self.connection = connect(self.path)
            self.addCleanup(self.connection.close)
            found = [setting(name) for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")]
            self.assertEqual(found, ["wal", 2, 1, timeout])
