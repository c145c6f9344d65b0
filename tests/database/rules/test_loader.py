"""Loading the rules from rows: PINs, limits of users, and rows that are left out."""

from __future__ import annotations

from pbxrouter.database.rules.loader import check_columns, read_rules
from pbxrouter.database.rules.mapping_edits import MappingValues
from pbxrouter.errors import StoreError
from pbxrouter.rules.model import Facts, User
from tests.database.postgresql import OnBothEngines, uncheck

HASH = "0123456789abcdef" * 4


class LoaderCase(OnBothEngines):
    """Test case with a database whose constraints are not checked."""

    def setUp(self) -> None:
        """An empty database, whose constraints are not checked."""
        self.connection = self.open(self.new_place(), timeout_s=0)
        uncheck(self.connection)

    def problems(self) -> list[str]:
        """The problems of the rules."""
        return [problem.english for problem in read_rules(self.connection, str).problems]

    def insert(self, table: str, **values: object) -> None:
        """Insert a row with SQL."""
        places = ", ".join(f":{name}" for name in values)
        self.connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})", values)
        self.connection.commit()


class LoaderTests(LoaderCase):
    """read_rules makes a RuleSet of the database's rows."""

    def test_grants_of_missing_rows(self) -> None:
        """Grants of or to missing rows are left out and named."""
        self.insert("applications_mappings", map_id=3, pattern=" 2X ", application_name=" dial ")
        self.insert("mappings_disabled", map_id=3)
        self.insert("extensions", extension_number=" 33 ")
        self.insert("users", user_name="ana", user_pin=HASH)
        for table, holder in (("extensions_mappings", "extension_id"), ("users_mappings", "user_id")):
            for holder_id, map_id in ((1, 3), (1, 9), (8, 3)):
                self.insert(table, **{holder: holder_id, "map_id": map_id})
        rules = read_rules(self.connection, str)
        ((_, mapping),) = rules.entries.values()
        self.assertEqual((mapping.pattern, mapping.application, mapping.data), ("2X", "dial", ""))
        self.assertFalse(mapping.enabled)
        self.assertEqual(rules.extensions, {"33": frozenset({3})})
        self.assertEqual([user.grants for user in rules.users], [frozenset({3})])
        self.assertEqual(len(self.problems()), 4)

    def test_a_hash_is_64_digits(self) -> None:
        """A hash is 64 hexadecimal digits in lower case; any other value is named as plain text."""
        for pin in (
            None,
            HASH,
            HASH[1:],
            f"{HASH}0",
            f"{HASH}\n",
            f" {HASH}",
            HASH.upper(),
            f"g{HASH[1:]}",
            "",
            "1234",
        ):
            self.connection.execute("DELETE FROM users")
            self.insert("users", user_name="ana", user_pin=pin)
            wrong = ["the PIN of user ana is in plain text and is ignored: set it with `pbxrouter pin`"]
            self.assertEqual(self.problems(), [] if pin in (None, HASH) else wrong, pin)

    def test_endpoint_of_a_number_that_is_there_twice(self) -> None:
        """Of two extensions with one number the first counts, with its endpoint."""
        for number, endpoint in (("33", "PJSIP/first"), (" 33", "PJSIP/second"), ("33 ", "PJSIP/third")):
            self.insert("extensions", extension_number=number)
            extension_id = self.connection.execute("SELECT max(extension_id) FROM extensions").fetchone()[0]
            self.insert("extensions_endpoints", extension_id=extension_id, endpoint=endpoint)
        self.assertEqual(dict(read_rules(self.connection, str).endpoints), {"33": "PJSIP/first"})

    def test_calls_at_once(self) -> None:
        """A user without a limit may have two calls at once; a limit counts for its user only."""
        for name, pin in (("ana", HASH), ("ben", HASH[::-1]), ("eva", None)):
            self.insert("users", user_name=name, user_pin=pin)
        for user_id, max_calls in ((2, 7), (3, 5)):
            self.insert("users_limits", user_id=user_id, max_calls=max_calls)
        users = read_rules(self.connection, str).users
        self.assertEqual(sorted((user.name, user.max_calls) for user in users), [("ana", 2), ("ben", 7)])
        self.assertEqual(User("ana", frozenset()).max_calls, 2)

    def test_other_numbers(self) -> None:
        """Leading zeros, a plus, other case and dashes are other numbers, as they are in a call."""
        numbers = ("33", "033", "+33", "3-3", "333", "alice", "Alice", "alice smith", "*33", "33#")
        for number in numbers:
            self.insert("extensions", extension_number=number)
        self.assertEqual(sorted(read_rules(self.connection, str).extensions), sorted(numbers))
        self.assertEqual(self.problems(), [])

    def test_one_name_twice(self) -> None:
        """A second user of a name, in whichever case, width and blanks, is named; both keep their PINs."""
        for name, pin in (("ana", HASH), ("Ana ", HASH[::-1]), ("\uff41na\u00a0", None), ("ann", None)):
            self.insert("users", user_name=name, user_pin=pin)
        self.assertEqual(
            self.problems(),
            [
                f"user {name} is there twice, in row 1 and row {row}: the history cannot tell them apart; rename one"
                for name, row in (("Ana", 2), ("\uff41na", 3))
            ],
        )
        self.assertEqual(len(read_rules(self.connection, str).users), 2)

    def test_one_number_twice(self) -> None:
        """Of '33' and '33 ' the first row counts alone, with its grants and endpoint; the second is named."""
        for map_id in (1, 2):
            self.insert("applications_mappings", map_id=map_id, pattern=f"{map_id}X", application_name="dial")
        for extension_id, number in ((1, "33"), (2, "33 "), (3, "34"), (4, "\t33"), (5, " 35")):
            self.insert("extensions", extension_id=extension_id, extension_number=number)
        for extension_id, map_id in ((1, 1), (2, 2), (4, 2), (5, 2)):
            self.insert("extensions_mappings", extension_id=extension_id, map_id=map_id)
        self.insert("extensions_endpoints", extension_id=2, endpoint="PJSIP/other")
        self.insert("extensions_endpoints", extension_id=5, endpoint="PJSIP/35")
        rules = read_rules(self.connection, str)
        self.assertEqual(rules.extensions, {"33": frozenset({1}), "34": frozenset(), "35": frozenset({2})})
        self.assertEqual(rules.endpoints, {"35": "PJSIP/35"})
        self.assertEqual({row: first for row, (first, _) in rules.repeated_extensions.items()}, {2: 1, 4: 1})
        self.assertEqual(
            self.problems(),
            [
                f"extension 33 is there twice: row {row} is ignored, with its grants and its endpoint; row 1 counts"
                for row in (2, 4)
            ],
        )

    def test_endpoints(self) -> None:
        """Endpoints have no blanks and Asterisk's technology; an unreadable one lets no call count as the extension."""
        self.insert("applications_mappings", map_id=1, pattern="2X", application_name="dial")
        for extension_id, endpoint in enumerate(("\tpjsip/33\n", "PJSIP/33", "PJSIP/ñ", "PJSIP/33-0000001a"), 1):
            self.insert("extensions", extension_id=extension_id, extension_number=str(extension_id))
            self.insert("extensions_endpoints", extension_id=extension_id, endpoint=endpoint)
            self.insert("extensions_mappings", extension_id=extension_id, map_id=1)
        rules = read_rules(self.connection, str)
        self.assertEqual(rules.endpoints, {"1": "PJSIP/33", "2": "PJSIP/33", "3": "PJSIP/ñ", "4": "PJSIP/33-0000001a"})
        self.assertEqual(
            self.problems(),
            [
                "no call counts as one of extension 3: PJSIP/ñ is not an endpoint; accepted is a technology and a "
                "name, such as PJSIP/33",
                "no call counts as one of extension 4: PJSIP/33-0000001a is a channel; accepted is its endpoint, "
                "PJSIP/33",
            ],
        )
        verdicts = [rules.decide(Facts(str(row), "21", endpoint="PJSIP/33")).verdict.value for row in range(1, 5)]
        self.assertEqual(verdicts, ["allow", "allow", "pin", "pin"])

    def test_columns(self) -> None:
        """A missing table fails the check, for each table of the rules."""
        # In the order of the queries: SQLite keeps one that it has explained, and does not read the tables again.
        for table in (
            "mappings_disabled",
            "applications_mappings",
            "extensions",
            "extensions_mappings",
            "users",
            "users_mappings",
            "extensions_endpoints",
        ):
            self.connection.execute(f"ALTER TABLE {table} RENAME TO away")
            self.assertRaises(StoreError, check_columns, self.connection)
            self.connection.execute(f"ALTER TABLE away RENAME TO {table}")
        check_columns(self.connection)

    def test_values_of_a_new_mapping(self) -> None:
        """A new mapping has no data and is enabled by default."""
        self.assertEqual(MappingValues("2X", "dial"), MappingValues("2X", "dial", "", True))


class OddLoaderTests(LoaderCase):
    """Rows of types that only SQLite stores in these columns, and text that PostgreSQL does not take."""

    engine = "SQLite"

    def test_one_number_in_other_spellings(self) -> None:
        """Tabs, other blanks, unseen characters and digits of other widths and scripts make no other extension."""
        self.insert("applications_mappings", map_id=1, pattern="1X", application_name="dial")
        self.insert("extensions", extension_id=1, extension_number="33")
        same: tuple[str | bytes, ...] = (
            "33 ",
            "\t33",
            "33\u00a0",
            "\u300033",
            "\uff13\uff13",
            "3\u200b3",
            "\ufeff33",
            "3 3",
            "33\r\n",
            "33\x00",
        )
        same += ("\u0663\u0663", "3\uff13", "\u00ad33", b"33\t", "\u2060\u0033\ufe0f3")
        for place, number in enumerate(same, 2):
            self.insert("extensions", extension_id=place, extension_number=number)
            self.insert("extensions_mappings", extension_id=place, map_id=1)
        rules = read_rules(self.connection, str)
        self.assertEqual(rules.extensions, {"33": frozenset()})
        self.assertEqual(
            {row: first for row, (first, _) in rules.repeated_extensions.items()}, dict.fromkeys(range(2, 17), 1)
        )
        self.assertEqual(len([line for line in self.problems() if "extension 33 is there twice" in line]), len(same))

    def test_mappings(self) -> None:
        """Mappings have no surrounding blanks, are in the order of their numbers, and keep their switch."""
        for number, pattern, data in ((3, " 3X ", None), (1, "1X", b"S\xff"), (2, "2X", 5)):
            self.insert(
                "applications_mappings", map_id=number, pattern=pattern, application_name=" dial ",
                application_data="" if data is None else data,
            )  # fmt: skip
        self.insert("mappings_disabled", map_id=2)
        found = [mapping for _, mapping in read_rules(self.connection, str).entries.values()]
        self.assertEqual(
            [(row.map_id, row.pattern, row.application, row.data, row.enabled) for row in found],
            [(1, "1X", "dial", "S\ufffd", True), (2, "2X", "dial", "5", False), (3, "3X", "dial", "", True)],
        )

    def test_what_is_left_out(self) -> None:
        """Mappings that are not text, and grants of or to missing rows, are left out and named."""
        self.insert("applications_mappings", map_id=1, pattern=b"2X", application_name="dial")
        self.insert("applications_mappings", map_id=2, pattern="2X", application_name=b"dial")
        self.insert("applications_mappings", map_id=3, pattern="2X", application_name="dial")
        self.insert("extensions", extension_number=" 33 ")
        self.insert("users", user_name="ana", user_pin=HASH)
        for table, holder in (("extensions_mappings", "extension_id"), ("users_mappings", "user_id")):
            for holder_id, map_id in ((1, 3), (1, 9), (8, 3)):
                self.insert(table, **{holder: holder_id, "map_id": map_id})
        rules = read_rules(self.connection, str)
        self.assertEqual(rules.extensions, {"33": frozenset({3})})
        self.assertEqual([user.grants for user in rules.users], [frozenset({3})])
        said = self.problems()
        for expected in (
            "mapping 1 is left out: its pattern or its application is not text",
            "mapping 2 is left out: its pattern or its application is not text",
        ):
            self.assertIn(expected, said)
        self.assertEqual(len(said), 6)
        for words in ("no mapping 9", "no extension 8", "no user 8"):
            self.assertTrue([line for line in said if words in line], words)
