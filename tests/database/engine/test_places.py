"""Tests of the translation of places of values."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.database.engine.places import translated

TEXTS = {
    "SELECT ?, ?": "SELECT %s, %s",
    "SELECT :a, :b_2, :a": "SELECT %(a)s, %(b_2)s, %(a)s",
    "SELECT 5 % 2": "SELECT 5 %% 2",
    "SELECT '%', ':a', '?', 'it''s :b?'": "SELECT '%%', ':a', '?', 'it''s :b?'",
    'SELECT "a:b?%"': 'SELECT "a:b?%%"',
    "SELECT x::text, :x::text": "SELECT x::text, %(x)s::text",
    "SELECT 1 -- :a ?\n, :b": "SELECT 1 -- :a ?\n, %(b)s",
    "SELECT /* :a ? '*/ :b": "SELECT /* :a ? '*/ %(b)s",
    "AS $$ :a ? % $$, :b": "AS $$ :a ? %% $$, %(b)s",
    "AS $x$ :a $$ ? $x$, :b": "AS $x$ :a $$ ? $x$, %(b)s",
    "SELECT 12:34": "SELECT 12:34",
}
CHANGING = (
    "INSERT INTO x VALUES (1)",
    "  update x SET y = 1",
    "-- first\n/* then */ DELETE FROM x",
    "WITH y AS (SELECT 1) INSERT INTO x SELECT * FROM y",
)
READING = (
    "SELECT 'INSERT'",
    "WITH y AS (SELECT ' DELETE ') SELECT * FROM y",
    "(SELECT 1) UNION SELECT 2",
    "SAVEPOINT a",
    "",
    "CREATE TABLE x (y)",
)


class PlaceTests(SynchronousTestCase):
    """Statements, before and after."""

    def test_texts(self) -> None:
        """Places become psycopg's; texts, names, comments, casts and functions' bodies stay, but for percent signs."""
        for sql, text in TEXTS.items():
            self.assertEqual(translated(sql).text, text, sql)

    def test_changing(self) -> None:
        """It is known which statements change rows."""
        for sql in CHANGING:
            self.assertTrue(translated(sql).changes_rows, sql)
        for sql in READING:
            self.assertFalse(translated(sql).changes_rows, sql)
