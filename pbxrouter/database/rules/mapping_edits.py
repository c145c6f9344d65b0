"""Adding, changing, disabling and deleting mappings; each change is checked and in the audit log."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from pbxrouter.database.audit import Actor, Change, Edited, changing
from pbxrouter.database.edit_text import MAX_NAME, checked_text
from pbxrouter.database.engine import Connection, dialect_of
from pbxrouter.database.rules.lists import mapping
from pbxrouter.database.values import bounded
from pbxrouter.errors import EditConflict, EditRefused, PatternError
from pbxrouter.rules import Applications, Mapping, Pattern, example
from pbxrouter.text import sentence

MAX_DATA: Final = 255
"""The longest application data, in characters."""


@dataclass(frozen=True, slots=True)
class MappingValues:
    """The values of a mapping."""

    pattern: str
    application: str
    data: str = ""
    enabled: bool = True

    @classmethod
    def of(cls, mapping: Mapping) -> MappingValues:
        """The values of a mapping that exists."""
        return cls(mapping.pattern, mapping.application, mapping.data, mapping.enabled)


def add_mapping(
    connection: Connection,
    actor: Actor,
    now: float,
    values: MappingValues,
    applications: Applications | None = None,
) -> Edited[int]:
    """Add a mapping; the value is its map_id.

    Args:
        now: epoch seconds, in all functions of this module.
        applications: check application and data; None: any are stored.

    Raises:
        EditRefused: a value is not valid; the field is pattern, application or data.
        EditConflict: there is a mapping with the same values.
        StoreError: the database cannot be written.
    """
    values = checked(values)
    refuse_unworkable(values, applications)
    with changing(connection, actor, now, "create", "mapping", values.pattern) as change:
        _refuse_same(connection, values, 0)
        map_id = change.insert("applications_mappings", _columns(values))
        _switch(change, map_id, values.enabled)
    return Edited(map_id, change.audit_id)


def update_mapping(
    connection: Connection,
    actor: Actor,
    now: float,
    map_id: int,
    values: MappingValues,
    expected: MappingValues | None = None,
    applications: Applications | None = None,
) -> Edited[None]:
    """Change the values of a mapping.

    Args:
        expected: its values when it was shown; if they differ now, nothing is changed.
        applications: check pattern, application and data, if one of them changes; None: any are stored.

    Raises:
        EditRefused, StoreError: as add_mapping.
        NotThere: there is no such mapping.
        EditConflict: another mapping has the same values, or it is not as expected.
    """
    values = checked(values)
    with changing(connection, actor, now, "update", "mapping", values.pattern) as change:
        was = MappingValues.of(mapping(connection, map_id))
        if expected is not None and was != expected:
            raise EditConflict(sentence("this was changed in the meantime; check it again"))
        if values != replace(was, enabled=values.enabled):
            refuse_unworkable(values, applications)
        _refuse_same(connection, values, map_id)
        wrote = change.update("applications_mappings", map_id, _columns(values))
        if _switch(change, map_id, values.enabled) and not wrote:
            change.action = "enable" if values.enabled else "disable"
    return Edited(None, change.audit_id)


def set_enabled(connection: Connection, actor: Actor, now: float, map_id: int, enabled: bool) -> Edited[None]:
    """Enable or disable a mapping; its grants are kept.

    Raises:
        NotThere: there is no such mapping.
        StoreError: the database cannot be written.
    """
    with changing(connection, actor, now, "enable" if enabled else "disable", "mapping") as change:
        change.name = mapping(connection, map_id).pattern
        _switch(change, map_id, enabled)
    return Edited(None, change.audit_id)


def delete_mapping(connection: Connection, actor: Actor, now: float, map_id: int) -> Edited[None]:
    """Delete a mapping and its grants.

    Raises:
        NotThere: there is no such mapping.
        StoreError: the database cannot be written.
    """
    with changing(connection, actor, now, "delete", "mapping") as change:
        change.name = mapping(connection, map_id).pattern
        change.delete("applications_mappings", map_id)
    return Edited(None, change.audit_id)


def checked(values: MappingValues) -> MappingValues:
    """The values as they are stored, without surrounding blanks.

    Raises:
        EditRefused: one is not valid.
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


def refuse_unworkable(values: MappingValues, applications: Applications | None) -> None:
    """Refuse pattern, application and data with which no call would work.

    Raises:
        EditRefused: the pattern matches no number, no driver provides the application, or its driver says what is
            wrong with the data.
    """
    if applications is None:
        return
    if values.application.lower() not in applications:
        raise EditRefused(
            sentence(
                "no driver provides the application {name}; accepted are {names}",
                name=values.application,
                names=", ".join(sorted(applications)),
            ),
            "application",
        )
    pattern = Pattern.parse(values.pattern)
    if example(pattern) is None:
        raise EditRefused(
            sentence("{pattern} matches no number that can be dialled", pattern=values.pattern), "pattern"
        )
    why = applications.problem(values.application, values.data, pattern)
    if why is not None:
        raise EditRefused(why, "data")


def _columns(values: MappingValues) -> dict[str, Any]:
    return {
        "pattern": values.pattern,
        "application_name": values.application,
        "application_data": values.data,
    }


def _refuse_same(connection: Connection, values: MappingValues, but: int) -> None:
    without_case = dialect_of(connection).without_case
    found = connection.execute(
        "SELECT map_id FROM applications_mappings WHERE pattern = :pattern AND application_data = :data"
        f" AND {without_case('application_name')} = {without_case(':application_name')} AND map_id <> :but LIMIT 1",
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
    """Enable or disable a mapping, and return whether that changed it."""
    is_off = change.connection.execute("SELECT 1 FROM mappings_disabled WHERE map_id = :id", {"id": map_id}).fetchone()
    if enabled is not bool(is_off):
        return False
    if enabled:
        change.delete("mappings_disabled", map_id)
    else:
        change.insert("mappings_disabled", {"map_id": map_id})
    return True
