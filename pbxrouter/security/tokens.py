"""API tokens: their format, scopes and hashes.

A token is 32 random bytes; only its SHA-256 is stored.
"""

from __future__ import annotations

import enum
import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "pbxr_"
_TOKEN: Final = re.compile(r"pbxr_[A-Za-z0-9_-]{43}")


class Scope(enum.Enum):
    """What a token may be used for. No scope includes another."""

    READ = "read"
    """Reads calls, rules and health, and tests numbers."""
    RULES = "rules"
    """Changes rules and PINs, reads the audit log, undoes changes."""
    DIAL = "dial"
    """Originates calls."""
    ADMIN = "admin"
    """Console users, tokens, click-to-dial links, the doctor's findings."""


def scopes_text(scopes: Iterable[Scope]) -> str:
    """Format scopes as words separated by blanks, always in the same order."""
    granted = frozenset(scopes)
    return " ".join(scope.value for scope in Scope if scope in granted)


def scopes_of(text: str) -> frozenset[Scope]:
    """Parse scopes from such a text; unknown words are ignored."""
    words = frozenset(text.split())
    return frozenset(scope for scope in Scope if scope.value in words)


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """A token's row, without its hash.

    Attributes:
        created: ISO 8601, UTC.
        last_used: the same; None if never.
        revoked: the same; None if it is valid.
        scopes: what it may be used for.
    """

    token_id: int
    name: str
    created: str
    last_used: str | None
    revoked: str | None
    scopes: frozenset[Scope]


def new_token() -> str:
    """Generate a token. It is shown once and never stored."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """Hash a token for storage: hex SHA-256."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def bearer(authorization: str | None) -> str | None:
    """Extract the token from an ``Authorization: Bearer …`` header (RFC 6750); None if it has no valid form."""
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip(" ")
    return token if scheme.lower() == "bearer" and _TOKEN.fullmatch(token) else None
