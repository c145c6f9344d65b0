"""Reading results as StarPy's methods return them.

A result line is what stands behind ``200 result=``, such as ``1 (value)``. Each function
here turns one into a method's value, or raises AGICommandFailure. Pure.
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
    """The line again, unless its result is the one that means failure."""
    if line.partition(" ")[0].strip() == failure:
        raise AGICommandFailure(FAILURE_CODE, line)
    return line


def as_int(line: str) -> int:
    """A result that is nothing but a number."""
    try:
        return int(line.strip())
    except ValueError:
        raise AGICommandFailure(FAILURE_CODE, line) from None


def as_value(line: str) -> str:
    """What stands in the outer brackets; a result of 0 is a failure."""
    value = parse_reply(f"200 result={check_failure(line, '0')}".encode("utf-8", "surrogateescape")).data
    if value is None:
        raise AGICommandFailure(FAILURE_CODE, line)
    return value


def as_digits(line: str) -> tuple[str, bool]:
    """What was keyed, and whether time ended it."""
    digits, blank, _ = line.partition(" ")
    return digits, bool(blank)


def _number_behind(word: str, line: str) -> int | None:
    _, found, number = line.partition(f"{word}=")
    return int(number) if found and number.strip().isdigit() else None


def as_played(line: str, start: int | None = 0) -> tuple[int, int]:
    """The key pressed (0: none) and the position; a position that did not move means that nothing played."""
    position = _number_behind("endpos", line)
    if position is None:
        raise ValueError(f"{line!r} is no result of playing a sound")
    if position == start:
        raise AGICommandFailure(FAILURE_CODE, f"nothing was played: {line}")
    return int(line.partition(" ")[0]), position


def as_controlled(line: str) -> tuple[int, int | None]:
    """The key pressed and the position, where Asterisk says it."""
    return int(line.partition(" ")[0]), _number_behind("endpos", line)


def as_recorded(line: str) -> tuple[int, str, int]:
    """The key pressed, what ended the recording (dtmf, timeout, hangup), and its length in samples."""
    result, _, rest = line.partition(" ")
    position = _number_behind("endpos", line)
    if position is None or not rest.startswith("("):
        raise ValueError(f"{line!r} is no result of a recording")
    return int(result), rest[1:].partition(")")[0], position


def seconds(moment: Any) -> int:
    """A moment (seconds since 1970, datetime, date, struct_time) as AGI wants it."""
    if isinstance(moment, datetime):
        return int(moment.timestamp())
    if hasattr(moment, "timetuple"):
        return int(mktime(moment.timetuple()))
    return int(mktime(moment) if isinstance(moment, struct_time) else moment)


def milliseconds(duration_s: float) -> int:
    """A duration as AGI wants it; whatever is negative means for ever."""
    return int(duration_s * 1000) if duration_s >= 0 else -1


def only(accepted: Callable[[str], bool], text: object) -> str:
    """The characters that can be said."""
    return "".join(character for character in str(text) if character.isascii() and accepted(character))
