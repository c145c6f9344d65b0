"""Sets, generates and removes a user's PIN.

A PIN never appears in a URL, notice, log or form; a generated one is shown until its page is left. Since an
error tells that another user has a PIN, attempts are limited.
"""

from __future__ import annotations

from typing import Final

from pbxrouter.database import Connection
from pbxrouter.database.audit import Actor, Edited
from pbxrouter.database.rules import generate_user_pin, holder, set_user_pin
from pbxrouter.errors import EditRefused, PinError
from pbxrouter.security import RateLimit, Role, check_pin
from pbxrouter.text import Sentence, sentence
from pbxrouter.web.console.request import TOO_MANY_PINS, PageRequest, TooManyTries
from pbxrouter.web.console.router import FlashMessage, Redirect
from pbxrouter.web.console.rules.holder_list import KINDS
from pbxrouter.web.console.rules.holder_page import show_holder
from pbxrouter.web.console.rules.page_base import RuleContext

USERS: Final = KINDS[1]
PINS_A_MINUTE: Final = 6
BURST: Final = 20


class PinPages:
    """Serves the addresses ``/rules/users/<number>/pin…``."""

    def __init__(self, context: RuleContext) -> None:
        self._context = context
        self._limit = RateLimit(per_minute=PINS_A_MINUTE, burst=BURST)
        one = f"{USERS.path}/<int:number>/pin"
        context.router.add(one, self.set, Role.OPERATOR, methods=("POST",))
        context.router.add(f"{one}/make", self.make, Role.OPERATOR, methods=("POST",))
        context.router.add(f"{one}/made", self.made, Role.OPERATOR)
        context.router.add(f"{one}/remove", self.remove, Role.OPERATOR, methods=("POST",))

    async def set(self, page_request: PageRequest, number: int) -> bytes:
        """Set the PIN that was entered."""
        pin, again = page_request.form.get("pin", ""), page_request.form.get("again", "")
        try:
            if pin != again:
                raise EditRefused(sentence("the two PINs are different"), "again")
            hashed = self._context.web.hash_pin(check_pin(pin))
            self._slow_down(page_request)

            def work(connection: Connection, actor: Actor, now: float) -> Edited[str]:
                edited = set_user_pin(connection, actor, now, number, hashed)
                return Edited(holder(connection, "user", number).name, edited.audit_id)

            edited = await self._context.edit(page_request, work)
        except PinError as error:
            return await show_holder(self._context, USERS, page_request, number, EditRefused(error.sentence, "pin"))
        except EditRefused as error:
            return await show_holder(self._context, USERS, page_request, number, error)
        raise Redirect(
            f"{USERS.path}/{number}", sentence("{name} has a new PIN", name=edited.value), undo=edited.audit_id
        )

    def _slow_down(self, page_request: PageRequest) -> None:
        assert page_request.user is not None  # the router requires a user
        wait_s = self._limit.wait_s(page_request.user.login, self._context.web.reactor.seconds())
        if wait_s:
            raise TooManyTries(wait_s, TOO_MANY_PINS, "pin")

    async def make(self, page_request: PageRequest, number: int) -> bytes:
        """Generate a PIN, and redirect to the page that shows it."""
        hash_pin = self._context.web.hash_pin

        def work(connection: Connection, actor: Actor, now: float) -> Edited[tuple[str, str]]:
            edited = generate_user_pin(connection, actor, now, number, hash_pin)
            return Edited((edited.value, holder(connection, "user", number).name), edited.audit_id)

        edited = await self._context.edit(page_request, work)
        raise self._context.router.show_once(page_request, f"{USERS.path}/{number}/pin/made", edited.value)

    async def made(self, page_request: PageRequest, number: int) -> bytes:
        """Show the generated PIN, until the browser leaves the page."""
        shown = self._context.router.once.get(page_request.session, page_request.path)
        if shown is None:
            gone = Sentence("the generated PIN is not shown any more")
            self._context.router.flash(page_request, FlashMessage(gone))
            return await show_holder(self._context, USERS, page_request, number)
        pin, name = shown
        return self._context.page("pin.html", page_request, number=number, name=name, pin=pin)

    async def remove(self, page_request: PageRequest, number: int) -> bytes:
        """Remove a user's PIN."""

        def work(connection: Connection, actor: Actor, now: float) -> Edited[str]:
            edited = set_user_pin(connection, actor, now, number, None)
            return Edited(holder(connection, "user", number).name, edited.audit_id)

        edited = await self._context.edit(page_request, work)
        raise Redirect(
            f"{USERS.path}/{number}",
            sentence("the PIN of {name} was removed", name=edited.value),
            undo=edited.audit_id,
        )
