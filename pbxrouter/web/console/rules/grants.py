"""Grants: the matrix of who may use what, a page of mappings by a page of extensions or users.

Without JavaScript one button saves all ticks of the page as one change; with it each tick is
saved at once (static/matrix.js). One grant by itself is given and taken here, too.
"""

from __future__ import annotations

import json
import re
import sqlite3
from dataclasses import dataclass
from typing import Final

from pbxrouter.database.audit import Actor, Edited
from pbxrouter.database.rules import (
    COLUMNS,
    HOLDERS,
    ROWS,
    Grant,
    GrantsSet,
    Matrix,
    grant,
    holder,
    mapping,
    matrix,
    revoke,
    set_grants,
)
from pbxrouter.errors import EditRefused
from pbxrouter.security import Role
from pbxrouter.text import Sentence, sentence
from pbxrouter.web.console.request import Form, PageRequest
from pbxrouter.web.console.rules.page_base import (
    Tools,
    address,
    go_back,
    number_in,
    pages_around,
)
from pbxrouter.web.http.site import header

PATH: Final = "/rules/grants"
MAX_AXIS: Final = 100
"""Rows, or columns, of a form that is accepted."""
_PAIR: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})")
_PLACES: Final = ("mapping_q", "mapping_after", "mapping_before", "holder_q", "holder_after", "holder_before")


@dataclass(frozen=True, slots=True)
class Around:
    """Where the pages beside this one are; None where there is none."""

    left: str | None
    right: str | None
    up: str | None
    down: str | None


class GrantPages:
    """The page ``/rules/grants``."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        tools.router.add(PATH, self.show, Role.VIEWER)
        tools.router.add(PATH, self.save, Role.OPERATOR, methods=("POST",))
        tools.router.add(f"{PATH}/set", self.set_one, Role.OPERATOR, methods=("POST",))

    async def show(self, page_request: PageRequest) -> bytes:
        """The matrix."""
        query = page_request.query
        kind = query.text("kind") if query.text("kind") in HOLDERS else "extension"
        shown = await self._tools.web.read(
            lambda connection: matrix(
                connection,
                kind,
                mapping_search=query.text("mapping_q"),
                mapping_after=number_in(query, "mapping_after"),
                mapping_before=number_in(query, "mapping_before"),
                holder_search=query.text("holder_q"),
                holder_after=number_in(query, "holder_after"),
                holder_before=number_in(query, "holder_before"),
            )
        )
        return self._tools.page(
            "grants.html",
            page_request,
            matrix=shown,
            kind=kind,
            tabs=[(kind, address(PATH, {**_kept(query), "kind": kind})) for kind in HOLDERS],
            around=_around(query, kind, shown),
            searches={name: query.text(name) for name in ("mapping_q", "holder_q")},
            was=" ".join(f"{who}.{what}" for who, what in sorted(shown.granted)),
            size=(ROWS, COLUMNS),
        )

    async def save(self, page_request: PageRequest) -> bytes:
        """All ticks of the page."""
        shown, ticked, was = read_ticks(page_request.form)

        def work(connection: sqlite3.Connection, actor: Actor, now: float) -> Edited[GrantsSet]:
            return set_grants(connection, actor, now, shown, ticked, was)

        made = await self._tools.edit(page_request, work)
        done = made.value
        said = (
            sentence("grants given: {given}; taken away: {taken}", given=done.granted, taken=done.revoked)
            if made.audit_id
            else Sentence("nothing was changed")
        )
        raise go_back(page_request, PATH, said, made.audit_id)

    async def set_one(self, page_request: PageRequest) -> bytes:
        """One grant; a script gets JSON."""
        by_script = "json" in header(page_request.request, "Accept")
        try:
            made = await self._set_one(page_request)
        except EditRefused as error:
            if not by_script:
                raise
            page_request.request.setResponseCode(404)
            return _json(page_request, error.sentence, None)
        if by_script:
            return _json(page_request, made.value, made.audit_id)
        raise go_back(page_request, PATH, made.value, made.audit_id)

    async def _set_one(self, page_request: PageRequest) -> Edited[Sentence]:
        form = page_request.form
        kind, holder_id, map_id = form.text("kind"), number_in(form, "holder"), number_in(form, "mapping")
        if kind not in HOLDERS or holder_id is None or map_id is None:
            raise EditRefused(sentence("this grant cannot be read; look at the page again"))
        wanted = Grant(kind, holder_id, map_id)
        give = form.text("on") == "1"

        def work(connection: sqlite3.Connection, actor: Actor, now: float) -> Edited[Sentence]:
            edited = (grant if give else revoke)(connection, actor, now, wanted)
            who = holder(connection, kind, holder_id).name
            what = mapping(connection, map_id).pattern
            said = (
                sentence("{who} may use {what} now", who=who, what=what)
                if give
                else sentence("{who} may no longer use {what}", who=who, what=what)
            )
            return Edited(said, edited.audit_id)

        return await self._tools.edit(page_request, work)


def _json(page_request: PageRequest, said: Sentence, undo: int | None) -> bytes:
    page_request.request.setHeader("Content-Type", "application/json")
    return json.dumps({"said": page_request.translator.capitalised(said), "undo": undo}).encode("utf-8", "replace")


def _kept(query: Form) -> dict[str, str]:
    """What stays when the other kind of rows is shown."""
    return {name: query.text(name) for name in _PLACES if name.startswith("mapping_")}


def _around(query: Form, kind: str, shown: Matrix) -> Around:
    given = {"kind": kind} | {name: query.text(name) for name in _PLACES}
    columns = {name: value for name, value in given.items() if name not in _PLACES[1:3]}
    rows = {name: value for name, value in given.items() if name not in _PLACES[4:]}
    return Around(
        *pages_around(shown.mappings, PATH, columns, "mapping_"),
        *pages_around(shown.holders, PATH, rows, "holder_"),
    )


def read_ticks(form: Form) -> tuple[set[Grant], set[Grant], set[Grant]]:
    """What a form of the matrix showed, what has a tick now, and what had one.

    Raises:
        EditRefused: it is no form of ours, or too large.
    """
    kind = form.text("kind")
    axes = [form.text(name).split() for name in ("holders", "mappings")]
    pairs = [_PAIR.fullmatch(value) for value in (*form.every("g"), *form.text("was").split())]
    numbers = [number for axis in axes for number in axis]
    if (
        kind not in HOLDERS
        or max(map(len, axes)) > MAX_AXIS
        or not all(number.isdecimal() and number.isascii() and len(number) <= 18 for number in numbers)
        or not all(pairs)
    ):
        raise EditRefused(sentence("these grants cannot be read; look at the page again"))
    read = [Grant(kind, int(pair[1]), int(pair[2])) for pair in pairs if pair]
    count = len(form.every("g"))
    shown = {Grant(kind, int(who), int(what)) for who in axes[0] for what in axes[1]}
    return shown, set(read[:count]), set(read[count:])
