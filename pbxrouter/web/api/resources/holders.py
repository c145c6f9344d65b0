"""Extensions, identified by caller number, and users, identified by PIN."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pbxrouter.database import MAX_NAME, Page
from pbxrouter.database.audit import Actor, Edited
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
from pbxrouter.web.api.endpoint import ApiRequest, Created, Endpoint, named
from pbxrouter.web.api.list_query import ListQuery, Next

TAG = "Rules"
EXTENSIONS = "/api/extensions"
USERS = "/api/users"

Number = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_NAME,
        description="The number as Asterisk shows the caller; text, so that 033 stays 033.",
    ),
]
Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Grants = Annotated[int, Meta(description="The number of mappings granted to it.")]


class ExtensionItem(msgspec.Struct, frozen=True):
    """An extension."""

    extension_id: int
    number: str
    grants: Grants


class UserItem(msgspec.Struct, frozen=True):
    """A user."""

    user_id: int
    name: str
    has_pin: bool
    grants: Grants


class Extensions(msgspec.Struct, frozen=True):
    """A page of extensions."""

    items: list[ExtensionItem]
    next: Next


class Users(msgspec.Struct, frozen=True):
    """A page of users."""

    items: list[UserItem]
    next: Next


class ExtensionValues(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The values of an extension."""

    number: Number


class UserValues(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The values of a user."""

    name: Name


def extension_of(row: HolderRow) -> ExtensionItem:
    """Convert a row to an ExtensionItem."""
    return ExtensionItem(row.holder_id, row.name, row.grants)


def user_of(row: HolderRow) -> UserItem:
    """Convert a row to a UserItem."""
    return UserItem(row.holder_id, row.name, row.has_pin, row.grants)


@dataclass(frozen=True)
class HolderResource:
    """The endpoints of one kind of holder; extensions and users differ in their types and texts only.

    Attributes:
        kind: ``extension`` or ``user``.
        path: of the list; one holder is at ``{path}/{id}``.
        item: converts a row.
        page: makes a page of items.
        name_of: the number or name in a request body.
        add: adds one to the database.
        update: gives one another number or name.
    """

    kind: str
    path: str
    item: Callable[[HolderRow], ExtensionItem | UserItem]
    page: Callable[[list[Any], int | None], Extensions | Users]
    name_of: Callable[[Any], str]
    add: Callable[[sqlite3.Connection, Actor, float, str], Edited[int]]
    update: Callable[[sqlite3.Connection, Actor, float, int, str], Edited[None]]

    def _id(self, request: ApiRequest) -> int:
        return request.path[f"{self.kind}_id"]

    async def list(self, request: ApiRequest) -> Extensions | Users:
        """List holders by number or name."""
        query: ListQuery = request.query
        page: Page[HolderRow] = await request.web.read(
            lambda connection: find_holders(connection, self.kind, query.search, query.limit, query.after)
        )
        return self.page([self.item(row) for row in page.rows], page.next)

    async def get(self, request: ApiRequest) -> ExtensionItem | UserItem:
        """Get a holder."""
        return self.item(await request.web.read(lambda connection: holder(connection, self.kind, self._id(request))))

    async def create(self, request: ApiRequest) -> Created:
        """Create a holder."""

        def create(connection: sqlite3.Connection) -> HolderRow:
            number = self.add(connection, request.actor, request.web.now(), self.name_of(request.body)).value
            return holder(connection, self.kind, number)

        row = await request.web.change(create)
        return Created(f"{self.path}/{row.holder_id}", self.item(row))

    async def change(self, request: ApiRequest) -> ExtensionItem | UserItem:
        """Give a holder another number or name."""
        number = self._id(request)

        def change(connection: sqlite3.Connection) -> HolderRow:
            self.update(connection, request.actor, request.web.now(), number, self.name_of(request.body))
            return holder(connection, self.kind, number)

        return self.item(await request.web.change(change))

    async def delete(self, request: ApiRequest) -> None:
        """Delete a holder and its grants."""
        await request.web.change(
            lambda connection: delete_holder(connection, request.actor, request.web.now(), self.kind, self._id(request))
        )

    def endpoints(
        self,
        summaries: Sequence[str],
        types: tuple[type[msgspec.Struct], type[msgspec.Struct], type[msgspec.Struct]],
        examples: tuple[msgspec.Struct, msgspec.Struct],
        shows: tuple[msgspec.Struct, msgspec.Struct, msgspec.Struct],
    ) -> tuple[Endpoint, ...]:
        """Declare the endpoints.

        Args:
            summaries: of list, create, get, change and delete.
            types: of an item, of a page, and of the values in a request body.
            examples: values to create and to change.
            shows: an item, a created one, and a changed one.
        """
        item, page, values = types
        one = f"{self.path}/{{{self.kind}_id}}"
        lists, creates, gets, changes, deletes = summaries
        shown, created, changed = shows
        return (
            Endpoint(
                "GET",
                self.path,
                TAG,
                lists,
                named(f"list_{self.kind}s", self.list),
                Scope.READ,
                page,
                ListQuery,
                shows=page([shown], None),
            ),
            Endpoint(
                "POST",
                self.path,
                TAG,
                creates,
                named(f"create_{self.kind}", self.create),
                Scope.RULES,
                item,
                body=values,
                status=201,
                errors=_REFUSED,
                example=examples[0],
                shows=created,
            ),
            Endpoint("GET", one, TAG, gets, named(f"get_{self.kind}", self.get), Scope.READ, item, shows=shown),
            Endpoint(
                "PATCH",
                one,
                TAG,
                changes,
                named(f"change_{self.kind}", self.change),
                Scope.RULES,
                item,
                body=values,
                errors=_REFUSED,
                example=examples[1],
                shows=changed,
            ),
            Endpoint(
                "DELETE",
                one,
                TAG,
                deletes,
                named(f"delete_{self.kind}", self.delete),
                Scope.RULES,
                status=204,
                errors=frozenset({409}),
            ),
        )


_REFUSED = frozenset({409, 422})

ENDPOINTS: tuple[Endpoint, ...] = (
    *HolderResource(
        "extension", EXTENSIONS, extension_of, Extensions, lambda body: body.number, add_extension, update_extension
    ).endpoints(
        (
            "List extensions",
            "Create an extension",
            "Get an extension",
            "Change an extension's number",
            "Delete an extension and its grants",
        ),
        (ExtensionItem, Extensions, ExtensionValues),
        (ExtensionValues("33"), ExtensionValues("34")),
        (ExtensionItem(1, "33", 2), ExtensionItem(1, "33", 0), ExtensionItem(1, "34", 2)),
    ),
    *HolderResource("user", USERS, user_of, Users, lambda body: body.name, add_user, update_user).endpoints(
        (
            "List users",
            "Create a user without a PIN",
            "Get a user",
            "Rename a user",
            "Delete a user and their grants",
        ),
        (UserItem, Users, UserValues),
        (UserValues("Rafael Nadal"), UserValues("Rafa")),
        (UserItem(1, "Rafael Nadal", True, 1), UserItem(1, "Rafael Nadal", False, 0), UserItem(1, "Rafa", True, 1)),
    ),
)
