"""``POST /api/decide``: decide a call without making it, with the trace.

POST, since a PIN must not appear in an address.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pbxrouter.rules import as_dict, facts_of, headline, runners_up
from pbxrouter.security import Scope
from pbxrouter.web.api.endpoint import ApiError, ApiRequest, Endpoint
from pbxrouter.web.api.sentence_body import SentenceBody, sentence_body
from pbxrouter.web.api.token_auth import UNAVAILABLE

Verdict = Literal["allow", "pin", "deny", "invalid", "fail"]


class DecisionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call to decide."""

    number: Annotated[str, Meta(description="What is dialled.", max_length=200)]
    caller: (
        Annotated[str, Meta(description="The caller's number; null if the call shows none.", max_length=200)] | None
    ) = None
    pin: (
        Annotated[str, Meta(description="The digits keyed as PIN; null before the PIN prompt.", max_length=64)] | None
    ) = None
    endpoint: (
        Annotated[
            str,
            Meta(description="The endpoint by which it comes, such as PJSIP/33; null if not known.", max_length=200),
        ]
        | None
    ) = None
    forwarded_by: (
        Annotated[
            str,
            Meta(
                description="An extension, or an endpoint such as PJSIP/21, that forwarded the call, by a forward or a "
                "transfer; null if none did.",
                max_length=200,
            ),
        ]
        | None
    ) = None
    claimed_forwarder: (
        Annotated[
            str,
            Meta(
                description="The number that forwarded the call by its own claim, without proof, as in a "
                "Diversion header; null for none.",
                max_length=200,
            ),
        ]
        | None
    ) = None
    asterisk: (
        Annotated[
            str,
            Meta(
                description="The Asterisk that it comes from, by its name in the settings; null if not known. Caller, "
                "endpoint and forwarder may have it in front, as in madrid:33.",
                max_length=200,
            ),
        ]
        | None
    ) = None


class Explanation(msgspec.Struct, frozen=True):
    """The decision. Except for headline and steps it is the output of `pbxrouter explain --json`."""

    number: str
    caller: str | None
    forwarded_by: Annotated[str, Meta(description="Who forwarded the call, proven or claimed.")] | None
    decision: Annotated[
        Verdict,
        Meta(
            description="`pin`: a PIN is asked for. `invalid`: no mapping matches the number. `fail`: the rules allow "
            "it, but it cannot work, as `cannot_work` says."
        ),
    ]
    pattern: str | None
    application: str | None
    data: str | None
    map_id: int | None
    granted_by: Annotated[str, Meta(description="The extension or user whose grant allows it.")] | None
    action: Annotated[str, Meta(description="What Asterisk is told to run, if the driver says so.")] | None
    cannot_work: (
        Annotated[str, Meta(description="Why the application cannot work for this call, granted or not.")] | None
    )
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
    engine = request.web.engine
    if engine.rules is None:
        raise ApiError(503, UNAVAILABLE)  # the rules have not been loaded yet
    rules = engine.rules
    facts = facts_of(
        rules,
        request.web.config.trunks,
        call.caller,
        call.number,
        call.pin,
        endpoint=call.endpoint or "",
        forwarded_by=call.forwarded_by or "",
        claimed_forwarder=call.claimed_forwarder or "",
        asterisk=call.asterisk or "",
        asterisks=request.web.asterisks,
    )
    decision = await engine.decide(facts)
    beside = await request.web.read(
        lambda _: runners_up(rules, decision)
    )  # in the reading thread, since it may take long
    shown = {
        **as_dict(decision, facts.caller, rules.problems, beside),
        "headline": msgspec.to_builtins(sentence_body(headline(decision, facts.caller))),
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
        errors=frozenset({422}),
        example=DecisionRequest("22", "33"),
        note="No call is made, and nothing is changed. The PIN is not stored. Requests with a PIN are limited to a "
        "burst of 10, then 6 a minute.",
    ),
)
