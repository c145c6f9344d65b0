"""The page Dial: a user enters a number, their own phone rings, and is connected to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pbxrouter.rules import is_context
from pbxrouter.security import RateLimit, Role
from pbxrouter.text import Sentence, printable, sentence
from pbxrouter.web.click_to_dial.attempts import DialAttempt
from pbxrouter.web.click_to_dial.number import ClickRefused
from pbxrouter.web.click_to_dial.service import ClickToDial
from pbxrouter.web.console.click_to_dial.visitor_pages import RELOAD_S, wait_for_news
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
    "asked": (Sentence("calling"), "plain"),
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
"""Label and badge kind of each state of a call."""


@dataclass(frozen=True, slots=True)
class Way:
    """An Asterisk on which calls can be placed.

    Attributes:
        asterisk: its name in the settings.
        contexts: the allowed dialplan contexts; empty allows none.
    """

    asterisk: str
    contexts: tuple[str, ...]


class StaffPages:
    """Serves the pages ``/dial``."""

    def __init__(self, router: Router, web: WebContext, dialling: ClickToDial) -> None:
        self._router = router
        self._dialling = dialling
        self._web = web
        self._limit = RateLimit(CALLS_A_MINUTE, CALLS_AT_ONCE)
        router.add("/dial", self.show, Role.OPERATOR)
        router.add("/dial", self.call, Role.OPERATOR, methods=("POST",))
        router.add("/dial/<call>", self.status, Role.OPERATOR)
        router.add("/dial/<call>/news", self.news, Role.OPERATOR)

    @property
    def _ways(self) -> list[Way]:
        """The Asterisks that can place calls, each with the contexts of the settings."""
        configured = {asterisk.name: asterisk.originate for asterisk in self._web.config.asterisk}
        return [Way(name, configured.get(name, ())) for name in self._web.originators]

    async def show(self, page_request: PageRequest) -> bytes:
        """Show the form and the user's recent calls."""
        return self._page(page_request, page_request.query.text("number"))

    async def call(self, page_request: PageRequest) -> bytes:
        """Place a call from the user's phone."""
        assert page_request.user is not None
        number = page_request.form.text("number")
        try:
            wait_s = self._limit.wait_s(page_request.user.login, self._web.reactor.seconds())
            if wait_s:
                why = sentence("too many calls at once; wait {seconds} s", seconds=int(wait_s) + 1)
                raise ClickRefused(why, 429, wait_s=wait_s)
            if not page_request.user.phone:
                raise ClickRefused(sentence("you have not chosen a phone yet; choose it under My account"))
            asterisk, context = self._where(page_request)
            attempt = await self._dialling.call_from(
                page_request.user.console_user_id,
                page_request.user.phone,
                page_request.form.get("number", ""),
                context,
                asterisk,
                page_request.form.get("sure", ""),
            )
        except ClickRefused as refused:
            if refused.status == 400:  # invalid input places no call, so it does not count
                self._limit.give_back(page_request.user.login)
            page_request.request.setResponseCode(refused.status)
            return self._page(page_request, number, refused)
        set_cookie(page_request.request, CONTEXT_COOKIE, context, "/dial", _YEAR_S)
        raise Redirect(f"/dial/{attempt.attempt_id}")

    def _where(self, page_request: PageRequest) -> tuple[str, str]:
        """The chosen Asterisk, ``""`` for the one that has the phone, and the chosen context, or the only ones.

        Raises:
            ClickRefused: no valid context was chosen.
        """
        context, _, asterisk = page_request.form.text("place").partition(" ")
        if not context:
            context, asterisk = page_request.form.text("context"), page_request.form.text("asterisk")
        if not asterisk and len(self._ways) == 1:
            asterisk = self._ways[0].asterisk
        allowed = [context for way in self._ways if asterisk in ("", way.asterisk) for context in way.contexts]
        allowed = list(dict.fromkeys(allowed))
        if not context and len(allowed) == 1:
            context = allowed[0]
        if not is_context(context):
            raise ClickRefused(
                sentence("enter the dialplan context of your phones, such as pbxrouter-phones"), 400, "context"
            )
        return asterisk, context

    async def status(self, page_request: PageRequest, call: str) -> bytes:
        """Show the state of a call."""
        attempt = self._attempt(page_request, call)
        if attempt is None:
            return self._router.problem(page_request, 404, Sentence("there is no more information about this call"))
        return self._router.page("click_to_dial/dial_status.html", page_request, **self._state(attempt))

    async def news(self, page_request: PageRequest, call: str) -> bytes:
        """Wait for news of a call, and return the changed part of its page."""
        attempt = self._attempt(page_request, call)
        if attempt is None:
            page_request.request.setResponseCode(404)
            return b""
        if not await wait_for_news(page_request, attempt, self._web.reactor):
            return b""
        page_request.session = ""  # keeps the notices for the next whole page
        return self._router.page("click_to_dial/dial_state.html", page_request, **self._state(attempt))

    def _attempt(self, page_request: PageRequest, call: str) -> DialAttempt | None:
        assert page_request.user is not None
        return self._dialling.attempts.find(call, ("user", page_request.user.console_user_id))

    def _state(self, attempt: DialAttempt) -> dict[str, Any]:
        return {"attempt": attempt, "headline": headline(attempt), "states": STATES, "reload_s": RELOAD_S}

    def _page(self, page_request: PageRequest, number: str, error: ClickRefused | None = None) -> bytes:
        assert page_request.user is not None
        remembered = _remembered(page_request)
        return self._router.page(
            "click_to_dial/dial.html",
            page_request,
            number=(error.meant if error else "") or printable(number)[:80],
            sure=error.sure if error else "",
            error=error,
            ways=self._ways,
            places=places_among(self._ways),
            place=page_request.form.get("place", ""),
            remembered=remembered,
            latest=self._dialling.attempts.latest(("user", page_request.user.console_user_id), LATEST),
            states=STATES,
        )


def places_among(ways: Sequence[Way]) -> list[tuple[str, str]]:
    """The contexts to choose from, as value and label; empty if no context is allowed.

    A context of several Asterisks is there by itself, for the one that has the phone, and then on each of them.
    """
    of_each = [(context, way.asterisk) for way in ways for context in way.contexts]
    counted = Counter(context for context, _ in of_each)
    return [(context, context) for context, count in counted.items() if count > 1] + [
        (f"{context} {asterisk}", context if len(ways) == 1 else f"{context} · {asterisk}")
        for context, asterisk in of_each
    ]


def headline(attempt: DialAttempt) -> Sentence:
    """The state of a call, as a sentence for the user who placed it."""
    match attempt.state:
        case "asked":
            return sentence("calling {phone}", phone=attempt.phone)
        case "ringing":
            return sentence("your phone is ringing: answer it")
        case "answered":
            return sentence("calling {number}", number=attempt.number)
        case "connected":
            return sentence("connected to {number}", number=attempt.number)
    assert attempt.last is not None
    return attempt.last.sentence


def _remembered(page_request: PageRequest) -> str:
    request: Any = page_request.request
    value: bytes | None = request.getCookie(CONTEXT_COOKIE.encode("ascii"))
    text = value.decode("latin-1") if value else ""
    return text if is_context(text) else ""
