"""Sessions of the console, and the one-time link that creates the first admin.

A browser has 32 random bytes; the database has only their hash (security.hash_token).
"""

from __future__ import annotations

from typing import Final

from pbxrouter.database.access.console_users import (
    ConsoleUser,
    any_console_user,
    insert_console_user,
    user_of_row,
)
from pbxrouter.database.audit import Actor, changing
from pbxrouter.database.connection import reading, transaction
from pbxrouter.database.engine import Connection
from pbxrouter.errors import EditRefused
from pbxrouter.security import Role
from pbxrouter.text import sentence

IDLE_S: Final = 8 * 3600.0
"""How long a session lasts without use, in seconds."""
LONGEST_S: Final = 7 * 86_400.0
"""How long a session lasts at most, in seconds."""
SETUP_S: Final = 24 * 3600.0
"""How long the set-up link is valid, in seconds."""

_USER: Final = (
    "SELECT console_user_id, login, role, phone, language, console_users.created_at, last_login_at,"
    " disabled_at IS NULL FROM console_sessions JOIN console_users USING (console_user_id)"
    " WHERE session_hash = :hash AND disabled_at IS NULL"
    " AND last_used_at > :idle AND console_sessions.created_at > :oldest"
)


def open_session(connection: Connection, console_user_id: int, session_hash: str, address: str, now: float) -> None:
    """Add a session for a login, and delete the expired ones."""
    with transaction(connection):
        _forget_old(connection, now)
        _open(connection, console_user_id, session_hash, address, now)


def _open(connection: Connection, console_user_id: int, session_hash: str, address: str, now: float) -> None:
    connection.execute(
        "INSERT INTO console_sessions (session_hash, console_user_id, created_at, last_used_at, address)"
        " VALUES (:hash, :id, :now, :now, :address)",
        {"hash": session_hash, "id": console_user_id, "now": now, "address": address},
    )
    connection.execute(
        "UPDATE console_users SET last_login_at = :now WHERE console_user_id = :id",
        {"now": now, "id": console_user_id},
    )


def session_user(connection: Connection, session_hash: str, now: float) -> tuple[ConsoleUser, bool] | None:
    """The user of a session, and whether ``touch_session`` is due; None if it does not exist or has expired."""
    values = {"hash": session_hash, "idle": now - IDLE_S, "oldest": now - LONGEST_S}
    with reading(connection):
        row = connection.execute(_USER, values).fetchone()
        if row is None:
            return None
        stale = connection.execute(
            "SELECT last_used_at < :minute FROM console_sessions WHERE session_hash = :hash",
            {"minute": now - 60, "hash": session_hash},
        ).fetchone()[0]
    return user_of_row(row), bool(stale)


def touch_session(connection: Connection, session_hash: str, now: float) -> None:
    """Note that a session was used; once a minute is enough."""
    with transaction(connection, outlasts_power=False):
        connection.execute(
            "UPDATE console_sessions SET last_used_at = :now WHERE session_hash = :hash",
            {"now": now, "hash": session_hash},
        )


def live_sessions(connection: Connection, now: float) -> frozenset[str]:
    """The hashes of all sessions that have not expired."""
    with reading(connection):
        rows = connection.execute(
            "SELECT session_hash FROM console_sessions JOIN console_users USING (console_user_id)"
            " WHERE disabled_at IS NULL AND last_used_at > :idle AND console_sessions.created_at > :oldest",
            {"idle": now - IDLE_S, "oldest": now - LONGEST_S},
        ).fetchall()
    return frozenset(row[0] for row in rows)


def close_session(connection: Connection, session_hash: str) -> None:
    """Delete a session, at a logout."""
    with transaction(connection):
        connection.execute("DELETE FROM console_sessions WHERE session_hash = :hash", {"hash": session_hash})


def _forget_old(connection: Connection, now: float) -> None:
    connection.execute(
        "DELETE FROM console_sessions WHERE last_used_at <= :idle OR created_at <= :oldest",
        {"idle": now - IDLE_S, "oldest": now - LONGEST_S},
    )


def put_setup_link(connection: Connection, link_hash: str, now: float) -> None:
    """Store a set-up link in place of the one before."""
    with transaction(connection):
        connection.execute("DELETE FROM console_setup")
        connection.execute(
            "INSERT INTO console_setup (link_hash, expires_at) VALUES (:hash, :expires)",
            {"hash": link_hash, "expires": now + SETUP_S},
        )


def is_setup_link(connection: Connection, link_hash: str, now: float) -> bool:
    """Whether a set-up link is valid."""
    with reading(connection):
        found = connection.execute(
            "SELECT 1 FROM console_setup WHERE link_hash = :hash AND expires_at > :now",
            {"hash": link_hash, "now": now},
        ).fetchone()
    return found is not None


def use_setup_link(
    connection: Connection,
    link_hash: str,
    now: float,
    login: str,
    password_hash: str,
    actor: Actor,
) -> int:
    """Create an admin by the set-up link, which is then void; returns the console_user_id.

    Raises:
        EditRefused: the link was used, was replaced or has expired; or the login is not valid, and the link stays.
        EditConflict: the login is in use, and the link stays.
    """
    with changing(connection, actor, now, "create", "console_user") as change:
        used = connection.execute(
            "DELETE FROM console_setup WHERE link_hash = :hash AND expires_at > :now", {"hash": link_hash, "now": now}
        )
        if used.rowcount == 0:
            raise EditRefused(sentence("this set-up link has been used or has expired"))
        return insert_console_user(change, now, login, password_hash, Role.ADMIN)


def needs_setup(connection: Connection) -> bool:
    """Whether there is no console user yet."""
    return not any_console_user(connection)
