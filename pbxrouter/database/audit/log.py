"""Recording changes in the audit log, and undoing them.

``changing`` is a transaction that is one entry of audit_log: it says who changes what, and the database's triggers
(database.audit_triggers) record the rows. ``undo`` restores the rows, if they were not changed since.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pbxrouter.database.audit.entries import (
    latest_first,
    no_entry,
    why_never,
)
from pbxrouter.database.audit.rows import (
    HIDDEN,
    Recorded,
    Row,
    columns_of,
    delete_row,
    explain_conflict,
    insert_row,
    is_as_left,
    key_of,
    row_at,
    rows_with,
    unreadable,
    update_row,
)
from pbxrouter.database.audit_triggers import TABLES, begin_entry, end_entry, ensure_any_missing
from pbxrouter.database.connection import transaction
from pbxrouter.database.engine import CONSTRAINT_ERRORS, Connection, dialect_of
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
        via: console, api, command or phone; sql is what no part of this program has made.
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
    """One entry in the making, inside ``changing``.

    All that is changed by its connection is recorded, also by other SQL than its methods.

    Attributes:
        action: create, update, delete, enable, …; may be set until the block ends, as kind and name.
        kind: one of entries.KINDS.
        name: the name of what is changed, for people; never a secret.
        audit_id: the entry's number, set when the block ends; None if nothing was changed.
    """

    def __init__(self, connection: Connection, actor: Actor, now: float, action: str, kind: str, name: str) -> None:
        self.connection = connection
        self.action = action
        self.kind = kind
        self.name = name
        self.audit_id: int | None = None
        ensure_any_missing(connection)  # a table may have been rebuilt with SQL meanwhile
        begin_entry(connection, _who(actor), actor.via, now)

    def insert(self, table: str, values: Mapping[str, Any]) -> int:
        """Insert a row, and return its number."""
        return insert_row(self.connection, TABLES[table], dict(values))

    def update(self, table: str, row_id: int, values: Mapping[str, Any]) -> bool:
        """Update columns of a row, and return whether it differs from before.

        Raises:
            NotThere: there is no such row.
        """
        before = self._rows()
        if not update_row(self.connection, TABLES[table], bounded(row_id), dict(values)):
            raise _gone()
        return self._rows() != before

    def delete(self, table: str, row_id: int) -> None:
        """Delete a row, and the rows that refer to it.

        Raises:
            NotThere: there is no such row.
        """
        if not delete_row(self.connection, TABLES[table], bounded(row_id)):
            raise _gone()

    def _rows(self) -> int | None:
        found: int | None = self.connection.execute("SELECT max(row_id) FROM audit_rows").fetchone()[0]
        return found

    def restore(self, past: Recorded, put_off: list[Recorded] | None = None) -> None:
        """Restore a row to its state before a recorded change.

        Args:
            put_off: gets the change if the row is to go and others refer to it: of one statement PostgreSQL records the
                rows that go with another one behind it, SQLite before it. None: that is a conflict.

        Raises:
            EditConflict: the row was changed since, or a secret of it was not kept.
        """
        table = past.table
        since = EditConflict(sentence("{name} has been changed since, so this cannot be undone", name=self.name))
        columns = columns_of(self.connection, table)
        if not columns.issuperset({*past.key, *(past.before or ()), *(past.after or ())}):
            raise unreadable()
        if past.after is None:
            if past.before is None or rows_with(self.connection, table, past.key):
                raise since
            row = self._kept(past.before)
            if table.row_id not in table.key and row_at(self.connection, table, row.get(table.row_id, 0)):
                row = {column: value for column, value in row.items() if column != table.row_id}
            self.insert(table.name, row)
            return
        current = next(iter(rows_with(self.connection, table, key_of(table, past.after))), None)
        if current is None or not is_as_left(table, current, past.after):
            raise since
        row_id = current[table.row_id]
        if past.before is not None:
            after = past.after
            row = {
                column: value
                for column, value in past.before.items()
                if column not in after or type(after[column]) is not type(value) or after[column] != value
            }
            if row:
                self.update(table.name, row_id, self._kept(row))
            return
        for child, column in table.children:
            if rows_with(self.connection, TABLES[child], {column: row_id}):
                if put_off is not None:
                    put_off.append(past)
                    return
                raise EditConflict(
                    sentence(
                        "{name} has been tied, granted or disabled since, so this cannot be undone",
                        name=self.name,
                    )
                )
        self.delete(table.name, row_id)

    def _kept(self, row: Row) -> Row:
        if HIDDEN in row.values():
            raise EditConflict(
                sentence(
                    "{name} had a PIN in plain text, which the audit log does not keep, so this cannot be undone; "
                    "set it with `pbxrouter pin`",
                    name=self.name,
                )
            )
        return row

    def finish(self, undoes: int | None = None) -> None:
        """Name the entry and close it; called once, at the end of the block."""
        self.audit_id = end_entry(self.connection)
        if self.audit_id is None:
            return
        values = {"id": self.audit_id, "action": self.action, "kind": self.kind, "name": _name(self.name)}
        self.connection.execute(
            "UPDATE audit_log SET action = :action, kind = :kind, name = :name, undoes = :undoes WHERE audit_id = :id",
            {**values, "undoes": undoes},
        )
        if undoes is not None:
            self.connection.execute(
                "UPDATE audit_log SET undone_by = :by WHERE audit_id = :id", {"by": self.audit_id, "id": undoes}
            )


@contextmanager
def changing(
    connection: Connection, actor: Actor, now: float, action: str, kind: str, name: str = ""
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
            change = Change(connection, actor, now, action, kind, name)
            yield change
            change.finish()
    except CONSTRAINT_ERRORS as error:
        raise explain_conflict(error) from None


def note(connection: Connection, actor: Actor, now: float, action: str, kind: str, name: str) -> int:
    """Write an entry without rows, in the open transaction, and return its audit_id; it cannot be undone."""
    (audit_id,) = connection.execute(
        "INSERT INTO audit_log (changed_at, who, via, action, kind, name, changes)"
        " VALUES (:now, :who, :via, :action, :kind, :name, '[]') RETURNING audit_id",
        {"now": now, "who": _who(actor), "via": actor.via, "action": action, "kind": kind, "name": _name(name)},
    ).fetchone()
    return int(audit_id)


def undo(connection: Connection, actor: Actor, now: float, audit_id: int) -> int:
    """Undo a change: restore its rows. Returns the audit_id of the undo.

    An undo is a change, too, and can be undone.

    Raises:
        NotThere: there is no such entry.
        EditRefused: changes of this kind cannot be undone.
        EditConflict: it was undone already, a row was changed since, or something that a row needs
            is gone. Nothing was changed.
        StoreError: the database cannot be written.
    """
    return undo_together(connection, actor, now, [audit_id])[0]


def undo_together(connection: Connection, actor: Actor, now: float, audit_ids: Collection[int]) -> list[int]:
    """Undo several changes in one transaction, the last one first; each undo is an entry of its own.

    What one of them needs another may restore, such as the mappings of grants whose numbers were changed with SQL.

    Raises:
        NotThere, EditRefused, EditConflict, StoreError: as undo, for any of them.
    """
    try:
        with transaction(connection):
            dialect_of(connection).defer_foreign_keys(connection)  # rows may need each other
            return [_undo(connection, actor, now, audit_id) for audit_id in sorted(set(audit_ids), reverse=True)]
    except CONSTRAINT_ERRORS as error:
        raise explain_conflict(error) from None


def _undo(connection: Connection, actor: Actor, now: float, audit_id: int) -> int:
    row = connection.execute(
        "SELECT kind, name, undone_by, changes FROM audit_log WHERE audit_id = :id", {"id": bounded(audit_id)}
    ).fetchone()
    if row is None:
        raise no_entry(audit_id)
    kind, name, undone_by, changes = row
    if undone_by is not None:
        raise EditConflict(sentence("this change has already been undone"))
    never = why_never(kind, changes)
    if never is not None:
        raise EditRefused(never)
    change = Change(connection, actor, now, "undo", kind, name)
    put_off: list[Recorded] = []
    for past in latest_first(connection, audit_id, changes):
        change.restore(past, put_off)
    for past in put_off:
        change.restore(past)
    change.finish(audit_id)
    if change.audit_id is None:
        raise unreadable()
    return change.audit_id


def _gone() -> NotThere:
    return NotThere(sentence("it no longer exists"))


def _who(actor: Actor) -> str:
    return printable(actor.who)[:MAX_NAME]


def _name(name: str) -> str:
    return printable(name)[:MAX_NAME]
