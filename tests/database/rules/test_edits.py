"""Editing the rules, on real files."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.database import Connection, is_sqlite
from pbxrouter.database import rules as edits
from pbxrouter.database.audit import (
    Actor,
    Edited,
    entry,
    find_entries,
    undo,
)
from pbxrouter.database.rules import MappingValues, holder_edits
from pbxrouter.database.rules.grant_edits import GrantsSet
from pbxrouter.database.rules.holders import Grant
from pbxrouter.database.rules.loader import read_rules
from pbxrouter.errors import EditConflict, EditRefused, NotThere, PinError
from pbxrouter.rules.applications import Applications
from pbxrouter.rules.model import Facts
from pbxrouter.text import Sentence, sentence
from tests.database.postgresql import OnBothEngines, change_by_hand, cluster, dump
from tests.databases import new_database

ANA = Actor("ana", "console")
TABLES = (
    "applications_mappings",
    "mappings_disabled",
    "extensions",
    "extensions_mappings",
    "extensions_endpoints",
    "users",
    "users_mappings",
)
DIAL = MappingValues("2X", "dial", "SIP")


def hash_pin(pin: str) -> str:
    """A readable stand-in for the hash of a PIN."""
    return pin.encode().hex().rjust(64, "0")


def state(connection: Connection) -> dict[str, list[Any]]:
    """All tables of the rules; those of SQLite with texts as their bytes with their type."""
    found: dict[str, list[Any]] = {}
    for table in TABLES:
        if not is_sqlite(connection):
            found[table] = connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
            continue
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        exact = ", ".join(f"typeof({column}), hex({column})" for column in columns)
        found[table] = connection.execute(f"SELECT {exact} FROM {table} ORDER BY 2, 4").fetchall()
    return found


class Strict(Applications):
    """Applications that do not accept bad data."""

    def data_problem(self, application: str, data: str) -> Sentence | None:
        """Refuse bad data."""
        return sentence("{data} is not accepted of {name}", data=data, name=application) if data == "bad" else None


class EditCase(OnBothEngines):
    """Test case with a new database."""

    def setUp(self) -> None:
        """Create the database and connect to it."""
        self.connection = self.open(self.new_place(), timeout_s=0)

    def do(self, edit: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """The value of one edit, by Ana at second 7.

        It leaves no transaction open, and returns its entry in the audit log if it made one.
        """
        before = self.newest()
        try:
            edited: Edited[Any] = edit(self.connection, ANA, 7.0, *arguments, **named)
        finally:
            self.assertFalse(self.connection.in_transaction)
        self.assertEqual(edited.audit_id, self.newest() if self.newest() != before else None)
        return edited.value

    def newest(self) -> int | None:
        """The number of the newest entry of the audit log."""
        found: int | None = self.connection.execute("SELECT max(audit_id) FROM audit_log").fetchone()[0]
        return found

    def refused(self, kind: type[Exception], edit: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Check that an edit is refused, with nothing changed or recorded; returns the error."""
        before = dump(self.connection)
        error = self.assertRaises(kind, self.do, edit, *arguments, **named)
        self.assertEqual(dump(self.connection), before)
        self.assertNotIn("\n", str(error))
        return error

    def entries(self) -> list[tuple[str, str, str]]:
        """The audit log, oldest first."""
        return [
            (audit_entry.action, audit_entry.kind, audit_entry.name)
            for audit_entry in reversed(find_entries(self.connection))
        ]

    def verdict(self, number: str, pin: str | None = None, caller: str = "33") -> str:
        """The verdict on a call."""
        return read_rules(self.connection, hash_pin).decide(Facts(caller, number, pin)).verdict.value

    def undo_last(self) -> None:
        """Undo the newest change."""
        undo(self.connection, ANA, 8.0, find_entries(self.connection)[0].audit_id)


class MappingTests(EditCase):
    """Editing mappings."""

    def test_life(self) -> None:
        """Creating, changing, disabling, enabling and deleting count for the rules and are recorded."""
        map_id = self.do(edits.add_mapping, MappingValues(" 2X ", " dial ", " SIP "))
        self.assertEqual(self.verdict("21"), "pin")
        self.do(edits.update_mapping, map_id, MappingValues("3X", "dial", "SIP"))
        self.assertEqual((self.verdict("21"), self.verdict("31")), ("invalid", "pin"))
        self.do(edits.set_enabled, map_id, False)
        self.do(edits.set_enabled, map_id, False)
        self.assertEqual(self.verdict("31"), "invalid")
        self.do(edits.set_enabled, map_id, True)
        self.assertEqual(self.verdict("31"), "pin")
        self.do(edits.update_mapping, map_id, MappingValues("3X", "dial", "SIP", enabled=False))
        self.do(edits.update_mapping, map_id, MappingValues("4X", "dial", "", enabled=True))
        self.do(edits.delete_mapping, map_id)
        self.assertEqual(
            self.entries(),
            [
                ("create", "mapping", "2X"),
                ("update", "mapping", "3X"),
                ("disable", "mapping", "3X"),
                ("enable", "mapping", "3X"),
                ("disable", "mapping", "3X"),
                ("update", "mapping", "4X"),
                ("delete", "mapping", "4X"),
            ],
        )
        self.assertGreater(self.do(edits.add_mapping, DIAL), map_id)

    def test_made_switched_off(self) -> None:
        """Creating a disabled mapping is one entry; its undo leaves nothing."""
        self.do(edits.add_mapping, MappingValues("2X", "dial", enabled=False))
        self.assertEqual(len(entry(self.connection, 1).changes), 2)
        self.assertEqual(self.verdict("21"), "invalid")
        self.undo_last()
        self.assertEqual({name: rows for name, rows in state(self.connection).items() if rows}, {})

    def test_delete_takes_all_along(self) -> None:
        """Deleting a mapping deletes its grants and its switch; an undo restores all under the same numbers."""
        map_id = self.do(edits.add_mapping, DIAL)
        extension_id = self.do(edits.add_extension, "33")
        user_id = self.do(edits.add_user, "ana", hash_pin("123"))
        for value in (Grant("extension", extension_id, map_id), Grant("user", user_id, map_id)):
            self.assertTrue(self.do(edits.grant, value))
        self.do(edits.set_enabled, map_id, False)
        for edit in (
            lambda: self.do(edits.delete_mapping, map_id),
            lambda: self.do(edits.delete_holder, "extension", extension_id),
            lambda: self.do(edits.delete_holder, "user", user_id),
        ):
            before = state(self.connection)
            edit()
            self.assertNotEqual(state(self.connection), before)
            self.undo_last()
            self.assertEqual(state(self.connection), before)

    def test_refused(self) -> None:
        """Each refusal has a message and a field."""
        for values, field, words in (
            (MappingValues("", "dial"), "pattern", "the pattern is empty"),
            (MappingValues("[12", "dial"), "pattern", "has a [ without its ]"),
            (MappingValues("2 X", "dial"), "pattern", "no dialled number can"),
            (MappingValues("2" * 81, "dial"), "pattern", "at most 80"),
            (MappingValues("2X\udc80", "dial"), "pattern", "no dialled number can"),
            (MappingValues("2X", " "), "application", "1 to 80 printable"),
            (MappingValues("2X", "d" * 81), "application", "1 to 80 printable"),
            (MappingValues("2X", "di\nal"), "application", "1 to 80 printable"),
            (MappingValues("2X", "dial", "x" * 256), "data", "at most 255 printable"),
            (MappingValues("2X", "dial", "SIP\r\nAction: Originate"), "data", "at most 255 printable"),
            (MappingValues("2X", "dial", "\ud800"), "data", "at most 255 printable"),
        ):
            map_id = self.do(edits.add_mapping, MappingValues(f"9{len(self.entries())}", "dial"))
            for arguments in ((edits.add_mapping,), (edits.update_mapping, map_id)):
                error = self.refused(EditRefused, *arguments, values)
                self.assertEqual(error.field, field, error)
                self.assertIn(words, str(error))

    def test_unworkable(self) -> None:
        """With the applications known, what no call could use is refused, and names what is accepted."""
        applications = Strict(["dial", "voicemail"])
        map_id = self.do(edits.add_mapping, MappingValues("2X", "DIAL", "good"), applications)
        for values, field, words in (
            (
                MappingValues("3X", "Fax"),
                "application",
                "no driver provides the application Fax; accepted are dial, voicemail",
            ),
            (MappingValues("2[5-1]", "dial"), "pattern", "2[5-1] matches no number that can be dialled"),
            (MappingValues("3X", "dial", "bad"), "data", "bad is not accepted of dial"),
        ):
            for error in (
                self.refused(EditRefused, edits.add_mapping, values, applications),
                self.refused(EditRefused, edits.update_mapping, map_id, values, applications=applications),
            ):
                self.assertEqual((error.field, str(error)), (field, words))
            self.do(edits.delete_mapping, self.do(edits.add_mapping, values))

    def test_bounds(self) -> None:
        """80 characters of a pattern and an application, 255 of data; surrounding blanks are left out."""
        longest = MappingValues("2" * 80, "d" * 80, "x" * 255)
        for values in (longest, MappingValues(f" {'2' * 80} ", f" {'d' * 80} ", f" {'x' * 255} ")):
            map_id = self.do(edits.add_mapping, values)
            row = self.connection.execute(
                "SELECT pattern, application_name, application_data FROM applications_mappings"
            )
            self.assertEqual(row.fetchall(), [("2" * 80, "d" * 80, "x" * 255)])
            self.do(edits.delete_mapping, map_id)
        for values, said in (
            (MappingValues("2X", ""), "an application is 1 to 80 printable characters"),
            (MappingValues("2X", "dial", "x" * 256), "the application's data has at most 255 printable characters"),
        ):
            self.assertEqual(str(self.refused(EditRefused, edits.add_mapping, values)), said)

    def test_conflicts(self) -> None:
        """Duplicates, and mappings that were changed or deleted meanwhile, are conflicts."""
        map_id = self.do(edits.add_mapping, DIAL)
        error = self.refused(EditConflict, edits.add_mapping, MappingValues("2X", "DIAL", "SIP"))
        self.assertEqual(
            (str(error), error.field),
            (f"mapping {map_id} already has this pattern, application and data", "pattern"),
        )
        other = self.do(edits.add_mapping, MappingValues("2X", "dial", "IAX2"))
        self.refused(EditConflict, edits.update_mapping, other, DIAL)
        self.do(edits.update_mapping, map_id, MappingValues("2X", "Dial", "SIP"))
        error = self.refused(EditConflict, edits.update_mapping, map_id, MappingValues("3X", "dial"), DIAL)
        self.assertEqual(error.sentence, Sentence("this was changed in the meantime; check it again"))
        self.do(
            edits.update_mapping,
            map_id,
            MappingValues("3X", "dial"),
            expected=MappingValues("2X", "Dial", "SIP"),
        )
        for number in (99, 2**64):
            self.refused(NotThere, edits.update_mapping, number, MappingValues("8X", "dial"))
            self.refused(NotThere, edits.set_enabled, number, True)
            self.refused(NotThere, edits.delete_mapping, number)


class HolderTests(EditCase):
    """Editing extensions and users."""

    def test_life(self) -> None:
        """Extensions and users are created, changed and deleted."""
        extension_id = self.do(edits.add_extension, " 033 ")
        self.do(edits.update_extension, extension_id, "034")
        self.do(edits.update_extension, extension_id, "034")
        user_id = self.do(edits.add_user, "Ana Peña")
        self.do(edits.update_user, user_id, "Ana Núñez")
        self.do(edits.delete_holder, "extension", extension_id)
        self.do(edits.delete_holder, "user", user_id)
        self.assertEqual(
            self.entries(),
            [
                ("create", "extension", "033"),
                ("update", "extension", "034"),
                ("create", "user", "Ana Peña"),
                ("update", "user", "Ana Núñez"),
                ("delete", "extension", "034"),
                ("delete", "user", "Ana Núñez"),
            ],
        )

    def test_refused(self) -> None:
        """Each invalid value has a message and its field; Asterisk's word for a missing number is not accepted."""
        extension_id, user_id = self.do(edits.add_extension, "1"), self.do(edits.add_user, "eva")
        for text in ("", "  ", "x" * 81, "3\n3", "\x00", "\udcff", "3\u202e3"):
            for field, arguments in (
                ("number", (edits.add_extension,)),
                ("number", (edits.update_extension, extension_id)),
                ("name", (edits.add_user,)),
                ("name", (edits.update_user, user_id)),
            ):
                error = self.refused(EditRefused, *arguments, text)
                self.assertEqual(error.field, field)
                self.assertIn("1 to 80 printable characters", str(error))
        error = self.refused(EditRefused, edits.add_extension, "unknown")
        self.assertEqual(error.field, "number")
        self.assertIn("callers without a number", str(error))
        self.assertTrue(self.do(edits.add_extension, "anonymous"))

    def test_numbers_that_no_call_shows(self) -> None:
        """A phone, blanks between digits and other signs are refused; names, as SIP users have them, are not."""
        extension_id = self.do(edits.add_extension, "1")
        for text in ("PJSIP/44", "4 4", "44;44", "44,45", "44@pbx", "44&45", "<44>", "4\u00a04", "44/"):
            for edit in ((edits.add_extension,), (edits.update_extension, extension_id)):
                error = self.refused(EditRefused, *edit, text)
                self.assertEqual(error.field, "number")
                self.assertRegex(str(error), "accepted|printable")
        for text in (" 44 ", "+4930", "*72", "#1", "ana.lopez", "núñez", "a_b-c"):
            self.do(edits.add_extension, text)

    def test_conflicts(self) -> None:
        """Numbers and names exist once, apart from surrounding blanks; deleted ones are conflicts."""
        self.connection.execute("INSERT INTO extensions VALUES (1, ' 33 ')")
        self.connection.execute("INSERT INTO users VALUES (1, 'ana ', NULL)")
        self.connection.commit()
        extension_id, user_id = self.do(edits.add_extension, "34"), self.do(edits.add_user, "eva")
        for field, text, arguments in (
            ("number", "33", (edits.add_extension,)),
            ("number", "34", (edits.add_extension,)),
            ("number", "33", (edits.update_extension, extension_id)),
            ("name", "ana", (edits.add_user,)),
            ("name", "eva", (edits.add_user,)),
            ("name", "ana", (edits.update_user, user_id)),
        ):
            error = self.refused(EditConflict, *arguments, text)
            self.assertEqual(error.field, field)
            self.assertIn("already", str(error))
        for number in (99, 2**64):
            self.refused(NotThere, edits.update_extension, number, "5")
            self.refused(NotThere, edits.update_user, number, "x")
            self.refused(NotThere, edits.set_user_pin, number, None)
            for kind in ("extension", "user"):
                self.refused(NotThere, edits.delete_holder, kind, number)
        self.refused(EditRefused, edits.delete_holder, "api_tokens", 1)

    def endpoints(self) -> list[tuple[int, str]]:
        """Endpoints to which extensions are tied."""
        return self.connection.execute("SELECT * FROM extensions_endpoints ORDER BY extension_id").fetchall()

    def test_endpoint(self) -> None:
        """An endpoint is set with its extension or later, changed and removed; each change can be undone."""
        extension_id = self.do(edits.add_extension, "33", " pjsip/33 ")
        self.assertEqual(self.endpoints(), [(extension_id, "PJSIP/33")])
        for changes in (
            {"endpoint": "PJSIP/33"},  # as it is
            {"endpoint": "SIP/desk"},
            {"number": "34"},
            {"number": "35", "endpoint": "PJSIP/35"},
            {"endpoint": ""},
            {"endpoint": " "},
            {},
        ):
            self.do(edits.update_extension, extension_id, **changes)
        self.assertEqual(self.endpoints(), [])
        self.assertEqual(
            self.entries(),
            [
                ("create", "extension", "33"),
                ("endpoint", "extension", "33"),
                ("update", "extension", "34"),
                ("update", "extension", "35"),
                ("endpoint", "extension", "35"),
            ],
        )
        for audit_id, endpoint in ((5, "PJSIP/35"), (4, "SIP/desk"), (3, "SIP/desk"), (2, "PJSIP/33")):
            undo(self.connection, ANA, 8.0, audit_id)
            self.assertEqual(self.endpoints(), [(extension_id, endpoint)])
        undo(self.connection, ANA, 8.0, 1)
        self.assertEqual({name: rows for name, rows in state(self.connection).items() if rows}, {})

    def test_endpoint_of_a_deleted_extension(self) -> None:
        """An endpoint is deleted and restored with its extension; an undo deletes none that was tied since."""
        extension_id = self.do(edits.add_extension, "33")
        self.do(edits.update_extension, extension_id, endpoint="PJSIP/33")
        before = state(self.connection)
        error = self.assertRaises(EditConflict, undo, self.connection, ANA, 8.0, 1)
        self.assertEqual(str(error), "33 has been tied, granted or disabled since, so this cannot be undone")
        self.do(edits.delete_holder, "extension", extension_id)
        self.assertEqual(self.endpoints(), [])
        self.undo_last()
        self.assertEqual(state(self.connection), before)

    def test_shared_endpoint(self) -> None:
        """Two extensions may be tied to one endpoint."""
        for number in ("33", "34"):
            self.do(edits.add_extension, number, "PJSIP/desk")
        self.assertEqual(read_rules(self.connection, hash_pin).endpoints, {"33": "PJSIP/desk", "34": "PJSIP/desk"})

    def test_wrong_endpoint(self) -> None:
        """A text that is no endpoint is refused, with what is accepted."""
        extension_id = self.do(edits.add_extension, "33")
        for text in (
            "33",
            "PJSIP",
            "PJSIP/",
            "/33",
            "PJSIP/3 3",
            "PJSIP/ñ",
            "PJSIP/3\n3",
            "Local/33@x",
            "P" * 90 + "/1",
        ):
            for arguments in ((edits.add_extension, "34", text), (edits.update_extension, extension_id, "33", text)):
                error = self.refused(EditRefused, *arguments)
                self.assertEqual(error.field, "endpoint")
                self.assertIn("accepted is a technology and a name, such as PJSIP/33", str(error))
        error = self.refused(EditRefused, edits.update_extension, extension_id, endpoint="PJSIP/33-0000001a")
        self.assertEqual(str(error), "PJSIP/33-0000001a is a channel; accepted is its endpoint, PJSIP/33")
        self.refused(NotThere, edits.update_extension, 99, endpoint="PJSIP/33")

    def test_other_blanks(self) -> None:
        """A tab around a number is ignored, as it is when the rules are loaded."""
        forty_four = "x'3434'" if self.is_sqlite else "'44'"  # as bytes
        self.connection.execute(f"INSERT INTO extensions (extension_number) VALUES ('33\t'), ({forty_four}), ('133')")
        self.connection.commit()
        self.connection.execute("INSERT INTO extensions (extension_number) VALUES ('\uff15\uff15'), ('6\u200b6')")
        self.connection.commit()
        for number in ("33", "44", "55", "66", "\uff13\uff13", "4 4"):
            self.refused(EditConflict, edits.add_extension, number)
        self.assertEqual(edits.extension_numbered(self.connection, "55 ").name, "\uff15\uff15")
        self.do(edits.add_extension, "13")

    def test_pins(self) -> None:
        """PINs are set, changed and removed; a PIN belongs to one user, and neither it nor its hash is shown."""
        map_id = self.do(edits.add_mapping, DIAL)
        ana = self.do(edits.add_user, "ana", hash_pin("0471"))
        self.do(edits.grant, Grant("user", ana, map_id))
        self.assertEqual(self.verdict("21", "0471"), "allow")
        self.do(edits.set_user_pin, ana, hash_pin("0815"))
        self.do(edits.set_user_pin, ana, hash_pin("0815"))
        self.assertEqual((self.verdict("21", "0471"), self.verdict("21", "0815")), ("deny", "allow"))
        eva = self.do(edits.add_user, "eva")
        for arguments in ((edits.set_user_pin, eva), (edits.add_user, "otto")):
            error = self.refused(PinError, *arguments, hash_pin("0815"))
            self.assertEqual(str(error), "this PIN cannot be used; choose another one")
        self.do(edits.set_user_pin, ana, None)
        self.assertEqual(self.verdict("21", "0815"), "deny")
        self.do(edits.set_user_pin, eva, hash_pin("0815"))
        self.assertEqual(self.entries().count(("pin", "user", "ana")), 2)
        error = self.assertRaises(EditConflict, undo, self.connection, ANA, 8.0, 5 + 1)
        self.assertEqual((str(error), error.field), ("this PIN cannot be used; choose another one", "pin"))
        shown = "".join(
            repr(entry(self.connection, audit_entry.audit_id)) for audit_entry in find_entries(self.connection)
        )
        for pin in ("0471", "0815"):
            self.assertNotIn(hash_pin(pin), shown)

    def test_words_and_bounds(self) -> None:
        """80 characters without surrounding blanks; each refusal word for word, in a Sentence that is translated."""
        for add, table, column in (
            (edits.add_extension, "extensions", "extension_number"),
            (edits.add_user, "users", "user_name"),
        ):
            self.do(add, f" {'x' * 80} ")
            rows = self.connection.execute(f"SELECT {column} FROM {table}").fetchall()
            self.assertEqual(rows, [("x" * 80,)])
        for add, text, said in (
            (
                edits.add_extension,
                "x" * 81,
                "an extension's number is 1 to 80 printable characters, as Asterisk shows the caller",
            ),
            (edits.add_user, "", "a user's name is 1 to 80 printable characters"),
            (
                edits.add_extension,
                "unknown",
                "unknown is the number that Asterisk uses for callers without a number; it cannot be an extension",
            ),
        ):
            error = self.refused(EditRefused, add, text)
            self.assertEqual(str(error), said)
            self.assertNotEqual(error.sentence.message, "{text}")

    def test_a_pin_of_the_same_user(self) -> None:
        """A user's own PIN can be set again; any number of users may have none."""
        one = self.do(edits.add_user, "ana", hash_pin("1111"))
        self.do(edits.set_user_pin, one, hash_pin("1111"))
        for name in ("eva", "otto"):
            self.do(edits.set_user_pin, self.do(edits.add_user, name), None)
        self.assertEqual(self.entries(), [("create", "user", name) for name in ("ana", "eva", "otto")])

    def test_own_pin(self) -> None:
        """A user changes the PIN on the phone with the old PIN, and the audit log says so."""
        old, new, other = (hash_pin(pin) for pin in ("1111", "2222", "3333"))
        ana, ben = self.do(edits.add_user, "ana", old), self.do(edits.add_user, "ben", other)
        for user_id, wrong in ((ana, other), (ana, new), (ben, old), (99, old)):
            error = self.assertRaises(
                EditConflict, holder_edits.change_own_pin, self.connection, 9.0, user_id, wrong, new
            )
            self.assertEqual(error.sentence, Sentence("the PIN has been changed meanwhile"))
        self.assertRaises(PinError, holder_edits.change_own_pin, self.connection, 9.0, ana, old, other)
        edited = holder_edits.change_own_pin(self.connection, 9.0, ana, old, new)
        newest = find_entries(self.connection)[0]
        self.assertEqual(
            (newest.audit_id, newest.who, newest.via, newest.action, newest.kind, newest.name, newest.changed_at),
            (edited.audit_id, "ana", "phone", "pin", "user", "ana", 9.0),
        )
        self.assertEqual(holder_edits.user_of_pin(self.connection, new), (ana, "ana"))
        self.assertEqual(holder_edits.user_of_pin(self.connection, other), (ben, "ben"))
        self.assertIsNone(holder_edits.user_of_pin(self.connection, old))

    def test_generated_pin(self) -> None:
        """A generated PIN has six digits and is accepted; if another user has it, another one is generated."""
        map_id = self.do(edits.add_mapping, DIAL)
        ana, eva = self.do(edits.add_user, "ana"), self.do(edits.add_user, "eva", "e" * 64)
        self.do(edits.grant, Grant("user", ana, map_id))
        pin = self.do(edits.generate_user_pin, ana, hash_pin)
        self.assertRegex(pin, r"\A[0-9]{6}\Z")
        self.assertEqual(self.verdict("21", pin), "allow")
        tried: list[str] = []

        def hash_badly(pin: str) -> str:
            tried.append(pin)
            return ("e" if len(tried) < 3 else "f") * 64

        self.assertEqual(self.do(edits.generate_user_pin, ana, hash_badly), tried[2])
        self.refused(PinError, edits.generate_user_pin, ana, lambda pin: "e" * 64)
        self.assertEqual(
            self.connection.execute("SELECT user_id FROM users WHERE user_pin = :pin", {"pin": "e" * 64}).fetchone(),
            (eva,),
        )


class GrantTests(EditCase):
    """Editing grants."""

    def setUp(self) -> None:
        """Add two mappings, extensions and users."""
        super().setUp()
        self.maps = [self.do(edits.add_mapping, MappingValues(value, "dial")) for value in ("2X", "3X")]
        self.extensions = [self.do(edits.add_extension, value) for value in ("33", "34")]
        self.users = [self.do(edits.add_user, value) for value in ("ana", "eva")]
        self.boxes = {
            Grant(kind, holder, map_id)
            for kind, holders in (("extension", self.extensions), ("user", self.users))
            for holder in holders
            for map_id in self.maps
        }

    def there(self) -> set[Grant]:
        """All grants in the database."""
        return {
            Grant(kind, *row)
            for kind, query in (
                ("extension", "SELECT extension_id, map_id FROM extensions_mappings"),
                ("user", "SELECT user_id, map_id FROM users_mappings"),
            )
            for row in self.connection.execute(query)
        }

    def test_one(self) -> None:
        """A grant is given and revoked once."""
        one = Grant("extension", self.extensions[0], self.maps[0])
        self.assertEqual([self.do(edits.grant, one), self.do(edits.grant, one)], [True, False])
        self.assertEqual((self.verdict("21"), self.verdict("31")), ("allow", "pin"))
        self.assertEqual([self.do(edits.revoke, one), self.do(edits.revoke, one)], [True, False])
        self.assertEqual(self.verdict("21"), "pin")
        self.assertEqual(self.entries()[6:], [("grant", "grant", "33 → 2X"), ("revoke", "grant", "33 → 2X")])

    def test_matrix(self) -> None:
        """Any set of grants becomes any other in one entry, and an undo restores it."""
        first = set(sorted(self.boxes)[:5])
        self.assertEqual(self.do(edits.set_grants, self.boxes, first), GrantsSet(5, 0))
        self.assertEqual(self.there(), first)
        second = set(sorted(self.boxes)[3:])
        self.assertEqual(self.do(edits.set_grants, self.boxes, second), GrantsSet(3, 3))
        self.assertEqual(self.there(), second)
        self.assertEqual(self.do(edits.set_grants, self.boxes, second), GrantsSet(0, 0))
        self.assertEqual([name for _, _, name in self.entries()[6:]], ["+5 -0", "+3 -3"])
        self.undo_last()
        self.assertEqual(self.there(), first)
        self.do(edits.set_grants, self.boxes, set())
        self.assertEqual(self.entries()[-1], ("revoke", "grant", "+0 -5"))

    def test_order_of_the_matrix(self) -> None:
        """The grants of an audit entry are sorted by kind, holder and mapping."""
        self.do(edits.set_grants, self.boxes, self.boxes)
        (latest,) = find_entries(self.connection, limit=1)
        rows = [change.after or {} for change in entry(self.connection, latest.audit_id).changes]
        given = [
            Grant(kind, int(row[column]), int(row["map_id"]))
            for row in rows
            for kind, column in (("extension", "extension_id"), ("user", "user_id"))
            if column in row
        ]
        self.assertEqual(given, sorted(self.boxes))

    def test_what_was_not_shown_stays(self) -> None:
        """Grants that others changed while the page was open stay as they are."""
        a, b, c, *_ = sorted(self.boxes)
        self.do(edits.grant, a)
        self.do(edits.set_grants, {b, c}, {b})
        self.assertEqual(self.there(), {a, b})
        # The page was shown with only a; meanwhile another user added b.
        self.do(edits.set_grants, {a, b, c}, {a, c}, was={a})
        self.assertEqual(self.there(), {a, b, c})
        error = self.refused(EditRefused, edits.set_grants, {a}, {a, b})
        self.assertIn("not shown", str(error))

    def test_gone(self) -> None:
        """A grant to a deleted mapping is refused, and no other change of the request is made."""
        good = Grant("user", self.users[0], self.maps[0])
        for bad in (
            Grant("user", 99, self.maps[0]),
            Grant("extension", self.extensions[0], 99),
            Grant("extension", 2**64, self.maps[0]),
        ):
            self.refused(NotThere, edits.set_grants, {good, bad}, {good, bad})
            self.refused(NotThere, edits.revoke, bad)
        self.refused(EditRefused, edits.grant, Grant("group", 1, 1))
        self.assertEqual(self.there(), set())

    def test_orphans(self) -> None:
        """Grants that SQL left behind are deleted together; valid ones stay."""
        self.do(edits.set_grants, self.boxes, self.boxes)
        nobody = "x'ff', 'x'" if self.is_sqlite else "77, 88"
        change_by_hand(
            self.connection,
            f"DELETE FROM extensions WHERE extension_id = {self.extensions[0]};"
            f"DELETE FROM applications_mappings WHERE map_id = {self.maps[1]};"
            f"INSERT INTO users_mappings (user_id, map_id) VALUES ({nobody})",
        )
        self.assertEqual(self.do(edits.delete_orphans), 6)
        self.assertEqual(self.do(edits.delete_orphans), 0)
        self.assertEqual(len(self.there()), 3)
        self.assertEqual(self.entries()[-1], ("revoke", "grant", "-6"))
        error = self.assertRaises(EditConflict, self.undo_last)
        self.assertIn("no longer exists", str(error))


ODD = """
INSERT INTO applications_mappings VALUES (1, x'00ff', CAST(x'4d6f6973e973' AS TEXT), '2X');
INSERT INTO applications_mappings VALUES (2, 'dial', 'SIP', CAST(x'2200' AS TEXT));
INSERT INTO mappings_disabled VALUES (2, x'ff');
INSERT INTO extensions VALUES (1, x'3333'), (2, CAST(x'33e9' AS TEXT));
INSERT INTO users VALUES (1, x'616e61', NULL), (2, 'ana', NULL);
INSERT INTO extensions_mappings VALUES (3, 1, 1), (9, 2, 2);
INSERT INTO users_mappings VALUES (7, 2, 1);
"""

EVEN = (
    "INSERT INTO applications_mappings VALUES (1, 'dial', 'Moisés', '2X'), (2, 'dial', 'SIP', '3X')",
    "INSERT INTO mappings_disabled VALUES (2, 'long ago')",
    "INSERT INTO extensions VALUES (1, '33'), (2, '3\u00e9')",
    "INSERT INTO users VALUES (1, 'ana', NULL), (2, 'ana', NULL)",
    "INSERT INTO extensions_mappings VALUES (3, 1, 1), (9, 2, 2)",
    "INSERT INTO users_mappings VALUES (7, 2, 1)",
)

_IDS = st.integers(1, 4)
_NAMES = st.sampled_from(["33", "34", "ana", "", "x\ny", "Zoë"])
_HASHES = st.sampled_from([None, "a" * 64, "b" * 64])
_VALUES = st.builds(
    MappingValues,
    st.sampled_from(["2X", "3X", "["]),
    st.sampled_from(["dial", "Dial"]),
    st.just(""),
    st.booleans(),
)
_BOXES = st.frozensets(st.builds(Grant, st.sampled_from(["extension", "user"]), _IDS, _IDS), max_size=6)
_KINDS = st.sampled_from(["extension", "user"])
_EDITS = st.one_of(
    st.tuples(st.just(edits.add_mapping), _VALUES),
    st.tuples(st.just(edits.update_mapping), _IDS, _VALUES),
    st.tuples(st.just(edits.set_enabled), _IDS, st.booleans()),
    st.tuples(st.just(edits.delete_mapping), _IDS),
    st.tuples(st.just(edits.add_extension), _NAMES),
    st.tuples(st.just(edits.update_extension), _IDS, _NAMES),
    st.tuples(st.just(edits.add_user), _NAMES, _HASHES),
    st.tuples(st.just(edits.update_user), _IDS, _NAMES),
    st.tuples(st.just(edits.set_user_pin), _IDS, _HASHES),
    st.tuples(st.just(edits.delete_holder), _KINDS, _IDS),
    _BOXES.flatmap(
        lambda boxes: st.tuples(
            st.just(edits.set_grants),
            st.just(boxes),
            st.frozensets(st.sampled_from(sorted(boxes))) if boxes else st.just(boxes),
        )
    ),
)


@contextmanager
def odd_database() -> Iterator[sqlite3.Connection]:
    """A database with rows that only SQL can make."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "odd.sqlite"
        new_database(path)
        with closing(database.connect(path)) as connection:
            connection.executescript(ODD)
            yield connection


class PropertyCase(SynchronousTestCase):
    """Properties of any edits."""

    def undo_all(self, connection: Connection, wanted: list[tuple[Any, ...]]) -> None:
        """Check that undoing edits in turn restores each earlier state, and undoing the undos the last one."""
        states = [state(connection)]
        for edit, *arguments in wanted:
            try:
                edit(connection, ANA, 1.0, *arguments)
            except (EditRefused, PinError):
                self.assertEqual(state(connection), states[-1])
            if state(connection) != states[-1]:
                states.append(state(connection))
        done = [row.audit_id for row in find_entries(connection) if row.via != "sql"]
        self.assertEqual(len(done), len(states) - 1)
        for audit_id, before in zip(done, reversed(states[:-1]), strict=True):
            undo(connection, ANA, 2.0, audit_id)
            self.assertEqual(state(connection), before)
        for undoing in find_entries(connection, limit=max(1, len(done)))[: len(done)]:
            undo(connection, ANA, 3.0, undoing.audit_id)
        self.assertEqual(state(connection), states[-1])


class PropertyTests(PropertyCase):
    """Properties of any edits in a database of SQLite."""

    @settings(max_examples=120, deadline=None)
    @given(st.lists(_EDITS, max_size=14))
    def test_all_undone_is_the_beginning(self, wanted: list[tuple[Any, ...]]) -> None:
        """Undoing all edits in turn restores each earlier state; undoing the undos restores the last one."""
        with odd_database() as connection:
            self.undo_all(connection, wanted)
            self.assertEqual(connection.execute("PRAGMA foreign_key_check").fetchall(), [])


class ServerPropertyTests(PropertyCase):
    """Properties of any edits in a database of PostgreSQL."""

    @settings(max_examples=20, deadline=None)
    @example([(edits.delete_mapping, 1)])
    @given(st.lists(_EDITS, max_size=14))
    def test_all_undone_is_the_beginning(self, wanted: list[tuple[Any, ...]]) -> None:
        """Undoing all edits in turn restores each earlier state; undoing the undos restores the last one."""
        server = cluster()
        place = server.new_database()
        try:
            with closing(database.connect(place)) as connection:
                for statement in EVEN:
                    connection.execute(statement)
                connection.commit()
                self.undo_all(connection, wanted)
        finally:
            server.drop(place)
