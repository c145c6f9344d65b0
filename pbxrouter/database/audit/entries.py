"""The audit log as it is shown: searched, one entry whole, and never a secret in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pbxrouter.database.audit.rows import Recorded, Row, from_text
from pbxrouter.database.connection import reading
from pbxrouter.database.values import bounded, text_of
from pbxrouter.errors import NotThere
from pbxrouter.text import sentence

KINDS: Final = ("mapping", "extension", "user", "grant", "import", "console_user", "token", "dial_link")
"""What a change may be of."""
NEVER_UNDONE: Final = frozenset({"console_user", "token", "import"})
"""Kinds that stay as they are: who may come in is decided anew, and an import's rows are not kept."""
MAX_SHOWN: Final = 200
"""Of an entry with more rows than this, the first ones are shown."""
MAX_ENTRIES: Final = 500
MAX_TEXT: Final = 20_000
"""Of an entry whose rows take more characters than this, a list shows none."""
LOOKED_THROUGH: Final = 1000
"""So many of the newest entries are looked through for those about one thing."""

_PIN: Final = "user_pin"
_SECRETS: Final = frozenset({"password_hash", "token_hash"})
_COLUMNS: Final = "audit_id, changed_at, who, via, action, kind, name, undoes, undone_by"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who changed what.

    Attributes:
        changed_at: epoch seconds.
        who: a login, a token's name, or the system's user.
        via: console, api or command.
        name: what it was called then.
        undoes: the entry that this one took back.
        undone_by: the entry that took this one back.
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

    @property
    def can_be_undone(self) -> bool:
        """Whether it is worth trying: what has changed since is seen only then."""
        return self.undone_by is None and self.kind not in NEVER_UNDONE


@dataclass(frozen=True, slots=True)
class RowChange:
    """One row's change, fit to be shown; None where there was, or is, no row.

    Of a PIN it says "set", "none" or "changed"; of a password or a token nothing.
    """

    table: str
    key: Mapping[str, str]
    before: Mapping[str, str] | None
    after: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class AuditDetail:
    """An entry with its rows.

    Attributes:
        changes: the first MAX_SHOWN of them.
        rows: how many there are.
    """

    entry: AuditEntry
    changes: tuple[RowChange, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class AuditSearch:
    """Which entries; None means any. Times are epoch seconds, ``until`` excluded.

    Attributes:
        hidden: kinds that are left out.
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
    connection: sqlite3.Connection,
    search: AuditSearch | None = None,
    limit: int = 50,
    before_id: int | None = None,
) -> list[AuditEntry]:
    """The newest entries that fit, newest first.

    Args:
        limit: how many; at most MAX_ENTRIES.
        before_id: only those older than this one: the last of the page before.

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
    query = (
        f"SELECT {_COLUMNS} FROM audit_log WHERE {' AND '.join(conditions) or '1'} ORDER BY audit_id DESC LIMIT :limit"
    )
    values["limit"] = max(1, min(limit, MAX_ENTRIES))
    with reading(connection):
        return [AuditEntry(*row) for row in connection.execute(query, values)]


def entry(connection: sqlite3.Connection, audit_id: int) -> AuditDetail:
    """One entry, with the rows before and after.

    Raises:
        NotThere: there is no such entry.
        StoreError: the database cannot be read.
    """
    with reading(connection):
        row = connection.execute(
            f"SELECT {_COLUMNS}, changes FROM audit_log WHERE audit_id = :id", {"id": bounded(audit_id)}
        ).fetchone()
    if row is None:
        raise no_entry(audit_id)
    changes = from_text(row[-1]) or []
    return AuditDetail(AuditEntry(*row[:-1]), tuple(map(_shown, changes[:MAX_SHOWN])), len(changes))


def details_of(connection: sqlite3.Connection, entries: Iterable[AuditEntry]) -> dict[int, AuditDetail]:
    """Entries of a list with their rows, by number, in one query; without those that are too long for a list.

    Raises:
        StoreError: the database cannot be read.
    """
    known = {audit_entry.audit_id: audit_entry for audit_entry in entries}
    places = {f"id_{place}": audit_id for place, audit_id in enumerate(known)}
    with reading(connection):
        rows = connection.execute(
            "SELECT audit_id, changes FROM audit_log"
            f" WHERE audit_id IN ({', '.join(map(':{}'.format, places))}) AND length(changes) <= {MAX_TEXT}",
            places,
        ).fetchall()
    found: dict[int, AuditDetail] = {}
    for audit_id, text in rows:
        changes = from_text(text) or []
        found[audit_id] = AuditDetail(known[audit_id], tuple(map(_shown, changes[:MAX_SHOWN])), len(changes))
    return found


def entries_about(connection: sqlite3.Connection, column: str, number: int, limit: int = 10) -> list[AuditEntry]:
    """Among the newest entries those that touch rows with this number in this column, newest first.

    Args:
        column: map_id, extension_id or user_id.

    Raises:
        StoreError: the database cannot be read.
    """
    # As to_text writes it: no text in a row can look so, for its quotes are escaped.
    said = f'"{column}": {number}'
    with reading(connection):
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM audit_log WHERE audit_id > (SELECT max(audit_id) FROM audit_log) - :back"
            " AND (instr(changes, :inside) OR instr(changes, :last)) ORDER BY audit_id DESC LIMIT :limit",
            {
                "back": LOOKED_THROUGH,
                "inside": f"{said},",
                "last": f"{said}}}",
                "limit": max(1, min(limit, MAX_ENTRIES)),
            },
        ).fetchall()
    return [AuditEntry(*row) for row in rows]


def no_entry(audit_id: int) -> NotThere:
    """What is said of a number that no entry has."""
    return NotThere(sentence("there is no entry {number} in the audit log", number=audit_id))


def _bindable(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value


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
