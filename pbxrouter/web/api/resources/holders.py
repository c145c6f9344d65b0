"""Extensions, identified by caller number, and users, identified by PIN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from pbxrouter.database import MAX_NAME, Connection, Page
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
from pbxrouter.web.api.parsing import given
from pbxrouter.web.context import WebContext

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
EndpointName = Annotated[
    str,
    Meta(
        max_length=MAX_NAME,
        description="The endpoint that the extension is tied to, such as PJSIP/33: its number counts on calls from "
        "there alone. Empty: any call that shows the number counts, unless it comes by a trunk in the settings.",
    ),
]
Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Grants = Annotated[int, Meta(description="The number of mappings granted to it.")]


class ExtensionItem(msgspec.Struct, frozen=True):
    """An extension with the number of its grants."""

    extension_id: int
    number: str
    grants: Grants
    endpoint: EndpointName
    repeats: (
        Annotated[
            int,
            Meta(
                description="The extension_id of an earlier row with the same number: that row counts, and this one is "
                "ignored. null if this row counts."
            ),
        ]
        | None
    )


class UserItem(msgspec.Struct, frozen=True):
    """A user with the number of their grants, without their PIN."""

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
    """An extension to create."""

    number: Number
    endpoint: EndpointName = ""


class ExtensionChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes of an extension; fields left out stay."""

    number: Number | UnsetType = UNSET
    endpoint: EndpointName | UnsetType = UNSET


class UserValues(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The values of a user."""

    name: Name


def extension_of(row: HolderRow, web: WebContext) -> ExtensionItem:
    """Convert a row to an ExtensionItem."""
    rules = web.engine.rules
    first, _ = rules.repeated_extensions.get(row.holder_id, (None, None)) if rules else (None, None)
    return ExtensionItem(row.holder_id, row.name, row.grants, row.endpoint, first)


def user_of(row: HolderRow, web: WebContext) -> UserItem:
    """Convert a row to a UserItem."""
    return UserItem(row.holder_id, row.name, row.has_pin, row.grants)


def _add_extension(connection: Connection, actor: Actor, now: float, new: ExtensionValues) -> Edited[int]:
    return add_extension(connection, actor, now, new.number, new.endpoint)


def _update_extension(
    connection: Connection, actor: Actor, now: float, extension_id: int, wanted: ExtensionChange
) -> Edited[None]:
    return update_extension(connection, actor, now, extension_id, **given(wanted))


def _add_user(connection: Connection, actor: Actor, now: float, new: UserValues) -> Edited[int]:
    return add_user(connection, actor, now, new.name)


def _update_user(connection: Connection, actor: Actor, now: float, user_id: int, wanted: UserValues) -> Edited[None]:
    return update_user(connection, actor, now, user_id, wanted.name)


@dataclass(frozen=True)
class HolderResource:
    """The endpoints of one kind of holder; extensions and users differ in their types and texts only.

    Attributes:
        kind: ``extension`` or ``user``.
        path: of the list; one holder is at ``{path}/{id}``.
        item: converts a row.
        page: makes a page of items.
        add: adds one to the database, by a request body.
        update: changes one, by a request body.
    """

    kind: str
    path: str
    item: Callable[[HolderRow, WebContext], ExtensionItem | UserItem]
    page: Callable[[list[Any], int | None], Extensions | Users]
    add: Callable[[Connection, Actor, float, Any], Edited[int]]
    update: Callable[[Connection, Actor, float, int, Any], Edited[None]]

    def _id(self, request: ApiRequest) -> int:
        return request.path[f"{self.kind}_id"]

    async def list(self, request: ApiRequest) -> Extensions | Users:
        """List holders by number or name."""
        query: ListQuery = request.query
        page: Page[HolderRow] = await request.web.read(
            lambda connection: find_holders(connection, self.kind, query.search, query.limit, query.after)
        )
        return self.page([self.item(row, request.web) for row in page.rows], page.next)

    async def get(self, request: ApiRequest) -> ExtensionItem | UserItem:
        """Get an extension or a user."""
        row = await request.web.read(lambda connection: holder(connection, self.kind, self._id(request)))
        return self.item(row, request.web)

    async def create(self, request: ApiRequest) -> Created:
        """Create an extension or a user."""

        def create(connection: Connection) -> HolderRow:
            number = self.add(connection, request.actor, request.web.now(), request.body).value
            return holder(connection, self.kind, number)

        row = await request.web.change(create)
        return Created(f"{self.path}/{row.holder_id}", self.item(row, request.web))

    async def change(self, request: ApiRequest) -> ExtensionItem | UserItem:
        """Change an extension or a user."""
        number = self._id(request)

        def change(connection: Connection) -> HolderRow:
            self.update(connection, request.actor, request.web.now(), number, request.body)
            return holder(connection, self.kind, number)

        return self.item(await request.web.change(change), request.web)

    async def delete(self, request: ApiRequest) -> None:
        """Delete a holder and its grants."""
        await request.web.change(
            lambda connection: delete_holder(connection, request.actor, request.web.now(), self.kind, self._id(request))
        )

    def endpoints(
        self,
        summaries: Sequence[str],
        types: tuple[type[msgspec.Struct], type[msgspec.Struct], type[msgspec.Struct], type[msgspec.Struct]],
        examples: tuple[msgspec.Struct, msgspec.Struct],
        shows: tuple[msgspec.Struct, msgspec.Struct, msgspec.Struct],
    ) -> tuple[Endpoint, ...]:
        """Declare the endpoints.

        Args:
            summaries: of list, create, get, change and delete.
            types: of an item, of a page, and of the request bodies that create and change one.
            examples: values to create and to change.
            shows: an item, a created one, and a changed one.
        """
        item, page, new, change = types
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
                body=new,
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
                body=change,
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
    *HolderResource("extension", EXTENSIONS, extension_of, Extensions, _add_extension, _update_extension).endpoints(
        (
            "List extensions",
            "Create an extension",
            "Get an extension",
            "Change an extension's number or endpoint",
            "Delete an extension and its grants",
        ),
        (ExtensionItem, Extensions, ExtensionValues, ExtensionChange),
        (ExtensionValues("33", "PJSIP/33"), ExtensionChange("34")),
        (
            ExtensionItem(1, "33", 2, "PJSIP/33", None),
            ExtensionItem(1, "33", 0, "PJSIP/33", None),
            ExtensionItem(1, "34", 2, "PJSIP/33", None),
        ),
    ),
    *HolderResource("user", USERS, user_of, Users, _add_user, _update_user).endpoints(
        (
            "List users",
            "Create a user without a PIN",
            "Get a user",
            "Rename a user",
            "Delete a user and their grants",
        ),
        (UserItem, Users, UserValues, UserValues),
        (UserValues("Rafael Nadal"), UserValues("Rafa")),
        (UserItem(1, "Rafael Nadal", True, 1), UserItem(1, "Rafael Nadal", False, 0), UserItem(1, "Rafa", True, 1)),
    ),
)
