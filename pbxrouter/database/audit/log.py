"""Recording changes in the audit log, and undoing them.

``changing`` is a transaction that records each row before and after its change, as one entry of
audit_log. ``undo`` restores the rows, if they were not changed since.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pbxrouter.database.audit.entries import (
    NEVER_UNDONE,
    no_entry,
)
from pbxrouter.database.audit.rows import (
    TABLES,
    AuditedTable,
    Recorded,
    Row,
    columns_of,
    delete_row,
    explain_conflict,
    from_text,
    insert_row,
    is_as_left,
    key_of,
    rows_with,
    to_text,
    unreadable,
    update_row,
)
from pbxrouter.database.connection import transaction
from pbxrouter.database.values import bounded
from pbxrouter.errors import EditConflict, EditRefused, NotThere
from pbxrouter.text import printable, sentence

T = TypeVar("T")

MAX_NAME: Final = 200
"""The longest name in an entry, in characters; the rest is cut off."""


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of a change.

    Attributes:
        who: a login, a token's name, or the system's user.
        via: console, api, command or phone.
    """

    who: str
    via: str


@dataclass(frozen=True, slots=True)
class Edited(Generic[T]):
    """The result of an edit.

    Attributes:
        value: what the edit returns, such as the number of a new row; None if nothing.
        audit_id: its entry in the audit log; None if nothing was changed.
    """

    value: T
    audit_id: int | None


class Change:
    """One entry in the making, inside ``changing``: changes rows and records them.

    Attributes:
        action: create, update, delete, enable, …; may be set until the block ends, as kind and name.
        kind: one of entries.KINDS.
        name: the name of what is changed, for people; never a secret.
        audit_id: the entry's number, set when the block ends; None if nothing was changed.
    """

    def __init__(self, connection: sqlite3.Connection, action: str, kind: str, name: str) -> None:
        self.connection = connection
        self.action = action
        self.kind = kind
        self.name = name
        self.audit_id: int | None = None
        self._changes: list[Recorded] = []

    def insert(self, table: str, values: Mapping[str, Any]) -> int:
        """Insert a row, and return its number."""
        where = TABLES[table]
        row_id = insert_row(self.connection, where, dict(values))
        after = self._row(where, row_id)
        assert after is not None
        self._record(where, None, after)
        return row_id

    def update(self, table: str, row_id: int, values: Mapping[str, Any]) -> bool:
        """Update columns of a row, and return whether it differs from before.

        Raises:
            NotThere: there is no such row.
        """
        where = TABLES[table]
        before = self._existing(where, row_id)
        update_row(self.connection, where, row_id, dict(values))
        after = self._existing(where, row_id)
        if is_as_left(where, after, before):
            return False
        self._record(where, before, after)
        return True

    def delete(self, table: str, row_id: int) -> None:
        """Delete a row, and first the rows that refer to it.

        Raises:
            NotThere: there is no such row.
        """
        where = TABLES[table]
        before = self._existing(where, row_id)
        for child, column in where.children:
            self._delete_children(TABLES[child], column, row_id)
        delete_row(self.connection, where, row_id)
        self._record(where, before, None)

    def _delete_children(self, table: AuditedTable, column: str, value: int) -> None:
        for row in rows_with(self.connection, table, {column: value}):
            self._record(table, row, None)
        self.connection.execute(f"DELETE FROM {table.name} WHERE {column} = :value", {"value": value})

    def _row(self, table: AuditedTable, row_id: int) -> Row | None:
        return next(iter(rows_with(self.connection, table, {table.row_id: row_id})), None)

    def _existing(self, table: AuditedTable, row_id: int) -> Row:
        row = self._row(table, bounded(row_id))
        if row is None:
            raise NotThere(sentence("it no longer exists"))
        return row

    def _record(self, table: AuditedTable, before: Row | None, after: Row | None) -> None:
        known = before if before is not None else after
        assert known is not None
        self._changes.append(Recorded(table, key_of(table, known), before, after))

    def restore(self, past: Recorded) -> None:
        """Restore a row to its state before a recorded change.

        Raises:
            EditConflict: the row was changed since.
        """
        table = past.table
        since = EditConflict(sentence("{name} has been changed since, so this cannot be undone", name=self.name))
        columns = columns_of(self.connection, table)
        if not columns.issuperset({*past.key, *(past.before or ()), *(past.after or ())}):
            raise unreadable()
        current = next(iter(rows_with(self.connection, table, past.key)), None)
        if past.after is None:
            if current is not None or past.before is None:
                raise since
            row = past.before
            if table.row_id not in table.key and self._row(table, row.get(table.row_id, 0)):
                row = {column: value for column, value in row.items() if column != table.row_id}
            self.insert(table.name, row)
            return
        if current is None or not is_as_left(table, current, past.after):
            raise since
        row_id = current[table.row_id]
        if past.before is not None:
            self.update(table.name, row_id, past.before)
            return
        for child, column in table.children:
            if rows_with(self.connection, TABLES[child], {column: row_id}):
                raise EditConflict(
                    sentence(
                        "{name} has been tied, granted or disabled since, so this cannot be undone",
                        name=self.name,
                    )
                )
        self.delete(table.name, row_id)

    def write(self, actor: Actor, now: float, undoes: int | None = None) -> None:
        """Write the entry; called once, at the end of the block."""
        if self._changes:
            self.audit_id = _write(
                self.connection, actor, now, (self.action, self.kind, self.name), self._changes, undoes
            )


@contextmanager
def changing(
    connection: sqlite3.Connection, actor: Actor, now: float, action: str, kind: str, name: str = ""
) -> Iterator[Change]:
    """A transaction that is one entry of the audit log.

    No entry is written if nothing was changed. The Change has the entry's audit_id after the block.

    Args:
        now: epoch seconds.
        action, kind, name: attributes of the Change.

    Raises:
        EditConflict: a constraint of the database was violated; nothing was changed.
        StoreError: the database cannot be written.
    """
    try:
        with transaction(connection):
            change = Change(connection, action, kind, name)
            yield change
            change.write(actor, now)
    except sqlite3.IntegrityError as error:
        raise explain_conflict(error) from None


def note(connection: sqlite3.Connection, actor: Actor, now: float, action: str, kind: str, name: str) -> int:
    """Write an entry without rows, in the open transaction, and return its audit_id; it cannot be undone."""
    return _write(connection, actor, now, (action, kind, name), [], None)


def undo(connection: sqlite3.Connection, actor: Actor, now: float, audit_id: int) -> int:
    """Undo a change: restore its rows. Returns the audit_id of the undo.

    An undo is a change, too, and can be undone.

    Raises:
        NotThere: there is no such entry.
        EditRefused: changes of this kind cannot be undone.
        EditConflict: it was undone already, a row was changed since, or something that a row needs
            is gone. Nothing was changed.
        StoreError: the database cannot be written.
    """
    try:
        with transaction(connection):
            row = connection.execute(
                "SELECT kind, name, changes, undone_by FROM audit_log WHERE audit_id = :id",
                {"id": bounded(audit_id)},
            ).fetchone()
            if row is None:
                raise no_entry(audit_id)
            kind, name, text, undone_by = row
            if undone_by is not None:
                raise EditConflict(sentence("this change has already been undone"))
            if kind in NEVER_UNDONE:
                raise EditRefused(NEVER_UNDONE[kind])
            past = from_text(text)
            if not past:
                raise unreadable()
            change = Change(connection, "undo", kind, name)
            for recorded in reversed(past):
                change.restore(recorded)
            change.write(actor, now, audit_id)
            if change.audit_id is None:
                raise unreadable()
            return change.audit_id
    except sqlite3.IntegrityError as error:
        raise explain_conflict(error) from None


def _write(
    connection: sqlite3.Connection,
    actor: Actor,
    now: float,
    what: tuple[str, str, str],
    changes: list[Recorded],
    undoes: int | None,
) -> int:
    action, kind, name = what
    audit_id = connection.execute(
        "INSERT INTO audit_log (changed_at, who, via, action, kind, name, changes, undoes)"
        " VALUES (:now, :who, :via, :action, :kind, :name, :changes, :undoes)",
        {
            "now": now,
            "who": printable(actor.who)[:MAX_NAME],
            "via": actor.via,
            "action": action,
            "kind": kind,
            "name": printable(name)[:MAX_NAME],
            "changes": to_text(changes),
            "undoes": undoes,
        },
    ).lastrowid
    assert audit_id is not None
    if undoes is not None:
        connection.execute("UPDATE audit_log SET undone_by = :by WHERE audit_id = :id", {"by": audit_id, "id": undoes})
    return audit_id
