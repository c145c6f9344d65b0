"""Carries everything in a database over to another one, which may be of the other engine.

All is one transaction at the target: it holds all rows or is as it was. What was carried over is noted there
(``imports``), with how far it had got; while that is still so, a further migration replaces it, so it can be tried, and
repeated when the gateway has stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pbxrouter.database.audit_triggers import drop_triggers, ensure_triggers
from pbxrouter.database.backup import place_of
from pbxrouter.database.connection import reading, transaction
from pbxrouter.database.engine import (
    CONSTRAINT_ERRORS,
    Column,
    Connection,
    begin_behind,
    columns_of,
    dialect_of,
    empty_tables,
    is_sqlite,
    last_numbers,
    tables_of,
)
from pbxrouter.errors import StoreError
from pbxrouter.text import sentence

AT_A_TIME: Final = 2000
"""Rows that are read and written in one go."""
LEFT_OUT: Final = frozenset({"schema_version", "audit_before", "audit_writing"})
"""Tables whose rows belong to the database that they are in."""
NOTED: Final = "migration:"
"""What the digest of an import begins with that was a migration; the state of the target behind it follows."""
MAX_SHOWN: Final = 5

_USED: Final = (
    ("audit_log", "changes of rules"),
    ("calls", "calls"),
    ("applications_mappings", "mappings"),
    ("extensions", "extensions"),
    ("users", "users"),
    ("console_users", "console users"),
)
"""Tables, with their name for people, whose rows tell that a database is in use."""
_STATE: Final = (
    "SELECT coalesce((SELECT max(audit_id) FROM audit_log), 0), coalesce((SELECT max(call_id) FROM calls), 0),"
    " coalesce((SELECT max(last_seen) FROM counter_asterisks), 0)"
)


@dataclass
class Migration:
    """What was carried over.

    Attributes:
        rows: how many rows, by table.
        odd: descriptions of values that the target cannot hold as they were; the first MAX_SHOWN.
        odd_values: how many there were.
        unknown: tables and columns of the source that the target has not, which stay behind.
    """

    rows: dict[str, int] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    odd_values: int = 0
    unknown: list[str] = field(default_factory=list)


def carry_over(
    source: Connection,
    target: Connection,
    now: str,
    replace: bool = False,
    progress: Callable[[str, int, int], object] = lambda table, done, total: None,
) -> Migration:
    """Carry all rows over.

    Args:
        source: is only read, in one transaction.
        target: has the tables of this version.
        now: the time, as 2026-11-23T14:30:00Z.
        replace: also delete what the target has got since the last migration, or without one.
        progress: called with a table, how many of its rows have been written, and how many it has.

    Raises:
        StoreError: the target is in use and ``replace`` is not given, or cannot hold a value of the source; the target
            is unchanged. Or one of the two cannot be read or written.
    """
    done = Migration()
    with reading(source), transaction(target):
        if not replace:
            _refuse_in_use(target)
        tables = sorted(tables_of(source) & tables_of(target) - LEFT_OUT)
        done.unknown += sorted(tables_of(source) - tables_of(target))
        dialect_of(target).defer_foreign_keys(target)
        drop_triggers(target)  # a copy is no change of its own to be recorded
        empty_tables(target, tables)
        for table in tables:
            _copy(source, target, table, done, progress)
        begin_behind(target, last_numbers(source))
        _verify(source, target, done)
        ensure_triggers(target)
        target.execute("DELETE FROM imports WHERE digest LIKE :noted", {"noted": f"{NOTED}%"})
        target.execute(
            "INSERT INTO imports (digest, source, imported_at) VALUES (:digest, :source, :now)",
            {"digest": NOTED + _state(target), "source": str(place_of(source)), "now": now},
        )
    return done


def _refuse_in_use(target: Connection) -> None:
    noted = {digest for (digest,) in target.execute("SELECT digest FROM imports") if digest.startswith(NOTED)}
    if NOTED + _state(target) in noted:
        return
    there = []
    for table, name in _USED:
        ((count,),) = target.execute(f"SELECT count(*) FROM {table}").fetchall()
        if count:
            there.append(f"{count} {name}")
    if there:
        raise StoreError(
            sentence(
                "database {path} has {what} that no migration has brought there: nothing was carried over; choose an "
                "empty database, or --replace to delete all that is in this one",
                path=place_of(target),
                what=", ".join(there),
            )
        )


def _state(connection: Connection) -> str:
    """What changes as soon as a database is in use."""
    ((audit_id, call_id, last_seen),) = connection.execute(_STATE).fetchall()
    return f"{int(audit_id)}:{int(call_id)}:{float(last_seen):.3f}"


def _copy(
    source: Connection,
    target: Connection,
    table: str,
    done: Migration,
    progress: Callable[[str, int, int], object],
) -> None:
    there = {column.name for column in columns_of(source, table)}
    columns = [column for column in columns_of(target, table) if column.name in there]
    done.unknown += [f"{table}.{name}" for name in sorted(there.difference(column.name for column in columns))]
    names = ", ".join(column.name for column in columns)
    into = f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})"
    ((total,),) = source.execute(f"SELECT count(*) FROM {table}").fetchall()
    written = 0
    progress(table, 0, total)
    for rows in _chunks(source, table, names):
        fitting = rows if is_sqlite(target) else [_fitting(table, columns, row, done) for row in rows]
        try:
            target.executemany(into, fitting)
        except CONSTRAINT_ERRORS as error:
            raise StoreError(
                sentence(
                    "database {path}: a row of {table} is not accepted ({why}): nothing was carried over",
                    path=place_of(target),
                    table=table,
                    why=error,
                )
            ) from error
        written += len(rows)
        progress(table, written, total)
    done.rows[table] = written


def _chunks(source: Connection, table: str, names: str) -> Iterator[list[tuple[Any, ...]]]:
    """All rows of a table, AT_A_TIME at once."""
    if is_sqlite(source):
        found = source.execute(f"SELECT {names} FROM {table} ORDER BY 1")
        while rows := found.fetchmany(AT_A_TIME):
            yield rows
        return
    # psycopg would fetch all rows at once.
    source.execute(f"DECLARE migrated NO SCROLL CURSOR FOR SELECT {names} FROM {table} ORDER BY 1")
    while rows := source.execute(f"FETCH {AT_A_TIME} FROM migrated").fetchall():
        yield rows
    source.execute("CLOSE migrated")


def _fitting(table: str, columns: Sequence[Column], row: tuple[Any, ...], done: Migration) -> tuple[Any, ...]:
    """A row with values that PostgreSQL accepts in these columns."""
    values: list[Any] = []
    for column, value in zip(columns, row, strict=True):
        if value is None:
            values.append(value)
        elif column.kind == "text":
            values.append(_text(column, value, table, row, done))
        elif column.kind in ("integer", "real"):
            values.append(_number(column, value, table, row))
        else:
            values.append(value)
    return tuple(values)


def _text(column: Column, value: Any, table: str, row: tuple[Any, ...], done: Migration) -> str:
    if isinstance(value, int | float):
        return str(value)
    text = value if isinstance(value, str) else bytes(value).decode("utf-8", "replace")
    if "\0" in text or "\ufffd" in text or not isinstance(value, str):
        done.odd_values += 1
        if len(done.odd) < MAX_SHOWN:
            done.odd.append(f"{table} {row[0]}, {column.name}")
    return text


def _number(column: Column, value: Any, table: str, row: tuple[Any, ...]) -> int | float:
    if isinstance(value, int) or (column.kind == "real" and isinstance(value, float)):
        return value
    if column.kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    raise StoreError(
        sentence(
            "{table}, row {number}: {column} is {value}; accepted is a number: nothing was carried over",
            table=table,
            number=row[0],
            column=column.name,
            value=repr(value)[:60],
        )
    )


def _verify(source: Connection, target: Connection, done: Migration) -> None:
    for table in done.rows:
        counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for connection in (source, target)]
        if counts != [done.rows[table]] * 2:
            raise StoreError(
                sentence(
                    "{table}: {written} of {there} rows arrived: nothing was carried over; try again",
                    table=table,
                    written=counts[1],
                    there=counts[0],
                )
            )
