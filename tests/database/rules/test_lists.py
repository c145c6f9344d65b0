"""Lists of the rules by pages, on real files."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from pbxrouter.database.paging import MAX_LIMIT, Page
from pbxrouter.database.rules import lists
from pbxrouter.database.rules.grant_lists import (
    OrphanGrant,
    Totals,
    find_orphans,
    matrix,
    totals,
)
from pbxrouter.database.rules.lists import (
    HolderRow,
    MappingRow,
    find_holders,
    find_mappings,
    holder,
    holders_of,
    mapping,
    mappings_of,
)
from pbxrouter.errors import EditRefused, NotThere
from tests.database.postgresql import OnBothEngines, change_by_hand, listen
from tests.databases import unrecorded
from tests.work import sql_steps

MANY = 100_000
MOST_STEPS = 50 * MANY
"""Of SQLite, for one page of MANY: each row may be passed once, not once for each other row."""


class ListCase(OnBothEngines):
    """Test case with a new database."""

    def setUp(self) -> None:
        """Create the database and connect to it."""
        self.connection = self.open(self.new_place(), timeout_s=0)

    def by_hand(self, script: str) -> None:
        """Change the database with SQL, with foreign keys unchecked."""
        change_by_hand(self.connection, script)

    def add(self, table: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
        """Insert rows into a table; the audit log does not have them."""
        places = ", ".join("?" * len(rows[0]))
        with unrecorded(self.connection):
            self.connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", rows)

    def patterns(self, search: str = "", **named: Any) -> list[str]:
        """The patterns on a page."""
        return [row.pattern for row in find_mappings(self.connection, search, **named).rows]

    def names(self, kind: str, search: str = "", **named: Any) -> list[str]:
        """The numbers or names on a page."""
        return [row.name for row in find_holders(self.connection, kind, search, **named).rows]

    def walk(self, page: Callable[..., Page[Any]], limit: int) -> list[Any]:
        """All rows, forward page by page; and the same pages backward."""
        pages = [page(limit=limit)]
        self.assertIsNone(pages[0].previous)
        while pages[-1].next is not None:
            pages.append(page(limit=limit, after=pages[-1].next))
        self.assertTrue(all(len(page.rows) == limit for page in pages[:-1]))
        back = [pages[-1]]
        while back[0].previous is not None:
            back.insert(0, page(limit=limit, before=back[0].previous))
        self.assertEqual([page.rows for page in back], [page.rows for page in pages])
        return [row for page in pages for row in page.rows]


class MappingListTests(ListCase):
    """Lists of mappings: order, search, pages."""

    def setUp(self) -> None:
        """Add mappings, extensions and grants."""
        super().setUp()
        self.add(
            "applications_mappings",
            "map_id, pattern, application_name, application_data",
            [
                (2, "2X", "dial", "SIP"),
                (3, "NXXXXXX", "Dial", "PJSIP/{number}@Proveedor_Ñandú"),
                (5, "66", "voicemail", ""),
                (8, "7%", "playback", "50%_off"),
                (9, "[*]7", "playback", "a\\b"),
            ],
        )
        self.add("extensions", "extension_number", [("33",), ("34",)])
        self.add("users", "user_name", [("ana",)])
        self.add("extensions_mappings", "extension_id, map_id", [(1, 2), (2, 2), (1, 5)])
        self.add("users_mappings", "user_id, map_id", [(1, 2)])
        self.add("mappings_disabled", "map_id", [(5,)])

    def test_rows(self) -> None:
        """A row has the mapping's values."""
        rows = find_mappings(self.connection).rows
        self.assertEqual(rows[0], MappingRow(2, "2X", "dial", "SIP", True, 2, 1))
        self.assertEqual(rows[2], MappingRow(5, "66", "voicemail", "", False, 1, 0))
        self.assertEqual(mapping(self.connection, 5), rows[2])

    def test_search(self) -> None:
        """A search looks in pattern, application and data, in any case; wildcards stand for themselves."""
        for search, found in (
            ("", [2, 3, 5, 8, 9]),
            ("  DIAL ", [2, 3]),
            ("sip", [2, 3]),
            ("nxx", [3]),
            ("ñANDÚ", [3]),
            ("_ñ", [3]),
            ("_Ñandu", []),
            ("%", [8]),
            ("_", [3, 8]),
            ("%_O", [8]),
            ("\\", [9]),
            ("[*", [9]),
            ("*", [9]),
            ("?", []),
            ("]", [9]),
            ("é?[", []),
            ("'; DROP TABLE users; --", []),
            ("2X\x00", [2]),
            ("\ud800", []),
            ("2" * 100_000, []),
        ):
            rows = find_mappings(self.connection, search).rows
            self.assertEqual([row.map_id for row in rows], found, search[:50])

    def test_enabled(self) -> None:
        """Enabled or disabled mappings can be listed, also with a search."""
        self.assertEqual(self.patterns(enabled=False), ["66"])
        self.assertEqual(self.patterns(enabled=True), ["2X", "NXXXXXX", "7%", "[*]7"])
        self.assertEqual(self.patterns("dial", enabled=False), [])

    def test_pages(self) -> None:
        """Pages go forward and backward with any limit; a deleted row does not shift them."""
        for limit in (1, 2, 4, 5, 6):
            self.assertEqual(len(self.walk(lambda **named: find_mappings(self.connection, **named), limit)), 5)
        self.assertEqual(self.patterns(after=4, limit=2), ["66", "7%"])
        self.assertEqual(self.patterns(before=4, limit=1), ["NXXXXXX"])
        self.assertEqual(self.patterns(before=2, limit=3), ["2X", "NXXXXXX", "66"])
        self.assertEqual(find_mappings(self.connection, after=9), Page((), None, None))
        self.assertEqual(self.patterns(after=2**70), [])
        self.assertEqual(len(self.patterns(limit=-3)), 1)

    def test_not_there(self) -> None:
        """A mapping that does not exist is named by its number."""
        for number in (4, 2**64):
            error = self.assertRaises(NotThere, mapping, self.connection, number)
            self.assertEqual(str(error), f"there is no mapping {number}")

    def test_grants(self) -> None:
        """Grants are listed by mapping and by holder."""
        self.assertEqual(
            holders_of(self.connection, 2, "extension").rows,
            (HolderRow("extension", 1, "33", False, 2), HolderRow("extension", 2, "34", False, 1)),
        )
        self.assertEqual([row.name for row in holders_of(self.connection, 2, "extension", "4").rows], ["34"])
        self.assertEqual([row.name for row in holders_of(self.connection, 2, "user").rows], ["ana"])
        self.assertEqual(list(holders_of(self.connection, 2**70, "user").rows), [])  # more than SQLite holds
        self.assertEqual(holders_of(self.connection, 99, "user").rows, ())
        self.assertEqual([row.pattern for row in mappings_of(self.connection, "extension", 1).rows], ["2X", "66"])
        self.assertEqual([row.map_id for row in mappings_of(self.connection, "extension", 1, "voice").rows], [5])
        self.assertEqual(len(self.walk(lambda **named: holders_of(self.connection, 2, "extension", **named), 1)), 2)
        self.assertEqual(len(self.walk(lambda **named: mappings_of(self.connection, "extension", 1, **named), 1)), 2)

    def test_totals(self) -> None:
        """Totals count the rows."""
        self.assertEqual(totals(self.connection), Totals(5, 2, 1, 4))


class HolderListTests(ListCase):
    """Lists of extensions and users."""

    def setUp(self) -> None:
        """Add a few, with users of one name."""
        super().setUp()
        self.add("extensions", "extension_number", [(value,) for value in ("34", "100", "alice", "33", "+5233")])
        self.add(
            "users",
            "user_name, user_pin",
            [("eva", "e" * 64), ("Ana Peña", None), ("eva", None), ("ANA PEÑA 2", None), ("eva", None)],
        )

    def test_order(self) -> None:
        """Extensions are sorted by number, users by name and then by id."""
        self.assertEqual(self.names("extension"), ["+5233", "100", "33", "34", "alice"])
        rows = find_holders(self.connection, "user").rows
        self.assertEqual(
            [(row.holder_id, row.has_pin) for row in rows if row.name == "eva"],
            [(1, True), (3, False), (5, False)],
        )
        self.assertEqual(rows[0].name, "ANA PEÑA 2")

    def test_pages(self) -> None:
        """Pages go forward and backward, also among users of one name."""
        for kind in ("extension", "user"):
            for limit in (1, 2, 3, 5, 6):
                rows = self.walk(lambda **named: find_holders(self.connection, kind, **named), limit)  # noqa: B023
                self.assertEqual(len({row.holder_id for row in rows}), 5)

    def test_a_place_that_is_gone(self) -> None:
        """A cursor of a deleted row starts the list again."""
        for after, before in ((77, None), (None, 77), (2**70, None)):
            self.assertEqual(self.names("extension", limit=1, after=after, before=before), ["+5233"])

    def test_search(self) -> None:
        """A search finds a part in any case, in any alphabet."""
        self.assertEqual(self.names("extension", "33"), ["+5233", "33"])
        self.assertEqual(self.names("extension", "+"), ["+5233"])
        self.assertEqual(self.names("user", "ana peña"), ["ANA PEÑA 2", "Ana Peña"])
        self.assertEqual(self.names("user", "Ñ"), ["ANA PEÑA 2", "Ana Peña"])
        self.assertEqual(self.names("user", "pena"), [])

    def test_endpoints(self) -> None:
        """Endpoints are listed with their extensions, and searched."""
        self.add("extensions_endpoints", "extension_id, endpoint", [(2, "PJSIP/desk"), (4, "PJSIP/33")])
        found = [(row.name, row.endpoint) for row in find_holders(self.connection, "extension").rows]
        self.assertEqual(found, [("+5233", ""), ("100", "PJSIP/desk"), ("33", "PJSIP/33"), ("34", ""), ("alice", "")])
        self.assertEqual(self.names("extension", "pjsip/d"), ["100"])
        self.assertEqual(holder(self.connection, "extension", 2).endpoint, "PJSIP/desk")

    def test_all_extensions(self) -> None:
        """All extensions are found, by number, also those behind the first page."""
        self.patch(lists, "MAX_LIMIT", 2)
        found = [row.name for row in lists.find_extensions(self.connection)]
        self.assertEqual(found, ["+5233", "100", "33", "34", "alice"])

    def test_by_number(self) -> None:
        """The row of a number is found as a call shows the number; of two such rows the first counts."""
        self.add("extensions", "extension_number", [("3 3",), ("\uff15\uff15",)])
        for number, row_id in (("33", 4), (" 3 3 ", 4), ("alice", 3), ("+5233", 5), ("55", 7)):
            self.assertEqual(lists.extension_numbered(self.connection, number).holder_id, row_id, number)
        for number in ("3", "ALICE", "5233", "99"):
            error = self.assertRaises(NotThere, lists.extension_numbered, self.connection, number)
            self.assertEqual(error.field, "number")
            self.assertEqual(str(error), f"{number} is not among the extensions; accepted is the number of one")

    def test_one(self) -> None:
        """A holder is found by kind and number."""
        self.assertEqual(holder(self.connection, "user", 1), HolderRow("user", 1, "eva", True, 0))
        self.assertEqual(holder(self.connection, "extension", 4).name, "33")
        error = self.assertRaises(NotThere, holder, self.connection, "user", 9)
        self.assertEqual(str(error), "there is no user 9")
        self.assertRaises(EditRefused, holder, self.connection, "group", 1)
        self.assertRaises(EditRefused, find_holders, self.connection, "group")


class MatrixTests(ListCase):
    """The matrix of mappings and holders."""

    def setUp(self) -> None:
        """Add many, with grants on a diagonal."""
        super().setUp()
        self.add("applications_mappings", "application_name, pattern", [("dial", f"{n:02}X") for n in range(40)])
        self.add("extensions", "extension_number", [(f"{n:03}",) for n in range(100)])
        self.add("users", "user_name", [("ana",)])
        self.add("extensions_mappings", "extension_id, map_id", [(n, n) for n in range(1, 41)])

    def test_first(self) -> None:
        """The first part is twelve by twenty-five, with the grants in it."""
        found = matrix(self.connection, "extension")
        self.assertEqual((len(found.mappings.rows), len(found.holders.rows)), (12, 25))
        self.assertEqual(found.granted, {(n, n) for n in range(1, 13)})
        self.assertEqual(matrix(self.connection, "user").granted, frozenset())

    def test_each_way(self) -> None:
        """Both axes have pages and a search of their own."""
        found = matrix(self.connection, "extension", mapping_after=12, holder_after=10, columns=3, rows=4)
        self.assertEqual([row.map_id for row in found.mappings.rows], [13, 14, 15])
        self.assertEqual([row.holder_id for row in found.holders.rows], [11, 12, 13, 14])
        self.assertEqual(found.granted, {(13, 13), (14, 14)})
        found = matrix(self.connection, "extension", mapping_search="09x", holder_search="009")
        self.assertEqual(found.granted, {(10, 10)})
        found = matrix(self.connection, "extension", mapping_before=3, holder_before=3)
        self.assertEqual(found.granted, {(1, 1), (2, 2)})

    def test_nothing(self) -> None:
        """An axis without rows has no grants."""
        found = matrix(self.connection, "extension", mapping_search="zz")
        self.assertEqual((found.mappings.rows, found.granted), ((), frozenset()))
        self.assertEqual(matrix(self.connection, "user", holder_search="zz").granted, frozenset())

    def test_largest(self) -> None:
        """The matrix may be as large as pages may be."""
        found = matrix(self.connection, "extension", columns=9999, rows=9999)
        self.assertEqual((len(found.mappings.rows), len(found.holders.rows), len(found.granted)), (40, 100, 40))


class OddTests(ListCase):
    """Rows that only SQL can make, in a database of SQLite."""

    engine = "SQLite"

    def setUp(self) -> None:
        """Add BLOBs, text that is not UTF-8, and grants to deleted rows."""
        super().setUp()
        self.by_hand(
            "INSERT INTO applications_mappings VALUES (1, x'00ff', CAST(x'4df3' AS TEXT), x'3258'),"
            " (2, 'dial', '', ' 2X ');"
            "INSERT INTO extensions VALUES (1, x'3333'), (2, CAST(x'33e9' AS TEXT)), (3, '33');"
            "INSERT INTO users VALUES (1, x'616e61', NULL);"
            "INSERT INTO extensions_mappings VALUES (1, 1, 1), (2, 3, 77), (3, 88, 2), (4, 'x', x'ff');"
            "INSERT INTO users_mappings VALUES (1, 1, 1), (2, 1, 99);"
        )

    def test_lists(self) -> None:
        """All rows are listed as text, page by page."""
        self.assertEqual(find_mappings(self.connection).rows[0].application, "\x00\ufffd")
        self.assertEqual(self.patterns(), ["2X", " 2X "])
        self.assertEqual(sorted(self.names("extension")), ["33", "33", "3\ufffd"])
        for limit in (1, 2):
            rows = self.walk(lambda **named: find_holders(self.connection, "extension", **named), limit)
            self.assertEqual({row.holder_id for row in rows}, {1, 2, 3})
        self.assertEqual(self.names("user"), ["ana"])
        self.assertEqual(holder(self.connection, "user", 1).name, "ana")
        self.assertEqual(mapping(self.connection, 1).data, "M\ufffd")
        for search in ("3", "é", "\x00"):
            self.names("extension", search)
            self.patterns(search)
        self.assertEqual(matrix(self.connection, "extension").granted, {(1, 1)})

    def test_orphans(self) -> None:
        """An orphaned grant names what is missing."""
        self.assertEqual(
            find_orphans(self.connection),
            [
                OrphanGrant("extension", 2, "33", False, "77", True),
                OrphanGrant("extension", 3, "88", True, " 2X ", False),
                OrphanGrant("extension", 4, "x", True, "\ufffd", True),
                OrphanGrant("user", 2, "ana", False, "99", True),
            ],
        )
        self.assertEqual(len(find_orphans(self.connection, 3)), 3)
        self.assertEqual(find_orphans(self.connection, 0), [])


class OrphanTests(ListCase):
    """Grants whose holder or mapping is gone."""

    def test_orphans(self) -> None:
        """An orphaned grant names what is missing, and what is there."""
        self.by_hand(
            "INSERT INTO applications_mappings VALUES (2, 'dial', '', '2X');"
            "INSERT INTO extensions VALUES (3, '33');"
            "INSERT INTO extensions_mappings VALUES (1, 3, 2), (2, 3, 77), (3, 88, 2), (4, 88, 77);"
            "INSERT INTO users_mappings VALUES (1, 1, 2)"
        )
        self.assertEqual(
            find_orphans(self.connection),
            [
                OrphanGrant("extension", 2, "33", False, "77", True),
                OrphanGrant("extension", 3, "88", True, "2X", False),
                OrphanGrant("extension", 4, "88", True, "77", True),
                OrphanGrant("user", 1, "1", True, "2X", False),
            ],
        )
        self.assertEqual(len(find_orphans(self.connection, 3)), 3)
        self.assertEqual(find_orphans(self.connection, 0), [])


class ManyTests(ListCase):
    """Lists with a hundred thousand rows of each kind, in a database of SQLite, whose work is counted."""

    engine = "SQLite"

    def test_at_once(self) -> None:
        """Any page and any search, found or not, takes few queries."""
        self.add(
            "applications_mappings",
            "application_name, application_data, pattern",
            [("dial", f"PJSIP/{{number}}@trunk{n % 50}", f"{n:06}X") for n in range(MANY)],
        )
        self.add("extensions", "extension_number", [(str(MANY + n),) for n in range(MANY)])
        self.add("users", "user_name", [(f"User {n} Pérez",) for n in range(MANY)])
        self.add(
            "extensions_mappings",
            "extension_id, map_id",
            [(n, 5 if n % 2 else n) for n in range(1, MANY + 1)],
        )
        self.add("users_mappings", "user_id, map_id", [(n, n) for n in range(1, MANY + 1)])
        statements: list[str] = []
        listen(self.connection, statements.append)
        for work in (
            lambda: find_mappings(self.connection),
            lambda: find_mappings(self.connection, after=MANY - 60),
            lambda: find_mappings(self.connection, before=MANY - 60),
            lambda: find_mappings(self.connection, "no such"),
            lambda: find_mappings(self.connection, enabled=False),
            lambda: find_holders(self.connection, "extension", after=MANY - 60),
            lambda: find_holders(self.connection, "extension", before=MANY - 60),
            lambda: find_holders(self.connection, "user", "PÉREZ", after=MANY // 2),
            lambda: find_holders(self.connection, "user", "éx"),
            lambda: holders_of(self.connection, 5, "extension"),
            lambda: holders_of(self.connection, 5, "extension", after=MANY - 60),
            lambda: holders_of(self.connection, 5, "extension", "no such"),
            lambda: mappings_of(self.connection, "user", 50),
            lambda: matrix(self.connection, "extension"),
            lambda: matrix(self.connection, "user", mapping_search="no such", holder_search="no such"),
            lambda: find_orphans(self.connection),
            lambda: totals(self.connection),
        ):
            statements.clear()
            assert isinstance(self.connection, sqlite3.Connection)
            steps = sql_steps(self.connection, work)
            selects = [statement for statement in statements if statement.startswith("SELECT")]
            self.assertLessEqual(len(selects), 5, selects)
            self.assertLess(steps, MOST_STEPS, selects)
        self.assertEqual(len(find_mappings(self.connection, limit=9999).rows), MAX_LIMIT)


class LimitTests(ListCase):
    """How many rows a page has by default."""

    def setUp(self) -> None:
        """Add sixty mappings, extensions and users, each granted to and with each."""
        super().setUp()
        self.add("applications_mappings", "map_id, pattern, application_name", [(n, f"{n}", "x") for n in range(1, 61)])
        self.add("extensions", "extension_number", [(f"{n}",) for n in range(1, 61)])
        self.add("users", "user_name", [(f"{n}",) for n in range(1, 61)])
        for kind in ("extension", "user"):
            pairs = [(1, n) for n in range(1, 61)] + [(n, 1) for n in range(2, 61)]
            self.add(f"{kind}s_mappings", f"{kind}_id, map_id", pairs)

    def test_fifty(self) -> None:
        """Mappings, extensions, users and the grants of one have fifty rows a page."""
        pages: tuple[Page[Any], ...] = (
            find_mappings(self.connection),
            *(find_holders(self.connection, kind) for kind in ("extension", "user")),
            *(holders_of(self.connection, 1, kind) for kind in ("extension", "user")),
            *(mappings_of(self.connection, kind, 1) for kind in ("extension", "user")),
        )
        for page in pages:
            self.assertEqual(len(page.rows), 50)
            self.assertIsNotNone(page.next)

    def test_fifty_orphans(self) -> None:
        """Orphaned grants of extensions and users together have fifty rows."""
        self.by_hand("DELETE FROM applications_mappings WHERE map_id > 30")
        found = find_orphans(self.connection)
        self.assertEqual([orphan.kind for orphan in found], ["extension"] * 30 + ["user"] * 20)
        self.assertEqual(len(find_orphans(self.connection, 31)), 31)

    def test_matrix(self) -> None:
        """The matrix has twelve columns and twenty-five rows."""
        found = matrix(self.connection, "user")
        self.assertEqual((len(found.mappings.rows), len(found.holders.rows)), (12, 25))


class SearchTests(ListCase):
    """Bounds of pages and of a search."""

    def test_most_rows(self) -> None:
        """A page has at least one row and at most 500."""
        self.add("extensions", "extension_number", [(f"{n:04}",) for n in range(502)])
        for limit, count in ((-1, 1), (0, 1), (1, 1), (499, 499), (500, 500), (501, 500)):
            self.assertEqual(len(self.names("extension", limit=limit)), count)

    def test_longest_search(self) -> None:
        """200 characters are searched for, without surrounding blanks and NULs; the rest is ignored."""
        self.add("users", "user_name", [("x" * 199,), ("x" * 200,), ("y",)])
        for search, count in (
            ("x" * 199, 2),
            ("x" * 200, 1),
            ("x" * 200 + "y", 1),
            (" \0y ", 1),
            ("\0", 3),
            ("\udcff", 0),
        ):
            self.assertEqual(len(self.names("user", search)), count, search)

    def test_signs(self) -> None:
        """Wildcards of LIKE and GLOB stand for themselves, also beside letters that are not ASCII."""
        names = ["50%", "50_", "5\\0", "é*", "é?", "é[x]", "É-", "ß"]
        self.add("users", "user_name", [(name,) for name in names])
        for search, found in (
            ("%", ["50%"]),
            ("_", ["50_"]),
            ("\\", ["5\\0"]),
            ("é*", ["é*"]),
            ("É?", ["é?"]),
            ("É[X]", ["é[x]"]),
            ("é", ["é*", "é?", "é[x]", "É-"]),
            ("ß", ["ß"]),
            ("é%", []),
        ):
            self.assertEqual(sorted(self.names("user", search)), sorted(found), search)
