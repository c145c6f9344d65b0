"""Changing the rules: each change is checked, and in the audit log.

What is refused is refused in words, with the field that it is about. What is deleted takes its
grants along, and an undo (audit) brings all of it back. Extensions and users are changed in
holder_edits, grants in grant_edits.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any, Final

from pbxrouter.database.audit import Actor, Change, changing
from pbxrouter.database.edit_text import MAX_NAME, checked_text, no_mapping
from pbxrouter.database.rules.grant_edits import (
    delete_orphans,
    grant,
    revoke,
    set_grants,
)
from pbxrouter.database.rules.holder_edits import (
    add_extension,
    add_user,
    delete_holder,
    generate_user_pin,
    set_user_pin,
    update_extension,
    update_user,
)
from pbxrouter.database.values import bounded, text_of
from pbxrouter.errors import EditConflict, EditRefused, PatternError
from pbxrouter.rules import Pattern
from pbxrouter.text import sentence

__all__ = [
    "MappingValues",
    "add_extension",
    "add_mapping",
    "add_user",
    "checked",
    "delete_holder",
    "delete_mapping",
    "delete_orphans",
    "generate_user_pin",
    "grant",
    "revoke",
    "set_enabled",
    "set_grants",
    "set_user_pin",
    "update_extension",
    "update_mapping",
    "update_user",
]

MAX_DATA: Final = 255


@dataclass(frozen=True, slots=True)
class MappingValues:
    """What a mapping says."""

    pattern: str
    application: str
    data: str = ""
    enabled: bool = True


# --- mappings -----------------------------------------------------------------


def add_mapping(connection: sqlite3.Connection, actor: Actor, now: float, values: MappingValues) -> int:
    """Make a mapping, and return its number.

    Args:
        now: epoch seconds, as in all of these.

    Raises:
        EditRefused: a value cannot be used; the field is pattern, application or data.
        EditConflict: there is a mapping that says the same.
        StoreError: the database cannot be written.
    """
    values = checked(values)
    with changing(connection, actor, now, "create", "mapping", values.pattern) as change:
        _refuse_same(connection, values, 0)
        map_id = change.insert("applications_mappings", _columns(values))
        _switch(change, map_id, values.enabled)
    return map_id


def update_mapping(
    connection: sqlite3.Connection,
    actor: Actor,
    now: float,
    map_id: int,
    values: MappingValues,
    expected: MappingValues | None = None,
) -> None:
    """Change what a mapping says.

    Args:
        expected: what it said when it was shown; if it does not say that any more, nothing is changed.

    Raises:
        EditRefused, StoreError: as add_mapping.
        NotThere: there is no such mapping.
        EditConflict: another mapping says the same, or it is not as expected.
    """
    values = checked(values)
    with changing(connection, actor, now, "update", "mapping", values.pattern) as change:
        was = _mapping(connection, map_id)
        if expected is not None and was != expected:
            raise EditConflict(sentence("this was changed in the meantime; check it again"))
        _refuse_same(connection, values, map_id)
        wrote = change.update("applications_mappings", map_id, _columns(values))
        if _switch(change, map_id, values.enabled) and not wrote:
            change.action = "enable" if values.enabled else "disable"


def set_enabled(connection: sqlite3.Connection, actor: Actor, now: float, map_id: int, enabled: bool) -> None:
    """Switch a mapping on or off; its grants are kept.

    Raises:
        NotThere: there is no such mapping.
        StoreError: the database cannot be written.
    """
    with changing(connection, actor, now, "enable" if enabled else "disable", "mapping") as change:
        change.name = _mapping(connection, map_id).pattern
        _switch(change, map_id, enabled)


def delete_mapping(connection: sqlite3.Connection, actor: Actor, now: float, map_id: int) -> None:
    """Delete a mapping with its grants.

    Raises:
        NotThere: there is no such mapping.
        StoreError: the database cannot be written.
    """
    with changing(connection, actor, now, "delete", "mapping") as change:
        change.name = _mapping(connection, map_id).pattern
        change.delete("applications_mappings", map_id)


def checked(values: MappingValues) -> MappingValues:
    """The values as they are kept, without blanks around them.

    Raises:
        EditRefused: one cannot be used.
    """
    pattern = values.pattern.strip()
    try:
        Pattern.parse(pattern)
    except PatternError as error:
        raise EditRefused(error.sentence, "pattern") from None
    application = checked_text(
        values.application,
        "application",
        sentence("an application is 1 to {most} printable characters", most=MAX_NAME),
        MAX_NAME,
    )
    data = values.data.strip()
    if len(data) > MAX_DATA or not data.isprintable():
        raise EditRefused(
            sentence("the application's data has at most {most} printable characters", most=MAX_DATA),
            "data",
        )
    return MappingValues(pattern, application, data, values.enabled)


def _columns(values: MappingValues) -> dict[str, Any]:
    return {
        "pattern": values.pattern,
        "application_name": values.application,
        "application_data": values.data,
    }


def _mapping(connection: sqlite3.Connection, map_id: int) -> MappingValues:
    row = connection.execute(
        "SELECT pattern, application_name, application_data, mappings_disabled.map_id IS NULL"
        " FROM applications_mappings LEFT JOIN mappings_disabled USING (map_id) WHERE map_id = :id",
        {"id": bounded(map_id)},
    ).fetchone()
    if row is None:
        raise no_mapping(map_id)
    pattern, application, data = map(text_of, row[:3])
    return MappingValues(pattern, application, data, bool(row[3]))


def _refuse_same(connection: sqlite3.Connection, values: MappingValues, but: int) -> None:
    found = connection.execute(
        "SELECT map_id FROM applications_mappings WHERE pattern = :pattern AND application_data = :data"
        " AND lower(application_name) = lower(:application_name) AND map_id <> :but LIMIT 1",
        {
            "pattern": values.pattern,
            "data": values.data,
            "application_name": values.application,
            "but": bounded(but),
        },
    ).fetchone()
    if found:
        raise EditConflict(
            sentence("mapping {number} already has this pattern, application and data", number=found[0]),
            "pattern",
        )


def _switch(change: Change, map_id: int, enabled: bool) -> bool:
    """See that a mapping is on or off; whether that made a difference."""
    is_off = change.connection.execute("SELECT 1 FROM mappings_disabled WHERE map_id = :id", {"id": map_id}).fetchone()
    if enabled is not bool(is_off):
        return False
    if enabled:
        change.delete("mappings_disabled", map_id)
    else:
        change.insert("mappings_disabled", {"map_id": map_id})
    return True
