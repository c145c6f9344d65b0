"""What mappings, extensions and users of given numbers are called, and which of them have grants among them.

For pages that have the numbers already.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

from pbxrouter.database.connection import reading
from pbxrouter.database.rules.holders import HOLDERS, holders
from pbxrouter.database.values import bounded, text_of


def names_of(connection: sqlite3.Connection, kind: str, numbers: Collection[int]) -> dict[int, str]:
    """By number, the patterns of mappings, numbers of extensions or names of users; not of what is gone.

    Args:
        kind: "mapping", "extension" or "user".
        numbers: at most some hundred.

    Raises:
        StoreError: the database cannot be read.
    """
    table, row_id, name = "applications_mappings", "map_id", "pattern"
    if kind in HOLDERS:
        where = HOLDERS[kind]
        table, row_id, name = where.table, where.row_id, where.name
    values = _places("n", numbers)
    with reading(connection):
        rows = connection.execute(
            f"SELECT {row_id}, {name} FROM {table} WHERE {row_id} IN ({_in(values)})", values
        ).fetchall()
    return {number: text_of(said) for number, said in rows}


def granted_among(
    connection: sqlite3.Connection, kind: str, holder_ids: Collection[int], map_ids: Collection[int]
) -> frozenset[tuple[int, int]]:
    """Pairs of a holder's number and a mapping's: the grants among these.

    Args:
        kind: "extension" or "user".

    Raises:
        StoreError: the database cannot be read.
    """
    table = holders(kind)
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
