"""Reading the audit log: searches, single entries, their rows without secrets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pbxrouter.database.audit.rows import UNREADABLE, Recorded, Row, from_text, recorded, unreadable
from pbxrouter.database.connection import read_row, reading
from pbxrouter.database.engine import Connection
from pbxrouter.database.values import bounded, read_as, shown_text, text_of
from pbxrouter.errors import NotThere
from pbxrouter.text import Sentence, sentence

KINDS: Final = ("mapping", "extension", "user", "grant", "import", "lockout", "console_user", "token", "dial_link")
"""The kinds of things that changes are about."""
NEVER_UNDONE: Final = {
    "console_user": Sentence("changes of console users cannot be undone: change the user again instead"),
    "token": Sentence("changes of tokens cannot be undone: create a new token, or revoke it"),
    "lockout": Sentence("a lifted lock-out cannot be undone; it begins again after further wrong PINs"),
    "import": Sentence("this import cannot be undone: the audit log has only its counts, not its rows"),
}
"""Kinds whose changes cannot be undone, and why: an undo would restore access, or the rows are not kept. Of imports,
those from before schema version 10."""
MAX_SHOWN: Final = 200
"""The rows of an entry that are shown, at most."""
MAX_ENTRIES: Final = 500
"""The entries of a list, at most."""
MAX_LISTED: Final = 50
"""The rows of an entry in a list, at most."""
MAX_TEXT: Final = 20_000
"""A list leaves out the rows of an entry that has more characters than this, if it is from before schema version 10."""
LOOKED_THROUGH: Final = 1000
"""How many of the newest entries entries_about searches for rows from before schema version 10."""

_PIN: Final = "user_pin"
_SECRETS: Final = frozenset({"password_hash", "token_hash"})
_WITHOUT_ROWS: Final = "[]"
_COLUMNS: Final = f"audit_id, changed_at, who, via, action, kind, name, undoes, undone_by, changes <> '{_WITHOUT_ROWS}'"
_ROWS: Final = "SELECT table_name, before, after, row_id FROM audit_rows WHERE audit_id = :id"
_AT_ONCE: Final = 1000
"""Rows of an entry that are in memory at a time."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry: who changed what.

    Attributes:
        changed_at: epoch seconds.
        who: a login, a token's name, the system's user, or SQL.
        via: console, api, command, phone or sql.
        name: the name of what was changed, at that time.
        undoes: the entry that this one undid; None if it is no undo.
        undone_by: the entry that undid this one; None if none did.
        has_rows: whether the rows that it changed are recorded.
    """

    audit_id: int
    changed_at: float
    who: str
    via: str
    action: str
    kind: str
    name: str
    undoes: int | None
    undone_by: int | None
    has_rows: bool = True

    @property
    def can_be_undone(self) -> bool:
        """Whether an undo can be tried; it still fails if the rows were changed since."""
        return self.undone_by is None and self.never_undone is None

    @property
    def never_undone(self) -> Sentence | None:
        """Why it cannot be undone at all; None if it can."""
        return why_never(self.kind, "" if self.has_rows else _WITHOUT_ROWS)


@dataclass(frozen=True, slots=True)
class RowChange:
    """The change of one row, without secrets; None where there was, or is, no row.

    A PIN is shown as "set", "none" or "changed"; hashes of passwords and tokens are left out.
    """

    table: str
    key: Mapping[str, str]
    before: Mapping[str, str] | None
    after: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class AuditDetail:
    """An entry with its rows.

    Attributes:
        changes: the first MAX_SHOWN rows.
        rows: the number of rows.
    """

    entry: AuditEntry
    changes: tuple[RowChange, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class AuditSearch:
    """The conditions of a search; None means any. Times are epoch seconds, ``until`` excluded.

    Attributes:
        hidden: kinds to leave out.
    """

    who: str | None = None
    kind: str | None = None
    since: float | None = None
    until: float | None = None
    hidden: frozenset[str] = frozenset()


_CONDITIONS: Final = {
    "who": "who = :who",
    "kind": "kind = :kind",
    "since": "changed_at >= :since",
    "until": "changed_at < :until",
}


def find_entries(
    connection: Connection,
    search: AuditSearch | None = None,
    limit: int = 50,
    before_id: int | None = None,
) -> list[AuditEntry]:
    """Find entries, newest first.

    Args:
        limit: the number of entries; at most MAX_ENTRIES.
        before_id: only entries older than this one, the last of the previous page.

    Raises:
        StoreError: the database cannot be read.
    """
    search = search or AuditSearch()
    values: dict[str, Any] = {
        name: _bindable(value) for name in _CONDITIONS if (value := getattr(search, name)) is not None
    }
    conditions = [_CONDITIONS[name] for name in values]
    for place, kind in enumerate(sorted(search.hidden)):
        conditions.append(f"kind <> :hidden_{place}")
        values[f"hidden_{place}"] = kind
    if before_id is not None:
        conditions.append("audit_id < :before_id")
        values["before_id"] = bounded(before_id)
    condition = " AND ".join(conditions) or "true"
    query = f"SELECT {_COLUMNS} FROM audit_log WHERE {condition} ORDER BY audit_id DESC LIMIT :limit"
    values["limit"] = max(1, min(limit, MAX_ENTRIES))
    with reading(connection):
        return [_entry(row) for row in connection.execute(query, values)]


def entry(connection: Connection, audit_id: int) -> AuditDetail:
    """Get an entry with its rows.

    Raises:
        NotThere: there is no such entry.
        StoreError: the database cannot be read.
    """
    query = f"SELECT {_COLUMNS}, changes FROM audit_log WHERE audit_id = :id"
    with reading(connection):
        *row, changes = read_row(connection, query, {"id": bounded(audit_id)}, no_entry(audit_id))
        return _detail(connection, _entry(row), changes, MAX_SHOWN)


def details_of(connection: Connection, entries: Iterable[AuditEntry]) -> dict[int, AuditDetail]:
    """Get the first rows of several entries, MAX_LISTED at most, by audit_id; see MAX_TEXT.

    Raises:
        StoreError: the database cannot be read.
    """
    found: dict[int, AuditDetail] = {}
    query = f"SELECT changes FROM audit_log WHERE audit_id = :id AND length(changes) <= {MAX_TEXT}"
    with reading(connection):
        for audit_entry in sorted(entries, key=lambda row: row.audit_id):
            for (changes,) in connection.execute(query, {"id": audit_entry.audit_id}).fetchall():
                found[audit_entry.audit_id] = _detail(connection, audit_entry, changes, MAX_LISTED)
    return found


def entries_about(connection: Connection, column: str, number: int, limit: int = 10) -> list[AuditEntry]:
    """Find recent entries with a row that has this number in this column, newest first.

    Args:
        column: map_id, extension_id or user_id.
        number: the number in that column.
        limit: the number of entries; at most MAX_ENTRIES.

    Raises:
        StoreError: the database cannot be read.
    """
    # As it is written in audit_log.changes. No text in a row can look like this, because its quotes are escaped.
    wanted = f'"{column}": {number}'
    with reading(connection):
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM audit_log"
            f" WHERE audit_id IN (SELECT audit_id FROM audit_rows WHERE {column} = :number"
            # With OR instead PostgreSQL would look through the whole log.
            " UNION ALL SELECT audit_id FROM audit_log WHERE audit_id > (SELECT max(audit_id) FROM audit_log) - :back"
            " AND changes <> '' AND (instr(changes, :inside) > 0 OR instr(changes, :last) > 0))"
            " ORDER BY audit_id DESC LIMIT :limit",
            {
                "number": bounded(number),
                "back": LOOKED_THROUGH,
                "inside": f"{wanted},",
                "last": f"{wanted}}}",
                "limit": max(1, min(limit, MAX_ENTRIES)),
            },
        ).fetchall()
    return [_entry(row) for row in rows]


def latest_first(connection: Connection, audit_id: int, changes: str) -> Iterator[Recorded]:
    """The recorded rows of an entry, the last one first, as an undo needs them.

    Args:
        changes: the entry's column changes.

    Raises:
        EditConflict: they cannot be read.
    """
    if changes:
        past = from_text(changes)
        if not past:
            raise unreadable()
        yield from reversed(past)
        return
    query = f"{_ROWS} AND row_id < :before ORDER BY row_id DESC LIMIT {_AT_ONCE}"
    before = bounded(2**63)
    while rows := connection.execute(query, {"id": bounded(audit_id), "before": before}).fetchall():
        for row in rows:
            try:
                yield recorded(*row[:3])
            except UNREADABLE:
                raise unreadable() from None
        before = rows[-1][3]


def why_never(kind: str, changes: str) -> Sentence | None:
    """Why an entry can never be undone; None if it can be tried.

    Args:
        changes: the entry's column changes.
    """
    return None if kind == "import" and changes != _WITHOUT_ROWS else NEVER_UNDONE.get(kind)


def no_entry(audit_id: int) -> NotThere:
    """The error for an entry that does not exist."""
    return NotThere(sentence("there is no entry {number} in the audit log", number=audit_id))


def _bindable(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value


def _entry(row: Iterable[Any]) -> AuditEntry:
    audit_id, changed_at, who, via, action, kind, name, undoes, undone_by, has_rows = row
    # SQL may have given a thing any name.
    values = (audit_id, changed_at, who, via, action, kind, shown_text(name), undoes, undone_by, bool(has_rows))
    return read_as(AuditEntry, values)


def _detail(connection: Connection, audit_entry: AuditEntry, changes: object, most: int) -> AuditDetail:
    if changes:
        past = from_text(changes) or []
        return AuditDetail(audit_entry, tuple(map(_shown, past[:most])), len(past))
    values = {"id": audit_entry.audit_id}
    rows = connection.execute(f"{_ROWS} ORDER BY row_id LIMIT {most}", values).fetchall()
    (count,) = connection.execute("SELECT count(*) FROM audit_rows WHERE audit_id = :id", values).fetchone()
    try:
        return AuditDetail(audit_entry, tuple(_shown(recorded(*row[:3])) for row in rows), count)
    except UNREADABLE:
        return AuditDetail(audit_entry, (), 0)


def _shown(change: Recorded) -> RowChange:
    before = None if change.before is None else _redacted(change.before)
    after = None if change.after is None else _redacted(change.after)
    if (
        before
        and after
        and change.before
        and change.after
        and before.get(_PIN) == after.get(_PIN) == "set"
        and change.before[_PIN] != change.after[_PIN]
    ):
        after[_PIN] = "changed"
    return RowChange(change.table.name, _redacted(change.key), before, after)


def _redacted(row: Row) -> dict[str, str]:
    shown: dict[str, str] = {}
    for column, value in row.items():
        if column == _PIN:
            shown[column] = "none" if value is None else "set"
        elif column not in _SECRETS:
            shown[column] = text_of(value)
    return shown
