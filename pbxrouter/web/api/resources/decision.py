"""``POST /api/decide``: decide a call without making it, with the trace.

POST, since a PIN must not appear in an address.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pbxrouter.rules import NO_CALLER, Facts, as_dict, headline, runners_up
from pbxrouter.security import Scope
from pbxrouter.web.api.endpoint import ApiError, ApiRequest, Endpoint
from pbxrouter.web.api.sentence_body import SentenceBody, sentence_body
from pbxrouter.web.api.token_auth import UNAVAILABLE

Verdict = Literal["allow", "pin", "deny", "invalid"]


class DecisionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call to decide."""

    number: Annotated[str, Meta(description="What is dialled.", max_length=200)]
    caller: (
        Annotated[str, Meta(description="The caller's number; null if the call shows none.", max_length=200)] | None
    ) = None
    pin: (
        Annotated[str, Meta(description="The digits keyed as PIN; null before the PIN prompt.", max_length=64)] | None
    ) = None


class Explanation(msgspec.Struct, frozen=True):
    """The decision. Except for headline and steps it is the output of `pbxrouter explain --json`."""

    number: str
    caller: str | None
    decision: Annotated[
        Verdict,
        Meta(description="`pin`: a PIN is asked for. `invalid`: no mapping matches the number."),
    ]
    pattern: str | None
    application: str | None
    data: str | None
    map_id: int | None
    granted_by: Annotated[str, Meta(description="The extension or user whose grant allows it.")] | None
    trace: list[str]
    others: Annotated[list[str], Meta(description="Why other matching mappings were not chosen.")]
    problems: Annotated[list[str], Meta(description="Rules that could not be loaded.")]
    headline: SentenceBody
    steps: Annotated[list[SentenceBody], Meta(description="The trace as translatable sentences.")]


async def decide(request: ApiRequest) -> Explanation:
    """Decide a call without making it."""
    call: DecisionRequest = request.body
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
        "Get the rules' decision about a call, and why",
        decide,
        Scope.READ,
        answer=Explanation,
        body=DecisionRequest,
        example=DecisionRequest("22", "33"),
        note="No call is made, and nothing is changed. The PIN is not stored. Requests with a PIN are limited to a "
        "burst of 10, then 6 a minute.",
    ),
)
