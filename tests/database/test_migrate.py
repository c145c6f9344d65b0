"""Everything in a database arrives in another one, of either engine."""

from __future__ import annotations

from typing import Any, ClassVar

from pbxrouter import database
from pbxrouter.database.audit import Actor, changing, find_entries, undo
from pbxrouter.database.engine.catalogue import begin_behind, last_numbers, tables_of
from pbxrouter.database.migrate import LEFT_OUT, NOTED, carry_over
from pbxrouter.database.rules.sample import add_sample
from pbxrouter.errors import StoreError
from tests.database.postgresql import OnBothEngines
from tests.database.test_connection import hash_pin

EVA = Actor("eva", "console")
NOW = "2026-11-23T14:30:00Z"
CALL = (
    "INSERT INTO calls (began, ended, uniqueid, caller, caller_name, number, verdict, pattern, application, data,"
    " granted_by, outcome, cause, answered_s, trace, call_key) VALUES (?, 2.5, 'u', ?, ?, '21', 'allow', '2X', 'dial',"
    " 'SIP', '33', 'ANSWER', '16', 4, '[]', ?)"
)


class MigrateCase(OnBothEngines):
    """A database with something in most tables, and a new one of the other engine."""

    def setUp(self) -> None:
        """Create a database of each engine."""
        self.source: Any = self.database()
        self.fill()
        engine = type(self).engine
        try:
            type(self).engine = "PostgreSQL" if engine == "SQLite" else "SQLite"
            self.target: Any = self.database()
        finally:
            type(self).engine = engine

    def fill(self) -> None:
        """Put rows into the source."""
        add_sample(self.source, hash_pin)
        with database.transaction(self.source):
            self.source.execute(
                "INSERT INTO console_users (login, password_hash, role, created_at) VALUES ('Eva', 'h', 'admin', 1)"
            )
        with changing(self.source, EVA, 7.0, "create", "extension", "77") as change:
            change.insert("extensions", {"extension_number": "77"})
        with changing(self.source, EVA, 8.0, "delete", "extension", "77") as change:
            change.delete("extensions", 2)
        undo(self.source, EVA, 9.0, find_entries(self.source, limit=1)[0].audit_id)
        with database.transaction(self.source):
            for number in range(5000):
                self.source.execute(CALL, (number + 0.25, "33", "Ñandú 電話", f"key-{number}"))
            self.source.execute("INSERT INTO counter_asterisks VALUES ('pbx', 1.5, 60.5, 'then')")
            self.source.execute(
                "INSERT INTO counter_minutes (minute, asterisk, kind, name, started) VALUES (60, 'pbx', 'all', '', 3)"
            )

    def content(self, connection: Any) -> dict[str, list[Any]]:
        """All rows of all tables that are carried over."""
        return {
            table: sorted(connection.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
            for table in sorted(tables_of(connection) - LEFT_OUT - {"imports"})
        }


class EverythingTests(MigrateCase):
    """What arrives."""

    def test_all_rows(self) -> None:
        """All rows of all tables arrive as they were, each table is told with its count, and undo works there."""
        told: list[tuple[str, int, int]] = []
        done = carry_over(self.source, self.target, NOW, progress=lambda *step: told.append(step))
        self.assertEqual(self.content(self.source), self.content(self.target))
        self.assertEqual((5000, [], []), (done.rows["calls"], done.odd, done.unknown))
        self.assertEqual(("calls", 5000, 5000), [step for step in told if step[0] == "calls"][-1])
        self.assertEqual(set(done.rows), {table for table, *_ in told})
        newest = find_entries(self.target, limit=1)[0]
        self.assertEqual("undo", newest.action)
        undo(self.target, EVA, 10.0, newest.audit_id)
        self.assertEqual([("33",)], self.target.execute("SELECT extension_number FROM extensions").fetchall())

    def test_numbers_go_on(self) -> None:
        """A new row there gets a number that none has had before, as one in the source would."""
        with changing(self.source, EVA, 8.0, "delete", "extension", "77") as change:
            change.delete("extensions", 2)
        carry_over(self.source, self.target, NOW)
        for connection in (self.source, self.target):
            with database.transaction(connection):
                row = connection.execute(
                    "INSERT INTO extensions (extension_number) VALUES ('78') RETURNING extension_id"
                ).fetchone()
            self.assertEqual((3,), row)

    def test_changes_are_recorded_afterwards(self) -> None:
        """The copy itself is no change; the next one is recorded."""
        carry_over(self.source, self.target, NOW)
        before = find_entries(self.target, limit=1)[0].audit_id
        self.target.execute("INSERT INTO extensions (extension_number) VALUES ('79')")
        self.target.commit()
        newest = find_entries(self.target, limit=1)[0]
        self.assertEqual(("SQL", "79"), (newest.who, newest.name))
        self.assertGreater(newest.audit_id, before)


class AgainTests(MigrateCase):
    """A second migration."""

    def test_again(self) -> None:
        """While the target is not used, another migration brings it up to date: new, changed and deleted rows."""
        carry_over(self.source, self.target, NOW)
        with database.transaction(self.source):
            self.source.execute("DELETE FROM calls WHERE call_id <= 10")
            self.source.execute(CALL, (9.5, "44", "x", "key-new"))
            self.source.execute("UPDATE extensions SET extension_number = '34' WHERE extension_number = '33'")
            self.source.execute("DELETE FROM users")
        carry_over(self.source, self.target, NOW)
        self.assertEqual(self.content(self.source), self.content(self.target))

    def test_in_use(self) -> None:
        """A target that is in use is refused and left as it is, unless all in it is to be replaced."""
        for use in (
            "INSERT INTO extensions (extension_number) VALUES ('99')",
            "UPDATE counter_asterisks SET last_seen = 1000",
            CALL.replace("?, 2.5", "1, 2.5").replace("'u', ?, ?", "'u', '', ''").replace("'[]', ?", "'[]', 'own'"),
        ):
            carry_over(self.source, self.target, NOW, replace=True)
            self.target.execute(use)
            self.target.commit()
            before = self.content(self.target)
            error = self.assertRaises(StoreError, carry_over, self.source, self.target, NOW)
            self.assertIn("5 mappings", str(error))
            self.assertIn("--replace", str(error))
            self.assertEqual(before, self.content(self.target))
        carry_over(self.source, self.target, NOW, replace=True)
        self.assertEqual(self.content(self.source), self.content(self.target))

    def test_back(self) -> None:
        """And back again into a third database: nothing is lost on the way."""
        carry_over(self.source, self.target, NOW)
        third: Any = self.database()
        carry_over(self.target, third, NOW)
        self.assertEqual(self.content(self.source), self.content(third))
        noted = third.execute("SELECT digest FROM imports").fetchall()
        self.assertEqual([True], sorted({digest.startswith(NOTED) for (digest,) in noted}))

    def test_whole_or_not_at_all(self) -> None:
        """A migration that fails in the middle leaves the target as it was, with its triggers."""

        def stop(table: str, done: int, total: int) -> None:
            if table == "users":
                raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            carry_over(self.source, self.target, NOW, progress=stop)
        self.assertEqual([], self.target.execute("SELECT * FROM calls").fetchall())
        self.target.execute("INSERT INTO extensions (extension_number) VALUES ('79')")
        self.target.commit()
        self.assertEqual("79", find_entries(self.target, limit=1)[0].name)


class SQLiteValueTests(MigrateCase):
    """Values of SQLite that PostgreSQL cannot hold."""

    engine: ClassVar[str] = "SQLite"

    def test_texts(self) -> None:
        """Bytes that are no text arrive with signs in their place, and are told."""
        self.source.execute("UPDATE calls SET caller_name = x'4de9' WHERE call_id = 1")
        self.source.execute("UPDATE calls SET caller_name = CAST(x'4de9' AS TEXT) WHERE call_id = 2")
        self.source.execute("UPDATE calls SET caller_name = 'a' || char(0) || 'b' WHERE call_id = 3")
        self.source.execute("INSERT INTO extensions VALUES (9, 99)")
        self.source.commit()
        done = carry_over(self.source, self.target, NOW)
        self.assertEqual((3, "calls 1, caller_name"), (done.odd_values, done.odd[0]))
        names = self.target.execute("SELECT caller_name FROM calls WHERE call_id <= 3 ORDER BY call_id").fetchall()
        self.assertEqual([("M\ufffd",), ("M\ufffd",), ("a\\x00b",)], names)

    def test_numbers(self) -> None:
        """What is no number where one is needed is named, and nothing arrives."""
        self.source.execute("UPDATE calls SET ended = 'never' WHERE call_id = 7")
        self.source.commit()
        error = self.assertRaises(StoreError, carry_over, self.source, self.target, NOW)
        self.assertIn("calls, row 7: ended is 'never'", str(error))
        self.assertEqual([], self.target.execute("SELECT * FROM extensions").fetchall())

    def test_an_owners_table(self) -> None:
        """Tables and columns that an owner has added are named, not carried over."""
        self.source.executescript("CREATE TABLE rooms (x); ALTER TABLE users ADD COLUMN room TEXT")
        done = carry_over(self.source, self.target, NOW)
        self.assertEqual(["rooms", "users.room"], done.unknown)


class NumberTests(OnBothEngines):
    """The numbers of rows that come next."""

    def test_behind(self) -> None:
        """The next row gets a number behind the given one, never before it."""
        connection = self.database()
        with database.transaction(connection):
            begin_behind(connection, {"extensions": 41, "users": 7})
            begin_behind(connection, {"extensions": 5})
            row = connection.execute("INSERT INTO extensions (extension_number) VALUES ('1') RETURNING extension_id")
            self.assertEqual((42,), row.fetchone())
        self.assertEqual(7, last_numbers(connection)["users"])
