"""API tokens: adding, listing, revoking and finding them; only their hashes are stored.

Additions and revocations are in the audit log.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any, Final

from pbxrouter.database.audit import Actor, changing
from pbxrouter.database.connection import read_row, reading, transaction
from pbxrouter.database.engine import Connection
from pbxrouter.database.values import bounded, read_as, text_of
from pbxrouter.errors import EditConflict, EditRefused, NotThere
from pbxrouter.security import Scope, TokenInfo, scopes_of, scopes_text
from pbxrouter.text import sentence

_TABLE: Final = "api_tokens"
_COLUMNS: Final = "token_id, name, created_at, last_used_at, revoked_at, scopes"
MAX_TOKEN_NAME: Final = 80


def add_token(
    connection: Connection,
    actor: Actor,
    now: float,
    name: str,
    token_hash: str,
    scopes: Collection[Scope],
) -> int:
    """Add a token; returns its token_id.

    Args:
        now: epoch seconds.
        token_hash: from security.hash_token.

    Raises:
        EditRefused: the name is not valid, or there is no scope.
        EditConflict: a valid token has that name.
        StoreError: the database cannot be written.
    """
    if not name.strip() or len(name) > MAX_TOKEN_NAME or not name.isprintable():
        raise EditRefused(sentence("a token's name is 1 to {most} printable characters", most=MAX_TOKEN_NAME), "name")
    if not scopes:
        raise EditRefused(
            sentence("a token needs at least one scope: {scopes}", scopes=scopes_text(Scope).replace(" ", ", ")),
            "scopes",
        )
    with changing(connection, actor, now, "create", "token", name) as change:
        if _valid(connection, name) is not None:
            raise EditConflict(
                sentence("there is already a token named {name}; revoke it or choose another name", name=name),
                "name",
            )
        return change.insert(_TABLE, {"name": name, "token_hash": token_hash, "scopes": scopes_text(scopes)})


def list_tokens(connection: Connection) -> list[TokenInfo]:
    """List all tokens, including revoked ones, oldest first."""
    with reading(connection):
        return [_info(row) for row in connection.execute(f"SELECT {_COLUMNS} FROM api_tokens ORDER BY token_id")]


def token(connection: Connection, token_id: int) -> TokenInfo:
    """Get a token, valid or revoked.

    Raises:
        NotThere: there is no such token.
    """
    query = f"SELECT {_COLUMNS} FROM api_tokens WHERE token_id = :id"
    missing = NotThere(sentence("there is no token {id}", id=token_id))
    return _info(read_row(connection, query, {"id": bounded(token_id)}, missing))


def revoke_token(connection: Connection, actor: Actor, now: float, token_id: int) -> None:
    """Revoke a token.

    Args:
        now: epoch seconds.

    Raises:
        NotThere: there is no valid token of that number.
        StoreError: the database cannot be written.
    """
    with changing(connection, actor, now, "revoke", "token") as change:
        row = connection.execute(
            "SELECT name FROM api_tokens WHERE token_id = :id AND revoked_at IS NULL", {"id": bounded(token_id)}
        ).fetchone()
        if row is None:
            raise NotThere(sentence("there is no valid token {id}", id=token_id))
        change.name = row[0]
        change.update(_TABLE, token_id, {"revoked_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))})


def valid_token(connection: Connection, name: str) -> int:
    """The token_id of the valid token of a name.

    Raises:
        NotThere: there is no valid token of that name.
    """
    with reading(connection):
        found = _valid(connection, name)
    if found is None:
        raise NotThere(sentence("no valid token is named {name}; `pbxrouter token list` shows all", name=name), "name")
    return found


def find_token(connection: Connection, token_hash: str) -> TokenInfo | None:
    """Find the valid token of a hash; None if there is none."""
    with reading(connection):
        row = connection.execute(
            f"SELECT {_COLUMNS} FROM api_tokens WHERE token_hash = :hash AND revoked_at IS NULL",
            {"hash": token_hash},
        ).fetchone()
    return None if row is None else _info(row)


def note_use(connection: Connection, token_id: int) -> None:
    """Record the use of a token, by the minute."""
    with transaction(connection, outlasts_power=False):
        connection.execute(
            "UPDATE api_tokens SET last_used_at = :minute"
            " WHERE token_id = :id AND (last_used_at IS NULL OR last_used_at <> :minute)",
            {"id": token_id, "minute": time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime())},
        )


def _valid(connection: Connection, name: str) -> int | None:
    row = connection.execute(
        "SELECT token_id FROM api_tokens WHERE name = :name AND revoked_at IS NULL", {"name": name}
    ).fetchone()
    return None if row is None else int(row[0])


def _info(row: tuple[Any, ...]) -> TokenInfo:
    # SQL can have stored any text: unknown scopes are ignored.
    return read_as(TokenInfo, (*row[:-1], scopes_of(text_of(row[-1]))))
