"""The audit log: who changed what, and taking it back."""

from __future__ import annotations

import datetime
import sqlite3
from dataclasses import dataclass
from typing import Final

from pbxrouter.database.audit import (
    NEVER_UNDONE,
    Actor,
    AuditEntry,
    AuditSearch,
    Edited,
    details_of,
    entry,
    find_entries,
    undo,
)
from pbxrouter.database.rules import holder, mapping
from pbxrouter.errors import EditRefused, NotThere
from pbxrouter.security import Role
from pbxrouter.text import Sentence, sentence
from pbxrouter.web.console.request import PageRequest
from pbxrouter.web.console.router import Redirect
from pbxrouter.web.console.rules.change_messages import (
    ADMINS_ONLY,
    KINDS,
    VIA,
    Told,
    headline,
    known_names,
    tell,
)
from pbxrouter.web.console.rules.page_base import (
    Tools,
    address,
    came_from,
    list_above,
    number_in,
    refuse,
)
from pbxrouter.web.language import Zone

PATH: Final = "/rules/changes"
ROWS: Final = 25
LINES: Final = 4
"""Of each entry in the list."""
ALL_LINES: Final = 200


@dataclass(frozen=True, slots=True)
class Filters:
    """What the list is of, as it was typed."""

    who: str
    kind: str
    since: str
    until: str

    @property
    def any(self) -> bool:
        """Whether it is not all."""
        return bool(self.who or self.kind or self.since or self.until)


class ChangePages:
    """The pages ``/rules/changes``."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        tools.router.add(PATH, self.list, Role.VIEWER)
        tools.router.add(f"{PATH}/<int:number>", self.show, Role.VIEWER)
        tools.router.add(f"{PATH}/<int:number>/undo", self.undo, Role.OPERATOR, methods=("POST",))

    async def list(self, page_request: PageRequest) -> bytes:
        """The newest that fit."""
        filters = Filters(*(page_request.query.text(name) for name in ("who", "kind", "since", "until")))
        older, error = number_in(page_request.query, "older"), None
        hidden = hidden_from(page_request)
        try:
            search = read_search(filters, self._tools.web.zone, hidden)
        except EditRefused as refused:
            error, search = refuse(page_request, refused), AuditSearch(hidden=hidden)

        def read(connection: sqlite3.Connection) -> tuple[list[Told], bool]:
            entries = find_entries(connection, search, ROWS + 1, older)
            page = entries[:ROWS]
            details = details_of(connection, page)
            names = known_names(connection, details.values())
            told = [tell(row, details.get(row.audit_id), names, LINES, brief=True) for row in page]
            return told, len(entries) > ROWS

        told, has_more = await self._tools.web.read(read)
        query = {"who": filters.who, "kind": filters.kind, "since": filters.since, "until": filters.until}
        last = told[-1].entry.audit_id if told and has_more else None
        return self._tools.page(
            "changes.html",
            page_request,
            told=told,
            filters=filters,
            error=error,
            kinds=[(name, said) for name, said in KINDS.items() if name not in hidden],
            via=VIA,
            newest=None if older is None else address(PATH, query),
            older=None if last is None else address(PATH, {**query, "older": last}),
        )

    async def show(self, page_request: PageRequest, number: int) -> bytes:
        """One, with all its rows."""

        def read(connection: sqlite3.Connection) -> Told:
            detail = entry(connection, number)
            if detail.entry.kind in hidden_from(page_request):
                raise NotThere(sentence("there is no entry {number} in the audit log", number=number))
            return tell(detail.entry, detail, known_names(connection, [detail]), ALL_LINES)

        told = await self._tools.web.read(read)
        return self._tools.page("change.html", page_request, told=told, via=VIA, why_not=why_not(told.entry))

    async def undo(self, page_request: PageRequest, number: int) -> bytes:
        """Take it back, and go on where the button was."""
        found = (await self._tools.web.read(lambda connection: entry(connection, number))).entry
        if found.kind in hidden_from(page_request):
            raise NotThere(sentence("there is no entry {number} in the audit log", number=number))

        def work(connection: sqlite3.Connection, actor: Actor, now: float) -> Edited[None]:
            return Edited(None, undo(connection, actor, now, number))

        made = await self._tools.edit(page_request, work)
        back = await self._still_there(came_from(page_request, f"{PATH}/{number}"))
        raise Redirect(back, sentence("taken back: {what}", what=headline(found)), undo=made.audit_id)

    async def _still_there(self, path: str) -> str:
        """The page, or the list above it if what it was of is gone with the undo."""
        above = list_above(path)
        if above is None:
            return path
        number = int(path.partition("?")[0].split("/")[3])

        def read(connection: sqlite3.Connection) -> None:
            if above == "/rules/mappings":
                mapping(connection, number)
            else:
                holder(connection, above.removeprefix("/rules/").removesuffix("s"), number)

        try:
            await self._tools.web.read(read)
        except NotThere:
            return above
        return path if path.partition("?")[0].count("/") == 3 else f"{above}/{number}"


def hidden_from(page_request: PageRequest) -> frozenset[str]:
    """Kinds of changes that are not this visitor's business."""
    user = page_request.user
    return frozenset() if user is not None and user.role.may(Role.ADMIN) else ADMINS_ONLY


def why_not(entry: AuditEntry) -> Sentence | None:
    """Why a change cannot be taken back; None if it may be tried."""
    if entry.undone_by is not None:
        return Sentence("this change was taken back already")
    return NEVER_UNDONE.get(entry.kind)


def read_search(filters: Filters, zone: Zone, hidden: frozenset[str]) -> AuditSearch:
    """What the filters come to.

    Raises:
        EditRefused: one cannot be read; the field is its name.
    """
    if filters.kind and filters.kind not in KINDS:
        raise EditRefused(sentence("choose one of the list"), "kind")
    return AuditSearch(
        filters.who or None,
        filters.kind or None,
        _moment(filters.since, "since", zone),
        _moment(filters.until, "until", zone),
        hidden,
    )


def _moment(text: str, field: str, zone: Zone) -> float | None:
    if not text:
        return None
    try:
        return zone.seconds(datetime.datetime.fromisoformat(text).replace(tzinfo=None))
    except (ValueError, OverflowError):
        raise EditRefused(sentence("a time is written such as {example}", example="2026-11-23T09:30"), field) from None
