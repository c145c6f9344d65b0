"""Tests of the translation of schema.sql and of upgrades."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.database.engine.ddl import part_for, postgresql_of
from tests.database.postgresql import OnBothEngines

KNOWN: dict[str, list[tuple[str, ...]]] = {}
"""What the first engine had."""
STATEMENTS = {
    "CREATE TABLE t (a INTEGER NOT NULL, b REAL, -- c TEXT\n c TEXT DEFAULT 'REAL', d BLOB) WITHOUT ROWID;": [
        "CREATE TABLE t (a bigint NOT NULL, b double precision,  \n c text COLLATE \"C\" DEFAULT 'REAL', d bytea)"
    ],
    "CREATE TABLE t (a INTEGER PRIMARY KEY CONSTRAINT x REFERENCES u (a), b TEXT)": [
        'CREATE TABLE t (a bigint PRIMARY KEY CONSTRAINT x REFERENCES u (a) DEFERRABLE, b text COLLATE "C")'
    ],
    "CREATE TABLE t (a TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')))": [
        'CREATE TABLE t (a text COLLATE "C" DEFAULT (utc_now()))'
    ],
    "CREATE TABLE t (a TEXT CONSTRAINT Like_A CHECK (a GLOB '?*/[^a-z]' AND a NOT GLOB '*.''*'))": [
        "CREATE TABLE t (a text COLLATE \"C\" CONSTRAINT \"Like_A\" CHECK (a ~ '^..*/[^a-z]$' AND a !~ '^.*\\.''.*$'))"
    ],
    "ALTER TABLE t ADD COLUMN a INTEGER": ["ALTER TABLE t ADD COLUMN a bigint"],
    "INSERT INTO t SELECT CAST(a AS INTEGER), 'TEXT' FROM u": [
        "INSERT INTO t SELECT CAST(a AS INTEGER), 'TEXT' FROM u"
    ],
}


class TranslationTests(SynchronousTestCase):
    """Statements of ours, and what PostgreSQL gets."""

    def test_statements(self) -> None:
        """Types, defaults, patterns and names of constraints are PostgreSQL's; texts and comments are no types."""
        for ours, theirs in STATEMENTS.items():
            self.assertEqual(list(postgresql_of(ours)), theirs, ours)

    def test_unknown_time(self) -> None:
        """A form of time that has no translation is an error, and not another time."""
        with self.assertRaises(ValueError):
            list(postgresql_of("CREATE TABLE t (a TEXT DEFAULT (strftime('%s', 'now')))"))

    def test_parts(self) -> None:
        """A part for one engine is left out for the other, and no line gets another number."""
        script = "a;\n--:sqlite\nb;\n--:postgresql\nc;\n--:both\nd;\n"
        self.assertEqual(part_for("sqlite", script).split(), ["a;", "b;", "d;"])
        self.assertEqual(part_for("postgresql", script).split(), ["a;", "c;", "d;"])
        self.assertEqual(part_for("postgresql", script).count("\n"), script.count("\n"))


class SchemaTests(OnBothEngines):
    """A new database."""

    def test_tables(self) -> None:
        """Both engines have the same tables, with the same columns in the same order."""
        connection = self.database()
        if self.is_sqlite:
            query = (
                "SELECT t.name, c.name FROM sqlite_master AS t, pragma_table_info(t.name) AS c"
                " WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' ORDER BY t.name, c.cid"
            )
        else:
            query = (
                "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
                ' ORDER BY table_name COLLATE "C", ordinal_position'
            )
        columns = [tuple(map(str, row)) for row in connection.execute(query)]
        self.assertIn(("calls", "call_key"), columns)
        self.assertEqual(columns, KNOWN.setdefault("columns", columns))
