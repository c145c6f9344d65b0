"""Rows that cannot be written are set aside alone, for any cause; a fault of the database is not taken for one."""

from __future__ import annotations

import json
import os
import pathlib
import sqlite3
from typing import Any

from pbxrouter.database import set_aside
from pbxrouter.database.calls.history import CallRow, Search, add_calls, find_calls
from pbxrouter.database.set_aside import MAX_FILE, SetAside, set_aside_file
from pbxrouter.errors import StoreError
from tests.api_fakes import a_call
from tests.database.postgresql import OnBothEngines


class SetAsideCase(OnBothEngines):
    """Test case with the history of a database that owners may have changed."""

    def setUp(self) -> None:
        """Create the database, and connect."""
        place = self.new_place()
        self.place = place.absolute() if isinstance(place, pathlib.Path) else place
        self.connection = self.open(self.place)
        self.addCleanup(set_aside_file(self.place).unlink, missing_ok=True)

    def add(self, *rows: CallRow) -> list[SetAside]:
        """Add calls."""
        return add_calls(self.connection, rows)

    def numbers(self) -> list[str]:
        """The numbers of the calls in the history, the oldest first."""
        return [row.number for row in find_calls(self.connection, Search(), 100)][::-1]


class SetAsideTests(SetAsideCase):
    """Rows that either engine refuses."""

    def test_storable(self) -> None:
        """What SQLite refuses, and can be made good, is no reason to set a row aside."""
        odd: dict[str, Any] = {
            "caller": "\udcff\0",
            "outcome": "\ud800",
            "answered_s": 2**70,
            "caller_name": "x" * 1_000_000,
            "ended": float("nan"),
        }
        self.assertEqual(self.add(*(a_call(place, **{name: odd[name]}) for place, name in enumerate(odd))), [])
        first = next(iter(find_calls(self.connection, Search(), 1)))
        self.assertEqual((first.ended, len(self.numbers())), (0.0, 5))
        lengths = self.connection.execute("SELECT max(length(caller_name)), max(answered_s) FROM calls").fetchone()
        self.assertEqual(lengths, (100_000 + len("… (cut, 1000000 characters)"), 2**63 - 1))

    def test_refused_by_the_schema(self) -> None:
        """A row that a constraint or its type forbids goes into the file; those around it are written."""
        nothing: Any = None
        many: Any = {"a set"}
        rows = (a_call(0), a_call(1, caller=nothing), a_call(2), a_call(3, caller=many), a_call(4))
        failed = self.add(*rows)
        self.assertEqual([row.place for row in failed], [1, 3])
        self.assertEqual(self.numbers(), ["20", "22", "24"])
        file = set_aside_file(self.place)
        self.assertEqual({row.file for row in failed}, {str(file)})
        self.assertEqual(os.stat(file).st_mode & 0o777, 0o600)
        first, second = map(json.loads, file.read_text().splitlines())
        self.assertEqual((first["table"], first["why"]), ("calls", "NOT NULL constraint failed: calls.caller"))
        self.assertEqual((first["row"][5], second["row"][3]), ("21", "{'a set'}"))
        self.assertIn("it is set aside in", failed[0].where)

    def test_all_refused(self) -> None:
        """Where each row is refused, each is set aside: the queue goes on."""
        nothing: Any = None
        self.assertEqual(len(self.add(*(a_call(place, caller=nothing) for place in range(3)))), 3)
        self.assertEqual(self.numbers(), [])

    def test_link_in_its_place(self) -> None:
        """A link where the file would be is not followed: the row is left out, and the other file stays as it is."""
        other = set_aside_file(self.place).with_name("other")
        other.write_text("mine\n")
        set_aside_file(self.place).symlink_to(other)
        nothing: Any = None
        (row,) = self.add(a_call(0, caller=nothing))
        self.assertEqual((row.file, other.read_text()), ("", "mine\n"))

    def test_full_file(self) -> None:
        """A file that is full, or cannot be written, keeps no more; the queue goes on all the same."""
        nothing: Any = None
        file = set_aside_file(self.place)
        file.write_bytes(b"x" * MAX_FILE)
        (row,) = self.add(a_call(0, caller=nothing))
        self.assertEqual((row.file, row.where), ("", "it is left out"))
        self.assertEqual(file.stat().st_size, MAX_FILE)
        file.unlink()
        file.symlink_to("/dev/full")
        (row,) = self.add(a_call(0, caller=nothing))
        self.assertEqual(row.file, "")


class FileTests(SetAsideCase):
    """What a database of SQLite does."""

    engine = "SQLite"

    def test_triggers(self) -> None:
        """A row that a trigger of the owner's refuses, by whichever means, is set aside alone."""
        for how in ("RAISE(ABORT, 'no 21')", "RAISE(FAIL, 'no 21')", "RAISE(ROLLBACK, 'no 21')", "no_such_function()"):
            self.connection.execute(
                f"CREATE TRIGGER refuse BEFORE INSERT ON calls WHEN NEW.number = '21' BEGIN SELECT {how}; END"
            )
            try:
                failed = self.add(*map(a_call, range(3)))
            except StoreError as error:  # SQLite looks for functions when it prepares, whichever the row
                self.assertIn("no_such_function", str(error))
                failed = []
            else:
                self.assertEqual([(row.place, row.why) for row in failed], [(1, "no 21")], how)
                self.assertEqual(self.numbers(), ["20", "22"], how)
                self.assertEqual(self.connection.execute("PRAGMA synchronous").fetchone(), (1,))  # no wait for the disk
            self.assertFalse(self.connection.in_transaction)
            self.connection.execute("DROP TRIGGER refuse")
            self.connection.execute("DELETE FROM calls")
            self.connection.commit()

    def test_what_a_trigger_had_written(self) -> None:
        """Of a row that is set aside nothing stays, not even what a trigger of the owner's wrote before it failed."""
        self.connection.execute("CREATE TABLE seen (number TEXT)")
        self.connection.execute(
            "CREATE TRIGGER see BEFORE INSERT ON calls BEGIN"
            " INSERT INTO seen VALUES (NEW.number); SELECT RAISE(FAIL, 'no 21') WHERE NEW.number = '21'; END"
        )
        self.assertEqual([row.place for row in self.add(*map(a_call, range(3)))], [1])
        self.assertEqual(self.numbers(), ["20", "22"])
        self.assertEqual(self.connection.execute("SELECT number FROM seen").fetchall(), [("20",), ("22",)])

    def test_of_the_database(self) -> None:
        """A database that cannot be written is a StoreError: no row is set aside, and none is written."""
        self.connection.execute("ALTER TABLE calls RENAME TO gone")
        self.assertRaises(StoreError, self.add, a_call(0), a_call(1))
        self.connection.execute("ALTER TABLE gone RENAME TO calls")
        self.connection.execute("PRAGMA query_only = ON")
        self.assertRaises(StoreError, self.add, a_call(0), a_call(1))
        self.connection.execute("PRAGMA query_only = OFF")
        self.assertEqual(self.numbers(), [])
        self.assertFalse(set_aside_file(self.place).exists())

    def test_full_after_a_row_that_is_refused(self) -> None:
        """A database that turns out to be full while rows are written one by one is no fault of the rows."""
        nothing: Any = None
        (pages,) = self.connection.execute("PRAGMA page_count").fetchone()
        self.connection.execute(f"PRAGMA max_page_count = {pages}")
        rows = (a_call(0, caller=nothing), *(a_call(place, caller_name="x" * 50_000) for place in range(1, 5)))
        error = self.assertRaises(StoreError, self.add, *rows)
        self.assertIn("the disk is full", str(error))
        self.assertEqual(self.numbers(), [])
        self.assertFalse(set_aside_file(self.place).exists())

    def test_memory(self) -> None:
        """A database in memory has no file beside it."""
        connection = sqlite3.connect(":memory:")
        self.addCleanup(connection.close)
        found = set_aside.keep_aside(connection, "x", [set_aside.FailedRow(0, (1.5, None, b"\xff"), ValueError())])
        self.assertEqual(found, [SetAside(0, "ValueError")])


class ServerTests(SetAsideCase):
    """What a database of PostgreSQL does."""

    engine = "PostgreSQL"

    def make_trigger(self, *statements: str) -> None:
        """Have rows of number 21 treated in a way of the owner's."""
        body = " ".join(f"{statement};" for statement in statements)
        self.connection.execute(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$BEGIN {body} IF NEW.number = '21' THEN RAISE EXCEPTION 'no 21'; END IF; RETURN NEW; END$$"
        )
        self.connection.execute(
            "CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON calls FOR EACH ROW EXECUTE FUNCTION refuse()"
        )

    def test_triggers(self) -> None:
        """A row that a trigger of the owner's refuses is set aside alone, and nothing stays of what it had written."""
        self.connection.execute("CREATE TABLE seen (number text)")
        self.make_trigger("INSERT INTO seen VALUES (NEW.number)")
        failed = self.add(*map(a_call, range(3)))
        self.assertEqual([(row.place, row.why) for row in failed], [(1, "no 21")])
        self.assertEqual(self.numbers(), ["20", "22"])
        self.assertEqual(self.connection.execute("SELECT number FROM seen").fetchall(), [("20",), ("22",)])

    def test_of_the_database(self) -> None:
        """A database that cannot be written is a StoreError: no row is set aside, and none is written."""
        for away, there in (
            ("ALTER TABLE calls RENAME TO gone", "ALTER TABLE gone RENAME TO calls"),
            ("CREATE TRIGGER broken BEFORE INSERT ON calls EXECUTE FUNCTION broken()", "DROP TRIGGER broken ON calls"),
        ):
            if "broken" in away:
                self.connection.execute(
                    "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM nothing(); END$$"
                )
            self.connection.execute(away)
            self.assertRaises(StoreError, self.add, a_call(0), a_call(1))
            self.connection.execute(there)
        self.assertEqual(self.numbers(), [])
        self.assertFalse(set_aside_file(self.place).exists())
