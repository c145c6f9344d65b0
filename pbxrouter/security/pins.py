"""PINs: checking, hashing and generating them.

A PIN has few digits, so a plain hash could be reversed by trying all of them. Stored is its
HMAC-SHA256 under a key outside the database (keyfile): the database alone reveals no PIN. Other
keys are derived from that one.
"""

from __future__ import annotations

import functools
import hmac
import re
import secrets
from collections.abc import Iterator
from itertools import combinations, groupby, pairwise, product
from typing import Final

from pbxrouter.errors import PinError
from pbxrouter.text import sentence

MIN_PIN_DIGITS: Final = 6
"""Digits that a new PIN has at least; imported ones may have fewer."""
MAX_PIN_DIGITS: Final = 16
GENERATED_DIGITS: Final = 6
_MIN_OLD_DIGITS: Final = 3
_DIGITS: Final = re.compile(r"[0-9]+")
_RUN: Final = "01234567890123456789"
_ROWS_OF_THREE: Final = tuple(
    f"{first}{first + step}{first + 2 * step}"
    for first in range(10)
    for step in range(-4, 5)
    if 0 <= first + 2 * step <= 9
)
_RUNS: Final = (_RUN, _RUN[::-1])
_STEPS: Final = frozenset((*map("".join, pairwise(_RUN)), *map("".join, pairwise(_RUN[::-1])), *(d + d for d in _RUN)))
"""Two digits as a run has them side by side."""
_YEAR: Final = re.compile(r"(?:19|20)[0-9][0-9].{0,4}|.{0,4}(?:19|20)[0-9][0-9]", re.DOTALL)


def check_pin(pin: str) -> str:
    """Return the PIN if it can be used as a new one.

    Raises:
        PinError: it is not 6 to 16 digits, or is one that a thief tries first. The message does not show it.
    """
    if not _DIGITS.fullmatch(pin) or not MIN_PIN_DIGITS <= len(pin) <= MAX_PIN_DIGITS:
        raise PinError(
            sentence(
                "this PIN cannot be used; accepted are {least} to {most} digits",
                least=MIN_PIN_DIGITS,
                most=MAX_PIN_DIGITS,
            )
        )
    if is_obvious(pin):
        raise unusable_pin()
    return pin


def unusable_pin() -> PinError:
    """The error for a PIN that is obvious, or that another user has: the message is the same."""
    return PinError(sentence("this PIN cannot be used; choose another one"))


def check_old_pin(pin: str) -> str:
    """Return a PIN of an imported database if it can be kept.

    Raises:
        PinError: it is not 3 to 16 digits. The message does not show it.
    """
    if not _DIGITS.fullmatch(pin) or not _MIN_OLD_DIGITS <= len(pin) <= MAX_PIN_DIGITS:
        raise PinError(
            sentence(
                "this PIN cannot be used; accepted are {least} to {most} digits",
                least=_MIN_OLD_DIGITS,
                most=MAX_PIN_DIGITS,
            )
        )
    return pin


def hash_pin(key: bytes, pin: str) -> str:
    """Hash a PIN for storage: 64 hex digits.

    Any text is accepted, since callers key anything.
    """
    return hmac.digest(key, pin.encode("utf-8", "surrogatepass"), "sha256").hex()


def derive(key: bytes, purpose: str) -> bytes:
    """Derive an independent key for another purpose.

    HKDF (RFC 5869) with SHA-256, one block.
    """
    pseudorandom = hmac.digest(b"pbxrouter", key, "sha256")
    return hmac.digest(pseudorandom, purpose.encode("utf-8") + b"\x01", "sha256")


def generate_pin(digits: int = GENERATED_DIGITS) -> str:
    """Generate a random PIN that is not an obvious one.

    Raises:
        PinError: so many digits, or so few, are not accepted.
    """
    if not MIN_PIN_DIGITS <= digits <= MAX_PIN_DIGITS:
        check_pin("0" * digits)
    while True:
        pin = f"{secrets.randbelow(10**digits):0{digits}d}"
        if not is_obvious(pin):
            return pin


def is_obvious(pin: str) -> bool:
    """Whether a PIN is one that a thief tries first.

    One or two digits in any order (111111, 121212, 112211), three repeated (123123), digits in a row up or down
    (123456, 987654), also with digits more than once or there and back (112233, 123321), rows of equal steps one after
    the other or one within the other, as fingers go over the keys (789456, 147258, 159753, 102030, 142536), and up to
    eight digits that begin or end with a year (198401, 001984, 20061231). Dates without a century (240512) are not.
    """
    repeated = len(set(pin)) <= 2 or pin[:3] * (len(pin) // 3) == pin
    return repeated or _is_run(pin) or _is_mirrored_run(pin) or _is_of_rows(pin) or _has_year(pin)


def weak_pins() -> Iterator[str]:
    """All PINs of less than six digits, and the obvious ones of six, to find users who have one by their hashes."""
    for length in range(_MIN_OLD_DIGITS, MIN_PIN_DIGITS):
        yield from (f"{number:0{length}d}" for number in range(10**length))
    yield from _obvious_of_six()


@functools.cache
def _obvious_of_six() -> tuple[str, ...]:
    """The obvious PINs of six digits, in order: the same whenever the doctor looks."""
    return tuple(sorted({pin for pin in _maybe_obvious() if is_obvious(pin)}))


def _maybe_obvious() -> Iterator[str]:
    """Six digits of every kind that is_obvious knows, some more among them: far fewer than a million."""
    for number in range(1000):
        yield f"{number:03d}" * 2
    for pair in combinations("0123456789", 2):
        yield from map("".join, product(pair, repeat=6))
    for one, other in product(_ROWS_OF_THREE, repeat=2):
        yield one + other
        yield "".join(map("".join, zip(one, other, strict=True)))
    for number in range(100):
        for year in range(1900, 2100):
            yield f"{year}{number:02d}"
            yield f"{number:02d}{year}"
    for run in _RUNS:
        for place in range(len(run) - 2):
            yield run[place : place + 3] + run[place : place + 3][::-1]
        for digits in range(1, 7):
            for cuts in combinations(range(1, 6), digits - 1):
                lengths = [end - begin for begin, end in pairwise((0, *cuts, 6))]
                for place in range(len(run) - digits + 1):
                    row = run[place : place + digits]
                    yield "".join(digit * length for digit, length in zip(row, lengths, strict=True))


def _is_run(pin: str) -> bool:
    """Whether the digits are in a row up or down, each once or more."""
    if pin[:2] not in _STEPS or pin[-2:] not in _STEPS:  # nearly all are none, so that this is quick for them
        return False
    digits = "".join(digit for digit, _ in groupby(pin))
    return any(digits in run for run in _RUNS)


def _is_mirrored_run(pin: str) -> bool:
    """Whether the digits are in a row, there and back."""
    half = pin[: (len(pin) + 1) // 2]
    return pin == pin[::-1] and any(half in run for run in _RUNS)


def _is_of_rows(pin: str) -> bool:
    """Whether its halves, or each three digits, are rows of equal steps, or each second digit is."""
    for length in {3, len(pin) // 2}:
        parts = [pin[place : place + length] for place in range(0, len(pin), length)]
        if len(pin) % length == 0 and all(map(_is_row, parts)):
            return True
    return _is_row(pin[::2]) and _is_row(pin[1::2])


def _is_row(digits: str) -> bool:
    """Whether all steps from one digit to the next are equal."""
    return len({int(after) - int(before) for before, after in pairwise(digits)}) <= 1


def _has_year(pin: str) -> bool:
    """Whether it is a year and not many digits more."""
    return bool(_YEAR.fullmatch(pin))
