"""Dial: staff write a number, their own phone rings, and is connected with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pbxrouter.rules import is_context
from pbxrouter.security import RateLimit, Role
from pbxrouter.text import Sentence, printable, sentence
from pbxrouter.web.click.attempts import DialAttempt
from pbxrouter.web.click.number import ClickRefused
from pbxrouter.web.click.service import ClickToDial
from pbxrouter.web.console.click.visitor_pages import RELOAD_S, wait_for_news
from pbxrouter.web.console.request import PageRequest
from pbxrouter.web.console.router import Redirect, Router
from pbxrouter.web.context import WebContext
from pbxrouter.web.http.site import set_cookie

CONTEXT_COOKIE: Final = "pbxrouter_context"
LATEST: Final = 10
CALLS_A_MINUTE: Final = 10
CALLS_AT_ONCE: Final = 5
_YEAR_S: Final = 365 * 86_400

STATES: Final = {
    "asked": (Sentence("asked"), "plain"),
    "ringing": (Sentence("ringing"), "warn"),
    "answered": (Sentence("answered"), "warn"),
    "connected": (Sentence("connected"), "good"),
    "ended": (Sentence("over"), "plain"),
    "busy": (Sentence("busy"), "bad"),
    "rejected": (Sentence("rejected"), "bad"),
    "noanswer": (Sentence("no answer"), "bad"),
    "unavailable": (Sentence("unavailable"), "bad"),
    "congestion": (Sentence("no free line"), "bad"),
    "failed": (Sentence("failed"), "bad"),
}
"""What a state is called, and how it is marked."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where calls may begin.

    Attributes:
        contexts: in these; empty: no calls begin on this Asterisk.
    """

    asterisk: str
    contexts: tuple[str, ...]


class StaffPages:
    """The pages ``/dial``."""

    def __init__(self, router: Router, web: WebContext, dialling: ClickToDial) -> None:
        self._router = router
        self._dialling = dialling
        configured = {asterisk.name: asterisk.originate for asterisk in web.config.asterisk}
        self._ways = [Way(name, configured.get(name, ())) for name in web.originators]
        self._web = web
        self._limit = RateLimit(CALLS_A_MINUTE, CALLS_AT_ONCE)
        router.add("/dial", self.show, Role.OPERATOR)
        router.add("/dial", self.call, Role.OPERATOR, methods=("POST",))
        router.add("/dial/<call>", self.status, Role.OPERATOR)
        router.add("/dial/<call>/news", self.news, Role.OPERATOR)

    async def show(self, page_request: PageRequest) -> bytes:
        """The form, and the last calls."""
        return self._page(page_request, page_request.query.text("number"))

    async def call(self, page_request: PageRequest) -> bytes:
        """Have the phone called."""
        assert page_request.user is not None
        number = page_request.form.text("number")
        try:
            wait_s = self._limit.wait_s(page_request.user.login, self._web.reactor.seconds())
            if wait_s:
                why = sentence("too many calls at once; wait {seconds} s", seconds=int(wait_s) + 1)
                raise ClickRefused(why, 429, wait_s=wait_s)
            if not page_request.user.phone:
                raise ClickRefused(sentence("you have no phone yet; say under My account which one is yours"))
            asterisk, context = self._where(page_request)
            attempt = await self._dialling.call_from(
                page_request.user.console_user_id,
                page_request.user.phone,
                page_request.form.get("number", ""),
                context,
                asterisk,
            )
        except ClickRefused as refused:
            if refused.status == 400:  # a slip of the finger has nobody's phone called
                self._limit.give_back(page_request.user.login)
            page_request.request.setResponseCode(refused.status)
            return self._page(page_request, number, refused)
        set_cookie(page_request.request, CONTEXT_COOKIE, context, "/dial", _YEAR_S)
        raise Redirect(f"/dial/{attempt.attempt_id}")

    def _where(self, page_request: PageRequest) -> tuple[str, str]:
        """The Asterisk and the context that were chosen, or the only ones."""
        context, _, asterisk = page_request.form.text("place").partition(" ")
        if not context:
            context, asterisk = page_request.form.text("context"), page_request.form.text("asterisk")
        if not asterisk and len(self._ways) == 1:
            asterisk = self._ways[0].asterisk
        allowed = next((way.contexts for way in self._ways if way.asterisk == asterisk), ())
        if not context and len(allowed) == 1:
            context = allowed[0]
        if not is_context(context):
            raise ClickRefused(
                sentence("name the dialplan context of your phones, such as pbxrouter-phones"), 400, "context"
            )
        return asterisk, context

    async def status(self, page_request: PageRequest, call: str) -> bytes:
        """How the call stands."""
        attempt = self._attempt(page_request, call)
        if attempt is None:
            return self._router.problem(page_request, 404, Sentence("nothing more is known of this call"))
        return self._router.page("click/dial_status.html", page_request, **self._state(attempt))

    async def news(self, page_request: PageRequest, call: str) -> bytes:
        """The part of that page that changes, when it does."""
        attempt = self._attempt(page_request, call)
        if attempt is None:
            page_request.request.setResponseCode(404)
            return b""
        if not await wait_for_news(page_request, attempt, self._web.reactor):
            return b""
        page_request.session = ""  # notices wait for a whole page
        return self._router.page("click/dial_state.html", page_request, **self._state(attempt))

    def _attempt(self, page_request: PageRequest, call: str) -> DialAttempt | None:
        assert page_request.user is not None
        return self._dialling.attempts.find(call, ("user", page_request.user.console_user_id))

    def _state(self, attempt: DialAttempt) -> dict[str, Any]:
        return {"attempt": attempt, "headline": headline(attempt), "states": STATES, "reload_s": RELOAD_S}

    def _page(self, page_request: PageRequest, number: str, error: ClickRefused | None = None) -> bytes:
        assert page_request.user is not None
        remembered = _remembered(page_request)
        return self._router.page(
            "click/dial.html",
            page_request,
            number=printable(number)[:80],
            error=error,
            ways=self._ways,
            places=places_among(self._ways),
            place=page_request.form.get("place", ""),
            remembered=remembered,
            latest=self._dialling.attempts.latest(("user", page_request.user.console_user_id), LATEST),
            states=STATES,
        )


def places_among(ways: Sequence[Way]) -> list[tuple[str, str]]:
    """What there is to choose among, value and label; nothing if no context is open."""
    return [
        (f"{context} {way.asterisk}", context if len(ways) == 1 else f"{context} · {way.asterisk}")
        for way in ways
        for context in way.contexts
    ]


def headline(attempt: DialAttempt) -> Sentence:
    """How a call stands, for whose phone it is."""
    match attempt.state:
        case "asked":
            return sentence("calling {phone}", phone=attempt.phone)
        case "ringing":
            return sentence("your phone rings: take the call")
        case "answered":
            return sentence("{number} is called", number=attempt.number)
        case "connected":
            return sentence("you are connected with {number}", number=attempt.number)
    assert attempt.last is not None
    return attempt.last.sentence


def _remembered(page_request: PageRequest) -> str:
    request: Any = page_request.request
    value: bytes | None = request.getCookie(CONTEXT_COOKIE.encode("ascii"))
    text = value.decode("latin-1") if value else ""
    return text if is_context(text) else ""
