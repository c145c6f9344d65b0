"""The history as a CSV download: a few calls at once, many by a process beside the gateway."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from pbxrouter.database import Connection
from pbxrouter.database.calls import CallsCsv, CsvOrder, Search, find_page
from pbxrouter.web.context import WebContext
from pbxrouter.web.http.streaming import Pieces

FEW: Final = 500
"""Calls that need no process: their lines take some ten milliseconds."""
ALL: Final = 2**62
"""More calls than there are."""


async def calls_csv(web: WebContext, search: Search, limit: int = ALL, bom: bool = False) -> Pieces:
    """The calls that a search finds, newest first, as the pieces of a CSV file.

    Raises:
        StoreError: the database cannot be read now.
        ExportRefused: there are as many downloads as there may be, or none can be started.
    """
    csv = CallsCsv(web.zone, bom)

    def first(connection: Connection) -> str | None:
        page = find_page(connection, search, min(limit, FEW))
        has_more = page.older is not None and limit > FEW
        return None if has_more else csv.heading() + csv.lines(page.calls)

    text = await web.read(first)
    if text is None:
        return await web.exports.begin(CsvOrder.of(web.reading.place, search, limit, web.zone.name, bom))
    return _one_piece(text)


async def _one_piece(text: str) -> AsyncGenerator[bytes, None]:
    yield text.encode()
