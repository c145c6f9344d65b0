"""Click-to-dial by visitors: numbers, refusals, limits, and the state of the call.

Over real HTTP with a real database; the calls are a fake's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import urlencode

import msgspec
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientCreator, Protocol
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs, formatEvent

from pbxrouter.click_to_dial.signing import FORM_S
from pbxrouter.config.schema import Web
from pbxrouter.database import Connection
from pbxrouter.database.click_to_dial.link_values import LinkOptions, LinkValues
from pbxrouter.database.click_to_dial.links import (
    add_dial_link,
    dial_link,
    set_dial_link_enabled,
    update_dial_link,
    void_dial_link,
)
from pbxrouter.errors import ActionFailed, ManagerUnavailable, OriginateRefused
from pbxrouter.originate.originator import CallRequest, Originator, Progress
from pbxrouter.security.roles import Role
from pbxrouter.text.sentences import Sentence
from pbxrouter.web.click_to_dial.service import NOTES_AT_ONCE, signed_address, snippet
from pbxrouter.web.context import WebContext
from tests.api_fakes import FakeOriginator
from tests.web_fakes import ACTOR, FORM, Answer, ConsoleCase

reactor = cast(Any, the_reactor)
MONDAY_10H = 1_795_424_400.0
"""2026-11-23 10:00 in Madrid."""
ANYWHERE = LinkOptions({}, {})
SALES = LinkValues(
    "Talk to sales",
    "PJSIP/33",
    "phones",
    "+34[67]XXXXXXXX [67]XXXXXXXX 2X",
    hours="mon-fri 09:00-18:00",
    consent_en="I agree to be called.",
    sites="https://example.org https://shop.example.org",
)
HOSTILE = (
    "600112233\r\nVariable: X=1",
    "600112233\nExten: 112",
    "600112233\r",
    "\r\n600112233",
    "600112233\0",
    "600112233\x0b",
    "600112233\u2028",
    "600112233&112",
    "600112233,1",
    "600112233/n",
    "600112233@internal",
    "Local/112@internal",
    "${SHELL(id)}",
    "<script>alert(1)</script>",
    "1e9",
    "*72600112233",
    "600#",
    "60+0112233",
    "++34600112233",
    "\u0666\u0660\u0660\u0661\u0661\u0662\u0662\u0663\u0663",
    "+",
    "()",
    "6" * 41,
    "6 " * 500,
)


class Phones(FakeOriginator):
    """An Originator whose progress the test controls."""

    up = True
    tell: Callable[[Progress], object]
    waits: Deferred[None] | None = None

    @property
    def is_up(self) -> bool:
        """Whether the test has connected Asterisk."""
        return self.up

    async def originate(self, request: CallRequest, tell: Callable[[Progress], object]) -> None:
        """Originate a call, which waits if the test wants it to."""
        self.tell = tell
        self.steps = []
        await super().originate(request, tell)
        if self.waits is not None:
            await self.waits

    def say(self, *states: str) -> None:
        """Report a state of the call."""
        for state in states:
            self.tell(Progress(state, Sentence("what only we know"), "x-1"))


class ClickCase(ConsoleCase):
    """A gateway with one link, on Monday at ten; a proxy passes the visitors' addresses."""

    settings = Web(
        listen="tcp:0:interface=127.0.0.1",
        url="https://pbx.example.org",
        hosts=("localhost",),
        proxies=("127.0.0.1",),
    )
    values = SALES

    def furnish(self, web: WebContext) -> WebContext:
        """Use phones whose calls the test controls."""
        self.phones = Phones()
        return dataclasses.replace(
            web,
            originators=cast(Mapping[str, Originator], {"lab": self.phones}),
            now=lambda: MONDAY_10H + self.past,
        )

    async def start(self) -> None:
        """Create a link, and an address of it that is valid for a day."""
        await super().start()
        self.number = await self.web.write(
            lambda connection: add_dial_link(connection, ACTOR, 0.0, self.values, ANYWHERE)
        )
        self.link = await self.web.read(lambda connection: dial_link(connection, self.number))
        self.path_of_link = self.signed(86_400)
        self.me.headers["X-Forwarded-For"] = "192.0.2.1"

    def signed(self, seconds: float) -> str:
        """The path of the link, valid for the given time."""
        address = signed_address(self.web, self.link, self.web.now() + seconds)
        self.assertTrue(address.startswith("https://pbx.example.org/click/"))
        return address.removeprefix("https://pbx.example.org")

    async def edit(self, **changes: str | int) -> None:
        """Change the click-to-dial link."""
        await self.web.write(
            lambda connection: update_dial_link(connection, ACTOR, 0.0, self.number, changes, ANYWHERE)
        )

    async def fill(self, number: str = "600112233", **fields: str) -> Answer:
        """Submit the visitor's form."""
        form = (await self.get(self.path_of_link)).forms
        given = dict(form[0].fields) if form else {}
        given |= {"number": number, "agree": "1"} | fields
        path = form[0].action if form else self.path_of_link
        return await self.me.ask("POST", path, urlencode(given).encode(), {"Content-Type": FORM})

    async def calls_today(self) -> int:
        """The calls of the link counted today."""
        return (await self.web.read(lambda c: dial_link(c, self.number, "2026-11-23"))).calls_today


class VisitorTests(ClickCase):
    """The page, and the calls placed from it."""

    async def test_form(self) -> None:
        """The page sets no cookies and can be embedded only by the link's sites."""
        page = await self.get(self.path_of_link)
        self.assertEqual((page.status, page.title, page.cookies), (200, "Talk to sales", []))
        self.assertIn("I agree to be called.", page.text)
        policy = page.header("Content-Security-Policy")
        self.assertTrue(policy.endswith("frame-ancestors https://example.org https://shop.example.org"), policy)
        self.assertEqual(page.header("X-Frame-Options"), "")
        self.assertNotIn("unsafe", policy)
        await self.edit(sites="")
        page = await self.get(self.path_of_link)
        self.assertIn("frame-ancestors 'none'", page.header("Content-Security-Policy"))
        self.assertEqual(page.header("X-Frame-Options"), "DENY")

    async def test_languages(self) -> None:
        """The browser's language, unless the address names one, which is kept."""
        page = await self.get(self.path_of_link, Accept_Language="es")
        self.assertEqual(page.language, "es")
        page = await self.get(f"{self.path_of_link}&lang=en", Accept_Language="es")
        self.assertEqual(page.language, "en")
        self.assertTrue(page.forms[0].action.endswith("&lang=en"))
        (other,) = [link for link in page.links if "lang=es" in link]
        self.assertEqual((await self.get(other)).language, "es")
        self.me.headers["Accept-Language"] = "es"
        done = await self.fill()
        self.assertTrue(done.location.endswith("?lang=es"))
        self.assertEqual((await self.get(f"{self.path_of_link}&lang=xx")).language, "es")

    async def test_call(self) -> None:
        """Our phone, the visitor's, connected, over: each state is shown, also without JavaScript."""
        done = await self.fill("+34 (600) 11-22.33")
        self.assertEqual((done.status, done.cookies), (303, []))
        self.assertEqual(self.phones.requests, [CallRequest("PJSIP/33", "+34600112233", "phones")])
        self.assertRegex(done.location, rf"^/click/{self.number}/[\w-]{{24}}\?lang=en$")
        page = await self.get(done.location)
        self.assertIn('<noscript><meta http-equiv="refresh"', page.html)
        self.assertIn("https://example.org", page.header("Content-Security-Policy"))
        self.assertEqual((page.title, page.cookies), ("One moment…", []))
        for state, translator in (
            ("ringing", "Our phone rings"),
            ("answered", "Now your phone rings"),
            ("connected", "You are connected"),
            ("ended", "The call is over"),
        ):
            self.phones.say(state)
            page = await self.get(done.location)
            self.assertIn(translator, page.text)
            self.assertNotIn("what only we know", page.text)
        self.assertNotIn('http-equiv="refresh"', page.html)
        self.assertIn(f"{self.path_of_link}&lang=en", page.links)

    async def test_news(self) -> None:
        """The changed part is sent as soon as it changes."""
        path = (await self.fill()).location.replace("?", "/news?")
        asked = Deferred.fromCoroutine(self.get(f"{path}&seen=0"))
        await deferLater(reactor, 0.2)
        self.assertFalse(asked.called)
        self.phones.say("ringing")
        news = await asked
        self.assertIn("Our phone rings", news.html)
        self.assertNotIn("<html", news.html)
        self.assertIn('data-seen="1"', news.html)
        self.assertEqual((await self.get(f"{path}&seen=0")).html, news.html)
        self.phones.say("busy")
        self.assertIn("data-over", (await self.get(f"{path}&seen=2")).html)
        for odd in ("&seen=x", "", "&seen=-1"):
            self.assertEqual((await self.get(path + odd)).status, 200)

    async def test_how_it_ended(self) -> None:
        """The message depends on which phone failed, and shows nothing of extensions or rules."""
        for states, translator in (
            (("busy",), "Our line is busy right now"),
            (("ringing", "noanswer"), "We cannot take your call right now"),
            (("rejected",), "We cannot take your call right now"),
            (("unavailable",), "Service Currently Unavailable"),
            (("failed",), "Service Currently Unavailable"),
            (("ringing", "answered", "busy"), "Your number is busy"),
            (("ringing", "answered", "rejected"), "rejected"),
            (("ringing", "answered", "noanswer"), "You did not pick up"),
            (("ringing", "answered", "unavailable"), "We could not reach your number"),
            (("ringing", "answered", "congestion"), "We could not reach your number"),
            (("ringing", "answered", "ended"), "ended before you picked up"),
            (("ringing", "answered", "failed"), "Service Currently Unavailable"),
        ):
            self.wait(3600)
            if self.past > 7 * 3600:
                self.past = 0.0
            done = await self.fill()
            self.phones.say(*states)
            page = await self.get(done.location)
            self.assertIn(translator, page.text)
            self.assertIn("Try again", page.text)
            self.assertNotIn("what only we know", page.text)

    async def test_hostile_numbers(self) -> None:
        """Hostile numbers never reach Asterisk, and are shown as text."""
        await self.edit(destinations="X. +X. 1 *X.")
        for text in HOSTILE:
            answer = await self.fill(text)
            self.assertEqual(answer.status, 400, repr(text))
            self.assertNotIn("<script>alert", answer.html)
            self.assertIn("number", answer.text)
            self.assertNotRegex(answer.html, r"\\[xu][0-9a-f]{2}|\\[rn]")  # no codes of characters
        self.assertEqual((await self.fill("")).status, 400)
        self.assertEqual(self.phones.requests, [])
        self.assertEqual(await self.calls_today(), 0)

    async def test_hostile_link(self) -> None:
        """The link's own texts are shown as text, too."""
        await self.edit(name="<img src=x onerror=alert(1)>", consent_en="<b>x</b>")
        page = await self.get(self.path_of_link)
        self.assertNotIn("<img", page.html)
        self.assertNotIn("<b>", page.html)
        quoted = snippet('http://x/?a=1&b="', '"><script>')
        self.assertNotIn("<script>", quoted)
        self.assertIn("a=1&amp;b=&quot;", quoted)

    async def test_written_numbers(self) -> None:
        """A number with its optional zero is called without it; in doubt the visitor is asked, and nothing called."""
        await self.edit(destinations="+49X. 0X. +34X.", calls_an_hour=50)
        await self.fill("+49 (0) 30 1234567")
        self.assertEqual(self.phones.requests[-1].number, "+49301234567")
        answer = await self.fill("+49 030 1234567")
        self.assertEqual((answer.status, len(self.phones.requests)), (400, 1))
        self.assertIn("Did you mean +49 30 1234567?", answer.text)
        self.assertEqual(dict(answer.forms[0].fields)["number"], "+49 30 1234567")
        given = {**dict(answer.forms[0].fields), "agree": "1"}
        await self.me.ask("POST", answer.forms[0].action, urlencode(given).encode(), {"Content-Type": FORM})
        self.assertEqual([request.number for request in self.phones.requests[1:]], ["+49301234567"])

    async def test_numbers_of_a_country(self) -> None:
        """Where the country is set, a number that is not whole is called only if it is sent twice."""
        self.web.reconfigure(msgspec.structs.replace(self.web.config, country="DE"))
        await self.edit(destinations="+49X. 0X. +34X.")
        answer = await self.fill("+34 900")
        self.assertIn("Is +34900 the whole number?", answer.text)
        self.assertEqual((answer.status, self.phones.requests), (400, []))
        given = {**dict(answer.forms[0].fields), "agree": "1"}
        await self.me.ask("POST", answer.forms[0].action, urlencode(given).encode(), {"Content-Type": FORM})
        self.assertEqual([request.number for request in self.phones.requests], ["+34900"])
        await self.fill("030/1234567")
        self.assertEqual(self.phones.requests[-1].number, "0301234567")

    async def test_other_numbers(self) -> None:
        """Only numbers that match the link's patterns are accepted."""
        answer = await self.fill("112")
        self.assertEqual(answer.status, 403)
        self.assertIn("We cannot call this number from here", answer.text)
        self.assertEqual(self.phones.requests, [])

    async def test_consent(self) -> None:
        """Consent is required if the link has a consent text, and only then."""
        answer = await self.fill(agree="")
        self.assertEqual(answer.status, 400)
        self.assertIn("Please agree first", answer.text)
        await self.edit(consent_en="")
        self.assertNotIn("agree", (await self.get(self.path_of_link)).text)
        self.assertEqual((await self.fill(agree="")).status, 303)

    async def test_forms(self) -> None:
        """The form's value must be signed for this page and address, within the hour."""
        token = dict((await self.get(self.path_of_link)).forms[0].fields)["form"]
        for form in ("", "x", token[:-1] + ("A" if token[-1] != "A" else "B")):
            answer = await self.fill(form=form)
            self.assertEqual(answer.status, 403)
            self.assertIn("Please send it again", answer.text)
            self.assertIn('value="600112233"', answer.html)
        self.me.headers["X-Forwarded-For"] = "192.0.2.2"
        self.assertEqual((await self.fill(form=token)).status, 403)
        self.me.headers["X-Forwarded-For"] = "192.0.2.1"
        self.wait(FORM_S + 1)
        self.assertEqual((await self.fill(form=token)).status, 403)
        self.assertEqual(self.phones.requests, [])

    async def test_twice(self) -> None:
        """A form sent twice makes one call."""
        token = dict((await self.get(self.path_of_link)).forms[0].fields)["form"]
        first, second = await self.fill(form=token), await self.fill(form=token)
        self.assertEqual((first.status, first.location), (303, second.location))
        self.assertEqual(len(self.phones.requests), 1)

    async def test_not_ours(self) -> None:
        """A call's id is valid with its own link only; other methods and forms are refused."""
        done = await self.fill()
        call = done.location.partition("?")[0].rpartition("/")[2]
        for path in (
            f"/click/{self.number + 1}/{call}",
            f"/click/{self.number}/{call[:-1]}",
            f"/click/{self.number + 1}/{call}/news",
        ):
            self.assertEqual((await self.get(path)).status, 404)
        answer = await self.me.ask("POST", self.path_of_link, b"{}", {"Content-Type": "application/json"})
        self.assertEqual(answer.status, 400)
        self.assertEqual(len(self.phones.requests), 1)

    async def test_logged_in(self) -> None:
        """A logged-in console user sees what visitors see; no cookie is changed."""
        admin = await self.as_(Role.ADMIN)
        page = await admin.get(self.path_of_link)
        self.assertNotIn("/settings", page.html)
        self.assertEqual((page.title, page.cookies), ("Talk to sales", []))


class ClosedTests(ClickCase):
    """What visitors see outside the opening hours."""

    async def test_closed(self) -> None:
        """Outside opening hours no call is placed, and the page says when it opens."""
        form = dict((await self.get(self.path_of_link)).forms[0].fields)["form"]
        for hours, translator in (
            ("mon-fri 11:30-18:00", "We open again today at 11:30."),
            ("tue 09:00-10:00", "We open again tomorrow at 09:00."),
            ("sat-sun 10:00-14:00", "We open again on Sat 28 Nov at 10:00."),
        ):
            await self.edit(hours=hours)
            page = await self.get(self.path_of_link)
            self.assertEqual((page.status, page.forms), (200, []))
            self.assertIn(translator, page.text)
        self.assertIn("Saturday, Sunday", page.text)
        self.assertIn("10:00 to 14:00", page.text)
        answer = await self.fill(form=form)
        self.assertEqual(answer.status, 403)
        self.assertIn("We are closed right now", answer.text)
        self.assertEqual(self.phones.requests, [])
        await self.edit(hours="mon 00:00-24:00, tue-thu sat 9-10")
        self.wait(14 * 3600)
        self.assertIn(
            "Monday all day Tuesday to Thursday, Saturday 09:00 to 10:00",
            (await self.get(self.path_of_link)).text,
        )


class LimitTests(ClickCase):
    """Limits of calls by a link and by an address."""

    async def test_by_address(self) -> None:
        """Calls are limited per hour and address; other addresses are not affected."""
        await self.edit(calls_an_hour=2)
        self.assertEqual([(await self.fill()).status for _ in range(3)], [303, 303, 429])
        answer = await self.fill()
        self.assertIn("Please try again later", answer.text)
        self.assertTrue(3590 < int(answer.header("Retry-After")) <= 3601)
        self.me.headers["X-Forwarded-For"] = "192.0.2.2"
        self.assertEqual((await self.fill("600112244")).status, 303)
        self.me.headers["X-Forwarded-For"] = "192.0.2.1"
        self.wait(3601)
        self.assertEqual((await self.fill()).status, 303)

    async def test_by_number(self) -> None:
        """A number is limited across all addresses; a refused request does not count."""
        await self.edit(calls_an_hour=2)
        for host, status in ((1, 303), (2, 303), (3, 429), (4, 429)):
            self.me.headers["X-Forwarded-For"] = f"192.0.2.{host}"
            self.assertEqual((await self.fill()).status, status)
        self.assertEqual([(await self.fill("600112244")).status for _ in range(3)], [303, 303, 429])

    async def test_a_day(self) -> None:
        """Calls are limited per day for all visitors together, until the next day."""
        await self.edit(calls_a_day=2)
        for host, status in ((1, 303), (2, 303), (3, 429)):
            self.me.headers["X-Forwarded-For"] = f"192.0.2.{host}"
            self.assertEqual((await self.fill()).status, status)
        self.assertIn("tomorrow", (await self.fill()).text)
        self.wait(23 * 3600)
        self.path_of_link = self.signed(3600)
        self.assertEqual((await self.fill()).status, 303)

    async def test_given_back(self) -> None:
        """A call that could not be placed does not count."""
        await self.edit(calls_an_hour=1, calls_a_day=1)
        for error, status, translator in (
            (ManagerUnavailable("down"), 503, "Service Currently Unavailable"),
            (ActionFailed("Originate: Extension does not exist."), 503, "Service Currently Unavailable"),
            (OriginateRefused("33 may not dial it", decision=object()), 403, "We cannot call this number"),
        ):
            self.phones.error = error
            answer = await self.fill()
            self.assertEqual(answer.status, status)
            self.assertIn(translator, answer.text)
            self.assertNotIn(str(error), answer.html)
            self.assertEqual(await self.calls_today(), 0)
        self.phones.error = None
        self.assertEqual((await self.fill()).status, 303)
        self.assertEqual(await self.calls_today(), 1)

    async def test_down(self) -> None:
        """Without Asterisk the page says "Service Currently Unavailable", and no call is placed."""
        self.phones.up = False
        answer = await self.fill()
        self.assertEqual(answer.status, 503)
        self.assertRegex(answer.html, r">Service Currently Unavailable<")
        self.assertEqual((self.phones.requests, await self.calls_today()), ([], 0))

    async def test_several_asterisks(self) -> None:
        """A link without an Asterisk, or with an unknown one, when several are configured."""

        def write(connection: Connection) -> None:
            connection.execute("UPDATE dial_links SET asterisk = 'gone'")
            connection.commit()

        await self.web.write(write)
        self.assertEqual((await self.fill()).status, 503)

    async def test_hung_up(self) -> None:
        """A call counts even if the client disconnects at once after the form."""
        self.phones.waits = Deferred()
        form = dict((await self.get(self.path_of_link)).forms[0].fields)
        body = urlencode(form | {"number": "600112233", "agree": "1"}).encode()
        port = int(self.url.rpartition(":")[2])
        browser = await ClientCreator(reactor, Protocol).connectTCP("127.0.0.1", port)
        browser.transport.write(
            f"POST {self.path_of_link} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.1\r\n"
            f"Content-Type: {FORM}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        while not self.phones.requests:
            await deferLater(reactor, 0.01)
        browser.transport.abortConnection()
        await deferLater(reactor, 0.1)
        self.assertEqual(await self.calls_today(), 1)
        await self.edit(calls_an_hour=1)
        self.assertEqual((await self.fill()).status, 429)
        self.phones.waits.callback(None)
        self.assertEqual(await self.calls_today(), 1)


class LinkTests(ClickCase):
    """Addresses that are not valid."""

    async def test_each(self) -> None:
        """Cut short, altered, of another page, expired, revoked, disabled: each has its message."""
        path = self.path_of_link
        late = self.signed(10)
        self.wait(11)
        other = path.replace(f"/{self.number}?", f"/{self.number + 1}?")
        altered = path[:-3] + ("xxx" if not path.endswith("xxx") else "yyy")
        for bad, status, translator, framed in (
            (path[:-1], 404, "This link is incomplete", False),
            (path.partition("?")[0], 404, "This link is incomplete", False),
            (altered, 403, "This link is not valid", False),
            (other, 403, "This link is not valid", False),
            (late, 410, "This link has expired", True),
        ):
            await self.refused(bad, status, translator, framed)
        await self.web.write(lambda c: set_dial_link_enabled(c, ACTOR, 0.0, self.number, False))
        await self.refused(path, 410, "not available right now", True)
        await self.web.write(lambda c: set_dial_link_enabled(c, ACTOR, 0.0, self.number, True))
        await self.web.write(lambda c: void_dial_link(c, ACTOR, 0.0, self.number))
        await self.refused(path, 410, "no longer valid", True)
        self.assertEqual(self.phones.requests, [])

    async def refused(self, path: str, status: int, translator: str, framed: bool) -> None:
        """Assert that GET and POST are refused with this message."""
        posted = await self.me.ask("POST", path, b"number=600112233&agree=1&form=x", {"Content-Type": FORM})
        for page in (await self.get(path), posted):
            self.assertEqual((page.status, page.cookies, page.forms), (status, [], []), path)
            self.assertIn(translator, page.text)
            self.assertEqual("example.org" in page.header("Content-Security-Policy"), framed)

    async def test_in_the_log(self) -> None:
        """The log has the link and the reason, not the signature, and is not flooded."""
        path = self.path_of_link
        late = self.signed(10)
        self.wait(11)
        with capturedLogs() as logs:
            for bad in (path[:-1], f"{path[:-3]}{'xxx' if not path.endswith('xxx') else 'yyy'}", late):
                await self.get(bad)
            await self.fill(form="x")
            await self.web.write(lambda c: void_dial_link(c, ACTOR, 0.0, self.number))
            for _ in range(NOTES_AT_ONCE + 5):
                await self.get(path)
        said = [line for line in map(formatEvent, logs) if line.startswith("click to dial: ")]
        link = f"click to dial: link {self.number}:"
        for translator in ("address malformed", "address forged", "address expired", "form malformed"):
            self.assertEqual(said.count(f"{link} {translator}"), 1, translator)
        self.assertEqual(said.count(f"{link} address void"), NOTES_AT_ONCE)
        for signature in (path, late):
            self.assertNotIn(signature.partition("sig=")[2][-40:], "".join(map(formatEvent, logs)))

    async def test_numbers_beyond(self) -> None:
        """A number beyond all rows is not a link."""
        signature = self.path_of_link.partition("?")[2]
        self.assertEqual((await self.get(f"/click/{2**63}?{signature}")).status, 404)
        self.assertEqual((await self.get(f"/click/{2**63 - 1}?{signature}")).status, 403)

    async def test_no_database(self) -> None:
        """Without the database the message is the same as without Asterisk."""
        self.path.rename(f"{self.path}.away")
        page = await self.get(self.path_of_link)
        self.assertEqual(page.status, 503)
        self.assertIn("Service Currently Unavailable", page.text)
