"""Now: the calls in progress, calls a minute, today's totals, and whether all is well.

The page stands by itself; where JavaScript runs, now.js takes over and is told what changes, by
the same templates. Not here: what is going on (now_picture), telling many browsers (live_feed).
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping
from typing import Any, Final

from pbxrouter.call.outcomes import WELL
from pbxrouter.call.record import Ending
from pbxrouter.counter.outcome_figures import Totals
from pbxrouter.database.people.sessions import live_sessions
from pbxrouter.errors import StoreError
from pbxrouter.health import State
from pbxrouter.security.roles import Role
from pbxrouter.text.sentences import Step
from pbxrouter.web.console.request import Visit
from pbxrouter.web.console.router import Router
from pbxrouter.web.context import Desk
from pbxrouter.web.language import Words
from pbxrouter.web.now.dashboard_snapshot import Picture, Pictures
from pbxrouter.web.now.event_stream import Fragments, LiveFeed

PARTS: Final = ("alarm", "tiles", "graph", "said", "health")
"""Templates in templates/now, each for the place on the page that has its name."""
STATES: Final[Mapping[State, tuple[Step, str]]] = {
    "good": (Step("well"), "good"),
    "plain": (Step("not known yet"), "warn"),
    "bad": (Step("wrong"), "bad"),
}
"""What a state is called, and how it is marked."""
TURNED_AWAY: Final = (Ending.INVALID, Ending.DENIED, Ending.REFUSED)
BROKEN: Final = (Ending.FAILED, Ending.NO_DRIVER)
FULL_RETRY_S: Final = 30


class Now:
    """The page ``/`` and what keeps it up to date."""

    def __init__(self, router: Router, desk: Desk) -> None:
        self._router = router
        self._desk = desk
        self._pictures = Pictures(desk, router.words)
        self.feed: LiveFeed[Picture] = LiveFeed(
            desk.reactor, self._make, self._fragments, self._sessions, desk.now
        )
        router.add("/", self.show, Role.VIEWER)
        router.add("/now/events", self.follow, Role.VIEWER)

    async def show(self, visit: Visit) -> bytes:
        """The page."""
        await self._pictures.refreshed()
        values = self._values(self._pictures.make())
        return self._router.page("now.html", visit, at=self._desk.now(), **values)

    async def follow(self, visit: Visit) -> bytes:
        """All that changes from now on."""
        request: Any = visit.request
        if not self.feed.has_room(visit.session):
            # Not all at once again.
            request.setHeader("Retry-After", str(random.randint(FULL_RETRY_S // 2, FULL_RETRY_S * 2)))
            return self._router.problem(
                visit,
                503,
                Step("too many pages look on just now; close some, or load this one again in a minute"),
            )
        if request.method == b"HEAD":
            return b""
        return await self.feed.follow(request, visit.words, visit.session)

    # --- what the feed asks for ---

    async def _make(self) -> Picture:
        self._pictures.refresh()
        return self._pictures.make()

    def _fragments(self, picture: Picture, words: Words) -> Fragments:
        values = self._values(picture)
        parts = {name: self._router.fragment(f"now/{name}.html", words, **values) for name in PARTS}
        rows = {
            call.key: self._router.fragment("now/call.html", words, call=call, several=values["several"])
            for call in picture.live.calls
        }
        return Fragments(parts, rows)

    async def _sessions(self) -> frozenset[str] | None:
        try:
            return await self._desk.read(functools.partial(live_sessions, now=self._desk.now()))
        except StoreError:
            return None

    def _values(self, picture: Picture) -> dict[str, Any]:
        counted = [each.asterisk for each in self._desk.counters]
        figures = picture.figures
        return {
            "picture": picture,
            "tiles": tiles(figures.totals) if figures else (),
            "states": STATES,
            "newcomer": figures is not None and not figures.any_calls and not picture.live.total,
            "counted": counted,
            "several": len(counted) > 1,
            "wrong": [each for each in picture.health.asterisks if each.state == "bad"],
        }


def tiles(totals: Totals) -> tuple[tuple[Step, int, str], ...]:
    """Today's calls by how they ended: a label, how many, and the outcome to look for if that is grave."""
    named = (*WELL, *TURNED_AWAY, *BROKEN)
    broken = totals.of(*BROKEN)
    return (
        (Step("Answered"), totals.of(*WELL), ""),
        (Step("Not answered"), totals.calls - totals.of(*named), ""),
        (Step("Turned away"), totals.of(*TURNED_AWAY), ""),
        (Step("Broken"), broken, next((each for each in BROKEN if totals.of(each)), "")),
    )
