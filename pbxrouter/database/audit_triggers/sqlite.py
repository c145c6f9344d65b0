"""The triggers of SQLite that write the audit log.

A transaction of this program names its author in the table ``audit_writing`` and takes the name away before it commits;
if the process dies in between, SQLite rolls both back. Without an author there, the author is SQL. SQLite has one
writer at a time, so no other writer's change can come under that author.

A statement is one entry, however many rows it changes. No trigger of SQLite is told where a statement begins, but two
things tell that a row belongs to the statement of the row before: the time, which stands still during a statement, and
``total_changes()``, to which SQLite adds a statement's own rows when the statement ends, while the triggers' own rows
are added at once. What a foreign key deletes, too, is in the entry of what it belonged to (``held``).

REPLACE deletes rows without firing triggers, unless recursive_triggers is on. So the rows that a statement changes or
may replace are copied to ``audit_before`` before it does; those that are gone afterwards were replaced.

The triggers are plain SQL without JSON functions, so that they run in each SQLite tool from version 3.8.3.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

from pbxrouter.database.audit_triggers.tables import (
    LONG_NAMES,
    NAME,
    NUMBERS,
    TABLES,
    VIA_SQL,
    WHO_SQL,
    AuditedTable,
    Unique,
)

_PREFIX: Final = "audit_"
_NOW: Final = "round((julianday('now') - 2440587.5) * 86400.0, 3)"
_CHILDREN: Final = frozenset(child for table in TABLES.values() for child, _ in table.children)
_STEPS: Final = tuple(f"{event}{when}" for event in ("insert", "update", "delete") for when in ("_begins", ""))
_TRIGGERS: Final = frozenset(
    {f"{_PREFIX}log_delete", *(f"{_PREFIX}{name}_{step}" for name in TABLES for step in _STEPS)}
)
_OURS: Final = _TRIGGERS | {f"{_PREFIX}of_{name}" for name in TABLES}
"""The names of all triggers and views; others that begin like them are the owner's."""


def begin_entry(connection: sqlite3.Connection, who: str, via: str, now: float) -> None:
    """Begin an entry in the open transaction: what is changed from now on is recorded under this author."""
    connection.execute("DELETE FROM audit_writing")  # what was there is of a statement that is over
    connection.execute(
        "INSERT INTO audit_writing (writing_id, changed_at, who, via) VALUES (1, :now, :who, :via)",
        {"now": now, "who": who, "via": via},
    )


def end_entry(connection: sqlite3.Connection) -> int | None:
    """End it; return its number, or None if nothing was changed."""
    number: int | None
    (number,) = connection.execute("SELECT audit_id FROM audit_writing").fetchone()
    connection.execute("DELETE FROM audit_writing")
    connection.execute("DELETE FROM audit_before")
    return number


def ensure_triggers(connection: sqlite3.Connection) -> None:
    """Create the triggers of all audited tables and the views that they use, if they are missing or are not these.

    They are missing after a table was rebuilt with SQL. The transaction that is open is used, else one of its own.

    Raises:
        sqlite3.Error: the database cannot be written.
    """
    wanted = dict(triggers(connection))
    there = {name: sql for name, _, sql in _existing(connection)}
    if there == wanted:
        return
    mine = not connection.in_transaction
    if mine:
        connection.execute("BEGIN IMMEDIATE")
    try:
        drop_triggers(connection)
        for text in wanted.values():
            connection.execute(text)
        if mine:
            connection.commit()
    except BaseException:
        if mine:
            connection.rollback()
        raise


def ensure_any_missing(connection: sqlite3.Connection) -> None:
    """As ensure_triggers, in little time if none is missing: before a change that must be recorded.

    Raises:
        sqlite3.Error: the database cannot be written.
    """
    if _TRIGGERS.difference(name for name, *_ in _existing(connection)):
        ensure_triggers(connection)


def drop_triggers(connection: sqlite3.Connection) -> None:
    """Drop the triggers of the audit log, in the transaction that is open: an upgrade is no change to record."""
    for name, kind, _ in _existing(connection):
        connection.execute(f'DROP {kind} "{name}"')


def _existing(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    found = connection.execute("SELECT name, type, sql FROM sqlite_master WHERE type IN ('trigger', 'view')").fetchall()
    return [row for row in found if row[0] in _OURS]


def triggers(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """The names and the SQL of all views and triggers, for the columns that the tables have in this database."""
    rows_go = "DELETE FROM audit_rows WHERE audit_id = OLD.audit_id"
    yield _trigger("log", "delete", "AFTER DELETE ON audit_log", [rows_go])
    for table in TABLES.values():
        rows = connection.execute(f"PRAGMA table_info({table.name})").fetchall()
        columns = [name for _, name, *_ in rows]
        if columns:
            yield from _of_table(table, columns)


def _of_table(table: AuditedTable, columns: Sequence[str]) -> Iterator[tuple[str, str]]:
    name, row_id = table.name, table.row_id
    numbers = [column for column in NUMBERS if column in columns]
    watched = [column for column in columns if column not in table.unwatched]
    changed = " OR ".join(map(_differs, watched))
    conflicts = f"row_id IN (SELECT r.{row_id} FROM {name} AS r WHERE {' OR '.join(_conflicts(table))})"
    view = _view_of(table)
    shown = f"{row_id} AS row_id, {_label(table)} AS label, {_row(table, columns)} AS row{_list(numbers)}"
    yield view, f"CREATE VIEW {view} AS SELECT {shown} FROM {name}"

    def copy(condition: str) -> str:
        return (
            f"INSERT INTO audit_before (table_name, row_id, label, row{_list(numbers)})"
            f" SELECT '{name}', row_id, label, row{_list(numbers)} FROM {view} WHERE {condition}"
        )

    old, after = f"row_id = OLD.{row_id}", f"(SELECT row FROM {view} WHERE row_id = NEW.{row_id})"
    yield _trigger(
        name,
        "insert_begins",
        f"BEFORE INSERT ON {name}",
        [_join(table), _forget(table), copy(conflicts), *_hold_if(table, ""), _count(table)],
    )
    created = f"'{table.created}'"
    if table.created == "create":
        created = f"CASE WHEN EXISTS ({_copies(table)}) THEN '{table.updated}' ELSE {created} END"
    yield _trigger(
        name,
        "insert",
        f"AFTER INSERT ON {name}",
        [
            *_open(),
            _name(created, f"SELECT label FROM {view} WHERE row_id = NEW.{row_id}"),
            _record_replaced(table, numbers, f"row_id <> NEW.{row_id}"),
            _record(table, numbers, "NEW", _copied(table, "row", "NEW"), after),
            _forget(table),
            *_close(table),
        ],
    )
    yield _trigger(
        name,
        "update_begins",
        f"BEFORE UPDATE ON {name}",
        [
            _join(table),
            _forget(table),
            copy(f"({old} OR {conflicts}) AND ({changed})"),
            *_hold_if(table, f" AND row_id <> OLD.{row_id}"),
            _count(table),
        ],
    )
    yield _trigger(
        name,
        "update",
        f"AFTER UPDATE ON {name} WHEN EXISTS ({_copies(table)} AND {old})",
        [
            *_open(),
            _name(_updating(table, watched), f"SELECT label FROM {view} WHERE row_id = NEW.{row_id}"),
            _record_replaced(table, numbers, f"row_id <> OLD.{row_id}"),
            _record(table, numbers, "NEW", _copied(table, "row"), after),
            _forget(table),
            *_close(table),
        ],
    )
    yield _trigger(
        name,
        "delete_begins",
        f"BEFORE DELETE ON {name}",
        [
            _join(table, _orphaned(table)),
            f"{_forget(table)} AND {old}",
            copy(old),
            *(_hold("1") if table.children else []),
            _count(table),
        ],
    )
    yield _trigger(
        name,
        "delete",
        f"AFTER DELETE ON {name}",
        [
            *_open(),
            _name(f"'{table.deleted}'", _copied(table, "label")),
            _record(table, numbers, "OLD", _copied(table, "row"), "NULL"),
            f"{_forget(table)} AND {old}",
            *_close(table),
        ],
    )


def _trigger(table: str, what: str, event: str, steps: Sequence[str]) -> tuple[str, str]:
    name = f"{_PREFIX}{table}_{what}"
    body = "".join(f"{step};\n" for step in steps)
    return name, f"CREATE TRIGGER {name} {event} BEGIN\n{body}END"


def _view_of(table: AuditedTable) -> str:
    return f"{_PREFIX}of_{table.name}"


def _list(columns: Sequence[str], prefix: str = "") -> str:
    return "".join(f", {prefix}{column}" for column in columns)


# --- steps: which entry ---------------------------------------------------------

_BY_SQL: Final = f"via = '{VIA_SQL}'"
_BEGIN: Final = (
    "INSERT INTO audit_writing (writing_id, who, via, changed_at)"
    f" SELECT 1, '{WHO_SQL}', '{VIA_SQL}', {_NOW} WHERE NOT EXISTS (SELECT 1 FROM audit_writing)"
)


def _join(table: AuditedTable, held: str = "0") -> str:
    """Leave the entry of the row before, unless this row belongs to the same statement.

    An entry is still held after a statement whose last row was ignored, such as by INSERT OR IGNORE: then this row
    belongs to another one, unless a foreign key deletes it.

    Args:
        held: the condition under which a foreign key deletes this row.
    """
    counted = f"counter = total_changes() - 1{'' if table.children else ' AND NOT held'}"
    stays = counted if table.children else f"({counted}) OR (held AND {held})"
    return f"DELETE FROM audit_writing WHERE {_BY_SQL} AND NOT (changed_at = {_NOW} AND ({stays}))"


def _orphaned(table: AuditedTable) -> str:
    """Whether what a row refers to is gone, as it is when a foreign key deletes the row."""
    gone = [
        f"NOT EXISTS (SELECT 1 FROM {parent.name} AS p WHERE p.{parent.row_id} = OLD.{column})"
        for parent in TABLES.values()
        for child, column in parent.children
        if child == table.name
    ]
    return f"({' OR '.join(gone)})" if gone else "0"


def _hold(condition: str) -> list[str]:
    """Have what the foreign keys of this row delete in the entry of this row."""
    return [f"{_BEGIN} AND {condition}", f"UPDATE audit_writing SET held = 1 WHERE {_BY_SQL} AND {condition}"]


def _hold_if(table: AuditedTable, but: str) -> list[str]:
    """Hold the entry if the statement may replace rows, that others refer to."""
    return _hold(f"EXISTS ({_copies(table)}{but})") if table.children else []


def _count(table: AuditedTable) -> str:
    """Note how far SQLite has counted, for _join; the last step."""
    return (
        f"UPDATE audit_writing SET counter = total_changes() WHERE {_BY_SQL}{'' if table.children else ' AND NOT held'}"
    )


def _open() -> list[str]:
    """Open an entry, unless one is open."""
    return [
        _BEGIN,
        "INSERT INTO audit_log (changed_at, who, via, action, kind, name, changes)"
        " SELECT changed_at, who, via, '', '', '', '' FROM audit_writing WHERE audit_id IS NULL",
        "UPDATE audit_writing SET audit_id = (SELECT max(audit_id) FROM audit_log) WHERE audit_id IS NULL",
    ]


def _name(action: str, label: str) -> str:
    return f"UPDATE audit_writing SET action = {action}, label = ({label}) WHERE {_BY_SQL}"


def _close(table: AuditedTable) -> list[str]:
    """Name an entry by SQL for people, from its first rows; one with an author of ours is named by the program."""
    which = f"SELECT audit_id FROM audit_writing WHERE {_BY_SQL}{' AND NOT held' if table.name in _CHILDREN else ''}"
    action, label = "(SELECT action FROM audit_writing)", "(SELECT label FROM audit_writing)"
    return [
        f"UPDATE audit_log SET action = CASE action WHEN '' THEN {action} WHEN {action} THEN action ELSE 'update' END,"
        f" kind = '{table.kind}', name = CASE WHEN action = '' THEN {label} WHEN substr(name, -1) = '…' THEN name"
        f" WHEN length(name) < {LONG_NAMES} THEN name || ', ' || {label} ELSE name || ', …' END"
        f" WHERE audit_id = ({which}) AND (substr(name, -1) <> '…' OR action <> {action})",
        *([f"UPDATE audit_writing SET held = 0 WHERE {_BY_SQL}"] if table.children else []),
        _count(table),
    ]


def _updating(table: AuditedTable, watched: Sequence[str]) -> str:
    """The action of an update."""
    text = f"'{table.updated}'"
    for column, action in table.only.items():
        others = " OR ".join(_differs(name) for name in watched if name != column)
        text = f"CASE WHEN {others} THEN {text} ELSE '{action}' END"
    return text


# --- steps: rows ----------------------------------------------------------------


def _copies(table: AuditedTable) -> str:
    return f"SELECT 1 FROM audit_before WHERE table_name = '{table.name}'"


def _copied(table: AuditedTable, what: str, row: str = "OLD") -> str:
    return f"(SELECT {what} FROM audit_before WHERE table_name = '{table.name}' AND row_id = {row}.{table.row_id})"


def _forget(table: AuditedTable) -> str:
    return f"DELETE FROM audit_before WHERE table_name = '{table.name}'"


def _record(table: AuditedTable, numbers: Sequence[str], row: str, before: str, after: str) -> str:
    return (
        f"INSERT INTO audit_rows (audit_id, table_name, before, after{_list(numbers)})"
        f" SELECT audit_id, '{table.name}', {before}, {after}{_list(numbers, f'{row}.')} FROM audit_writing"
    )


def _record_replaced(table: AuditedTable, numbers: Sequence[str], condition: str) -> str:
    """Record the rows that were replaced: those that no longer exist, or whose number is the new row's.

    A new row in place of one with its number is recorded as the change of that one.
    """
    there = f"SELECT 1 FROM {table.name} AS r WHERE r.{table.row_id} = audit_before.row_id"
    return (
        f"INSERT INTO audit_rows (audit_id, table_name, before{_list(numbers)})"
        f" SELECT (SELECT audit_id FROM audit_writing), table_name, row{_list(numbers)} FROM audit_before"
        f" WHERE table_name = '{table.name}' AND {condition}"
        f" AND (row_id = NEW.{table.row_id} OR NOT EXISTS ({there}))"
    )


def _conflicts(table: AuditedTable) -> Iterator[str]:
    """The conditions under which REPLACE would delete a row r for NEW."""
    for unique in (Unique((table.row_id,)), *table.unique):
        same = [f"r.{column} = NEW.{column}" for column in unique.columns]
        if unique.where:
            same += [unique.where.format(row=row) for row in ("r", "NEW")]
        yield " AND ".join(same)


# --- values ---------------------------------------------------------------------


def _differs(column: str) -> str:
    """Whether an update changes a column: also by type, case, or where the column's collation sees no difference."""
    return f"typeof(OLD.{column}) <> typeof(NEW.{column}) OR OLD.{column} COLLATE BINARY IS NOT NEW.{column}"


def _label(table: AuditedTable) -> str:
    return f"substr(coalesce(CAST({table.label.format(row=table.name)} AS TEXT), '?'), 1, {NAME})"


def _row(table: AuditedTable, columns: Sequence[str]) -> str:
    """A row as JSON; see audit.rows, which reads it."""
    parts = [f"""'"{column}": ' || {_value(column, table)}""" for column in columns]
    return "'{' || " + " || ', ' || ".join(parts) + " || '}'"


def _value(column: str, table: AuditedTable) -> str:
    if column == table.row_id:
        return column
    if column in table.secret:
        return f"""CASE WHEN {column} IS NULL THEN 'null' ELSE '{{"hidden": true}}' END"""
    if column in table.pins:
        is_hash = f"typeof({column}) = 'text' AND length({column}) = 64 AND {column} NOT GLOB '*[^0-9a-f]*'"
        return (
            f"""CASE WHEN {column} IS NULL THEN 'null' WHEN {is_hash} THEN '"' || substr({column}, 1, 64) || '"' """
            """ELSE '{"hidden": true}' END"""
        )
    # Printable ASCII without " and \ stands for itself.
    return (
        f"CASE typeof({column}) WHEN 'null' THEN 'null' WHEN 'integer' THEN {column}"
        f" WHEN 'text' THEN CASE WHEN {column} GLOB '*[^] !#-[^-~]*' OR instr({column}, char(0))"
        f""" THEN '{{"text": "' || hex({column}) || '"}}' ELSE '"' || {column} || '"' END"""
        f""" ELSE '{{"sql": "' || quote({column}) || '"}}' END"""
    )
