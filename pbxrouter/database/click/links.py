"""Click-to-dial links as rows: made, changed, made void, and how many calls each has begun on a day.

Every change is in the audit log. Everything here blocks.
"""

from __future__ import annotations

import dataclasses
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from pbxrouter.database.audit import Actor, Change, changing
from pbxrouter.database.click.link_values import (
    DialLink,
    LinkOptions,
    LinkValues,
    checked,
)
from pbxrouter.database.connection import reading, transaction
from pbxrouter.database.values import bounded
from pbxrouter.errors import NotThere
from pbxrouter.text import sentence

MAX_GENERATION: Final = 999_999_999
"""Nine digits, as a signed link has room for (signing)."""

_TABLE: Final = "dial_links"
_KIND: Final = "dial_link"

_FIELDS: Final = tuple(field.name for field in dataclasses.fields(LinkValues))
# The day belongs to the join, or a link without calls on it would not be there.
_SELECT: Final = (
    f"SELECT l.link_id, generation, disabled_at, coalesce(calls, 0), {', '.join(_FIELDS)} FROM dial_links l"
    " LEFT JOIN dial_link_calls c ON c.link_id = l.link_id AND c.day = :day"
)


def _link(row: tuple[Any, ...]) -> DialLink:
    link_id, generation, disabled_at, calls, *values = row
    return DialLink(link_id, LinkValues(*values), generation, disabled_at, calls)


def list_dial_links(connection: sqlite3.Connection, day: str) -> list[DialLink]:
    """All of them, by name.

    Args:
        day: such as 2026-11-23: whose calls are counted.
    """
    with reading(connection):
        rows = connection.execute(f"{_SELECT} ORDER BY name COLLATE NOCASE, l.link_id", {"day": day})
        return [_link(row) for row in rows]


def dial_link(connection: sqlite3.Connection, link_id: int, day: str = "") -> DialLink:
    """One of them.

    Raises:
        NotThere: none has that number.
    """
    with reading(connection):
        row = connection.execute(f"{_SELECT} WHERE l.link_id = :id", {"id": bounded(link_id), "day": day}).fetchone()
    if row is None:
        raise NotThere(sentence("there is no click-to-dial link {id}", id=link_id))
    return _link(row)


def add_dial_link(
    connection: sqlite3.Connection, actor: Actor, now: float, values: LinkValues, places: LinkOptions
) -> int:
    """Make a link; returns its number.

    Args:
        now: epoch seconds, as in all of these.

    Raises:
        EditRefused: a value cannot be used; the field is its name.
        StoreError: the database cannot be written, as in all of these.
    """
    values = checked(values, places)
    with changing(connection, actor, now, "create", _KIND, values.name) as change:
        return change.insert(_TABLE, dataclasses.asdict(values))


def update_dial_link(
    connection: sqlite3.Connection,
    actor: Actor,
    now: float,
    link_id: int,
    changes: Mapping[str, Any],
    places: LinkOptions,
) -> int | None:
    """Change what is given of a link; the number of the audit log's entry, None if nothing is other now.

    Args:
        changes: values by the names of LinkValues.

    Raises:
        EditRefused: a value cannot be used.
        NotThere: none has that number.
    """
    with _changing(connection, actor, now, "update", link_id) as (change, link):
        values = checked(dataclasses.replace(link.values, **changes), places)
        change.name = values.name
        change.update(_TABLE, link_id, dataclasses.asdict(values))
    return change.audit_id


def set_dial_link_enabled(
    connection: sqlite3.Connection, actor: Actor, now: float, link_id: int, enabled: bool
) -> int | None:
    """Put a link to use, or out of use; the number of the audit log's entry, None if it was so already.

    Raises:
        NotThere: none has that number.
    """
    with _changing(connection, actor, now, "enable" if enabled else "disable", link_id) as (change, link):
        if link.enabled != enabled:
            change.update(_TABLE, link_id, {"disabled_at": None if enabled else now})
    return change.audit_id


def void_dial_link(connection: sqlite3.Connection, actor: Actor, now: float, link_id: int) -> int | None:
    """Make all signed links that were given out void; the number of the audit log's entry.

    Raises:
        NotThere: none has that number.
    """
    with _changing(connection, actor, now, "void", link_id) as (change, link):
        change.update(_TABLE, link_id, {"generation": _another(link.generation)})
    return change.audit_id


def _another(generation: int) -> int:
    """A generation that this link never had.

    Not simply one more: if that is taken back, the next would be the same again, and what was
    signed in between would come back to life when all is made void.
    """
    while True:
        drawn = secrets.randbelow(MAX_GENERATION) + 1
        if drawn != generation:
            return drawn


def delete_dial_link(connection: sqlite3.Connection, actor: Actor, now: float, link_id: int) -> int | None:
    """Delete a link; the number of the audit log's entry.

    Raises:
        NotThere: none has that number.
    """
    with _changing(connection, actor, now, "delete", link_id) as (change, _):
        change.delete(_TABLE, link_id)
    return change.audit_id


@contextmanager
def _changing(
    connection: sqlite3.Connection, actor: Actor, now: float, action: str, link_id: int
) -> Iterator[tuple[Change, DialLink]]:
    with changing(connection, actor, now, action, _KIND) as change:
        link = dial_link(connection, link_id)
        change.name = link.values.name
        yield change, link


# --- calls --------------------------------------------------------------------


def take_call(connection: sqlite3.Connection, link_id: int, day: str, cap: int) -> bool:
    """Count one call more of a link; False if it has had all of that day, or is not in use.

    Args:
        day: such as 2026-11-23, in the PBX's time zone.
        cap: most calls a day.
    """
    with transaction(connection):
        taken = connection.execute(
            "INSERT INTO dial_link_calls (link_id, day, calls)"
            " SELECT link_id, :day, 1 FROM dial_links"
            " WHERE link_id = :id AND disabled_at IS NULL AND :cap > 0"
            " ON CONFLICT (link_id, day) DO UPDATE SET calls = calls + 1 WHERE calls < :cap",
            {"id": bounded(link_id), "day": day, "cap": cap},
        )
        return taken.rowcount > 0


def give_call_back(connection: sqlite3.Connection, link_id: int, day: str) -> None:
    """A call that was counted could not be begun."""
    with transaction(connection):
        connection.execute(
            "UPDATE dial_link_calls SET calls = calls - 1 WHERE link_id = :id AND day = :day AND calls > 0",
            {"id": bounded(link_id), "day": day},
        )
