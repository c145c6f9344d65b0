"""The import of the workshop's tables: from SQL text, from SQLite files, into a pbxrouter database."""

from __future__ import annotations

import os
import random
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.config.schema import TECHNOLOGIES, Config
from pbxrouter.database import Connection
from pbxrouter.database.audit import Actor, find_entries, undo
from pbxrouter.database.rules.holder_edits import set_pin
from pbxrouter.database.rules.loader import read_rules
from pbxrouter.database.rules.sample import add_sample
from pbxrouter.drivers import DriverApplications, load_drivers
from pbxrouter.errors import ImportRefused
from pbxrouter.rules.model import Facts
from pbxrouter.workshop import ImportReport, WorkshopTables, import_tables, read_file, read_sql, read_sqlite
from tests import databases
from tests.database.postgresql import OnBothEngines, change_by_hand

ROOT = Actor("root", "command")

# Word for word as the workshop has it, with the marks of a code block in it.
WORKSHOP = """\
```
BEGIN TRANSACTION;
```

```

CREATE TABLE applications_mappings (map_id INTEGER PRIMARY KEY, application_name VARCHAR(10), application_data
VARCHAR(10), pattern VARCHAR(30));
INSERT INTO "applications_mappings" VALUES(1, 'dial', 'IAX2', '3X');
INSERT INTO "applications_mappings" VALUES(2, 'dial', 'SIP', '2X');
INSERT INTO "applications_mappings" VALUES(3, 'dial', 'Zap', 'XXXXXXXX');
INSERT INTO "applications_mappings" VALUES(4, 'voicemail', '', '66');
INSERT INTO "applications_mappings" VALUES(5, 'conference', '', '7X');
CREATE TABLE extensions (extension_id INTEGER PRIMARY KEY, extension_number INTEGER);
INSERT INTO "extensions" VALUES(1, 33);
CREATE TABLE extensions_mappings (ext_map_id INTEGER PRIMARY KEY, extension_id INTEGER, map_id INTEGER);
INSERT INTO "extensions_mappings" VALUES(1, 1, 2);
CREATE TABLE users (user_id INTEGER PRIMARY KEY, user_name VARCHAR(30), user_pin INTEGER);
INSERT INTO "users" VALUES(1, 'moises silva', 123456);
CREATE TABLE users_mappings (usr_map_id INTEGER PRIMARY KEY, user_id INTEGER, map_id INTEGER);
INSERT INTO "users_mappings" VALUES(1, 1, 1);
INSERT INTO "users_mappings" VALUES(2, 1, 2);
INSERT INTO "users_mappings" VALUES(3, 1, 4);
INSERT INTO "users_mappings" VALUES(4, 1, 5);
COMMIT;

```
"""
CREATES = "\n".join(re.findall(r"CREATE[^;]*;", WORKSHOP))
TABLES = ("applications_mappings", "extensions", "extensions_mappings", "users", "users_mappings")


def hash_pin(pin: str) -> str:
    """A readable stand-in for the hash of a PIN."""
    return f"{abs(hash(('key', pin))):064x}"


def sql_with(*statements: str) -> WorkshopTables:
    """The five empty tables, followed by these statements."""
    return read_sql(CREATES + "\n" + ";\n".join(statements), "w.sql")


@contextmanager
def new_database() -> Iterator[Connection]:
    """A pbxrouter database of SQLite, closed at the end of the block."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "p.sqlite")
        databases.new_database(path)
        with closing(database.connect(path)) as connection:
            yield connection


def rows_of(connection: Connection) -> dict[str, list[tuple[object, ...]]]:
    """All rows of the five tables and of imports."""
    return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in (*TABLES, "imports")}


_USERS = b"CREATE TABLE users (user_id INTEGER PRIMARY KEY, user_name, user_pin);\n"


class SqlTests(SynchronousTestCase):
    """Reading the tables from SQL text."""

    def refused(self, text: str) -> str:
        """Check that reading fails; returns the one line."""
        line = str(self.assertRaises(ImportRefused, read_sql, text, "w.sql"))
        self.assertNotIn("\n", line)
        self.assertTrue(line.startswith("w.sql"), line)
        return line

    def test_word_for_word(self) -> None:
        """The workshop's own text is read."""
        tables = read_sql(WORKSHOP)
        self.assertEqual(tables.mappings[2], (3, "dial", "Zap", "XXXXXXXX"))
        self.assertEqual(tables.extensions, ((1, "33"),))
        self.assertEqual(tables.extension_grants, ((1, 2),))
        self.assertEqual(tables.users, ((1, "moises silva", "123456"),))
        self.assertEqual(tables.user_grants, ((1, 1), (1, 2), (1, 4), (1, 5)))
        self.assertNotIn("123456", repr(tables))

    def test_other_hands(self) -> None:
        """Other line ends, comments, named columns, several rows in one statement and missing semicolons are read."""
        expected = read_sql(WORKSHOP)
        without = WORKSHOP.replace("BEGIN TRANSACTION;", "").replace("COMMIT;", "")
        for text in (
            WORKSHOP.replace("\n", "\r\n"),
            "\ufeff" + WORKSHOP,
            without.rstrip("`\n ").rstrip(";"),
            "-- it's a comment; 'open\n/* another; ' */\n" + WORKSHOP,
            WORKSHOP.replace('"users"', "USERS").replace("CREATE TABLE users ", "create table if not exists [Users]"),
            WORKSHOP.replace(
                "VALUES(1, 'moises silva', 123456)", "(user_pin, user_name) VALUES ('123456', 'moises silva')"
            ),
            re.sub(r'\(3, 1, 4\);\nINSERT INTO "users_mappings" VALUES', "(3, 1, 4), ", WORKSHOP),
            "PRAGMA foreign_keys=OFF;\nDROP TABLE IF EXISTS users;\n" + WORKSHOP + "CREATE INDEX i ON users(user_pin);",
            WORKSHOP.replace("COMMIT;", "UPDATE users SET user_pin = 123456 WHERE user_id = 1; END;"),
            WORKSHOP.replace(
                "COMMIT;",
                "INSERT INTO extensions(extension_number) SELECT user_pin FROM users;"
                "DELETE FROM extensions WHERE extension_number LIKE '1%';",
            ),
        ):
            self.assertEqual(read_sql(text), expected, text)

    def test_leading_zeros(self) -> None:
        """Leading zeros are kept, with quotes or without, also in columns declared INTEGER."""
        tables = sql_with(
            "INSERT INTO users VALUES(1, 'ana', 0123), (2, 'eva', '0042'), (3, 'ida', 0)",
            "INSERT INTO extensions VALUES(01, 033)",
            "INSERT INTO extensions_mappings VALUES(1, 01, 002)",
        )
        self.assertEqual([pin for _, _, pin in tables.users], ["0123", "0042", "0"])
        self.assertEqual(tables.extensions, ((1, "033"),))
        self.assertEqual(tables.extension_grants, ((1, 2),))

    @given(st.text("0123456789", min_size=1, max_size=30), st.booleans())
    def test_any_digits_stay(self, digits: str, quoted: bool) -> None:
        """Any number of digits and zeros is kept."""
        literal = f"'{digits}'" if quoted else digits
        tables = sql_with(f"INSERT INTO users VALUES(1, 'ana', {literal})")
        self.assertEqual(tables.users, ((1, "ana", digits),))

    def test_odd_values(self) -> None:
        """NULL, blanks, floats and blobs are read."""
        tables = sql_with(
            "INSERT INTO extensions VALUES(1, NULL), (2, ' 33 '), (3, 33.0), (4, x'3333'), (5, 3.5), (6, lower('A'))"
        )
        self.assertEqual([number for _, number in tables.extensions], [None, "33", "33", "33", "3.5", "a"])

    def test_defaults(self) -> None:
        """A DEFAULT of the source is used."""
        text = WORKSHOP.replace("application_data\nVARCHAR(10)", "application_data VARCHAR(10) DEFAULT 'SIP'")
        tables = read_sql(text + "INSERT INTO applications_mappings(application_name, pattern) VALUES ('dial', '8X');")
        self.assertEqual(tables.mappings[-1], (6, "dial", "SIP", "8X"))

    def test_errors_name_the_line(self) -> None:
        """The error names the line and the beginning of the statement, without any value."""
        text = WORKSHOP.replace("'moises silva', 123456", "'moises silva', 471147 11")
        self.assertEqual(self.refused(text), 'w.sql, line 19: INSERT INTO "users" VALUES: SQLite cannot read it')
        text = WORKSHOP.replace("'moises silva', 123456", "'moises silva', 471147, 1")
        self.assertIn("has 3 columns but 4 values", self.refused(text))

    def test_no_pin_in_any_error(self) -> None:
        """No error in the statement with a PIN shows it."""
        for statement in (
            "INSERT INTO users VALUES(1, 'ana' 471147)",
            "INSERT INTO users VALUES(1, 'ana', 471147",
            "INSERT INTO users VALUES(1, 'ana', '471147)",
            "INSERT INTO users VALUES(1, 'ana', 471147x)",
            "INSERT INTO users VALUES(1, 'ana', `471147`)",
            "INSERT INTO users VALUES(1, 'ana', [471147])",
            "INSERT INTO users VALUES(1, 'ana', #471147)",
            "INSERT INTO users(user_id, [471147]) VALUES(1, 2)",
            "INSERT INTO users VALUES(1, 'ana', abs('471147', 1))",
            "INSERT INTO users VALUES(1, 'ana', t471147.x)",
            "INSERT INTO users VALUES(1, 'ana', f471147())",
            "INSERT INTO p471147 VALUES(1, 'ana')",
            "INSERT INTO users VALUES(1, 'ana', 471147); INSERT INTO users VALUES(1, 'eva', 471147)",
            "471147",
            "CREATE TABLE users (user_id, user_name, c471147)",
            "CREATE TABLE IF NOT EXISTS p471147 (user_id)",
            "INSERT INTO users VALUES(1, 'ana', '\0471147')",
        ):
            error = self.assertRaises(ImportRefused, sql_with, statement)
            self.assertNotIn("471147", str(error), statement)
            self.assertIsNone(error.__cause__)

    def test_nothing_else_can_be_done(self) -> None:
        """Other tables, files, functions and settings cannot be reached."""
        target = Path(self.mktemp())
        for statement in (
            f"ATTACH '{target}' AS other",
            f"VACUUM INTO '{target}'",
            "CREATE TABLE other (x)",
            "CREATE TEMP TABLE users (user_id, user_name, user_pin)",
            "CREATE VIRTUAL TABLE users USING fts5(x)",
            "CREATE VIEW v AS SELECT 1",
            "CREATE TRIGGER t AFTER INSERT ON users BEGIN DELETE FROM extensions; END",
            "SELECT load_extension('x')",
            "INSERT INTO sqlite_master VALUES (1, 2, 3, 4, 5)",
            "SELECT * FROM sqlite_master",
            "ALTER TABLE users ADD COLUMN x",
            "DROP TABLE users",
            "INSERT INTO users VALUES(1, 'ana', zeroblob(1000000000))",
            "INSERT INTO users(user_name) WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT 1 FROM r) SELECT x FROM r",
            "ROLLBACK",
            "SAVEPOINT x",
        ):
            try:
                sql_with(statement)
            except ImportRefused as error:
                self.assertIn("accepted are CREATE TABLE, INSERT, UPDATE and DELETE", str(error), statement)
            else:
                self.assertTrue(statement.startswith("VACUUM"), statement)
        self.assertFalse(target.exists())

    def test_too_much_work(self) -> None:
        """A statement that would not end is stopped."""
        double = "INSERT INTO users(user_name) SELECT a.user_name FROM users a, users b, users c, users d"
        rows = "INSERT INTO users(user_name) VALUES " + ", ".join(["('x')"] * 300)
        error = self.assertRaises(ImportRefused, sql_with, rows, double)
        self.assertIn("too much work", str(error))

    def test_other_tables(self) -> None:
        """For missing tables and other columns the error says what is accepted."""
        self.assertIn("accepted are the workshop's five tables", self.refused(""))
        self.assertIn("no such table: users", self.refused("INSERT INTO users VALUES (1, 'ana', 1)"))
        self.assertIn("no table users,", self.refused(CREATES[: CREATES.index("CREATE TABLE users ")]) + ",")
        line = self.refused(WORKSHOP.replace("user_pin", "pin"))
        self.assertIn("table users has the columns user_id, user_name, pin; accepted are user_id", line)

    def test_anything_at_all(self) -> None:
        """Pieces of the text in any order are read or refused."""
        pieces = re.findall(r"\w+|\s+|[^\w\s]", WORKSHOP)
        chance = random.Random(1)
        for _ in range(150):
            start, end = sorted(chance.sample(range(len(pieces)), 2))
            cut = pieces[:start] + chance.sample(pieces, 3) + pieces[end:]
            try:
                read_sql("".join(cut))
            except ImportRefused as error:
                self.assertNotIn("123456", str(error))


class FileTests(SynchronousTestCase):
    """Reading the tables from files."""

    def setUp(self) -> None:
        """Make a directory with the workshop's database as a file of SQLite 3."""
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "workshop.db"
        with closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(WORKSHOP.replace("```", ""))

    def contents(self) -> dict[str, bytes]:
        """The content of every file in the directory."""
        return {path.name: path.read_bytes() for path in self.directory.iterdir()}

    def refused(self, path: Path) -> str:
        """Check that reading fails; returns the one line."""
        line = str(self.assertRaises(ImportRefused, read_file, path))
        self.assertNotIn("\n", line)
        self.assertTrue(line.startswith(str(path)), line)
        return line

    def test_both_kinds_are_the_same(self) -> None:
        """A database has the same content as its text."""
        text = self.directory / "workshop.sql"
        text.write_text(WORKSHOP)
        self.assertEqual(read_file(self.path), read_file(text))
        self.assertEqual(read_file(self.path).content(), read_file(text).content())

    def test_a_dump_by_sqlite_3(self) -> None:
        """The output of `.dump` is read, AUTOINCREMENT included."""
        with closing(sqlite3.connect(self.directory / "auto.db")) as connection:
            connection.executescript(WORKSHOP.replace("```", "").replace("PRIMARY KEY", "PRIMARY KEY AUTOINCREMENT"))
            dump = "PRAGMA foreign_keys=OFF;\n" + "\n".join(connection.iterdump())
        self.assertEqual(read_sql(dump), read_sql(WORKSHOP))

    def test_a_dump_by_a_newer_sqlite(self) -> None:
        """SQLite 3.50 and newer write texts with line ends and controls by unistr()."""
        for written, name in (
            (r"unistr('moises\u000asilva')", "moises\nsilva"),
            (r"unistr('\00e1ngel \+01F600 \U0001F600 \\ \x')", "ángel 😀 😀 \\ \\x"),
            ("unistr(NULL)", None),
        ):
            text = WORKSHOP.replace("'moises silva'", written)
            self.assertNotEqual(text, WORKSHOP)
            self.assertEqual(read_sql(text).users[0][1], name)

    def test_only_read(self) -> None:
        """Reading changes neither the file nor its directory."""
        before = self.contents()
        read_file(self.path)
        self.assertEqual(self.contents(), before)

    def test_in_use(self) -> None:
        """With WAL and a writer at work the committed rows are read, and nothing is changed."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("PRAGMA journal_mode = WAL")
            other.execute("INSERT INTO extensions VALUES (2, '44')")
            other.execute("BEGIN IMMEDIATE")
            other.execute("INSERT INTO extensions VALUES (3, '55')")
            before = self.contents()
            tables = read_sqlite(self.path)
            self.assertEqual(self.contents(), before)
            other.execute("COMMIT")
        self.assertEqual(tables.extensions, ((1, "33"), (2, "44")))

    def test_left_in_the_middle(self) -> None:
        """The unfinished work of a writer that died is not read."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("PRAGMA cache_size = 1")
            other.execute("BEGIN IMMEDIATE")
            other.execute("UPDATE extensions SET extension_number = '44'")
            for _ in range(200):
                other.execute("INSERT INTO users(user_name) VALUES (hex(randomblob(500)))")
            contents = self.contents()
        self.assertIn("workshop.db-journal", contents)
        for name, content in contents.items():
            self.directory.joinpath(name).write_bytes(content)
        self.assertEqual(read_sqlite(self.path), read_sql(WORKSHOP))
        self.assertEqual(self.contents(), contents)

    def test_encodings(self) -> None:
        """UTF-8 with and without a mark, Latin 1 and UTF-16 are read, in a database too."""
        text = WORKSHOP.replace("moises", "Moisés")
        path = self.directory / "w.sql"
        for encoding in ("utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be"):
            path.write_bytes(text.encode(encoding))
            self.assertEqual(read_file(path).users[0][1], "Moisés silva", encoding)
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("UPDATE users SET user_name = CAST(x'4d6f6973e973' AS TEXT)")
            connection.commit()
        self.assertEqual(read_file(self.path).users[0][1], "Moisés")

    def test_refused(self) -> None:
        """Each refused file has a line that says what is expected."""
        self.assertIn("No such file", self.refused(self.directory / "no.sql"))
        self.assertIn("Is a directory", self.refused(self.directory))
        other = self.directory / "other"
        for content, words in (
            (b"** This file contains an SQLite 2.1 database **\0", ".dump > workshop.sql"),
            (b"SQLite format 3\0" + b"\xff" * 4000, "accepted is an SQLite 3 database"),
            (b"\x7fELF\0\0", "neither SQL text nor an SQLite 3 database"),
            (b"", "is empty; accepted are the workshop's five tables"),
            (b" \n\n", "is empty; accepted are the workshop's five tables"),
            (b"\xff\xfe", "has no table applications_mappings"),
            ("CREATE TABLE users\0(a)".encode("utf-16"), "has a NUL character, so it is no SQL text"),
            (_USERS + b"INSERT INTO users VALUES (?, 'ana', :pin);", "a placeholder such as ? stands where a value"),
            (
                _USERS + b"UPDATE users SET user_pin = @pin;",
                "line 2: UPDATE users SET user_pin: a placeholder such as ?",
            ),
            (b"dear diary, ", "SQLite cannot read it"),
            (b"-" * (64 * 2**20 + 1), "larger than 64 MiB"),
        ):
            other.write_bytes(content)
            self.assertIn(words, self.refused(other))

    def test_other_databases(self) -> None:
        """Our own database, one without the tables, and one with other columns are refused."""
        path = self.directory / "p.sqlite"
        databases.new_database(path)
        self.assertIn("a database of pbxrouter itself", self.refused(path))
        with closing(sqlite3.connect(self.directory / "x.db")) as connection:
            connection.executescript("CREATE TABLE users (user_id, user_name, user_pin)")
        self.assertIn("has no table applications_mappings, extensions,", self.refused(self.directory / "x.db"))
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("ALTER TABLE users ADD COLUMN mail")
        self.assertIn("accepted are user_id, user_name, user_pin", self.refused(self.path))


class MergeTests(OnBothEngines):
    """Importing into a pbxrouter database."""

    def setUp(self) -> None:
        """Make a new database."""
        self.connection = self.database()

    def test_mappings_that_cannot_work(self) -> None:
        """Rows that cannot work are imported with a warning that says why; the workshop's own rows have none."""
        applications = DriverApplications(load_drivers(Config(technologies=dict(TECHNOLOGIES))))
        for text, warnings in (
            (WORKSHOP, []),
            (
                f"{WORKSHOP}; INSERT INTO applications_mappings VALUES (70, 'musica', '', '91');"
                "INSERT INTO applications_mappings VALUES (71, 'dial', 'SIP,60', '92');"
                "INSERT INTO applications_mappings VALUES (72, 'dial', 'SIP', '9|NXX');"
                "INSERT INTO extensions VALUES (73, '44;44');",
                [
                    "mapping 70, 91, cannot work: no driver provides the application musica",
                    "mapping 71, 92, cannot work: a mapping to dial needs a technology or a template as its data, not "
                    "'SIP,60': a comma would begin another argument of Dial()",
                    "mapping 72 will match nothing: pattern '9|NXX' has a |, which marks digits that are cut off; "
                    "today the pattern is 9NXX",
                    "extension 73: '44;44' is not a number that a call can show",
                ],
            ),
        ):
            report = import_tables(
                self.connection, ROOT, 7.0, read_sql(text), hash_pin, "w.sql", True, applications=applications
            )
            self.assertEqual(len(report.warnings), len(warnings), report.warnings)
            for said, expected in zip(report.warnings, warnings, strict=True):
                self.assertTrue(said.startswith(expected), said)
        self.assertEqual(report.added, {"mappings": 3, "extensions": 1, "users": 0, "grants": 0})

    def merge(self, tables: WorkshopTables, again: bool = False) -> ImportReport:
        """Import tables into the database."""
        report = import_tables(self.connection, ROOT, 7.0, tables, hash_pin, "w.sql", again)
        self.assertFalse(self.connection.in_transaction)
        return report

    def verdict(self, number: str, pin: str | None = None, caller: str = "33") -> str:
        """The verdict on a call."""
        return read_rules(self.connection, hash_pin).decide(Facts(caller, number, pin)).verdict.value

    def test_the_workshop(self) -> None:
        """All rows are imported under their own numbers, with hashed PINs."""
        report = self.merge(read_sql(WORKSHOP))
        self.assertEqual(report.added, {"mappings": 5, "extensions": 1, "users": 1, "grants": 5})
        self.assertEqual(report.warnings, [])
        rows = rows_of(self.connection)
        self.assertEqual(rows["applications_mappings"][3], (4, "voicemail", "", "66"))
        self.assertEqual(rows["users"], [(1, "moises silva", hash_pin("123456"))])
        self.assertEqual(
            [self.verdict("21"), self.verdict("34"), self.verdict("34", "123456")], ["allow", "pin", "allow"]
        )
        words = "\n".join(report.lines())
        self.assertIn("mappings: 5 added", words)
        self.assertIn("w.sql holds PINs in clear: delete it", words)
        self.assertNotIn("123456", words + repr(report))

    def test_twice(self) -> None:
        """The same content again changes nothing, also where the owner changed rows."""
        self.merge(read_sql(WORKSHOP))
        before = rows_of(self.connection)
        report = self.merge(read_sql(WORKSHOP.replace("\n", "\r\n")))
        self.assertTrue(report.done_before)
        self.assertIn("was imported before", report.lines()[0])
        self.assertEqual(rows_of(self.connection), before)
        self.connection.execute("DELETE FROM applications_mappings WHERE map_id = 2")
        self.connection.execute("UPDATE users SET user_pin = NULL")
        self.connection.commit()
        before = rows_of(self.connection)
        self.merge(read_sql(WORKSHOP))
        self.assertEqual(rows_of(self.connection), before)

    def test_again(self) -> None:
        """With again=True deleted rows come back, and a PIN set since stays."""
        self.merge(read_sql(WORKSHOP))
        self.connection.execute("DELETE FROM applications_mappings WHERE map_id = 2")
        self.connection.commit()
        set_pin(self.connection, ROOT, 7.0, "moises silva", hash_pin("777"))
        report = self.merge(read_sql(WORKSHOP), again=True)
        self.assertEqual(report.added, {"mappings": 1, "extensions": 0, "users": 0, "grants": 2})
        self.assertEqual(report.warnings, ["user moises silva has another PIN by now: that one is kept"])
        self.assertEqual(
            [self.verdict("21"), self.verdict("34", "123456"), self.verdict("34", "777")],
            ["allow", "deny", "allow"],
        )

    def test_onto_the_sample(self) -> None:
        """Rows that exist already are not doubled."""
        add_sample(self.connection, hash_pin)
        before = rows_of(self.connection)
        report = self.merge(read_sql(WORKSHOP))
        self.assertEqual(report.added, {"mappings": 0, "extensions": 0, "users": 0, "grants": 0})
        self.assertEqual(rows_of(self.connection) | {"imports": []}, before)

    def test_numbers_in_use(self) -> None:
        """Rows whose number is taken get another, and their grants with it."""
        for statement in (
            "INSERT INTO applications_mappings VALUES (2, 'hangup', '', '900.'), (6, 'DIAL', 'SIP', '2X')",
            "INSERT INTO extensions VALUES (1, '44')",
            "INSERT INTO users(user_id, user_name) VALUES (1, 'ana')",
        ):
            self.connection.execute(statement)
        self.connection.commit()
        self.merge(read_sql(WORKSHOP))
        self.assertEqual([self.verdict("21"), self.verdict("21", caller="44")], ["allow", "pin"])
        self.assertEqual(self.verdict("34", "123456"), "allow")
        self.assertEqual(self.verdict("9001", "123456"), "deny")

    def test_one_pattern_two_applications(self) -> None:
        """A pattern that leads to another application already is reported."""
        self.connection.execute("INSERT INTO applications_mappings VALUES (6, 'dial', 'PJSIP/{number}@trunk', '2X')")
        self.connection.commit()
        report = self.merge(read_sql(WORKSHOP))
        self.assertEqual(
            report.warnings,
            [
                "pattern 2X of mapping 2 leads to dial PJSIP/{number}@trunk already: "
                "of the two, the one with the lower map_id counts"
            ],
        )

    def test_numbers_of_grants_left_behind(self) -> None:
        """A number that an orphaned grant still names is not used."""
        change_by_hand(
            self.connection, "INSERT INTO extensions VALUES (7, '77'); INSERT INTO extensions_mappings VALUES (1, 7, 3)"
        )
        self.merge(read_sql(WORKSHOP))
        self.assertEqual(self.verdict("12345678", caller="77"), "pin")

    def test_numbers_of_endpoints_left_behind(self) -> None:
        """An endpoint whose extension is gone ties no imported one."""
        self.connection.execute("INSERT INTO extensions VALUES (1, '77')")
        self.connection.execute("INSERT INTO extensions_endpoints VALUES (1, 'PJSIP/other')")
        self.connection.commit()
        change_by_hand(self.connection, "DELETE FROM extensions")
        self.merge(read_sql(WORKSHOP))
        self.assertEqual(self.verdict("21"), "allow")

    def test_one_number_twice(self) -> None:
        """Of several rows with one number the first gets the grants, as it is the one that counts."""
        self.connection.execute("INSERT INTO extensions VALUES (7, '33'), (8, '33 ')")
        self.connection.commit()
        self.merge(read_sql(WORKSHOP))
        self.assertEqual(self.verdict("21"), "allow")
        granted = self.connection.execute("SELECT DISTINCT extension_id FROM extensions_mappings").fetchall()
        self.assertEqual(granted, [(7,)])

    def test_warnings(self) -> None:
        """Everything that is left out or looks wrong is reported, without any PIN."""
        report = self.merge(
            sql_with(
                "INSERT INTO applications_mappings VALUES(1, 'dial', NULL, '2X'), (2, NULL, 'SIP', '3X'),"
                " (3, 'dial', 'SIP', NULL), (4, 'dial', 'SIP', '4['), (5, 'DIAL', '', '2X')",
                "INSERT INTO extensions VALUES(1, '33'), (2, NULL), (3, '33')",
                "INSERT INTO extensions_mappings VALUES(1, 1, 1), (2, 1, 3), (3, 2, 1), (4, 9, 1),"
                " (5, NULL, 1), (6, 1, 99), (7, 1, NULL), (8, 3, 5), (9, 1, 1)",
                "INSERT INTO users VALUES(1, 'ana', '4711'), (2, 'eva', '4711'), (3, 'ida', '47 11'),"
                " (4, NULL, '471147'), (5, 'ada', '4*7'), (6, 'uma', '47'), (7, 'ina', NULL),"
                " (8, 'ana', '4711')",
                "INSERT INTO users_mappings VALUES(1, 2, 1), (2, 77, 1), (3, 8, 1)",
            )
        )
        self.assertEqual(
            report.warnings,
            [
                "mapping 2 has no application: left out",
                "mapping 3 has no pattern: left out",
                "mapping 4 will match nothing: pattern '4[' has a [ without its ]",
                "extension 2 has no number: left out",
                "the PIN of user eva is also that of user ana: eva has none now",
                "the PIN of user ida cannot be keyed on a phone: the user has none now",
                "user 4 has no name: called 'user 4'",
                "user ada keeps a PIN that could not be set today: this PIN cannot be used; "
                "accepted are 3 to 16 digits",
                "user uma keeps a PIN that could not be set today: this PIN cannot be used; "
                "accepted are 3 to 16 digits",
                "user ina has no PIN",
                "a grant to extension 1 is left out: there is no mapping 3",
                "a grant to extension 2 is left out: there is no such extension",
                "a grant to extension 9 is left out: there is no such extension",
                "a grant to extension without a number is left out: there is no such extension",
                "a grant to extension 1 is left out: there is no mapping 99",
                "a grant to extension 1 is left out: there is no mapping without a number",
                "a grant to user 77 is left out: there is no such user",
            ],
        )
        self.assertNotIn("47 11", "\n".join(report.lines()))
        self.assertEqual(self.verdict("21", "4*7", caller="44"), "deny")
        self.assertEqual(self.verdict("21", "4711", caller="44"), "allow")
        self.assertEqual(report.added, {"mappings": 2, "extensions": 1, "users": 7, "grants": 3})

    def test_a_pin_that_is_taken(self) -> None:
        """A user whose PIN another user has is imported without it, and reported once."""
        self.connection.execute("INSERT INTO users VALUES (9, 'ana', :pin)", {"pin": hash_pin("123456")})
        self.connection.commit()
        self.assertIn("also that of user ana", self.merge(read_sql(WORKSHOP)).warnings[0])
        self.assertEqual(self.merge(read_sql(WORKSHOP), again=True).added["users"], 0)
        self.assertEqual(self.verdict("34", "123456"), "deny")

    def test_whole_or_not_at_all(self) -> None:
        """An import that fails in the middle changes nothing."""
        before = rows_of(self.connection)

        def fails(text: str) -> str:
            if text == "123456":
                raise ZeroDivisionError
            return hash_pin(text)

        self.assertRaises(
            ZeroDivisionError, import_tables, self.connection, ROOT, 7.0, read_sql(WORKSHOP), fails, "w.sql"
        )
        self.assertEqual(rows_of(self.connection), before)
        self.assertEqual(self.merge(read_sql(WORKSHOP)).added["mappings"], 5)

    def test_audit(self) -> None:
        """An import of new rows is one entry of the audit log with the counts, and can be undone."""
        before = rows_of(self.connection)
        self.merge(read_sql(WORKSHOP))
        self.merge(read_sql(WORKSHOP))
        self.merge(read_sql(WORKSHOP), again=True)
        (entry,) = find_entries(self.connection)
        self.assertEqual((entry.who, entry.via, entry.changed_at), ("root", "command", 7.0))
        self.assertEqual((entry.action, entry.kind), ("import", "import"))
        self.assertEqual(entry.name, "w.sql: 5 mappings, 1 extensions, 1 users, 5 grants")
        self.assertTrue(entry.can_be_undone)
        undo(self.connection, ROOT, 8.0, entry.audit_id)
        self.assertEqual(rows_of(self.connection) | {"imports": []}, before)


_IDS = st.one_of(st.none(), st.integers(0, 6))
_WORDS = st.one_of(st.none(), st.sampled_from(["", "dial", "DIAL", "SIP", "2X", "33", "033", "ana", "eva", "["]))
_PINS = st.one_of(st.none(), st.sampled_from(["", "1234", "01234", "1*", "x", "12"]))
_TABLES = st.builds(
    WorkshopTables,
    mappings=st.lists(st.tuples(_IDS, _WORDS, _WORDS, _WORDS), max_size=6).map(tuple),
    extensions=st.lists(st.tuples(_IDS, _WORDS), max_size=6).map(tuple),
    extension_grants=st.lists(st.tuples(_IDS, _IDS), max_size=6).map(tuple),
    users=st.lists(st.tuples(_IDS, _WORDS, _PINS), max_size=6).map(tuple),
    user_grants=st.lists(st.tuples(_IDS, _IDS), max_size=6).map(tuple),
)


class PropertyTests(SynchronousTestCase):
    """Properties of any tables, nonsense included."""

    def test_users_of_one_name(self) -> None:
        """Of users of one name without PINs, those of one number are one user; importing them again adds none."""
        tables = WorkshopTables((), (), (), ((3, "ana", None), (3, "ana", None), (None, "ana", None)), ())
        with new_database() as connection:
            for added in (2, 0, 0):
                report = import_tables(connection, ROOT, 7.0, tables, hash_pin, "w.sql", again=True)
                self.assertEqual((report.added["users"], report.found["users"]), (added, 3 - added))

    @settings(max_examples=60, deadline=None)
    @given(_TABLES, _TABLES)
    def test_again_adds_nothing(self, first: WorkshopTables, second: WorkshopTables) -> None:
        """Importing the same content again adds no row, after any changes in between."""
        with new_database() as connection:
            for tables in (first, second):
                import_tables(connection, ROOT, 7.0, tables, hash_pin, "w.sql")
            before = rows_of(connection)
            for tables in (first, second):
                report = import_tables(connection, ROOT, 7.0, tables, hash_pin, "w.sql", again=True)
                self.assertEqual(set(report.added.values()), {0}, report)
            self.assertEqual(rows_of(connection), before)
            read_rules(connection, hash_pin)

    @settings(max_examples=60, deadline=None)
    @given(_TABLES)
    def test_no_pin_is_shown(self, tables: WorkshopTables) -> None:
        """No PIN is in the report or in a repr."""
        with new_database() as connection:
            report = import_tables(connection, ROOT, 7.0, tables, hash_pin, "w.sql")
            self.assertNotIn("1234", repr(report) + repr(tables) + "".join(report.lines()))


class ReadOnlyTests(SynchronousTestCase):
    """The copy from which a database is read."""

    def test_no_copy_stays(self) -> None:
        """The copy, which holds PINs, is deleted whether reading succeeds or not."""
        directory = Path(self.mktemp())
        directory.mkdir()
        path = directory / "w.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript("CREATE TABLE users (x)")
        temporary = directory / "tmp"
        temporary.mkdir()
        before = os.environ.get("TMPDIR"), tempfile.tempdir
        tempfile.tempdir = str(temporary)
        try:
            self.assertRaises(ImportRefused, read_file, path)
        finally:
            tempfile.tempdir = before[1]
        self.assertEqual(list(temporary.iterdir()), [])
