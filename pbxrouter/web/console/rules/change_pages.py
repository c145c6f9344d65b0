"""Pages of the audit log: who changed what and when, with undo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pbxrouter.config import Zone
from pbxrouter.database import Connection
from pbxrouter.database.audit import (
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
from pbxrouter.web.console.request import PageRequest, read_time
from pbxrouter.web.console.router import Redirect
from pbxrouter.web.console.rules.change_messages import (
    ADMINS_ONLY,
    KINDS,
    VIA,
    ChangeDescription,
    describe,
    headline,
    known_names,
)
from pbxrouter.web.console.rules.page_base import (
    RuleContext,
    address,
    came_from,
    list_above,
    number_in,
    refuse,
)

PATH: Final = "/rules/changes"
ROWS: Final = 25
LINES: Final = 4
"""Maximum number of lines of an entry in the list."""
ALL_LINES: Final = 200


@dataclass(frozen=True, slots=True)
class ChangeFilters:
    """The filter form's fields, as entered."""

    who: str
    kind: str
    since: str
    until: str

    @property
    def any(self) -> bool:
        """Whether any filter is set."""
        return bool(self.who or self.kind or self.since or self.until)


class ChangePages:
    """Serves the pages ``/rules/changes``."""

    def __init__(self, context: RuleContext) -> None:
        self._context = context
        context.router.add(PATH, self.list, Role.VIEWER)
        context.router.add(f"{PATH}/<int:number>", self.show, Role.VIEWER)
        context.router.add(f"{PATH}/<int:number>/undo", self.undo, Role.OPERATOR, methods=("POST",))

    async def list(self, page_request: PageRequest) -> bytes:
        """Show the newest matching changes."""
        filters = ChangeFilters(*(page_request.query.text(name) for name in ("who", "kind", "since", "until")))
        older, error = number_in(page_request.query, "older"), None
        hidden = hidden_from(page_request)
        try:
            search = read_search(filters, self._context.web.zone, hidden)
        except EditRefused as refused:
            error, search = refuse(page_request, refused), AuditSearch(hidden=hidden)

        def read(connection: Connection) -> tuple[list[ChangeDescription], bool]:
            entries = find_entries(connection, search, ROWS + 1, older)
            page = entries[:ROWS]
            details = details_of(connection, page)
            names = known_names(connection, details.values())
            changes = [describe(row, details.get(row.audit_id), names, LINES, brief=True) for row in page]
            return changes, len(entries) > ROWS

        changes, has_more = await self._context.web.read(read)
        query = {"who": filters.who, "kind": filters.kind, "since": filters.since, "until": filters.until}
        last = changes[-1].entry.audit_id if changes and has_more else None
        return self._context.page(
            "changes.html",
            page_request,
            changes=changes,
            filters=filters,
            error=error,
            kinds=[(name, label) for name, label in KINDS.items() if name not in hidden],
            via=VIA,
            newest=None if older is None else address(PATH, query),
            older=None if last is None else address(PATH, {**query, "older": last}),
        )

    async def show(self, page_request: PageRequest, number: int) -> bytes:
        """Show one change with its rows."""

        def read(connection: Connection) -> ChangeDescription:
            detail = entry(connection, number)
            if detail.entry.kind in hidden_from(page_request):
                raise NotThere(sentence("there is no entry {number} in the audit log", number=number))
            return describe(detail.entry, detail, known_names(connection, [detail]), ALL_LINES)

        change = await self._context.web.read(read)
        return self._context.page("change.html", page_request, change=change, via=VIA, why_not=why_not(change.entry))

    async def undo(self, page_request: PageRequest, number: int) -> bytes:
        """Undo a change, and return to the page of the button."""
        found = (await self._context.web.read(lambda connection: entry(connection, number))).entry
        if found.kind in hidden_from(page_request):
            raise NotThere(sentence("there is no entry {number} in the audit log", number=number))

        def work(connection: Connection, actor: Actor, now: float) -> Edited[None]:
            return Edited(None, undo(connection, actor, now, number))

        edited = await self._context.edit(page_request, work)
        back = await self._existing_page(came_from(page_request, f"{PATH}/{number}"))
        raise Redirect(back, sentence("undone: {what}", what=headline(found)), undo=edited.audit_id)

    async def _existing_page(self, path: str) -> str:
        """The page, or the list above it if the undo deleted the page's row."""
        above = list_above(path)
        if above is None:
            return path
        number = int(path.partition("?")[0].split("/")[3])

        def read(connection: Connection) -> None:
            if above == "/rules/mappings":
                mapping(connection, number)
            else:
                holder(connection, above.removeprefix("/rules/").removesuffix("s"), number)

        try:
            await self._context.web.read(read)
        except NotThere:
            return above
        return path if path.partition("?")[0].count("/") == 3 else f"{above}/{number}"


def hidden_from(page_request: PageRequest) -> frozenset[str]:
    """Kinds of changes that the request's user may not see."""
    user = page_request.user
    return frozenset() if user is not None and user.role.may(Role.ADMIN) else ADMINS_ONLY


def why_not(entry: AuditEntry) -> Sentence | None:
    """Why a change cannot be undone; None if undo may be tried."""
    if entry.undone_by is not None:
        return Sentence("this change has already been undone")
    return entry.never_undone


def read_search(filters: ChangeFilters, zone: Zone, hidden: frozenset[str]) -> AuditSearch:
    """Return the filters as a search of the audit log.

    Raises:
        EditRefused: a filter is not valid; the error has its field.
    """
    if filters.kind and filters.kind not in KINDS:
        raise EditRefused(sentence("choose a value from the list"), "kind")
    return AuditSearch(
        filters.who or None,
        filters.kind or None,
        read_time(filters.since, "since", zone),
        read_time(filters.until, "until", zone),
        hidden,
    )
