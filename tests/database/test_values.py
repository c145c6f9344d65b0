"""Values of rows as the types that they should have, and values as SQLite takes them."""

from __future__ import annotations

import dataclasses
import sqlite3

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.database.values import (
    LAST,
    LATEST_S,
    MAX_READ,
    count_of,
    read_as,
    seconds_of,
    shown_text,
    shown_texts,
    sortable,
    storable,
    text_of,
)

STORED = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
)
"""What SQLite may have in any column."""


@dataclasses.dataclass
class Row:
    """A row of each type."""

    name: str
    at: float
    count: int
    enabled: bool
    ended: float | None
    other: object = None


class ValueTests(SynchronousTestCase):
    """The conversions."""

    @given(STORED)
    def test_any(self, value: object) -> None:
        """Whatever a column holds, each conversion gives its type, within its bounds."""
        self.assertLess(len(text_of(value)), MAX_READ + 50)
        shown_text(value).encode("utf-8")
        self.assertTrue(shown_text(value).isprintable())
        self.assertTrue(0 <= seconds_of(value) <= LATEST_S)
        self.assertTrue(0 <= count_of(value) < 2**63)
        self.assertTrue(-LAST <= sortable(value) <= LAST)
        row = read_as(Row, [value] * 5)
        self.assertEqual([type(part) for part in (row.name, row.at, row.count, row.enabled)], [str, float, int, bool])
        self.assertEqual(row.ended is None, value is None)

    @given(st.one_of(STORED, st.integers(), st.floats(), st.text()))
    def test_storable(self, value: object) -> None:
        """What is storable, SQLite takes, and gives back."""
        with sqlite3.connect(":memory:") as connection:
            (back,) = connection.execute("SELECT ?", (storable(value),)).fetchone()
        connection.close()
        self.assertEqual(back, storable(value))

    def test_rows_of_texts(self) -> None:
        """A row of printable texts is not changed; of any other each value is made printable, and cut, by itself."""
        usual = ["a", "", "é"]
        self.assertIs(shown_texts(usual), usual)
        self.assertEqual(shown_texts(["a\n", "b"]), ["a\\n", "b"])
        self.assertEqual(shown_texts(["a", None, 5, b"\xff\n"]), ["a", "", "5", "\ufffd\\n"])
        longest = "x" * MAX_READ
        self.assertEqual(shown_texts([longest]), [longest])
        long = shown_texts([longest, "y", longest + "z"])
        self.assertEqual(long, [shown_text(longest), "y", shown_text(longest + "z")])

    def test_examples(self) -> None:
        """Good values are not changed; bad ones become what stands for nothing."""
        self.assertEqual((text_of("a"), text_of(None), text_of(b"\xff"), text_of(5)), ("a", "", "\ufffd", "5"))
        self.assertEqual(
            (seconds_of(1.5), seconds_of("x"), seconds_of(-1), seconds_of(float("inf"))), (1.5, 0, 0, LATEST_S)
        )
        self.assertEqual((count_of(3), count_of(3.7), count_of("3"), count_of(1e30)), (3, 3, 0, 0))
        self.assertEqual((sortable(-5), sortable("x"), sortable(float("inf"))), (-5.0, LAST, LAST))
        self.assertEqual((storable("é\udcff"), storable(2**70), storable(float("nan"))), ("é\\udcff", 2**63 - 1, 0.0))
        self.assertEqual(storable(True), 1)
