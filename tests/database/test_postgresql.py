"""Tests of what is the same on both engines: connections, transactions, numbers of rows, failures of constraints."""

from __future__ import annotations

from pbxrouter.database import CONSTRAINT_ERRORS, Connection, reading, transaction
from pbxrouter.errors import DatabaseLocked
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
