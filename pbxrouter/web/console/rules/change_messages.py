"""Sentences for entries of the audit log: what was done, and the values before and after.

For PINs they say only set, changed or removed; passwords and tokens are left out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pbxrouter.database import Connection
from pbxrouter.database.audit import AuditDetail, AuditEntry, RowChange
from pbxrouter.database.rules import HOLDERS, names_of
from pbxrouter.text import Sentence, sentence
from pbxrouter.web.console.lockout_pages import SOURCES
from pbxrouter.web.language import LANGUAGES

KINDS: Final = {
    "mapping": Sentence("mappings"),
    "extension": Sentence("extensions"),
    "user": Sentence("users"),
    "grant": Sentence("grants"),
    "import": Sentence("imports"),
    "lockout": Sentence("lock-outs"),
    "console_user": Sentence("console users"),
    "token": Sentence("API tokens"),
    "dial_link": Sentence("click-to-dial links"),
}
"""Names of the kinds of changed things."""
VIA: Final = {
    "console": Sentence("in the console"),
    "api": Sentence("through the API"),
    "command": Sentence("with a command"),
    "phone": Sentence("by phone"),
    "sql": Sentence("directly in the database"),
}
ADMINS_ONLY: Final = frozenset({"console_user", "token", "dial_link"})
"""Kinds of changes that only admins see and undo."""
_DID: Final = {
    ("create", "mapping"): Sentence("mapping {name} was created"),
    ("update", "mapping"): Sentence("mapping {name} was changed"),
    ("enable", "mapping"): Sentence("mapping {name} was enabled"),
    ("disable", "mapping"): Sentence("mapping {name} was disabled"),
    ("delete", "mapping"): Sentence("mapping {name} was deleted"),
    ("create", "extension"): Sentence("extension {name} was created"),
    ("update", "extension"): Sentence("number of extension {name} was changed"),
    ("endpoint", "extension"): Sentence("endpoint of extension {name} was changed"),
    ("delete", "extension"): Sentence("extension {name} was deleted"),
    ("create", "user"): Sentence("user {name} was created"),
    ("update", "user"): Sentence("user {name} was renamed"),
    ("delete", "user"): Sentence("user {name} was deleted"),
    ("pin", "user"): Sentence("PIN of {name} was changed"),
    ("limit", "user"): Sentence("call limit of {name} was changed"),
    ("grant", "grant"): Sentence("granted: {name}"),
    ("revoke", "grant"): Sentence("grant revoked: {name}"),
    ("update", "grant"): Sentence("grant changed: {name}"),
    ("import", "import"): Sentence("imported: {name}"),
    ("lift", "lockout"): Sentence("lock-out lifted: {name}"),
    ("create", "console_user"): Sentence("console user {name} was created"),
    ("update", "console_user"): Sentence("console user {name} was changed"),
    ("delete", "console_user"): Sentence("console user {name} was deleted"),
    ("password", "console_user"): Sentence("password of console user {name} was changed"),
    ("create", "token"): Sentence("token {name} was created"),
    ("revoke", "token"): Sentence("token {name} was revoked"),
    ("update", "token"): Sentence("token {name} was changed"),
    ("delete", "token"): Sentence("token {name} was deleted"),
    ("create", "dial_link"): Sentence("click-to-dial link {name} was created"),
    ("update", "dial_link"): Sentence("click-to-dial link {name} was changed"),
    ("enable", "dial_link"): Sentence("click-to-dial link {name} was enabled"),
    ("disable", "dial_link"): Sentence("click-to-dial link {name} was disabled"),
    ("void", "dial_link"): Sentence("all addresses of click-to-dial link {name} were revoked"),
    ("delete", "dial_link"): Sentence("click-to-dial link {name} was deleted"),
}
_MANY: Final = re.compile(r"(?:\+([0-9]+) )?-([0-9]+)")
"""The name of an entry about several grants: those given and taken, or the orphaned ones that were deleted."""
_OTHERWISE: Final = Sentence("{action}: {name}")
_UNDONE: Final = Sentence("change {number} was undone: {name}")
_PINS: Final = {
    ("none", "set"): Sentence("PIN set"),
    ("set", "none"): Sentence("PIN removed"),
    ("set", "changed"): Sentence("PIN changed"),
}
_COLUMNS: Final = {
    "pattern": Sentence("pattern"),
    "application_name": Sentence("application"),
    "application_data": Sentence("data"),
    "extension_number": Sentence("number"),
    "endpoint": Sentence("endpoint"),
    "max_calls": Sentence("maximum calls at once"),
    "user_name": Sentence("name"),
    "login": Sentence("login"),
    "role": Sentence("role"),
    "phone": Sentence("phone"),
    "language": Sentence("language"),
    "name": Sentence("name"),
    "scopes": Sentence("scopes"),
    "context": Sentence("context"),
    "asterisk": Sentence("Asterisk"),
    "destinations": Sentence("destinations"),
    "hours": Sentence("opening hours"),
    "calls_a_day": Sentence("maximum calls per day"),
    "calls_an_hour": Sentence("maximum calls per hour from one IP address"),
    "consent_en": Sentence("consent, in English"),
    "consent_es": Sentence("consent, in Spanish"),
    "sites": Sentence("sites"),
}
_STATES: Final = {
    "disabled_at": (Sentence("disabled"), Sentence("enabled")),
    "revoked_at": (Sentence("revoked"), Sentence("not revoked")),
    "generation": (Sentence("all addresses revoked"), Sentence("all addresses revoked")),
}
"""Columns that hold a moment or a counter: what a change of them means, to a value and to none."""
_VALUES: Final = {
    ("role", "viewer"): Sentence("viewer"),
    ("role", "operator"): Sentence("operator"),
    ("role", "admin"): Sentence("admin"),
    **{("language", code): sentence("{text}", text=name) for code, name in LANGUAGES.items()},
}
"""Values of columns that are code words, as the other pages call them."""
_NOT_SHOWN: Final = frozenset({"created_at", "last_login_at", "last_used_at", "user_pin"})
_HEADLINE_ONLY: Final = frozenset({"grant", "revoke", "enable", "disable"})
"""Actions whose headline suffices if they changed one row."""
_NOTHING: Final = Sentence("nothing")
_GONE: Final = Sentence("number {number}")
_GRANTS: Final = {kind.grants: kind for kind in HOLDERS.values()}

Names = Mapping[str, Mapping[int, str]]
"""Names by kind and row id."""


@dataclass(frozen=True, slots=True)
class ChangeDescription:
    """An entry of the audit log in sentences.

    Attributes:
        entry: the entry.
        what: the headline.
        lines: the changed rows and columns, at most as many as requested.
        more: number of lines left out.
    """

    entry: AuditEntry
    what: Sentence
    lines: tuple[Sentence, ...]
    more: int


def headline(entry: AuditEntry) -> Sentence:
    """What was done, as a sentence."""
    if entry.action == "undo":
        return sentence(_UNDONE.message, number=entry.undoes, name=entry.name)
    many = _MANY.fullmatch(entry.name) if entry.kind == "grant" else None
    if many and many[1] is None:
        return sentence("orphaned grants deleted: {count}", count=many[2])
    if many:  # a page of the matrix
        return sentence("grants added: {given}; revoked: {taken}", given=many[1], taken=many[2])
    if entry.kind == "lockout":
        scope, _, source = entry.name.partition(" ")
        if scope in SOURCES:
            place = sentence("{kind} {name}", kind=SOURCES[scope], name=source) if source else SOURCES[scope]
            return sentence(_DID["lift", "lockout"].message, name=place)
    known = _DID.get((entry.action, entry.kind))
    if known is None:
        return sentence(_OTHERWISE.message, action=entry.action, name=entry.name)
    return sentence(known.message, name=entry.name)


def describe(
    entry: AuditEntry, detail: AuditDetail | None, names: Names, most: int, brief: bool = False
) -> ChangeDescription:
    """Describe an entry of the audit log.

    Args:
        detail: its rows; None if they are too many for a list.
        names: names of the rows that grants and switches refer to.
        most: maximum number of lines.
        brief: leave out lines that the headline implies.
    """
    if detail is None or (brief and detail.rows == 1 and entry.action in _HEADLINE_ONLY):
        return ChangeDescription(entry, headline(entry), (), 0)
    whole = {change.key.get("map_id") for change in detail.changes if _is_whole(change)}
    # The mapping, extension or user first, then its grants.
    changes = sorted(detail.changes, key=lambda change: change.table in _GRANTS)
    lines = [line for change in changes for line in _lines(change, names, whole)]
    left_out = max(0, detail.rows - len(detail.changes))
    return ChangeDescription(entry, headline(entry), tuple(lines[:most]), max(0, len(lines) - most) + left_out)


def known_names(connection: Connection, details: Iterable[AuditDetail]) -> Names:
    """Names of all mappings, extensions and users that these entries refer to, in three queries."""
    numbers: dict[str, set[int]] = {"mapping": set(), "extension": set(), "user": set()}
    last: dict[str, dict[int, str]] = defaultdict(dict)
    for change in (change for detail in details for change in detail.changes):
        row = change.before or change.after or {}
        for kind, column, name in _NAMED:
            number = _int(row.get(column, ""))
            if number is None:
                continue
            if name in row:
                last[kind][number] = row[name]
            else:
                numbers[kind].add(number)
    return {
        # Current names; for deleted rows the name at deletion.
        kind: {**last[kind], **names_of(connection, kind, sorted(wanted)[:_MOST_NAMES])}
        for kind, wanted in numbers.items()
    }


_MOST_NAMES: Final = 5000
_NAMED: Final = (
    ("mapping", "map_id", "pattern"),
    ("extension", "extension_id", "extension_number"),
    ("user", "user_id", "user_name"),
)


def _int(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def _is_whole(change: RowChange) -> bool:
    """Whether a mapping was created or deleted, so that its switch is implied."""
    return change.table == "applications_mappings" and (change.before is None or change.after is None)


def _lines(change: RowChange, names: Names, whole: set[str | None]) -> Iterator[Sentence]:
    if _is_whole(change):
        yield _whole(change)
    elif change.table == "mappings_disabled":
        if change.after is None and change.key.get("map_id") in whole:
            return
        yield Sentence("disabled") if change.before is None else Sentence("enabled")
    elif change.table in _GRANTS:
        yield _grant(change, names)
    else:
        yield from _columns(change)


def _whole(change: RowChange) -> Sentence:
    row = change.after or change.before or {}
    places = {
        "pattern": row.get("pattern", ""),
        "application": row.get("application_name", ""),
        "data": row.get("application_data", ""),
    }
    if change.before is None:
        return sentence("{pattern} leads to {application} {data}", **places)
    return sentence("{pattern} led to {application} {data}", **places)


def _grant(change: RowChange, names: Names) -> Sentence:
    table = _GRANTS[change.table]
    places = {
        "who": _named(names, table.kind, change.key.get(table.row_id, "")),
        "what": _named(names, "mapping", change.key.get("map_id", "")),
    }
    if change.before is None:
        return sentence("{who} may use {what}", **places)
    return sentence("{who} may no longer use {what}", **places)


def _named(names: Names, kind: str, number: str) -> str | Sentence:
    return names[kind].get(_int(number) or -1) or sentence(_GONE.message, number=number)


def _columns(change: RowChange) -> Iterator[Sentence]:
    before, after = change.before or {}, change.after or {}
    pin = _PINS.get((before.get("user_pin", "none"), after.get("user_pin", "none")))
    for column in {**before, **after}:
        if column in change.key or column in _NOT_SHOWN or before.get(column) == after.get(column):
            continue
        if column in _STATES:
            if change.before is not None and change.after is not None:
                yield _STATES[column][0 if after.get(column) else 1]
            continue
        name = _COLUMNS.get(column) or sentence("{text}", text=column)
        if change.before is None:
            if after[column]:
                yield sentence("{column}: {after}", column=name, after=_value(column, after[column]))
        elif change.after is None:
            if before[column]:
                yield sentence("{column} was {before}", column=name, before=_value(column, before[column]))
        else:
            yield sentence(
                "{column}: {before} → {after}",
                column=name,
                before=_value(column, before.get(column, "")),
                after=_value(column, after.get(column, "")),
            )
    if pin is not None and not (pin.message == "PIN removed" and change.after is None):
        yield pin


def _value(column: str, text: str) -> str | Sentence:
    return _VALUES.get((column, text)) or text or _NOTHING
