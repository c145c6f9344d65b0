"""The calls in progress that PINs have opened, of all gateways on the database: a PIN's limit is for them together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pbxrouter.database.connection import transaction
from pbxrouter.database.engine import Connection

STALE_S: Final = 60.0
"""A gateway's calls count no longer if it has not written them for so long: it was killed."""


def begin_pin_call(connection: Connection, gateway: str, user: str, calls: int, limit: int, now: float) -> bool:
    """Write that a gateway has so many calls of a user, unless all gateways together then had more than the limit.

    Args:
        gateway: names the gateway among those on the database.
        user: whose PIN opened the call.
        calls: the gateway's calls of this user, with the new one.
        limit: calls that the user may have at once.
        now: epoch seconds.

    Returns:
        Whether the user may have the call; if not, nothing is written.

    Raises:
        StoreError: the database cannot be written now.
    """
    with transaction(connection, outlasts_power=False):
        (others,) = connection.execute(
            "SELECT coalesce(sum(calls), 0) FROM pin_calls"
            " WHERE user_name = :user AND gateway <> :gateway AND abs(:now - written_at) < :stale",
            {"user": user, "gateway": gateway, "now": now, "stale": STALE_S},
        ).fetchone()
        if others + calls > limit:
            return False
        _write(connection, gateway, user, calls, now)
    return True


def write_pin_calls(
    connection: Connection, gateway: str, counts: Mapping[str, int], now: float, *, only: str | None = None
) -> None:
    """Write all that a gateway has, or its calls of one user, and delete what gateways left that were killed.

    Args:
        gateway: names the gateway.
        counts: by user, the calls that it has.
        now: epoch seconds.
        only: the user.

    Raises:
        StoreError: the database cannot be written now.
    """
    with transaction(connection, outlasts_power=False):
        connection.execute(
            "DELETE FROM pin_calls WHERE (gateway = :gateway AND (user_name = :only OR CAST(:only AS TEXT) IS NULL))"
            " OR abs(:now - written_at) >= :stale",
            {"gateway": gateway, "only": only, "now": now, "stale": STALE_S},
        )
        for user, calls in counts.items():
            if only in (None, user):
                _write(connection, gateway, user, calls, now)


def _write(connection: Connection, gateway: str, user: str, calls: int, now: float) -> None:
    connection.execute(
        "INSERT INTO pin_calls (gateway, user_name, calls, written_at) VALUES (:gateway, :user, :calls, :now)"
        " ON CONFLICT (gateway, user_name) DO UPDATE SET calls = excluded.calls, written_at = excluded.written_at",
        {"gateway": gateway, "user": user, "calls": calls, "now": now},
    )
