"""Pages of the call history: list with filters, one call with its trace, CSV export, busiest minutes."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from markupsafe import Markup
from twisted.internet.defer import DeferredLock

from pbxrouter.call import outcome_kind, outcome_sentence
from pbxrouter.config import Zone
from pbxrouter.counter import busiest, per_minute
from pbxrouter.database.calls import (
    CallPage,
    ListPosition,
    Search,
    call,
    find_page,
    outcomes,
)
from pbxrouter.errors import EditRefused
from pbxrouter.security import Role
from pbxrouter.text import printable, sentence
from pbxrouter.web.console.request import Form, PageRequest, read_time
from pbxrouter.web.console.router import Router
from pbxrouter.web.context import WebContext
from pbxrouter.web.history_csv import calls_csv
from pbxrouter.web.http.streaming import Pieces, send_pieces
from pbxrouter.web.language import Translator
from pbxrouter.web.now.graphs import NARROW, WIDE, busy_day, busy_week

PAGE: Final = 30
BUSIEST: Final = 8
MAX_LENGTH: Final = 80
UNKNOWN_ASTERISK: Final = "?"
"""The choice of calls of which it is not known from which Asterisk they came; no Asterisk has that name."""
DRAWN_S: Final = 30.0
"""Seconds for which the graphs of busy minutes are cached."""
MAX_DRAWN: Final = 50

Part = tuple[str, int, Markup, list[tuple[int, int]]]
"""Heading, number of calls, graph, and busiest minutes (epoch second, calls) of a day or a week."""
_PLACE: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,20})?)-([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class CallFilters:
    """The filter form's fields, as entered."""

    caller: str = ""
    number: str = ""
    outcome: str = ""
    since: str = ""
    until: str = ""
    forwarded_by: str = ""
    asterisk: str = ""

    @property
    def any(self) -> bool:
        """Whether any filter is set."""
        return any(getattr(self, name) for name in self.__slots__)

    def address(self, path: str, **more: str) -> str:
        """Return the path of a page with these filters as its query."""
        fields = {name: getattr(self, name) for name in self.__slots__} | more
        query = urlencode({name: value for name, value in fields.items() if value})
        return f"{path}?{query}" if query else path

    def search(self, zone: Zone) -> Search:
        """Return the filters as a database search.

        Raises:
            EditRefused: a time is not valid, or a number is too long.
        """
        for name in ("caller", "number", "forwarded_by", "asterisk"):
            if len(getattr(self, name)) > MAX_LENGTH:
                raise EditRefused(sentence("at most {most} characters are accepted", most=MAX_LENGTH), name)
        return Search(
            printable(self.caller) or None,
            printable(self.number) or None,
            self.outcome or None,
            read_time(self.since, "since", zone),
            read_time(self.until, "until", zone),
            printable(self.forwarded_by) or None,
            "" if self.asterisk == UNKNOWN_ASTERISK else printable(self.asterisk) or None,
        )


def read_filters(query: Form) -> CallFilters:
    """Read the filters from a query."""
    return CallFilters(*(query.text(name) for name in CallFilters.__slots__))


def read_place(text: str) -> ListPosition | None:
    """Parse the place where a page of calls begins; None if the text is not a place."""
    found = _PLACE.fullmatch(text)
    return (float(found[1]), int(found[2])) if found else None


def place_text(place: ListPosition | None) -> str:
    """Format a place for a query, as read_place parses it."""
    return f"{place[0]!r}-{place[1]}" if place else ""


class CallPages:
    """The pages beneath ``/calls``."""

    def __init__(self, router: Router, web: WebContext) -> None:
        self._router = router
        self._web = web
        self._drawing = DeferredLock()
        self._drawn: dict[tuple[float, str], tuple[float, list[Part]]] = {}
        router.add("/calls", self.show, Role.VIEWER)
        router.add("/calls/<int:number>", self.show_one, Role.VIEWER)
        router.add("/calls.csv", self.export, Role.VIEWER)
        router.add("/calls/busiest", self.busiest, Role.VIEWER)

    async def show(self, page_request: PageRequest) -> bytes:
        """Show a page of calls."""
        filters = read_filters(page_request.query)
        before, after = (read_place(page_request.query.text(name)) for name in ("before", "after"))
        page, error = CallPage([], None, None), None
        try:
            search = filters.search(self._web.zone)
            page = await self._web.read(
                functools.partial(find_page, search=search, limit=PAGE, before=before, after=after)
            )
        except EditRefused as refused:
            page_request.request.setResponseCode(400)
            error = refused
        known_outcomes = await self._web.read(outcomes)
        return self._router.page(
            "calls/list.html",
            page_request,
            calls=page.calls,
            newer=page.newer and filters.address("/calls", after=place_text(page.newer)),
            older=page.older and filters.address("/calls", before=place_text(page.older)),
            downloads=[export.sent // 1_000_000 for export in self._web.exports.running],
            csv=filters.address("/calls.csv"),
            csv_bom=filters.address("/calls.csv", bom="1"),
            filters=filters,
            outcomes=[(outcome, page_request.say(outcome_sentence(outcome))) for outcome in known_outcomes],
            outcome_sentence=outcome_sentence,
            outcome_kind=outcome_kind,
            asterisks=self._asterisks(filters),
            keep_days=self._web.config.history.keep_days,
            zone=self._web.zone.local(self._web.now()).tzname(),
            error=error,
        )

    def _asterisks(self, filters: CallFilters) -> list[str]:
        """The Asterisks to choose from; none if there is only one."""
        names = list(self._web.asterisks)
        if filters.asterisk and filters.asterisk not in (*names, UNKNOWN_ASTERISK):  # it was in the settings once
            names.append(printable(filters.asterisk))
        return names if len(names) > 1 else []

    async def show_one(self, page_request: PageRequest, number: int) -> bytes:
        """Show one call with its trace."""
        found = await self._web.read(functools.partial(call, call_id=number))
        several = len(self._web.asterisks) > 1
        return self._router.page(
            "calls/one.html",
            page_request,
            call=found,
            test=urlencode(
                {
                    "caller": found.caller,
                    "number": found.number,
                    **forwarder_fields(found.forwarded_by),
                    **({"asterisk": found.asterisk} if several and found.asterisk in self._web.asterisks else {}),
                }
            ),
            several=several,
            outcome_sentence=outcome_sentence,
            outcome_kind=outcome_kind,
        )

    async def export(self, page_request: PageRequest) -> bytes:
        """Stream all matching calls as CSV, as fast as the client reads."""
        request: Any = page_request.request
        search = read_filters(page_request.query).search(self._web.zone)
        pieces: Pieces | None = None
        if request.method != b"HEAD":
            pieces = await calls_csv(self._web, search, bom=bool(page_request.query.text("bom")))
        day = self._web.zone.local(self._web.now()).strftime("%Y-%m-%d")
        request.setHeader("Content-Type", "text/csv; charset=utf-8")
        request.setHeader("Content-Disposition", f'attachment; filename="calls-{day}.csv"')
        if pieces is not None:
            await send_pieces(request, pieces)
        return b""

    async def busiest(self, page_request: PageRequest) -> bytes:
        """Show the busiest minutes of a day, and of the week that ends with it."""
        zone, now, error = self._web.zone, self._web.now(), None
        day, midnight = page_request.query.text("day"), zone.midnight(now)
        if day:
            try:
                midnight = zone.midnight(read_time(day, "day", zone) or now)
            except EditRefused as refused:
                page_request.request.setResponseCode(400)
                error = refused
        # Drawn one at a time and cached, since drawing competes with calls for the CPU.
        await self._drawing.acquire()
        try:
            parts = await self._parts(midnight, page_request.translator)
        finally:
            self._drawing.release()
        day_text = zone.local(midnight).strftime("%Y-%m-%d")
        return self._router.page("calls/busiest.html", page_request, parts=parts, day=day_text, error=error)

    async def _parts(self, midnight: float, translator: Translator) -> list[Part]:
        key, now = (midnight, translator.language), self._web.reactor.seconds()
        drawn, parts = self._drawn.get(key, (0.0, []))
        if not parts or now - drawn > DRAWN_S:
            since, until = translator.zone.midnight(midnight, -6), translator.zone.midnight(midnight, 1)
            minutes = await self._web.read(functools.partial(per_minute, since=since, until=until))
            parts = await self._web.in_thread(draw_parts, minutes, midnight, translator)
            self._drawn.pop(key, None)
            self._drawn[key] = (now, parts)
            if len(self._drawn) > MAX_DRAWN:
                self._drawn.pop(next(iter(self._drawn)))
        return parts


def forwarder_fields(forwarder: str) -> dict[str, str]:
    """The fields of the page Test a number for who forwarded a call; several forwarders cannot be asked about.

    Proven forwarders are shown by their endpoints, and claimed ones by their numbers.
    """
    if not forwarder or "," in forwarder:
        return {}
    return {"forwarded_by" if "/" in forwarder else "claimed_forwarder": forwarder}


def draw_parts(minutes: dict[int, int], midnight: float, translator: Translator) -> list[Part]:
    """Draw the graphs of a day and of the week that ends with it, with headings and busiest minutes."""
    week_began, ended = translator.zone.midnight(midnight, -6), translator.zone.midnight(midnight, 1)
    of_day = {minute: calls for minute, calls in minutes.items() if minute >= midnight}
    week = translator.text("%(first)s to %(last)s") % {
        "first": translator.weekday(week_began),
        "last": translator.weekday(midnight),
    }
    # The style sheet shows the one that fits the window.
    sizes = (WIDE, NARROW)
    day_graph = Markup().join(busy_day(of_day, midnight, ended, translator, size) for size in sizes)
    week_graph = Markup().join(busy_week(minutes, week_began, ended, translator, size) for size in sizes)
    return [
        (translator.weekday(midnight), sum(of_day.values()), day_graph, busiest(of_day, BUSIEST)),
        (week, sum(minutes.values()), week_graph, busiest(minutes, BUSIEST)),
    ]
