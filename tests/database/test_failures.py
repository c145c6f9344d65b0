"""Database failures in one line: which error, which words."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.database.audit import Actor
from pbxrouter.database.failures import store_error
from pbxrouter.database.rules.holder_edits import set_pin
from pbxrouter.errors import (
    DatabaseForeign,
    DatabaseFull,
    DatabaseLocked,
    DatabaseMissing,
    DatabaseTooNew,
    NotADatabase,
    StoreError,
)


class ExplainTests(SynchronousTestCase):
    """store_error, and the errors for files that cannot be used."""

    def setUp(self) -> None:
        """Choose the path of a missing database."""
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.path = self.directory / "rules.sqlite"

    def said(self, code: int, path: Path | None = None) -> tuple[type[StoreError], str]:
        """The error for a code of SQLite, and its words."""
        error = sqlite3.OperationalError("as SQLite says it")
        error.sqlite_errorcode = code
        found = store_error(error, path or self.path)
        return type(found), str(found)

    def refused(self) -> tuple[type[StoreError], str]:
        """The error when the file is opened, and its words."""
        error = self.assertRaises(StoreError, database.connect, self.path)
        return type(error), str(error)

    def test_no_descriptor_left(self) -> None:
        """A file that cannot be opened for want of a descriptor is not said to be forbidden."""
        self.path.touch()

        def refuse(path: str, flags: int) -> int:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        self.patch(os, "open", refuse)
        found = self.said(sqlite3.SQLITE_CANTOPEN)
        self.assertEqual(found, (StoreError, f"database {self.path} cannot be opened: Too many open files"))

    def test_codes(self) -> None:
        """Codes are explained by their primary code; unknown codes, and errors without one, in SQLite's words."""
        name = f"database {self.path}"
        locked = f"{name} is locked: another program has not ended its transaction"
        disk = f"{name} cannot be read or written: the disk reports an error"
        for code, kind, words in (
            (sqlite3.SQLITE_BUSY, DatabaseLocked, locked),
            (sqlite3.SQLITE_LOCKED, DatabaseLocked, locked),
            (sqlite3.SQLITE_BUSY | 2 << 8, DatabaseLocked, locked),
            (sqlite3.SQLITE_CORRUPT, StoreError, f"{name} is damaged: restore a backup, or see .recover of sqlite3"),
            (
                sqlite3.SQLITE_READONLY,
                StoreError,
                f"{name} cannot be written: its file or directory is read-only for this user",
            ),
            (
                sqlite3.SQLITE_PERM,
                StoreError,
                f"{name} cannot be written: its file or directory is read-only for this user",
            ),
            (sqlite3.SQLITE_FULL, DatabaseFull, f"{name} cannot be written: the disk is full"),
            (sqlite3.SQLITE_IOERR, StoreError, disk),
            (sqlite3.SQLITE_IOERR | 10 << 8, StoreError, disk),
            (sqlite3.SQLITE_ERROR, StoreError, f"{name}: as SQLite says it"),
            (sqlite3.SQLITE_TOOBIG, StoreError, f"{name}: as SQLite says it"),
        ):
            self.assertEqual(self.said(code), (kind, words), code)
        self.assertEqual(str(store_error(sqlite3.ProgrammingError("closed"), self.path)), f"{name}: closed")

    def test_not_opened(self) -> None:
        """A file that cannot be opened is explained by what is at its path."""
        code = sqlite3.SQLITE_CANTOPEN
        self.assertEqual(
            self.said(code),
            (DatabaseMissing, f"database {self.path} does not exist: create it with `pbxrouter init`"),
        )
        self.assertEqual(
            self.said(code, self.directory),
            (NotADatabase, f"database {self.directory} is a directory; accepted is a file"),
        )
        away = self.directory / "away"
        self.assertEqual(
            self.said(code, away / "x"),
            (DatabaseMissing, f"database {away}/x cannot exist: there is no directory {away}"),
        )
        self.path.touch()
        self.assertEqual(
            self.said(code, self.path / "x"),
            (DatabaseMissing, f"database {self.path}/x cannot exist: there is no directory {self.path}"),
        )
        self.assertEqual(
            self.said(code), (StoreError, f"database {self.path} cannot be opened: this user may not read and write it")
        )
        long = self.directory / ("x" * 300)
        self.assertEqual(self.said(code, long), (StoreError, f"database {long} cannot be opened: File name too long"))

    def test_errors_of_the_system(self) -> None:
        """The system's reason is named, also when the file cannot be created."""
        denied = PermissionError(13, os.strerror(13))
        for path in (self.path, self.directory / "new"):
            found = store_error(denied, path)
            self.assertEqual(
                (type(found), str(found)), (StoreError, f"database {path} cannot be opened: Permission denied")
            )
        gone = store_error(FileNotFoundError(2, os.strerror(2)), self.path)
        self.assertEqual(
            (type(gone), str(gone)),
            (DatabaseMissing, f"database {self.path} does not exist: create it with `pbxrouter init`"),
        )

    def test_other_files(self) -> None:
        """Text, SQLite 2, an empty file, other tables, the workshop's and a later version are told apart."""
        ours = "accepted is one that `pbxrouter init` creates"
        self.path.write_text("x" * 5000)
        self.assertEqual(self.refused(), (NotADatabase, f"{self.path} is not a database; {ours}"))
        self.path.write_text("** This file contains an SQLite 2.1 database **".ljust(5000))
        self.assertEqual(
            self.refused(),
            (
                NotADatabase,
                f"{self.path} is an SQLite 2 database: dump it with `sqlite {self.path} .dump > workshop.sql`,"
                " then `pbxrouter import workshop.sql`",
            ),
        )
        self.path.write_text("")
        self.assertEqual(
            self.refused(),
            (DatabaseForeign, f"database {self.path} has no tables: create them with `pbxrouter init`"),
        )
        tables = ["applications_mappings", "Extensions", "extensions_mappings", "users", "users_mappings"]
        for table in tables:
            connection = sqlite3.connect(self.path)
            connection.execute(f"CREATE TABLE {table} (x)")
            connection.close()
            words = (
                f"{self.path} is a database of another program; {ours}"
                if table != tables[-1]
                else f"{self.path} is a database of the 2006 workshop: create a new one with `pbxrouter init`,"
                f" then run `pbxrouter import {self.path}`"
            )
            self.assertEqual(self.refused(), (DatabaseForeign, words))
        self.path.unlink()
        database.create(self.path)
        connection = sqlite3.connect(self.path)
        later = database.SCHEMA_VERSION + 1
        connection.execute("INSERT INTO schema_version (version) VALUES (?)", (later,))
        connection.commit()
        connection.close()
        self.assertEqual(
            self.refused(),
            (
                DatabaseTooNew,
                f"database {self.path} was created by a later pbxrouter (its schema is version {later}, this one knows"
                f" up to {later - 1}): install the later one",
            ),
        )

    def test_created_once(self) -> None:
        """A database that exists is left as it is."""
        database.create(self.path)
        before = self.path.read_bytes()
        error = self.assertRaises(StoreError, database.create, self.path)
        self.assertEqual(str(error), f"database {self.path} exists already: it is left as it is")
        self.assertEqual(self.path.read_bytes(), before)

    def test_users_by_name(self) -> None:
        """A PIN is set for the only user of a name; no user, or several, is an error with the file's path."""
        database.create(self.path)
        connection = database.connect(self.path)
        self.addCleanup(connection.close)
        connection.execute("INSERT INTO users (user_name) VALUES ('eva'), ('eva')")
        connection.commit()
        for name, count in (("otto", "no user is"), ("eva", "several users are")):
            error = self.assertRaises(StoreError, set_pin, connection, Actor("root", "command"), 1.0, name, None)
            self.assertEqual(str(error), f"{count} named '{name}' in {self.path}; accepted is the name of one")
