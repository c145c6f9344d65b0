"""``GET /api/now``: the calls in progress, today's totals, and the gateway's health."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from pbxrouter.counter import CallView, live_calls, totals
from pbxrouter.database import lockout_figures
from pbxrouter.health import Health
from pbxrouter.security import Scope
from pbxrouter.text import Sentence
from pbxrouter.web.api.endpoint import ApiRequest, Endpoint
from pbxrouter.web.api.items import item_of
from pbxrouter.web.api.sentence_body import SentenceBody, sentence_body

MAX_CALLS: Final = 500

State = Annotated[
    Literal["good", "plain", "bad"], Meta(description="plain: neither good nor bad, such as not known yet.")
]
_When = Annotated[float, Meta(description="Seconds since 1970, UTC.")]


class CallInProgress(msgspec.Struct, frozen=True):
    """A call in progress."""

    key: Annotated[str, Meta(description="Unique among the calls in progress.")]
    asterisk: Annotated[str, Meta(description="By its name in the settings; empty if it is not known.")]
    caller: str
    caller_name: str
    number: str
    pattern: str
    application: str
    data: str
    granted_by: str
    forwarded_by: Annotated[str, Meta(description="Who forwarded the call; empty if it was not forwarded.")]
    since: _When
    answered: Annotated[float, Meta(description="When two parties were connected.")] | None
    phase: Literal["routing", "number", "pin", "running", "talking", "ending", "outside"]
    words: Annotated[str, Meta(description="The phase in words.")]
    in_gateway: Annotated[bool, Meta(description="Whether the gateway is serving it.")]


class Today(msgspec.Struct, frozen=True):
    """The gateway's calls since midnight, in the PBX's time zone."""

    since: _When
    calls: int
    by_outcome: dict[str, int]


class AsteriskNow(msgspec.Struct, frozen=True):
    """Health of the connection to one Asterisk's AMI."""

    name: str
    state: State
    words: str
    up: bool
    since: Annotated[float, Meta(description="Since when that is so.")] | None
    in_sync: Annotated[bool, Meta(description="Whether its calls are known now.")]
    active: Annotated[int, Meta(description="Calls in progress on it; null while not known.")] | None
    unknown_s: Annotated[
        float, Meta(description="Seconds since the gateway started in which its calls were not known.")
    ]
    restarts: int
    trouble: SentenceBody | None
    standing_by: Annotated[int, Meta(description="Dialplan contexts whose calls by agi:async another gateway serves.")]
    notes: Annotated[list[SentenceBody], Meta(description="What is worth knowing of other gateways on it.")]


class DatabaseNow(msgspec.Struct, frozen=True):
    """Health of the database, as its users found it."""

    state: State
    words: str
    has_rules: Annotated[bool, Meta(description="Whether rules are in force; until then calls wait.")]
    rules_away_since: Annotated[float, Meta(description="null while rules can be read.")] | None
    history_away_since: Annotated[float, Meta(description="null while calls can be written.")] | None
    counts_written: Annotated[bool, Meta(description="Whether the last counts of calls could be written.")]
    queued: Annotated[int, Meta(description="Calls that wait to be written.")]
    lost: Annotated[int, Meta(description="Calls that will never be written.")]
    journal_calls: Annotated[
        int, Meta(description="Calls in the journal: in progress, or over and not in the history yet.")
    ]
    journal_bytes: Annotated[int, Meta(description="Length of the journal.")]
    journal_away_since: Annotated[float, Meta(description="null while the journal can be written.")] | None
    trouble: SentenceBody | None


class FastAGINow(msgspec.Struct, frozen=True):
    """Health of the FastAGI server."""

    state: State
    words: str
    listen: str
    open_calls: int
    served: Annotated[int, Meta(description="Calls since the gateway started.")]
    last_call: Annotated[float, Meta(description="When the last one came.")] | None
    refused: Annotated[int, Meta(description="Connections that were refused since the gateway started.")]


class QueueNow(msgspec.Struct, frozen=True):
    """A queue of the gateway's: what waits to be written or sent."""

    name: Annotated[str, Meta(description="Such as history, or counter and the name of an Asterisk.")]
    state: State
    words: str
    length: Annotated[int, Meta(description="How many wait.")]
    oldest_s: Annotated[float, Meta(description="Seconds for which the oldest has waited.")]
    set_aside: Annotated[
        int,
        Meta(description="Since the gateway started, those that could not be written, while others could."),
    ]
    lost: Annotated[int, Meta(description="Those that were given up since then.")]


class HealthNow(msgspec.Struct, frozen=True):
    """Health of the gateway."""

    state: Annotated[State, Meta(description="The worst severity of its parts.")]
    words: str
    version: str
    started: _When
    asterisks: list[AsteriskNow]
    database: DatabaseNow
    fastagi: FastAGINow
    queues: list[QueueNow]


class PinsNow(msgspec.Struct, frozen=True):
    """Wrong PINs, over all gateways on the database."""

    locked: Annotated[int, Meta(description="Endpoints and numbers that are locked out.")]
    attacked: Annotated[bool, Meta(description="Whether wrong PINs come from many places.")]


class Now(msgspec.Struct, frozen=True):
    """The state of the gateway at one moment."""

    at: _When
    calls: Annotated[list[CallInProgress], Meta(description="The newest first.")]
    total: Annotated[int, Meta(description="The number of all calls in progress.")]
    today: Today
    health: HealthNow
    pins: PinsNow


class NowQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of ``/api/now``."""

    limit: Annotated[int, Meta(ge=1, le=MAX_CALLS, description="How many calls, at most.")] = 100


def _call(shown: CallView) -> CallInProgress:
    return item_of(CallInProgress, shown, phase=shown.phase.value, words=shown.phase.sentence.english)


def _trouble(sentence: Sentence | None) -> SentenceBody | None:
    return None if sentence is None else sentence_body(sentence)


def _health(health: Health) -> HealthNow:
    database, fastagi = health.database, health.fastagi
    return HealthNow(
        health.state,
        health.sentence.english,
        health.version,
        health.started,
        [
            item_of(
                AsteriskNow,
                asterisk,
                words=asterisk.sentence.english,
                trouble=_trouble(asterisk.trouble),
                notes=[sentence_body(note) for note in asterisk.notes],
            )
            for asterisk in health.asterisks
        ],
        item_of(DatabaseNow, database, words=database.sentence.english, trouble=_trouble(database.trouble)),
        item_of(FastAGINow, fastagi, words=fastagi.sentence.english, refused=sum(fastagi.refused.values())),
        [item_of(QueueNow, queue, words=queue.sentence.english) for queue in health.queues],
    )


async def get_now(request: ApiRequest) -> Now:
    """Get the current state."""
    query: NowQuery = request.query
    web = request.web
    now = web.now()
    midnight = web.zone.midnight(now)
    today, lockouts = await web.read(
        lambda connection: (totals(connection, midnight, now + 1), lockout_figures(connection, now))
    )
    live = live_calls(web.active_calls, web.counters, query.limit)
    return Now(
        now,
        [_call(call) for call in live.calls],
        live.total,
        Today(midnight, today.calls, dict(today.by_outcome)),
        _health(web.health()),
        PinsNow(lockouts.locked, lockouts.attacked),
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/now",
        "Calls",
        "Get the calls in progress, today's totals, and the gateway's health",
        get_now,
        Scope.READ,
        Now,
        NowQuery,
    ),
)
