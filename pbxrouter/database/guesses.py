"""Wrong PINs in the database: shared by all gateways on it, and kept over restarts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pbxrouter.database.audit import Actor, note
from pbxrouter.database.connection import reading, transaction
from pbxrouter.database.engine import Connection
from pbxrouter.database.values import count_of, seconds_of, text_of
from pbxrouter.errors import NotThere
from pbxrouter.security import (
    LOCKING_SCOPES,
    SCOPES,
    GuessKey,
    Ruling,
    bounded,
    charged,
    charges,
    guesses,
    lock_bounds,
    refunded,
    rule,
)
from pbxrouter.text import sentence

MAX_LISTED: Final = 200
"""Keys that are listed at most."""
MAX_KEYS: Final = 50_000
"""Keys that are kept at most; the ones that are forgiven first give way."""
MAX_KNOWN: Final = 10_000
"""Callers that are remembered for a right PIN at most; the ones whose last right PIN is oldest give way."""
KNOWN_S: Final = 30 * 86_400.0
"""Seconds for which a caller is remembered for a right PIN."""


@dataclass(frozen=True, slots=True)
class WrongGuesses:
    """The wrong guesses of one key.

    Attributes:
        open: how many are not forgiven yet.
        total: how many there have been since the row was made.
        unchecked: how many PINs were not checked while it was locked.
        last: epoch second of the last guess.
        forgiven_at: epoch second at which all are forgiven.
        is_locked: whether its next PIN is not checked.
    """

    key: GuessKey
    open: int
    total: int
    unchecked: int
    last: float
    forgiven_at: float
    is_locked: bool


@dataclass(frozen=True, slots=True)
class LockoutFigures:
    """The lock-outs at one moment.

    Attributes:
        locked: how many endpoints, numbers, and numbers on trunks are locked out.
        attacked: whether wrong PINs come from many places, at the gateway or at one mapping.
    """

    locked: int
    attacked: bool


def admit_guess(
    connection: Connection,
    keys: tuple[GuessKey, ...],
    now: float,
    is_known: bool = False,
    unfinished: Mapping[GuessKey, int] = MappingProxyType({}),
    again: bool = False,
) -> Ruling:
    """Rule on a call's next PIN, and charge a guess to each of its keys in the same transaction.

    The charge is taken back by ``refund_guess`` if the PIN is right. While a key is locked nothing is charged, but the
    same number of rows is written, so that the answer takes the same time.

    Args:
        is_known: whether the caller is known; see ``rule``.
        unfinished: see ``rule``.
        again: whether the same PIN was counted as not checked before, which then is taken back.

    Raises:
        StoreError: the database cannot be written now.
    """
    with transaction(connection, outlasts_power=False):
        forgiven_at = {key: bounded(key, _times(connection, key, now)[0], now) for key in keys}
        ruling = rule(keys, forgiven_at, now, is_known, unfinished)
        locked = ruling.locked_by is not None
        for key in charges(keys, ruling) or keys:
            connection.execute(
                "INSERT INTO pin_guesses (scope, name, forgiven_at, wrong, unchecked, last_at)"
                " VALUES (:scope, :name, :forgiven_at, :wrong, :unchecked, :now)"
                " ON CONFLICT (scope, name) DO UPDATE SET forgiven_at = excluded.forgiven_at,"
                " wrong = pin_guesses.wrong + excluded.wrong,"
                " unchecked = max(0, pin_guesses.unchecked + excluded.unchecked - :again), last_at = excluded.last_at",
                {
                    "again": int(again),
                    "scope": key.scope,
                    "name": _storable(key.name),
                    "forgiven_at": forgiven_at[key] if locked else charged(key, forgiven_at[key], now),
                    "wrong": 0 if locked else 1,
                    "unchecked": 1 if locked else 0,
                    "now": now,
                },
            )
    return ruling


def refund_guess(connection: Connection, keys: tuple[GuessKey, ...], now: float) -> None:
    """Take back what ``admit_guess`` charged, since the PIN was right.

    Raises:
        StoreError: the database cannot be written now.
    """
    with transaction(connection, outlasts_power=False):
        for key in keys:
            if key.scope == "queue":  # a place in it is used up by a right PIN, too
                continue
            forgiven_at, last_at = _times(connection, key, now)
            connection.execute(
                "UPDATE pin_guesses SET forgiven_at = :forgiven_at, wrong = max(0, wrong - 1), last_at = :last_at"
                " WHERE scope = :scope AND name = :name",
                {
                    # Not later than the last guess, so that nothing is open if the clock is set back.
                    "forgiven_at": refunded(key, forgiven_at, last_at),
                    "last_at": last_at,
                    "scope": key.scope,
                    "name": _storable(key.name),
                },
            )


def note_known(connection: Connection, key: GuessKey, now: float) -> None:
    """Remember a caller for a right PIN.

    Raises:
        StoreError: the database cannot be written now.
    """
    with transaction(connection):
        connection.execute(
            "INSERT INTO pin_guesses (scope, name, forgiven_at, last_at) VALUES ('known', :name, 0, :now)"
            " ON CONFLICT (scope, name) DO UPDATE SET last_at = excluded.last_at",
            {"name": _known_as(key), "now": now},
        )


def is_known(connection: Connection, key: GuessKey, now: float) -> bool:
    """Whether a caller has keyed a right PIN within KNOWN_S.

    Raises:
        StoreError: the database cannot be read now.
    """
    with reading(connection):
        row = connection.execute(
            "SELECT 1 FROM pin_guesses WHERE scope = 'known' AND name = :name AND last_at > :limit",
            {"name": _known_as(key), "limit": now - KNOWN_S},
        ).fetchone()
    return row is not None


def list_guesses(connection: Connection, now: float) -> list[WrongGuesses]:
    """List the keys whose guesses are not all forgiven, the locked ones and the latest first, at most MAX_LISTED.

    Raises:
        StoreError: the database cannot be read now.
    """
    with reading(connection):
        bounds = lock_bounds(_is_attacked(connection, now))
        rows = connection.execute(
            f"SELECT scope, name, {_FORGIVEN_AT}, wrong, unchecked, last_at, {_IS_LOCKED} FROM pin_guesses"
            f" WHERE {_FORGIVEN_AT} > :now AND scope <> 'queue' ORDER BY {_IS_LOCKED} DESC, last_at DESC, scope, name"
            " LIMIT :limit",
            {"now": now, "limit": MAX_LISTED, **bounds},
        ).fetchall()
    found = []
    for scope, name, forgiven_at, wrong, unchecked, last_at, is_locked in rows:
        if scope not in SCOPES:  # written by hand
            continue
        key, forgiven_at, last_at = (
            GuessKey(text_of(scope), text_of(name)),
            seconds_of(forgiven_at),
            seconds_of(last_at),
        )
        wrong, unchecked = count_of(wrong), count_of(unchecked)
        count = guesses(key, forgiven_at, now)
        found.append(WrongGuesses(key, count, wrong, unchecked, last_at, forgiven_at, bool(is_locked)))
    return found


def lockout_figures(connection: Connection, now: float) -> LockoutFigures:
    """Count the callers that are locked out now.

    Raises:
        StoreError: the database cannot be read now.
    """
    with reading(connection):
        attacked = _is_attacked(connection, now)
        rows = connection.execute(
            "SELECT scope, count(*) FROM pin_guesses"
            f" WHERE {_FORGIVEN_AT} > :now AND scope <> 'queue' AND {_IS_LOCKED} GROUP BY scope",
            {"now": now, **lock_bounds(attacked)},
        ).fetchall()
    counts = dict(rows)
    return LockoutFigures(sum(counts.get(scope, 0) for scope in LOCKING_SCOPES), attacked or "mapping" in counts)


def lift_lockout(connection: Connection, actor: Actor, now: float, key: GuessKey) -> None:
    """Forgive the wrong guesses of a key, and note it in the audit log.

    Raises:
        NotThere: nothing is held against it.
        StoreError: the database cannot be written now.
    """
    who = f"{key.scope} {key.name}".strip()
    with transaction(connection):
        lifted = connection.execute(
            "DELETE FROM pin_guesses WHERE scope = :scope AND name = :name AND forgiven_at > :now",
            {"scope": key.scope, "name": _storable(key.name), "now": now},
        ).rowcount
        if not lifted:
            raise NotThere(sentence("no wrong PINs are held against {who}", who=who))
        note(connection, actor, now, "lift", "lockout", who)


def lift_guesses(connection: Connection, keys: Iterable[GuessKey]) -> int:
    """Forgive the wrong guesses of keys; returns how many of the keys had any.

    Raises:
        StoreError: the database cannot be written now.
    """
    lifted = 0
    with transaction(connection):
        for key in keys:
            lifted += connection.execute(
                "DELETE FROM pin_guesses WHERE scope = :scope AND name = :name",
                {"scope": key.scope, "name": _storable(key.name)},
            ).rowcount
    return lifted


def forget_guesses(connection: Connection, now: float) -> None:
    """Delete the rows whose guesses were all forgiven a day ago, and those above MAX_KEYS and MAX_KNOWN.

    Above MAX_KEYS the ones that are forgiven first go: a flood of new keys, with a guess or two each, takes no
    lock-out away.

    Raises:
        StoreError: the database cannot be written now.
    """
    with transaction(connection, outlasts_power=False):
        connection.execute(
            "DELETE FROM pin_guesses WHERE scope <> 'known' AND forgiven_at < :limit", {"limit": now - 86_400}
        )
        connection.execute(
            "DELETE FROM pin_guesses WHERE scope = 'known' AND last_at <= :limit", {"limit": now - KNOWN_S}
        )
        for kept, order, most in (
            ("scope <> 'known'", "forgiven_at", MAX_KEYS),
            ("scope = 'known'", "last_at", MAX_KNOWN),
        ):
            (count,) = connection.execute(f"SELECT count(*) FROM pin_guesses WHERE {kept}").fetchone()
            if count > most:
                connection.execute(
                    f"DELETE FROM pin_guesses WHERE (scope, name) IN (SELECT scope, name FROM pin_guesses"
                    f" WHERE {kept} AND scope NOT IN ('mapping', 'gateway') ORDER BY {order}, last_at LIMIT :surplus)",
                    {"surplus": count - most},
                )


_FORGIVEN_AT: Final = "CASE WHEN last_at > :now THEN :now + forgiven_at - last_at ELSE forgiven_at END"
"""If the last guess lies in the future, the clock was set back since: what was open then is open from now on."""
_IS_LOCKED: Final = (
    f"{_FORGIVEN_AT} - :now > CASE scope WHEN 'mapping' THEN :mapping WHEN 'gateway' THEN :gateway"
    " WHEN 'peer' THEN :peer WHEN 'endpoint' THEN :endpoint"
    " ELSE CASE WHEN EXISTS (SELECT 1 FROM pin_guesses AS callers WHERE callers.scope = 'known'"
    f" AND callers.name = pin_guesses.scope || ' ' || pin_guesses.name AND callers.last_at > :now - {KNOWN_S})"
    " THEN :known ELSE :number END END"
)


def _is_attacked(connection: Connection, now: float) -> bool:
    """Whether the gateway-wide alarm is on."""
    bound = lock_bounds(False)["gateway"]
    return _times(connection, GuessKey("gateway", ""), now)[0] - now > bound


def _times(connection: Connection, key: GuessKey, now: float) -> tuple[float, float]:
    """When all guesses of a key are forgiven, and when the last one was, now at the latest."""
    row = connection.execute(
        f"SELECT {_FORGIVEN_AT}, min(last_at, :now) FROM pin_guesses WHERE scope = :scope AND name = :name",
        {"scope": key.scope, "name": _storable(key.name), "now": now},
    ).fetchone()
    return (seconds_of(row[0]), seconds_of(row[1])) if row else (0.0, 0.0)


def _known_as(key: GuessKey) -> str:
    return _storable(f"{key.scope} {key.name}")


def _storable(name: str) -> str:
    """Replace surrogates (bytes from a caller that were not UTF-8), which SQLite refuses, and bound the length."""
    return name[:100].encode("utf-8", "replace").decode("utf-8").replace("\0", "?")
