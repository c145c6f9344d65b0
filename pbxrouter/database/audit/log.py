"""Every change of the rules and of who may do what goes through here, and can be taken back.

``changing`` is a transaction that writes down each row before and after, as one entry of
audit_log. ``undo`` restores the rows before, if nobody has changed them since.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pbxrouter.database.audit.entries import (
    NEVER_UNDONE,
    AuditDetail,
    AuditEntry,
    AuditSearch,
    RowChange,
    entry,
    find_entries,
    no_entry,
)
from pbxrouter.database.audit.rows import (
    TABLES,
    Recorded,
    Row,
    Table,
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
from pbxrouter.text import Sentence, printable, sentence

__all__ = [
    "Actor",
    "AuditDetail",
    "AuditEntry",
    "AuditSearch",
    "Change",
    "RowChange",
    "changing",
    "entry",
    "find_entries",
    "note",
    "undo",
]

MAX_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something.

    Attributes:
        who: a login, a token's name, or the system's user.
        via: console, api or command.
    """

    who: str
    via: str


class Change:
    """What happens inside ``changing``, row by row.

    Attributes:
        action: create, update, delete, enable, …; may be set until the end, as the next two.
        kind: of what (audit_entries.KINDS).
        name: what that is called, for people; never a secret.
        audit_id: the entry's number, after the end; None if nothing was changed.
    """

    def __init__(self, connection: sqlite3.Connection, action: str, kind: str, name: str) -> None:
        self.connection = connection
        self.action = action
        self.kind = kind
        self.name = name
        self.audit_id: int | None = None
        self._changes: list[Recorded] = []

    def insert(self, table: str, values: Mapping[str, Any]) -> int:
        """Add a row, and return its number."""
        where = TABLES[table]
        row_id = insert_row(self.connection, where, dict(values))
        after = self._row(where, row_id)
        assert after is not None
        self._record(where, None, after)
        return row_id

    def update(self, table: str, row_id: int, values: Mapping[str, Any]) -> bool:
        """Change columns of a row; whether that made a difference.

        Raises:
            NotThere: there is no such row.
        """
        where = TABLES[table]
        before = self._there(where, row_id)
        update_row(self.connection, where, row_id, dict(values))
        after = self._there(where, row_id)
        if is_as_left(where, after, before):
            return False
        self._record(where, before, after)
        return True

    def delete(self, table: str, row_id: int) -> None:
        """Take a row away, and before it whatever points to it.

        Raises:
            NotThere: there is no such row.
        """
        where = TABLES[table]
        before = self._there(where, row_id)
        for child, column in where.children:
            self._delete_children(TABLES[child], column, row_id)
        delete_row(self.connection, where, row_id)
        self._record(where, before, None)

    def _delete_children(self, table: Table, column: str, value: int) -> None:
        for row in rows_with(self.connection, table, {column: value}):
            self._record(table, row, None)
        self.connection.execute(f"DELETE FROM {table.name} WHERE {column} = :value", {"value": value})

    def _row(self, table: Table, row_id: int) -> Row | None:
        return next(iter(rows_with(self.connection, table, {table.row_id: row_id})), None)

    def _there(self, table: Table, row_id: int) -> Row:
        row = self._row(table, bounded(row_id))
        if row is None:
            raise NotThere(sentence("it no longer exists"))
        return row

    def _record(self, table: Table, before: Row | None, after: Row | None) -> None:
        known = before if before is not None else after
        assert known is not None
        self._changes.append(Recorded(table, key_of(table, known), before, after))

    def restore(self, past: Recorded) -> None:
        """Bring a row back to what it was before a change that was recorded.

        Raises:
            EditConflict: the row is not as that change left it.
        """
        table = past.table
        since = EditConflict(sentence("{name} has been changed since, so this cannot be undone", name=self.name))
        columns = columns_of(self.connection, table)
        if not columns.issuperset({*past.key, *(past.before or ()), *(past.after or ())}):
            raise unreadable()
        there = next(iter(rows_with(self.connection, table, past.key)), None)
        if past.after is None:
            if there is not None or past.before is None:
                raise since
            row = past.before
            if table.row_id not in table.key and self._row(table, row.get(table.row_id, 0)):
                row = {column: value for column, value in row.items() if column != table.row_id}
            self.insert(table.name, row)
            return
        if there is None or not is_as_left(table, there, past.after):
            raise since
        row_id = there[table.row_id]
        if past.before is not None:
            self.update(table.name, row_id, past.before)
            return
        for child, column in table.children:
            if rows_with(self.connection, TABLES[child], {column: row_id}):
                raise EditConflict(
                    sentence(
                        "{name} has been granted or disabled since, so this cannot be undone",
                        name=self.name,
                    )
                )
        self.delete(table.name, row_id)

    def write(self, actor: Actor, now: float, undoes: int | None = None) -> None:
        """Make the entry; called once, at the end."""
        if self._changes:
            self.audit_id = _write(
                self.connection, actor, now, (self.action, self.kind, self.name), self._changes, undoes
            )


@contextmanager
def changing(
    connection: sqlite3.Connection, actor: Actor, now: float, action: str, kind: str, name: str = ""
) -> Iterator[Change]:
    """Everything changed inside is one transaction and one entry of the audit log.

    Nothing is written if nothing was changed.

    Args:
        now: epoch seconds.
        action, kind, name: see Change, whose attributes they become.

    Raises:
        EditConflict: a constraint of the database was broken; nothing was changed.
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
    """Write an entry without rows, in a transaction that is open; it cannot be taken back."""
    return _write(connection, actor, now, (action, kind, name), [], None)


def undo(connection: sqlite3.Connection, actor: Actor, now: float, audit_id: int) -> int:
    """Take a change back: its rows become what they were before. Returns the new entry's number.

    An undo is a change like others and can be taken back itself.

    Raises:
        NotThere: there is no such entry.
        EditRefused: changes of this kind are not taken back.
        EditConflict: it was taken back already, something has changed since, or something
            that it needs is gone. Nothing was changed.
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
                raise EditRefused(_REFUSED[kind])
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


_REFUSED: Final = {
    "console_user": Sentence("changes of console users cannot be undone: change the user again instead"),
    "token": Sentence("changes of tokens cannot be undone: create a new token, or revoke it"),
    "import": Sentence("an import cannot be undone: the audit log has only its counts, not its rows"),
}


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
