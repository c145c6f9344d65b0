"""A database that cannot be read or written: every function fails with StoreError and leaves no transaction open."""

from __future__ import annotations

import inspect
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.database import access, audit, calls, click_to_dial, rules
from pbxrouter.database.access.console_users import any_console_user
from pbxrouter.database.audit.entries import details_of, entries_about
from pbxrouter.database.click_to_dial import LinkOptions, LinkValues
from pbxrouter.database.rules.grant_lists import totals
from pbxrouter.errors import DatabaseLocked, StoreError
from pbxrouter.security import GuessKey, Role, Scope
from tests.databases import new_database

ANA = audit.Actor("ana", "console")
PLACES = LinkOptions({}, {})
LINK = LinkValues("Sales", "PJSIP/33", "phones", "2X")
KEYS = (GuessKey("number", "33"),)
DENIED = (sqlite3.SQLITE_READ, sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE)
MAPPING = rules.MappingValues("2X", "dial", "SIP")


def hash_pin(pin: str) -> str:
    """A hash of the form that the database accepts."""
    return pin.encode().hex().rjust(64, "0")


Work = Callable[[sqlite3.Connection], object]

READERS: dict[str, Work] = {
    "a row of the history": lambda db: calls.call(db, 1),
    "pages of the history": lambda db: list(calls.find_calls(db, calls.Search("33"), 9)),
    "a page of the history": lambda db: calls.find_page(db, calls.Search(), 9),
    "outcomes": calls.outcomes,
    "entries of the audit log": audit.find_entries,
    "an entry": lambda db: audit.entry(db, 1),
    "details of entries": lambda db: details_of(db, [audit.AuditEntry(1, 1.0, "", "", "", "", "", None, None)]),
    "entries about a mapping": lambda db: entries_about(db, "map_id", 1),
    "dial links": lambda db: click_to_dial.list_dial_links(db, "2026-11-29"),
    "a dial link": lambda db: click_to_dial.dial_link(db, 1),
    "wrong guesses": lambda db: database.list_guesses(db, 1.0),
    "known caller": lambda db: database.is_known(db, KEYS[0], 1.0),
    "figures of lock-outs": lambda db: database.lockout_figures(db, 1.0),
    "console users": access.list_console_users,
    "a console user": lambda db: access.console_user(db, 1),
    "any console user": any_console_user,
    "whether it needs to be set up": access.needs_setup,
    "credentials": lambda db: access.credentials(db, "ana"),
    "a session": lambda db: access.session_user(db, "h", 1.0),
    "sessions": lambda db: access.live_sessions(db, 1.0),
    "a set-up link": lambda db: access.is_setup_link(db, "h", 1.0),
    "tokens": access.list_tokens,
    "a token": lambda db: access.token(db, 1),
    "a valid token": lambda db: access.valid_token(db, "shop"),
    "a token by its hash": lambda db: access.find_token(db, "h"),
    "the user of a PIN": lambda db: rules.user_of_pin(db, hash_pin("1234")),
    "the rules": lambda db: rules.read_rules(db, hash_pin),
    "tables of the rules": rules.check_columns,
    "mappings": rules.find_mappings,
    "a mapping": lambda db: rules.mapping(db, 1),
    "extensions": lambda db: rules.find_holders(db, "extension"),
    "all extensions": lambda db: list(rules.find_extensions(db)),
    "an extension by its number": lambda db: rules.extension_numbered(db, "33"),
    "a user": lambda db: rules.holder(db, "user", 1),
    "users of a mapping": lambda db: rules.holders_of(db, 1, "user"),
    "mappings of a user": lambda db: rules.mappings_of(db, "user", 1),
    "the matrix of grants": lambda db: rules.matrix(db, "user"),
    "orphaned grants": rules.find_orphans,
    "totals": totals,
    "calls that went on": lambda db: calls.left_calls(db, 1.0),
    "names": lambda db: rules.names_of(db, "user", [1]),
    "grants": lambda db: rules.granted_among(db, "user", [1], [1]),
}

WRITERS: dict[str, Work] = {
    "add calls": lambda db: calls.add_calls(db, []),
    "complete calls": lambda db: calls.complete_calls(db, []),
    "forget calls": lambda db: calls.forget_calls(db, 9.0),
    "undo": lambda db: audit.undo(db, ANA, 9.0, 3),
    "undo together": lambda db: audit.undo_together(db, ANA, 9.0, [3]),
    "add a dial link": lambda db: click_to_dial.add_dial_link(db, ANA, 9.0, LINK, PLACES),
    "change a dial link": lambda db: click_to_dial.update_dial_link(db, ANA, 9.0, 1, {"name": "x"}, PLACES),
    "disable a dial link": lambda db: click_to_dial.set_dial_link_enabled(db, ANA, 9.0, 1, False),
    "void a dial link": lambda db: click_to_dial.void_dial_link(db, ANA, 9.0, 1),
    "delete a dial link": lambda db: click_to_dial.delete_dial_link(db, ANA, 9.0, 1),
    "take a call": lambda db: click_to_dial.take_call(db, 1, "2026-11-29", 9),
    "give a call back": lambda db: click_to_dial.give_call_back(db, 1, "2026-11-29"),
    "charge a guess": lambda db: database.admit_guess(db, KEYS, 9.0),
    "refund a guess": lambda db: database.refund_guess(db, KEYS, 9.0),
    "note a known caller": lambda db: database.note_known(db, KEYS[0], 9.0),
    "lift a lock-out": lambda db: database.lift_lockout(db, ANA, 9.0, KEYS[0]),
    "lift guesses": lambda db: database.lift_guesses(db, KEYS),
    "begin a call by PIN": lambda db: database.begin_pin_call(db, "g", "ana", 1, 2, 9.0),
    "write calls by PIN": lambda db: database.write_pin_calls(db, "g", {"ana": 1}, 9.0),
    "forget guesses": lambda db: database.forget_guesses(db, 9.0),
    "add a console user": lambda db: access.add_console_user(db, ANA, 9.0, "eva", "h", Role.ADMIN),
    "change a console user": lambda db: access.update_console_user(db, ANA, 9.0, 1, phone="PJSIP/34"),
    "set a password": lambda db: access.set_console_password(db, ANA, 9.0, 1, "h"),
    "delete a console user": lambda db: access.delete_console_user(db, ANA, 9.0, 1),
    "open a session": lambda db: access.open_session(db, 1, "new", "::1", 9.0),
    "touch a session": lambda db: access.touch_session(db, "h", 9.0),
    "close a session": lambda db: access.close_session(db, "h"),
    "put a set-up link": lambda db: access.put_setup_link(db, "new", 9.0),
    "use a set-up link": lambda db: access.use_setup_link(db, "h", 9.0, "eva", "h", ANA),
    "add a token": lambda db: access.add_token(db, ANA, 9.0, "new", "new", [Scope.READ]),
    "revoke a token": lambda db: access.revoke_token(db, ANA, 9.0, 1),
    "note the use of a token": lambda db: access.note_use(db, 1),
    "add a mapping": lambda db: rules.add_mapping(db, ANA, 9.0, rules.MappingValues("3X", "dial")),
    "change a mapping": lambda db: rules.update_mapping(db, ANA, 9.0, 1, rules.MappingValues("3X", "dial")),
    "disable a mapping": lambda db: rules.set_enabled(db, ANA, 9.0, 1, False),
    "delete a mapping": lambda db: rules.delete_mapping(db, ANA, 9.0, 1),
    "add an extension": lambda db: rules.add_extension(db, ANA, 9.0, "34"),
    "change an extension": lambda db: rules.update_extension(db, ANA, 9.0, 1, "34"),
    "add a user": lambda db: rules.add_user(db, ANA, 9.0, "eva"),
    "change a user": lambda db: rules.update_user(db, ANA, 9.0, 1, "eva"),
    "set a PIN": lambda db: rules.set_user_pin(db, ANA, 9.0, 1, None),
    "generate a PIN": lambda db: rules.generate_user_pin(db, ANA, 9.0, 1, hash_pin),
    "set a PIN by name": lambda db: rules.set_pin(db, ANA, 9.0, "ana", None),
    "change one's own PIN": lambda db: rules.change_own_pin(db, 9.0, 1, hash_pin("1234"), hash_pin("5678")),
    "delete a user": lambda db: rules.delete_holder(db, ANA, 9.0, "user", 1),
    "grant": lambda db: rules.grant(db, ANA, 9.0, rules.Grant("user", 1, 1)),
    "revoke": lambda db: rules.revoke(db, ANA, 9.0, rules.Grant("extension", 1, 1)),
    "set grants": lambda db: rules.set_grants(db, ANA, 9.0, {rules.Grant("user", 1, 1)}, {rules.Grant("user", 1, 1)}),
    "delete orphaned grants": lambda db: rules.delete_orphans(db, ANA, 9.0),
    "add the sample": lambda db: rules.add_sample(db, hash_pin),
}

MAY_BE_LOST = {
    "add calls",
    "begin a call by PIN",
    "charge a guess",
    "complete calls",
    "forget calls",
    "forget guesses",
    "note the use of a token",
    "refund a guess",
    "touch a session",
    "write calls by PIN",
}
"""The writers whose last second a power cut may cost: nobody was told that it is written."""

PARTS = (database, audit, calls, click_to_dial, access, rules)
WITHIN_OTHERS = {
    "leave_lock",
    "lock_holder",
    "session_with_lock",
    "take_lock",
    "take_lock_from",
    "changing",
    "keep_aside",
    "note",
    "is_sqlite",
    "dialect_of",
    "place_of",
    "prepare",
    "reading",
    "transaction",
    "upgrade",
    "version_of",
    "write_rows",
}
"""What opens connections and transactions, and what runs in a transaction of its caller's: tested with those."""


class UnusableTests(SynchronousTestCase):
    """Each function on a database with one row of each kind."""

    def setUp(self) -> None:
        """Create a database with a row in each table."""
        self.path = Path(self.mktemp()).absolute()
        new_database(self.path)
        self.connection = database.connect(self.path, timeout_s=0)
        self.addCleanup(self.connection.close)
        rules.add_mapping(self.connection, ANA, 1.0, MAPPING)
        rules.add_extension(self.connection, ANA, 1.0, "33")
        rules.add_user(self.connection, ANA, 1.0, "ana", hash_pin("1234"))
        rules.grant(self.connection, ANA, 1.0, rules.Grant("extension", 1, 1))
        click_to_dial.add_dial_link(self.connection, ANA, 1.0, LINK, PLACES)
        access.put_setup_link(self.connection, "h", 1.0)
        access.add_console_user(self.connection, ANA, 1.0, "ana", "h", Role.ADMIN)
        access.add_token(self.connection, ANA, 1.0, "shop", "h", [Scope.READ])
        access.open_session(self.connection, 1, "h", "::1", 1.0)
        database.admit_guess(self.connection, KEYS, 1.0)

    def failure(self, kind: type[StoreError], name: str, work: Work) -> str:
        """Check that a function fails with this error; returns it."""
        try:
            work(self.connection)
        except Exception as error:
            self.assertIsInstance(error, kind, f"{name}: {error!r}")
            return str(error)
        self.fail(f"{name} did not fail")

    def test_all_are_here(self) -> None:
        """Each public function that takes a connection is tried here."""
        tried: set[str] = set()
        for work in (READERS | WRITERS).values():
            tried.update(work.__code__.co_names if work.__name__ == "<lambda>" else [work.__name__])
        public = {
            name
            for part in PARTS
            for name in part.__all__
            if inspect.isfunction(function := getattr(part, name))
            and next(iter(inspect.signature(function).parameters), "") == "connection"
        }
        self.assertEqual(public - tried, WITHIN_OTHERS)

    def test_locked(self) -> None:
        """While another program writes, all can be read; each write fails and says what is locked.

        It has said by then whether it would outlast a power cut, as what people have been told of does.
        """
        before = list(self.connection.iterdump())
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for name, write in WRITERS.items():
                self.connection.execute("PRAGMA synchronous = EXTRA")
                self.assertIn(f"database {self.path} is locked", self.failure(DatabaseLocked, name, write), name)
                (level,) = self.connection.execute("PRAGMA synchronous").fetchone()
                self.assertEqual(level, 1 if name in MAY_BE_LOST else 2, name)
                self.assertFalse(self.connection.in_transaction, name)
            for name, read in READERS.items():
                if name != "a row of the history":
                    read(self.connection)
                self.assertFalse(self.connection.in_transaction, name)
        self.assertEqual(list(self.connection.iterdump()), before)

    def test_unreadable(self) -> None:
        """A failure of SQLite in the middle is a StoreError that names the file; nothing is changed."""
        before = list(self.connection.iterdump())

        def refuse(action: int, *_: object) -> int:
            return sqlite3.SQLITE_DENY if action in DENIED else sqlite3.SQLITE_OK

        for name, work in (READERS | WRITERS).items():
            self.connection.set_authorizer(refuse)
            line = self.failure(StoreError, name, work)
            self.connection.set_authorizer(None)
            self.assertIn(str(self.path), line, name)
            self.assertFalse(self.connection.in_transaction, name)
        self.assertEqual(list(self.connection.iterdump()), before)

    def test_usable_again(self) -> None:
        """On a good database none of these functions fails for the database."""
        for name, write in WRITERS.items():
            if name in ("add the sample", "delete a console user"):  # refused for what is there
                continue
            copy = sqlite3.connect(":memory:", isolation_level="IMMEDIATE")
            self.addCleanup(copy.close)
            self.connection.backup(copy)
            write(copy)
            self.assertFalse(copy.in_transaction, name)
