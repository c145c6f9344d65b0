"""Staff place calls from their own phone; admins create links and signed addresses.

Over real HTTP with a real database; the calls are a fake's.
"""

from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Mapping
from typing import cast

import msgspec

from pbxrouter.config.schema import Asterisk
from pbxrouter.database.audit import find_entries
from pbxrouter.database.click_to_dial.links import dial_link, list_dial_links
from pbxrouter.errors import ActionFailed, ManagerUnavailable, NotThere, OriginateRefused
from pbxrouter.originate.originator import CallRequest, Originator, Progress
from pbxrouter.security.roles import Role
from pbxrouter.text.sentences import Sentence, sentence
from pbxrouter.web.console.click_to_dial.staff_pages import (
    CALLS_AT_ONCE,
    CONTEXT_COOKIE,
    Way,
    places_among,
)
from pbxrouter.web.context import WebContext
from tests.web.console.click_to_dial.test_visitor_pages import ClickCase, Phones
from tests.web_fakes import Answer, ConsoleCase


class StaffCase(ConsoleCase):
    """Tests with phones whose calls the test controls, and an operator with a phone."""

    contexts: Mapping[str, tuple[str, ...]] = {"lab": ("phones", "desks")}

    def furnish(self, web: WebContext) -> WebContext:
        """Use as many Asterisks as the test class has."""
        self.phones = {name: Phones() for name in self.contexts}
        asterisks = tuple(Asterisk(name=name, originate=allowed) for name, allowed in self.contexts.items())
        return dataclasses.replace(
            web,
            config=msgspec.structs.replace(web.config, asterisk=asterisks),
            originators=cast(Mapping[str, Originator], self.phones),
        )

    async def start(self) -> None:
        """A user whose phone is PJSIP/33."""
        await super().start()
        self.me = await self.operator("PJSIP/33")

    async def dial(self, number: str = "21", **fields: str) -> Answer:
        """Submit the form, and return the page that follows."""
        return await self.me.send("/dial", number=number, **fields)


class StaffTests(StaffCase):
    """One Asterisk with two allowed contexts."""

    async def test_call(self) -> None:
        """The phone rings, they are connected; the page shows each step."""
        page = await self.dial("(21)", context="phones")
        (phones,) = self.phones.values()
        self.assertEqual(phones.requests, [CallRequest("PJSIP/33", "21", "phones")])
        self.assertEqual(page.status, 200)
        self.assertIn("Calling PJSIP/33", page.text)
        (call,) = [value.location for value in [await self.me.post("/dial", number="22", context="phones")]]
        for state, translator in (
            ("ringing", "Your phone is ringing: answer it"),
            ("answered", "Calling 22"),
            ("connected", "Connected to 22"),
        ):
            phones.tell(Progress(state, Sentence(f"step {state}"), "x-1"))
            page = await self.me.get(call)
            self.assertIn(translator, page.text)
            self.assertIn(f"Step {state}", page.text)
        self.assertIn('http-equiv="refresh"', page.html)
        phones.tell(Progress("ended", Sentence("the call is over"), "x-1"))
        news = await self.me.get(f"{call}/news?seen=3")
        self.assertIn("The call is over", news.html)
        self.assertIn("data-over", news.html)
        self.assertNotIn("<html", news.html)
        page = await self.me.get("/dial")
        self.assertIn("22", page.text)
        self.assertIn("over", page.text)
        self.assertIn("/dial?number=22", page.links)

    async def test_context_is_remembered(self) -> None:
        """The browser keeps the chosen context."""
        await self.dial(context="desks")
        page = await self.me.get("/dial?number=9")
        self.assertEqual(self.fields(page)["place"], "desks lab")
        self.assertEqual(self.fields(page)["number"], "9")
        self.me.cookies[CONTEXT_COOKIE] = ("a%0d%0ab", "/dial")
        self.assertEqual(self.fields(await self.me.get("/dial")).get("place", "phones lab"), "phones lab")

    def fields(self, page: Answer) -> dict[str, str]:
        """The values of the form's fields."""
        return dict(page.form("/dial").fields)

    async def test_refused(self) -> None:
        """Each refusal has its reason, and the form keeps what was typed."""
        (phones,) = self.phones.values()
        for error, status, translator in (
            (
                OriginateRefused(sentence("33 may not dial {n}", n="999"), decision=object()),
                403,
                "33 may not dial 999",
            ),
            (OriginateRefused(sentence("channel: x is no phone")), 400, "x is no phone"),
            (ActionFailed("Originate: Extension does not exist."), 502, "Extension does not exist"),
        ):
            phones.error = error
            page = await self.dial("999", context="phones")
            self.assertEqual(page.status, status)
            self.assertIn(translator, page.text)
            self.assertEqual(self.fields(page)["number"], "999")
        phones.error = None
        phones.up = False
        page = await self.dial(context="phones")
        self.assertEqual(page.status, 503)
        self.assertIn("Service Currently Unavailable", page.text)
        page = await self.me.get("/dial")
        self.assertIn("Calls that you place here", page.text)

    async def test_down_meanwhile(self) -> None:
        """The AMI connection is lost during the request."""
        (phones,) = self.phones.values()
        phones.error = ManagerUnavailable("down")
        page = await self.dial(context="phones")
        self.assertEqual(page.status, 502)

    async def test_hostile(self) -> None:
        """Numbers and contexts with line ends or header syntax are refused."""
        (phones,) = self.phones.values()
        for number, context in (
            ("21\r\nX: y", "phones"),
            ("21\n", "phones"),
            ("", "phones"),
            ("21", ""),
            ("21", "a\r\nExten: 112"),
            ("21", "<script>"),
        ):
            page = await self.dial(number, context=context)
            self.assertEqual(page.status, 400, repr((number, context)))
            self.assertNotIn("<script>", page.html)
        self.assertEqual(phones.requests, [])

    async def test_too_many(self) -> None:
        """Calls are limited for each user; invalid input does not count."""
        (phones,) = self.phones.values()
        for _ in range(2 * CALLS_AT_ONCE):
            self.assertEqual((await self.dial("abc", context="phones")).status, 400)
        for _ in range(CALLS_AT_ONCE):
            self.assertEqual((await self.dial(context="phones")).status, 200)
        page = await self.dial(context="phones")
        self.assertEqual(page.status, 429)
        self.assertIn("Too many calls at once", page.text)
        self.assertEqual(len(phones.requests), CALLS_AT_ONCE)

    async def test_features(self) -> None:
        """Staff may dial * and #; the rules decide about them."""
        await self.dial("*72#", context="phones")
        (phones,) = self.phones.values()
        self.assertEqual(phones.requests[0].number, "*72#")

    async def test_no_phone(self) -> None:
        """Without a phone the page links to the account page."""
        self.me = await self.operator()
        page = await self.me.get("/dial")
        self.assertIn("/settings/account", page.links)
        self.assertIn("Choose your phone", page.text)
        self.assertEqual((await self.dial(context="phones")).status, 400)

    async def test_whose(self) -> None:
        """Users do not see each other's calls; viewers cannot dial."""
        call = (await self.me.post("/dial", number="21", context="phones")).location
        other = await self.operator("PJSIP/22")
        self.assertEqual([(await other.get(path)).status for path in (call, f"{call}/news")], [404, 404])
        viewer = await self.viewer()
        self.assertEqual((await viewer.get("/dial")).status, 403)
        self.assertEqual((await viewer.post("/dial", number="21", context="phones")).status, 403)
        self.assertEqual((await self.new_client().get(call)).status, 303)


class NoAsteriskTests(StaffCase):
    """No [[asterisk]] in the settings."""

    contexts: Mapping[str, tuple[str, ...]] = {}

    async def test_says_so(self) -> None:
        """The page says so, and what to configure."""
        page = await self.me.get("/dial")
        self.assertIn("[[asterisk]]", page.text)
        self.assertEqual((await self.dial(context="phones")).status, 503)


class NoContextTests(StaffCase):
    """An Asterisk without allowed contexts."""

    contexts: Mapping[str, tuple[str, ...]] = {"lab": ()}

    async def test_says_so(self) -> None:
        """The page names the setting, and offers no form."""
        page = await self.me.get("/dial")
        self.assertIn("asterisk.originate", page.text)
        self.assertNotIn('action="/dial"', page.text)


class OneContextTests(StaffCase):
    """A single context: there is no choice."""

    contexts: Mapping[str, tuple[str, ...]] = {"lab": ("phones",)}

    async def test_not_asked(self) -> None:
        """With one choice neither Asterisk nor context is shown."""
        page = await self.me.get("/dial")
        self.assertEqual({name for name, _ in page.form("/dial").fields}, {"csrf", "number"})
        await self.dial()
        self.assertEqual(self.phones["lab"].requests, [CallRequest("PJSIP/33", "21", "phones")])


class SeveralTests(StaffCase):
    """Two Asterisks with contexts."""

    contexts: Mapping[str, tuple[str, ...]] = {"a": ("phones", "desks"), "the other": ("lines",)}

    async def test_chosen(self) -> None:
        """One list has both; the last choice is preselected."""
        page = await self.me.get("/dial")
        self.assertIn("lines · the other", page.text)
        await self.dial(place="lines the other")
        self.assertEqual(self.phones["the other"].requests, [CallRequest("PJSIP/33", "21", "lines")])
        page = await self.me.get("/dial")
        self.assertEqual(dict(page.form("/dial").fields)["place"], "lines the other")
        page = await self.dial(place="x nowhere")
        self.assertEqual(page.status, 400)
        self.assertIn("a, the other", page.text)

    async def test_some_without(self) -> None:
        """An Asterisk whose contexts are not named is not offered."""
        self.assertEqual(places_among([Way("a", ("x",)), Way("b", ())]), [("x a", "x · a")])
        self.assertEqual(places_among([Way("b", ())]), [])


class LinkPagesTests(ClickCase):
    """The pages ``/settings/links``."""

    async def start(self) -> None:
        """Log in as an admin."""
        await super().start()
        self.visitor = self.me
        self.me = await self.admin()
        self.one = f"/settings/links/{self.number}"

    FORM = {  # noqa: RUF012
        "name": "Support",
        "phone": "PJSIP/22",
        "context": "phones",
        "destinations": "2X\r\n9XXX",
        "hours": "lun-vie 9-14",
        "calls_a_day": "7",
        "calls_an_hour": "3",
        "consent_en": "",
        "consent_es": "¿Sí?",
        "sites": "https://example.org",
    }

    async def test_made(self) -> None:
        """The values are stored normalised."""
        page = await self.me.send("/settings/links/new", self.FORM)
        self.assertIn("Support was created", page.text)
        links = await self.web.read(lambda connection: list_dial_links(connection, ""))
        made = next(link for link in links if link.values.name == "Support")
        self.assertEqual((made.values.destinations, made.values.hours), ("2X 9XXX", "mon-fri 09:00-14:00"))
        self.assertEqual((made.values.calls_a_day, made.values.consent_es), (7, "¿Sí?"))
        page = await self.get("/settings/links")
        self.assertIn("Support", page.text)
        self.assertIn("0 of 7", page.text)
        self.assertIn("Open", page.text.title())

    async def test_wrong(self) -> None:
        """The error is beside the field; the form keeps what was typed."""
        for field, value in (
            ("name", ""),
            ("phone", "Local/33"),
            ("destinations", "2["),
            ("hours", "never"),
            ("calls_a_day", "many"),
            ("calls_an_hour", "0"),
            ("sites", "http://example.org"),
        ):
            for path in ("/settings/links/new", self.one):
                page = await self.me.send(path, {**self.FORM, field: value})
                self.assertEqual(page.status, 400)
                self.assertIn(f'id="e-{field}"', page.html)
                self.assertIn('value="lun-vie 9-14"' if field != "hours" else 'value="never"', page.html)
        self.assertEqual(len(await self.web.read(lambda connection: list_dial_links(connection, ""))), 1)

    async def test_changed(self) -> None:
        """A change is saved, and can be undone."""
        page = await self.me.send(self.one, self.FORM)
        self.assertIn("Support was changed", page.text)
        undo = next(form.action for form in page.forms if form.action.endswith("/undo"))
        await self.me.send(undo)
        link = await self.web.read(lambda connection: dial_link(connection, self.number))
        self.assertEqual(link, self.link)

    async def test_use(self) -> None:
        """A link is disabled and enabled again."""
        self.assertIn("disabled", (await self.me.send(f"{self.one}/enabled", enabled="0")).text)
        self.assertEqual((await self.visitor.get(self.path_of_link)).status, 410)
        self.assertIn("Talk to sales is enabled", (await self.me.send(f"{self.one}/enabled", enabled="1")).text)
        self.assertEqual((await self.visitor.get(self.path_of_link)).status, 200)

    async def test_void(self) -> None:
        """Revoking voids the addresses given out; a new one is valid."""
        page = await self.me.send(f"{self.one}/void")
        self.assertIn("were revoked", page.text)
        self.assertEqual((await self.visitor.get(self.path_of_link)).status, 410)
        address = await self.sign("1")
        self.assertEqual((await self.visitor.get(address)).status, 200)

    async def sign(self, days: str) -> str:
        """Create an address and return its path, which the HTML beside it contains, too."""
        page = await self.me.send(f"{self.one}/sign", days=days)
        found = re.search(r"https://pbx\.example\.org(/click/\d+\?sig=[\w.-]+)", page.html)
        assert found, page.text
        code = html.unescape(page.html)
        self.assertIn(f'<iframe src="https://pbx.example.org{found[1]}" title="Talk to sales"', code)
        return found[1]

    async def test_signed(self) -> None:
        """The address is valid to the end of the chosen day."""
        path = await self.sign("1")
        self.wait(37 * 3600)
        self.assertEqual((await self.visitor.get(path)).status, 200)
        self.wait(3600)
        self.assertEqual((await self.visitor.get(path)).status, 410)
        self.me = await self.admin()
        for days in ("", "0", "-1", "x", "9" * 30, "\u0661"):
            page = await self.me.send(f"{self.one}/sign", days=days)
            self.assertEqual(page.status, 400)
            self.assertIn("3650", page.text)

    async def test_deleted(self) -> None:
        """A deleted link is restored by an admin; operators neither see nor undo the deletion."""
        page = await self.me.send(f"{self.one}/delete")
        self.assertIn("Talk to sales was deleted", page.text)
        self.assertEqual((await self.visitor.get(self.path_of_link)).status, 410)
        (last,) = await self.web.read(lambda connection: find_entries(connection, limit=1))
        operator = await self.operator()
        self.assertEqual((await operator.post(f"/rules/changes/{last.audit_id}/undo")).status, 404)
        with self.assertRaises(NotThere):
            await self.web.read(lambda connection: dial_link(connection, self.number))
        undo = next(form.action for form in page.forms if form.action.endswith("/undo"))
        await self.me.send(undo)
        self.assertEqual((await self.visitor.get(self.path_of_link)).status, 200)

    async def test_warnings(self) -> None:
        """A phone without grants causes a warning."""
        await self.edit(phone="PJSIP/77")
        self.assertIn("77 has no grants", (await self.get(self.one)).text)

    async def test_roles(self) -> None:
        """Only admins may see and change links."""
        for role in (Role.VIEWER, Role.OPERATOR):
            client = await self.as_(role)
            for path in ("/settings/links", "/settings/links/new", self.one):
                self.assertEqual((await client.get(path)).status, 403)
            for path in (
                "/settings/links/new",
                self.one,
                *(f"{self.one}/{end}" for end in ("sign", "enabled", "void", "delete")),
            ):
                self.assertEqual((await client.post(path, self.FORM)).status, 403)
        self.assertEqual((await self.get("/settings/links/99")).status, 404)
