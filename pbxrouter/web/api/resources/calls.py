"""The history of calls: search, details with the trace, CSV, figures."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from pbxrouter.counter import busiest, per_minute, totals
from pbxrouter.database import MAX_LIMIT, Connection
from pbxrouter.database.calls import CallPage, ListPosition, Search, call, find_page
from pbxrouter.errors import NotThere
from pbxrouter.security import Scope
from pbxrouter.web.api.endpoint import CSV, ApiError, ApiRequest, Endpoint, Seconds, StreamedText
from pbxrouter.web.api.items import item_of
from pbxrouter.web.api.list_query import After, Next
from pbxrouter.web.api.sentence_body import SentenceBody, sentence_body
from pbxrouter.web.history_csv import calls_csv

TAG: Final = "Calls"
PATH: Final = "/api/calls"
MAX_SPAN_S: Final = 8 * 86_400
"""Maximum span of figures, in seconds."""
DAY_S: Final = 86_400

_Number = Annotated[str, Meta(max_length=100, description="The number; with `*` at its end, a prefix.")]


class CallItem(msgspec.Struct, frozen=True):
    """A call served by the gateway."""

    call_id: int
    began: Annotated[float, Meta(description="Seconds since 1970, UTC.")]
    ended: Annotated[float, Meta(description="When the gateway had finished with it.")]
    uniqueid: str
    caller: Annotated[str, Meta(description="Empty if the call showed no number.")]
    caller_name: str
    number: str
    verdict: Annotated[str, Meta(description="allow, pin, deny or invalid; empty if it ended before a decision.")]
    pattern: str
    application: str
    data: str
    granted_by: Annotated[str, Meta(description="The extension or user whose grant allowed it.")]
    outcome: Annotated[str, Meta(description="Such as ANSWER, BUSY or DENIED.")]
    cause: Annotated[str, Meta(description="The Q.850 cause, where Asterisk gave one.")]
    answered_s: Annotated[int, Meta(description="Seconds that two people talked; null if not known.")] | None
    forwarded_by: Annotated[str, Meta(description="Who forwarded the call; empty if it was not forwarded.")]
    asterisk: Annotated[
        str, Meta(description="The Asterisk that it came from, by its name in the settings; empty if not known.")
    ]


class CallItems(msgspec.Struct, frozen=True):
    """A page of calls, newest first."""

    items: list[CallItem]
    next: Next


class CallDetails(CallItem, frozen=True):
    """A call with its trace."""

    trace: list[SentenceBody]


class CallFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Query parameters that filter the call history."""

    caller: _Number | None = None
    number: _Number | None = None
    outcome: Annotated[str, Meta(max_length=100, description="In any case.")] | None = None
    since: Annotated[Seconds, Meta(description="Only calls that began at this time or later.")] | None = None
    until: Annotated[Seconds, Meta(description="That began before then.")] | None = None
    forwarded_by: (
        Annotated[
            str,
            Meta(
                max_length=100,
                description="Only calls that this number or endpoint forwarded; with `*` at its end, a prefix.",
            ),
        ]
        | None
    ) = None
    asterisk: (
        Annotated[
            str,
            Meta(max_length=100, description="Only calls from this Asterisk; empty: those of which it is not known."),
        ]
        | None
    ) = None

    @property
    def search(self) -> Search:
        """Convert to the history's Search."""
        outcome = self.outcome.upper() if self.outcome is not None else None
        return Search(self.caller, self.number, outcome, self.since, self.until, self.forwarded_by, self.asterisk)


class CallQuery(CallFilter, frozen=True, forbid_unknown_fields=True):
    """Filter and page of calls."""

    after: After | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="How many, at most.")] = 50


class CsvQuery(CallFilter, frozen=True, forbid_unknown_fields=True):
    """Filter, maximum number of calls, and how the text begins."""

    limit: Annotated[int, Meta(ge=1, le=1_000_000, description="How many, at most.")] = 10_000
    bom: Annotated[bool, Meta(description="Begin with a byte order mark, by which Excel reads UTF-8.")] = False


class FiguresQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The span of figures."""

    since: Annotated[Seconds, Meta(description="Without it, a day before `until`.")] | None = None
    until: Annotated[Seconds, Meta(description="Without it, now.")] | None = None
    busiest: Annotated[int, Meta(ge=1, le=100, description="How many of the busiest minutes to list.")] = 10
    asterisk: (
        Annotated[
            str,
            Meta(max_length=100, description="Only calls from this Asterisk; empty: those of which it is not known."),
        ]
        | None
    ) = None


class Minute(msgspec.Struct, frozen=True):
    """Number of calls that began in a minute."""

    minute: Annotated[int, Meta(description="Its first second.")]
    calls: int


class CallFigures(msgspec.Struct, frozen=True):
    """Figures of the calls that began in a span."""

    since: float
    until: float
    calls: int
    by_outcome: dict[str, int]
    minutes: Annotated[list[Minute], Meta(description="Those without calls are left out.")]
    busiest: Annotated[list[Minute], Meta(description="The most calls first.")]


async def list_calls(request: ApiRequest) -> CallItems:
    """List finished calls, newest first."""
    query: CallQuery = request.query

    def find(connection: Connection) -> CallPage:
        before: ListPosition | None = None
        if query.after is not None:
            try:
                last = call(connection, query.after)
            except NotThere:  # only the oldest calls are deleted, so there is no older one
                return CallPage([], None, None)
            before = (last.began, last.call_id)
        return find_page(connection, query.search, query.limit, before=before)

    page = await request.web.read(find)
    return CallItems(
        [item_of(CallItem, row, answered_s=row.talk_s) for row in page.calls], page.older[1] if page.older else None
    )


async def get_call(request: ApiRequest) -> CallDetails:
    """Get a call with its trace."""
    row = await request.web.read(lambda connection: call(connection, request.path["call_id"]))
    return item_of(CallDetails, row, answered_s=row.talk_s, trace=[sentence_body(step) for step in row.steps])


async def export_calls(request: ApiRequest) -> StreamedText:
    """Stream calls as CSV."""
    query: CsvQuery = request.query
    return StreamedText("calls.csv", await calls_csv(request.web, query.search, query.limit, query.bom))


async def get_call_figures(request: ApiRequest) -> CallFigures:
    """Get calls per minute, by outcome, and the busiest minutes."""
    query: FiguresQuery = request.query
    until = request.web.now() if query.until is None else query.until
    since = max(0.0, until - DAY_S) if query.since is None else query.since
    if not since <= until <= since + MAX_SPAN_S:
        raise ApiError(
            422,
            f"figures need a time that does not end before it begins, and of {MAX_SPAN_S // DAY_S} days at most",
            "since",
        )

    def read(connection: Connection) -> CallFigures:
        minutes = per_minute(connection, since, until, query.asterisk)
        found = totals(connection, since, until, query.asterisk)
        return CallFigures(
            since,
            until,
            found.calls,
            dict(found.by_outcome),
            [Minute(minute, calls) for minute, calls in sorted(minutes.items())],
            [Minute(minute, calls) for minute, calls in busiest(minutes, query.busiest)],
        )

    return await request.web.read(read)


_SHOWN = CallItem(
    81,
    1795427154.2,
    1795427171.9,
    "1795427154.17",
    "33",
    "Reception",
    "22",
    "allow",
    "2X",
    "dial",
    "PJSIP",
    "33",
    "ANSWER",
    "16",
    12,
    "",
    "asterisk",
)

ENDPOINTS = (
    Endpoint(
        "GET",
        PATH,
        TAG,
        "List the calls that the gateway has served, newest first",
        list_calls,
        Scope.READ,
        CallItems,
        CallQuery,
        shows=CallItems([_SHOWN], None),
        note="Calls of the last second may be missing; history.keep_days in the settings says how long calls are kept.",
    ),
    Endpoint(
        "GET",
        f"{PATH}/{{call_id}}",
        TAG,
        "Get a call, with the trace of its decision",
        get_call,
        Scope.READ,
        CallDetails,
    ),
    Endpoint(
        "GET",
        f"{PATH}.csv",
        TAG,
        "Export calls as CSV",
        export_calls,
        Scope.READ,
        query=CsvQuery,
        media=CSV,
        note="Times are in the PBX's time zone, and in seconds since 1970 near the end. "
        "Cells that a spreadsheet would evaluate as a formula have a quote in front.",
    ),
    Endpoint(
        "GET",
        f"{PATH}/figures",
        TAG,
        "Get calls per minute, calls by outcome, and the busiest minutes",
        get_call_figures,
        Scope.READ,
        CallFigures,
        FiguresQuery,
        errors=frozenset({422}),
        shows=CallFigures(
            1795392000.0,
            1795478400.0,
            2,
            {"ANSWER": 1, "BUSY": 1},
            [Minute(1795427100, 2)],
            [Minute(1795427100, 2)],
        ),
    ),
)
