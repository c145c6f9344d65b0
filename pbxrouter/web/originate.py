"""``POST /api/originate``: click-to-dial for programs.

Takes JSON or a form with ``channel``, ``to`` and ``context`` (``asterisk`` if several are
configured), and answers when the phone was answered or could not be: what really
happened, not ``queued``. Not here: the call (originate), the rules.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.iweb import IRequest

from pbxrouter.control_wishes import chosen
from pbxrouter.database.tokens import find_token
from pbxrouter.errors import ControlRefused, ManagerError, ManagerUnavailable, OriginateRefused, StoreError
from pbxrouter.originate import Originator, Progress, Wish
from pbxrouter.ratelimit import RateLimit
from pbxrouter.store import Store
from pbxrouter.tokens import bearer, hash_token
from pbxrouter.web.site import MAX_BODY, AddRoutes, header

PER_MINUTE: Final = 30
BURST: Final = 10
FIELDS: Final = ("channel", "to", "context", "asterisk")

_WORDS: Final = {429: b"Too Many Requests"}
"""Of the statuses that Twisted does not know by name."""

_log = Logger(namespace=__name__)


class Refused(Exception):
    """An answer other than 200.

    Attributes:
        status: of HTTP.
        headers: further ones.
    """

    def __init__(self, status: int, why: str, **headers: str) -> None:
        super().__init__(why)
        self.status = status
        self.headers = headers


def originate_route(
    originators: Mapping[str, Originator], store: Store, seconds: Callable[[], float]
) -> AddRoutes:
    """The route, with its rate limit.

    Args:
        originators: by the Asterisk's name.
        store: where the tokens are.
        seconds: a clock that only goes forward.
    """
    limit = RateLimit(PER_MINUTE, BURST)

    async def answer(request: IRequest) -> dict[str, Any]:
        address = str(getattr(request.getClientAddress(), "host", "unix"))
        try:
            name = await _authorised(request, store)
        except Refused:
            # Counted by itself: who has no token cannot use up what is left for those who have.
            _within(limit, f"strangers at {address}", seconds())
            raise
        _within(limit, f"token {name}", seconds())
        _within(limit, f"address {address}", seconds())
        fields = _fields(request)
        try:
            originator = chosen(fields.get("asterisk"), originators)
        except ControlRefused as error:
            raise Refused(400 if originators else 503, str(error)) from None
        wish = Wish(fields.get("channel", ""), fields.get("to", ""), fields.get("context", ""))
        progress = await _originate(originator, wish)
        _log.info(
            "{token} had {channel} called: {state}", token=name, channel=wish.channel, state=progress.state
        )
        return {"status": progress.state, "why": progress.why, "id": progress.uniqueid}

    def add_routes(app: Klein) -> None:
        @app.route("/api/originate", methods=["POST"])
        async def api_originate(request: IRequest) -> bytes:
            request.setHeader("Content-Type", "application/json")
            request.setHeader("Cache-Control", "no-store")
            try:
                said = await answer(request)
            except Refused as refused:
                request.setResponseCode(refused.status, _WORDS.get(refused.status))
                for header, value in refused.headers.items():
                    request.setHeader(header.replace("_", "-"), value)
                said = {"error": str(refused)}
            return json.dumps(said, ensure_ascii=True).encode("ascii") + b"\n"

    return add_routes


def _within(limit: RateLimit, key: str, now: float) -> None:
    wait_s = limit.wait_s(key, now)
    if wait_s:
        raise Refused(
            429, f"too many requests; try again in {wait_s:.0f} s", Retry_After=str(int(wait_s) + 1)
        )


async def _authorised(request: IRequest, store: Store) -> str:
    """The name of the token that the request carries."""
    token = bearer(header(request, "Authorization"))
    try:
        found = (
            await store.run(lambda connection: find_token(connection, hash_token(token))) if token else None
        )
    except StoreError:
        raise Refused(503, "Service Currently Unavailable") from None
    if found is None:
        why = "accepted is Authorization: Bearer with a valid token (pbxrouter token create NAME)"
        raise Refused(401, why, WWW_Authenticate='Bearer realm="pbxrouter"')
    return found.name


def _fields(request: IRequest) -> dict[str, str]:
    """The request's fields, from JSON or a form; each at most once, all of them text."""
    content: Any = request.content
    body: bytes = content.read(MAX_BODY + 1)
    if len(body) > MAX_BODY:
        raise Refused(413, f"the body may have {MAX_BODY} bytes")
    kind = header(request, "Content-Type").partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            found = list(json.loads(body, object_pairs_hook=_Pairs))
        elif kind == "application/x-www-form-urlencoded":
            found = parse_qsl(
                body.decode("utf-8"), keep_blank_values=True, strict_parsing=bool(body), errors="strict"
            )
        else:
            raise Refused(415, "accepted are application/json and application/x-www-form-urlencoded")
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body cannot be read: {error}") from None
    if not isinstance(found, list) or not all(isinstance(pair, tuple) for pair in found):
        raise Refused(400, "accepted is an object with channel, to and context")
    names = [name for name, _ in found]
    for name, value in found:
        if name not in FIELDS or names.count(name) > 1 or not isinstance(value, str):
            raise Refused(400, f"{name[:40]!a}: accepted are {', '.join(FIELDS)}, once each, as text")
    return dict(found)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it was written, repeated names too."""


async def _originate(originator: Originator, wish: Wish) -> Progress:
    """Begin the call and wait until the phone was answered, or could not be."""
    decided: Deferred[Progress] = Deferred()

    def tell(progress: Progress) -> None:
        if progress.state != "ringing" and not decided.called:
            decided.callback(progress)

    try:
        await originator.originate(wish, tell)
    except OriginateRefused as error:
        raise Refused(400 if error.decision is None else 403, str(error)) from None
    except ManagerUnavailable:
        raise Refused(503, "Service Currently Unavailable") from None
    except ManagerError as error:
        raise Refused(502, str(error)) from None
    return await decided
