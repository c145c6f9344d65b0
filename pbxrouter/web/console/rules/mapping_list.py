"""Pages to list, create, change, enable, disable and delete mappings."""

from __future__ import annotations

import functools
from typing import Final

from pbxrouter.database import Connection
from pbxrouter.database.audit import Actor, Edited
from pbxrouter.database.rules import (
    MappingRow,
    MappingValues,
    add_mapping,
    delete_mapping,
    find_mappings,
    mapping,
    set_enabled,
    update_mapping,
)
from pbxrouter.errors import EditConflict, EditRefused
from pbxrouter.security import Role
from pbxrouter.text import sentence
from pbxrouter.web.console.request import Form, PageRequest
from pbxrouter.web.console.router import Redirect
from pbxrouter.web.console.rules.application_help import choices
from pbxrouter.web.console.rules.page_base import (
    RuleContext,
    go_back,
    number_in,
    pages_around,
    refuse,
)

PATH: Final = "/rules/mappings"
ROWS: Final = 25
_ON_OR_OFF: Final = {"on": True, "off": False}


class MappingPages:
    """The list ``/rules/mappings``, and the forms of mappings."""

    def __init__(self, context: RuleContext) -> None:
        self._context = context
        add = context.router.add
        add(PATH, self.list, Role.VIEWER)
        add(f"{PATH}/new", self.blank, Role.OPERATOR)
        add(f"{PATH}/new", self.create, Role.OPERATOR, methods=("POST",))
        add(f"{PATH}/<int:number>/change", self.form, Role.OPERATOR)
        add(f"{PATH}/<int:number>/change", self.change, Role.OPERATOR, methods=("POST",))
        add(f"{PATH}/<int:number>/switch", self.switch, Role.OPERATOR, methods=("POST",))
        add(f"{PATH}/<int:number>/delete", self.delete, Role.OPERATOR, methods=("POST",))

    async def list(self, page_request: PageRequest) -> bytes:
        """Show a page of mappings, with their warnings."""
        query = page_request.query
        search, state = query.text("q"), query.text("state")
        page = await self._context.web.read(
            lambda connection: find_mappings(
                connection,
                search,
                ROWS,
                number_in(query, "after"),
                number_in(query, "before"),
                _ON_OR_OFF.get(state),
            )
        )
        warnings = await self._context.warnings_of([row.map_id for row in page.rows])
        newer, older = pages_around(page, PATH, {"q": search, "state": state})
        return self._context.page(
            "mappings.html",
            page_request,
            rows=page.rows,
            warnings=warnings,
            survey=self._context.web.surveyor.known,
            search=search,
            state=state,
            newer=newer,
            older=older,
        )

    # --- forms --------------------------------------------------------------

    async def blank(self, page_request: PageRequest) -> bytes:
        """Show the form for a new mapping, with initial values from the query."""
        given = page_request.query
        values = MappingValues(given.text("pattern"), given.text("application"), given.text("data"))
        return self._form(page_request, values)

    def _form(
        self,
        page_request: PageRequest,
        values: MappingValues,
        row: MappingRow | None = None,
        error: EditRefused | None = None,
    ) -> bytes:
        if error is not None:
            error = refuse(page_request, error)
        return self._context.page(
            "mapping_form.html",
            page_request,
            values=values,
            row=row,
            error=error,
            is_stale=error is not None and isinstance(error, EditConflict) and not error.field,
            applications=choices(self._context.web.applications, values.application),
        )

    async def create(self, page_request: PageRequest) -> bytes:
        """Create a mapping."""
        values = read_values(page_request.form)
        applications = self._context.web.applications
        try:
            edited = await self._context.edit(
                page_request, lambda connection, actor, now: add_mapping(connection, actor, now, values, applications)
            )
        except EditRefused as error:
            return self._form(page_request, values, error=error)
        raise Redirect(
            f"{PATH}/{edited.value}",
            sentence("mapping {pattern} was created", pattern=values.pattern),
            undo=edited.audit_id,
        )

    async def form(self, page_request: PageRequest, number: int) -> bytes:
        """Show the form to change a mapping."""
        row = await self._context.web.read(functools.partial(mapping, map_id=number))
        return self._form(page_request, MappingValues.of(row), row)

    async def change(self, page_request: PageRequest, number: int) -> bytes:
        """Change a mapping, unless it has changed since the form was shown."""
        values = read_values(page_request.form)
        was = read_values(page_request.form, "was_") if "was_pattern" in page_request.form else None

        def work(connection: Connection, actor: Actor, now: float) -> Edited[None]:
            return update_mapping(connection, actor, now, number, values, was, self._context.web.applications)

        try:
            edited = await self._context.edit(page_request, work)
        except EditRefused as error:
            refuse(page_request, error)
            row = await self._context.web.read(functools.partial(mapping, map_id=number))
            return self._form(page_request, values, row, error)
        message = sentence("mapping {pattern} was changed", pattern=values.pattern)
        raise Redirect(f"{PATH}/{number}", message if edited.audit_id else None, undo=edited.audit_id)

    # --- buttons ------------------------------------------------------------

    async def switch(self, page_request: PageRequest, number: int) -> bytes:
        """Enable or disable a mapping."""
        enabled = page_request.form.text("on") == "1"

        def work(connection: Connection, actor: Actor, now: float) -> Edited[str]:
            edited = set_enabled(connection, actor, now, number, enabled)
            return Edited(mapping(connection, number).pattern, edited.audit_id)

        edited = await self._context.edit(page_request, work)
        message = (
            sentence("mapping {pattern} was enabled", pattern=edited.value)
            if enabled
            else sentence("mapping {pattern} was disabled; its grants are kept", pattern=edited.value)
        )
        raise go_back(page_request, f"{PATH}/{number}", message, edited.audit_id)

    async def delete(self, page_request: PageRequest, number: int) -> bytes:
        """Delete a mapping and its grants; the notice has an Undo button."""

        def work(connection: Connection, actor: Actor, now: float) -> Edited[str]:
            pattern = mapping(connection, number).pattern
            return Edited(pattern, delete_mapping(connection, actor, now, number).audit_id)

        edited = await self._context.edit(page_request, work)
        raise Redirect(
            PATH,
            sentence("mapping {pattern} and its grants were deleted", pattern=edited.value),
            undo=edited.audit_id,
        )


def read_values(form: Form, prefix: str = "") -> MappingValues:
    """Read a mapping's values from a form."""
    return MappingValues(
        form.text(f"{prefix}pattern"),
        form.text(f"{prefix}application"),
        form.text(f"{prefix}data"),
        form.text(f"{prefix}enabled") == "1",
    )
