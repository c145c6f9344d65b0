"""Changes with SQL, by other programs than this one, are in the audit log and can be undone."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.database.access.tokens import find_token, note_use
from pbxrouter.database.audit import (
    Actor,
    AuditEntry,
    Change,
    changing,
    details_of,
    entries_about,
    entry,
    find_entries,
    undo,
)
from pbxrouter.database.audit.entries import KINDS, MAX_LISTED
from pbxrouter.database.audit_triggers import TABLES, ensure_triggers
from pbxrouter.database.audit_triggers.sqlite import triggers
from pbxrouter.database.rules.sample import add_sample
from pbxrouter.errors import EditConflict, EditRefused
from tests.database.test_connection import WORKSHOP, hash_pin
from tests.databases import new_database

EVA = Actor("eva", "console")
HASH = "'" + "a" * 64 + "'"

_MORE = "INSERT INTO applications_mappings(application_name, pattern) VALUES ('dial', '8X'), ('dial', '9X')"
_UPSERT = "INSERT INTO extensions VALUES (1, '44') ON CONFLICT (extension_id) DO UPDATE SET extension_number = '45'"
_TAKES = "UPDATE OR REPLACE extensions SET extension_number = '33' WHERE extension_id = 2"
_TAKES_NUMBER = "UPDATE OR REPLACE extensions SET extension_id = 1 WHERE extension_id = 2"
_LIMIT = "INSERT INTO users_limits VALUES (1, 7) ON CONFLICT DO UPDATE SET max_calls = 7"
STATEMENTS = (
    ("INSERT INTO applications_mappings VALUES (9, 'dial', 'SIP', '9X')", "create", "mapping", "9X", 1),
    (_MORE, "create", "mapping", "8X, 9X", 2),
    ("UPDATE applications_mappings SET pattern = '1' || map_id", "update", "mapping", "11, 12, 13, 14, 15", 5),
    ("UPDATE applications_mappings SET map_id = map_id + 100 WHERE map_id = 3", "update", "mapping", "XXXXXXXX", 1),
    ("DELETE FROM applications_mappings WHERE map_id = 2", "delete", "mapping", "2X", 3),
    ("DELETE FROM applications_mappings", "delete", "mapping", "3X, 2X, XXXXXXXX, 66, 7X", 11),
    ("INSERT OR REPLACE INTO applications_mappings VALUES (2, 'dial', 'IAX2', '2X')", "update", "mapping", "2X", 3),
    ("REPLACE INTO extensions(extension_number) VALUES ('33')", "update", "extension", "33", 4),
    ("REPLACE INTO extensions VALUES (2, '33')", "update", "extension", "33", 4),
    (_TAKES, "update", "extension", "33", 4),
    (_TAKES_NUMBER, "update", "extension", "34", 4),
    (_UPSERT, "update", "extension", "45", 1),
    ("INSERT OR IGNORE INTO extensions VALUES (7, '33'), (8, '66'), (9, '34')", "create", "extension", "66", 1),
    ("DELETE FROM extensions", "delete", "extension", "33, 34", 4),
    ("UPDATE extensions_endpoints SET endpoint = 'SIP/1'", "endpoint", "extension", "33", 1),
    ("INSERT INTO extensions_endpoints VALUES (2, 'PJSIP/34')", "endpoint", "extension", "34", 1),
    ("DELETE FROM extensions_endpoints", "endpoint", "extension", "33", 1),
    ("INSERT INTO extensions_mappings(extension_id, map_id) VALUES (1, 3)", "grant", "grant", "33 → XXXXXXXX", 1),
    ("DELETE FROM users_mappings WHERE map_id = 2", "revoke", "grant", "moises silva → 2X", 1),
    ("UPDATE users_limits SET max_calls = 4", "limit", "user", "moises silva", 1),
    ("DELETE FROM users_limits", "limit", "user", "moises silva", 1),
    ("DELETE FROM extensions_mappings", "revoke", "grant", "33 → 2X", 1),
    ("INSERT INTO users_mappings(user_id, map_id) VALUES (1, 3)", "grant", "grant", "moises silva → XXXXXXXX", 1),
    ("REPLACE INTO users_mappings(user_id, map_id) VALUES (1, 2)", "grant", "grant", "moises silva → 2X", 2),
    ("UPDATE users_mappings SET map_id = 3 WHERE map_id = 2", "update", "grant", "moises silva → XXXXXXXX", 1),
    ("INSERT INTO mappings_disabled(map_id) VALUES (1)", "disable", "mapping", "3X", 1),
    ("DELETE FROM mappings_disabled", "enable", "mapping", "66", 1),
    (f"UPDATE users SET user_pin = {HASH}", "pin", "user", "moises silva", 1),
    ("UPDATE users SET user_pin = NULL, user_name = 'ana'", "update", "user", "ana", 1),
    ("DELETE FROM users", "delete", "user", "moises silva", 6),
    (_LIMIT, "limit", "user", "moises silva", 1),
    ("UPDATE dial_links SET generation = 7", "void", "dial_link", "sales", 1),
    ("UPDATE dial_links SET hours = 'mon', calls_a_day = 1.5", "update", "dial_link", "sales", 1),
    ("DELETE FROM dial_links", "delete", "dial_link", "sales", 1),
)
"""Statements, each with the action, kind and name of its entry, and the number of rows in it."""


class SqlCase(SynchronousTestCase):
    """Has a database with rows in each table, open here and, as in the sqlite3 shell, by another program."""

    def setUp(self) -> None:
        """Create the database."""
        self.path = Path(self.mktemp())
        new_database(self.path)
        self.connection = database.connect(self.path, timeout_s=0)
        self.addCleanup(self.connection.close)
        self.shell = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(self.shell.close)
        add_sample(self.connection, hash_pin)
        self.shell.executescript(
            "INSERT INTO extensions VALUES (2, '34'); INSERT INTO extensions_endpoints VALUES (1, 'PJSIP/33');"
            "INSERT INTO mappings_disabled VALUES (4, 'then'); INSERT INTO users_limits VALUES (1, 3);"
            "INSERT INTO dial_links(name, phone, context, destinations) VALUES ('sales', 'SIP/1', 'x', '9X');"
        )

    def state(self) -> list[Any]:
        """All rows of all audited tables, with types, as bytes."""
        found: list[Any] = []
        for table in TABLES:
            names = [row[1] for row in self.shell.execute(f"PRAGMA table_info({table})")]
            columns = ", ".join(f"typeof({name}), hex({name})" for name in names)
            found.append((table, self.shell.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2").fetchall()))
        return found

    def new(self, script: str) -> list[AuditEntry]:
        """The entries that a script makes, oldest first."""
        last = find_entries(self.connection, limit=1)[0].audit_id
        self.shell.executescript(script)
        return [row for row in reversed(find_entries(self.connection)) if row.audit_id > last]

    def undo_all(self, entries: list[AuditEntry]) -> None:
        """Undo entries, the last one first."""
        for row in reversed(entries):
            undo(self.connection, EVA, 9.0, row.audit_id)


class StatementTests(SqlCase):
    """Each kind of statement."""

    def test_each(self) -> None:
        """A statement is one entry by SQL, with all its rows and those that foreign keys delete, and can be undone."""
        self.shell.execute("PRAGMA foreign_keys = ON")
        for statement, action, kind, name, rows in STATEMENTS:
            before = self.state()
            (made,) = self.new(statement)
            self.assertEqual((made.who, made.via), ("SQL", "sql"))
            self.assertEqual((made.action, made.kind, made.name), (action, kind, name), statement)
            self.assertEqual(entry(self.connection, made.audit_id).rows, rows, statement)
            after = self.state()
            self.assertNotEqual(after, before)
            number = undo(self.connection, EVA, 9.0, made.audit_id)
            self.assertEqual(self.state(), before, statement)
            undo(self.connection, EVA, 9.0, number)
            # A grant may have another number by then.
            self.assertEqual([len(found) for _, found in self.state()], [len(found) for _, found in after])
            self.undo_all(find_entries(self.connection, limit=1))
            self.assertEqual(self.state(), before, statement)

    def test_without_foreign_keys(self) -> None:
        """As the sqlite3 shell leaves grants behind, they are there again with what they belong to."""
        for statement, *_ in STATEMENTS:
            before = self.state()
            (made,) = self.new(statement)
            self.undo_all([made])
            self.assertEqual(self.state(), before, statement)

    def test_recursive_triggers(self) -> None:
        """Where REPLACE fires the triggers of rows that it deletes, each row is recorded once, too."""
        self.shell.executescript(
            "PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ON; PRAGMA trusted_schema = OFF"
        )
        for statement, *_, rows in STATEMENTS:
            before = self.state()
            (made,) = self.new(statement)
            # A row in place of one with its number is a deletion and a creation here.
            self.assertIn(entry(self.connection, made.audit_id).rows, (rows, rows + 1), statement)
            self.undo_all([made])
            self.assertEqual(self.state(), before, statement)

    def test_many_in_a_row(self) -> None:
        """Statements in one transaction, within the same millisecond, are entries of their own."""
        before = self.state()
        made = self.new(
            "BEGIN;"
            + "".join(f"INSERT INTO extensions(extension_number) VALUES ('5{n}');" for n in range(20))
            + "INSERT OR IGNORE INTO extensions(extension_number) VALUES ('51'), ('81');"
            + "INSERT OR IGNORE INTO extensions(extension_number) VALUES ('51');"
            + "DELETE FROM extensions WHERE extension_id < 9;"
            + "UPDATE extensions SET extension_number = '0' || extension_id;"
            + "UPDATE extensions SET extension_number = extension_number; DELETE FROM extensions WHERE 0; COMMIT;"
        )
        self.assertEqual([row.action for row in made], ["create"] * 21 + ["delete", "update"])
        self.undo_all(made)
        self.assertEqual(self.state(), before)

    def test_ignored_rows(self) -> None:
        """What an INSERT or UPDATE ignores holds no entry open for the statement behind it, in the same millisecond."""
        self.shell.execute("PRAGMA foreign_keys = ON")
        before = self.state()
        known = "INSERT OR IGNORE INTO extensions(extension_number) VALUES ('33')"
        made = self.new(
            "BEGIN;"
            + "INSERT OR IGNORE INTO extensions(extension_number) VALUES ('71'), ('33');"
            + "".join(
                f"{known}; INSERT INTO extensions_mappings(extension_id, map_id) VALUES (2, {n});" for n in (3, 4, 5)
            )
            + "UPDATE OR IGNORE extensions SET extension_number = '33';"
            + "DELETE FROM extensions_mappings WHERE map_id = 3;"
            + "INSERT INTO users(user_id, user_name) VALUES (1, 'x') ON CONFLICT DO NOTHING;"
            + "INSERT INTO mappings_disabled(map_id) VALUES (1);"
            + f"{known}; UPDATE extensions_endpoints SET endpoint = 'SIP/1';"
            + f"{known}; DELETE FROM users; COMMIT"
        )
        self.assertEqual(
            [(row.action, row.kind) for row in made],
            [
                ("create", "extension"),
                *[("grant", "grant")] * 3,
                ("revoke", "grant"),
                ("disable", "mapping"),
                ("endpoint", "extension"),
                ("delete", "user"),
            ],
        )
        self.undo_all(made)
        self.assertEqual(self.state(), before)

    def test_thousand_rows(self) -> None:
        """A statement on a thousand rows is one entry whose name is short; a list shows its first rows."""
        self.new(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
            " INSERT INTO applications_mappings(application_name, pattern) SELECT 'dial', '9' || i FROM n"
        )
        before = self.state()
        (made,) = self.new("UPDATE applications_mappings SET application_data = 'IAX2' WHERE map_id > 5")
        self.assertTrue(made.name.startswith("91, 92, 93, ") and made.name.endswith(", …"), made.name)
        self.assertLess(len(made.name), 100)
        detail = details_of(self.connection, [made])[made.audit_id]
        self.assertEqual((len(detail.changes), detail.rows), (MAX_LISTED, 1000))
        self.undo_all([made])
        self.assertEqual(self.state(), before)

    def test_not_done(self) -> None:
        """What fails, is rolled back or changes nothing is not recorded."""
        last = find_entries(self.connection, limit=1)
        for statement in (
            "INSERT INTO extensions(extension_number) VALUES ('77'), ('33')",
            "INSERT INTO users(user_name, user_pin) VALUES ('ana', '1234')",
            "UPDATE users SET user_pin = '1234'",
        ):
            with self.assertRaises(sqlite3.IntegrityError):
                self.shell.execute(statement)
        self.shell.executescript(
            "BEGIN; DELETE FROM users; DELETE FROM extensions; ROLLBACK; UPDATE users SET user_name = user_name;"
            "DELETE FROM users WHERE user_id = 99; INSERT OR IGNORE INTO extensions VALUES (1, '33');"
        )
        self.assertEqual(find_entries(self.connection, limit=1), last)

    def test_the_workshops(self) -> None:
        """The workshop's own INSERTs run, and are recorded and undone one by one."""
        self.shell.executescript("".join(f"DELETE FROM {table};" for table in TABLES))
        before = self.state()
        made = self.new("\n".join(line for line in WORKSHOP.splitlines() if 'INTO "users"' not in line))
        self.assertEqual({row.kind for row in made}, {"mapping", "extension", "grant"})
        with self.assertRaises(EditConflict):  # a grant to a user who is not there
            undo(self.connection, EVA, 9.0, undo(self.connection, EVA, 9.0, made[-1].audit_id))
        self.undo_all(made[:-1])
        self.assertEqual(self.state(), before)


class ValueTests(SqlCase):
    """Values of every type."""

    def test_odd_values(self) -> None:
        """Text with NUL, quotes or bytes that are no UTF-8, BLOBs, fractions and infinities are restored exactly."""
        for value in (
            "x'00ff'",
            "CAST(x'4d6f6973e973' AS TEXT)",
            "CAST(x'6100620a' AS TEXT)",
            "CAST(x'00' AS TEXT)",
            "'a\"b\\c]d[e'",
            "'ñandú 😀\u202e'",
            "''",
            "'' || char(1, 10, 27)",
        ):
            before = self.state()
            made = self.new(
                f"UPDATE applications_mappings SET application_data = {value};"
                f"INSERT INTO applications_mappings VALUES (7, 'x' || {value}, {value}, 'p' || {value});"
                f"UPDATE users SET user_name = {value} || 'x';"
                "DELETE FROM applications_mappings WHERE map_id = 7; DELETE FROM users"
            )
            self.assertEqual(len(made), 5, value)
            for row in made:
                self.assertTrue(row.name.isprintable())
                self.assertTrue(entry(self.connection, row.audit_id).changes)
            self.undo_all(made)
            self.assertEqual(self.state(), before, value)
        for value in ("1.5", "0.1", "-9e999", "1e300", "9007199254740993", "1.0", "x''", "'later'"):
            before = self.state()
            made = self.new(
                f"UPDATE dial_links SET calls_a_day = {value}, disabled_at = {value}; DELETE FROM dial_links"
            )
            self.assertEqual(len(made), 2, value)
            self.undo_all(made)
            self.assertEqual(self.state(), before, value)

    def test_case_and_type(self) -> None:
        """A change of case alone, where the column sees none, and of type alone are changes."""
        self.shell.executescript(
            "INSERT INTO console_users(login, password_hash, role, created_at) VALUES ('ana', 'h', 'admin', 1)"
        )
        self.assertEqual(len(self.new("UPDATE console_users SET login = 'Ana'")), 1)
        self.assertEqual(
            len(self.new("UPDATE applications_mappings SET application_data = x'534950' WHERE map_id=2")), 1
        )

    def test_secrets(self) -> None:
        """No password, no token and no PIN in plain text reaches the audit log; what needs one cannot be undone."""
        self.shell.execute("PRAGMA ignore_check_constraints = ON")
        pin, removed = self.new("UPDATE users SET user_pin = '123456'; UPDATE users SET user_pin = NULL")
        self.assertIn(
            "plain text", str(self.assertRaises(EditConflict, undo, self.connection, EVA, 9.0, removed.audit_id))
        )
        self.shell.execute("UPDATE users SET user_pin = '123456'")
        (renamed,) = self.new("UPDATE users SET user_name = 'ana'")
        self.undo_all([renamed])
        self.undo_all([pin])
        self.assertEqual(self.shell.execute("SELECT user_pin FROM users").fetchone(), (hash_pin("123456"),))
        made = self.new(
            "INSERT INTO console_users(login, password_hash, role, created_at) VALUES ('ana', 'argon2', 'admin', 1);"
            "UPDATE console_users SET password_hash = 'argon3'; UPDATE console_users SET last_login_at = 7;"
            "INSERT INTO api_tokens(name, token_hash) VALUES ('desk', 'feedbeef');"
            "UPDATE api_tokens SET revoked_at = 'now'; DELETE FROM api_tokens"
        )
        self.assertEqual([row.action for row in made], ["create", "password", "create", "revoke", "delete"])
        for row in made:
            self.assertRaises(EditRefused, undo, self.connection, EVA, 9.0, row.audit_id)
        for secret in ("123456", "argon2", "argon3", "feedbeef"):
            for text in self.shell.execute("SELECT coalesce(before, '') || coalesce(after, '') FROM audit_rows"):
                self.assertNotIn(secret, text[0])

    def test_use_is_no_change(self) -> None:
        """The use of a token, which is noted in its row, is not recorded."""
        (made,) = self.new("INSERT INTO api_tokens(name, token_hash) VALUES ('desk', 'h')")
        note_use(self.connection, 1)
        found = find_token(self.connection, "h")
        assert found is not None and found.last_used is not None
        self.assertEqual(find_entries(self.connection, limit=1), [made])


class AuthorTests(SqlCase):
    """Whose a change is."""

    def test_ours(self) -> None:
        """A change by the program is one entry with its author, also right after one by SQL, and the next is SQL's."""
        self.new("UPDATE users SET user_name = 'ana'")
        with changing(self.connection, EVA, 5.0, "update", "user", "eva") as change:
            change.update("users", 1, {"user_name": "eva"})
        (made,) = self.new("UPDATE users SET user_name = 'ina'")
        before, mine = find_entries(self.connection, limit=3)[1:][::-1]
        self.assertEqual([row.who for row in (before, mine, made)], ["SQL", "eva", "SQL"])
        self.assertEqual((mine.audit_id, mine.changed_at), (change.audit_id, 5.0))

    def test_killed(self) -> None:
        """A program that ends in the middle of a change leaves no author behind."""
        other = database.connect(self.path, timeout_s=0)
        other.execute("BEGIN IMMEDIATE")
        Change(other, EVA, 5.0, "delete", "user", "x").delete("users", 1)
        self.assertEqual(other.execute("SELECT who, audit_id > 0 FROM audit_writing").fetchone(), ("eva", 1))
        other.close()  # as the operating system does
        (made,) = self.new("UPDATE users SET user_name = 'ana'")
        self.assertEqual((made.who, made.action), ("SQL", "update"))
        self.assertEqual(self.shell.execute("SELECT count(*) FROM users_mappings").fetchone(), (4,))

    def test_attached(self) -> None:
        """A change through another database that has this one attached is recorded, too."""
        other = sqlite3.connect(":memory:", isolation_level=None)
        self.addCleanup(other.close)
        other.execute("ATTACH :path AS pbx", {"path": str(self.path)})
        other.execute("DELETE FROM pbx.extensions WHERE extension_id = 2")
        self.assertEqual(find_entries(self.connection, limit=1)[0].name, "34")

    def test_what_it_is_about(self) -> None:
        """The page of a mapping, extension or user finds the changes with SQL of its rows and grants."""
        made = self.new(
            "UPDATE applications_mappings SET pattern = '3Z' WHERE map_id = 1;"
            "DELETE FROM users_mappings WHERE map_id = 1"
        )
        self.assertEqual(entries_about(self.connection, "map_id", 1)[:2], made[::-1])
        self.assertEqual(entries_about(self.connection, "user_id", 1)[0], made[1])


class TriggerTests(SqlCase):
    """The triggers themselves."""

    def test_each_rules_table(self) -> None:
        """Each table that others refer to, or that holds rules or access, is audited, with all that may be replaced."""
        for table in TABLES.values():
            self.assertIn(table.kind, KINDS)
            unique = set()
            for _, name, is_unique, *_ in self.shell.execute(f"PRAGMA index_list({table.name})").fetchall():
                if is_unique:
                    unique.add(tuple(row[2] for row in self.shell.execute(f"PRAGMA index_info({name})")))
            self.assertEqual(unique, {unique.columns for unique in table.unique}, table.name)
        children = {
            (row[2], table, row[3])
            for table in TABLES
            for row in self.shell.execute(f"PRAGMA foreign_key_list({table})").fetchall()
        }
        self.assertEqual(children, {(table.name, *child) for table in TABLES.values() for child in table.children})
        others = {name for (name,) in self.shell.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        self.assertEqual(
            {name for name in others - set(TABLES) if not name.startswith(("sqlite_", "counter_", "audit_"))},
            {"imports", "calls", "console_sessions", "console_setup", "dial_link_calls", "pin_guesses", "pin_calls"}
            | {"schema_version"},
        )

    def test_secret_columns(self) -> None:
        """Each column whose name tells of a secret is declared as one."""
        for table in TABLES.values():
            for row in self.shell.execute(f"PRAGMA table_info({table.name})").fetchall():
                self.assertEqual(row[1].endswith(("_hash", "_pin")), row[1] in table.secret | table.pins, row[1])

    def test_made_again(self) -> None:
        """Triggers that went with a table, and columns that an owner added, are taken up at the next opening."""
        self.shell.executescript(
            "CREATE TABLE other AS SELECT * FROM users_limits; DROP TABLE users_limits;"
            "CREATE TABLE users_limits (user_id INTEGER PRIMARY KEY REFERENCES users ON DELETE CASCADE, max_calls);"
            "INSERT INTO users_limits SELECT * FROM other; ALTER TABLE extensions ADD COLUMN room"
        )
        self.assertEqual(self.new("UPDATE users_limits SET max_calls = 9"), [])
        database.connect(self.path, timeout_s=0).close()
        before = self.state()
        made = self.new("UPDATE users_limits SET max_calls = 8; UPDATE extensions SET room = 'B7'")
        self.assertEqual([row.action for row in made], ["limit", "update"])
        self.undo_all(made)
        self.assertEqual(self.state(), before)
        changes = self.connection.total_changes
        ensure_triggers(self.connection)
        self.assertEqual(self.connection.total_changes, changes)

    def test_all_or_none(self) -> None:
        """Triggers that cannot be made anew leave those that were there, and the transaction of another as it was."""
        one = sorted(dict(triggers(self.connection)))[-1]

        def refuse(action: int, name: str | None, *_: str | None) -> int:
            is_one = action == sqlite3.SQLITE_CREATE_TRIGGER and name == one
            return sqlite3.SQLITE_DENY if is_one else sqlite3.SQLITE_OK

        query = "SELECT name, sql FROM sqlite_master WHERE type IN ('trigger', 'view') ORDER BY name"
        self.connection.execute(f"DROP TRIGGER {one}")
        before = self.connection.execute(query).fetchall()
        self.connection.set_authorizer(refuse)
        self.addCleanup(self.connection.set_authorizer, None)
        self.assertRaises(sqlite3.DatabaseError, ensure_triggers, self.connection)
        self.assertFalse(self.connection.in_transaction)
        self.assertEqual(self.connection.execute(query).fetchall(), before)
        self.connection.execute("BEGIN IMMEDIATE")
        self.assertRaises(sqlite3.DatabaseError, ensure_triggers, self.connection)
        self.assertTrue(self.connection.in_transaction)
        self.connection.rollback()
        self.assertEqual(self.connection.execute(query).fetchall(), before)
        self.connection.set_authorizer(None)
        self.connection.execute("BEGIN IMMEDIATE")
        ensure_triggers(self.connection)
        self.assertTrue(self.connection.in_transaction)
        self.connection.rollback()
        self.assertEqual(self.connection.execute(query).fetchall(), before)
        ensure_triggers(self.connection)
        self.assertFalse(self.connection.in_transaction)
        self.assertEqual(len(self.connection.execute(query).fetchall()), len(before) + 1)

    def test_a_table_that_is_not_there(self) -> None:
        """A table that an owner dropped has no triggers; those of the others stay."""
        self.shell.executescript("PRAGMA foreign_keys = OFF; DROP TABLE users_limits")
        ensure_triggers(self.connection)
        names = [name for name, _ in triggers(self.connection)]
        self.assertEqual([name for name in names if "users_limits" in name], [])
        self.assertEqual([row.action for row in self.new("INSERT INTO extensions VALUES (99, '99')")], ["create"])

    def test_rebuilt_while_the_gateway_runs(self) -> None:
        """A change by the program is recorded, though the triggers went with a table after the database was opened."""
        self.shell.executescript(
            "CREATE TABLE other AS SELECT * FROM users_limits; DROP TABLE users_limits;"
            "CREATE TABLE users_limits (user_id INTEGER PRIMARY KEY REFERENCES users ON DELETE CASCADE, max_calls);"
            "INSERT INTO users_limits SELECT * FROM other"
        )
        before = self.state()
        with changing(self.connection, EVA, 8.0, "limit", "user", "moises silva") as change:
            change.connection.execute("UPDATE users_limits SET max_calls = 9")
        self.assertIsNotNone(change.audit_id)
        self.undo_all(find_entries(self.connection, limit=1))
        self.assertEqual(self.state(), before)

    def test_an_owners_triggers(self) -> None:
        """Triggers and views of the owner's stay, under any name, while ours are created again."""
        self.shell.executescript(
            "CREATE TABLE noted(pattern); CREATE VIEW audit_of_mine AS SELECT * FROM noted;"
            "CREATE TRIGGER audit_mine AFTER INSERT ON applications_mappings BEGIN"
            "  INSERT INTO noted VALUES (NEW.pattern); END;"
            "DROP TRIGGER audit_users_update"
        )
        database.connect(self.path, timeout_s=0).close()
        made = self.new(f"UPDATE users SET user_pin = {HASH}; {STATEMENTS[0][0]}")
        self.assertEqual([row.action for row in made], ["pin", "create"])
        self.assertEqual(self.shell.execute("SELECT pattern FROM audit_of_mine").fetchall(), [("9X",)])

    def test_restored_from_a_dump(self) -> None:
        """A dump restored is the same database: neither the audit log nor the triggers take it for changes."""
        text = list(self.connection.iterdump())
        with sqlite3.connect(":memory:") as copy:
            self.addCleanup(copy.close)
            copy.executescript("\n".join(text))
        self.assertEqual(sorted(copy.iterdump()), sorted(text))

    def test_entries_go_with_their_rows(self) -> None:
        """Deleting entries of the audit log deletes their rows."""
        self.shell.execute("DELETE FROM audit_log WHERE audit_id > 1")
        self.assertEqual(self.shell.execute("SELECT DISTINCT audit_id FROM audit_rows").fetchall(), [(1,)])
