"""Values as SQLite holds them, and values of rows as text."""

from __future__ import annotations


def bounded(number: int) -> int:
    """A number that SQLite can hold; a larger one is the number of nothing, as the largest is."""
    return max(-(2**63), min(number, 2**63 - 1))


def text_of(value: object) -> str:
    """A value of a row as text, whatever a hand has put there; of nothing, nothing."""
    if value is None:
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
