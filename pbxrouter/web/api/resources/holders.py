"""Extensions, known by the number that calls, and users, known by a PIN.

Not here: PINs (user_pins), what they may use (grants), the rows (database.rule_lists).
"""

from __future__ import annotations

import sqlite3
from typing import Annotated

import msgspec
from msgspec import Meta

from pbxrouter.database.edit_text import MAX_NAME
from pbxrouter.database.paging import Page
from pbxrouter.database.rules.holder_edits import (
    add_extension,
    add_user,
    delete_holder,
    update_extension,
    update_user,
)
from pbxrouter.database.rules.lists import HolderRow, find_holders, holder
from pbxrouter.security.tokens import Scope
from pbxrouter.web.api.endpoint import Asked, Endpoint, Made
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
    """What an extension is, or is to be."""

    number: Number


class UserValues(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a user is, or is to be."""

    name: Name


def extension_of(row: HolderRow) -> Extension:
    """An extension as the API shows it."""
    return Extension(row.holder_id, row.name, row.grants)


def user_of(row: HolderRow) -> User:
    """A user as the API shows it."""
    return User(row.holder_id, row.name, row.has_pin, row.grants)


async def _page(asked: Asked, kind: str) -> Page[HolderRow]:
    query: ListQuery = asked.query
    return await asked.desk.read(
        lambda connection: find_holders(connection, kind, query.search, query.limit, query.after)
    )


async def _one(asked: Asked, kind: str) -> HolderRow:
    return await asked.desk.read(lambda connection: holder(connection, kind, asked.path[f"{kind}_id"]))


async def _delete(asked: Asked, kind: str) -> None:
    number = asked.path[f"{kind}_id"]
    await asked.desk.change(
        lambda connection: delete_holder(connection, asked.actor, asked.desk.now(), kind, number)
    )


async def list_extensions(asked: Asked) -> Extensions:
    """A page, by number."""
    page = await _page(asked, "extension")
    return Extensions([extension_of(row) for row in page.rows], page.next)


async def get_extension(asked: Asked) -> Extension:
    """One."""
    return extension_of(await _one(asked, "extension"))


async def create_extension(asked: Asked) -> Made:
    """A new one."""
    values: ExtensionValues = asked.body

    def create(connection: sqlite3.Connection) -> HolderRow:
        number = add_extension(connection, asked.actor, asked.desk.now(), values.number)
        return holder(connection, "extension", number)

    made = extension_of(await asked.desk.change(create))
    return Made(f"{EXTENSIONS}/{made.extension_id}", made)


async def change_extension(asked: Asked) -> Extension:
    """Give it another number."""
    values: ExtensionValues = asked.body
    number = asked.path["extension_id"]

    def change(connection: sqlite3.Connection) -> HolderRow:
        update_extension(connection, asked.actor, asked.desk.now(), number, values.number)
        return holder(connection, "extension", number)

    return extension_of(await asked.desk.change(change))


async def delete_extension(asked: Asked) -> None:
    """Away, with its grants."""
    await _delete(asked, "extension")


async def list_users(asked: Asked) -> Users:
    """A page, by name."""
    page = await _page(asked, "user")
    return Users([user_of(row) for row in page.rows], page.next)


async def get_user(asked: Asked) -> User:
    """One."""
    return user_of(await _one(asked, "user"))


async def create_user(asked: Asked) -> Made:
    """A new one, without PIN."""
    values: UserValues = asked.body

    def create(connection: sqlite3.Connection) -> HolderRow:
        number = add_user(connection, asked.actor, asked.desk.now(), values.name)
        return holder(connection, "user", number)

    made = user_of(await asked.desk.change(create))
    return Made(f"{USERS}/{made.user_id}", made)


async def change_user(asked: Asked) -> User:
    """Give them another name."""
    values: UserValues = asked.body
    number = asked.path["user_id"]

    def change(connection: sqlite3.Connection) -> HolderRow:
        update_user(connection, asked.actor, asked.desk.now(), number, values.name)
        return holder(connection, "user", number)

    return user_of(await asked.desk.change(change))


async def delete_user(asked: Asked) -> None:
    """Away, with their grants."""
    await _delete(asked, "user")


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
    Endpoint(
        "GET", USERS, TAG, "List users", list_users, Scope.READ, Users, ListQuery, shows=Users([_USER], None)
    ),
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
