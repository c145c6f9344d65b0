"""Comma-separated text that a spreadsheet opens without running anything. Pure.

A cell that begins like a formula gets a quote in front, which spreadsheets take for "this is text"
(OWASP, CSV injection); callers choose what stands in some of the cells.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from typing import Final

_BLANKS: Final = " \u00a0\u3000\ufeff\u200b\x00"
_SIGNS: Final = (
    "=+\\-@|%\t\r\n\uff1d\uff0b\uff0d\uff20"  # the last four are = + - @ of East Asian spreadsheets
)
# Some skip blanks before they look, and some take ; or a tab for what separates cells, as Excel in Spanish.
_FORMULA: Final = re.compile(rf"(^|[;\t][{_BLANKS}\"']*)(?=[{_BLANKS}]*[{_SIGNS}])")


def safe_cell(value: object) -> object:
    """The value; text that a spreadsheet would take for a formula with a quote before it."""
    if not isinstance(value, str):
        return value
    return _FORMULA.sub(r"\1'", value)


class _Text:
    """What csv writes to."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def write(self, text: str) -> None:
        self.parts.append(text)


def csv_line(cells: Iterable[object]) -> str:
    """One row, with its line end (RFC 4180)."""
    text = _Text()
    csv.writer(text).writerow([safe_cell(cell) for cell in cells])
    return "".join(text.parts)
