"""Tests of the command `pbxrouter changes`."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

from tests.cli.test_app import CommandTestCase, run


class ChangesTests(CommandTestCase):
    """`pbxrouter changes`, on a database that was changed with SQL."""

    def setUp(self) -> None:
        """Create the database."""
        super().setUp()
        self.good("init", "--sample")

    def execute_sql(self, script: str) -> None:
        """Change the database as the sqlite3 shell does."""
        with closing(sqlite3.connect(self.database)) as connection:
            connection.executescript(script)

    def test_life(self) -> None:
        """A change with SQL is listed, shown with its rows, undone and redone."""
        self.execute_sql("UPDATE applications_mappings SET application_data = 'x' || char(27) WHERE map_id = 2")
        first, second = self.good("changes").splitlines()
        self.assertRegex(first, r"^2  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  SQL \(sql\): update mapping 2X$")
        self.assertIn("(command): import import pbxrouter init --sample", second)
        shown = self.good("changes", "show", "2").splitlines()
        self.assertEqual(
            shown[1:], ["  applications_mappings, map_id 2: changed", "    application_data: 'SIP' -> 'x\\x1b'"]
        )
        self.assertEqual(self.good("changes", "undo", "2"), "change 2: undone by change 3\n")
        self.assertEqual(self.rows("SELECT application_data FROM applications_mappings WHERE map_id = 2"), [("SIP",)])
        self.assertIn("already been undone", self.bad("changes", "undo", "2"))
        self.good("changes", "undo", "3")
        lines = self.good("changes").splitlines()
        self.assertTrue(lines[0].endswith("(command): undo of 3 mapping 2X"), lines[0])
        self.assertTrue(lines[2].endswith("update mapping 2X; undone by 3"), lines[2])

    def test_json(self) -> None:
        """As JSON an entry has the API's fields, and no secrets."""
        self.execute_sql("DELETE FROM users")
        (line,) = self.good("changes", "--json", "--who", "SQL", "--limit", "5").splitlines()
        listed = json.loads(line)
        self.assertEqual((listed["via"], listed["kind"], listed["can_be_undone"]), ("sql", "user", True))
        shown = json.loads(self.good("changes", "show", "2", "--json"))
        (change,) = shown["changes"]
        self.assertEqual(change["before"], {"user_id": "1", "user_name": "moises silva", "user_pin": "set"})
        self.assertEqual((change["after"], shown["rows"]), (None, 1))
        self.execute_sql("UPDATE extensions SET extension_number = '4' || extension_number; DELETE FROM extensions")
        self.assertIn("extensions, extension_id 1: deleted", self.good("changes", "show", "4"))

    def test_together(self) -> None:
        """Changes of keys in several tables, which need each other, are undone together or not at all."""
        query = "SELECT map_id FROM applications_mappings UNION ALL SELECT map_id FROM users_mappings"
        before = self.rows(query)
        self.execute_sql(
            "UPDATE applications_mappings SET map_id = map_id + 10 WHERE map_id <> 2;"
            "UPDATE users_mappings SET map_id = map_id + 10 WHERE map_id <> 2;"
        )
        self.assertIn("something that this change needs no longer exists", self.bad("changes", "undo", "3"))
        self.assertIn("there is no entry 99", self.bad("changes", "undo", "3", "2", "99"))
        self.assertEqual(
            self.good("changes", "undo", "2", "3"),
            "change 3: undone by change 4\nchange 2: undone by change 5\n",
        )
        self.assertEqual(self.rows(query), before)

    def test_refused(self) -> None:
        """A number too many, too few or unknown is named; an author without changes has none."""
        self.assertIn("take the number of a change", self.bad("changes", "undo"))
        self.assertIn("list takes none", self.bad("changes", "list", "7"))
        for action in ("show", "undo"):
            self.assertIn("there is no entry 99 in the audit log", self.bad("changes", action, "99"))
        result = run("changes", "--config", self.config, "--who", "nobody")
        self.assertEqual((result.exit_code, result.stdout, result.stderr), (0, "", "no changes\n"))
