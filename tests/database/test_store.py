"""The store, with a real database, reactor and thread."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from pbxrouter import database
from pbxrouter.counter import storage
from pbxrouter.database import file_store
from pbxrouter.database.access import add_token
from pbxrouter.database.audit import Actor
from pbxrouter.database.calls import add_calls, forget_calls
from pbxrouter.database.file_store import FileStore
from pbxrouter.database.rules import add_extension, set_pin
from pbxrouter.database.rules.loader import read_rules
from pbxrouter.database.store import CLOSE_S, Store
from pbxrouter.errors import DatabaseForeign, DatabaseFull, DatabaseLocked, DatabaseMissing, NotADatabase, StoreError
from pbxrouter.net import QueueFigures
from pbxrouter.rules.model import Facts
from pbxrouter.rules.ruleset import RuleSet
from pbxrouter.security import Scope
from tests.database.older import make_older
from tests.databases import sample_database
from tests.held_time import HeldTime, until
from tests.needs import PATIENCE_S


def hash_pin(pin: str) -> str:
    """A readable stand-in for the hash of a PIN."""
    return pin.encode().hex().rjust(64, "0")


def verdict(rules: RuleSet, number: str) -> str:
    """The verdict on a call from 33."""
    return rules.decide(Facts("33", number)).verdict.value


class StoreTests(TestCase):
    """A Store on a database with the sample."""

    def setUp(self) -> None:
        """Create a database and open a Store on it."""
        directory = Path(self.mktemp())
        directory.mkdir()
        self.path = directory / "pbxrouter.sqlite"
        self.make(self.path)
        self.threads = threading.active_count()
        self.store = self.opened()

    def make(self, path: Path) -> None:
        """Make a database with the sample, and close it."""
        sample_database(path, hash_pin)

    def opened(self, path: Path | None = None) -> Store:
        """Open a store, which is closed when the test ends."""
        store = FileStore(path or self.path, hash_pin, reactor, timeout_s=0.1)
        self.addCleanup(store.close)
        return store

    def shell(self, script: str, path: Path | None = None) -> None:
        """Change the database as another program does."""
        with closing(sqlite3.connect(path or self.path)) as connection:
            connection.executescript(script)

    def test_path(self) -> None:
        """A store tells which file it is on."""
        self.assertEqual(self.store.place, self.path.absolute())

    async def test_load_rules(self) -> None:
        """The thread returns the rules ready for use."""
        rules = await self.store.load_rules()
        self.assertEqual(verdict(rules, "21"), "allow")

    async def test_figures(self) -> None:
        """What waits for the thread, and what it does, is counted until it is done, also if it fails."""
        self.assertEqual(self.store.figures, QueueFigures("database", 0))
        hold, begun = threading.Event(), threading.Event()
        self.addCleanup(hold.set)

        def held(connection: Any) -> None:
            begun.set()
            hold.wait(PATIENCE_S)
            raise ValueError

        works = [self.store.run(held), self.store.run(lambda connection: None)]
        await until(begun.is_set)
        figures = self.store.figures
        self.assertEqual(figures.length, 2)
        self.assertGreater(figures.oldest_s, 0.0)
        self.assertGreaterEqual(self.store.figures.oldest_s, figures.oldest_s)
        hold.set()
        await self.assertFailure(works[0], ValueError)
        await works[1]
        self.assertEqual(self.store.figures, QueueFigures("database", 0))

    async def test_upgrade(self) -> None:
        """An older database that is put in place while the gateway runs is upgraded; the log names the backup."""
        await self.store.load_rules()
        make_older(self.path)
        self.store = self.opened()
        with capturedLogs() as events:
            rules = await self.store.load_rules()
        (backup,) = self.path.parent.glob("*.before-v*")
        self.assertEqual(verdict(rules, "21"), "allow")
        (line,) = [formatEvent(event) for event in events if event["log_namespace"].startswith("pbxrouter")]
        self.assertIn(f"upgraded from schema version 1 to {database.SCHEMA_VERSION}", line)
        self.assertIn(backup.name, line)

    async def test_the_version_stays(self) -> None:
        """Without changes the version stays; reading is no change."""
        before = await self.store.version()
        await self.store.load_rules()
        with closing(database.connect(self.path)) as connection:
            read_rules(connection, hash_pin)
        self.assertEqual(await self.store.version(), before)

    async def test_the_version_changes(self) -> None:
        """The version changes when another program commits."""
        seen = {await self.store.version()}
        for number in range(3):
            self.shell(f"INSERT INTO extensions(extension_number) VALUES ('{number}')")
            seen.add(await self.store.version())
        self.assertEqual(len(seen), 4)

    async def test_two_gateways_come_to_rest(self) -> None:
        """Two stores on one database do not see each other's housekeeping as endless changes."""
        stores = [self.store, self.opened()]
        self.shell("INSERT INTO extensions(extension_number) VALUES ('44')")
        for store in stores * 2:
            await store.load_rules()
        before = [await store.version() for store in stores]
        for store in stores * 2:
            await store.load_rules()
        self.assertEqual([await store.version() for store in stores], before)

    async def test_a_replaced_file(self) -> None:
        """A database moved over ours is noticed, and only its rules are read."""
        backup = self.path.with_name("backup")
        await self.store.load_rules()
        shutil.copy(self.path, backup)
        self.shell("DELETE FROM extensions_mappings; INSERT INTO extensions(extension_number) VALUES ('44')")
        before = await self.store.version()
        self.assertEqual(verdict(await self.store.load_rules(), "21"), "pin")
        os.replace(backup, self.path)
        self.assertNotEqual(await self.store.version(), before)
        self.assertEqual(verdict(await self.store.load_rules(), "21"), "allow")

    async def test_copied_over(self) -> None:
        """A backup copied over the file in place, which SQLite does not notice, is read."""
        await self.store.load_rules()
        backup = self.path.read_bytes()
        self.shell("DELETE FROM extensions_mappings; INSERT INTO extensions(extension_number) VALUES ('44')")
        self.assertEqual(verdict(await self.store.load_rules(), "21"), "pin")
        before = await self.store.version()
        self.path.write_bytes(backup)
        self.assertNotEqual(await self.store.version(), before)
        self.assertEqual(verdict(await self.store.load_rules(), "21"), "allow")
        with closing(sqlite3.connect(self.path)) as connection:
            self.assertEqual(connection.execute("PRAGMA integrity_check").fetchall(), [("ok",)])

    def busy(self, store: Store, number: str = "44") -> Deferred[None]:
        """Add an extension, so that a store has something in the -wal that is not in the file."""
        return store.run(partial(self.add, number))

    @staticmethod
    def add(number: str, connection: Any) -> None:
        """Add an extension."""
        with database.transaction(connection):
            connection.execute("INSERT INTO extensions(extension_number) VALUES (:number)", {"number": number})

    def numbers(self, path: Path) -> list[str]:
        """The extensions in a database that is whole."""
        with closing(sqlite3.connect(path)) as connection:
            self.assertEqual(connection.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
            return [number for (number,) in connection.execute("SELECT extension_number FROM extensions")]

    async def test_replaced_with_something_in_the_wal(self) -> None:
        """With two stores and something in the -wal, a file moved over it stays as it was; the old one is complete."""
        other = self.opened()
        backup, aside = self.path.with_name("backup"), self.path.with_name("aside")
        shutil.copy(self.path, backup)
        before = self.numbers(backup)
        for first, second in ((self.store, other), (other, self.store)):
            await first.run(str)
            await second.run(str)
            await self.busy(self.store)
            self.path.rename(aside)
            shutil.copy(backup, self.path.with_name("copy"))
            self.path.with_name("copy").rename(self.path)
            for store in (first, second):
                self.assertEqual(verdict(await store.load_rules(), "21"), "allow")
            self.assertEqual(self.numbers(self.path), before)
            self.assertEqual(self.numbers(aside), [*before, "44"])

    async def test_the_wal_of_another(self) -> None:
        """Of what lay beside a file that has gone, only that is deleted; nothing that has taken its place since."""
        left, other, gone = (self.path.with_name(name) for name in ("left", "other", "gone"))
        for path in (left, other):
            path.write_bytes(b"x")
        identities = [file_store._identity(str(path)) for path in (left, other, gone)]
        self.assertEqual((len(set(identities)), identities[2]), (3, None))
        for identity in identities[1:]:
            file_store._delete_if(str(left), identity)
            self.assertTrue(left.exists())
        file_store._delete_if(str(left), identities[0])
        file_store._delete_if(str(gone), identities[2])
        self.assertEqual((left.exists(), other.exists()), (False, True))

    async def test_missing_with_something_in_the_wal(self) -> None:
        """A file that was moved away is complete, and nothing of it is replayed into the one that comes instead."""
        backup, aside = self.path.with_name("backup"), self.path.with_name("aside")
        await self.store.run(str)
        shutil.copy(self.path, backup)
        await self.busy(self.store)
        self.path.rename(aside)
        await self.assertFailure(self.store.load_rules(), DatabaseMissing)
        self.assertEqual([path.name for path in self.path.parent.glob(f"{self.path.name}*")], [])
        backup.rename(self.path)
        await self.store.load_rules()
        self.assertNotIn("44", self.numbers(self.path))
        self.assertIn("44", self.numbers(aside))

    async def test_closed_while_replaced(self) -> None:
        """A store that is closed after the file was replaced leaves nothing that would be replayed into the new one."""
        await self.store.run(str)
        backup = self.path.with_name("backup")
        shutil.copy(self.path, backup)
        await self.busy(self.store)
        backup.rename(self.path)
        await self.store.close()
        self.assertNotIn("44", self.numbers(self.path))

    async def test_replaced_after_an_error(self) -> None:
        """The same after work that has failed."""
        await self.busy(self.store)
        backup = self.path.with_name("backup")
        self.make(backup)
        await self.assertFailure(self.store.run(lambda connection: connection.execute("nonsense")), StoreError)
        backup.rename(self.path)
        await self.store.load_rules()
        self.assertNotIn("44", self.numbers(self.path))

    async def test_replaced_during_a_change(self) -> None:
        """A change that went into a file that has been replaced meanwhile fails: it is not in the new one."""
        backup = self.path.with_name("backup")
        self.make(backup)

        def work(connection: Any) -> object:
            self.add("44", connection)
            return backup.rename(self.path)

        error = await self.assertFailure(self.store.run(work), StoreError)
        self.assertIn("was replaced or deleted during a change", str(error))
        await self.busy(self.store)
        self.assertIn("44", self.numbers(self.path))

    async def test_wal_taken_away(self) -> None:
        """What the -wal held when it was deleted, with -shm or without, is in the file; so is what comes after."""
        other = self.opened()
        for number, suffixes in enumerate((("-wal",), ("-shm",), ("-wal", "-shm"))):
            for store in (self.store, other):
                await store.run(str)
            await self.busy(self.store, f"5{number}")
            for suffix in suffixes:
                Path(f"{self.path}{suffix}").unlink()
            await other.run(str)
            await self.busy(self.store, f"6{number}")
            self.assertEqual(self.numbers(self.path)[-2:], [f"5{number}", f"6{number}"])

    async def test_the_wal_is_emptied(self) -> None:
        """The -wal is emptied with the next question for the version; no store takes that for a change."""
        other = self.opened()
        before = [await store.version() for store in (self.store, other)]
        await self.busy(self.store)
        self.assertGreater(self.journal(), 0)
        self.assertEqual(await self.store.version(), before[0])
        self.assertEqual(self.journal(), 0)
        self.assertEqual((await other.version())[0], before[1][0])

    async def test_synchronised(self) -> None:
        """Edits are on the disk when they are acknowledged; history and the like do not wait for that."""
        found: list[int] = []

        def of(work: Callable[[Any], object], connection: Any) -> None:
            def look(statement: str) -> None:
                if statement == "COMMIT":
                    found.append(connection.execute("PRAGMA synchronous").fetchone()[0])

            connection.set_trace_callback(look)
            try:
                work(connection)
            finally:
                connection.set_trace_callback(None)

        for work, level in (
            (lambda connection: add_calls(connection, []), 1),
            (lambda connection: database.begin_pin_call(connection, "g", "ana", 1, 2, 9.0), 1),
            (lambda connection: add_extension(connection, Actor("ana", "console"), 9.0, "77"), 2),
            (
                lambda connection: set_pin(
                    connection, Actor("ana", "console"), 9.0, "moises silva", hash_pin("998877")
                ),
                2,
            ),
            (lambda connection: add_token(connection, Actor("ana", "api"), 9.0, "t", "h", [Scope.READ]), 2),
            (lambda connection: forget_calls(connection, 9.0), 1),
            (lambda connection: storage.write(connection, storage.Batch("pbx", seen=9.0)), 1),
            (lambda connection: storage.forget(connection, 9.0), 1),
        ):
            found.clear()
            await self.store.run(partial(of, work))
            self.assertEqual(found, [level])

    async def test_full(self) -> None:
        """A full disk is told apart; what is there can be read, by the same connection."""
        opening, _ = await self.store.version()

        def fill(connection: Any) -> object:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages}")
            with database.transaction(connection):
                connection.execute("INSERT INTO imports(digest, source) VALUES ('x', hex(zeroblob(100000)))")
            return pages

        error = await self.assertFailure(self.store.run(fill), DatabaseFull)
        self.assertEqual(str(error), f"database {self.path.absolute()} cannot be written: the disk is full")
        self.assertEqual(verdict(await self.store.load_rules(), "21"), "allow")
        self.assertEqual((await self.store.version())[0], opening)

    async def test_patience(self) -> None:
        """Once it was found locked the database is waited for briefly, until it could be written again."""

        def wait(connection: Any) -> int:
            return int(connection.execute("PRAGMA busy_timeout").fetchone()[0])

        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await self.assertFailure(self.busy(self.store), DatabaseLocked)
            self.assertEqual(await self.store.run(wait), 50)
            other.execute("ROLLBACK")
        await self.store.load_rules()
        self.assertEqual(await self.store.run(wait), 50)
        await self.busy(self.store)
        self.assertEqual(await self.store.run(wait), 100)

    async def test_a_deleted_file(self) -> None:
        """A deleted file is a StoreError and is not created again; when it is back its rules are read."""
        before = await self.store.version()
        content = self.path.read_bytes()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        await self.assertFailure(self.store.version(), DatabaseMissing)
        await self.assertFailure(self.store.load_rules(), DatabaseMissing)
        self.assertFalse(self.path.exists())
        self.path.write_bytes(content)
        self.assertNotEqual(await self.store.version(), before)
        self.assertEqual(verdict(await self.store.load_rules(), "21"), "allow")

    async def test_not_there_yet(self) -> None:
        """A store may be created before its database."""
        path = self.path.with_name("later.sqlite")
        store = self.opened(path)
        await self.assertFailure(store.load_rules(), DatabaseMissing)
        self.make(path)
        self.assertEqual(verdict(await store.load_rules(), "21"), "allow")

    async def test_garbage_for_a_while(self) -> None:
        """Another file in the database's place is a StoreError, named for what it is; then ours is read again."""
        good = self.path.read_bytes()
        await self.store.load_rules()
        for content, kind in ((b"x" * 5000, NotADatabase), (b"", DatabaseForeign)):
            new = self.path.with_name("new")
            new.write_bytes(content)
            os.replace(new, self.path)
            await self.assertFailure(self.store.load_rules(), kind)
        new.write_bytes(good)
        os.replace(new, self.path)
        self.assertEqual(verdict(await self.store.load_rules(), "21"), "allow")

    async def test_damaged(self) -> None:
        """A database damaged in place is a StoreError until it is good again."""
        await self.store.load_rules()
        self.shell("PRAGMA wal_checkpoint(TRUNCATE)")
        good = self.path.read_bytes()
        self.path.write_bytes(good[:4096] + b"\xa5" * (len(good) - 4096))
        self.store = self.opened()
        await self.assertFailure(self.store.load_rules(), StoreError)
        self.path.write_bytes(good)
        self.assertEqual(verdict(await self.store.load_rules(), "21"), "allow")

    async def test_locked(self) -> None:
        """A writer does not block readers; a second writer waits, fails, and later succeeds."""

        def write(connection: Any) -> None:
            with database.transaction(connection):
                connection.execute("DELETE FROM extensions")

        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            other.execute("INSERT INTO extensions(extension_number) VALUES ('44')")
            await self.store.load_rules()
            before = await self.store.version()
            await self.assertFailure(self.store.run(write), DatabaseLocked)
            other.execute("COMMIT")
        self.assertNotEqual(await self.store.version(), before)
        await self.store.run(write)
        self.assertEqual(verdict(await self.store.load_rules(), "21"), "pin")

    async def test_time_to_wait(self) -> None:
        """The time to wait is the store's, before and after the rules are loaded; the default is 2 s."""

        def wait(connection: Any) -> int:
            return int(connection.execute("PRAGMA busy_timeout").fetchone()[0])

        self.assertEqual(await self.store.run(wait), 100)
        self.shell("INSERT INTO extensions(extension_number) VALUES ('44')")
        await self.store.load_rules()
        self.assertEqual(await self.store.run(wait), 100)
        other = FileStore(self.path, hash_pin, reactor)
        self.addCleanup(other.close)
        self.assertEqual(await other.run(wait), 2000)

    def journal(self) -> int:
        """The size of the -wal file, in bytes."""
        return os.path.getsize(f"{self.path}-wal")

    async def test_a_checkpoint_that_is_refused(self) -> None:
        """While a statement is unfinished the journal stays; the rules are loaded, and the next load empties it."""
        open_statements: list[sqlite3.Cursor] = []

        def begin(connection: Any) -> None:
            with database.transaction(connection):
                connection.execute("INSERT INTO extensions(extension_number) VALUES ('44')")
            cursor = connection.execute("SELECT * FROM applications_mappings")
            cursor.fetchone()
            open_statements.append(cursor)

        await self.store.run(begin)
        self.assertEqual(verdict(await self.store.load_rules(), "21"), "allow")
        self.assertGreater(self.journal(), 0)
        await self.store.run(lambda _: open_statements.pop().close())
        before = await self.store.version()
        self.assertEqual(self.journal(), 0)
        await self.store.load_rules()
        self.assertEqual(self.journal(), 0)
        self.assertEqual(await self.store.version(), before)

    async def test_a_file_that_goes_away_meanwhile(self) -> None:
        """If the file disappears during a load the rules are returned; the next use fails."""

        def watch(connection: Any) -> None:
            with database.transaction(connection):
                connection.execute("INSERT INTO extensions(extension_number) VALUES ('44')")
            connection.set_trace_callback(gone)

        def gone(statement: str) -> None:
            if "wal_checkpoint" in statement:
                self.path.unlink()

        await self.store.run(watch)
        self.assertEqual(verdict(await self.store.load_rules(), "21"), "allow")
        self.assertFalse(self.path.exists())
        await self.assertFailure(self.store.version(), DatabaseMissing)

    async def test_a_wal_that_goes_away_meanwhile(self) -> None:
        """If the -wal disappears during a load, the rules are returned; the next use opens the database again."""

        def gone(statement: str) -> None:
            wal = Path(f"{self.path}-wal")
            if "applications_mappings" in statement and wal.exists():
                wal.unlink()

        before = await self.store.version()

        def trace(connection: Any) -> None:
            connection.set_trace_callback(gone)

        await self.store.run(trace)
        self.assertEqual(verdict(await self.store.load_rules(), "21"), "allow")
        self.assertFalse(os.path.exists(f"{self.path}-wal"))
        self.assertNotEqual(await self.store.version(), before)
        self.assertTrue(os.path.exists(f"{self.path}-wal"))

    async def test_locked_when_it_is_opened(self) -> None:
        """A database that another program has for itself is locked; the next work waits briefly, until one writes."""

        def patience(connection: Any) -> int:
            return int(connection.execute("PRAGMA busy_timeout").fetchone()[0])

        with closing(sqlite3.connect(self.path)) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN IMMEDIATE")
            await self.assertFailure(self.store.run(patience), DatabaseLocked)
        self.assertEqual(await self.store.run(patience), 50)
        await self.busy(self.store)
        self.assertEqual(await self.store.run(patience), 100)

    async def test_closed_after_the_reactor(self) -> None:
        """A store whose thread the reactor's end has stopped is closed without a wait, and does no more work."""
        await self.store.run(str)
        self.store._pool.close()
        self.failureResultOf(self.store.run(str), StoreError)
        self.assertIsNone(self.successResultOf(self.store.close()))

    async def test_errors_name_the_file(self) -> None:
        """Errors of SQLite, and of a closed store, name the file."""
        error = await self.assertFailure(self.store.run(lambda connection: connection.execute("nonsense")), StoreError)
        self.assertEqual(str(error), f'database {self.path.absolute()}: near "nonsense": syntax error')
        await self.store.close()
        closed = await self.assertFailure(self.store.run(str), StoreError)
        self.assertEqual(str(closed), f"database {self.path.absolute()} is closed")

    async def test_errors_that_keep_the_file_open(self) -> None:
        """A violated constraint and a lock do not open the database again; other errors do."""
        opening, _ = await self.store.version()

        def twice(connection: Any) -> None:
            for _ in range(2):
                connection.execute("INSERT INTO extensions(extension_number) VALUES ('44')")

        def locked(_: Any) -> None:
            raise DatabaseLocked("locked")

        def away(_: Any) -> None:
            raise StoreError("away")

        await self.assertFailure(self.store.run(twice), sqlite3.IntegrityError)
        await self.assertFailure(self.store.run(locked), DatabaseLocked)
        self.assertEqual((await self.store.version())[0], opening)
        await self.assertFailure(self.store.run(away), StoreError)
        self.assertEqual((await self.store.version())[0], opening + 1)
        await self.assertFailure(self.store.run(lambda connection: connection.execute("nonsense")), StoreError)
        self.assertEqual((await self.store.version())[0], opening + 2)

    async def test_own_writes_are_no_change(self) -> None:
        """Writes through the store leave the version as it is."""

        def write(connection: Any) -> None:
            with database.transaction(connection):
                connection.execute("INSERT INTO extensions(extension_number) VALUES ('44')")

        before = await self.store.version()
        await self.store.run(write)
        self.assertEqual(await self.store.version(), before)

    async def test_forgotten_transaction(self) -> None:
        """An open transaction is rolled back, and blocks no later work."""
        await self.store.run(lambda connection: connection.execute("DELETE FROM extensions").rowcount)
        self.shell("INSERT INTO extensions(extension_number) VALUES ('44')")
        count = await self.store.run(
            lambda connection: connection.execute("SELECT count(*) FROM extensions").fetchone()
        )
        self.assertEqual(count, (2,))

    async def test_failures_of_the_work(self) -> None:
        """Other exceptions are passed on, SQLite's as StoreError, and the store goes on."""
        await self.assertFailure(self.store.run(lambda _: 1 // 0), ZeroDivisionError)
        await self.assertFailure(self.store.run(lambda connection: connection.execute("nonsense")), StoreError)
        await self.store.load_rules()

    async def test_one_thread_in_order(self) -> None:
        """Work that is asked for at once is done in order in one thread."""
        done: list[int] = []

        def work(number: int, _: Any) -> int:
            done.append(number)
            return threading.get_ident()

        idents = await gatherResults([self.store.run(partial(work, number)) for number in range(20)])
        self.assertEqual(done, list(range(20)))
        self.assertEqual(len(set(idents)), 1)

    async def test_close(self) -> None:
        """Work asked for before close() is done; afterwards there is no thread and no open file, and calls fail."""
        pending = [self.store.load_rules() for _ in range(3)]
        await self.store.close()
        for action in pending:
            self.assertEqual(verdict(self.successResultOf(action), "21"), "allow")
        self.assertEqual(threading.active_count(), self.threads)
        self.assertFalse(Path(f"{self.path}-wal").exists())
        await self.assertFailure(self.store.version(), StoreError)
        await self.store.close()

    async def test_closed_twice(self) -> None:
        """During a close, further work is refused and a second close is done at once."""
        await self.store.version()
        closing_now = self.store.close()
        self.assertNoResult(closing_now)
        self.failureResultOf(self.store.version(), StoreError)
        self.assertIsNone(self.successResultOf(self.store.close()))
        await closing_now

    async def test_hangs_while_closing(self) -> None:
        """Work that never ends, as on a disk that hangs, is left behind; the log names the database."""
        clock = HeldTime()
        store = FileStore(self.path, hash_pin, clock)
        begun, may_end = threading.Event(), threading.Event()
        self.addCleanup(may_end.set)

        def hang(connection: Any) -> None:
            begun.set()
            may_end.wait(PATIENCE_S)

        hanging = store.run(hang)
        await until(begun.is_set)
        with capturedLogs() as logs:
            stopped = store.close()
            clock.advance(CLOSE_S - 0.1)
            self.assertNoResult(stopped)
            clock.advance(0.1)
            self.successResultOf(stopped)
        (event,) = logs
        self.assertIn("pbxrouter.sqlite: does not answer, and is left", formatEvent(event))
        may_end.set()
        await hanging

    def test_close_unused(self) -> Deferred[None]:
        """A store that was not used closes too."""
        return self.opened().close()
