"""Pages to manage click-to-dial links and create their signed addresses; for admins."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Final

from pbxrouter.database.click_to_dial import (
    MAX_A_DAY,
    MAX_AN_HOUR,
    DialLink,
    LinkValues,
    add_dial_link,
    delete_dial_link,
    dial_link,
    list_dial_links,
    set_dial_link_enabled,
    update_dial_link,
    void_dial_link,
)
from pbxrouter.errors import EditRefused
from pbxrouter.rules import read_phone
from pbxrouter.security import Role
from pbxrouter.text import Sentence, sentence
from pbxrouter.web.click_to_dial.service import (
    ClickToDial,
    link_options,
    signed_address,
    snippet,
)
from pbxrouter.web.console.request import Form, PageRequest
from pbxrouter.web.console.router import Redirect, Router
from pbxrouter.web.context import WebContext

PATH: Final = "/settings/links"
DAYS: Final = 365
MAX_DAYS: Final = 3650
"""Maximum number of days for which a signed address is valid."""
_NEW: Final = LinkValues("", "", "", "")
_TEXTS: Final = tuple(field.name for field in dataclasses.fields(LinkValues) if field.type == "str")


class LinkPages:
    """Serves the pages ``/settings/links``."""

    def __init__(self, router: Router, web: WebContext, dialling: ClickToDial) -> None:
        self._router = router
        self._web = web
        self._dialling = dialling
        one = f"{PATH}/<int:number>"
        router.add(PATH, self.show_all, Role.ADMIN)
        router.add(f"{PATH}/new", self.new, Role.ADMIN)
        router.add(f"{PATH}/new", self.create, Role.ADMIN, methods=("POST",))
        router.add(one, self.show, Role.ADMIN)
        router.add(one, self.change, Role.ADMIN, methods=("POST",))
        router.add(f"{one}/sign", self.sign, Role.ADMIN, methods=("POST",))
        router.add(f"{one}/enabled", self.enable, Role.ADMIN, methods=("POST",))
        router.add(f"{one}/void", self.void, Role.ADMIN, methods=("POST",))
        router.add(f"{one}/delete", self.delete, Role.ADMIN, methods=("POST",))

    async def show_all(self, page_request: PageRequest) -> bytes:
        """Show all links."""
        day = self._dialling.today
        links = await self._web.read(lambda connection: list_dial_links(connection, day))
        return self._router.page(
            "click_to_dial/links.html",
            page_request,
            links=links,
            is_open={link.link_id: self._dialling.is_open(link) for link in links},
            has_asterisk=bool(self._web.originators),
        )

    async def new(self, page_request: PageRequest) -> bytes:
        """Show the form for a new link."""
        return self._form(page_request, _NEW)

    def _form(self, page_request: PageRequest, values: LinkValues, error: EditRefused | None = None) -> bytes:
        if error is not None:
            page_request.request.setResponseCode(400)
        return self._router.page(
            "click_to_dial/link_new.html", page_request, error=error, **self._fields(page_request, values)
        )

    def _fields(self, page_request: PageRequest, values: LinkValues) -> dict[str, Any]:
        places = link_options(self._web)
        contexts = sorted({context for of_asterisk in places.contexts.values() for context in of_asterisk})
        shown = dataclasses.asdict(values)
        for name in ("destinations", "sites"):
            shown[name] = "\n".join(shown[name].split(" "))
        shown.update((name, page_request.form[name]) for name in shown if name in page_request.form)
        return {"values": shown, "asterisks": [*places.contexts], "contexts": contexts}

    async def create(self, page_request: PageRequest) -> bytes:
        """Create a link."""
        try:
            values = read_values(page_request.form)
            number = await self._web.write(
                lambda connection: add_dial_link(
                    connection, page_request.actor, self._web.now(), values, link_options(self._web)
                )
            )
        except EditRefused as error:
            return self._form(page_request, _NEW, error)
        raise Redirect(
            f"{PATH}/{number}", sentence("{name} was created; now create its signed address", name=values.name)
        )

    async def show(self, page_request: PageRequest, number: int) -> bytes:
        """Show one link: its settings, and the form for signed addresses."""
        return await self._page_of(page_request, number)

    async def _page_of(
        self,
        page_request: PageRequest,
        number: int,
        error: EditRefused | None = None,
    ) -> bytes:
        if error is not None:
            page_request.request.setResponseCode(400)
        link = await self._link(number)
        shown = self._router.once.get(page_request.session, f"{PATH}/{number}")
        signed = shown[1] if shown is not None and shown[0] == link.generation else None
        return self._router.page(
            "click_to_dial/link.html",
            page_request,
            link=link,
            error=error,
            signed=signed,
            days=page_request.form.get("days", str(DAYS)),
            most_days=MAX_DAYS,
            is_open=self._dialling.is_open(link),
            warnings=self._warnings(link),
            **self._fields(page_request, link.values),
        )

    async def _link(self, number: int) -> DialLink:
        return await self._web.read(functools.partial(dial_link, link_id=number, day=self._dialling.today))

    def _warnings(self, link: DialLink) -> list[Sentence]:
        """Warnings about settings with which the link's calls would fail."""
        found = []
        if not self._web.originators:
            found.append(sentence("no [[asterisk]] with a secret_file is configured, so calls cannot be placed"))
        elif link.values.asterisk and link.values.asterisk not in self._web.originators:
            found.append(sentence("there is no Asterisk {name} in the settings", name=link.values.asterisk))
        phone = read_phone(link.values.phone, self._web.config.technologies)
        rules = self._web.engine.rules
        if phone is not None and rules is not None and not rules.grants_of(phone[1], link.values.asterisk):
            found.append(
                sentence(
                    "extension {number} has no grants, so it cannot call any number without a PIN",
                    number=phone[1],
                )
            )
        return found

    async def change(self, page_request: PageRequest, number: int) -> bytes:
        """Change a link's settings."""
        try:
            values = read_values(page_request.form)
            undo = await self._web.write(
                lambda connection: update_dial_link(
                    connection,
                    page_request.actor,
                    self._web.now(),
                    number,
                    dataclasses.asdict(values),
                    link_options(self._web),
                )
            )
        except EditRefused as error:
            if not error.field:
                raise
            return await self._page_of(page_request, number, error)
        raise Redirect(f"{PATH}/{number}", sentence("{name} was changed", name=values.name), undo=undo)

    async def sign(self, page_request: PageRequest, number: int) -> bytes:
        """Create a signed address, and redirect to the page that shows it with the HTML that embeds it."""
        link = await self._link(number)
        text = page_request.form.text("days")
        if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MAX_DAYS):
            refused = EditRefused(sentence("enter a whole number from 1 to {most}", most=MAX_DAYS), "days")
            return await self._page_of(page_request, number, refused)
        # Valid to the end of the last day, so that it does not expire in the middle of one.
        expires = self._web.zone.midnight(self._web.now(), int(text) + 1)
        address = signed_address(self._web, link, expires)
        signed = {"address": address, "snippet": snippet(address, link.values.name), "expires": expires}
        raise self._router.show_once(page_request, f"{PATH}/{number}", (link.generation, signed), "#give")

    async def enable(self, page_request: PageRequest, number: int) -> bytes:
        """Enable or disable a link."""
        enabled = page_request.form.get("enabled") == "1"
        link = await self._link(number)
        undo = await self._web.write(
            lambda connection: set_dial_link_enabled(connection, page_request.actor, self._web.now(), number, enabled)
        )
        message = sentence("{name} is enabled", name=link.values.name)
        if not enabled:
            message = sentence("{name} is disabled", name=link.values.name)
        raise Redirect(f"{PATH}/{number}", message, undo=undo)

    async def void(self, page_request: PageRequest, number: int) -> bytes:
        """Revoke all signed addresses of a link."""
        link = await self._link(number)
        undo = await self._web.write(
            lambda connection: void_dial_link(connection, page_request.actor, self._web.now(), number)
        )
        message = sentence("all addresses of {name} were revoked", name=link.values.name)
        raise Redirect(f"{PATH}/{number}", message, undo=undo)

    async def delete(self, page_request: PageRequest, number: int) -> bytes:
        """Delete a link."""
        link = await self._link(number)
        undo = await self._web.write(
            lambda connection: delete_dial_link(connection, page_request.actor, self._web.now(), number)
        )
        raise Redirect(PATH, sentence("{name} was deleted", name=link.values.name), undo=undo)


def read_values(form: Form) -> LinkValues:
    """Read a link's settings from the form.

    Raises:
        EditRefused: a limit is not a whole number.
    """
    texts = {name: form.text(name) for name in _TEXTS}
    return LinkValues(
        **texts,
        calls_a_day=_whole(form, "calls_a_day", MAX_A_DAY),
        calls_an_hour=_whole(form, "calls_an_hour", MAX_AN_HOUR),
    )


def _whole(form: Form, name: str, most: int) -> int:
    text = form.text(name)
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise EditRefused(sentence("enter a whole number from 1 to {most}", most=most), name)
    return int(text)
