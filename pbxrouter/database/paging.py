"""Keyset pagination and text search.

A page starts after (or ends before) a row given by its number, so rows that are added or deleted
meanwhile do not shift it, and every page is read at the same speed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pbxrouter.database.engine import Connection, dialect_of
from pbxrouter.database.values import bounded

T = TypeVar("T")

MAX_LIMIT: Final = 500
"""The rows of a page, at most."""
MAX_SEARCH: Final = 200
"""The characters of a search that are used; the rest is ignored."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list.

    Attributes:
        previous: the value of ``before`` for the previous page; None on the first.
        next: the value of ``after`` for the next page; None on the last.
    """

    rows: tuple[T, ...]
    previous: int | None
    next: int | None


@dataclass(frozen=True, slots=True)
class Listing:
    """The query of a list that has pages.

    Attributes:
        select: its columns and tables; the first column is the row's number.
        order: the columns that order it, with commas; the last is the number.
        anchor: a query for the order columns of the row numbered ``:anchor``; empty if the order is
            the number alone, in which case the row may be gone.
    """

    select: str
    order: str
    anchor: str = ""

    def page(
        self,
        connection: Connection,
        make: Callable[..., T],
        where: list[str],
        values: Mapping[str, Any],
        limit: int,
        after: int | None,
        before: int | None,
    ) -> Page[T]:
        """Read a page, in one or two queries; called inside ``reading``.

        Args:
            make: makes a row from the columns.
            where: conditions, which must all hold.
            values: the parameters of the conditions.
            limit: the number of rows; at most MAX_LIMIT.
            after, before: the number of the row that the page follows or precedes; not both.
        """
        limit = max(1, min(limit, MAX_LIMIT))
        backward = before is not None
        anchor = before if backward else after
        conditions = list(where)
        if anchor is not None:
            anchor = bounded(anchor)
            if not self.anchor:
                conditions.append(f"{self.order} {'<' if backward else '>'} :anchor")
            elif connection.execute(self.anchor, {"anchor": anchor}).fetchone():
                conditions.append(f"({self.order}) {'<' if backward else '>'} ({self.anchor})")
            else:
                # The row is gone, and its place in the list is unknown: start at the first page.
                anchor, backward = None, False
        order = ", ".join(f"{column} DESC" if backward else column for column in self.order.split(", "))
        rows = connection.execute(
            f"{self.select} WHERE {' AND '.join(conditions) or 'TRUE'} ORDER BY {order} LIMIT :limit",
            {**values, "anchor": anchor, "limit": limit + 1},
        ).fetchall()
        more = len(rows) > limit
        rows = rows[:limit]
        if backward and not rows:  # the rows before are gone
            return self.page(connection, make, where, values, limit, None, None)
        if backward:
            rows.reverse()
        has_previous, has_next = (more, True) if backward else (anchor is not None, more)
        return Page(
            tuple(make(*row) for row in rows),
            rows[0][0] if rows and has_previous else None,
            rows[-1][0] if rows and has_next else None,
        )


def searching(
    connection: Connection, search: str, columns: tuple[str, ...], place: str = "search"
) -> tuple[list[str], dict[str, str]]:
    """A condition that one of the columns contains a text in upper or lower case, and its parameters.

    Args:
        search: the text; surrounding blanks are ignored, and an empty text matches everything.
        columns: the columns to search.
        place: the name of the parameter; no other parameter may start with it.
    """
    text = search.encode("utf-8", "replace").decode("utf-8").replace("\x00", "").strip()[:MAX_SEARCH]
    if not text:
        return [], {}
    condition, values = dialect_of(connection).contains(text, place)
    return [f"({' OR '.join(condition.format(column=column) for column in columns)})"], values
