"""Tests of what is the same on both engines: connections, transactions, numbers of rows, failures of constraints."""

from __future__ import annotations

import contextlib
import traceback
from typing import Any

from pbxrouter.database import (
    CONSTRAINT_ERRORS,
    SCHEMA_VERSION,
    Connection,
    connect_read_only,
    peek_version,
    reading,
    transaction,
)
from pbxrouter.database.engine import EngineError
from pbxrouter.errors import DatabaseLocked, DatabaseTooNew, StoreError
from tests.database.postgresql import OnBothEngines


class ConnectionTests(OnBothEngines):
    """A connection to a new database."""

    def setUp(self) -> None:
        """Create a database."""
        self.place = self.new_place()
        self.connection = self.open(self.place)

    def numbers(self, connection: Connection | None = None) -> list[tuple[int, str]]:
        """The extensions."""
        query = "SELECT extension_id, extension_number FROM extensions ORDER BY extension_id"
        return (connection or self.connection).execute(query).fetchall()

    def test_places(self) -> None:
        """Values go to ``?`` and ``:name``; a text, a percent sign and a comment in the SQL stay as they are."""
        for query, values, row in (
            ("SELECT ?, ?, ?", (1, "a%s", None), (1, "a%s", None)),
            ("SELECT :a, ':b', :a -- :c\n", {"a": "x", "unused": 1}, ("x", ":b", "x")),
            ("SELECT 'it''s 50%', 7 % 4", (), ("it's 50%", 3)),
            ("SELECT CAST(:n AS TEXT), :f + 0.5", {"n": 5, "f": 1.5}, ("5", 2.0)),
        ):
            self.assertEqual(self.connection.execute(query, values).fetchone(), row, query)

    def test_changes_wait_for_the_commit(self) -> None:
        """An INSERT opens a transaction; its rows are there for others after the commit, and gone after a rollback."""
        other = self.open(self.place)
        self.connection.execute("INSERT INTO extensions (extension_number) VALUES ('33')")
        self.assertTrue(self.connection.in_transaction)
        self.assertEqual(self.numbers(other), [])
        self.connection.commit()
        self.assertFalse(self.connection.in_transaction)
        self.assertEqual(self.numbers(other), [(1, "33")])
        self.connection.execute("DELETE FROM extensions")
        self.connection.rollback()
        self.assertEqual(self.numbers(), [(1, "33")])

    def test_numbers_of_rows(self) -> None:
        """A row that is inserted with a number has the next ones counted from there; a number is never used twice."""
        insert = "INSERT INTO extensions (extension_id, extension_number) VALUES (?, ?)"
        self.connection.execute(insert, (7, "33"))
        (number,) = self.connection.execute(
            "INSERT INTO extensions (extension_number) VALUES ('34') RETURNING extension_id"
        ).fetchone()
        self.assertEqual(number, 8)
        self.connection.execute(insert, (2, "35"))
        self.connection.execute("DELETE FROM extensions WHERE extension_id = 8")
        self.connection.execute("INSERT INTO extensions (extension_number) VALUES ('36')")
        self.assertEqual(self.numbers(), [(2, "35"), (7, "33"), (9, "36")])

    def test_constraints(self) -> None:
        """A violated constraint is named in the same way, without the row's values, and the transaction is undone."""
        insert = "INSERT INTO extensions (extension_number) VALUES"
        login = "INSERT INTO console_users (login, password_hash, role, created_at) VALUES"
        for statement, message in (
            (f"{insert} ('33'), ('33')", "UNIQUE constraint failed: extensions.extension_number"),
            (f"{insert} (' ')", "CHECK constraint failed: extension_number_is_not_empty"),
            (f"{insert} (NULL)", "NOT NULL constraint failed: extensions.extension_number"),
            ("INSERT INTO users_limits VALUES (5, 1)", "FOREIGN KEY constraint failed"),
            (
                "INSERT INTO users (user_name, user_pin) VALUES ('a', '1234')",
                "CHECK constraint failed: user_pin_must_be_set_with_pbxrouter_pin",
            ),
            (
                f"{login} ('ana', '', 'admin', 1), ('ANA', '', 'admin', 1)",
                "UNIQUE constraint failed: console_users.login",
            ),
        ):
            with self.assertRaises(CONSTRAINT_ERRORS) as raised, transaction(self.connection):
                self.connection.execute(statement)
            self.assertEqual(str(raised.exception), message)
            self.assertFalse(self.connection.in_transaction)

    def test_snapshot(self) -> None:
        """Queries of one reading see the same rows, whatever others commit meanwhile."""
        other = self.open(self.place)
        with reading(self.connection):
            self.assertEqual(self.numbers(), [])
            with transaction(other):
                other.execute("INSERT INTO extensions (extension_number) VALUES ('33')")
            self.assertEqual(self.numbers(), [])
        self.assertEqual(self.numbers(), [(1, "33")])

    def test_one_writer_at_a_time(self) -> None:
        """While one has a write transaction another one gets DatabaseLocked, after its time."""
        other = self.open(self.place, timeout_s=0.05)
        with transaction(self.connection), self.assertRaises(DatabaseLocked), transaction(other):
            pass


class UpgradeTests(OnBothEngines):
    """A database of the version before, which is made of a new one."""

    def setUp(self) -> None:
        """Take away what the last upgrade has added."""
        self.place = self.new_place()
        connection = self.open(self.place)
        for statement in (
            "DROP INDEX calls_by_asterisk",
            "ALTER TABLE calls DROP COLUMN asterisk",
            "DELETE FROM schema_version",
            f"INSERT INTO schema_version (version) VALUES ({SCHEMA_VERSION - 1})",
            "INSERT INTO extensions (extension_number) VALUES ('33')",
        ):
            connection.execute(statement)
        connection.commit()
        connection.close()

    def test_upgrade(self) -> None:
        """The first that connects brings it to this version, and says so; rows stay, and are no change to be undone."""
        self.assertEqual(peek_version(self.place), SCHEMA_VERSION - 1)
        with self.assertRaises(StoreError) as raised:
            connect_read_only(self.place)
        self.assertIn("start the gateway, which upgrades it", str(raised.exception))
        lines: list[str] = []
        connection = self.open(self.place, notify=lines.append)
        self.assertEqual(
            [f"from schema version {SCHEMA_VERSION - 1} to {SCHEMA_VERSION}" in line for line in lines], [True]
        )
        self.assertEqual(connection.execute("SELECT asterisk FROM calls").fetchall(), [])
        self.assertEqual(connection.execute("SELECT extension_number FROM extensions").fetchall(), [("33",)])
        (entries,) = connection.execute("SELECT count(*) FROM audit_log").fetchone()
        self.assertEqual(entries, 1)
        connection.execute("INSERT INTO extensions (extension_number) VALUES ('34')")
        connection.commit()
        self.assertEqual(connection.execute("SELECT count(*) FROM audit_log").fetchone(), (2,))
        self.open(self.place, notify=lines.append)
        self.assertEqual(len(lines), 1)

    def test_too_new(self) -> None:
        """A database of a later version is refused."""
        connection = self.open(self.place)
        connection.execute(f"INSERT INTO schema_version (version) VALUES ({SCHEMA_VERSION + 1})")
        connection.commit()
        self.assertRaises(DatabaseTooNew, self.open, self.place)


class ServerTests(OnBothEngines):
    """What only a connection to a server does."""

    engine = "PostgreSQL"

    def test_nested(self) -> None:
        """A transaction within one is an error, as on SQLite, and not a part of it."""
        connection = self.database()
        with self.assertRaises(StoreError) as raised, transaction(connection), transaction(connection):
            pass
        self.assertIn("a transaction is open already", str(raised.exception))
        self.assertFalse(connection.in_transaction)

    def test_failed_statement(self) -> None:
        """A transaction in which a statement has failed is not committed without a word."""
        connection = self.database()
        with self.assertRaises(StoreError) as raised, transaction(connection):
            connection.execute("INSERT INTO extensions (extension_number) VALUES ('33')")
            with contextlib.suppress(EngineError):
                connection.execute("SELECT * FROM nothing_like_it")
        self.assertIn("was undone", str(raised.exception))

    def test_no_values_in_errors(self) -> None:
        """Neither an error nor what it comes from has a value of a row in it."""
        connection = self.database()
        secret = "a" * 64
        insert = "INSERT INTO users (user_name, user_pin) VALUES ('ana', :pin)"
        try:
            with transaction(connection):
                connection.execute(insert, {"pin": secret})
                connection.execute(insert, {"pin": secret})
        except CONSTRAINT_ERRORS:
            self.assertNotIn(secret, traceback.format_exc())
        else:
            self.fail("no error")

    def test_stale_statements(self) -> None:
        """A connection whose prepared statements an upgrade has made useless counts as lost."""
        place = self.new_place()
        connection: Any = self.open(place)
        for _ in range(10):
            connection.execute("SELECT * FROM extensions")
        self.open(place).execute("ALTER TABLE extensions ADD COLUMN more bigint")
        self.assertFalse(connection.is_lost)
        self.assertRaises(EngineError, connection.execute, "SELECT * FROM extensions")
        self.assertTrue(connection.is_lost)
