"""On PostgreSQL, too, changes with SQL are in the audit log and can be undone."""

from __future__ import annotations

from typing import Any, ClassVar

from pbxrouter.database import Connection
from pbxrouter.database.audit import Actor, AuditEntry, changing, entry, find_entries, undo
from pbxrouter.database.audit_triggers import TABLES, ensure_any_missing, ensure_triggers
from pbxrouter.database.rules.sample import add_sample
from pbxrouter.errors import EditRefused
from tests.database.postgresql import OnBothEngines
from tests.database.test_connection import hash_pin

EVA = Actor("eva", "console")
HASH = "'" + "a" * 64 + "'"

_MORE = "INSERT INTO applications_mappings(application_name, pattern) VALUES ('dial', '8X'), ('dial', '9X')"
_UPSERT = "INSERT INTO extensions VALUES (1, '44') ON CONFLICT (extension_id) DO UPDATE SET extension_number = '45'"
_IGNORES = "INSERT INTO extensions VALUES (7, '33'), (8, '66'), (9, '34') ON CONFLICT DO NOTHING"
_LIMIT = "INSERT INTO users_limits VALUES (1, 7) ON CONFLICT (user_id) DO UPDATE SET max_calls = 7"
_BOTH = (
    "WITH gone AS (DELETE FROM extensions WHERE extension_id = 2 RETURNING extension_number)"
    " INSERT INTO extensions(extension_number) SELECT extension_number || '9' FROM gone"
)
STATEMENTS = (
    ("INSERT INTO applications_mappings VALUES (9, 'dial', 'SIP', '9X')", "create", "mapping", "9X", 1),
    (_MORE, "create", "mapping", "8X, 9X", 2),
    ("UPDATE applications_mappings SET pattern = '1' || map_id", "update", "mapping", "11, 12, 13, 14, 15", 5),
    ("UPDATE applications_mappings SET map_id = map_id + 100 WHERE map_id = 3", "update", "mapping", "XXXXXXXX", 1),
    ("DELETE FROM applications_mappings WHERE map_id = 2", "delete", "mapping", "2X", 3),
    ("DELETE FROM applications_mappings", "delete", "mapping", "3X, 2X, XXXXXXXX, 66, 7X", 11),
    ("TRUNCATE users_mappings", "revoke", "grant", "", 4),
    (_UPSERT, "update", "extension", "45", 1),
    (_IGNORES, "create", "extension", "66", 1),
    (_BOTH, "update", "extension", "34, 349", 2),
    ("DELETE FROM extensions", "delete", "extension", "33, 34", 4),
    ("UPDATE extensions_endpoints SET endpoint = 'SIP/1'", "endpoint", "extension", "33", 1),
    ("DELETE FROM extensions_mappings", "revoke", "grant", "33 → 2X", 1),
    ("INSERT INTO users_mappings(user_id, map_id) VALUES (1, 3)", "grant", "grant", "moises silva → XXXXXXXX", 1),
    ("UPDATE users_mappings SET map_id = 3 WHERE map_id = 2", "update", "grant", "moises silva → XXXXXXXX", 1),
    ("INSERT INTO mappings_disabled(map_id) VALUES (1)", "disable", "mapping", "3X", 1),
    ("DELETE FROM mappings_disabled", "enable", "mapping", "66", 1),
    (f"UPDATE users SET user_pin = {HASH}", "pin", "user", "moises silva", 1),
    ("UPDATE users SET user_pin = NULL, user_name = 'ana'", "update", "user", "ana", 1),
    ("DELETE FROM users", "delete", "user", "moises silva", 6),
    (_LIMIT, "limit", "user", "moises silva", 1),
    ("UPDATE dial_links SET generation = 7", "void", "dial_link", "sales", 1),
    ("UPDATE dial_links SET hours = 'mon', calls_a_day = 2", "update", "dial_link", "sales", 1),
    ("DELETE FROM dial_links", "delete", "dial_link", "sales", 1),
)
"""Statements, each with the action, kind and name of its entry, and the number of rows in it."""


class SqlTests(OnBothEngines):
    """A database with rows in each table, open here and, as in psql, by another program."""

    engine: ClassVar[str] = "PostgreSQL"

    def setUp(self) -> None:
        """Create the database."""
        self.place = self.new_place()
        self.connection: Any = self.open(self.place)
        self.shell = self.psql()
        add_sample(self.connection, hash_pin)
        self.run_sql("INSERT INTO extensions VALUES (2, '34')")
        self.run_sql("INSERT INTO extensions_endpoints VALUES (1, 'PJSIP/33')")
        self.run_sql("INSERT INTO mappings_disabled VALUES (4, 'then')")
        self.run_sql("INSERT INTO users_limits VALUES (1, 3)")
        self.run_sql("INSERT INTO dial_links(name, phone, context, destinations) VALUES ('sales', 'SIP/1', 'x', '9X')")

    def psql(self) -> Any:
        """A connection that knows nothing of this program, with a transaction for each statement."""
        import psycopg

        shell = psycopg.connect(self.connection.place.url, autocommit=True)
        self.addCleanup(shell.close)
        return shell

    def run_sql(self, sql: str) -> None:
        """Run a statement there."""
        self.shell.execute(sql.encode())

    def state(self) -> dict[str, list[Any]]:
        """All rows of all audited tables."""
        return {
            table: self.shell.execute(f"SELECT * FROM {table} ORDER BY 1, 2".encode()).fetchall() for table in TABLES
        }

    def last(self) -> int:
        """The number of the newest entry."""
        return find_entries(self.connection, limit=1)[0].audit_id

    def since(self, last: int) -> list[AuditEntry]:
        """The entries after one, oldest first."""
        return [row for row in reversed(find_entries(self.connection)) if row.audit_id > last]

    def new(self, sql: str) -> list[AuditEntry]:
        """The entries that a statement makes, oldest first."""
        last = self.last()
        self.run_sql(sql)
        return self.since(last)

    def test_each(self) -> None:
        """A statement is one entry by SQL with all rows, and its undo restores each of them."""
        for statement, action, kind, name, rows in STATEMENTS:
            with self.subTest(statement=statement):
                before = self.state()
                (row,) = self.new(statement)
                self.assertEqual(("SQL", "sql", action, kind), (row.who, row.via, row.action, row.kind))
                # Several names stand in the order in which PostgreSQL has met the rows.
                self.assertEqual(sorted(name.split(", ")), sorted(row.name.split(", ")) if name else [""])
                self.assertEqual(rows, self.count(row.audit_id), statement)
                undo(self.connection, EVA, 9.0, row.audit_id)
                self.assertEqual(before, self.state(), statement)

    def count(self, audit_id: int) -> int:
        """The rows of an entry."""
        ((found,),) = self.connection.execute("SELECT count(*) FROM audit_rows WHERE audit_id = ?", (audit_id,))
        return int(found)

    def test_statements_of_one_transaction(self) -> None:
        """Each statement is an entry of its own, also in one transaction; what is rolled back is in none."""
        last = self.last()
        with self.shell.transaction():
            self.run_sql("INSERT INTO extensions VALUES (7, '77')")
            self.run_sql("INSERT INTO extensions VALUES (8, '78')")
            with self.shell.transaction(force_rollback=True):
                self.run_sql("INSERT INTO extensions VALUES (9, '79')")
            self.run_sql("DELETE FROM extensions WHERE extension_id = 7")
        self.assertEqual(
            [("create", "77"), ("create", "78"), ("delete", "77")],
            [(row.action, row.name) for row in self.since(last)],
        )

    def test_nothing_changed(self) -> None:
        """A statement that changes nothing, or only what is not watched, is no entry."""
        for statement in (
            "UPDATE extensions SET extension_number = extension_number",
            "DELETE FROM extensions WHERE extension_id = 99",
            "INSERT INTO extensions SELECT 5, '5' WHERE false",
            "INSERT INTO extensions VALUES (9, '33') ON CONFLICT DO NOTHING",
            "UPDATE api_tokens SET last_used_at = '2026-01-01T00:00:00Z'",
        ):
            self.assertEqual([], self.new(statement), statement)

    def test_thousands_of_rows(self) -> None:
        """Ten thousand rows are one entry with a name that stays short, and come back by one undo."""
        (row,) = self.new(
            "INSERT INTO extensions(extension_number) SELECT (i + 10000)::text FROM generate_series(1, 10000) i"
        )
        self.assertEqual(10_000, self.count(row.audit_id))
        self.assertTrue(row.name.startswith("10001, 10002") and row.name.endswith(", …") and len(row.name) < 150)
        undo(self.connection, EVA, 9.0, row.audit_id)
        self.assertEqual(2, len(self.state()["extensions"]))

    def test_odd_values(self) -> None:
        """Quotes, backslashes, line ends, signs of other scripts and long text are restored as they were."""
        for number, text in enumerate(('a"b\\c', "tab\there\nline", "ñandú 電話 🙂", "x" * 5000, "{}'; --"), 50):
            self.shell.execute("INSERT INTO extensions VALUES (%s, %s)", (number, text))
            (row,) = self.new(f"DELETE FROM extensions WHERE extension_id = {number}")
            undo(self.connection, EVA, 9.0, row.audit_id)
            found = self.shell.execute("SELECT extension_number FROM extensions WHERE extension_id = %s", (number,))
            self.assertEqual((text,), found.fetchone())

    def test_secrets(self) -> None:
        """Neither a password's hash nor a token's is in the log; a PIN is there as its hash alone."""
        self.run_sql(
            "INSERT INTO console_users(login, password_hash, role, created_at) VALUES ('eva', 'SECRET1', 'admin', 1)"
        )
        self.run_sql("UPDATE console_users SET password_hash = 'SECRET2'")
        self.run_sql("INSERT INTO api_tokens(name, token_hash) VALUES ('crm', 'SECRET3')")
        self.run_sql("DELETE FROM api_tokens")
        everything = repr(self.shell.execute("SELECT * FROM audit_rows, audit_log").fetchall())
        self.assertNotIn("SECRET", everything)
        with self.assertRaises(EditRefused):
            undo(self.connection, EVA, 9.0, self.last())

    def test_ours(self) -> None:
        """What the program changes is under its author, in one entry, while others change something as SQL."""
        last = self.last()
        with changing(self.connection, EVA, 7.0, "create", "extension", "70 and 71") as change:
            change.insert("extensions", {"extension_number": "70"})
            self.run_sql("INSERT INTO users(user_name) VALUES ('ana')")
            change.insert("extensions", {"extension_number": "71"})
        by = [(row.who, row.via, row.changed_at == 7.0, row.action, row.name) for row in self.since(last)]
        self.assertEqual(
            [("eva", "console", True, "create", "70 and 71"), ("SQL", "sql", False, "create", "ana")],
            sorted(by, reverse=True),
        )
        self.connection.execute("INSERT INTO extensions(extension_number) VALUES ('72')")
        self.connection.commit()
        self.assertEqual("SQL", entry(self.connection, self.last()).entry.who)

    def test_another_search_path(self) -> None:
        """A program with another search path, and a user who may write the rules alone, are recorded."""
        schema = self.shell.execute("SELECT current_schema()").fetchone()[0]
        self.run_sql("DROP ROLE IF EXISTS rules_writer")
        self.run_sql("CREATE ROLE rules_writer")
        self.run_sql(f"GRANT USAGE ON SCHEMA {schema} TO rules_writer")
        self.run_sql("GRANT INSERT ON extensions TO rules_writer")
        self.run_sql("SET search_path = pg_catalog")
        self.run_sql("SET ROLE rules_writer")
        try:
            (row,) = self.new(f"INSERT INTO {schema}.extensions VALUES (70, '70')")
        finally:
            self.run_sql("RESET ROLE")
            self.run_sql("RESET search_path")
            self.run_sql("DROP OWNED BY rules_writer")
            self.run_sql("DROP ROLE rules_writer")
        self.assertEqual(("SQL", "create", "70"), (row.who, row.action, row.name))

    def test_functions_with_the_owners_rights(self) -> None:
        """Functions that run as the owner take all names from one schema, and nobody else may run them."""
        found = self.shell.execute(
            "SELECT p.proname, p.proconfig IS NOT NULL, p.proacl IS NULL"
            " OR EXISTS (SELECT 1 FROM aclexplode(p.proacl) AS a WHERE a.grantee = 0)"
            " FROM pg_proc AS p WHERE p.prosecdef AND p.pronamespace = to_regnamespace(quote_ident(current_schema()))"
        ).fetchall()
        self.assertGreater(len(found), 20)
        self.assertEqual([name for name, has_path, everyones in found if everyones or not has_path], [])

    def test_made_again(self) -> None:
        """Triggers that are gone, disabled or from another version are made again before the next change."""
        for damage in (
            "DROP TRIGGER audit_insert ON extensions",
            "ALTER TABLE extensions DISABLE TRIGGER audit_insert",
            "DROP FUNCTION audit_extensions() CASCADE",
        ):
            self.run_sql(damage)
            with changing(self.connection, EVA, 7.0, "create", "extension", "x") as change:
                change.insert("extensions", {"extension_number": damage})
            self.assertEqual(1, self.count(self.last()), damage)
        self.run_sql(
            "CREATE OR REPLACE FUNCTION audit_extensions() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
        )
        ensure_any_missing(self.connection)
        ensure_triggers(self.connection)
        self.assertEqual(1, len(self.new("INSERT INTO extensions VALUES (99, '99')")))

    def test_entries_go_with_their_rows(self) -> None:
        """The rows of an entry are deleted with it."""
        (row,) = self.new("INSERT INTO extensions VALUES (7, '77')")
        self.run_sql(f"DELETE FROM audit_log WHERE audit_id = {row.audit_id}")
        self.assertEqual(0, self.count(row.audit_id))

    def test_a_column_of_an_owner(self) -> None:
        """A column that an owner adds is recorded and restored."""
        self.run_sql("ALTER TABLE extensions ADD COLUMN room text")
        connection: Connection = self.open(self.place)
        ensure_triggers(connection)
        self.run_sql("UPDATE extensions SET room = 'hall' WHERE extension_id = 1")
        (row,) = self.new("DELETE FROM extensions WHERE extension_id = 1")
        undo(connection, EVA, 9.0, row.audit_id)
        found = self.shell.execute("SELECT room FROM extensions WHERE extension_id = 1").fetchone()
        self.assertEqual(("hall",), found)
