"""The page that a visitor of a customer's site sees: a number, a button, and what becomes of the call.

It may stand in a frame of the sites that its link names, where there are no cookies: the
form carries a signed token instead, and the language stands in the address. Not here:
whether the call may be (web.click), what is said of it (click_said).
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from twisted.internet.defer import CancelledError

from pbxrouter.database.click.link_values import DialLink
from pbxrouter.errors import StoreError
from pbxrouter.text.sentences import Step, step
from pbxrouter.web.click.attempts import DialAttempt
from pbxrouter.web.click.number import ClickRefused
from pbxrouter.web.click.service import UNAVAILABLE, ClickToDial
from pbxrouter.web.console.click.messages import lines_of, said_of
from pbxrouter.web.console.request import Visit
from pbxrouter.web.console.router import GoOn, Router
from pbxrouter.web.context import Desk
from pbxrouter.web.http.guard import allow_frames
from pbxrouter.web.language import LANGUAGES, Words

WAIT_S: Final = 20.0
"""How long the browser's question for news is held open."""
RELOAD_S: Final = 2
"""How often a browser without JavaScript looks again."""
_TELEPHONE_NUMBER: Final = 60


class VisitorPages:
    """The pages ``/click/…``."""

    def __init__(self, router: Router, desk: Desk, dialling: ClickToDial, words: Mapping[str, Words]) -> None:
        self._router = router
        self._desk = desk
        self._dialling = dialling
        self._words = words
        path = "/click/<int:link_id>"
        router.add(path, self.show, None, own_check=True)
        router.add(path, self.call, None, methods=("POST",), own_check=True)
        router.add(f"{path}/<call>", self.status, None, own_check=True)
        router.add(f"{path}/<call>/news", self.news, None, own_check=True)

    async def show(self, visit: Visit, link_id: int) -> bytes:
        """The form; or when it is open; or why not."""
        self._as_stranger(visit)
        try:
            link = await self._dialling.link(link_id, visit.query.get("sig", ""))
        except ClickRefused as refused:
            return self._refused(visit, refused)
        except StoreError:
            return self._refused(visit, ClickRefused(UNAVAILABLE, 503))
        return self._form(visit, link)

    async def call(self, visit: Visit, link_id: int) -> bytes:
        """Begin the call."""
        self._as_stranger(visit)
        link = None
        try:
            link = await self._dialling.link(link_id, visit.query.get("sig", ""))
            attempt = await self._dialling.call_visitor(
                link,
                visit.form.get("number", "").strip(" "),
                visit.form.get("agree") == "1",
                visit.form.get("form", ""),
                visit.address,
                self._address(visit, link_id),
            )
        except ClickRefused as refused:
            if link is None:
                return self._refused(visit, refused)
            return self._form(visit, link, refused)
        except StoreError:
            unavailable = ClickRefused(UNAVAILABLE, 503)
            return self._refused(visit, unavailable) if link is None else self._form(visit, link, unavailable)
        raise GoOn(f"/click/{link_id}/{attempt.attempt_id}?lang={visit.words.language}")

    async def status(self, visit: Visit, link_id: int, call: str) -> bytes:
        """How the call stands."""
        self._as_stranger(visit)
        attempt = self._dialling.attempts.find(call, ("link", link_id))
        if attempt is None:
            return self._refused(visit, ClickRefused(Step("Nothing more is known of this call."), 404))
        return self._page("click/status.html", visit, attempt.sites, **self._state(visit, attempt))

    async def news(self, visit: Visit, link_id: int, call: str) -> bytes:
        """The part of that page that changes, when it does."""
        self._as_stranger(visit)
        attempt = self._dialling.attempts.find(call, ("link", link_id))
        if attempt is None:
            visit.request.setResponseCode(404)
            return b""
        if not await wait_for_news(visit, attempt, self._desk.reactor):
            return b""
        return self._router.page("click/state.html", visit, **self._state(visit, attempt))

    def _state(self, visit: Visit, attempt: DialAttempt) -> dict[str, Any]:
        back = f"{attempt.back}&{urlencode({'lang': visit.words.language})}"
        return {"attempt": attempt, "said": said_of(attempt), "back": back, "reload_s": RELOAD_S}

    def _as_stranger(self, visit: Visit) -> None:
        """Whoever is logged in to the console is a visitor here; the address says which language."""
        visit.user, visit.session, visit.csrf = None, "", ""
        wanted = visit.query.get("lang", "")
        if wanted in self._words:
            visit.words = self._words[wanted]

    def _address(self, visit: Visit, link_id: int) -> str:
        return f"/click/{link_id}?{urlencode({'sig': visit.query.get('sig', '')})}"

    def _form(self, visit: Visit, link: DialLink, error: ClickRefused | None = None) -> bytes:
        if error is not None:
            visit.request.setResponseCode(error.status)
            if error.wait_s:
                visit.request.setHeader("Retry-After", str(int(error.wait_s) + 1))
        now = self._desk.now()
        hours = self._dialling.hours(link)
        is_open = self._dialling.is_open(link)
        return self._page(
            "click/form.html",
            visit,
            link.origins,
            link=link,
            action=self._address(visit, link.link_id),
            consent=link.consent(visit.words.language),
            form=self._dialling.signer.form(link.link_id, visit.address, now),
            number=visit.form.get("number", "")[:_TELEPHONE_NUMBER],
            agrees=visit.form.get("agree") == "1",
            error=error,
            is_open=is_open,
            hours=lines_of(hours),
            opens=None if is_open else self._opens(visit, hours.next_opening(self._desk.zone.local(now))),
        )

    def _opens(self, visit: Visit, opening: datetime.datetime) -> Step:
        """When it opens again, as people say it."""
        now = self._desk.now()
        seconds = self._desk.zone.seconds(opening)
        days = (opening.date() - self._desk.zone.local(now).date()).days
        clock = visit.words.clock(seconds)
        if days == 0:
            return step("We open again today at {time}.", time=clock)
        if days == 1:
            return step("We open again tomorrow at {time}.", time=clock)
        return step("We open again on {day} at {time}.", day=visit.words.weekday(seconds), time=clock)

    def _refused(self, visit: Visit, refused: ClickRefused) -> bytes:
        visit.request.setResponseCode(refused.status)
        return self._page("click/refused.html", visit, refused.sites, why=refused.step)

    def _page(self, template: str, visit: Visit, sites: str, **values: Any) -> bytes:
        allow_frames(visit.request, sites)
        return self._router.page(template, visit, other_languages=_others(visit), **values)


def _others(visit: Visit) -> list[tuple[str, str, str]]:
    """The other languages: code, name, and the address of this page in it."""
    query = {name: value for name, value in visit.query.items() if name == "sig"}
    return [
        (code, name, f"{visit.path}?{urlencode({**query, 'lang': code})}")
        for code, name in LANGUAGES.items()
        if code != visit.words.language
    ]


async def wait_for_news(visit: Visit, attempt: DialAttempt, reactor: Any) -> bool:
    """Wait until more has become of a call than the page has seen, or a while; False if they have gone."""
    seen = visit.query.get("seen", "")
    try:
        await attempt.news(int(seen) if seen.isdecimal() and len(seen) < 5 else 0, WAIT_S, reactor)
    except CancelledError:
        return False
    return True
