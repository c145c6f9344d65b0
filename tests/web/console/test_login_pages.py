"""Login and its limits, sessions, the set-up link, the language."""

from __future__ import annotations

import re
from typing import Any

from pbxrouter.database.access.console_users import (
    any_console_user,
    console_user,
    delete_console_user,
    list_console_users,
    set_console_password,
    update_console_user,
)
from pbxrouter.database.access.sessions import IDLE_S, LONGEST_S, SETUP_S
from pbxrouter.security.roles import Role
from pbxrouter.web.console.login_pages import SETUP_COOKIE
from pbxrouter.web.console.session_auth import LANGUAGE_COOKIE, SESSION_COOKIE, VISITOR_COOKIE
from tests.web_fakes import ACTOR, PASSWORD, ConsoleCase, WebClient

NEW = "a password of my own"


class LogInTests(ConsoleCase):
    """The login form and its limits."""

    async def start(self) -> None:
        """Create one console user."""
        await super().start()
        self.ana = await self.add_person("ana", Role.ADMIN)

    async def test_log_in(self) -> None:
        """The right password opens a session; its cookie is HttpOnly, SameSite and Secure."""
        answer = await self.me.log_in("ana")
        self.assertEqual((answer.status, answer.location), (303, "/"))
        (cookie,) = [cookie for cookie in answer.cookies if cookie.startswith(SESSION_COOKIE)]
        self.assertRegex(cookie, r"^pbxrouter_session=[\w-]{43}; Path=/; Secure; HttpOnly; SameSite=Lax$")
        account = await self.get("/settings/account")
        self.assertEqual(account.status, 200)
        self.assertIn("Logged in as ana", account.text)
        users = await self.web.read(list_console_users)
        self.assertLess(abs((users[0].last_login_at or 0) - self.web.now()), 60)

    async def test_the_session_is_kept_as_a_hash(self) -> None:
        """The database has only the session's hash."""
        await self.me.log_in("ana")
        rows = await self.web.read(lambda c: c.execute("SELECT * FROM console_sessions").fetchall())
        self.assertEqual(len(rows), 1)
        self.assertNotIn(self.me.cookies[SESSION_COOKIE][0], str(rows))

    async def test_wrong(self) -> None:
        """A wrong password and an unknown login give the same error."""
        wrong = await self.me.log_in("ana", "not the password")
        nobody = await self.me.log_in("eve", "not the password")
        for answer, login in ((wrong, "ana"), (nobody, "eve")):
            self.assertEqual(answer.status, 403)
            self.assertIn("Wrong login or password", answer.text)
            self.assertIn(("login", login), answer.form("/login").fields)  # need not be typed again
            self.assertNotIn("not the password", answer.html)
            self.assertFalse([cookie for cookie in answer.cookies if cookie.startswith(SESSION_COOKIE)])
        self.assertEqual((await self.get("/settings/account")).location, "/login?next=/settings/account")
        # With its query, and after a form that came too late the page of the form.
        sought = await self.get("/calls?caller=33&outcome=BUSY&since=2026-11-23T08:00")
        self.assertEqual(
            sought.location, "/login?next=/calls%3Fcaller%3D33%26outcome%3DBUSY%26since%3D2026-11-23T08%3A00"
        )
        form = (await self.me.follow(sought)).form("/login")
        self.assertIn(("next", "/calls?caller=33&outcome=BUSY&since=2026-11-23T08:00"), form.fields)
        late = await self.me.submit("/settings/account", [], {"Referer": "http://localhost/calls?caller=3"})
        self.assertEqual(late.location, "/login?next=/calls%3Fcaller%3D3")

    async def test_disabled(self) -> None:
        """A disabled user cannot log in with the right password."""
        await self.add_person("bo", Role.ADMIN)
        await self._update(enabled=False)
        answer = await self.me.log_in("ana")
        self.assertEqual(answer.status, 403)
        self.assertNotIn(SESSION_COOKIE, self.me.cookies)

    async def test_too_long_a_password(self) -> None:
        """A very long password is refused like any other."""
        self.assertEqual((await self.me.log_in("ana", "x" * 50_000)).status, 403)

    async def test_no_text(self) -> None:
        """NUL, surrogates and other bytes as login cause no error."""
        for login in ("\0", "ana\0", "\n", " ", "%ff", "☎" * 90, "'; DROP TABLE calls; --"):
            self.assertEqual((await self.new_client().log_in(login)).status, 403, login)
            self.wait(600)

    async def test_on_to_the_page(self) -> None:
        """The login leads to the page that was requested."""
        answer = await self.get("/settings/account")
        self.assertEqual(answer.location, "/login?next=/settings/account")
        form = (await self.get(answer.location)).form("/login")
        fields = {**dict(form.fields), "login": "ana", "password": PASSWORD}
        self.assertEqual((await self.post("/login", fields)).location, "/settings/account")
        again = await self.get("/login?next=/test")
        self.assertEqual((again.status, again.location), (303, "/test"))  # is in already

    async def test_never_elsewhere(self) -> None:
        """``next`` never leads to another site."""
        evil = (
            "https://evil.example/",
            "//evil.example/",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "javascript:alert(1)",
            "/\r\nSet-Cookie: a=b",
            "http:/evil.example",
            "//[",
            "evil.example",
            "",
        )
        for address in evil:
            answer = await self.post("/login", login="ana", password=PASSWORD, next=address)
            self.assertEqual((answer.status, answer.location), (303, "/"), address)
            answer = await self.post("/language", language="es", next=address)
            self.assertEqual((answer.status, answer.location), (303, "/"), address)
            self.assertIsNone(answer.headers.getRawHeaders("a"))

    async def test_endless_next(self) -> None:
        """A ``next`` that no browser could be sent to is not followed."""
        for length, leads_to in ((2000, "/" + "a" * 1999), (2001, "/")):
            address = "/" + "a" * (length - 1)
            self.assertEqual(
                (await self.post("/login", login="ana", password=PASSWORD, next=address)).location, leads_to
            )

    async def _update(self, **values: object) -> None:
        await self.web.write(
            lambda c: update_console_user(c, ACTOR, self.web.now(), self.ana, **values)  # type: ignore[arg-type]
        )


class LimitTests(ConsoleCase):
    """Login attempts are limited."""

    async def start(self) -> None:
        """One console user, and an attacker at the same address."""
        await super().start()
        await self.add_person("ana", Role.ADMIN)

    async def test_one_login(self) -> None:
        """After five wrong passwords even the right one must wait; the page says how long."""
        for _ in range(5):
            self.assertEqual((await self.me.log_in("ana", "wrong")).status, 403)
        answer = await self.me.log_in("ana")
        self.assertEqual(answer.status, 429)
        seconds = int(answer.header("Retry-After"))
        self.assertIn(f"wait {seconds} s", answer.text)
        self.assertTrue(0 < seconds <= 61, seconds)
        self.assertEqual((await self.me.log_in("ANA ", "wrong")).status, 429)  # the same login
        self.assertEqual((await self.me.log_in("bo", "wrong")).status, 403)  # another one
        self.wait(seconds)
        self.assertEqual((await self.me.log_in("ana")).status, 303)

    async def test_one_address(self) -> None:
        """Attempts at many logins from one address must wait, too; a right password does not count."""
        for number in range(20):
            self.assertEqual((await self.new_client().log_in(f"user{number}", "wrong")).status, 403)
        self.assertEqual((await self.new_client().log_in("another", "wrong")).status, 429)
        self.wait(3600)
        for _ in range(30):
            self.assertEqual((await self.new_client().log_in("ana")).status, 303)

    async def test_the_present_password_counts(self) -> None:
        """Attempts at the current password on the account page are limited."""
        me = await self.enter(await self.add_person("bo", Role.VIEWER))
        fields = {"old": "wrong", "password": NEW, "again": NEW}
        for _ in range(5):
            answer = await me.post("/settings/account/password", fields)
            self.assertIn("current password is wrong", answer.text)
        answer = await me.post("/settings/account/password", {**fields, "old": PASSWORD})
        self.assertIn("Too many attempts", answer.text)
        self.assertEqual(answer.status, 429)
        self.assertRegex(answer.header("Retry-After"), r"^[1-9][0-9]*$")


class SessionTests(ConsoleCase):
    """Begin and end of sessions."""

    async def start(self) -> None:
        """Two logged-in users; Bo is an admin, so that Ana's role can be changed."""
        await super().start()
        self.ana = await self.add_person("ana", Role.ADMIN)
        await self.add_person("bo", Role.ADMIN)
        self.me = await self.enter(self.ana)

    async def is_in(self, client: WebClient | None = None) -> bool:
        """Whether the browser's session is valid."""
        return (await (client or self.me).get("/settings/account")).status == 200

    async def test_planted(self) -> None:
        """A session cookie set by an attacker is not kept: the login creates a new one."""
        planted = "p" * 43
        victim = self.new_client()
        victim.cookies[SESSION_COOKIE] = (planted, "/")
        self.assertFalse(await self.is_in(victim))
        await victim.log_in("ana")
        self.assertTrue(await self.is_in(victim))
        self.assertNotEqual(victim.cookies[SESSION_COOKIE][0], planted)
        thief = self.new_client()
        thief.cookies[SESSION_COOKIE] = (planted, "/")
        self.assertFalse(await self.is_in(thief))

    async def test_a_living_one_planted(self) -> None:
        """An attacker's valid session, planted, ends when the victim logs in over it."""
        stolen = self.me.cookies[SESSION_COOKIE]
        victim = self.new_client()
        victim.cookies[SESSION_COOKIE] = stolen
        await victim.log_in("bo")
        self.assertNotEqual(victim.cookies[SESSION_COOKIE], stolen)
        self.assertFalse(await self.is_in())
        self.assertIn("Logged in as bo", (await victim.get("/settings/account")).text)

    async def test_log_out(self) -> None:
        """A logout ends the session on the server, too."""
        kept = dict(self.me.cookies)
        answer = await self.post("/logout")
        self.assertEqual(answer.location, "/login")
        self.assertNotIn(SESSION_COOKIE, self.me.cookies)
        self.me.cookies = kept
        self.assertFalse(await self.is_in())

    async def test_idle(self) -> None:
        """An unused session ends; one in use does not, until it is a week old."""
        self.wait(IDLE_S + 1)
        self.assertFalse(await self.is_in())
        me = await self.enter(self.ana)
        for _ in range(int(LONGEST_S / (IDLE_S / 2)) - 1):
            self.wait(IDLE_S / 2)
            self.assertTrue(await self.is_in(me))
        self.wait(IDLE_S / 2 + 1)
        self.assertFalse(await self.is_in(me))

    async def test_own_password(self) -> None:
        """Changing the password ends the user's other sessions and keeps this one."""
        other = await self.enter(self.ana)
        before = self.me.cookies[SESSION_COOKIE]
        fields = {"old": PASSWORD, "password": NEW, "again": NEW}
        page = await self.me.send("/settings/account/password", fields)
        self.assertIn("Your password was changed", page.text)
        self.assertNotEqual(self.me.cookies[SESSION_COOKIE], before)
        self.assertTrue(await self.is_in())
        self.assertFalse(await self.is_in(other))
        self.assertEqual((await self.new_client().log_in("ana")).status, 403)
        self.assertEqual((await self.new_client().log_in("ana", NEW)).status, 303)

    async def test_password_refused(self) -> None:
        """A password that is too short, too easy or mistyped is refused beside its field."""
        for password, again, translator in (
            ("short", "short", "10 to 200 characters"),
            ("aaaaaaaaaaaa", "aaaaaaaaaaaa", "too easy"),
            (NEW, NEW + "!", "are different"),
        ):
            answer = await self.post("/settings/account/password", old=PASSWORD, password=password, again=again)
            self.assertEqual(answer.status, 400)
            self.assertIn(translator, answer.text)
            self.assertNotIn(password, re.sub(r"<[^>]*csrf[^>]*>", "", answer.html))
        self.assertTrue(await self.is_in())

    async def test_by_an_admin(self) -> None:
        """A changed role, disabling, deletion and a new password each end the sessions at once."""
        now = self.web.now()
        hashed = self.web.passwords.hash(NEW)
        changes = (
            lambda c: update_console_user(c, ACTOR, now, self.ana, role=Role.VIEWER),
            lambda c: update_console_user(c, ACTOR, now, self.ana, enabled=False),
            lambda c: set_console_password(c, ACTOR, now, self.ana, hashed),
            lambda c: delete_console_user(c, ACTOR, now, self.ana),
        )
        for change in changes:
            await self.web.write(lambda c: update_console_user(c, ACTOR, now, self.ana, role=Role.ADMIN, enabled=True))
            me = await self.enter(self.ana)
            self.assertTrue(await self.is_in(me))
            await self.web.write(change)
            self.assertFalse(await self.is_in(me))

    async def test_harmless_changes(self) -> None:
        """A new phone or language ends no session."""
        await self.me.send("/settings/account", phone="PJSIP/33", language="es")
        self.assertTrue(await self.is_in())

    async def test_rubbish(self) -> None:
        """Invalid cookies count as no session, and cause no error."""
        for cookie in ("x", "", "\x01", "é".encode().decode("latin-1"), "a" * 5000, "a=b=c", '"quoted"'):
            client = self.new_client()
            answer = await client.ask("GET", "/settings/account", headers={"Cookie": f"{SESSION_COOKIE}={cookie}"})
            self.assertEqual(answer.status, 303, repr(cookie))


class SetUpTests(ConsoleCase):
    """How the first admin is created by the one-time link."""

    async def go(self, link: str, login: str = "ana") -> WebClient:
        """A browser that has followed the link and shows the form."""
        client = self.new_client()
        page = await client.follow(await client.get(link))
        self.assertEqual((page.status, page.title), (200, "Set up the console"))
        return client

    async def begin(self, client: WebClient, login: str = "ana", password: str = NEW) -> int:
        """Submit the set-up form; returns the status."""
        return (await client.post("/setup", login=login, password=password, again=password)).status

    async def test_the_first_admin(self) -> None:
        """The link leads to a form, its secret moves out of the URL, and the form logs the admin in."""
        self.assertIn("There are no console users yet", (await self.get("/login")).text)
        link = await self.setup_link()
        answer = await self.get(link)
        self.assertEqual((answer.status, answer.location), (303, "/setup"))
        self.assertEqual(answer.header("Referrer-Policy"), "no-referrer")
        (cookie,) = [cookie for cookie in answer.cookies if cookie.startswith(SETUP_COOKIE)]
        self.assertRegex(
            cookie, r"^pbxrouter_setup=[\w-]{32}; Path=/setup; Max-Age=3600; Secure; HttpOnly; SameSite=Lax$"
        )
        page = await self.me.follow(answer)
        self.assertNotIn(link, page.html)
        answer = await self.post("/setup", login="ana", password=NEW, again=NEW)
        self.assertEqual((answer.status, answer.location), (303, "/"))
        self.assertNotIn(SETUP_COOKIE, self.me.cookies)
        self.assertEqual((await self.get("/settings/console-users")).status, 200)
        (ana,) = await self.web.read(list_console_users)
        self.assertEqual((ana.login, ana.role), ("ana", Role.ADMIN))
        self.assertNotIn("There are no console users yet", (await self.new_client().get("/login")).text)

    async def test_once(self) -> None:
        """A used link is void, also for a form that is still open."""
        link = await self.setup_link()
        first, second = await self.go(link), await self.go(link)
        self.assertEqual(await self.begin(first), 303)
        self.assertEqual(await self.begin(second, "eve"), 404)
        self.assertEqual((await self.get(link)).status, 404)
        self.assertEqual(len(await self.web.read(list_console_users)), 1)

    async def test_expires(self) -> None:
        """After a day the link and the form are void."""
        link = await self.setup_link()
        client = await self.go(link)
        self.wait(SETUP_S + 1)
        answer = await self.get(link)
        self.assertEqual(answer.status, 404)
        self.assertIn("pbxrouter console link", answer.text)
        self.assertEqual(await self.begin(client), 404)
        self.assertFalse(await self.web.read(any_console_user))

    async def test_replaced(self) -> None:
        """A new link makes the old one void."""
        old, new = await self.setup_link(), await self.setup_link()
        self.assertEqual((await self.get(old)).status, 404)
        self.assertEqual(await self.begin(await self.go(new)), 303)

    async def test_guessed(self) -> None:
        """Without the link there is no set-up, with any form."""
        self.assertEqual((await self.get("/setup/AAAA")).status, 404)
        self.assertEqual((await self.get("/setup")).status, 404)
        self.assertEqual(await self.begin(self.me), 404)
        self.me.cookies[SETUP_COOKIE] = ("A" * 32, "/setup")
        self.assertEqual(await self.begin(self.me), 404)
        self.assertFalse(await self.web.read(any_console_user))

    async def test_what_cannot_be_used(self) -> None:
        """An invalid login or password is refused beside its field; the link stays valid."""
        client = await self.go(await self.setup_link())
        for login, password, translator in (
            ("", NEW, "A login has 1 to 60"),
            ("ana\x07", NEW, "A login has 1 to 60"),
            ("ana", "short", "10 to 200 characters"),
            ("a long login", "a long login", "too easy"),
        ):
            answer = await client.post("/setup", login=login, password=password, again=password)
            self.assertEqual(answer.status, 400)
            self.assertIn(translator, answer.text, login)
            self.assertIn('aria-invalid="true"', answer.html)
        answer = await client.post("/setup", login="ana", password=NEW, again="another")
        self.assertIn("are different", answer.text)
        self.assertEqual(await self.begin(client), 303)

    async def test_another_way_in_later(self) -> None:
        """A link from the command creates another admin when there are users already."""
        await self.add_person("ana", Role.ADMIN)
        client = await self.go(await self.setup_link())
        self.assertEqual(await self.begin(client, "ana"), 400)  # there is one
        self.assertEqual(await self.begin(client, "bo"), 303)

    async def test_the_password_is_kept_as_a_hash(self) -> None:
        """The database has the password's argon2id hash only."""
        await self.begin(await self.go(await self.setup_link()))
        (stored,) = await self.web.read(lambda c: c.execute("SELECT password_hash FROM console_users").fetchone())
        self.assertTrue(stored.startswith("$argon2id$"))
        self.assertTrue(self.web.passwords.fits(stored, NEW))

        def dump(connection: Any) -> str:
            return "\n".join(connection.iterdump())

        everything = await self.web.read(dump)
        self.assertIn(stored, everything)
        self.assertNotIn(NEW, everything)


class LanguageTests(ConsoleCase):
    """Which language the console speaks, English or Spanish."""

    async def test_the_browsers_preference(self) -> None:
        """Accept-Language decides unless a language was chosen."""
        for request, language in (
            ("es", "es"),
            ("es-MX,es;q=0.9,en;q=0.8", "es"),
            ("en-GB,en;q=0.9,es;q=0.8", "en"),
            ("fr,es;q=0.3", "es"),
            ("fr", "en"),
            ("es;q=0", "en"),
            ("", "en"),
            (";;;q=,,*", "en"),
        ):
            page = await self.get("/login", Accept_Language=request)
            self.assertEqual(page.language, language, request)
            self.assertIn("Accept-Language", page.header("Vary"))

    async def test_the_switch(self) -> None:
        """The chosen language precedes the browser's, also without a session; the switch returns to the page."""
        await self.get("/login?next=/test")
        answer = await self.post("/language", language="es", next="/login?next=/test")
        self.assertEqual(answer.location, "/login?next=/test")
        self.assertIn("Max-Age=31536000", next(c for c in answer.cookies if c.startswith(LANGUAGE_COOKIE)))
        self.assertEqual((await self.get("/login")).language, "es")
        await self.post("/language", language="xx")
        self.assertEqual((await self.get("/login")).language, "es")
        await self.post("/language", language="en")
        self.assertEqual((await self.get("/login", Accept_Language="es")).language, "en")

    async def test_the_users_own(self) -> None:
        """A user's language precedes the browser's, and follows the one chosen in this browser."""
        me = await self.enter(await self.add_person("ana", Role.VIEWER, language="es"))
        self.assertEqual((await me.get("/settings/account")).language, "es")
        await me.post("/language", language="en")
        self.assertEqual((await me.get("/settings/account")).language, "en")
        self.assertEqual((await self.get("/login")).language, "en")

    async def test_in_the_account(self) -> None:
        """The language chosen under My account is stored; an unknown one is refused."""
        await self.add_person("bo", Role.ADMIN)
        number = await self.add_person("ana", Role.VIEWER)
        me = await self.enter(number)
        page = await me.send("/settings/account", phone="", language="es")
        self.assertEqual(page.language, "es")
        ana = await self.web.read(lambda c: console_user(c, number))
        self.assertEqual(ana.language, "es")
        self.assertEqual((await me.post("/settings/account", phone="", language="xx")).status, 400)

    async def test_rubbish_in_the_cookie(self) -> None:
        """A cookie with an unknown language is ignored."""
        self.me.cookies[LANGUAGE_COOKIE] = ("../../etc", "/")
        self.assertEqual((await self.get("/login", Accept_Language="es")).language, "es")

    async def test_the_visitors_cookie(self) -> None:
        """A visitor gets one cookie for the CSRF token, and keeps it."""
        first = await self.get("/login")
        self.assertEqual([cookie.partition("=")[0] for cookie in first.cookies], [VISITOR_COOKIE])
        self.assertEqual((await self.get("/login")).cookies, [])
