"""Giving grants and taking them away, one or a matrix at a time, by the same rules as all edits (edits)."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass

from pbxrouter.database.audit import Actor, changing
from pbxrouter.database.edit_text import no_mapping
from pbxrouter.database.rules.holder_edits import holder_name
from pbxrouter.database.rules.holders import HOLDERS, Grant, holders
from pbxrouter.database.values import bounded, text_of
from pbxrouter.errors import EditRefused
from pbxrouter.text import sentence


@dataclass(frozen=True, slots=True)
class GrantsSet:
    """How many grants were given and taken away."""

    granted: int
    revoked: int


def grant(connection: sqlite3.Connection, actor: Actor, now: float, wanted: Grant) -> bool:
    """Let somebody use a mapping; False if they may already.

    Raises:
        NotThere: there is no such extension, user or mapping.
        StoreError: the database cannot be written.
    """
    return set_grants(connection, actor, now, {wanted}, {wanted}).granted == 1


def revoke(connection: sqlite3.Connection, actor: Actor, now: float, unwanted: Grant) -> bool:
    """Let somebody no longer use a mapping; False if they may not already.

    Raises:
        NotThere, StoreError: as grant.
    """
    return set_grants(connection, actor, now, {unwanted}, set()).revoked == 1


def set_grants(
    connection: sqlite3.Connection,
    actor: Actor,
    now: float,
    shown: Collection[Grant],
    checked: Collection[Grant],
    was: Collection[Grant] | None = None,
) -> GrantsSet:
    """Make the grants that were shown be those that were checked, as one entry of the audit log.

    Args:
        shown: all the boxes of the form.
        checked: those with a tick in them; what was not shown is refused.
        was: those that had a tick when it was shown. If given, only boxes that were changed
            count, so that what somebody else changed meanwhile stays. None counts all boxes.

    Raises:
        EditRefused: something was checked that was not shown.
        NotThere: an extension, user or mapping of a changed box is gone; nothing was changed.
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
            there = _grant_id(connection, box)
            if there is None and box in ticks:
                change.insert(table.grants, {table.row_id: box.holder_id, "map_id": box.map_id})
                granted += 1
            elif there is not None and box not in ticks:
                change.delete(table.grants, there)
                revoked += 1
            else:
                continue
            change.name = f"{names[holder]} → {names['', box.map_id]}"
        if granted + revoked > 1:
            change.name = f"+{granted} -{revoked}"
        if not granted:
            change.action = "revoke"
    return GrantsSet(granted, revoked)


def delete_orphans(connection: sqlite3.Connection, actor: Actor, now: float) -> int:
    """Delete all grants to what is gone, and return how many there were.

    SQL with foreign keys off leaves such behind. They open nothing.

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
    return count


def _pattern(connection: sqlite3.Connection, map_id: int) -> str:
    row = connection.execute(
        "SELECT pattern FROM applications_mappings WHERE map_id = :id", {"id": bounded(map_id)}
    ).fetchone()
    if row is None:
        raise no_mapping(map_id)
    return text_of(row[0])


def _grant_id(connection: sqlite3.Connection, grant: Grant) -> int | None:
    table = holders(grant.kind)
    row = connection.execute(
        f"SELECT {table.grant_id} FROM {table.grants} WHERE {table.row_id} = :holder AND map_id = :map_id",
        {"holder": grant.holder_id, "map_id": grant.map_id},
    ).fetchone()
    return None if row is None else int(row[0])
