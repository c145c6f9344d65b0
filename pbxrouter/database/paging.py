"""Pages of long lists, and finding text in them, at the same speed wherever in the list.

A page begins behind (or ends before) a row that is named by its number, so that what is
added or deleted meanwhile moves nothing.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pbxrouter.database.values import bounded

T = TypeVar("T")

MAX_LIMIT: Final = 500
"""Rows of a page, at most."""
MAX_SEARCH: Final = 200
"""Characters of a search that count."""
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]+")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of a list.

    Attributes:
        previous: give it as ``before`` for the page before; None on the first.
        next: give it as ``after`` for the page behind; None on the last.
    """

    rows: tuple[T, ...]
    previous: int | None
    next: int | None


@dataclass(frozen=True, slots=True)
class Listing:
    """A list that has pages.

    Attributes:
        select: the columns and tables; the first column is the row's number.
        order: columns that put it in order, with commas; the last is the number.
        anchor: finds the order's columns of the row of a number, ``:anchor``. Empty:
            the order is the number alone, and the row may be gone meanwhile.
    """

    select: str
    order: str
    anchor: str = ""

    def page(
        self,
        connection: sqlite3.Connection,
        make: Callable[..., T],
        where: list[str],
        values: Mapping[str, Any],
        limit: int,
        after: int | None,
        before: int | None,
    ) -> Page[T]:
        """Read a page, in one query or two; called inside ``reading``.

        Args:
            make: makes a row of the columns.
            where: conditions, all of which must hold.
            after, before: the number of the row that it begins behind or ends before; not both.
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
                # The row is gone, and with it the place in the list: begin at the beginning.
                anchor, backward = None, False
        order = ", ".join(f"{column} DESC" if backward else column for column in self.order.split(", "))
        rows = connection.execute(
            f"{self.select} WHERE {' AND '.join(conditions) or '1'} ORDER BY {order} LIMIT :limit",
            {**values, "anchor": anchor, "limit": limit + 1},
        ).fetchall()
        more = len(rows) > limit
        rows = rows[:limit]
        if backward and not rows:  # what was there is gone
            return self.page(connection, make, where, values, limit, None, None)
        if backward:
            rows.reverse()
        has_previous, has_next = (more, True) if backward else (anchor is not None, more)
        return Page(
            tuple(make(*row) for row in rows),
            rows[0][0] if rows and has_previous else None,
            rows[-1][0] if rows and has_next else None,
        )


def searching(search: str, columns: tuple[str, ...], place: str = "search") -> tuple[list[str], dict[str, str]]:
    """The condition that one of the columns holds a text, and its values.

    Upper and lower case are the same. LIKE knows that of ASCII alone, but is quick: the rest is
    left to GLOB, with both of each letter.

    Args:
        search: what a person typed; blanks around it do not count. Nothing finds everything.
        place: a name for its value, that no other in the query begins with.
    """
    text = search.encode("utf-8", "replace").decode("utf-8").replace("\x00", "").strip()[:MAX_SEARCH]
    if not text:
        return [], {}
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    values = {place: f"%{_NOT_ASCII.sub('%', escaped)}%"}
    alike = f"{{column}} LIKE :{place} ESCAPE '\\'"
    if not text.isascii():
        values[f"{place}_glob"] = f"*{''.join(map(_either_case, text))}*"
        globbed = f"{{column}} GLOB :{place}_glob"
        alike = f"({alike} AND {globbed})" if values[place].strip("%") else globbed
    return [f"({' OR '.join(alike.format(column=column) for column in columns)})"], values


def _either_case(character: str) -> str:
    """A character as GLOB finds it, be it a capital or not."""
    cases = {case for case in (character, character.lower(), character.upper()) if len(case) == 1}
    return f"[{''.join(sorted(cases))}]" if len(cases) > 1 or character in "*?[" else character
