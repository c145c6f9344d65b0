"""Converts numbers for SQLite, and values of rows to text."""

from __future__ import annotations


def bounded(number: int) -> int:
    """A number clipped to what SQLite can hold; no row has the largest number."""
    return max(-(2**63), min(number, 2**63 - 1))


def text_of(value: object) -> str:
    """A value of a row as text, of whichever type SQL has stored; ``""`` for NULL."""
    if value is None:
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
