"""Extensions, identified by caller number, and users, identified by PIN."""

from __future__ import annotations

import sqlite3
from typing import Annotated

import msgspec
from msgspec import Meta

from pbxrouter.database import MAX_NAME, Page
from pbxrouter.database.rules import (
    HolderRow,
    add_extension,
    add_user,
    delete_holder,
    find_holders,
    holder,
    update_extension,
    update_user,
)
from pbxrouter.security import Scope
from pbxrouter.web.api.endpoint import ApiRequest, Created, Endpoint
from pbxrouter.web.api.paging import ListQuery, Next

TAG = "Rules"
EXTENSIONS = "/api/extensions"
USERS = "/api/users"

Number = Annotated[
    str,
    Meta(min_length=1, max_length=MAX_NAME, description="As Asterisk shows the caller: text, 033 stays 033."),
]
Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Grants = Annotated[int, Meta(description="How many mappings it may use.")]


class Extension(msgspec.Struct, frozen=True):
    """An extension."""

    extension_id: int
    number: str
    grants: Grants


class User(msgspec.Struct, frozen=True):
    """A user."""

    user_id: int
    name: str
    has_pin: bool
    grants: Grants


class Extensions(msgspec.Struct, frozen=True):
    """A page of extensions."""

    items: list[Extension]
    next: Next


class Users(msgspec.Struct, frozen=True):
    """A page of users."""

    items: list[User]
    next: Next


class ExtensionValues(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The values of an extension."""

    number: Number


class UserValues(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The values of a user."""

    name: Name


def extension_of(row: HolderRow) -> Extension:
    """Convert a row to an Extension."""
    return Extension(row.holder_id, row.name, row.grants)


def user_of(row: HolderRow) -> User:
    """Convert a row to a User."""
    return User(row.holder_id, row.name, row.has_pin, row.grants)


async def _page(request: ApiRequest, kind: str) -> Page[HolderRow]:
    query: ListQuery = request.query
    return await request.web.read(
        lambda connection: find_holders(connection, kind, query.search, query.limit, query.after)
    )


async def _one(request: ApiRequest, kind: str) -> HolderRow:
    return await request.web.read(lambda connection: holder(connection, kind, request.path[f"{kind}_id"]))


async def _delete(request: ApiRequest, kind: str) -> None:
    number = request.path[f"{kind}_id"]
    await request.web.change(
        lambda connection: delete_holder(connection, request.actor, request.web.now(), kind, number)
    )


async def list_extensions(request: ApiRequest) -> Extensions:
    """List extensions by number."""
    page = await _page(request, "extension")
    return Extensions([extension_of(row) for row in page.rows], page.next)


async def get_extension(request: ApiRequest) -> Extension:
    """Get an extension."""
    return extension_of(await _one(request, "extension"))


async def create_extension(request: ApiRequest) -> Created:
    """Create an extension."""
    values: ExtensionValues = request.body

    def create(connection: sqlite3.Connection) -> HolderRow:
        number = add_extension(connection, request.actor, request.web.now(), values.number)
        return holder(connection, "extension", number)

    made = extension_of(await request.web.change(create))
    return Created(f"{EXTENSIONS}/{made.extension_id}", made)


async def change_extension(request: ApiRequest) -> Extension:
    """Change an extension's number."""
    values: ExtensionValues = request.body
    number = request.path["extension_id"]

    def change(connection: sqlite3.Connection) -> HolderRow:
        update_extension(connection, request.actor, request.web.now(), number, values.number)
        return holder(connection, "extension", number)

    return extension_of(await request.web.change(change))


async def delete_extension(request: ApiRequest) -> None:
    """Delete an extension and its grants."""
    await _delete(request, "extension")


async def list_users(request: ApiRequest) -> Users:
    """List users by name."""
    page = await _page(request, "user")
    return Users([user_of(row) for row in page.rows], page.next)


async def get_user(request: ApiRequest) -> User:
    """Get a user."""
    return user_of(await _one(request, "user"))


async def create_user(request: ApiRequest) -> Created:
    """Create a user without a PIN."""
    values: UserValues = request.body

    def create(connection: sqlite3.Connection) -> HolderRow:
        number = add_user(connection, request.actor, request.web.now(), values.name)
        return holder(connection, "user", number)

    made = user_of(await request.web.change(create))
    return Created(f"{USERS}/{made.user_id}", made)


async def change_user(request: ApiRequest) -> User:
    """Change a user's name."""
    values: UserValues = request.body
    number = request.path["user_id"]

    def change(connection: sqlite3.Connection) -> HolderRow:
        update_user(connection, request.actor, request.web.now(), number, values.name)
        return holder(connection, "user", number)

    return user_of(await request.web.change(change))


async def delete_user(request: ApiRequest) -> None:
    """Delete a user and their grants."""
    await _delete(request, "user")


_EXTENSION = Extension(1, "33", 2)
_USER = User(1, "Rafael Nadal", True, 1)
_REFUSED = frozenset({409, 422})


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "GET",
        EXTENSIONS,
        TAG,
        "List extensions",
        list_extensions,
        Scope.READ,
        Extensions,
        ListQuery,
        shows=Extensions([_EXTENSION], None),
    ),
    Endpoint(
        "POST",
        EXTENSIONS,
        TAG,
        "Make an extension",
        create_extension,
        Scope.RULES,
        Extension,
        body=ExtensionValues,
        status=201,
        errors=_REFUSED,
        example=ExtensionValues("33"),
        shows=Extension(1, "33", 0),
    ),
    Endpoint(
        "GET",
        f"{EXTENSIONS}/{{extension_id}}",
        TAG,
        "One extension",
        get_extension,
        Scope.READ,
        Extension,
        shows=_EXTENSION,
    ),
    Endpoint(
        "PATCH",
        f"{EXTENSIONS}/{{extension_id}}",
        TAG,
        "Give an extension another number",
        change_extension,
        Scope.RULES,
        Extension,
        body=ExtensionValues,
        errors=_REFUSED,
        example=ExtensionValues("34"),
        shows=Extension(1, "34", 2),
    ),
    Endpoint(
        "DELETE",
        f"{EXTENSIONS}/{{extension_id}}",
        TAG,
        "Delete an extension and its grants",
        delete_extension,
        Scope.RULES,
        status=204,
        errors=frozenset({409}),
    ),
    Endpoint("GET", USERS, TAG, "List users", list_users, Scope.READ, Users, ListQuery, shows=Users([_USER], None)),
    Endpoint(
        "POST",
        USERS,
        TAG,
        "Make a user, without PIN",
        create_user,
        Scope.RULES,
        User,
        body=UserValues,
        status=201,
        errors=_REFUSED,
        example=UserValues("Rafael Nadal"),
        shows=User(1, "Rafael Nadal", False, 0),
    ),
    Endpoint("GET", f"{USERS}/{{user_id}}", TAG, "One user", get_user, Scope.READ, User, shows=_USER),
    Endpoint(
        "PATCH",
        f"{USERS}/{{user_id}}",
        TAG,
        "Give a user another name",
        change_user,
        Scope.RULES,
        User,
        body=UserValues,
        errors=_REFUSED,
        example=UserValues("Rafa"),
        shows=User(1, "Rafa", True, 1),
    ),
    Endpoint(
        "DELETE",
        f"{USERS}/{{user_id}}",
        TAG,
        "Delete a user and their grants",
        delete_user,
        Scope.RULES,
        status=204,
        errors=frozenset({409}),
    ),
)
