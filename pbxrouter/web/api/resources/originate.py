"""``POST /api/originate``: click-to-dial for programs.

The response comes when the phone has answered or has failed: what really happened, not ``queued``.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pbxrouter.errors import ControlRefused, ManagerError, ManagerUnavailable, OriginateRefused
from pbxrouter.originate import CallRequest, Progress, originator_for
from pbxrouter.security import Scope
from pbxrouter.web.api.endpoint import ApiError, ApiRequest, Endpoint
from pbxrouter.web.api.token_auth import UNAVAILABLE

_log = Logger()


class OriginateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to originate a call."""

    channel: Annotated[
        str,
        Meta(
            description="The phone that rings first, such as PJSIP/33. Its name is the extension whose grants count. "
            "One of several Asterisks may be named in front, as in madrid:PJSIP/33.",
            min_length=1,
        ),
    ]
    to: Annotated[str, Meta(description="The number: digits, `*`, `#` and `+`.", min_length=1)]
    context: Annotated[str, Meta(description="The dialplan context where the number is dialled.", min_length=1)]
    asterisk: (
        Annotated[str, Meta(description="The Asterisk to use; by default, of several, the one that has the phone.")]
        | None
    ) = None


class OriginateResult(msgspec.Struct, frozen=True):
    """The result of an originated call."""

    status: Annotated[
        str,
        Meta(
            description="answered; or busy, rejected, noanswer, unavailable, congestion, failed",
        ),
    ]
    why: Annotated[str, Meta(description="The same in words.")]
    id: Annotated[str, Meta(description="The phone's Uniqueid.")]


async def originate(request: ApiRequest) -> OriginateResult:
    """Originate a call, and wait until the phone has answered or has failed."""
    wanted: OriginateRequest = request.body
    progress = await _originate(request, CallRequest(wanted.channel, wanted.to, wanted.context), wanted.asterisk)
    _log.info(
        "API: token {token} originated a call to {channel}: {state}",
        token=request.actor.who,
        channel=wanted.channel,
        state=progress.state,
    )
    return OriginateResult(progress.state, progress.why, progress.uniqueid)


async def _originate(request: ApiRequest, call_request: CallRequest, asterisk: str | None) -> Progress:
    originators = request.web.originators
    decided: Deferred[Progress] = Deferred()

    def tell(progress: Progress) -> None:
        if progress.state != "ringing" and not decided.called:
            decided.callback(progress)

    try:
        originator, placed = await originator_for(asterisk, call_request, originators)
        await originator.originate(placed, tell)
    except ControlRefused as error:
        raise ApiError(400 if originators else 503, str(error), "asterisk" if originators else "") from None
    except OriginateRefused as error:
        # The line begins with the field's name: "to: '1e5' is no number …".
        field = str(error).partition(":")[0]
        known = field if field in ("channel", "to", "context") else ""
        raise ApiError(400 if error.decision is None else 403, str(error), known) from None
    except ManagerUnavailable:
        raise ApiError(503, UNAVAILABLE) from None
    except ManagerError as error:
        raise ApiError(502, str(error)) from None
    return await decided


ENDPOINTS = (
    Endpoint(
        "POST",
        "/api/originate",
        "Click to dial",
        "Call a phone, and connect it with a number",
        originate,
        Scope.DIAL,
        answer=OriginateResult,
        body=OriginateRequest,
        errors=frozenset({502}),
        example=OriginateRequest("PJSIP/33", "22", "pbxrouter-phones"),
        shows=OriginateResult("answered", "the phone was answered", "d9c2b0a1f3e4-0000000001"),
        forms=True,
        limit="dial",
        note="The rules apply as if that phone had dialled. The response comes when the phone has answered or has "
        "failed, after at most half a minute.",
    ),
)
