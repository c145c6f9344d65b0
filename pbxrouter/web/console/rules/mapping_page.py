"""The page of one mapping: its values, warnings, grants and recent changes."""

from __future__ import annotations

from typing import Any, Final

from pbxrouter.database import Connection
from pbxrouter.database.rules import MappingRow, mapping
from pbxrouter.errors import PatternError
from pbxrouter.rules import Pattern, example
from pbxrouter.security import Role
from pbxrouter.web.console.request import PageRequest
from pbxrouter.web.console.rules.application_help import about
from pbxrouter.web.console.rules.mapping_list import PATH
from pbxrouter.web.console.rules.page_base import RuleContext
from pbxrouter.web.console.rules.sections import (
    ChangesSection,
    HoldersSection,
    Section,
    SectionPage,
    read_sections,
)

SECTIONS: tuple[Section, ...] = (
    HoldersSection("extension"),
    HoldersSection("user"),
    ChangesSection("map_id"),
)
"""The sections of the page."""
_MOST: Final = 80


class MappingPage:
    """Serves the page ``/rules/mappings/<number>``."""

    def __init__(self, context: RuleContext) -> None:
        self._context = context
        context.router.add(f"{PATH}/<int:number>", self.show, Role.VIEWER)

    async def show(self, page_request: PageRequest, number: int) -> bytes:
        """Show one mapping."""

        def read(connection: Connection) -> tuple[MappingRow, list[tuple[str, Any]]]:
            row = mapping(connection, number)
            return row, read_sections(connection, SECTIONS, SectionPage(f"{PATH}/{number}", page_request.query, row))

        row, sections = await self._context.web.read(read)
        warnings = await self._context.warnings_of([number])
        return self._context.page(
            "mapping.html",
            page_request,
            row=row,
            about=about(row.application),
            number=number_for(row.pattern),
            warnings=warnings.get(number, ()),
            sections=sections,
        )


def number_for(pattern: str) -> str | None:
    """A number that a pattern matches; None if there is none."""
    try:
        return example(Pattern.parse(pattern[:_MOST]))
    except PatternError:
        return None
