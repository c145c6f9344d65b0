"""Adding, changing and voiding click-to-dial links, and counting their calls by day.

Every change is in the audit log.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from pbxrouter.database.audit import Actor, Change, changing
from pbxrouter.database.click_to_dial.link_values import (
    DialLink,
    LinkOptions,
    LinkValues,
    checked,
)
from pbxrouter.database.connection import read_row, reading, transaction
from pbxrouter.database.engine import Connection, dialect_of
from pbxrouter.database.values import bounded, read_as
from pbxrouter.errors import NotThere
from pbxrouter.text import sentence

MAX_GENERATION: Final = 999_999_999
"""Nine digits, for which a signed link has room (pbxrouter.click_to_dial)."""

_TABLE: Final = "dial_links"
_KIND: Final = "dial_link"

_FIELDS: Final = tuple(field.name for field in dataclasses.fields(LinkValues))
# The day is in the join, or links without calls on it would be left out.
_SELECT: Final = (
    f"SELECT l.link_id, generation, disabled_at, coalesce(calls, 0), {', '.join(_FIELDS)} FROM dial_links l"
    " LEFT JOIN dial_link_calls c ON c.link_id = l.link_id AND c.day = :day"
)


def _link(row: tuple[Any, ...]) -> DialLink:
    link_id, generation, disabled_at, calls, *values = row
    return read_as(DialLink, (link_id, read_as(LinkValues, values), generation, disabled_at, calls))


def list_dial_links(connection: Connection, day: str) -> list[DialLink]:
    """List all links, by name.

    Args:
        day: the day whose calls are counted, such as 2026-11-23.
    """
    with reading(connection):
        by_name = dialect_of(connection).without_case("name")
        rows = connection.execute(f"{_SELECT} ORDER BY {by_name}, l.link_id", {"day": day})
        return [_link(row) for row in rows]


def dial_link(connection: Connection, link_id: int, day: str = "") -> DialLink:
    """Get a link.

    Raises:
        NotThere: there is no such link.
    """
    missing = NotThere(sentence("there is no click-to-dial link {id}", id=link_id))
    values = {"id": bounded(link_id), "day": day}
    return _link(read_row(connection, f"{_SELECT} WHERE l.link_id = :id", values, missing))


def add_dial_link(connection: Connection, actor: Actor, now: float, values: LinkValues, places: LinkOptions) -> int:
    """Add a link; returns its link_id.

    Args:
        now: epoch seconds, in all functions of this module.

    Raises:
        EditRefused: a value is not valid; the field is its name.
        StoreError: the database cannot be written, in all functions of this module.
    """
    values = checked(values, places)
    with changing(connection, actor, now, "create", _KIND, values.name) as change:
        return change.insert(_TABLE, dataclasses.asdict(values))


def update_dial_link(
    connection: Connection,
    actor: Actor,
    now: float,
    link_id: int,
    changes: Mapping[str, Any],
    places: LinkOptions,
) -> int | None:
    """Change values of a link; returns the audit_id, None if nothing was changed.

    Args:
        changes: new values by their names in LinkValues.

    Raises:
        EditRefused: a value is not valid.
        NotThere: there is no such link.
    """
    with _changing(connection, actor, now, "update", link_id) as (change, link):
        values = checked(dataclasses.replace(link.values, **changes), places)
        change.name = values.name
        change.update(_TABLE, link_id, dataclasses.asdict(values))
    return change.audit_id


def set_dial_link_enabled(connection: Connection, actor: Actor, now: float, link_id: int, enabled: bool) -> int | None:
    """Enable or disable a link; returns the audit_id, None if nothing was changed.

    Raises:
        NotThere: there is no such link.
    """
    with _changing(connection, actor, now, "enable" if enabled else "disable", link_id) as (change, link):
        if link.enabled != enabled:
            change.update(_TABLE, link_id, {"disabled_at": None if enabled else now})
    return change.audit_id


def void_dial_link(connection: Connection, actor: Actor, now: float, link_id: int) -> int | None:
    """Void all signed links of a link; returns the audit_id.

    Raises:
        NotThere: there is no such link.
    """
    with _changing(connection, actor, now, "void", link_id) as (change, link):
        change.update(_TABLE, link_id, {"generation": _another(link.generation)})
    return change.audit_id


def _another(generation: int) -> int:
    """A random generation other than this one.

    Counting up would repeat a generation after an undo, and links signed with it would be valid
    again.
    """
    while True:
        drawn = secrets.randbelow(MAX_GENERATION) + 1
        if drawn != generation:
            return drawn


def delete_dial_link(connection: Connection, actor: Actor, now: float, link_id: int) -> int | None:
    """Delete a link; returns the audit_id.

    Raises:
        NotThere: there is no such link.
    """
    with _changing(connection, actor, now, "delete", link_id) as (change, _):
        change.delete(_TABLE, link_id)
    return change.audit_id


@contextmanager
def _changing(
    connection: Connection, actor: Actor, now: float, action: str, link_id: int
) -> Iterator[tuple[Change, DialLink]]:
    with changing(connection, actor, now, action, _KIND) as change:
        link = dial_link(connection, link_id)
        change.name = link.values.name
        yield change, link


# --- calls --------------------------------------------------------------------


def take_call(connection: Connection, link_id: int, day: str, cap: int) -> bool:
    """Count a call of a link; False if it has reached its limit of the day, or is disabled.

    Args:
        day: the day in the PBX's time zone, such as 2026-11-23.
        cap: the limit of calls per day.
    """
    with transaction(connection):
        taken = connection.execute(
            "INSERT INTO dial_link_calls (link_id, day, calls)"
            " SELECT link_id, :day, 1 FROM dial_links"
            " WHERE link_id = :id AND disabled_at IS NULL AND :cap > 0"
            " ON CONFLICT (link_id, day) DO UPDATE SET calls = dial_link_calls.calls + 1"
            " WHERE dial_link_calls.calls < :cap",
            {"id": bounded(link_id), "day": day, "cap": cap},
        )
        return taken.rowcount > 0


def give_call_back(connection: Connection, link_id: int, day: str) -> None:
    """Uncount a call that could not be started."""
    with transaction(connection):
        connection.execute(
            "UPDATE dial_link_calls SET calls = calls - 1 WHERE link_id = :id AND day = :day AND calls > 0",
            {"id": bounded(link_id), "day": day},
        )
