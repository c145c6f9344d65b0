"""CSV that spreadsheets open without evaluating formulas.

A cell that begins like a formula gets a leading quote, by which spreadsheets read it as text (OWASP,
CSV injection). Callers of the PBX choose the content of some cells. A telephone number such as +34600 stays
as it is: it can only be read as a number.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from typing import Final

# All that Unicode shows as a blank or not at all, but for tab, CR and LF, which count by themselves.
_BLANKS: Final = (
    " \\x00\\x0b\\x0c\\x1c-\\x1f\\x85\\xa0\\xad\\u1680\\u180e\\u2000-\\u200f\\u2028-\\u202f"
    "\\u205f-\\u2064\\u2066-\\u2069\\u3000\\ufeff"
)
_SIGNS: Final = "=+\\-@|%\t\r\n\uff1d\uff0b\uff0d\uff20"  # the last four are = + - @ of East Asian spreadsheets
_FORMULA: Final = re.compile(rf"[{_BLANKS}]*+[{_SIGNS}]")
# Some skip blanks before they look, and some take ; or a tab for what separates cells, as Excel in
# Spanish; for those a cell ends elsewhere, and a line end within it begins a row.
_INNER_FORMULA: Final = re.compile(rf"[;\t\r\n][{_BLANKS}\"']*+(?=[{_BLANKS}]*+[{_SIGNS}])")

_NUMBER: Final = re.compile(r"\+[0-9]{1,20}", re.ASCII)


def safe_cell(value: object) -> object:
    """Return the value, with a leading quote if a spreadsheet would evaluate it."""
    return safe_text(value) if isinstance(value, str) else value


def safe_text(text: str) -> str:
    """Return a text, with a leading quote if a spreadsheet would evaluate it."""
    if text.isalnum() or _NUMBER.fullmatch(text):
        return text
    quote = "'" if _FORMULA.match(text) else ""
    return quote + _INNER_FORMULA.sub(_quoted, text)


def _quoted(found: re.Match[str]) -> str:
    return f"{found[0]}'"


class _Text:
    """A file-like object for the csv module, keeping what is written."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def write(self, text: str) -> None:
        self.parts.append(text)


def csv_line(cells: Iterable[object]) -> str:
    """Format one row, line end included (RFC 4180)."""
    return csv_lines([map(safe_cell, cells)])


def csv_lines(rows: Iterable[Iterable[object]]) -> str:
    """Format rows whose texts are safe already, see safe_text; line ends included."""
    text = _Text()
    csv.writer(text).writerows(rows)
    return "".join(text.parts)
