"""API tokens: what one looks like, and what is kept of it. Pure.

A token is 32 random bytes, so a plain SHA-256 of it tells nobody the token; only that
is kept.
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
    """What a token is good for. None of them contains another."""

    READ = "read"
    """Sees what the gateway has and does: calls, rules, health; and tests numbers."""
    RULES = "rules"
    """Changes rules and PINs, reads who changed them, takes changes back."""
    DIAL = "dial"
    """Has phones called."""
    ADMIN = "admin"
    """Console users, tokens, click-to-dial links, the doctor's findings."""


def scopes_text(scopes: Iterable[Scope]) -> str:
    """Scopes as they are kept and shown: words with blanks between, always in the same order."""
    there = frozenset(scopes)
    return " ".join(scope.value for scope in Scope if scope in there)


def scopes_of(text: str) -> frozenset[Scope]:
    """Scopes from such a text; words that are none of them are left out."""
    words = frozenset(text.split())
    return frozenset(scope for scope in Scope if scope.value in words)


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """What is known of a token.

    Attributes:
        created: ISO 8601, UTC.
        last_used: the same; None if never.
        revoked: the same; None if it is valid.
        scopes: what it is good for.
    """

    token_id: int
    name: str
    created: str
    last_used: str | None
    revoked: str | None
    scopes: frozenset[Scope]


def new_token() -> str:
    """A token that nobody has or guesses; shown once, never kept."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """What is kept of a token: hex SHA-256."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def bearer(authorization: str | None) -> str | None:
    """The token in an ``Authorization: Bearer …`` header (RFC 6750); None if none could be ours."""
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip(" ")
    return token if scheme.lower() == "bearer" and _TOKEN.fullmatch(token) else None
