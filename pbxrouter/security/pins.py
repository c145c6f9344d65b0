"""PINs: checking, hashing and generating them.

A PIN has few digits, so a plain hash could be reversed by trying all of them. Stored is its
HMAC-SHA256 under a key outside the database (keyfile): the database alone reveals no PIN. Other
keys are derived from that one.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterator
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
_YEAR: Final = re.compile(r"(?:19|20)[0-9][0-9]")


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

    One to three digits repeated (111111, 121212, 123123), digits in a row up or down (123456, 987654), and years
    with a month or zeros (198401, 001984), two years or a date (19842006, 20061231).
    """
    repeated = any(pin[:length] * (len(pin) // length) == pin for length in (1, 2, 3))
    return repeated or pin in _RUN or pin in _RUN[::-1] or _is_date(pin)


def weak_pins() -> Iterator[str]:
    """All PINs of less than six digits, and the obvious ones of six, to find users who have one by their hashes."""
    for length in range(_MIN_OLD_DIGITS, MIN_PIN_DIGITS):
        yield from (f"{number:0{length}d}" for number in range(10**length))
    yield from sorted({pin for pin in _maybe_obvious() if is_obvious(pin)})


def _maybe_obvious() -> Iterator[str]:
    """Six digits of every kind that is_obvious knows, some more among them: far fewer than a million."""
    for number in range(1000):
        yield f"{number:03d}" * 2
    for number in range(100):
        yield f"{number:02d}" * 3
        for year in range(1900, 2100):
            yield f"{year}{number:02d}"
            yield f"{number:02d}{year}"
    for run in (_RUN, _RUN[::-1]):
        for place in range(len(run) - 5):
            yield run[place : place + 6]


def _is_date(pin: str) -> bool:
    """Whether it is a year with a month or 00, two years, or a whole date in any usual order."""
    if len(pin) == 6:
        first, last = pin[:2], pin[4:]
        year_first = _YEAR.fullmatch(pin[:4]) and (_month(last) or last == "00")
        year_last = _YEAR.fullmatch(pin[2:]) and (_month(first) or first == "00")
        return bool(year_first or year_last)
    if len(pin) == 8:
        head, tail = pin[:4], pin[4:]
        years = _YEAR.fullmatch(head) and _YEAR.fullmatch(tail)
        for year, rest in ((head, tail), (tail, head)):
            if _YEAR.fullmatch(year) and (
                (_month(rest[:2]) and _day(rest[2:])) or (_day(rest[:2]) and _month(rest[2:]))
            ):
                return True
        return bool(years)
    return False


def _month(text: str) -> bool:
    return "01" <= text <= "12"


def _day(text: str) -> bool:
    return "01" <= text <= "31"
