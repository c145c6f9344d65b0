"""PINs: checking, hashing and generating them.

A PIN has few digits, so a plain hash could be reversed by trying all of them. Stored is its
HMAC-SHA256 under a key outside the database (keyfile): the database alone reveals no PIN. Other
keys are derived from that one.
"""

from __future__ import annotations

import hmac
import re
import secrets
from typing import Final

from pbxrouter.errors import PinError
from pbxrouter.text import sentence

MIN_PIN_DIGITS: Final = 3
MAX_PIN_DIGITS: Final = 16
GENERATED_DIGITS: Final = 6
_PIN: Final = re.compile(rf"[0-9]{{{MIN_PIN_DIGITS},{MAX_PIN_DIGITS}}}")
_RUN: Final = "01234567890123456789"


def check_pin(pin: str) -> str:
    """Return the PIN if it can be used as a new one.

    Raises:
        PinError: it is not 3 to 16 digits. The message does not show it.
    """
    if not _PIN.fullmatch(pin):
        raise PinError(
            sentence(
                "this PIN cannot be used; accepted are {least} to {most} digits",
                least=MIN_PIN_DIGITS,
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
    check_pin("0" * digits)
    while True:
        pin = f"{secrets.randbelow(10**digits):0{digits}d}"
        if not _is_weak(pin):
            return pin


def _is_weak(pin: str) -> bool:
    """Whether a PIN is one repeated digit or a run of digits, up or down: 1111, 4567, 9876."""
    return len(set(pin)) == 1 or pin in _RUN or pin in _RUN[::-1]
