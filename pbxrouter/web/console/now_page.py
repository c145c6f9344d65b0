"""The page Now: calls in progress, calls per minute, today's totals, and health.

The page is complete without JavaScript; with it, now.js applies changes from an event stream, rendered
from the same templates.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlencode

from pbxrouter.call import SUCCESSFUL, GatewayOutcome
from pbxrouter.counter import OutcomeTotals
from pbxrouter.database.access import live_sessions
from pbxrouter.errors import StoreError
from pbxrouter.health import State
from pbxrouter.security import Role
from pbxrouter.text import Sentence
from pbxrouter.web.console.request import PageRequest
from pbxrouter.web.console.router import Router
from pbxrouter.web.context import WebContext
from pbxrouter.web.language import Translator
from pbxrouter.web.now.dashboard_snapshot import (
    MOST_PAGES,
    SHOWN,
    DashboardSnapshot,
    DashboardSnapshots,
    ListView,
)
from pbxrouter.web.now.event_stream import EventStream, Fragments

PARTS: Final = ("alarm", "tiles", "graph", "said", "health")
"""Templates in templates/now; each fills the element whose ``data-part`` has its name."""
STATES: Final[Mapping[State, tuple[Sentence, str]]] = {
    "good": (Sentence("OK"), "good"),
    "plain": (Sentence("pending"), "warn"),
    "bad": (Sentence("problem"), "bad"),
}
"""Label and badge kind of each health state."""
TURNED_AWAY: Final = (
    GatewayOutcome.INVALID,
    GatewayOutcome.DENIED,
    GatewayOutcome.LOCKED_OUT,
    GatewayOutcome.REFUSED,
)
BROKEN: Final = (GatewayOutcome.FAILED, GatewayOutcome.NO_DRIVER, GatewayOutcome.STOPPED, GatewayOutcome.LOST)
FULL_RETRY_S: Final = 30


class NowPage:
    """The page ``/`` and its event stream."""

    def __init__(self, router: Router, web: WebContext) -> None:
        self._router = router
        self._web = web
        self._snapshots = DashboardSnapshots(web, router.translator)
        self.feed: EventStream[DashboardSnapshot] = EventStream(
            web.reactor, self._make, self._fragments, self._sessions, web.now
        )
        router.add("/", self.show, Role.VIEWER)
        router.add("/now/events", self.follow, Role.VIEWER)

    async def show(self, page_request: PageRequest) -> bytes:
        """Show the calls in progress and the gateway's health."""
        await self._snapshots.refreshed()
        values = self._values(self._snapshots.make(), view_of(page_request))
        return self._router.page("now.html", page_request, at=self._web.now(), **values)

    async def follow(self, page_request: PageRequest) -> bytes:
        """Stream the changes of the page as server-sent events."""
        request: Any = page_request.request
        if not self.feed.has_room(page_request.session):
            # Spread, so that the pages do not all return at once.
            request.setHeader("Retry-After", str(random.randint(FULL_RETRY_S // 2, FULL_RETRY_S * 2)))
            return self._router.problem(
                page_request,
                503,
                Sentence("too many pages are open; close some, or reload this one in a minute"),
            )
        if request.method == b"HEAD":
            return b""
        return await self.feed.follow(request, page_request.translator, page_request.session, view_of(page_request))

    # --- callbacks of the event stream ---

    async def _make(self) -> DashboardSnapshot:
        self._snapshots.refresh()
        return self._snapshots.make()

    def _fragments(self, picture: DashboardSnapshot, translator: Translator, view: ListView) -> Fragments:
        values = self._values(picture, view)
        parts = {name: self._router.fragment(f"now/{name}.html", translator, **values) for name in PARTS}
        rows = {
            call.key: self._router.fragment("now/call.html", translator, call=call, several=values["several"])
            for call in values["live"].calls
        }
        return Fragments(parts, rows)

    async def _sessions(self) -> frozenset[str] | None:
        try:
            return await self._web.read(functools.partial(live_sessions, now=self._web.now()))
        except StoreError:
            return None

    def _values(self, picture: DashboardSnapshot, view: ListView) -> dict[str, Any]:
        counted = [counter.asterisk for counter in self._web.counters]
        figures = picture.figures
        live = self._snapshots.listed(picture, view)
        page = live.start // SHOWN  # the last one, if the view's page is beyond it
        return {
            "live": live,
            "view": view,
            "feed": address_of("/now/events", view),
            "other_order": address_of("/", ListView(not view.oldest_first)),
            "newer": address_of("/", replace(view, page=page - 1)) if page else None,
            "older": address_of("/", replace(view, page=page + 1)) if live.start + SHOWN < live.total else None,
            "picture": picture,
            "tiles": tiles(figures.totals) if figures else (),
            "states": STATES,
            "newcomer": figures is not None and not figures.any_calls and not picture.live.total,
            "counted": counted,
            "several": len(self._web.asterisks) > 1,
            "wrong": [asterisk for asterisk in picture.health.asterisks if asterisk.state == "bad"],
        }


def view_of(page_request: PageRequest) -> ListView:
    """The view that the query asks for; pages are numbered from 1 there."""
    text = page_request.query.text("page")
    page = int(text) - 1 if text.isascii() and text.isdecimal() and len(text) < 5 else 0
    return ListView(page_request.query.text("order") == "oldest", min(max(page, 0), MOST_PAGES))


def address_of(path: str, view: ListView) -> str:
    """The address of a view of the page."""
    query = [("order", "oldest")] if view.oldest_first else []
    if view.page:
        query.append(("page", f"{view.page + 1}"))
    return path + (f"?{urlencode(query)}" if query else "")


def tiles(totals: OutcomeTotals) -> tuple[tuple[Sentence, int, str], ...]:
    """Today's calls by result.

    Returns:
        For each tile its label, the number of calls, and for failed calls the outcome that it links to.
    """
    named = (*SUCCESSFUL, *TURNED_AWAY, *BROKEN)
    answered = totals.of("ANSWER")
    broken = totals.of(*BROKEN)
    return (
        (Sentence("Answered"), answered, ""),
        (Sentence("Served"), totals.of(*SUCCESSFUL) - answered, ""),
        (Sentence("Not answered"), totals.calls - totals.of(*named), ""),
        (Sentence("Rejected"), totals.of(*TURNED_AWAY), ""),
        (Sentence("Failed"), broken, next((outcome for outcome in BROKEN if totals.of(outcome)), "")),
    )
