"""Lists of mappings, extensions, users and their grants, in pages, with a search.

Values of unexpected types, which SQL can store, are listed as text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pbxrouter.database.connection import read_row, reading
from pbxrouter.database.edit_text import no_mapping
from pbxrouter.database.engine import Connection, dialect_of
from pbxrouter.database.paging import MAX_LIMIT, Listing, Page, searching
from pbxrouter.database.rules.holders import HOLDERS, HolderTable, holders, no_holder
from pbxrouter.database.values import bounded, text_of
from pbxrouter.errors import NotThere
from pbxrouter.rules import Mapping, extension_number
from pbxrouter.text import sentence


@dataclass(frozen=True, slots=True)
class MappingRow(Mapping):
    """A mapping, with the numbers of extensions and users that have a grant for it."""

    extensions: int = 0
    users: int = 0


@dataclass(frozen=True, slots=True)
class HolderRow:
    """An extension or a user.

    Attributes:
        kind: "extension" or "user".
        name: an extension's number, or a user's name.
        has_pin: whether a user has a PIN; False for extensions.
        grants: the number of its grants.
        endpoint: the endpoint that an extension is tied to; ``""`` if it is not.
    """

    kind: str
    holder_id: int
    name: str
    has_pin: bool
    grants: int
    endpoint: str = ""


_MAPPING_COLUMNS: Final = (
    "m.map_id, m.pattern, m.application_name, m.application_data, d.map_id IS NULL,"
    " (SELECT count(*) FROM extensions_mappings WHERE map_id = m.map_id),"
    " (SELECT count(*) FROM users_mappings WHERE map_id = m.map_id)"
)
_MAPPINGS: Final = Listing(
    f"SELECT {_MAPPING_COLUMNS} FROM applications_mappings AS m"
    " LEFT JOIN mappings_disabled AS d ON d.map_id = m.map_id",
    "m.map_id",
)
_SEARCHED: Final = ("m.pattern", "m.application_name", "m.application_data")


def _holder_columns(table: HolderTable) -> str:
    pin = "h.user_pin IS NOT NULL" if table.kind == "user" else "0"
    return (
        f"h.{table.row_id}, '{table.kind}', h.{table.name}, {pin},"
        f" (SELECT count(*) FROM {table.grants} WHERE {table.row_id} = h.{table.row_id}),"
        f" {'e.endpoint' if table.kind == 'extension' else 'NULL'}"
    )


def _holder_tables(table: HolderTable) -> str:
    endpoints = " LEFT JOIN extensions_endpoints AS e ON e.extension_id = h.extension_id"
    return f"{table.table} AS h{endpoints if table.kind == 'extension' else ''}"


def _searched(table: HolderTable) -> tuple[str, ...]:
    return (f"h.{table.name}", *(["e.endpoint"] if table.kind == "extension" else []))


_BY_NAME: Final = {
    kind: Listing(
        f"SELECT {_holder_columns(table)} FROM {_holder_tables(table)}",
        f"h.{table.name}, h.{table.row_id}",
        f"SELECT {table.name}, {table.row_id} FROM {table.table} WHERE {table.row_id} = :anchor",
    )
    for kind, table in HOLDERS.items()
}


def find_mappings(
    connection: Connection,
    search: str = "",
    limit: int = 50,
    after: int | None = None,
    before: int | None = None,
    enabled: bool | None = None,
) -> Page[MappingRow]:
    """Find mappings, by map_id.

    Args:
        search: part of pattern, application or data.
        limit: the number of rows; at most paging.MAX_LIMIT.
        after, before: see Page.next and Page.previous.
        enabled: only enabled or disabled ones; None is both.

    Raises:
        StoreError: the database cannot be read.
    """
    with reading(connection):
        where, values = searching(connection, search, _SEARCHED)
        if enabled is not None:
            where.append("d.map_id IS NULL" if enabled else "d.map_id IS NOT NULL")
        return _MAPPINGS.page(connection, _mapping_row, where, values, limit, after, before)


def find_holders(
    connection: Connection,
    kind: str,
    search: str = "",
    limit: int = 50,
    after: int | None = None,
    before: int | None = None,
) -> Page[HolderRow]:
    """Find extensions, by number, or users, by name.

    Args:
        kind: "extension" or "user".
        search: part of an extension's number or endpoint, or of a user's name.
        limit, after, before: as find_mappings.

    Raises:
        StoreError: the database cannot be read.
    """
    table = holders(kind)
    with reading(connection):
        where, values = searching(connection, search, _searched(table))
        return _BY_NAME[kind].page(connection, _holder_row, where, values, limit, after, before)


def mapping(connection: Connection, map_id: int) -> MappingRow:
    """Get a mapping.

    Raises:
        NotThere: there is no such mapping.
        StoreError: the database cannot be read.
    """
    query = f"{_MAPPINGS.select} WHERE m.map_id = :id"
    return _mapping_row(*read_row(connection, query, {"id": bounded(map_id)}, no_mapping(map_id)))


def holder(connection: Connection, kind: str, holder_id: int) -> HolderRow:
    """Get an extension or a user.

    Raises:
        NotThere: there is no such extension or user.
        StoreError: the database cannot be read.
    """
    row_id = holders(kind).row_id
    query = f"{_BY_NAME[kind].select} WHERE h.{row_id} = :id"
    return _holder_row(*read_row(connection, query, {"id": bounded(holder_id)}, no_holder(kind, holder_id)))


def find_extensions(connection: Connection) -> Iterator[HolderRow]:
    """Find all extensions, by number.

    Raises:
        StoreError: the database cannot be read.
    """
    page = find_holders(connection, "extension", limit=MAX_LIMIT)
    yield from page.rows
    while page.next is not None:
        page = find_holders(connection, "extension", limit=MAX_LIMIT, after=page.next)
        yield from page.rows


def extension_numbered(connection: Connection, number: str) -> HolderRow:
    """Get the extension of a number: of several rows the first, which is the one that counts.

    Raises:
        NotThere: there is none.
        StoreError: the database cannot be read.
    """
    number = extension_number(number)
    with reading(connection):
        rows = connection.execute(
            "SELECT extension_id, extension_number FROM extensions"
            " WHERE instr(CAST(extension_number AS TEXT), :number) > 0"
            f" OR {dialect_of(connection).is_unusual('CAST(extension_number AS TEXT)')} ORDER BY extension_id",
            {"number": number},
        )
        found = next((row_id for row_id, name in rows if extension_number(text_of(name)) == number), None)
    if found is None:
        raise NotThere(
            sentence("{number} is not among the extensions; accepted is the number of one", number=number), "number"
        )
    return holder(connection, "extension", found)


def holders_of(
    connection: Connection,
    map_id: int,
    kind: str,
    search: str = "",
    limit: int = 50,
    after: int | None = None,
    before: int | None = None,
) -> Page[HolderRow]:
    """Find the extensions or users that have a grant for a mapping, by number.

    Args, Raises: as find_holders.
    """
    table = holders(kind)
    listing = Listing(
        f"SELECT {_holder_columns(table)} FROM {_holder_tables(table)} JOIN {table.grants} AS g"
        f" ON g.{table.row_id} = h.{table.row_id}",
        f"h.{table.row_id}",
    )
    with reading(connection):
        where, values = searching(connection, search, _searched(table))
        where.append("g.map_id = :map_id")
        return listing.page(connection, _holder_row, where, {**values, "map_id": bounded(map_id)}, limit, after, before)


def mappings_of(
    connection: Connection,
    kind: str,
    holder_id: int,
    search: str = "",
    limit: int = 50,
    after: int | None = None,
    before: int | None = None,
) -> Page[MappingRow]:
    """Find the mappings that an extension or a user has a grant for, by map_id.

    Args, Raises: as find_mappings.
    """
    table = holders(kind)
    listing = Listing(f"{_MAPPINGS.select} JOIN {table.grants} AS g ON g.map_id = m.map_id", "m.map_id")
    with reading(connection):
        where, values = searching(connection, search, _SEARCHED)
        where.append(f"g.{table.row_id} = :holder_id")
        return listing.page(
            connection, _mapping_row, where, {**values, "holder_id": bounded(holder_id)}, limit, after, before
        )


def _mapping_row(
    map_id: int, pattern: object, name: object, data: object, enabled: int, extensions: int, users: int
) -> MappingRow:
    return MappingRow(map_id, text_of(pattern), text_of(name), text_of(data), bool(enabled), extensions, users)


def _holder_row(holder_id: int, kind: str, name: object, has_pin: int, grants: int, endpoint: object) -> HolderRow:
    return HolderRow(
        kind, holder_id, text_of(name), bool(has_pin), grants, "" if endpoint is None else text_of(endpoint)
    )
