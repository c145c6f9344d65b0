"""What tables a database has, as either engine tells it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from pbxrouter.database.engine.protocol import Connection

if TYPE_CHECKING:
    from pbxrouter.database.engine.postgresql import PostgreSQLConnection

_IN_SCHEMA = "to_regnamespace(quote_ident(current_schema()))"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        kind: integer, real, text or another name that the engine has for its type, in small letters.
    """

    name: str
    kind: str


_KINDS = {"bigint": "integer", "smallint": "integer", "double precision": "real", "bytea": "blob"}


def tables_of(connection: Connection) -> frozenset[str]:
    """The names of all tables."""
    if isinstance(connection, sqlite3.Connection):
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    else:
        query = f"SELECT relname FROM pg_class WHERE relnamespace = {_IN_SCHEMA} AND relkind IN ('r', 'p')"
    return frozenset(name for (name,) in connection.execute(query))


def columns_of(connection: Connection, table: str) -> list[Column]:
    """The columns of a table, in their order."""
    if isinstance(connection, sqlite3.Connection):
        rows = connection.execute(f'PRAGMA table_info("{table}")').fetchall()
        return [Column(name, kind.lower()) for _, name, kind, *_ in rows]
    rows = connection.execute(
        "SELECT a.attname, format_type(a.atttypid, NULL) FROM pg_attribute AS a"
        f" JOIN pg_class AS c ON c.oid = a.attrelid"
        f" WHERE c.relnamespace = {_IN_SCHEMA} AND c.relname = :table AND a.attnum > 0 AND NOT a.attisdropped"
        " ORDER BY a.attnum",
        {"table": table},
    ).fetchall()
    return [Column(name, _KINDS.get(kind, kind)) for name, kind in rows]


def last_numbers(connection: Connection) -> dict[str, int]:
    """The highest number that a row of a table has ever had, for tables in which no number comes back."""
    if isinstance(connection, sqlite3.Connection):
        return {
            name: number
            for name, number in connection.execute("SELECT name, seq FROM sqlite_sequence")
            if isinstance(number, int)
        }
    return {
        table: last
        for table, sequence in _sequences(connection)
        for (last,) in connection.execute(f"SELECT coalesce(pg_sequence_last_value('{sequence}'::regclass), 0)")
    }


def begin_behind(connection: Connection, numbers: dict[str, int]) -> None:
    """Have the next row of each table get a higher number than these; in the transaction that is open."""
    present = last_numbers(connection)
    wanted = {table: number for table, number in numbers.items() if number > present.get(table, 0)}
    if isinstance(connection, sqlite3.Connection):
        for table, number in wanted.items():
            if not connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (number, table)).rowcount:
                connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, number))
        return
    for table, sequence in _sequences(connection):
        if table in wanted:
            connection.execute(f"SELECT setval('{sequence}'::regclass, :number)", {"number": wanted[table]})


def empty_tables(connection: Connection, tables: list[str]) -> None:
    """Delete all rows of tables that are referred to by none but each other; in the transaction that is open."""
    if not isinstance(connection, sqlite3.Connection):
        cast("PostgreSQLConnection", connection).run_script(f"TRUNCATE {', '.join(tables)}")
        return
    for table in tables:
        connection.execute(f"DELETE FROM {table}")


def _sequences(connection: Connection) -> list[tuple[str, str]]:
    """The tables whose rows are numbered, each with its sequence."""
    rows = connection.execute(
        "SELECT c.relname, d.objid::regclass::text FROM pg_depend AS d JOIN pg_class AS c ON c.oid = d.refobjid"
        " JOIN pg_class AS s ON s.oid = d.objid AND s.relkind = 'S'"
        f" WHERE d.deptype = 'i' AND d.classid = 'pg_class'::regclass AND c.relnamespace = {_IN_SCHEMA}"
    ).fetchall()
    return [(table, sequence) for table, sequence in rows]
