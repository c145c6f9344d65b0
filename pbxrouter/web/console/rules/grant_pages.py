"""The page Grants: a matrix of mappings by extensions or users.

Without JavaScript a button saves the page's ticks as one change; with it each tick is saved at once
(static/matrix.js). Other pages post single grants here too.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from pbxrouter.database import Connection
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
    RuleContext,
    address,
    go_back,
    number_in,
    pages_around,
)
from pbxrouter.web.http.site import header

PATH: Final = "/rules/grants"
MAX_AXIS: Final = 100
"""Maximum number of rows, and of columns, in a form."""
_PAIR: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})")
_PLACES: Final = ("mapping_q", "mapping_after", "mapping_before", "holder_q", "holder_after", "holder_before")


@dataclass(frozen=True, slots=True)
class Around:
    """URLs of the neighbouring pages of the matrix; None where there is none."""

    left: str | None
    right: str | None
    up: str | None
    down: str | None


class GrantPages:
    """Serves the page ``/rules/grants``."""

    def __init__(self, context: RuleContext) -> None:
        self._context = context
        context.router.add(PATH, self.show, Role.VIEWER)
        context.router.add(PATH, self.save, Role.OPERATOR, methods=("POST",))
        context.router.add(f"{PATH}/set", self.set_one, Role.OPERATOR, methods=("POST",))

    async def show(self, page_request: PageRequest) -> bytes:
        """Show the matrix of grants."""
        query = page_request.query
        kind = query.text("kind") if query.text("kind") in HOLDERS else "extension"
        shown = await self._context.web.read(
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
        return self._context.page(
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
        """Save all ticks of the page."""
        shown, ticked, was = read_ticks(page_request.form)

        def work(connection: Connection, actor: Actor, now: float) -> Edited[GrantsSet]:
            return set_grants(connection, actor, now, shown, ticked, was)

        edited = await self._context.edit(page_request, work)
        done = edited.value
        message = (
            sentence("grants added: {given}; revoked: {taken}", given=done.granted, taken=done.revoked)
            if edited.audit_id
            else Sentence("nothing was changed")
        )
        raise go_back(page_request, PATH, message, edited.audit_id)

    async def set_one(self, page_request: PageRequest) -> bytes:
        """Set one grant; a script gets JSON."""
        by_script = "json" in header(page_request.request, "Accept")
        try:
            edited = await self._set_one(page_request)
        except EditRefused as error:
            if not by_script:
                raise
            page_request.request.setResponseCode(404)
            return _json(page_request, error.sentence, None)
        if by_script:
            return _json(page_request, edited.value, edited.audit_id)
        raise go_back(page_request, PATH, edited.value, edited.audit_id)

    async def _set_one(self, page_request: PageRequest) -> Edited[Sentence]:
        form = page_request.form
        kind, holder_id, map_id = form.text("kind"), number_in(form, "holder"), number_in(form, "mapping")
        if kind not in HOLDERS or holder_id is None or map_id is None:
            raise EditRefused(sentence("this grant is not valid; reload the page"))
        wanted = Grant(kind, holder_id, map_id)
        give = form.text("on") == "1"

        def work(connection: Connection, actor: Actor, now: float) -> Edited[Sentence]:
            edited = (grant if give else revoke)(connection, actor, now, wanted)
            who = holder(connection, kind, holder_id).name
            what = mapping(connection, map_id).pattern
            message = (
                sentence("{who} may use {what} now", who=who, what=what)
                if give
                else sentence("{who} may no longer use {what}", who=who, what=what)
            )
            return Edited(message, edited.audit_id)

        return await self._context.edit(page_request, work)


def _json(page_request: PageRequest, message: Sentence, undo: int | None) -> bytes:
    page_request.request.setHeader("Content-Type", "application/json")
    return json.dumps({"said": page_request.translator.capitalised(message), "undo": undo}).encode("utf-8", "replace")


def _kept(query: Form) -> dict[str, str]:
    """The query that is kept when the kind of rows changes."""
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
    """Read the matrix form: the grants it showed, those ticked, and those that were granted when it was shown.

    Raises:
        EditRefused: the form is not valid or too large.
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
        raise EditRefused(sentence("these grants are not valid; reload the page"))
    read = [Grant(kind, int(pair[1]), int(pair[2])) for pair in pairs if pair]
    count = len(form.every("g"))
    shown = {Grant(kind, int(who), int(what)) for who in axes[0] for what in axes[1]}
    return shown, set(read[:count]), set(read[count:])
