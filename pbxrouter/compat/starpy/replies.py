"""Converts result lines to the values that StarPy's methods return.

A result line is the text behind ``200 result=``, such as ``1 (value)``. Each function
converts one to a method's value, or raises AGICommandFailure. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from time import mktime, struct_time
from typing import Any, Final

from pbxrouter.agi import parse_reply
from pbxrouter.compat.starpy.error import AGICommandFailure

FAILURE_CODE: Final = -1
"""The code of a command that Asterisk understood, but that did not succeed."""


def check_failure(line: str, failure: str = "-1") -> str:
    """Return the line; raise if its result is the one that means failure."""
    if line.partition(" ")[0].strip() == failure:
        raise AGICommandFailure(FAILURE_CODE, line)
    return line


def as_int(line: str) -> int:
    """Convert a result that is a number alone."""
    try:
        return int(line.strip())
    except ValueError:
        raise AGICommandFailure(FAILURE_CODE, line) from None


def as_value(line: str) -> str:
    """The text in the outer parentheses; a result of 0 is a failure."""
    value = parse_reply(f"200 result={check_failure(line, '0')}".encode("utf-8", "surrogateescape")).data
    if value is None:
        raise AGICommandFailure(FAILURE_CODE, line)
    return value


def as_digits(line: str) -> tuple[str, bool]:
    """The digits keyed, and whether the timeout ended them."""
    digits, blank, _ = line.partition(" ")
    return digits, bool(blank)


def _number_behind(word: str, line: str) -> int | None:
    _, found, number = line.partition(f"{word}=")
    return int(number) if found and number.strip().isdigit() else None


def as_played(line: str, start: int | None = 0) -> tuple[int, int]:
    """The key pressed (0: none) and the position; an unchanged position means that nothing was played."""
    position = _number_behind("endpos", line)
    if position is None:
        raise ValueError(f"{line!r} is no result of playing a sound")
    if position == start:
        raise AGICommandFailure(FAILURE_CODE, f"nothing was played: {line}")
    return int(line.partition(" ")[0]), position


def as_controlled(line: str) -> tuple[int, int | None]:
    """The key pressed, and the position if Asterisk reports it."""
    return int(line.partition(" ")[0]), _number_behind("endpos", line)


def as_recorded(line: str) -> tuple[int, str, int]:
    """The key pressed, what ended the recording (dtmf, timeout, hangup), and its length in samples."""
    result, _, rest = line.partition(" ")
    position = _number_behind("endpos", line)
    if position is None or not rest.startswith("("):
        raise ValueError(f"{line!r} is no result of a recording")
    return int(result), rest[1:].partition(")")[0], position


def seconds(moment: Any) -> int:
    """Convert a time (seconds since 1970, datetime, date, struct_time) to AGI's seconds since 1970."""
    if isinstance(moment, datetime):
        return int(moment.timestamp())
    if hasattr(moment, "timetuple"):
        return int(mktime(moment.timetuple()))
    return int(mktime(moment) if isinstance(moment, struct_time) else moment)


def milliseconds(duration_s: float) -> int:
    """Convert a duration in seconds to AGI's milliseconds; a negative one means no limit."""
    return int(duration_s * 1000) if duration_s >= 0 else -1


def only(accepted: Callable[[str], bool], text: object) -> str:
    """The characters of a text that are accepted; others are dropped."""
    return "".join(character for character in str(text) if character.isascii() and accepted(character))
