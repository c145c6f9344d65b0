"""Converts values for SQLite, and what rows hold to the types that they should have.

SQLite keeps any type in any column, and rows may be written by hand; what cannot be used is replaced, never raised.
"""

from __future__ import annotations

import functools
import math
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from pbxrouter.text import cut, printable

T = TypeVar("T")
MAX_STORED: Final = 100_000
"""Characters of a text that is stored; a longer one is cut."""
MAX_READ: Final = 5000
"""Characters of a text that is read for people; a longer one is cut."""
LAST: Final = 1e300
"""Sorts behind all times, and is finite."""
LATEST_S: Final = 221_845_392_000.0
"""The latest time that is read, in epoch seconds: in the year 9000, which every calendar has."""


def bounded(number: int) -> int:
    """A number clipped to what SQLite can hold; no row has the largest number."""
    return max(-(2**63), min(number, 2**63 - 1))


def text_of(value: object) -> str:
    """A value of a row as text, of whichever type SQL has stored; ``""`` for NULL."""
    if value is None:
        return ""
    return cut(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value), MAX_READ)


def shown_text(value: object) -> str:
    """A value of a row as printable text."""
    return printable(text_of(value))


def shown_texts(values: list[Any]) -> list[str]:
    """Values of a row as printable texts."""
    try:
        together = "".join(values)
    except TypeError:  # not all are text
        return [shown_text(value) for value in values]
    if len(together) <= MAX_READ and together.isprintable():  # as nearly all rows are
        return values
    return [shown_text(value) for value in values]


def seconds_of(value: object) -> float:
    """A value of a row as epoch seconds, from 1970 to LATEST_S; 0 if it is no number."""
    if not isinstance(value, int | float) or not value > 0:
        return 0.0
    return float(min(value, LATEST_S))


def sortable(value: object) -> float:
    """A value of a row as epoch seconds that sort as the column does; what is no number or infinite comes last."""
    if not isinstance(value, int | float):
        return LAST
    return max(-LAST, min(float(value), LAST))


def count_of(value: object) -> int:
    """A value of a row as a number of things; 0 if it is none."""
    if not isinstance(value, int | float) or not 0 < value < 2**63:
        return 0
    return int(value)


def read_as(kind: Callable[..., T], values: Iterable[object]) -> T:
    """Make a dataclass of the values of a row, each as its field's type.

    Args:
        kind: the dataclass; its fields are text, numbers, epoch seconds (float), flags, or any of them or None.
    """
    return kind(*(reader(value) for reader, value in zip(_readers(kind), values, strict=False)))


@functools.cache
def _readers(kind: Callable[..., Any]) -> tuple[Callable[[object], object], ...]:
    return tuple(_reader(hint) for hint in typing.get_type_hints(kind).values())


def _reader(hint: Any) -> Callable[[object], object]:
    if isinstance(hint, types.UnionType):
        (inner,) = (choice for choice in hint.__args__ if choice is not types.NoneType)
        read = _READERS[inner]
        return lambda value: None if value is None else read(value)
    return _READERS.get(hint, lambda value: value)


_READERS: Final[dict[Any, Callable[[object], object]]] = {str: text_of, float: seconds_of, int: count_of, bool: bool}


def storable(value: object) -> object:
    """A value as SQLite takes it.

    Surrogates (bytes from a caller that were not UTF-8) are escaped, long texts cut, integers clipped, and a float
    that is no number becomes 0.
    """
    if isinstance(value, str):
        text = cut(value, MAX_STORED)
        return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, float):
        return value if math.isfinite(value) else 0.0
    return bounded(value) if isinstance(value, int) else value
