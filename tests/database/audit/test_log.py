"""The audit log: changes are recorded and can be undone, on real files."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from pbxrouter import database
from pbxrouter.database.audit import (
    Actor,
    AuditSearch,
    changing,
    entry,
    find_entries,
    note,
    undo,
)
from pbxrouter.database.audit.entries import KINDS, MAX_SHOWN, NEVER_UNDONE
from pbxrouter.database.audit_triggers import TABLES
from pbxrouter.errors import DatabaseLocked, EditConflict, EditRefused, NotThere
from tests.database.postgresql import OnBothEngines

ANA = Actor("ana", "console")
EVA = Actor("eva", "api")
NEW = {"pattern": "2X", "application_name": "dial", "application_data": "SIP"}


class AuditCase(OnBothEngines):
    """Test case with a new database."""

    def setUp(self) -> None:
        """Create the database and connect to it."""
        self.connection: Any = self.open(self.new_place(), timeout_s=0)

    def insert(self, table: str = "applications_mappings", **values: Any) -> int:
        """Insert a row, recorded."""
        with changing(self.connection, ANA, 1.0, "create", "mapping", "2X") as change:
            return change.insert(table, values or NEW)

    def last(self) -> int:
        """The number of the newest entry."""
        return find_entries(self.connection, limit=1)[0].audit_id

    def rows(self, query: str) -> list[Any]:
        """The rows of a query."""
        found: list[Any] = self.connection.execute(query).fetchall()
        return found

    def alter(self, script: str, foreign_keys: bool = False) -> None:
        """Change the database with SQL."""
        if not self.is_sqlite:
            self.connection.run_script(script)
            self.connection.commit()
            return
        self.connection.execute(f"PRAGMA foreign_keys = {foreign_keys}")
        self.connection.executescript(script)
        self.connection.execute("PRAGMA foreign_keys = ON")

    def conflict(self, audit_id: int) -> str:
        """Check that an undo is refused; returns the message."""
        before = self.content()
        words = str(self.assertRaises(EditConflict, undo, self.connection, EVA, 9.0, audit_id))
        self.assertEqual(self.content(), before)
        return words

    def content(self) -> list[Any]:
        """All rows that an undo could touch."""
        tables = (*TABLES, "audit_log", "audit_rows")
        return [(table, sorted(map(repr, self.rows(f"SELECT * FROM {table}")))) for table in tables]


class ChangingTests(AuditCase):
    """Recording changes in the audit log."""

    def test_an_entry(self) -> None:
        """An entry has author, time and kind, and the row as stored, defaults included."""
        map_id = self.insert(pattern="2X", application_name="dial")
        (found,) = find_entries(self.connection)
        self.assertEqual((found.who, found.via, found.changed_at), ("ana", "console", 1.0))
        self.assertEqual((found.action, found.kind, found.name), ("create", "mapping", "2X"))
        self.assertEqual((found.undoes, found.undone_by, found.can_be_undone), (None, None, True))
        (change,) = entry(self.connection, found.audit_id).changes
        self.assertEqual((change.table, change.key), ("applications_mappings", {"map_id": str(map_id)}))
        self.assertIsNone(change.before)
        self.assertEqual((change.after or {})["application_data"], "")

    def test_nothing_changed(self) -> None:
        """A change to the same values is not recorded."""
        map_id = self.insert()
        with changing(self.connection, ANA, 2.0, "update", "mapping", "2X") as change:
            self.assertFalse(change.update("applications_mappings", map_id, NEW))
        self.assertIsNone(change.audit_id)
        self.assertEqual(len(find_entries(self.connection)), 1)

    def test_whole_or_not_at_all(self) -> None:
        """If a change fails in the middle, neither rows nor an entry are left."""
        with (
            self.assertRaises(ZeroDivisionError),
            changing(self.connection, ANA, 1.0, "create", "x") as change,
        ):
            change.insert("applications_mappings", NEW)
            raise ZeroDivisionError
        self.assertEqual(self.rows("SELECT * FROM applications_mappings"), [])
        self.assertEqual(find_entries(self.connection), [])
        self.assertFalse(self.connection.in_transaction)

    def test_constraints_in_words(self) -> None:
        """A violated constraint is an EditConflict that names the field."""
        self.insert("extensions", extension_number="33")
        error = self.assertRaises(EditConflict, self.insert, "extensions", extension_number="33")
        self.assertEqual((str(error), error.field), ("there is already an extension with this number", "number"))
        error = self.assertRaises(EditConflict, self.insert, "extensions_mappings", extension_id=1, map_id=9)
        self.assertIn("no longer exists", str(error))
        error = self.assertRaises(EditConflict, self.insert, "extensions", extension_number=" ")
        self.assertIn("extension_number_is_not_empty", str(error))

    def test_gone(self) -> None:
        """A row that is not there is neither changed nor deleted; nor is a number too large for SQLite."""
        for number in (77, 2**64, -(2**70)):
            with self.assertRaises(NotThere), changing(self.connection, ANA, 1.0, "update", "user") as change:
                change.update("users", number, {"user_name": "x"})
            with self.assertRaises(NotThere), changing(self.connection, ANA, 1.0, "delete", "user") as change:
                change.delete("users", number)

    def test_names_are_one_line(self) -> None:
        """Control characters in names are made visible, and long names cut."""
        with changing(self.connection, Actor("a\nb", "api"), 1.0, "create", "mapping", "\x1b[1m" * 100) as change:
            change.insert("applications_mappings", NEW)
        (found,) = find_entries(self.connection)
        self.assertEqual(found.who, "a\\nb")
        self.assertTrue(found.name.isprintable())
        self.assertEqual(len(found.name), 200)


class UndoTests(AuditCase):
    """Undoing changes by the audit log."""

    def test_each_way(self) -> None:
        """Creations, changes and deletions can be undone, and so can an undo."""
        map_id = self.insert()
        with changing(self.connection, ANA, 2.0, "update", "mapping", "3X") as change:
            change.update("applications_mappings", map_id, {"pattern": "3X"})
        with changing(self.connection, ANA, 3.0, "delete", "mapping", "3X") as change:
            change.delete("applications_mappings", map_id)
        query = "SELECT map_id, pattern FROM applications_mappings"
        states = []
        for audit_id in (3, 2, 1):
            undone = undo(self.connection, EVA, 9.0, audit_id)
            states.append(self.rows(query))
        self.assertEqual(states, [[(map_id, "3X")], [(map_id, "2X")], []])
        again = undo(self.connection, EVA, 9.5, undone)
        self.assertEqual(self.rows(query), [(map_id, "2X")])
        found = {audit_entry.audit_id: audit_entry for audit_entry in find_entries(self.connection)}
        self.assertEqual((found[1].undone_by, found[undone].undoes), (undone, 1))
        self.assertEqual((found[undone].undone_by, found[again].undoes), (again, undone))
        self.assertEqual((found[again].action, found[again].kind, found[again].name), ("undo", "mapping", "2X"))
        self.assertFalse(found[1].can_be_undone)

    def test_not_twice(self) -> None:
        """An entry can be undone once."""
        self.insert()
        undo(self.connection, EVA, 9.0, 1)
        self.assertEqual(self.conflict(1), "this change has already been undone")

    def test_changed_since(self) -> None:
        """An undo is refused if the row was changed since, in either direction."""
        map_id = self.insert()
        self.alter("UPDATE applications_mappings SET pattern = '4X'")
        self.assertIn("2X has been changed since", self.conflict(1))
        self.alter("DELETE FROM applications_mappings")
        self.assertIn("has been changed since", self.conflict(1))
        self.alter(f"INSERT INTO applications_mappings VALUES ({map_id}, 'dial', 'SIP', '2X')")
        with changing(self.connection, ANA, 2.0, "delete", "mapping", "2X") as change:
            change.delete("applications_mappings", map_id)
        self.alter(f"INSERT INTO applications_mappings VALUES ({map_id}, 'dial', 'SIP', '9X')")
        self.assertIn("has been changed since", self.conflict(2))

    def test_granted_since(self) -> None:
        """A creation cannot be undone while the row is granted or disabled."""
        map_id = self.insert()
        extension_id = self.insert("extensions", extension_number="33")
        grant = {"extension_id": extension_id, "map_id": map_id}
        self.insert("extensions_mappings", **grant)
        for audit_id in (1, 2):
            self.assertIn("granted or disabled since", self.conflict(audit_id))
        undo(self.connection, EVA, 9.0, 3)
        self.insert("mappings_disabled", map_id=map_id)
        self.assertIn("granted or disabled since", self.conflict(1))
        undo(self.connection, EVA, 9.0, 2)

    def test_what_it_needs_is_gone(self) -> None:
        """An undo is refused if a grant's extension is gone, or a name is taken by now."""
        map_id = self.insert()
        extension_id = self.insert("extensions", extension_number="33")
        self.insert("extensions_mappings", extension_id=extension_id, map_id=map_id)
        with changing(self.connection, ANA, 2.0, "revoke", "grant") as change:
            change.delete("extensions_mappings", 1)
        with changing(self.connection, ANA, 2.0, "delete", "extension", "33") as change:
            change.delete("extensions", extension_id)
        self.assertEqual(self.conflict(4), "something that this change needs no longer exists")
        self.insert("extensions", extension_number="33")
        self.assertEqual(self.conflict(5), "there is already an extension with this number")

    def test_grants_by_what_they_say(self) -> None:
        """A grant is found by its columns: another may have its number by now."""
        query = "SELECT extension_id, map_id FROM extensions_mappings ORDER BY 1"
        map_id = self.insert()
        for number in ("33", "34"):
            self.insert("extensions", extension_number=number)
        self.insert("extensions_mappings", extension_id=1, map_id=map_id)
        with changing(self.connection, ANA, 2.0, "revoke", "grant") as change:
            change.delete("extensions_mappings", 1)
        revoked = self.last()
        self.insert("extensions_mappings", extension_id=2, map_id=map_id)
        self.assertEqual(self.rows(query), [(2, map_id)])
        undo(self.connection, EVA, 9.0, revoked)
        self.assertEqual(self.rows(query), [(1, map_id), (2, map_id)])

    def test_refused_kinds(self) -> None:
        """Entries about access to the console and API, and imports, cannot be undone; each says why."""
        self.assertLessEqual(set(NEVER_UNDONE), set(KINDS))
        for kind in sorted(NEVER_UNDONE):
            with database.transaction(self.connection):
                number = note(self.connection, ANA, 1.0, "create", kind, "x")
            error = self.assertRaises(EditRefused, undo, self.connection, EVA, 9.0, number)
            self.assertIn("cannot be undone", str(error))
            self.assertNotIsInstance(error, EditConflict)
            self.assertFalse(entry(self.connection, number).entry.can_be_undone)

    def test_no_such_entry(self) -> None:
        """An entry that does not exist is named by its number."""
        for number in (7, 0, -1, 2**64):
            for error in (
                self.assertRaises(NotThere, undo, self.connection, EVA, 9.0, number),
                self.assertRaises(NotThere, entry, self.connection, number),
            ):
                self.assertIn(f"no entry {number} ", str(error))

    def test_entries_by_hand(self) -> None:
        """Unreadable entries, and unknown tables or columns, are refused and never executed."""
        self.insert()
        self.connection.execute("DELETE FROM audit_rows")
        good = '[{"table": "users", "key": {"user_id": 1}, "before": null, "after": %s}]'
        for text in (
            "",
            "{}",
            "[]",
            "[1]",
            "null",
            "[" * 5000,
            '[{"table": "sqlite_master", "key": {}, "before": null, "after": null}]',
            '[{"table": "users", "key": {"1=1 --": 1}, "before": null, "after": null}]',
            good % "null",
            good % '{"user_id": 1, "x; DROP TABLE users": 1}',
            good % '{"user_id": {"blob": "xx"}}',
            good % '{"user_id": {"other": "00"}}',
            good % '{"user_id": [1]}',
            good % "7",
        ):
            self.connection.execute("UPDATE audit_log SET changes = :text", {"text": text})
            self.connection.commit()
            self.conflict(1)
            self.assertLessEqual(entry(self.connection, 1).rows, 1)

    def test_rows_by_hand(self) -> None:
        """An entry with a row that cannot be read is refused as a whole, and shown without rows."""
        self.insert()
        self.insert(**{**NEW, "pattern": "3X"})
        ((audit_id,),) = self.rows("SELECT max(audit_id) FROM audit_log")
        before = self.rows("SELECT * FROM applications_mappings")
        for values in (
            "before = NULL, after = NULL",
            "table_name = 'sqlite_master'",
            "after = '['",
            "after = '[1]'",
        ):
            self.connection.execute(f"UPDATE audit_rows SET {values} WHERE audit_id = {audit_id}")
            self.connection.commit()
            self.assertEqual(self.conflict(audit_id), "the rows in this entry of the audit log cannot be read", values)
            shown = entry(self.connection, audit_id)
            self.assertEqual((shown.changes, shown.rows), ((), 0), values)
            self.assertEqual(self.rows("SELECT * FROM applications_mappings"), before)

    def test_an_entry_without_a_change(self) -> None:
        """An entry by hand whose row is the same before and after is refused: there is nothing to undo."""
        self.insert()
        ((after,),) = self.rows("SELECT after FROM audit_rows")
        change = {"table": "applications_mappings", "key": {"map_id": 1}, **dict.fromkeys(("before", "after"), after)}
        change = {name: json.loads(value) if name in {"before", "after"} else value for name, value in change.items()}
        self.connection.execute("UPDATE audit_log SET changes = :text", {"text": json.dumps([change])})
        self.connection.commit()
        self.assertIn("cannot be read", self.conflict(1))


class SQLiteValueTests(AuditCase):
    """Values that SQLite lets stand in a column of text."""

    engine: ClassVar[str] = "SQLite"

    def test_exactly(self) -> None:
        """BLOBs, text that is not UTF-8, NULLs and infinite numbers are restored exactly."""
        self.alter(
            "INSERT INTO applications_mappings VALUES"
            " (1, x'00ff', CAST(x'4d6f6973e973' AS TEXT), '2X'), (2, 'dial', x'', CAST(x'320058' AS TEXT)),"
            " (3, 'dial', '\N{GRINNING FACE}', 9e999);"
            "INSERT INTO mappings_disabled VALUES (1, x'ff'), (3, 'yesterday')"
        )
        query = (
            "SELECT map_id, typeof(application_name), hex(application_name), typeof(application_data),"
            " hex(application_data), typeof(pattern), hex(pattern), typeof(disabled_at), hex(disabled_at)"
            " FROM applications_mappings LEFT JOIN mappings_disabled USING (map_id)"
        )
        before = self.rows(query)
        with changing(self.connection, ANA, 2.0, "delete", "mapping") as change:
            for map_id in (1, 2, 3):
                change.delete("applications_mappings", map_id)
        self.assertEqual(self.rows(query), [])
        self.assertEqual(len(entry(self.connection, self.last()).changes), 5)
        undo(self.connection, EVA, 9.0, self.last())
        self.assertEqual(self.rows(query), before)

    def test_text_afterwards(self) -> None:
        """After a change a connection reads text as before, also from bytes that are not UTF-8."""
        self.alter("INSERT INTO applications_mappings VALUES (1, 'dial', CAST(x'4d6f6973e973' AS TEXT), '2X')")
        query = "SELECT application_data FROM applications_mappings"
        before = self.rows(query)
        self.assertEqual(before, [("Mois\ufffds",)])
        with changing(self.connection, ANA, 2.0, "update", "mapping") as change:
            change.update("applications_mappings", 1, {"pattern": "3X"})
        self.assertEqual(self.rows(query), before)
        undo(self.connection, EVA, 9.0, self.last())
        self.assertEqual(self.rows(query), before)


class ShownTests(AuditCase):
    """Reading and searching the audit log."""

    def test_pins(self) -> None:
        """An entry tells that a PIN is set or was changed, never the PIN or its hash."""
        self.insert("users", user_name="ana")
        for pin in ("a" * 64, "b" * 64, None):
            with changing(self.connection, ANA, 2.0, "pin", "user", "ana") as change:
                change.update("users", 1, {"user_pin": pin})
        with changing(self.connection, ANA, 3.0, "update", "user", "eva") as change:
            change.update("users", 1, {"user_name": "eva"})
        shown = []
        for number in range(1, 6):
            detail = entry(self.connection, number)
            self.assertNotIn("aaaa", repr(detail))
            self.assertNotIn("bbbb", repr(detail))
            (change_shown,) = detail.changes
            shown.append(((change_shown.before or {}).get("user_pin"), (change_shown.after or {})["user_pin"]))
        self.assertEqual(
            shown,
            [(None, "none"), ("none", "set"), ("set", "changed"), ("set", "none"), ("none", "none")],
        )
        self.assertEqual(undo(self.connection, EVA, 9.0, 5), 6)
        undo(self.connection, EVA, 9.0, 4)
        self.assertEqual(self.rows("SELECT user_pin FROM users"), [("b" * 64,)])

    def test_a_pin_that_stays(self) -> None:
        """A PIN that did not change is "set" before and after."""
        self.insert("users", user_name="ana", user_pin="c" * 64)
        with changing(self.connection, ANA, 3.0, "update", "user", "eva") as change:
            change.update("users", 1, {"user_name": "eva"})
        (shown,) = entry(self.connection, 2).changes
        self.assertEqual([(value or {})["user_pin"] for value in (shown.before, shown.after)], ["set", "set"])

    def test_secrets(self) -> None:
        """Hashes of passwords and tokens are left out."""
        self.insert("api_tokens", name="shop", token_hash="feedbeef")
        self.insert("console_users", login="ana", password_hash="$argon2id$x", role="admin", created_at=1.0)
        for number in (1, 2):
            text = repr(entry(self.connection, number))
            for secret in ("feedbeef", "argon2id", "token_hash", "password_hash"):
                self.assertNotIn(secret, text)
            self.assertIn("shop" if number == 1 else "admin", text)

    def test_search(self) -> None:
        """Entries are found by author, kind and time, page by page, newest first."""
        for second in range(30):
            actor, kind = ((ANA, "mapping"), (EVA, "user"), (EVA, "mapping"))[second % 3]
            with database.transaction(self.connection):
                note(self.connection, actor, float(second), "create", kind, str(second))

        def found(limit: int = 500, before_id: int | None = None, **search: Any) -> list[str]:
            return [
                audit_entry.name
                for audit_entry in find_entries(self.connection, AuditSearch(**search), limit, before_id)
            ]

        self.assertEqual(found(), [str(index) for index in reversed(range(30))])
        self.assertEqual(found(who="eva", kind="user"), [str(index) for index in range(28, 0, -3)])
        self.assertEqual(found(since=10.0, until=13.0), ["12", "11", "10"])
        self.assertEqual(found(who="ev"), [])
        self.assertEqual(found(who="\udcff"), [])
        first = find_entries(self.connection, AuditSearch(kind="mapping"), 7)
        later = find_entries(self.connection, AuditSearch(kind="mapping"), 7, first[-1].audit_id)
        self.assertEqual([row.name for row in first + later], found(kind="mapping")[:14])
        self.assertEqual(found(before_id=1), [])
        self.assertEqual(len(found(before_id=2**70)), 30)
        self.assertEqual(len(found(limit=0)), 1)

    def test_many_rows(self) -> None:
        """Of many rows the first are shown, with their number."""
        with changing(self.connection, ANA, 1.0, "create", "extension") as change:
            for number in range(MAX_SHOWN + 5):
                change.insert("extensions", {"extension_number": str(number)})
        detail = entry(self.connection, 1)
        self.assertEqual((len(detail.changes), detail.rows), (MAX_SHOWN, MAX_SHOWN + 5))

    def test_away(self) -> None:
        """A locked database is an error of one line."""
        other = self.open(database.place_of(self.connection), timeout_s=0)
        with database.transaction(other):
            self.assertRaises(DatabaseLocked, self.insert)
        self.insert()
