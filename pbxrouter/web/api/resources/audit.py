"""The audit log: changes of the rules, and undoing them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pbxrouter.database import Connection
from pbxrouter.database.audit import (
    MAX_ENTRIES,
    MAX_SHOWN,
    AuditSearch,
    RowChange,
    entry,
    find_entries,
    undo,
)
from pbxrouter.security import Scope
from pbxrouter.web.api.endpoint import ApiRequest, Endpoint, Seconds
from pbxrouter.web.api.items import item_of
from pbxrouter.web.api.list_query import After, Next
from pbxrouter.web.api.token_auth import lacking

TAG = "Audit log"
PATH = "/api/audit"

Kind = Literal["mapping", "extension", "user", "grant", "import", "lockout", "console_user", "token", "dial_link"]
OF_ADMINS = frozenset({"console_user", "token", "dial_link"})
"""Kinds of changes that only admins may make and see."""


class AuditItem(msgspec.Struct, frozen=True):
    """An entry of the audit log."""

    audit_id: int
    changed_at: Annotated[float, Meta(description="Seconds since 1970, UTC.")]
    who: Annotated[str, Meta(description="A login, a token's name, the system's user, or SQL.")]
    via: Annotated[str, Meta(description="console, api, command or phone; sql is a change in the database itself.")]
    action: str
    kind: str
    name: Annotated[str, Meta(description="What it was called then.")]
    undoes: Annotated[int, Meta(description="The entry that this one undid.")] | None
    undone_by: Annotated[int, Meta(description="The entry that undid this one.")] | None
    can_be_undone: Annotated[
        bool, Meta(description="Whether an undo can be tried; it still fails if the rows were changed since.")
    ]


class AuditItems(msgspec.Struct, frozen=True):
    """A page of entries, newest first."""

    items: list[AuditItem]
    next: Next


class AuditRow(msgspec.Struct, frozen=True):
    """The change of one row; null before its creation or after its deletion. PINs appear as set, none or changed."""

    table: str
    key: dict[str, str]
    before: dict[str, str] | None
    after: dict[str, str] | None


class AuditDetails(AuditItem, frozen=True):
    """An entry with the rows that it changed."""

    changes: Annotated[list[AuditRow], Meta(description=f"The first {MAX_SHOWN} of them.")]
    rows: Annotated[int, Meta(description="How many there are.")]


class AuditQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filter of audit log entries."""

    who: Annotated[str, Meta(max_length=200)] | None = None
    kind: Kind | None = None
    since: Seconds | None = None
    until: Seconds | None = None
    after: After | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_ENTRIES - 1, description="How many, at most.")] = 50


class Undone(msgspec.Struct, frozen=True):
    """The result of an undo."""

    audit_id: Annotated[int, Meta(description="The entry of the undo, which can be undone, too.")]


def _row(change: RowChange) -> AuditRow:
    return AuditRow(
        change.table,
        dict(change.key),
        None if change.before is None else dict(change.before),
        None if change.after is None else dict(change.after),
    )


def _demand(request: ApiRequest, kind: str) -> None:
    if kind in OF_ADMINS and not request.may(Scope.ADMIN):
        raise lacking(Scope.ADMIN)


async def list_audit(request: ApiRequest) -> AuditItems:
    """List the audit log's entries, newest first."""
    query: AuditQuery = request.query
    hidden = frozenset() if request.may(Scope.ADMIN) else OF_ADMINS
    search = AuditSearch(query.who, query.kind, query.since, query.until, hidden)
    found = await request.web.read(lambda connection: find_entries(connection, search, query.limit + 1, query.after))
    page = found[: query.limit]
    return AuditItems([item_of(AuditItem, row) for row in page], page[-1].audit_id if len(found) > len(page) else None)


async def get_audit(request: ApiRequest) -> AuditDetails:
    """Get an entry with its rows."""
    found = await request.web.read(lambda connection: entry(connection, request.path["audit_id"]))
    _demand(request, found.entry.kind)
    return item_of(AuditDetails, found.entry, changes=[_row(change) for change in found.changes], rows=found.rows)


async def undo_audit(request: ApiRequest) -> Undone:
    """Undo the change that an entry records."""

    def take_back(connection: Connection) -> int:
        _demand(request, entry(connection, request.path["audit_id"]).entry.kind)
        return undo(connection, request.actor, request.web.now(), request.path["audit_id"])

    return Undone(await request.web.change(take_back))


_SHOWN = AuditItem(17, 1795427154.0, "maria", "console", "create", "mapping", "2X", None, None, can_be_undone=True)
_OF_ADMINS = "Console users, tokens and click-to-dial links in it need the scope `admin`, too."

ENDPOINTS = (
    Endpoint(
        "GET",
        PATH,
        TAG,
        "List changes, newest first",
        list_audit,
        Scope.RULES,
        AuditItems,
        AuditQuery,
        shows=AuditItems([_SHOWN], None),
        note=_OF_ADMINS,
    ),
    Endpoint(
        "GET",
        f"{PATH}/{{audit_id}}",
        TAG,
        "Get a change, with its rows before and after",
        get_audit,
        Scope.RULES,
        AuditDetails,
        note=_OF_ADMINS,
    ),
    Endpoint(
        "POST",
        f"{PATH}/{{audit_id}}/undo",
        TAG,
        "Undo a change",
        undo_audit,
        Scope.RULES,
        Undone,
        errors=frozenset({409, 422}),
        shows=Undone(18),
        note=f"Only if the rows have not been changed since. {_OF_ADMINS}",
    ),
)
