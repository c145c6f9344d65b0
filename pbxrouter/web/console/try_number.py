"""The page Test a number: what the rules decide about a call, and why, without making the call.

A PIN is sent in the body of a form, never in a URL, and is never shown. Guessing PINs here is as slow
as by telephone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pbxrouter.errors import EditRefused
from pbxrouter.rules import NO_CALLER, Decision, Facts, Verdict, headline, runners_up
from pbxrouter.security import RateLimit, Role
from pbxrouter.text import Sentence, printable, sentence
from pbxrouter.web.console.request import PageRequest
from pbxrouter.web.console.router import Router
from pbxrouter.web.context import WebContext

MAX_LENGTH: Final = 80
PINS_A_MINUTE: Final = 6
KINDS: Final = {
    Verdict.ALLOW: "good",
    Verdict.PIN: "warn",
    Verdict.DENY: "bad",
    Verdict.INVALID: "bad",
}


@dataclass(frozen=True, slots=True)
class TestResult:
    """The result of a test.

    Attributes:
        kind: good, warn or bad.
        headline: the verdict as a sentence.
        why_not: why other matching patterns were not used.
    """

    kind: str
    headline: Sentence
    decision: Decision
    why_not: tuple[Sentence, ...]


class TryNumberPage:
    """The page ``/test``."""

    def __init__(self, router: Router, web: WebContext) -> None:
        self._router = router
        self._web = web
        self._limit = RateLimit(per_minute=PINS_A_MINUTE, burst=PINS_A_MINUTE)
        router.add("/test", self.ask, Role.VIEWER)
        router.add("/test", self.ask_with_pin, Role.VIEWER, methods=("POST",))

    async def ask(self, page_request: PageRequest) -> bytes:
        """Show the form; with a number in the query, the result too."""
        caller, number = page_request.query.text("caller"), page_request.query.text("number")
        return await self._page(page_request, caller, number, None)

    async def ask_with_pin(self, page_request: PageRequest) -> bytes:
        """Test the form's caller, number and PIN."""
        caller, number = page_request.form.text("caller"), page_request.form.text("number")
        return await self._page(page_request, caller, number, page_request.form.text("pin") or None)

    async def _page(self, page_request: PageRequest, caller: str, number: str, pin: str | None) -> bytes:
        answer, error = None, None
        if number:
            try:
                answer = await self._answer(page_request, caller, number, pin)
            except EditRefused as refused:
                page_request.request.setResponseCode(400)
                error = refused
        elif page_request.form:
            page_request.request.setResponseCode(400)
            error = EditRefused(sentence("enter the dialled number"), "number")
        return self._router.page(
            "test.html", page_request, caller=printable(caller), number=printable(number), answer=answer, error=error
        )

    async def _answer(self, page_request: PageRequest, caller: str, number: str, pin: str | None) -> TestResult:
        for field, text in (("caller", caller), ("number", number), ("pin", pin or "")):
            if len(text) > MAX_LENGTH:
                raise EditRefused(sentence("at most {most} characters are accepted", most=MAX_LENGTH), field)
        if pin is not None:
            assert page_request.user is not None  # the router requires a user
            wait_s = self._limit.wait_s(page_request.user.login, self._web.reactor.seconds())
            if wait_s:
                raise EditRefused(sentence("too many PIN attempts; wait {seconds} s", seconds=int(wait_s) + 1), "pin")
        shown = caller if caller not in ("", NO_CALLER) else None
        decision = await self._web.engine.decide(Facts(shown, number, pin))
        rules = self._web.engine.rules
        why_not = await self._web.in_thread(runners_up, rules, decision) if rules is not None else ()
        return TestResult(KINDS[decision.verdict], headline(decision, shown), decision, why_not)
