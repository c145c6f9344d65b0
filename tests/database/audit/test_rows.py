"""Rows for the audit log: their text, which are unchanged, and conflicts."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.database.audit import changing, find_entries
from pbxrouter.database.audit.entries import MAX_ENTRIES, entries_about
from pbxrouter.database.audit.rows import (
    HIDDEN,
    RawText,
    Recorded,
    explain_conflict,
    from_text,
    is_as_left,
    recorded,
    unreadable,
)
from pbxrouter.database.audit_triggers import TABLES
from pbxrouter.errors import EditConflict
from tests.database.audit.test_log import ANA, AuditCase


class TextTests(SynchronousTestCase):
    """Changes of rows as JSON."""

    def item(self, **other: object) -> str:
        """One change of an extension, with other parts."""
        change = {"table": "extensions", "key": {"extension_id": 1}, "before": None, "after": {"extension_id": 1}}
        return json.dumps([change | other])

    def test_there_and_back(self) -> None:
        """Each value of a row is read back with its type."""
        row = {"a": 1, "b": 1.5, "c": "x", "d": None, "e": b"\xff", "f": RawText(b"\xfe")}
        changes = [
            Recorded(TABLES["extensions"], {"extension_id": 1}, None, row),
            Recorded(TABLES["users_mappings"], {"user_id": 1, "map_id": b"2"}, row, None),
        ]
        written = {**row, "e": {"blob": "ff"}, "f": {"text": "fe"}}
        found = from_text(
            json.dumps(
                [
                    {"table": "extensions", "key": {"extension_id": 1}, "before": None, "after": written},
                    {
                        "table": "users_mappings",
                        "key": {"user_id": 1, "map_id": {"blob": "32"}},
                        "before": written,
                        "after": None,
                    },
                ]
            )
        )
        assert found is not None
        self.assertEqual(found, changes)
        after = found[0].after or {}
        self.assertEqual([type(value) for value in after.values()], [int, float, str, type(None), bytes, RawText])

    def test_a_key_is_all_columns_of_the_tables_key(self) -> None:
        """An entry whose key is not exactly the columns of the table's key cannot be read."""
        self.assertIsNotNone(from_text(self.item()))
        grant = {"table": "extensions_mappings", "after": None}
        keys: tuple[dict[str, Any], ...] = (
            {"key": {"extension_number": "33"}},
            {"key": {"extension_id": 1, "extension_number": "33"}},
            {"key": {}},
            {**grant, "key": {"ext_map_id": 1}},
            {**grant, "key": {"map_id": 1, "extension_id": 1}},
        )
        for parts in keys:
            self.assertIsNone(from_text(self.item(**parts)), parts)
        self.assertIsNotNone(from_text(self.item(**grant, key={"extension_id": 1, "map_id": 1})))

    def test_not_a_change(self) -> None:
        """An entry with parts missing or of another type cannot be read."""
        for parts in (
            {"table": "other"},
            {"before": 5},
            {"after": [1]},
            {"after": {"a": {"text": "0"}}},
            {"key": None},
        ):
            self.assertIsNone(from_text(self.item(**parts)), parts)
        for text in (None, 7, b"[", "", "[7]", '[{"table": "extensions"}]'):
            self.assertIsNone(from_text(text), text)
        self.assertEqual(from_text("[]"), [])


class RecordedTests(SynchronousTestCase):
    """Rows that the triggers wrote."""

    def test_read(self) -> None:
        """A row is read with its key, of what it was or of what it is."""
        row = '{"extension_id": 1, "extension_number": "33"}'
        values = {"extension_id": 1, "extension_number": "33"}
        self.assertEqual(
            [recorded("extensions", *texts) for texts in ((None, row), (row, None))],
            [
                Recorded(TABLES["extensions"], {"extension_id": 1}, None, values),
                Recorded(TABLES["extensions"], {"extension_id": 1}, values, None),
            ],
        )

    def test_neither(self) -> None:
        """A row that was not there before nor after is none of the triggers'."""
        self.assertRaises(ValueError, recorded, "extensions", None, None)
        self.assertRaises(KeyError, recorded, "sqlite_master", None, "{}")

    def test_hidden(self) -> None:
        """A secret that is not kept tells so where it is printed."""
        self.assertEqual(f"{HIDDEN!r}", "HIDDEN")


class UnchangedTests(SynchronousTestCase):
    """is_as_left compares a row with what a change left."""

    def test_number_of_a_grant(self) -> None:
        """A grant's number may differ, since it is not the grant's key; holder and mapping may not."""
        table = TABLES["extensions_mappings"]
        left = {"ext_map_id": 1, "extension_id": 2, "map_id": 3}
        self.assertTrue(is_as_left(table, left, left))
        self.assertTrue(is_as_left(table, {**left, "ext_map_id": 9}, left))
        self.assertTrue(is_as_left(table, {"extension_id": 2, "map_id": 3}, left))
        self.assertFalse(is_as_left(table, {**left, "extension_id": 9}, left))
        self.assertFalse(is_as_left(table, {**left, "map_id": 9}, left))

    def test_number_that_is_the_key(self) -> None:
        """A number that is the key may not differ."""
        left = {"extension_id": 1, "extension_number": "33"}
        self.assertTrue(is_as_left(TABLES["extensions"], left, left))
        self.assertFalse(is_as_left(TABLES["extensions"], {**left, "extension_id": 2}, left))

    def test_values(self) -> None:
        """A row with another value, another type or a missing value is changed; a further column is ignored."""
        table, left = TABLES["extensions"], {"extension_id": 1, "extension_number": "33"}
        for number in ("34", 33, b"33", RawText(b"33"), None):
            self.assertFalse(is_as_left(table, {"extension_id": 1, "extension_number": number}, left), number)
        self.assertFalse(is_as_left(table, {"extension_id": 1}, left))
        self.assertTrue(is_as_left(table, {**left, "note": "new"}, left))


class ConflictTests(AuditCase):
    """Violated constraints, with the field."""

    def said(self, table: str, **values: object) -> tuple[str, str | None]:
        """The conflict when a row is inserted twice."""
        self.insert(table, **values)
        error = self.assertRaises(EditConflict, self.insert, table, **values)
        return str(error), error.field

    def test_each_constraint(self) -> None:
        """The conflict names the value that is taken and its field."""
        self.assertEqual(
            self.said("users", user_name="ana", user_pin="a" * 64),
            ("this PIN cannot be used; choose another one", "pin"),
        )
        self.assertEqual(
            self.said("extensions", extension_number="33"),
            ("there is already an extension with this number", "number"),
        )
        self.assertEqual(
            self.said("console_users", login="ana", password_hash="h", role="admin", created_at=1.0),
            ("this login is already taken", "login"),
        )
        self.insert("api_tokens", name="shop", token_hash="g")
        error = self.assertRaises(EditConflict, self.insert, "api_tokens", name="shop", token_hash="h")
        self.assertEqual(
            (str(error), error.field),
            ("there is already a token with this name; revoke it or choose another name", "name"),
        )

    def test_a_grant_is_there_once(self) -> None:
        """A grant of an extension or a user that exists already is a conflict without a field."""
        self.insert()
        self.insert("extensions", extension_number="33")
        self.insert("users", user_name="ana")
        for table, holder in (("extensions_mappings", "extension_id"), ("users_mappings", "user_id")):
            self.assertEqual(self.said(table, **{holder: 1, "map_id": 1}), ("this grant already exists", ""))
            error = self.assertRaises(EditConflict, self.insert, table, **{holder: 1, "map_id": 9})
            self.assertEqual((str(error), error.field), ("something that this change needs no longer exists", ""))

    def test_others(self) -> None:
        """Any other constraint has SQLite's own message."""
        error = explain_conflict(sqlite3.IntegrityError("CHECK constraint failed: x"))
        self.assertEqual(str(error), "the database does not accept this: CHECK constraint failed: x")
        self.assertEqual(str(unreadable()), "the rows in this entry of the audit log cannot be read")


class EntryListTests(AuditCase):
    """The length of lists, and the names of entries."""

    def test_an_entry_without_name(self) -> None:
        """An entry without a name has an empty one."""
        with changing(self.connection, ANA, 1.0, "import", "import") as change:
            change.insert("extensions", {"extension_number": "33"})
        self.assertEqual(find_entries(self.connection)[0].name, "")

    def test_at_most_500(self) -> None:
        """A list has 50 entries, one about a row 10, unless more are asked for; at most 500, at least one."""
        map_id = self.insert()
        columns = "changed_at, who, via, action, kind, name, changes"
        self.connection.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 510)"
            f" INSERT INTO audit_log ({columns}) SELECT {columns} FROM audit_log, n"
        )
        self.connection.execute(
            "INSERT INTO audit_rows(audit_id, table_name, after, map_id)"
            " SELECT l.audit_id, table_name, after, map_id FROM audit_log AS l, audit_rows WHERE l.audit_id > 1"
        )
        self.connection.commit()
        self.assertEqual(MAX_ENTRIES, 500)
        for limit, count in ((None, 50), (10_000, 500), (501, 500), (500, 500), (499, 499), (1, 1), (0, 1), (-5, 1)):
            arguments: dict[str, Any] = {} if limit is None else {"limit": limit}
            self.assertEqual(len(find_entries(self.connection, **arguments)), count)
            found = entries_about(self.connection, "map_id", map_id, **arguments)
            self.assertEqual(len(found), 10 if limit is None else count)
            self.assertEqual(found[0].audit_id, 511)
