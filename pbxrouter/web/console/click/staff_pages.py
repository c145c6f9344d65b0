"""Dial: staff write a number, their own phone rings, and is connected with it.

Not here: whether the call may be (web.click, rules), whose phone that is (account).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pbxrouter.rules.phones import is_context
from pbxrouter.security.ratelimit import RateLimit
from pbxrouter.security.roles import Role
from pbxrouter.text.printable import printable
from pbxrouter.text.sentences import Step, step
from pbxrouter.web.click.attempts import DialAttempt
from pbxrouter.web.click.number import ClickRefused
from pbxrouter.web.click.service import ClickToDial
from pbxrouter.web.console.click.visitor_pages import RELOAD_S, wait_for_news
from pbxrouter.web.console.request import Visit
from pbxrouter.web.console.router import GoOn, Router
from pbxrouter.web.context import Desk
from pbxrouter.web.http.site import set_cookie

CONTEXT_COOKIE: Final = "pbxrouter_context"
LATEST: Final = 10
CALLS_A_MINUTE: Final = 10
CALLS_AT_ONCE: Final = 5
_YEAR_S: Final = 365 * 86_400

STATES: Final = {
    "asked": (Step("asked"), "plain"),
    "ringing": (Step("ringing"), "warn"),
    "answered": (Step("answered"), "warn"),
    "connected": (Step("connected"), "good"),
    "ended": (Step("over"), "plain"),
    "busy": (Step("busy"), "bad"),
    "rejected": (Step("rejected"), "bad"),
    "noanswer": (Step("no answer"), "bad"),
    "unavailable": (Step("unavailable"), "bad"),
    "congestion": (Step("no free line"), "bad"),
    "failed": (Step("failed"), "bad"),
}
"""What a state is called, and how it is marked."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where calls may begin.

    Attributes:
        contexts: of these; none means anywhere.
    """

    asterisk: str
    contexts: tuple[str, ...]


class StaffPages:
    """The pages ``/dial``."""

    def __init__(self, router: Router, desk: Desk, dialling: ClickToDial) -> None:
        self._router = router
        self._dialling = dialling
        configured = {each.name: each.originate for each in desk.config.asterisk}
        self._ways = [Way(name, configured.get(name, ())) for name in desk.originators]
        self._desk = desk
        self._limit = RateLimit(CALLS_A_MINUTE, CALLS_AT_ONCE)
        router.add("/dial", self.show, Role.OPERATOR)
        router.add("/dial", self.call, Role.OPERATOR, methods=("POST",))
        router.add("/dial/<call>", self.status, Role.OPERATOR)
        router.add("/dial/<call>/news", self.news, Role.OPERATOR)

    async def show(self, visit: Visit) -> bytes:
        """The form, and the last calls."""
        return self._page(visit, visit.query.text("number"))

    async def call(self, visit: Visit) -> bytes:
        """Have the phone called."""
        assert visit.user is not None
        number = visit.form.text("number")
        try:
            wait_s = self._limit.wait_s(visit.user.login, self._desk.reactor.seconds())
            if wait_s:
                why = step("too many calls at once; wait {seconds} s", seconds=int(wait_s) + 1)
                raise ClickRefused(why, 429, wait_s=wait_s)
            if not visit.user.phone:
                raise ClickRefused(step("you have no phone yet; say under My account which one is yours"))
            asterisk, context = self._where(visit)
            attempt = await self._dialling.call_from(
                visit.user.console_user_id, visit.user.phone, visit.form.get("number", ""), context, asterisk
            )
        except ClickRefused as refused:
            if refused.status == 400:  # a slip of the finger has nobody's phone called
                self._limit.give_back(visit.user.login)
            visit.request.setResponseCode(refused.status)
            return self._page(visit, number, refused)
        set_cookie(visit.request, CONTEXT_COOKIE, context, "/dial", _YEAR_S)
        raise GoOn(f"/dial/{attempt.attempt_id}")

    def _where(self, visit: Visit) -> tuple[str, str]:
        """The Asterisk and the context that were chosen, or the only ones."""
        context, _, asterisk = visit.form.text("place").partition(" ")
        if not context:
            context, asterisk = visit.form.text("context"), visit.form.text("asterisk")
        if not asterisk and len(self._ways) == 1:
            asterisk = self._ways[0].asterisk
        allowed = next((way.contexts for way in self._ways if way.asterisk == asterisk), ())
        if not context and len(allowed) == 1:
            context = allowed[0]
        if not is_context(context):
            raise ClickRefused(
                step("name the dialplan context of your phones, such as pbxrouter-phones"), 400, "context"
            )
        return asterisk, context

    async def status(self, visit: Visit, call: str) -> bytes:
        """How the call stands."""
        attempt = self._attempt(visit, call)
        if attempt is None:
            return self._router.problem(visit, 404, Step("nothing more is known of this call"))
        return self._router.page("click/dial_status.html", visit, **self._state(attempt))

    async def news(self, visit: Visit, call: str) -> bytes:
        """The part of that page that changes, when it does."""
        attempt = self._attempt(visit, call)
        if attempt is None:
            visit.request.setResponseCode(404)
            return b""
        if not await wait_for_news(visit, attempt, self._desk.reactor):
            return b""
        visit.session = ""  # notices wait for a whole page
        return self._router.page("click/dial_state.html", visit, **self._state(attempt))

    def _attempt(self, visit: Visit, call: str) -> DialAttempt | None:
        assert visit.user is not None
        return self._dialling.attempts.find(call, ("user", visit.user.console_user_id))

    def _state(self, attempt: DialAttempt) -> dict[str, Any]:
        return {"attempt": attempt, "headline": headline(attempt), "states": STATES, "reload_s": RELOAD_S}

    def _page(self, visit: Visit, number: str, error: ClickRefused | None = None) -> bytes:
        assert visit.user is not None
        remembered = _remembered(visit)
        return self._router.page(
            "click/dial.html",
            visit,
            number=printable(number)[:80],
            error=error,
            ways=self._ways,
            places=places_among(self._ways),
            place=visit.form.get("place", ""),
            context=visit.form.get("context", remembered),
            remembered=remembered,
            asterisk=visit.form.get("asterisk", ""),
            latest=self._dialling.attempts.latest(("user", visit.user.console_user_id), LATEST),
            states=STATES,
        )


def places_among(ways: Sequence[Way]) -> list[tuple[str, str]]:
    """What there is to choose among, value and label; nothing if a context must be written."""
    if not all(way.contexts for way in ways):
        return []
    return [
        (f"{context} {way.asterisk}", context if len(ways) == 1 else f"{context} · {way.asterisk}")
        for way in ways
        for context in way.contexts
    ]


def headline(attempt: DialAttempt) -> Step:
    """How a call stands, for whose phone it is."""
    match attempt.state:
        case "asked":
            return step("calling {phone}", phone=attempt.phone)
        case "ringing":
            return step("your phone rings: take the call")
        case "answered":
            return step("{number} is called", number=attempt.number)
        case "connected":
            return step("you are connected with {number}", number=attempt.number)
    assert attempt.last is not None
    return attempt.last.step


def _remembered(visit: Visit) -> str:
    request: Any = visit.request
    value: bytes | None = request.getCookie(CONTEXT_COOKIE.encode("ascii"))
    text = value.decode("latin-1") if value else ""
    return text if is_context(text) else ""
