"""Names of mappings, extensions and users by number, and the grants among them."""

from __future__ import annotations

from collections.abc import Collection

from pbxrouter.database.connection import reading
from pbxrouter.database.engine import Connection
from pbxrouter.database.rules.holders import HOLDERS, holders
from pbxrouter.database.values import bounded, text_of


def names_of(connection: Connection, kind: str, numbers: Collection[int]) -> dict[int, str]:
    """The patterns of mappings, numbers of extensions or names of users, by number; missing rows are left out.

    Args:
        kind: "mapping", "extension" or "user".
        numbers: the numbers to look up; a few hundred at most.

    Raises:
        StoreError: the database cannot be read.
    """
    table, row_id, name = "applications_mappings", "map_id", "pattern"
    if kind in HOLDERS:
        where = HOLDERS[kind]
        table, row_id, name = where.table, where.row_id, where.name
    if not numbers:
        return {}
    values = _places("n", numbers)
    with reading(connection):
        rows = connection.execute(
            f"SELECT {row_id}, {name} FROM {table} WHERE {row_id} IN ({_in(values)})", values
        ).fetchall()
    return {number: text_of(name) for number, name in rows}


def granted_among(
    connection: Connection, kind: str, holder_ids: Collection[int], map_ids: Collection[int]
) -> frozenset[tuple[int, int]]:
    """The grants among these holders and mappings, as pairs (holder_id, map_id).

    Args:
        kind: "extension" or "user".

    Raises:
        StoreError: the database cannot be read.
    """
    table = holders(kind)
    if not holder_ids or not map_ids:
        return frozenset()
    who, what = _places("h", holder_ids), _places("m", map_ids)
    with reading(connection):
        rows = connection.execute(
            f"SELECT {table.row_id}, map_id FROM {table.grants}"
            f" WHERE {table.row_id} IN ({_in(who)}) AND map_id IN ({_in(what)})",
            {**who, **what},
        ).fetchall()
    return frozenset(rows)


def _places(prefix: str, numbers: Collection[int]) -> dict[str, int]:
    return {f"{prefix}{place}": bounded(number) for place, number in enumerate(numbers)}


def _in(values: dict[str, int]) -> str:
    return ", ".join(f":{name}" for name in values)
