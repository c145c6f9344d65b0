"""Mappings: dial patterns and the applications they lead to."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from pbxrouter.database import Connection
from pbxrouter.database.rules import (
    MappingRow,
    MappingValues,
    add_mapping,
    delete_mapping,
    find_mappings,
    mapping,
    update_mapping,
)
from pbxrouter.security import Scope
from pbxrouter.web.api.endpoint import ApiRequest, Created, Endpoint
from pbxrouter.web.api.items import item_of
from pbxrouter.web.api.list_query import ListQuery, Next
from pbxrouter.web.api.parsing import given

TAG = "Rules"
PATH = "/api/mappings"

Pattern = Annotated[str, Meta(min_length=1, max_length=80, description="A dial pattern, such as 2X, 0[1-3]. or 911.")]
Application = Annotated[
    str, Meta(min_length=1, max_length=80, description="The application: dial, voicemail, conference, ….")
]
Data = Annotated[str, Meta(max_length=255, description="The application's argument, such as PJSIP; may be empty.")]
Enabled = Annotated[bool, Meta(description="false: disabled; its grants are kept.")]


class MappingItem(msgspec.Struct, frozen=True):
    """A mapping: a dial pattern and its application."""

    map_id: int
    pattern: str
    application: str
    data: str
    enabled: bool
    extensions: Annotated[int, Meta(description="The number of extensions that may use it.")]
    users: Annotated[int, Meta(description="The number of users who may use it.")]


class Mappings(msgspec.Struct, frozen=True):
    """A page of mappings, by id."""

    items: list[MappingItem]
    next: Next


class NewMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping to create."""

    pattern: Pattern
    application: Application
    data: Data = ""
    enabled: Enabled = True


class MappingChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes of a mapping; fields left out stay."""

    pattern: Pattern | UnsetType = UNSET
    application: Application | UnsetType = UNSET
    data: Data | UnsetType = UNSET
    enabled: Enabled | UnsetType = UNSET


class MappingQuery(ListQuery, frozen=True, forbid_unknown_fields=True):
    """Filter and page of mappings."""

    enabled: Annotated[bool, Meta(description="Only enabled, or only disabled ones.")] | None = None


async def list_mappings(request: ApiRequest) -> Mappings:
    """List mappings."""
    query: MappingQuery = request.query
    page = await request.web.read(
        lambda connection: find_mappings(connection, query.search, query.limit, query.after, enabled=query.enabled)
    )
    return Mappings([item_of(MappingItem, row) for row in page.rows], page.next)


async def get_mapping(request: ApiRequest) -> MappingItem:
    """Get a mapping."""
    return item_of(MappingItem, await request.web.read(lambda connection: mapping(connection, request.path["map_id"])))


async def create_mapping(request: ApiRequest) -> Created:
    """Create a mapping."""
    new: NewMapping = request.body
    values = MappingValues(**msgspec.structs.asdict(new))

    def create(connection: Connection) -> MappingRow:
        added = add_mapping(connection, request.actor, request.web.now(), values, request.web.applications)
        return mapping(connection, added.value)

    created = await request.web.change(create)
    return Created(f"{PATH}/{created.map_id}", item_of(MappingItem, created))


async def change_mapping(request: ApiRequest) -> MappingItem:
    """Change a mapping."""
    wanted: MappingChange = request.body
    map_id = request.path["map_id"]

    def change(connection: Connection) -> MappingRow:
        row = mapping(connection, map_id)
        was = MappingValues.of(row)
        values = replace(was, **given(wanted))
        update_mapping(connection, request.actor, request.web.now(), map_id, values, was, request.web.applications)
        return mapping(connection, map_id)

    return item_of(MappingItem, await request.web.change(change))


async def remove_mapping(request: ApiRequest) -> None:
    """Delete a mapping and its grants."""
    await request.web.change(
        lambda connection: delete_mapping(connection, request.actor, request.web.now(), request.path["map_id"])
    )


_SHOWN = MappingItem(3, "2X", "dial", "PJSIP", True, 2, 1)
_REFUSED = frozenset({409, 422})

ENDPOINTS = (
    Endpoint(
        "GET",
        PATH,
        TAG,
        "List mappings",
        list_mappings,
        Scope.READ,
        answer=Mappings,
        query=MappingQuery,
        shows=Mappings([_SHOWN], None),
    ),
    Endpoint(
        "POST",
        PATH,
        TAG,
        "Create a mapping",
        create_mapping,
        Scope.RULES,
        answer=MappingItem,
        body=NewMapping,
        status=201,
        errors=_REFUSED,
        example=NewMapping("2X", "dial", "PJSIP"),
        shows=_SHOWN,
        note="It applies from the next call. It cannot be used before it is granted to an extension or a user.",
    ),
    Endpoint(
        "GET",
        f"{PATH}/{{map_id}}",
        TAG,
        "Get a mapping",
        get_mapping,
        Scope.READ,
        answer=MappingItem,
        shows=_SHOWN,
    ),
    Endpoint(
        "PATCH",
        f"{PATH}/{{map_id}}",
        TAG,
        "Change, enable or disable a mapping",
        change_mapping,
        Scope.RULES,
        answer=MappingItem,
        body=MappingChange,
        errors=_REFUSED,
        example=MappingChange(enabled=False),
        shows=msgspec.structs.replace(_SHOWN, enabled=False),
    ),
    Endpoint(
        "DELETE",
        f"{PATH}/{{map_id}}",
        TAG,
        "Delete a mapping and its grants",
        remove_mapping,
        Scope.RULES,
        status=204,
        errors=frozenset({409}),
    ),
)
