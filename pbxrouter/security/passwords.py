"""Console passwords: checking new ones, argon2id hashes.

Hashing blocks on purpose; call it in a thread.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from pbxrouter.errors import EditRefused
from pbxrouter.text import sentence

MIN_PASSWORD_LENGTH: Final = 10
MAX_PASSWORD_LENGTH: Final = 200


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


class PasswordHashes:
    """Hashes passwords and checks them against their hashes.

    Args:
        hasher: argon2's parameters; by default argon2-cffi's (RFC 9106), about 80 ms and 64 MiB each.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()

    @cached_property
    def _of_no_user(self) -> str:
        return self._hasher.hash("no user has this password")

    def hash(self, password: str) -> str:
        """Hash a password for storage."""
        return self._hasher.hash(password)

    def fits(self, stored: str | None, password: str) -> bool:
        """Whether a password matches its stored hash. Takes the same time when there is no hash (None)."""
        try:
            matches = self._hasher.verify(stored or self._of_no_user, password[:MAX_PASSWORD_LENGTH])
        except (Argon2Error, InvalidHashError):
            return False
        return matches and stored is not None
