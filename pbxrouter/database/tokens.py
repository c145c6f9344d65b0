"""API tokens as rows: made, listed, revoked, looked up. What is kept is a hash (tokens)."""

from __future__ import annotations

import sqlite3
from typing import Final

from pbxrouter.database.connection import reading, transaction
from pbxrouter.errors import TokenError
from pbxrouter.tokens import TokenInfo

_COLUMNS: Final = "token_id, name, created_at, last_used_at, revoked_at"
MAX_NAME: Final = 80


def add_token(connection: sqlite3.Connection, name: str, token_hash: str) -> None:
    """Keep a new token.

    Raises:
        TokenError: the name cannot be used, or a valid token has it.
        StoreError: the database cannot be written.
    """
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise TokenError(f"a token's name is 1 to {MAX_NAME} printable characters, not {name[:90]!r}")
    with transaction(connection):
        try:
            connection.execute(
                "INSERT INTO api_tokens (name, token_hash) VALUES (:name, :hash)",
                {"name": name, "hash": token_hash},
            )
        except sqlite3.IntegrityError:
            raise TokenError(
                f"there is a token named {name!r} already; revoke it or choose another name"
            ) from None


def list_tokens(connection: sqlite3.Connection) -> list[TokenInfo]:
    """All tokens, revoked ones too, oldest first."""
    with reading(connection):
        return [
            TokenInfo(*row)
            for row in connection.execute(f"SELECT {_COLUMNS} FROM api_tokens ORDER BY token_id")
        ]


def revoke_token(connection: sqlite3.Connection, name: str) -> None:
    """Make the token of a name invalid, from now on.

    Raises:
        TokenError: no valid token has that name.
        StoreError: the database cannot be written.
    """
    with transaction(connection):
        done = connection.execute(
            "UPDATE api_tokens SET revoked_at = strftime('%Y-%m-%dT%H:%M:%SZ', 'now')"
            " WHERE name = :name AND revoked_at IS NULL",
            {"name": name},
        )
        if done.rowcount == 0:
            raise TokenError(f"no valid token is named {name!r}; `pbxrouter token list` shows all")


def find_token(connection: sqlite3.Connection, token_hash: str) -> TokenInfo | None:
    """The valid token of a hash, noting that it was used; None if there is none."""
    with transaction(connection):
        row = connection.execute(
            f"SELECT {_COLUMNS} FROM api_tokens WHERE token_hash = :hash AND revoked_at IS NULL",
            {"hash": token_hash},
        ).fetchone()
        if row is None:
            return None
        # To the minute: not a write for each request.
        connection.execute(
            "UPDATE api_tokens SET last_used_at = strftime('%Y-%m-%dT%H:%M:00Z', 'now')"
            " WHERE token_id = :id AND last_used_at IS NOT strftime('%Y-%m-%dT%H:%M:00Z', 'now')",
            {"id": row[0]},
        )
        return TokenInfo(*row)
