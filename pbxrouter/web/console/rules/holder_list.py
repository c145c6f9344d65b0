"""Pages to list, create, rename and delete extensions and users."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from pbxrouter.database import Connection
from pbxrouter.database.audit import Actor, Edited
from pbxrouter.database.rules import (
    add_extension,
    add_user,
    delete_holder,
    find_holders,
    holder,
    update_extension,
    update_user,
)
from pbxrouter.errors import EditRefused
from pbxrouter.security import Role
from pbxrouter.text import sentence
from pbxrouter.web.console.request import Form, PageRequest
from pbxrouter.web.console.router import Redirect
from pbxrouter.web.console.rules.page_base import (
    RuleContext,
    number_in,
    pages_around,
    refuse,
)

ROWS: Final = 25


@dataclass(frozen=True, slots=True)
class Kind:
    """The paths and functions for extensions, or for users.

    Attributes:
        kind: extension or user.
        path: path of the list.
        field: the form field with the number or name.
        add: adds one by the form's fields.
        update: changes one by the form's fields.
    """

    kind: str
    path: str
    field: str
    add: Callable[[Connection, Actor, float, Form], Edited[int]]
    update: Callable[[Connection, Actor, float, int, Form], Edited[None]]


def _add_extension(connection: Connection, actor: Actor, now: float, form: Form) -> Edited[int]:
    return add_extension(connection, actor, now, form.text("number"), form.text("endpoint"))


def _update_extension(connection: Connection, actor: Actor, now: float, extension_id: int, form: Form) -> Edited[None]:
    endpoint = form.text("endpoint") if "endpoint" in form else None
    return update_extension(connection, actor, now, extension_id, form.text("number"), endpoint)


def _add_user(connection: Connection, actor: Actor, now: float, form: Form) -> Edited[int]:
    return add_user(connection, actor, now, form.text("name"))


def _update_user(connection: Connection, actor: Actor, now: float, user_id: int, form: Form) -> Edited[None]:
    return update_user(connection, actor, now, user_id, form.text("name"))


KINDS: Final = (
    Kind("extension", "/rules/extensions", "number", _add_extension, _update_extension),
    Kind("user", "/rules/users", "name", _add_user, _update_user),
)


class HolderPages:
    """The lists ``/rules/extensions`` and ``/rules/users``, and their forms."""

    def __init__(self, context: RuleContext) -> None:
        self._context = context
        for kind in KINDS:
            path = kind.path
            for under, handler, role, method in (
                ("", self.list, Role.VIEWER, "GET"),
                ("", self.create, Role.OPERATOR, "POST"),
                ("/<int:number>/change", self.form, Role.OPERATOR, "GET"),
                ("/<int:number>/change", self.change, Role.OPERATOR, "POST"),
                ("/<int:number>/delete", self.delete, Role.OPERATOR, "POST"),
            ):
                bound: Callable[..., Awaitable[bytes]] = functools.partial(handler, kind)
                context.router.add(f"{path}{under}", bound, role, methods=(method,))

    async def list(self, kind: Kind, page_request: PageRequest) -> bytes:
        """Show a page of extensions or users."""
        return await self._list(kind, page_request)

    async def _list(self, kind: Kind, page_request: PageRequest, error: EditRefused | None = None) -> bytes:
        if error is not None:
            error = refuse(page_request, error)
        query = page_request.query
        search = query.text("q")
        page = await self._context.web.read(
            lambda connection: find_holders(
                connection,
                kind.kind,
                search,
                ROWS,
                number_in(query, "after"),
                number_in(query, "before"),
            )
        )
        newer, older = pages_around(page, kind.path, {"q": search})
        return self._context.page(
            "holders.html",
            page_request,
            kind=kind,
            rows=page.rows,
            search=search,
            newer=newer,
            older=older,
            error=error,
        )

    async def create(self, kind: Kind, page_request: PageRequest) -> bytes:
        """Create an extension or a user."""
        name = page_request.form.text(kind.field)
        try:
            edited = await self._context.edit(
                page_request, lambda connection, actor, now: kind.add(connection, actor, now, page_request.form)
            )
        except EditRefused as error:
            return await self._list(kind, page_request, error)
        message = (
            sentence("extension {name} was created", name=name)
            if kind.kind == "extension"
            else sentence("user {name} was created", name=name)
        )
        raise Redirect(f"{kind.path}/{edited.value}", message, undo=edited.audit_id)

    async def form(self, kind: Kind, page_request: PageRequest, number: int) -> bytes:
        """Show the form to change number and endpoint, or the name."""
        return await self._form(kind, page_request, number)

    async def _form(
        self, kind: Kind, page_request: PageRequest, number: int, error: EditRefused | None = None
    ) -> bytes:
        if error is not None:
            error = refuse(page_request, error)
        row = await self._context.web.read(lambda connection: holder(connection, kind.kind, number))
        value = page_request.form.get(kind.field, row.name)
        endpoint = page_request.form.get("endpoint", row.endpoint)
        return self._context.page(
            "holder_form.html", page_request, kind=kind, row=row, value=value, endpoint=endpoint, error=error
        )

    async def change(self, kind: Kind, page_request: PageRequest, number: int) -> bytes:
        """Change number and endpoint, or the name."""
        name = page_request.form.text(kind.field)
        try:
            edited = await self._context.edit(
                page_request,
                lambda connection, actor, now: kind.update(connection, actor, now, number, page_request.form),
            )
        except EditRefused as error:
            return await self._form(kind, page_request, number, error)
        message = sentence("{name} was changed", name=name) if edited.audit_id else None
        raise Redirect(f"{kind.path}/{number}", message, undo=edited.audit_id)

    async def delete(self, kind: Kind, page_request: PageRequest, number: int) -> bytes:
        """Delete an extension or a user with its grants; the notice has an Undo button."""

        def work(connection: Connection, actor: Actor, now: float) -> Edited[str]:
            name = holder(connection, kind.kind, number).name
            return Edited(name, delete_holder(connection, actor, now, kind.kind, number).audit_id)

        edited = await self._context.edit(page_request, work)
        message = (
            sentence("extension {name} and its grants were deleted", name=edited.value)
            if kind.kind == "extension"
            else sentence("user {name} was deleted, with their PIN and grants", name=edited.value)
        )
        raise Redirect(kind.path, message, undo=edited.audit_id)
