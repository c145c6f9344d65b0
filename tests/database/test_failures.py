"""Database failures in one line: which error, which words."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.database.audit import Actor
from pbxrouter.database.failures import refuse_no_file, store_error
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

    def test_damage(self) -> None:
        """A schema that cannot be read, and a message with a damaged name in it, are damage, whatever the code."""
        damaged = f"database {self.path} is damaged: restore a backup, or see .recover of sqlite3"
        schema = sqlite3.DatabaseError("malformed database schema (users)")
        schema.sqlite_errorcode = sqlite3.SQLITE_ERROR
        for error in (schema, UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")):
            self.assertEqual(str(store_error(error, self.path)), damaged)

    def test_read_only_file_system(self) -> None:
        """A file system that is mounted read-only is named, whichever code SQLite has for it."""
        self.path.touch()
        flags = [os.ST_RDONLY | os.ST_NOSUID]
        self.patch(os, "statvfs", lambda path: SimpleNamespace(f_flag=flags[0]))
        words = (
            f"database {self.path} cannot be written: the file system of {self.directory} is mounted read-only; mount "
            "it writable"
        )
        for code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
            self.assertEqual(self.said(code), (StoreError, words))
        flags[0] = os.ST_NOSUID
        self.assertNotIn("mounted", self.said(sqlite3.SQLITE_READONLY)[1])

    def test_file_system_that_cannot_be_looked_at(self) -> None:
        """Where the file system tells nothing of itself, it is taken for neither full nor read-only."""
        self.path.touch()

        def refuse(path: object) -> Any:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        self.patch(os, "statvfs", refuse)
        self.patch(shutil, "disk_usage", refuse)
        for code, said in (
            (sqlite3.SQLITE_READONLY, "cannot be written: its file or directory is read-only for this user"),
            (sqlite3.SQLITE_IOERR, "cannot be read or written: the disk reports an error"),
            (sqlite3.SQLITE_CANTOPEN, "cannot be opened: this user may not read and write it"),
        ):
            self.assertEqual(self.said(code), (StoreError, f"database {self.path} {said}"))

    def test_full_disk(self) -> None:
        """With less room than a -shm file needs, a file that cannot be opened or read is one on a full disk."""
        self.path.touch()
        free = [64 * 1024 - 1]
        self.patch(shutil, "disk_usage", lambda path: SimpleNamespace(free=free[0]))
        codes = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
        for code in codes:
            words = f"database {self.path} cannot be written: the disk is full"
            self.assertEqual(self.said(code), (DatabaseFull, words))
        free[0] = 64 * 1024
        self.assertEqual([self.said(code)[0] for code in codes], [StoreError, StoreError])

    def test_files_beside_it(self) -> None:
        """Of the files that SQLite opens, the one that cannot be opened is named, and what to do."""
        self.path.touch()
        shut: list[str] = []
        self.patch(os, "access", lambda path, mode, **_: str(path) not in shut)
        rights = "make it the user's own (chown), with mode 0600"
        for suffix in ("-wal", "-shm", "-journal", ""):
            beside = Path(f"{self.path}{suffix}")
            beside.touch()
            shut[:] = [str(beside)]
            named = str(beside) if suffix else "it"
            self.assertEqual(
                self.said(sqlite3.SQLITE_CANTOPEN)[1],
                f"database {self.path} cannot be opened: this user may not read and write {named}; {rights}",
            )
            if suffix:
                beside.unlink()
                beside.mkdir()
                self.assertEqual(
                    self.said(sqlite3.SQLITE_CANTOPEN)[1],
                    f"database {self.path} cannot be opened: {beside} is a directory; remove it",
                )
                beside.rmdir()
        shut[:] = [str(self.directory), f"{self.path}-wal"]  # of which the second is not there
        self.assertEqual(
            self.said(sqlite3.SQLITE_CANTOPEN)[1],
            f"database {self.path} cannot be opened: this user may not make files in {self.directory}, where SQLite "
            "keeps a -wal and a -shm file; make the directory the user's own (chown)",
        )

    def test_no_file(self) -> None:
        """A named pipe and a device are not opened; a directory, and what is not there, are left to SQLite."""
        os.mkfifo(self.path)
        for path in (self.path, Path(os.devnull)):
            error = self.assertRaises(NotADatabase, refuse_no_file, path)
            self.assertEqual(str(error), f"database {path} is not a file; accepted is a file")
        for path in (self.directory, self.directory / "away"):
            refuse_no_file(path)

    def test_no_database_that_cannot_be_read(self) -> None:
        """A file that is no database, and cannot be read any more, is not taken for one of SQLite 2."""
        words = f"{self.path} is not a database; accepted is one that `pbxrouter init` creates"
        self.assertEqual(self.said(sqlite3.SQLITE_NOTADB), (NotADatabase, words))

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
