"""The page of one extension or user: its grants, its PIN, its recent changes."""

from __future__ import annotations

import functools
from typing import Any, Final

from pbxrouter.database import Connection
from pbxrouter.database.rules import HolderRow, holder
from pbxrouter.errors import EditRefused
from pbxrouter.rules import NO_CALLER, RuleWarning, extension_number
from pbxrouter.security import Role
from pbxrouter.web.console.request import PageRequest
from pbxrouter.web.console.rules.holder_list import KINDS, Kind
from pbxrouter.web.console.rules.page_base import RuleContext, refuse
from pbxrouter.web.console.rules.sections import (
    ChangesSection,
    MappingsSection,
    Section,
    SectionPage,
    read_sections,
)

SECTIONS: Final[dict[str, tuple[Section, ...]]] = {
    "extension": (MappingsSection(), ChangesSection("extension_id")),
    "user": (MappingsSection(), ChangesSection("user_id")),
}
"""The sections of the page, by kind."""


class HolderPage:
    """The pages ``/rules/extensions/<number>`` and ``/rules/users/<number>``."""

    def __init__(self, context: RuleContext) -> None:
        self._context = context
        for kind in KINDS:
            context.router.add(f"{kind.path}/<int:number>", functools.partial(self.show, kind), Role.VIEWER)

    async def show(self, kind: Kind, page_request: PageRequest, number: int) -> bytes:
        """Show one extension or user."""
        return await show_holder(self._context, kind, page_request, number)


async def show_holder(
    context: RuleContext, kind: Kind, page_request: PageRequest, number: int, error: EditRefused | None = None
) -> bytes:
    """Render the page.

    Args:
        error: the error of a form on the page.
    """
    if error is not None:
        error = refuse(page_request, error)

    def read(connection: Connection) -> tuple[HolderRow, list[tuple[str, Any]]]:
        row = holder(connection, kind.kind, number)
        return row, read_sections(
            connection, SECTIONS[kind.kind], SectionPage(f"{kind.path}/{number}", page_request.query, row)
        )

    row, sections = await context.web.read(read)
    return context.page(
        "holder.html",
        page_request,
        kind=kind,
        row=row,
        warnings=warnings_of(context, row),
        is_no_caller=row.kind == "extension" and row.name == NO_CALLER,
        sections=sections,
        error=error,
    )


def warnings_of(context: RuleContext, row: HolderRow) -> tuple[RuleWarning, ...]:
    """The warnings about an extension or a user."""
    warnings = context.web.surveyor.warnings
    if warnings is None:
        return ()
    if row.kind == "extension":
        return warnings.of_repeated(row.holder_id) or warnings.of_extension(extension_number(row.name))
    return warnings.of_user(row.name, row.has_pin, row.grants > 0)
