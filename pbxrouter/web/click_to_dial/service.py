"""Click-to-dial: for visitors of a site by a signed link, for staff from their own phone.

A visitor's request is checked against the link, its opening hours, its destinations, the consent, and
the limits by address and day; then, as every originated call, against the rules.
"""

from __future__ import annotations

import contextlib
import functools
import html
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbxrouter.click_to_dial import FORM_EXPIRED, LINK_WORDS, Hours, LinkState, Signer
from pbxrouter.database.click_to_dial import DialLink, LinkOptions, dial_link, give_call_back, take_call
from pbxrouter.errors import (
    ControlRefused,
    ManagerError,
    NotThere,
    OriginateRefused,
    PbxrouterError,
    StoreError,
)
from pbxrouter.originate import CallRequest, Originator, Progress, originator_for
from pbxrouter.security import RateLimit, WindowLimit, network_of
from pbxrouter.text import Sentence, sentence
from pbxrouter.web.click_to_dial.attempts import Attempts, DialAttempt
from pbxrouter.web.click_to_dial.number import ClickRefused, read_number
from pbxrouter.web.context import WebContext
from pbxrouter.web.http.public_url import base_url, click_url

UNAVAILABLE: Final = Sentence("Service Currently Unavailable")
HOUR_S: Final = 3600.0
NOTES_A_MINUTE: Final = 6
NOTES_AT_ONCE: Final = 20
"""How often the log reports invalid links or forms in a minute, so that it cannot be flooded."""

_STATUS: Final = {
    LinkState.MALFORMED: 404,
    LinkState.FORGED: 403,
    LinkState.VOID: 410,
    LinkState.EXPIRED: 410,
}


def link_options(web: WebContext) -> LinkOptions:
    """The link options of the settings."""
    return LinkOptions(web.config.technologies, {asterisk.name: asterisk.originate for asterisk in web.config.asterisk})


def signed_address(web: WebContext, link: DialLink, expires: float) -> str:
    """The signed address of a link's page.

    Args:
        expires: epoch seconds.
    """
    base = base_url(web.config.web.url, web.config.web.listen or "")
    signature = Signer(web.key).link(link.link_id, link.generation, expires)
    return click_url(base, link.link_id, signature)


def snippet(address: str, name: str) -> str:
    """The HTML that embeds the page in a site."""
    return (
        f'<iframe src="{html.escape(address)}" title="{html.escape(name)}" '
        f'width="340" height="440" style="border:0;max-width:100%" loading="lazy"></iframe>'
    )


class ClickToDial:
    """Originates click-to-dial calls and keeps their attempts.

    Attributes:
        attempts: the attempts.
        signer: signs links and forms.
    """

    log = Logger()

    def __init__(self, web: WebContext) -> None:
        self._web = web
        self.signer: Final = Signer(web.key)
        self.attempts: Final = Attempts(web.now)
        self._hour = WindowLimit(HOUR_S)
        self._notes = RateLimit(NOTES_A_MINUTE, NOTES_AT_ONCE)

    @property
    def today(self) -> str:
        """Today's date in the PBX's time zone."""
        return self._web.zone.local(self._web.now()).date().isoformat()

    # --- visitors ---

    async def link(self, link_id: int, signature: str) -> DialLink:
        """Find and verify the link of a request.

        Raises:
            ClickRefused: it is not valid, or disabled.
            StoreError: the database cannot be read.
        """
        found: DialLink | None = None
        with contextlib.suppress(NotThere):
            found = await self._web.read(functools.partial(dial_link, link_id=link_id, day=self.today))
        generation = None if found is None else found.generation
        state = self.signer.check_link(link_id, generation, signature, self._web.now())
        sites = found.origins if found is not None else ""
        if state is not LinkState.VALID:
            self._note("address", link_id, state)
            # The holder of a genuine link sees the message in the site's frame; others learn nothing of the site.
            given = state in (LinkState.VOID, LinkState.EXPIRED)
            raise ClickRefused(LINK_WORDS[state], _STATUS[state], sites=sites if given else "")
        assert found is not None  # without a generation no link is valid
        if not found.enabled:
            raise ClickRefused(sentence("This page is not available right now."), 410, sites=sites)
        return found

    def _note(self, what: str, link_id: int, state: LinkState) -> None:
        """Log an invalid link or form, and why."""
        said = f"{what} {state.value}"
        if not self._notes.wait_s(said, self._web.reactor.seconds()):
            self.log.info("click to dial: link {link}: {said}", link=link_id, said=said)

    def hours(self, link: DialLink) -> Hours:
        """A link's opening hours; always open if the stored text cannot be parsed."""
        try:
            return Hours.parse(link.values.hours)
        except PbxrouterError as error:
            self.log.error("click to dial: link {link}: {error}", link=link.link_id, error=str(error))
            return Hours()

    def is_open(self, link: DialLink) -> bool:
        """Whether a link is open now."""
        return self.hours(link).is_open(self._web.zone.local(self._web.now()))

    async def call_visitor(
        self, link: DialLink, number: str, agrees: bool, form: str, address: str, back: str, sure: str = ""
    ) -> DialAttempt:
        """Call the link's phone, and then the visitor.

        Args:
            number: as entered.
            form: the form's signed value.
            address: the visitor's address.
            back: the page for another try.
            sure: the number about which the visitor was asked before.

        Raises:
            ClickRefused: the request was refused.
            StoreError: the database cannot be used.
        """
        owner = ("link", link.link_id)
        state = self.signer.check_form(link.link_id, address, form, self._web.now())
        if state is not LinkState.VALID:
            self._note("form", link.link_id, state)
            raise ClickRefused(FORM_EXPIRED, 403)
        before = self.attempts.of_form(form, owner)
        if before is not None:
            return before
        if not self.is_open(link):
            raise ClickRefused(sentence("We are closed right now."), 403)
        wanted = read_number(number, True, self._web.config.country, sure)
        if not link.allows(wanted):
            raise ClickRefused(sentence("We cannot call this number from here."), 403, "number")
        if link.consent("en") and not agrees:
            raise ClickRefused(sentence("Please agree first; we cannot call you without your consent."), 400, "consent")
        call_request = CallRequest(link.values.phone, wanted, link.values.context)
        found = await self._originator(link.values.asterisk, call_request)
        if found is None or not found[0].is_up:
            raise ClickRefused(UNAVAILABLE, 503)
        originator, call_request = found
        # By number, too, so that a visitor with many addresses cannot ring one phone all day.
        keys = (f"{link.link_id} {network_of(address)}", f"{link.link_id} to {wanted}")
        for place, key in enumerate(keys):
            wait_s = self._hour.wait_s(key, link.values.calls_an_hour, self._web.reactor.seconds())
            if wait_s:
                self._give_back(keys[:place])
                raise ClickRefused(
                    sentence("You have received several calls recently. Please try again later."),
                    429,
                    wait_s=wait_s,
                )
        attempt = self.attempts.add(owner, wanted, link.values.phone, form, back, link.origins)
        try:
            await _shielded(self._within_the_day(link, originator, call_request, attempt, keys))
        except ManagerError:
            raise ClickRefused(UNAVAILABLE, 503) from None
        except OriginateRefused:
            raise ClickRefused(sentence("We cannot call this number from here."), 403, "number") from None
        return attempt

    async def _within_the_day(
        self,
        link: DialLink,
        originator: Originator,
        call_request: CallRequest,
        attempt: DialAttempt,
        keys: tuple[str, ...],
    ) -> None:
        day, link_id = self.today, link.link_id
        taken = False
        try:
            taken = await self._web.write(
                lambda connection: take_call(connection, link_id, day, link.values.calls_a_day)
            )
            if not taken:
                raise ClickRefused(
                    sentence("The limit of calls for today has been reached. Please try again tomorrow."),
                    429,
                )
            await originator.originate(call_request, functools.partial(self._tell, attempt))
        except Exception as error:
            self.attempts.forget(attempt)
            self._give_back(keys)
            self.log.warn(
                "click to dial: link {link} could not have {number} called: {error}",
                link=link_id,
                number=attempt.number,
                error=str(error),
            )
            if taken:
                with contextlib.suppress(StoreError):
                    await self._web.write(lambda connection: give_call_back(connection, link_id, day))
            raise

    def _give_back(self, keys: tuple[str, ...]) -> None:
        for key in keys:
            self._hour.give_back(key)

    async def _originator(self, name: str, call_request: CallRequest) -> tuple[Originator, CallRequest] | None:
        """The Originator for a visitor's call, as ``originator_for`` has it; None if there is none, which is logged."""
        try:
            return await originator_for(name, call_request, self._web.originators)
        except (ControlRefused, OriginateRefused, ManagerError) as error:
            self.log.error("click to dial: {error}", error=str(error))
            return None

    # --- staff ---

    async def call_from(
        self, user_id: int, phone: str, number: str, context: str, asterisk: str, sure: str = ""
    ) -> DialAttempt:
        """Call a console user's phone, and connect it with a number.

        Args:
            number: as entered.
            sure: the number about which the user was asked before.

        Raises:
            ClickRefused: the request was refused.
        """
        wanted = read_number(number, False, self._web.config.country, sure)
        try:
            originator, call_request = await originator_for(
                asterisk, CallRequest(phone, wanted, context), self._web.originators
            )
        except ControlRefused as error:
            raise ClickRefused(error.sentence, 400 if self._web.originators else 503, "asterisk") from None
        except OriginateRefused as error:
            raise ClickRefused(error.sentence, 400, "asterisk") from None
        except ManagerError:
            raise ClickRefused(UNAVAILABLE, 503) from None
        if not originator.is_up:
            raise ClickRefused(UNAVAILABLE, 503)
        attempt = self.attempts.add(("user", user_id), wanted, phone)
        try:
            await _shielded(originator.originate(call_request, functools.partial(self._tell, attempt)))
        except OriginateRefused as error:
            self.attempts.forget(attempt)
            raise ClickRefused(error.sentence, 403 if error.decision is not None else 400) from None
        except ManagerError as error:
            self.attempts.forget(attempt)
            is_gone = not originator.is_up
            raise ClickRefused(UNAVAILABLE if is_gone else error.sentence, 503 if is_gone else 502) from None
        return attempt

    def _tell(self, attempt: DialAttempt, progress: Progress) -> None:
        attempt.tell(progress, self._web.now())
        if progress.is_last:
            self.log.info(
                "click to dial: {phone} for {number}, {whose} {id}: {state}",
                phone=attempt.phone,
                number=attempt.number,
                whose=attempt.owner[0],
                id=attempt.owner[1],
                state=progress.state,
            )


T = TypeVar("T")


async def _shielded(work: Coroutine[Any, Any, T]) -> T:
    """Wait for the work; a client that disconnects cancels the wait, not the work.

    Otherwise a form sent by a client that disconnects at once would ring phones without counting.
    """
    result: Deferred[T] = Deferred()

    def tell(outcome: T | Failure) -> None:
        if result.called:
            return
        if isinstance(outcome, Failure):
            result.errback(outcome)
        else:
            result.callback(outcome)

    Deferred.fromCoroutine(work).addBoth(tell)
    return await result
