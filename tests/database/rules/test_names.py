"""Names and grants by numbers, and the audit log's entries that a page shows together."""

from __future__ import annotations

from pbxrouter.database import transaction
from pbxrouter.database.audit import (
    Actor,
    AuditSearch,
    find_entries,
    note,
)
from pbxrouter.database.audit.entries import details_of, entries_about
from pbxrouter.database.rules import (
    MappingValues,
    add_extension,
    add_mapping,
    add_user,
    delete_mapping,
    grant,
    update_mapping,
)
from pbxrouter.database.rules.holders import Grant
from pbxrouter.database.rules.names import granted_among, names_of
from tests.database.postgresql import OnBothEngines

ANA = Actor("ana", "console")
HUGE = 10**30


class RuleNamesTests(OnBothEngines):
    """Has a database with two mappings, an extension and a user."""

    def setUp(self) -> None:
        """Create a database with mappings and an extension."""
        self.connection = self.database()
        self.first = add_mapping(self.connection, ANA, 1.0, MappingValues("2X", "dial", "SIP")).value
        self.second = add_mapping(self.connection, ANA, 2.0, MappingValues("3X", "dial", "SIP")).value
        self.extension = add_extension(self.connection, ANA, 3.0, "33").value
        self.user = add_user(self.connection, ANA, 4.0, "Ana").value

    def test_names(self) -> None:
        """Names of existing rows are found."""
        for kind, number, name in (
            ("mapping", self.first, "2X"),
            ("extension", self.extension, "33"),
            ("user", self.user, "Ana"),
        ):
            self.assertEqual(names_of(self.connection, kind, [number, 999, HUGE, -HUGE]), {number: name})
            self.assertEqual(names_of(self.connection, kind, []), {})

    def test_grants(self) -> None:
        """Grants among the numbers asked for are found."""
        grant(self.connection, ANA, 5.0, Grant("extension", self.extension, self.first))
        grant(self.connection, ANA, 6.0, Grant("user", self.user, self.second))
        both = [self.first, self.second]
        self.assertEqual(
            granted_among(self.connection, "extension", [self.extension, HUGE], both),
            {(self.extension, self.first)},
        )
        self.assertEqual(granted_among(self.connection, "user", [self.user], both), {(self.user, self.second)})
        self.assertEqual(granted_among(self.connection, "user", [self.user], [self.first]), frozenset())
        self.assertEqual(granted_among(self.connection, "user", [], both), frozenset())

    def test_entries_about(self) -> None:
        """Entries about a row include those of its grants, also after it was deleted; no other row's."""
        grant(self.connection, ANA, 5.0, Grant("extension", self.extension, self.first))
        for index in range(10):
            add_mapping(self.connection, ANA, 6.0, MappingValues(f"9{index}", "dial"))
        # A text that looks like a row's number.
        lure = f'"map_id": {self.first}}} "map_id": {self.first},'
        update_mapping(self.connection, ANA, 7.0, self.second, MappingValues("3X", "dial", lure))
        delete_mapping(self.connection, ANA, 8.0, self.first)
        found = entries_about(self.connection, "map_id", self.first)
        self.assertEqual([entry.action for entry in found], ["delete", "grant", "create"])
        of_extension = entries_about(self.connection, "extension_id", self.extension)
        self.assertEqual([entry.action for entry in of_extension], ["delete", "grant", "create"])
        self.assertEqual([entry.kind for entry in entries_about(self.connection, "user_id", self.user)], ["user"])
        self.assertEqual(len(entries_about(self.connection, "map_id", self.first, limit=1)), 1)

    def test_details(self) -> None:
        """The details of many entries are read at once, without those of more than 20 000 characters."""
        with transaction(self.connection):
            number = note(self.connection, ANA, 9.0, "import", "import", "much")
            self.connection.execute(
                "UPDATE audit_log SET changes = :long WHERE audit_id = :id",
                {"long": " " * 19_999 + "[]", "id": number},
            )
        entries = find_entries(self.connection)
        details = details_of(self.connection, entries)
        self.assertEqual(set(details), {entry.audit_id for entry in entries} - {number})
        made = next(detail for detail in details.values() if detail.entry.name == "33")
        assert made.changes[0].after is not None
        self.assertEqual(made.changes[0].after["extension_number"], "33")
        self.assertEqual(details_of(self.connection, []), {})
        with transaction(self.connection):
            self.connection.execute("UPDATE audit_log SET changes = substr(changes, 2)")
        self.assertIn(number, details_of(self.connection, entries))

    def test_hidden_kinds(self) -> None:
        """Hidden kinds are left out, with and without other filters."""
        kinds = {entry.kind for entry in find_entries(self.connection, AuditSearch(hidden=frozenset({"user"})))}
        self.assertEqual(kinds, {"mapping", "extension"})
        search = AuditSearch(who="ana", kind="user", hidden=frozenset({"user", "token"}))
        self.assertEqual(find_entries(self.connection, search), [])
