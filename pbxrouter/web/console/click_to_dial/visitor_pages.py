"""The pages for visitors of a site: a form for their number, and the state of their call.

The sites that the link names may embed them in a frame, where there are no cookies: the form carries
a signed token instead, and the URL carries the language.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from twisted.internet.defer import CancelledError

from pbxrouter.database.click_to_dial import DialLink
from pbxrouter.errors import StoreError
from pbxrouter.text import Sentence, sentence
from pbxrouter.web.click_to_dial.attempts import DialAttempt
from pbxrouter.web.click_to_dial.number import ClickRefused
from pbxrouter.web.click_to_dial.service import UNAVAILABLE, ClickToDial
from pbxrouter.web.console.click_to_dial.visitor_messages import opening_hours, status_of
from pbxrouter.web.console.request import PageRequest
from pbxrouter.web.console.router import Redirect, Router
from pbxrouter.web.context import WebContext
from pbxrouter.web.http.guard import allow_frames
from pbxrouter.web.language import LANGUAGES, Translator

WAIT_S: Final = 20.0
"""Seconds for which a request for news is held open."""
RELOAD_S: Final = 2
"""Seconds after which a browser without JavaScript reloads."""
_TELEPHONE_NUMBER: Final = 60


class VisitorPages:
    """Serves the pages ``/click/…``."""

    def __init__(
        self, router: Router, web: WebContext, dialling: ClickToDial, translator: Mapping[str, Translator]
    ) -> None:
        self._router = router
        self._web = web
        self._dialling = dialling
        self._translators = translator
        path = "/click/<int:link_id>"
        router.add(path, self.show, None, csrf_exempt=True)
        router.add(path, self.call, None, methods=("POST",), csrf_exempt=True)
        router.add(f"{path}/<call>", self.status, None, csrf_exempt=True)
        router.add(f"{path}/<call>/news", self.news, None, csrf_exempt=True)

    async def show(self, page_request: PageRequest, link_id: int) -> bytes:
        """Show the form, the opening hours while closed, or why the link is not valid."""
        self._make_anonymous(page_request)
        try:
            link = await self._dialling.link(link_id, page_request.query.get("sig", ""))
        except ClickRefused as refused:
            return self._refused(page_request, refused)
        except StoreError:
            return self._refused(page_request, ClickRefused(UNAVAILABLE, 503))
        return self._form(page_request, link)

    async def call(self, page_request: PageRequest, link_id: int) -> bytes:
        """Place the call to the visitor's number."""
        self._make_anonymous(page_request)
        link = None
        try:
            link = await self._dialling.link(link_id, page_request.query.get("sig", ""))
            attempt = await self._dialling.call_visitor(
                link,
                page_request.form.get("number", "").strip(" "),
                page_request.form.get("agree") == "1",
                page_request.form.get("form", ""),
                page_request.address,
                self._address(page_request, link_id),
                page_request.form.get("sure", ""),
            )
        except ClickRefused as refused:
            if link is None:
                return self._refused(page_request, refused)
            return self._form(page_request, link, refused)
        except StoreError:
            unavailable = ClickRefused(UNAVAILABLE, 503)
            return (
                self._refused(page_request, unavailable)
                if link is None
                else self._form(page_request, link, unavailable)
            )
        raise Redirect(f"/click/{link_id}/{attempt.attempt_id}?lang={page_request.translator.language}")

    async def status(self, page_request: PageRequest, link_id: int, call: str) -> bytes:
        """Show the state of a call."""
        self._make_anonymous(page_request)
        attempt = self._dialling.attempts.find(call, ("link", link_id))
        if attempt is None:
            return self._refused(
                page_request, ClickRefused(Sentence("There is no more information about this call."), 404)
            )
        return self._page(
            "click_to_dial/status.html", page_request, attempt.sites, **self._state(page_request, attempt)
        )

    async def news(self, page_request: PageRequest, link_id: int, call: str) -> bytes:
        """Wait for news of a call, and return the changed part of its page."""
        self._make_anonymous(page_request)
        attempt = self._dialling.attempts.find(call, ("link", link_id))
        if attempt is None:
            page_request.request.setResponseCode(404)
            return b""
        if not await wait_for_news(page_request, attempt, self._web.reactor):
            return b""
        return self._router.page("click_to_dial/state.html", page_request, **self._state(page_request, attempt))

    def _state(self, page_request: PageRequest, attempt: DialAttempt) -> dict[str, Any]:
        back = f"{attempt.back}&{urlencode({'lang': page_request.translator.language})}"
        return {"attempt": attempt, "status": status_of(attempt), "back": back, "reload_s": RELOAD_S}

    def _make_anonymous(self, page_request: PageRequest) -> None:
        """Remove the console user from the request, and apply the language in the URL."""
        page_request.user, page_request.session, page_request.csrf_token = None, "", ""
        wanted = page_request.query.get("lang", "")
        if wanted in self._translators:
            page_request.translator = self._translators[wanted]

    def _address(self, page_request: PageRequest, link_id: int) -> str:
        return f"/click/{link_id}?{urlencode({'sig': page_request.query.get('sig', '')})}"

    def _form(self, page_request: PageRequest, link: DialLink, error: ClickRefused | None = None) -> bytes:
        if error is not None:
            page_request.request.setResponseCode(error.status)
            if error.wait_s:
                page_request.request.setHeader("Retry-After", str(int(error.wait_s) + 1))
        now = self._web.now()
        hours = self._dialling.hours(link)
        is_open = self._dialling.is_open(link)
        return self._page(
            "click_to_dial/form.html",
            page_request,
            link.origins,
            link=link,
            action=self._address(page_request, link.link_id),
            consent=link.consent(page_request.translator.language),
            form=self._dialling.signer.form(link.link_id, page_request.address, now),
            number=(error.meant if error else "") or page_request.form.get("number", "")[:_TELEPHONE_NUMBER],
            sure=error.sure if error else "",
            agrees=page_request.form.get("agree") == "1",
            error=error,
            is_open=is_open,
            hours=opening_hours(hours),
            opens=None if is_open else self._opens(page_request, hours.next_opening(self._web.zone.local(now))),
        )

    def _opens(self, page_request: PageRequest, opening: datetime.datetime) -> Sentence:
        """When the link opens again, as a sentence."""
        now = self._web.now()
        seconds = self._web.zone.seconds(opening)
        days = (opening.date() - self._web.zone.local(now).date()).days
        clock = page_request.translator.clock(seconds)
        if days == 0:
            return sentence("We open again today at {time}.", time=clock)
        if days == 1:
            return sentence("We open again tomorrow at {time}.", time=clock)
        return sentence("We open again on {day} at {time}.", day=page_request.translator.weekday(seconds), time=clock)

    def _refused(self, page_request: PageRequest, refused: ClickRefused) -> bytes:
        page_request.request.setResponseCode(refused.status)
        return self._page("click_to_dial/refused.html", page_request, refused.sites, why=refused.sentence)

    def _page(self, template: str, page_request: PageRequest, sites: str, **values: Any) -> bytes:
        allow_frames(page_request.request, sites)
        return self._router.page(template, page_request, other_languages=_others(page_request), **values)


def _others(page_request: PageRequest) -> list[tuple[str, str, str]]:
    """The other languages: code, name, and the URL of this page in that language."""
    query = {name: value for name, value in page_request.query.items() if name == "sig"}
    return [
        (code, name, f"{page_request.path}?{urlencode({**query, 'lang': code})}")
        for code, name in LANGUAGES.items()
        if code != page_request.translator.language
    ]


async def wait_for_news(page_request: PageRequest, attempt: DialAttempt, reactor: Any) -> bool:
    """Wait, at most WAIT_S, until a call has more states than the page has shown.

    Returns:
        False if the client has disconnected.
    """
    seen = page_request.query.get("seen", "")
    try:
        await attempt.news(int(seen) if seen.isdecimal() and len(seen) < 5 else 0, WAIT_S, reactor)
    except CancelledError:
        return False
    return True
