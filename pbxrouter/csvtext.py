"""Comma-separated text that a spreadsheet opens without running anything. Pure.

A cell that begins like a formula gets a quote in front, which spreadsheets take for "this is text"
(OWASP, CSV injection); callers choose what stands in some of the cells.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Final

_WIDE: Final = ("\uff1d", "\uff0b", "\uff0d", "\uff20")  # = + - @ as East Asian spreadsheets write them
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", *_WIDE)


def safe_cell(value: object) -> object:
    """The value; text that a spreadsheet would take for a formula with a quote before it."""
    if not isinstance(value, str):
        return value
    # Some skip blanks before they look; and what is quoted by us must not look unquoted.
    bare = value.lstrip(" \u00a0\u3000\ufeff\u200b\x00")
    return f"'{value}" if bare.startswith(_FORMULA) else value


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
