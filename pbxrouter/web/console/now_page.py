"""Now: the calls in progress, calls a minute, today's totals, and whether all is well.

The page stands by itself; where JavaScript runs, now.js takes over and is told what changes, by
the same templates.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping
from typing import Any, Final

from pbxrouter.call import SUCCESSFUL, GatewayOutcome
from pbxrouter.counter import Totals
from pbxrouter.database.people import live_sessions
from pbxrouter.errors import StoreError
from pbxrouter.health import State
from pbxrouter.security import Role
from pbxrouter.text import Sentence
from pbxrouter.web.console.request import PageRequest
from pbxrouter.web.console.router import Router
from pbxrouter.web.context import WebContext
from pbxrouter.web.language import Translator
from pbxrouter.web.now.dashboard_snapshot import DashboardSnapshot, DashboardSnapshots
from pbxrouter.web.now.event_stream import EventStream, Fragments

PARTS: Final = ("alarm", "tiles", "graph", "said", "health")
"""Templates in templates/now, each for the place on the page that has its name."""
STATES: Final[Mapping[State, tuple[Sentence, str]]] = {
    "good": (Sentence("well"), "good"),
    "plain": (Sentence("not known yet"), "warn"),
    "bad": (Sentence("wrong"), "bad"),
}
"""What a state is called, and how it is marked."""
TURNED_AWAY: Final = (GatewayOutcome.INVALID, GatewayOutcome.DENIED, GatewayOutcome.REFUSED)
BROKEN: Final = (GatewayOutcome.FAILED, GatewayOutcome.NO_DRIVER)
FULL_RETRY_S: Final = 30


class Now:
    """The page ``/`` and what keeps it up to date."""

    def __init__(self, router: Router, web: WebContext) -> None:
        self._router = router
        self._web = web
        self._pictures = DashboardSnapshots(web, router.translator)
        self.feed: EventStream[DashboardSnapshot] = EventStream(
            web.reactor, self._make, self._fragments, self._sessions, web.now
        )
        router.add("/", self.show, Role.VIEWER)
        router.add("/now/events", self.follow, Role.VIEWER)

    async def show(self, page_request: PageRequest) -> bytes:
        """The page."""
        await self._pictures.refreshed()
        values = self._values(self._pictures.make())
        return self._router.page("now.html", page_request, at=self._web.now(), **values)

    async def follow(self, page_request: PageRequest) -> bytes:
        """All that changes from now on."""
        request: Any = page_request.request
        if not self.feed.has_room(page_request.session):
            # Not all at once again.
            request.setHeader("Retry-After", str(random.randint(FULL_RETRY_S // 2, FULL_RETRY_S * 2)))
            return self._router.problem(
                page_request,
                503,
                Sentence("too many pages look on just now; close some, or load this one again in a minute"),
            )
        if request.method == b"HEAD":
            return b""
        return await self.feed.follow(request, page_request.translator, page_request.session)

    # --- what the feed asks for ---

    async def _make(self) -> DashboardSnapshot:
        self._pictures.refresh()
        return self._pictures.make()

    def _fragments(self, picture: DashboardSnapshot, translator: Translator) -> Fragments:
        values = self._values(picture)
        parts = {name: self._router.fragment(f"now/{name}.html", translator, **values) for name in PARTS}
        rows = {
            call.key: self._router.fragment("now/call.html", translator, call=call, several=values["several"])
            for call in picture.live.calls
        }
        return Fragments(parts, rows)

    async def _sessions(self) -> frozenset[str] | None:
        try:
            return await self._web.read(functools.partial(live_sessions, now=self._web.now()))
        except StoreError:
            return None

    def _values(self, picture: DashboardSnapshot) -> dict[str, Any]:
        counted = [counter.asterisk for counter in self._web.counters]
        figures = picture.figures
        return {
            "picture": picture,
            "tiles": tiles(figures.totals) if figures else (),
            "states": STATES,
            "newcomer": figures is not None and not figures.any_calls and not picture.live.total,
            "counted": counted,
            "several": len(counted) > 1,
            "wrong": [asterisk for asterisk in picture.health.asterisks if asterisk.state == "bad"],
        }


def tiles(totals: Totals) -> tuple[tuple[Sentence, int, str], ...]:
    """Today's calls by how they ended: a label, how many, and the outcome to look for if that is grave."""
    named = (*SUCCESSFUL, *TURNED_AWAY, *BROKEN)
    broken = totals.of(*BROKEN)
    return (
        (Sentence("Answered"), totals.of(*SUCCESSFUL), ""),
        (Sentence("Not answered"), totals.calls - totals.of(*named), ""),
        (Sentence("Turned away"), totals.of(*TURNED_AWAY), ""),
        (Sentence("Broken"), broken, next((outcome for outcome in BROKEN if totals.of(outcome)), "")),
    )
