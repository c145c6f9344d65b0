"""A lock on a PostgreSQL server that one connection holds, of all on the database, until it ends."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from pbxrouter.database.engine import Connection

_CLASS: Final = 0x7062786C
"""The first key of these locks ("pbxl"); the second names schema and lock."""
_KEY: Final = "hashtext(current_schema() || ' ' || :name)"
_HOLDER: Final = (
    "SELECT pid = pg_backend_pid() FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    f" AND classid = CAST({_CLASS} AS oid) AND objid = CAST({_KEY} AS oid)"
)
_SESSION: Final = (
    "SELECT a.pid || ' ' || a.backend_start FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid"
    " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    f" AND l.classid = CAST({_CLASS} AS oid) AND l.objid = CAST({_KEY} AS oid)"
)
ENDING_S: Final = 2.0
"""Seconds that the end of a session is waited for."""
_LOOK_S: Final = 0.05
_NOTICE: Final = (
    # So that the server soon takes a machine for dead that says no more, and gives the lock free.
    "SELECT set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false),"
    " set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '25000', false)"
)


class LockHolder(Enum):
    """Who holds a lock."""

    NOBODY = auto()
    THIS = auto()
    ANOTHER = auto()


def lock_holder(connection: Connection, name: str) -> LockHolder:
    """Which connection holds the lock of a name: this one, another one, or none.

    Raises:
        DATABASE_ERRORS: the server cannot be asked.
    """
    row = connection.execute(_HOLDER, {"name": name}).fetchone()
    if row is None:
        return LockHolder.NOBODY
    return LockHolder.THIS if row[0] else LockHolder.ANOTHER


def take_lock(connection: Connection, name: str) -> bool:
    """Take the lock of a name, unless another connection holds it; whether this one holds it then.

    Raises:
        DATABASE_ERRORS: the server cannot be asked.
    """
    if lock_holder(connection, name) is LockHolder.THIS:
        return True
    connection.execute(_NOTICE)
    ((taken,),) = connection.execute(f"SELECT pg_try_advisory_lock({_CLASS}, {_KEY})", {"name": name}).fetchall()
    return bool(taken)


def session_with_lock(connection: Connection, name: str) -> str:
    """The session that holds the lock of a name, as the server names it; ``""`` if none does.

    Raises:
        DATABASE_ERRORS: the server cannot be asked.
    """
    row = connection.execute(_SESSION, {"name": name}).fetchone()
    return "" if row is None else str(row[0])


def take_lock_from(connection: Connection, name: str, session: str) -> bool:
    """Take the lock of a name from a session of this program whose connection is lost, which the server ends.

    Until the server notices that a connection is lost, its session holds its locks.

    Args:
        session: as session_with_lock told it.

    Returns:
        Whether this connection holds the lock now; not if another session than that one has it.

    Raises:
        DATABASE_ERRORS: the server cannot be asked.
    """
    if not session or session_with_lock(connection, name) != session:
        return take_lock(connection, name)
    connection.execute("SELECT pg_terminate_backend(CAST(:pid AS integer))", {"pid": int(session.partition(" ")[0])})
    for _ in range(round(ENDING_S / _LOOK_S)):
        if take_lock(connection, name):
            return True
        connection.execute(f"SELECT pg_sleep({_LOOK_S})")
    return False


def leave_lock(connection: Connection, name: str) -> None:
    """Leave the lock of a name, if this connection holds it.

    Raises:
        DATABASE_ERRORS: the server cannot be asked.
    """
    if lock_holder(connection, name) is LockHolder.THIS:
        connection.execute(f"SELECT pg_advisory_unlock({_CLASS}, {_KEY})", {"name": name})
