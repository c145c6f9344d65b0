"""Sections of the pages of one mapping, extension or user; each reads its data and has a template."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pbxrouter.database import Connection, Page
from pbxrouter.database.audit import AuditEntry, entries_about
from pbxrouter.database.rules import (
    HolderRow,
    MappingRow,
    find_holders,
    find_mappings,
    granted_among,
    holders_of,
    mappings_of,
)
from pbxrouter.web.console.request import Form
from pbxrouter.web.console.rules.page_base import number_in, pages_around

ROWS: Final = 15
CHANGES: Final = 8


@dataclass(frozen=True, slots=True)
class SectionPage:
    """The page of a section.

    Attributes:
        path: the page's path.
        query: the URL's query.
        subject: the row that the page is about.
    """

    path: str
    query: Form
    subject: MappingRow | HolderRow


class Section(Protocol):
    """A section of a page.

    Attributes:
        template: renders the result of ``read``, as the variable ``section``.
    """

    template: str

    def read(self, connection: Connection, section_page: SectionPage) -> Any:
        """Read what the section shows, with few queries."""
        ...


@dataclass(frozen=True, slots=True)
class GrantRow:
    """One row of a grant list: a holder or a mapping, and whether it is granted.

    Attributes:
        kind, holder_id, map_id: identify the grant.
        row: the extension, user or mapping of the row.
    """

    kind: str
    holder_id: int
    map_id: int
    row: MappingRow | HolderRow
    granted: bool


@dataclass(frozen=True, slots=True)
class GrantList:
    """A page of a grant list.

    Attributes:
        of: what the rows are: extension, user or mapping.
        anchor: the section's URL fragment.
        count: number of rows with a grant.
        every: whether rows without a grant are listed too.
        prefix: prefix of the section's query parameters.
    """

    of: str
    anchor: str
    count: int
    every: bool
    search: str
    prefix: str
    path: str
    rows: tuple[GrantRow, ...]
    newer: str | None
    older: str | None


class HoldersSection:
    """The extensions, or users, to which a mapping is granted."""

    template = "rules/grant_list.html"

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def read(self, connection: Connection, section_page: SectionPage) -> GrantList:
        """Read a page of extensions or users, each with whether it has a grant for the mapping."""
        subject = section_page.subject
        assert isinstance(subject, MappingRow)
        kind, map_id = self._kind, subject.map_id
        count = subject.extensions if kind == "extension" else subject.users

        def rows(page: Page[HolderRow]) -> tuple[GrantRow, ...]:
            ids = [row.holder_id for row in page.rows]
            granted = granted_among(connection, kind, ids, [map_id])
            return tuple(
                GrantRow(kind, row.holder_id, map_id, row, (row.holder_id, map_id) in granted) for row in page.rows
            )

        return _list(
            section_page,
            kind,
            count,
            rows,
            lambda *given: holders_of(connection, map_id, kind, *given),
            lambda *given: find_holders(connection, kind, *given),
        )


class MappingsSection:
    """The mappings that are granted to an extension or a user."""

    template = "rules/grant_list.html"

    def read(self, connection: Connection, section_page: SectionPage) -> GrantList:
        """Read a page of mappings, each with whether the holder has a grant for it."""
        subject = section_page.subject
        assert isinstance(subject, HolderRow)
        kind, holder_id = subject.kind, subject.holder_id

        def rows(page: Page[MappingRow]) -> tuple[GrantRow, ...]:
            ids = [row.map_id for row in page.rows]
            granted = granted_among(connection, kind, [holder_id], ids)
            return tuple(
                GrantRow(kind, holder_id, row.map_id, row, (holder_id, row.map_id) in granted) for row in page.rows
            )

        return _list(
            section_page,
            "mapping",
            subject.grants,
            rows,
            lambda *given: mappings_of(connection, kind, holder_id, *given),
            lambda *given: find_mappings(connection, *given),
        )


def _list(
    section_page: SectionPage,
    of: str,
    count: int,
    rows: Callable[[Any], tuple[GrantRow, ...]],
    granted: Callable[..., Page[Any]],
    every: Callable[..., Page[Any]],
) -> GrantList:
    prefix, anchor = f"{of}_", f"{of}s"
    query = section_page.query
    shows_all = query.text(f"{prefix}show") == "all"
    search = query.text(f"{prefix}q")
    find = every if shows_all else granted
    page = find(search, ROWS, number_in(query, f"{prefix}after"), number_in(query, f"{prefix}before"))
    kept = {f"{prefix}show": "all" if shows_all else "", f"{prefix}q": search}
    newer, older = pages_around(page, section_page.path, kept, prefix, anchor)
    return GrantList(of, anchor, count, shows_all, search, prefix, section_page.path, rows(page), newer, older)


class ChangesSection:
    """The recent changes of the page's subject."""

    template = "rules/recent_changes.html"

    def __init__(self, column: str) -> None:
        self._column = column

    def read(self, connection: Connection, section_page: SectionPage) -> list[AuditEntry]:
        """Read the latest changes of the mapping or holder."""
        subject = section_page.subject
        number = subject.map_id if isinstance(subject, MappingRow) else subject.holder_id
        return entries_about(connection, self._column, number, CHANGES)


def read_sections(
    connection: Connection, sections: Collection[Section], section_page: SectionPage
) -> list[tuple[str, Any]]:
    """Read all sections; returns the template and the data of each."""
    return [(section.template, section.read(connection, section_page)) for section in sections]
