"""Granting and revoking, one grant or a page of the matrix at a time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pbxrouter.database.audit import Actor, Edited, changing
from pbxrouter.database.connection import read_row
from pbxrouter.database.edit_text import no_mapping
from pbxrouter.database.engine import Connection
from pbxrouter.database.rules.holder_edits import holder_name
from pbxrouter.database.rules.holders import HOLDERS, Grant, holders
from pbxrouter.database.values import bounded, text_of
from pbxrouter.errors import EditRefused
from pbxrouter.text import sentence


@dataclass(frozen=True, slots=True)
class GrantsSet:
    """The numbers of grants that were granted and revoked."""

    granted: int
    revoked: int


def grant(connection: Connection, actor: Actor, now: float, wanted: Grant) -> Edited[bool]:
    """Grant a mapping to a holder; the value is False if it was granted already.

    Raises:
        NotThere: there is no such extension, user or mapping.
        StoreError: the database cannot be written.
    """
    edited = set_grants(connection, actor, now, {wanted}, {wanted})
    return Edited(edited.value.granted == 1, edited.audit_id)


def revoke(connection: Connection, actor: Actor, now: float, unwanted: Grant) -> Edited[bool]:
    """Revoke a grant; the value is False if it did not exist.

    Raises:
        NotThere, StoreError: as grant.
    """
    edited = set_grants(connection, actor, now, {unwanted}, set())
    return Edited(edited.value.revoked == 1, edited.audit_id)


def set_grants(
    connection: Connection,
    actor: Actor,
    now: float,
    shown: Collection[Grant],
    checked: Collection[Grant],
    was: Collection[Grant] | None = None,
) -> Edited[GrantsSet]:
    """Grant and revoke what a form's checkboxes say, as one entry of the audit log.

    Args:
        shown: all checkboxes of the form.
        checked: the checked ones; a grant that was not shown is refused.
        was: those that were checked when the form was shown. If given, only checkboxes that the
            user changed count, so that changes by others meanwhile stay. None counts all.

    Raises:
        EditRefused: a grant was checked that was not shown.
        NotThere: an extension, user or mapping of a changed checkbox is gone; nothing was changed.
        StoreError: the database cannot be written.
    """
    boxes, ticks = set(shown), set(checked)
    if not ticks <= boxes:
        raise EditRefused(sentence("the form contains a grant that was not shown; reload the page"))
    if was is not None:
        boxes = {box for box in boxes if (box in ticks) is not (box in was)}
    granted = revoked = 0
    with changing(connection, actor, now, "grant", "grant") as change:
        names: dict[tuple[str, int], str] = {}
        for box in sorted(boxes):
            table = holders(box.kind)
            holder = (box.kind, box.holder_id)
            if holder not in names:
                names[holder] = holder_name(connection, table, box.holder_id)
            if ("", box.map_id) not in names:
                names["", box.map_id] = _pattern(connection, box.map_id)
            grant_id = _grant_id(connection, box)
            if grant_id is None and box in ticks:
                change.insert(table.grants, {table.row_id: box.holder_id, "map_id": box.map_id})
                granted += 1
            elif grant_id is not None and box not in ticks:
                change.delete(table.grants, grant_id)
                revoked += 1
            else:
                continue
            change.name = f"{names[holder]} → {names['', box.map_id]}"
        if granted + revoked > 1:
            change.name = f"+{granted} -{revoked}"
        if not granted:
            change.action = "revoke"
    return Edited(GrantsSet(granted, revoked), change.audit_id)


def delete_orphans(connection: Connection, actor: Actor, now: float) -> Edited[int]:
    """Delete all grants whose holder or mapping is gone; the value is their number.

    SQL with foreign keys off leaves such grants behind. They have no effect.

    Raises:
        StoreError: the database cannot be written.
    """
    count = 0
    with changing(connection, actor, now, "revoke", "grant") as change:
        for table in HOLDERS.values():
            rows = connection.execute(
                f"SELECT {table.grant_id} FROM {table.grants} WHERE map_id NOT IN"
                f" (SELECT map_id FROM applications_mappings) OR {table.row_id} NOT IN"
                f" (SELECT {table.row_id} FROM {table.table})"
            ).fetchall()
            for (grant_id,) in rows:
                change.delete(table.grants, grant_id)
            count += len(rows)
        change.name = f"-{count}"
    return Edited(count, change.audit_id)


def _pattern(connection: Connection, map_id: int) -> str:
    query = "SELECT pattern FROM applications_mappings WHERE map_id = :id"
    return text_of(read_row(connection, query, {"id": bounded(map_id)}, no_mapping(map_id))[0])


def _grant_id(connection: Connection, grant: Grant) -> int | None:
    table = holders(grant.kind)
    row = connection.execute(
        f"SELECT {table.grant_id} FROM {table.grants} WHERE {table.row_id} = :holder AND map_id = :map_id",
        {"holder": grant.holder_id, "map_id": grant.map_id},
    ).fetchone()
    return None if row is None else int(row[0])
