"""What the audit log's entries say, in words: who did what, and what it was before and after.

Of PINs it says set, changed or removed; of passwords and tokens nothing. Not here: the log (database.audit).
"""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pbxrouter.database.audit.entries import AuditDetail, AuditEntry, RowChange
from pbxrouter.database.rules.holders import HOLDERS
from pbxrouter.database.rules.names import names_of
from pbxrouter.text.sentences import Step, step

KINDS: Final = {
    "mapping": Step("mappings"),
    "extension": Step("extensions"),
    "user": Step("users"),
    "grant": Step("grants"),
    "import": Step("imports"),
    "console_user": Step("console users"),
    "token": Step("API tokens"),
    "dial_link": Step("click-to-dial links"),
}
"""What a change may be of."""
VIA: Final = {"console": Step("by the console"), "api": Step("by the API"), "command": Step("by a command")}
ADMINS_ONLY: Final = frozenset({"console_user", "token", "dial_link"})
"""Kinds that only admins see and take back."""
STAYS: Final = {
    "console_user": Step("changes of console users cannot be taken back: change them anew instead"),
    "token": Step("changes of tokens cannot be taken back: make a new token, or revoke it"),
    "import": Step("an import cannot be taken back: the audit log has only its counts, not its rows"),
}
"""Why changes of a kind cannot be taken back."""
_DID: Final = {
    ("create", "mapping"): Step("mapping {name} was made"),
    ("update", "mapping"): Step("mapping {name} was changed"),
    ("enable", "mapping"): Step("mapping {name} was switched on"),
    ("disable", "mapping"): Step("mapping {name} was switched off"),
    ("delete", "mapping"): Step("mapping {name} was deleted"),
    ("create", "extension"): Step("extension {name} was made"),
    ("update", "extension"): Step("extension {name} has another number"),
    ("delete", "extension"): Step("extension {name} was deleted"),
    ("create", "user"): Step("user {name} was made"),
    ("update", "user"): Step("user {name} has another name"),
    ("delete", "user"): Step("user {name} was deleted"),
    ("pin", "user"): Step("PIN of {name} was changed"),
    ("grant", "grant"): Step("granted: {name}"),
    ("revoke", "grant"): Step("grant taken away: {name}"),
    ("import", "import"): Step("imported: {name}"),
    ("create", "console_user"): Step("console user {name} was made"),
    ("update", "console_user"): Step("console user {name} was changed"),
    ("delete", "console_user"): Step("console user {name} was deleted"),
    ("create", "token"): Step("token {name} was made"),
    ("revoke", "token"): Step("token {name} was revoked"),
    ("create", "dial_link"): Step("click-to-dial link {name} was made"),
    ("update", "dial_link"): Step("click-to-dial link {name} was changed"),
    ("delete", "dial_link"): Step("click-to-dial link {name} was deleted"),
}
_MANY: Final = re.compile(r"\+([0-9]+) -([0-9]+)")
_OTHERWISE: Final = Step("{action}: {name}")
_TAKEN_BACK: Final = Step("change {number} was taken back: {name}")
_PINS: Final = {
    ("none", "set"): Step("PIN set"),
    ("set", "none"): Step("PIN removed"),
    ("set", "changed"): Step("PIN changed"),
}
_COLUMNS: Final = {
    "pattern": Step("pattern"),
    "application_name": Step("application"),
    "application_data": Step("data"),
    "extension_number": Step("number"),
    "user_name": Step("name"),
    "login": Step("login"),
    "role": Step("role"),
    "phone": Step("phone"),
    "language": Step("language"),
    "name": Step("name"),
    "scopes": Step("good for"),
    "context": Step("context"),
    "asterisk": Step("Asterisk"),
    "destinations": Step("destinations"),
    "hours": Step("opening hours"),
    "calls_a_day": Step("calls a day"),
    "calls_an_hour": Step("calls an hour from one address"),
    "consent_en": Step("consent, in English"),
    "consent_es": Step("consent, in Spanish"),
    "sites": Step("sites"),
    "generation": Step("generation"),
    "disabled_at": Step("switched off"),
    "revoked_at": Step("revoked"),
}
_NOT_SHOWN: Final = frozenset({"created_at", "last_login_at", "last_used_at", "user_pin"})
_SAYS_ALL: Final = frozenset({"grant", "revoke", "enable", "disable"})
"""Actions whose headline says all, if they are of one row."""
_NOTHING: Final = Step("nothing")
_GONE: Final = Step("number {number}")
_GRANTS: Final = {each.grants: each for each in HOLDERS.values()}

Names = Mapping[str, Mapping[int, str]]
"""By kind and number what something is called."""


@dataclass(frozen=True, slots=True)
class Told:
    """One entry, told.

    Attributes:
        what: in a sentence.
        lines: what changed, row by row; at most so many as were asked for.
        more: how many more there are.
    """

    entry: AuditEntry
    what: Step
    lines: tuple[Step, ...]
    more: int


def headline(entry: AuditEntry) -> Step:
    """What was done."""
    if entry.action == "undo":
        return step(_TAKEN_BACK.message, number=entry.undoes, name=entry.name)
    many = _MANY.fullmatch(entry.name) if entry.kind == "grant" else None
    if many:  # a page of the matrix
        return step("grants given: {given}; taken away: {taken}", given=many[1], taken=many[2])
    known = _DID.get((entry.action, entry.kind))
    if known is None:
        return step(_OTHERWISE.message, action=entry.action, name=entry.name)
    return step(known.message, name=entry.name)


def tell(entry: AuditEntry, detail: AuditDetail | None, names: Names, most: int, brief: bool = False) -> Told:
    """An entry in words.

    Args:
        detail: its rows; None if they are too many for a list.
        most: lines.
        brief: leave out what the headline says already.
    """
    if detail is None or (brief and detail.rows == 1 and entry.action in _SAYS_ALL):
        return Told(entry, headline(entry), (), 0)
    whole = {each.key.get("map_id") for each in detail.changes if _is_whole(each)}
    # The thing itself first, then its grants.
    changes = sorted(detail.changes, key=lambda change: change.table in _GRANTS)
    lines = [line for change in changes for line in _lines(change, names, whole)]
    left_out = max(0, detail.rows - len(detail.changes))
    return Told(entry, headline(entry), tuple(lines[:most]), max(0, len(lines) - most) + left_out)


def known_names(connection: sqlite3.Connection, details: Iterable[AuditDetail]) -> Names:
    """What is called how, of all that grants and switches in these entries name: in three queries."""
    numbers: dict[str, set[int]] = {"mapping": set(), "extension": set(), "user": set()}
    then: dict[str, dict[int, str]] = defaultdict(dict)
    for change in (change for detail in details for change in detail.changes):
        row = change.before or change.after or {}
        for kind, column, name in _NAMED:
            number = _int(row.get(column, ""))
            if number is None:
                continue
            if name in row:
                then[kind][number] = row[name]
            else:
                numbers[kind].add(number)
    return {
        # As they are called now; what is gone, as it was called when it went.
        kind: {**then[kind], **names_of(connection, kind, sorted(wanted)[:_MOST_NAMES])}
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
    """Whether a whole mapping came or went, so that its switch need not be told."""
    return change.table == "applications_mappings" and (change.before is None or change.after is None)


def _lines(change: RowChange, names: Names, whole: set[str | None]) -> Iterator[Step]:
    if _is_whole(change):
        yield _whole(change)
    elif change.table == "mappings_disabled":
        if change.after is None and change.key.get("map_id") in whole:
            return
        yield Step("switched off") if change.before is None else Step("switched on")
    elif change.table in _GRANTS:
        yield _grant(change, names)
    else:
        yield from _columns(change)


def _whole(change: RowChange) -> Step:
    row = change.after or change.before or {}
    places = {
        "pattern": row.get("pattern", ""),
        "application": row.get("application_name", ""),
        "data": row.get("application_data", ""),
    }
    if change.before is None:
        return step("{pattern} leads to {application} {data}", **places)
    return step("{pattern} led to {application} {data}", **places)


def _grant(change: RowChange, names: Names) -> Step:
    table = _GRANTS[change.table]
    places = {
        "who": _named(names, table.kind, change.key.get(table.row_id, "")),
        "what": _named(names, "mapping", change.key.get("map_id", "")),
    }
    if change.before is None:
        return step("{who} may use {what}", **places)
    return step("{who} may no longer use {what}", **places)


def _named(names: Names, kind: str, number: str) -> str | Step:
    return names[kind].get(_int(number) or -1) or step(_GONE.message, number=number)


def _columns(change: RowChange) -> Iterator[Step]:
    before, after = change.before or {}, change.after or {}
    pin = _PINS.get((before.get("user_pin", "none"), after.get("user_pin", "none")))
    for column in {**before, **after}:
        if column in change.key or column in _NOT_SHOWN or before.get(column) == after.get(column):
            continue
        name = _COLUMNS.get(column) or step("{text}", text=column)
        if change.before is None:
            if after[column]:
                yield step("{column}: {after}", column=name, after=after[column])
        elif change.after is None:
            if before[column]:
                yield step("{column} was {before}", column=name, before=before[column])
        else:
            yield step(
                "{column}: {before} → {after}",
                column=name,
                before=before.get(column) or _NOTHING,
                after=after.get(column) or _NOTHING,
            )
    if pin is not None and not (pin.message == "PIN removed" and change.after is None):
        yield pin
