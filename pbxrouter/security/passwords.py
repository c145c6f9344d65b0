"""Console passwords: argon2id with argon2-cffi's default parameters (RFC 9106), about 80 ms each.

The functions block; call them in a thread.
"""

from __future__ import annotations

from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from pbxrouter.errors import EditRefused
from pbxrouter.text import sentence

MIN_PASSWORD_LENGTH: Final = 10
MAX_PASSWORD_LENGTH: Final = 200

_hasher: Final = PasswordHasher()
_NOBODYS: Final = _hasher.hash("nobody has this password")


def check_new_password(password: str, login: str) -> str:
    """Return the password if it can be used as a new one.

    Raises:
        EditRefused: it is too short or too long, or is the login itself. It is never shown.
    """
    if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH:
        raise EditRefused(
            sentence(
                "a password has {least} to {most} characters", least=MIN_PASSWORD_LENGTH, most=MAX_PASSWORD_LENGTH
            ),
            "password",
        )
    if password.casefold().strip() == login.casefold().strip() or len(set(password)) < 4:
        raise EditRefused(sentence("this password is too easy to guess; take another one"), "password")
    return password


def hash_password(password: str) -> str:
    """Hash a password for storage; takes about 80 ms."""
    return _hasher.hash(password)


def password_fits(stored: str | None, password: str) -> bool:
    """Whether a password matches its stored hash. Takes the same time when there is no hash (None)."""
    try:
        return _hasher.verify(stored or _NOBODYS, password[:MAX_PASSWORD_LENGTH]) and stored is not None
    except (Argon2Error, InvalidHashError):
        return False
