"""Console users and their roles."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from pbxrouter.database import Connection
from pbxrouter.database.access import (
    MAX_LOGIN,
    ConsoleUser,
    add_console_user,
    check_login,
    console_user,
    set_console_password,
    update_console_user,
)
from pbxrouter.database.access import delete_console_user as delete_row
from pbxrouter.database.access import list_console_users as read_rows
from pbxrouter.security import MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH, Role, Scope, check_new_password
from pbxrouter.web.api.endpoint import ApiRequest, Created, Endpoint
from pbxrouter.web.api.items import item_of
from pbxrouter.web.api.parsing import given

TAG = "Administration"
PATH = "/api/console-users"

Phone = Annotated[
    str,
    Meta(max_length=MAX_LOGIN, description="The phone that rings when they dial, such as PJSIP/33; empty if none."),
]
Language = Annotated[Literal["", "en", "es"], Meta(description="Empty for the browser's language.")]
Password = Annotated[str, Meta(min_length=MIN_PASSWORD_LENGTH, max_length=MAX_PASSWORD_LENGTH)]


class ConsoleUserItem(msgspec.Struct, frozen=True):
    """A console user, without their password."""

    console_user_id: int
    login: str
    role: Annotated[Role, Meta(description="Each role includes the one before it.")]
    phone: str
    language: str
    created_at: Annotated[float, Meta(description="Seconds since 1970, UTC.")]
    last_login_at: Annotated[float, Meta(description="The same; null if never.")] | None
    enabled: bool


class ConsoleUsers(msgspec.Struct, frozen=True):
    """All console users, by login."""

    items: list[ConsoleUserItem]


class NewConsoleUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A console user to create."""

    login: Annotated[str, Meta(min_length=1, max_length=MAX_LOGIN)]
    password: Password
    role: Role
    phone: Phone = ""
    language: Language = ""


class ConsoleUserChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes of a console user; fields left out stay."""

    password: Password | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    phone: Phone | UnsetType = UNSET
    language: Language | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


async def list_console_users(request: ApiRequest) -> ConsoleUsers:
    """List console users."""
    return ConsoleUsers([item_of(ConsoleUserItem, row) for row in await request.web.read(read_rows)])


async def get_console_user(request: ApiRequest) -> ConsoleUserItem:
    """Get a console user."""
    number = request.path["console_user_id"]
    return item_of(ConsoleUserItem, await request.web.read(lambda connection: console_user(connection, number)))


async def create_console_user(request: ApiRequest) -> Created:
    """Create a console user."""
    new: NewConsoleUser = request.body
    login = check_login(new.login)
    request.web.check_phone(new.phone)
    hashed = await request.web.in_thread(request.web.passwords.hash, check_new_password(new.password, login))

    def create(connection: Connection) -> ConsoleUser:
        number = add_console_user(
            connection,
            request.actor,
            request.web.now(),
            login,
            hashed,
            new.role,
            new.phone,
            new.language,
        )
        return console_user(connection, number)

    created = item_of(ConsoleUserItem, await request.web.write(create))
    return Created(f"{PATH}/{created.console_user_id}", created)


async def change_console_user(request: ApiRequest) -> ConsoleUserItem:
    """Change a console user; a lower role or a new password ends their sessions."""
    wanted: ConsoleUserChange = request.body
    number = request.path["console_user_id"]
    user = await request.web.read(lambda connection: console_user(connection, number))
    changes = given(wanted)
    request.web.check_phone(changes.get("phone", ""), user.phone)
    hashed: str | None = None
    if "password" in changes:
        password = check_new_password(changes.pop("password"), user.login)
        hashed = await request.web.in_thread(request.web.passwords.hash, password)

    def change(connection: Connection) -> ConsoleUser:
        now = request.web.now()
        update_console_user(connection, request.actor, now, number, **changes)
        if hashed is not None:
            set_console_password(connection, request.actor, now, number, hashed)
        return console_user(connection, number)

    return item_of(ConsoleUserItem, await request.web.write(change))


async def delete_console_user(request: ApiRequest) -> None:
    """Delete a console user and end their sessions."""
    number = request.path["console_user_id"]
    await request.web.write(lambda connection: delete_row(connection, request.actor, request.web.now(), number))


_SHOWN = ConsoleUserItem(1, "maria", Role.ADMIN, "PJSIP/33", "es", 1795427154.0, 1795430000.0, True)
_ONE = f"{PATH}/{{console_user_id}}"
_LAST = "422 if no enabled admin would be left."

ENDPOINTS = (
    Endpoint(
        "GET",
        PATH,
        TAG,
        "List console users",
        list_console_users,
        Scope.ADMIN,
        ConsoleUsers,
        shows=ConsoleUsers([_SHOWN]),
    ),
    Endpoint(
        "POST",
        PATH,
        TAG,
        "Create a console user",
        create_console_user,
        Scope.ADMIN,
        ConsoleUserItem,
        body=NewConsoleUser,
        status=201,
        errors=frozenset({409, 422}),
        example=NewConsoleUser("maria", "correct horse battery", Role.OPERATOR, "PJSIP/33"),
        shows=_SHOWN,
    ),
    Endpoint("GET", _ONE, TAG, "Get a console user", get_console_user, Scope.ADMIN, ConsoleUserItem, shows=_SHOWN),
    Endpoint(
        "PATCH",
        _ONE,
        TAG,
        "Change a console user, or set a new password",
        change_console_user,
        Scope.ADMIN,
        ConsoleUserItem,
        body=ConsoleUserChange,
        errors=frozenset({409, 422}),
        example=ConsoleUserChange(role=Role.VIEWER),
        shows=_SHOWN,
        note=f"A lower role or a new password ends the user's sessions. {_LAST}",
    ),
    Endpoint(
        "DELETE",
        _ONE,
        TAG,
        "Delete a console user",
        delete_console_user,
        Scope.ADMIN,
        status=204,
        errors=frozenset({409, 422}),
        note=_LAST,
    ),
)
