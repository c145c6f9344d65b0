"""Grants of mappings to extensions and users."""

from __future__ import annotations

from pbxrouter.database import Connection, Page
from pbxrouter.database.rules import (
    Grant,
    HolderRow,
    MappingRow,
    grant,
    holder,
    holders_of,
    mapping,
    mappings_of,
    revoke,
)
from pbxrouter.security import Scope
from pbxrouter.web.api.endpoint import ApiRequest, Endpoint
from pbxrouter.web.api.items import item_of
from pbxrouter.web.api.list_query import ListQuery
from pbxrouter.web.api.resources.holders import (
    EXTENSIONS,
    TAG,
    USERS,
    Extensions,
    Users,
    extension_of,
    user_of,
)
from pbxrouter.web.api.resources.mappings import PATH as MAPPINGS
from pbxrouter.web.api.resources.mappings import MappingItem, Mappings


async def _holders(request: ApiRequest, kind: str) -> Page[HolderRow]:
    query: ListQuery = request.query
    map_id = request.path["map_id"]

    def find(connection: Connection) -> Page[HolderRow]:
        mapping(connection, map_id)  # NotThere if there is no such mapping
        return holders_of(connection, map_id, kind, query.search, query.limit, query.after)

    return await request.web.read(find)


async def list_extensions_of_mapping(request: ApiRequest) -> Extensions:
    """List the extensions that may use a mapping."""
    page = await _holders(request, "extension")
    return Extensions([extension_of(row, request.web) for row in page.rows], page.next)


async def list_users_of_mapping(request: ApiRequest) -> Users:
    """List the users who may use a mapping by their PIN."""
    page = await _holders(request, "user")
    return Users([user_of(row, request.web) for row in page.rows], page.next)


async def _mappings(request: ApiRequest, kind: str) -> Mappings:
    query: ListQuery = request.query
    number = request.path[f"{kind}_id"]

    def find(connection: Connection) -> Page[MappingRow]:
        holder(connection, kind, number)
        return mappings_of(connection, kind, number, query.search, query.limit, query.after)

    page = await request.web.read(find)
    return Mappings([item_of(MappingItem, row) for row in page.rows], page.next)


async def list_mappings_of_extension(request: ApiRequest) -> Mappings:
    """List the mappings that an extension may use."""
    return await _mappings(request, "extension")


async def list_mappings_of_user(request: ApiRequest) -> Mappings:
    """List the mappings that a user may use."""
    return await _mappings(request, "user")


def _grant(request: ApiRequest, kind: str) -> Grant:
    return Grant(kind, request.path[f"{kind}_id"], request.path["map_id"])


async def _give(request: ApiRequest, kind: str) -> None:
    wanted = _grant(request, kind)
    await request.web.change(lambda connection: grant(connection, request.actor, request.web.now(), wanted))


async def _take(request: ApiRequest, kind: str) -> None:
    unwanted = _grant(request, kind)
    await request.web.change(lambda connection: revoke(connection, request.actor, request.web.now(), unwanted))


async def grant_to_extension(request: ApiRequest) -> None:
    """Grant a mapping to an extension."""
    await _give(request, "extension")


async def grant_to_user(request: ApiRequest) -> None:
    """Grant a mapping to a user."""
    await _give(request, "user")


async def revoke_from_extension(request: ApiRequest) -> None:
    """Revoke a mapping from an extension."""
    await _take(request, "extension")


async def revoke_from_user(request: ApiRequest) -> None:
    """Revoke a mapping from a user."""
    await _take(request, "user")


_OF_EXTENSION = f"{MAPPINGS}/{{map_id}}/extensions/{{extension_id}}"
_OF_USER = f"{MAPPINGS}/{{map_id}}/users/{{user_id}}"
_CONFLICT = frozenset({409})

ENDPOINTS = (
    Endpoint(
        "GET",
        f"{MAPPINGS}/{{map_id}}/extensions",
        TAG,
        "List the extensions that may use a mapping",
        list_extensions_of_mapping,
        Scope.READ,
        Extensions,
        ListQuery,
    ),
    Endpoint(
        "GET",
        f"{MAPPINGS}/{{map_id}}/users",
        TAG,
        "List the users that may use a mapping",
        list_users_of_mapping,
        Scope.READ,
        Users,
        ListQuery,
    ),
    Endpoint(
        "GET",
        f"{EXTENSIONS}/{{extension_id}}/mappings",
        TAG,
        "List the mappings that an extension may use",
        list_mappings_of_extension,
        Scope.READ,
        Mappings,
        ListQuery,
    ),
    Endpoint(
        "GET",
        f"{USERS}/{{user_id}}/mappings",
        TAG,
        "List the mappings that a user may use",
        list_mappings_of_user,
        Scope.READ,
        Mappings,
        ListQuery,
    ),
    Endpoint(
        "PUT",
        _OF_EXTENSION,
        TAG,
        "Grant a mapping to an extension",
        grant_to_extension,
        Scope.RULES,
        status=204,
        errors=_CONFLICT,
        note="Also if it may already.",
    ),
    Endpoint(
        "DELETE",
        _OF_EXTENSION,
        TAG,
        "Revoke a mapping from an extension",
        revoke_from_extension,
        Scope.RULES,
        status=204,
        errors=_CONFLICT,
        note="Also if it may not already.",
    ),
    Endpoint(
        "PUT",
        _OF_USER,
        TAG,
        "Grant a mapping to a user",
        grant_to_user,
        Scope.RULES,
        status=204,
        errors=_CONFLICT,
        note="Also if they may already.",
    ),
    Endpoint(
        "DELETE",
        _OF_USER,
        TAG,
        "Revoke a mapping from a user",
        revoke_from_user,
        Scope.RULES,
        status=204,
        errors=_CONFLICT,
        note="Also if they may not already.",
    ),
)
