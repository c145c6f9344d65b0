"""The matrix of grants, orphaned grants, and totals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pbxrouter.database.connection import reading
from pbxrouter.database.engine import Connection
from pbxrouter.database.paging import Page
from pbxrouter.database.rules.holders import HOLDERS
from pbxrouter.database.rules.lists import (
    HolderRow,
    MappingRow,
    find_holders,
    find_mappings,
)
from pbxrouter.database.rules.names import granted_among
from pbxrouter.database.values import text_of

COLUMNS: Final = 12
ROWS: Final = 25


@dataclass(frozen=True, slots=True)
class Matrix:
    """The matrix of grants: a page of mappings as columns, a page of holders as rows.

    Attributes:
        granted: pairs (holder_id, map_id).
    """

    kind: str
    mappings: Page[MappingRow]
    holders: Page[HolderRow]
    granted: frozenset[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class OrphanGrant:
    """A grant whose holder or mapping does not exist; it has no effect.

    Attributes:
        holder, mapping: number or name, and pattern; the number in the grant if the row is gone.
    """

    kind: str
    grant_id: int
    holder: str
    holder_is_gone: bool
    mapping: str
    mapping_is_gone: bool


@dataclass(frozen=True, slots=True)
class Totals:
    """The numbers of rows."""

    mappings: int
    extensions: int
    users: int
    grants: int


def matrix(
    connection: Connection,
    kind: str,
    *,
    mapping_search: str = "",
    mapping_after: int | None = None,
    mapping_before: int | None = None,
    holder_search: str = "",
    holder_after: int | None = None,
    holder_before: int | None = None,
    columns: int = COLUMNS,
    rows: int = ROWS,
) -> Matrix:
    """Read the matrix in one transaction; mappings and holders are searched and paged separately.

    Raises:
        StoreError: the database cannot be read.
    """
    with reading(connection):
        shown = find_mappings(connection, mapping_search, columns, mapping_after, mapping_before)
        who = find_holders(connection, kind, holder_search, rows, holder_after, holder_before)
        granted = granted_among(
            connection, kind, [row.holder_id for row in who.rows], [row.map_id for row in shown.rows]
        )
    return Matrix(kind, shown, who, granted)


def find_orphans(connection: Connection, limit: int = 50) -> list[OrphanGrant]:
    """Find grants whose holder or mapping is gone, oldest first; SQL with foreign keys off leaves them behind.

    grant_edits.delete_orphans deletes all of them.

    Raises:
        StoreError: the database cannot be read.
    """
    found: list[OrphanGrant] = []
    with reading(connection):
        for table in HOLDERS.values():
            rows: list[tuple[Any, ...]] = connection.execute(
                f"SELECT g.{table.grant_id}, g.{table.row_id}, h.{table.row_id}, h.{table.name},"
                f" g.map_id, m.map_id, m.pattern FROM {table.grants} AS g"
                f" LEFT JOIN {table.table} AS h ON h.{table.row_id} = g.{table.row_id}"
                " LEFT JOIN applications_mappings AS m ON m.map_id = g.map_id"
                f" WHERE h.{table.row_id} IS NULL OR m.map_id IS NULL"
                f" ORDER BY g.{table.grant_id} LIMIT :limit",
                {"limit": max(0, limit - len(found))},
            ).fetchall()
            for grant_id, holder_id, holder_there, name, map_id, map_there, pattern in rows:
                found.append(
                    OrphanGrant(
                        table.kind,
                        grant_id,
                        text_of(holder_id if holder_there is None else name),
                        holder_there is None,
                        text_of(map_id if map_there is None else pattern),
                        map_there is None,
                    )
                )
    return found


def totals(connection: Connection) -> Totals:
    """Count mappings, extensions, users and grants.

    Raises:
        StoreError: the database cannot be read.
    """
    with reading(connection):
        row = connection.execute(
            "SELECT (SELECT count(*) FROM applications_mappings), (SELECT count(*) FROM extensions),"
            " (SELECT count(*) FROM users), (SELECT count(*) FROM extensions_mappings)"
            " + (SELECT count(*) FROM users_mappings)"
        ).fetchone()
    return Totals(*row)
