"""Cells of CSV files."""

from __future__ import annotations

import csv
import io

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.text.csv_cells import csv_line, safe_cell


class CsvTests(SynchronousTestCase):
    """csv_line, as spreadsheets read it."""

    def test_formulas(self) -> None:
        """Formulas become text, also behind blanks and in full-width characters."""
        for cell in (
            "=1+1",
            "+34600+1",
            "+",
            "++34600",
            "+34600\n",
            "-34600",
            "-1",
            "@SUM(A1)",
            "\tx",
            "\rx",
            " =cmd|'/c calc'!A0",
            "\uff1d1",
            "\ufeff=1",
            "\u2003=1",
            "\u202f\u200e=1",
            "\x0b=1",
            "\u2028 =1",
        ):
            self.assertEqual(safe_cell(cell), f"'{cell}")

    def test_other_separators(self) -> None:
        """No cell begins a formula if the file is split at ; or tabs."""
        for name in ('a;=HYPERLINK("http://evil","x");b', "a; =1", "a\t=1", "a;\t+1", 'x;"=1'):
            for separator in ";\t":
                text = csv_line([name, "33"])
                cells = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
                for cell in cells:
                    self.assertNotRegex(cell.strip(' "'), r"^[=+@-]", (name, separator))

    def test_line_ends(self) -> None:
        """No cell begins a formula if a line end within a cell is taken for the end of the row."""
        for cell in ("\r=1", "x;y\n=1", "x\r\n \u2003+1", 'x\n"=1'):
            for line in csv_line(["33", cell]).splitlines():
                self.assertNotRegex(line.replace("\u2003", " ").strip(' "'), r"^[=+@-]", cell)

    def test_long(self) -> None:
        """A cell with a long run of blanks in it stays as it is."""
        text = f"a;{' ' * 200_000}x"
        self.assertEqual(safe_cell(text), text)

    def test_the_rest(self) -> None:
        """Other text stays as it is."""
        for cell in ("33", "+34600", "0034600", "ana", "", "a=b", 5, None, 1.5, -3):
            self.assertEqual(safe_cell(cell), cell)

    @settings(deadline=None)
    @given(st.lists(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])), min_size=1))
    def test_any_text_comes_back(self, cells: list[str]) -> None:
        """Any text is read back as it was, apart from the quote that guards formulas."""
        rows = list(csv.reader(io.StringIO(csv_line(cells), newline="")))
        self.assertEqual(rows, [[str(safe_cell(cell)) for cell in cells]])
