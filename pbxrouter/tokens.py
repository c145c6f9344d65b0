"""API tokens: what one looks like, and what is kept of it. Pure.

A token is 32 random bytes, so a plain SHA-256 of it tells nobody the token; only that
is kept. Not here: where (database.tokens), and what a token may do (web).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "pbxr_"
_TOKEN: Final = re.compile(r"pbxr_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """What is known of a token.

    Attributes:
        created: ISO 8601, UTC.
        last_used: the same; None if never.
        revoked: the same; None if it is valid.
    """

    token_id: int
    name: str
    created: str
    last_used: str | None
    revoked: str | None


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
