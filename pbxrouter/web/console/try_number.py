"""The page Test a number: what the rules decide about a call, and why, without making the call.

A PIN is sent in the body of a form, never in a URL, and is never shown. Guessing PINs here is as slow
as by telephone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Final

from pbxrouter.errors import EditRefused, StoreError
from pbxrouter.rules import (
    Decision,
    Verdict,
    action_of,
    facts_of,
    headline,
    normalise_number,
    read_written,
    runners_up,
)
from pbxrouter.security import RateLimit, Role
from pbxrouter.text import Sentence, printable, sentence
from pbxrouter.web.console.request import TOO_MANY_PINS, Form, PageRequest, TooManyTries, set_refused_status
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
        action: what Asterisk is told to run; None if it is not allowed, or not known.
    """

    kind: str
    headline: Sentence
    decision: Decision
    why_not: tuple[Sentence, ...]
    action: Sentence | None


@dataclass(frozen=True, slots=True)
class Question:
    """The fields of the form but the PIN, as entered."""

    caller: str
    number: str
    endpoint: str
    forwarded_by: str
    claimed_forwarder: str
    asterisk: str

    @property
    def is_about_more(self) -> bool:
        """Whether a field of the form's second part is filled in."""
        return bool(self.endpoint or self.forwarded_by or self.claimed_forwarder)


class TryNumberPage:
    """Serves the page ``/test``."""

    def __init__(self, router: Router, web: WebContext) -> None:
        self._router = router
        self._web = web
        self._limit = RateLimit(per_minute=PINS_A_MINUTE, burst=PINS_A_MINUTE)
        router.add("/test", self.ask, Role.VIEWER)
        router.add("/test", self.ask_with_pin, Role.VIEWER, methods=("POST",))

    async def ask(self, page_request: PageRequest) -> bytes:
        """Show the form; with a number in the query, the result too."""
        return await self._page(page_request, _question(page_request.query), None)

    async def ask_with_pin(self, page_request: PageRequest) -> bytes:
        """Test the call of the form."""
        return await self._page(page_request, _question(page_request.form), page_request.form.text("pin") or None)

    async def _page(self, page_request: PageRequest, question: Question, pin: str | None) -> bytes:
        answer, error = None, None
        if question.number:
            try:
                answer = await self._answer(page_request, question, pin)
            except EditRefused as refused:
                set_refused_status(page_request, refused)
                error = refused
        elif page_request.form:
            page_request.request.setResponseCode(400)
            error = EditRefused(sentence("enter the dialled number"), "number")
        return self._router.page(
            "test.html",
            page_request,
            question=question,
            shown={name: printable(text) for name, text in asdict(question).items()},
            asterisks=self._web.asterisks if len(self._web.asterisks) > 1 else (),
            answer=answer,
            error=error,
        )

    async def _answer(self, page_request: PageRequest, question: Question, pin: str | None) -> TestResult:
        for field, text in (*asdict(question).items(), ("pin", pin or "")):
            if len(text) > MAX_LENGTH:
                raise EditRefused(sentence("at most {most} characters are accepted", most=MAX_LENGTH), field)
        if pin is not None:
            assert page_request.user is not None  # the router requires a user
            wait_s = self._limit.wait_s(page_request.user.login, self._web.reactor.seconds())
            if wait_s:
                raise TooManyTries(wait_s, TOO_MANY_PINS, "pin")
        rules = self._web.engine.rules
        if rules is None:
            raise StoreError(Sentence("the rules have not been loaded yet"))
        facts = facts_of(
            rules,
            self._web.config.trunks,
            question.caller,
            self._dialled(question.number),
            pin,
            endpoint=question.endpoint,
            forwarded_by=question.forwarded_by,
            claimed_forwarder=question.claimed_forwarder,
            asterisk=question.asterisk,
            asterisks=self._web.asterisks,
        )
        decision = await self._web.engine.decide(facts)
        why_not = await self._web.in_thread(runners_up, rules, decision)
        kind = "bad" if decision.problem is not None else KINDS[decision.verdict]
        return TestResult(kind, headline(decision, facts.caller), decision, why_not, action_of(decision))

    def _dialled(self, text: str) -> str:
        """The number as it is dialled, of one that may be written with blanks and the like.

        Raises:
            EditRefused: it is not clear which number is meant.
        """
        if normalise_number(text) is not None:
            return text
        written = read_written(text, self._web.config.country)
        if not written.is_doubtful:
            return written.digits or text
        if written.meant:
            raise EditRefused(sentence("did you mean {number}?", number=written.meant), "number")
        return text


def _question(form: Form) -> Question:
    """The question in a form or a query."""
    return Question(*(form.text(field.name) for field in fields(Question)))
