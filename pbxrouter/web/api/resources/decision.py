"""``POST /api/decide``: decide a call without making it, with the trace.

POST, since a PIN must not appear in an address.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pbxrouter.rules import NO_CALLER, Facts, as_dict, headline, runners_up
from pbxrouter.security import Scope
from pbxrouter.web.api.auth import UNAVAILABLE
from pbxrouter.web.api.endpoint import ApiError, ApiRequest, Endpoint
from pbxrouter.web.api.sentence_body import SentenceBody, sentence_body

Verdict = Literal["allow", "pin", "deny", "invalid"]


class Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call to decide."""

    number: Annotated[str, Meta(description="What is dialled.", max_length=200)]
    caller: Annotated[str, Meta(description="The number that calls; null if it shows none.", max_length=200)] | None = (
        None
    )
    pin: (
        Annotated[str, Meta(description="What is keyed when asked for a PIN; null before that.", max_length=64)] | None
    ) = None


class Explanation(msgspec.Struct, frozen=True):
    """The decision. Except for headline and steps it is the output of `pbxrouter explain --json`."""

    number: str
    caller: str | None
    decision: Annotated[
        Verdict,
        Meta(description="`pin`: a PIN is asked for. `invalid`: nothing is at that number."),
    ]
    pattern: str | None
    application: str | None
    data: str | None
    map_id: int | None
    granted_by: Annotated[str, Meta(description="The extension or user whose grant allows it.")] | None
    trace: list[str]
    others: Annotated[list[str], Meta(description="Why other mappings that fit do not count.")]
    problems: Annotated[list[str], Meta(description="What had to be left out of the rules.")]
    headline: SentenceBody
    steps: Annotated[list[SentenceBody], Meta(description="The trace, to be shown in other languages.")]


async def decide(request: ApiRequest) -> Explanation:
    """Decide a call without making it."""
    call: Call = request.body
    if call.pin:
        request.within("pin")  # the response names the PIN's user, so guesses are limited
    caller = call.caller.strip() if call.caller else None
    if caller in ("", NO_CALLER):
        caller = None
    engine = request.web.engine
    if engine.rules is None:
        raise ApiError(503, UNAVAILABLE)  # the rules have not been loaded yet
    decision = await engine.decide(Facts(caller, call.number, call.pin))
    rules = engine.rules
    beside = await request.web.read(
        lambda _: runners_up(rules, decision)
    )  # in the reading thread, since it may take long
    shown = {
        **as_dict(decision, caller, rules.problems, beside),
        "headline": msgspec.to_builtins(sentence_body(headline(decision, caller))),
        "steps": [msgspec.to_builtins(sentence_body(step)) for step in decision.trace],
    }
    return msgspec.convert(shown, Explanation)


ENDPOINTS = (
    Endpoint(
        "POST",
        "/api/decide",
        "Rules",
        "What the rules would do with a call, and why",
        decide,
        Scope.READ,
        answer=Explanation,
        body=Call,
        example=Call("22", "33"),
        note="No call is made, and nothing is changed. A PIN goes in the body, and is kept nowhere; "
        "with one, 10 requests at once are answered, then 6 a minute.",
    ),
)
