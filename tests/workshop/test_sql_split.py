"""Splitting SQL text into statements."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.workshop.sql_split import split


class SqlTextTests(SynchronousTestCase):
    """split, and the parts of a statement that errors show."""

    def test_where_to_cut(self) -> None:
        """Statements are not split in strings, names, comments or triggers; the last needs no semicolon."""
        source = (
            "-- a; b\nSELECT 'x;''y'; /* ; */ SELECT \"a;b\", [c;d];;\n"
            "CREATE TRIGGER t AFTER INSERT ON x BEGIN SELECT 1; SELECT 2; END;\nSELECT `e;f`"
        )
        found = list(split(source))
        self.assertEqual([statement.line for statement in found], [2, 2, 3, 4])
        self.assertEqual(found[0].text, "SELECT 'x;''y';")
        self.assertTrue(found[2].text.endswith("END;"))

    def test_the_head_shows_no_value(self) -> None:
        """The beginning of a statement that errors show ends before its first value."""
        for source in (
            "INSERT INTO \"users\" VALUES(1, 'ana', 4711)",
            'INSERT INTO users SELECT "4711"',
            "UPDATE users SET user_pin = 4711",
            "INSERT INTO users /* 4711 */ VALUES ('4711')",
            "4711 '4711",
        ):
            (statement,) = split(source)
            self.assertNotIn("4711", statement.head + repr(statement))

    def test_digits_kept(self) -> None:
        """Whole numbers that SQLite would change are quoted, others are not."""
        source = "VALUES(0123, 123, 0, 00, 1.05, 05e1, x'01', '012', a0, 0x01, 12345678901234567890, 1e+05)"
        (statement,) = split(source, keep_digits=True)
        self.assertEqual(
            statement.text,
            "VALUES('0123', 123, 0, '00', 1.05, 05e1, x'01', '012', a0, 0x01, '12345678901234567890', 1e+05)",
        )
