"""The pages of the settings: my account, console users, tokens, the doctor."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from twisted.internet.defer import Deferred

from pbxrouter.database.access.console_users import list_console_users
from pbxrouter.database.access.tokens import find_token
from pbxrouter.database.audit import AuditSearch, find_entries
from pbxrouter.doctor.finding import Finding, ok, unknown, wrong
from pbxrouter.security.roles import Role
from pbxrouter.security.tokens import hash_token
from pbxrouter.text.sentences import Sentence
from pbxrouter.web.console.console_user_pages import new_password
from pbxrouter.web.context import WebContext
from tests.web_fakes import PASSWORD, ConsoleCase

NEW = "another long password"


class AccountTests(ConsoleCase):
    """The page ``/settings/account``."""

    async def start(self) -> None:
        """An operator, logged in."""
        await super().start()
        self.number = await self.add_person("olga", Role.OPERATOR)
        self.me = await self.enter(self.number)

    async def test_phone_and_language(self) -> None:
        """Phone and language are stored, and the language applies at once."""
        page = await self.me.send("/settings/account", phone="PJSIP/33", language="es")
        self.assertEqual(page.language, "es")
        self.assertIn(("phone", "PJSIP/33"), page.form("/settings/account").fields)

    async def test_what_cannot_be(self) -> None:
        """Invalid input is reported, and the form keeps what was typed."""
        page = await self.me.send("/settings/account", phone="33", language="")
        self.assertEqual(page.status, 400)
        self.assertIn(("phone", "33"), page.form("/settings/account").fields)
        self.assertEqual((await self.me.send("/settings/account", phone="", language="xx")).status, 400)
        for phone in ("Local/x@y", "PJSIP/", "PJSIP/3 3", "Foo/33", "PJSIP/33,60", "PJSIP/33@trunk"):
            page = await self.me.send("/settings/account", phone=phone, language="")
            self.assertEqual(page.status, 400, phone)
            self.assertIn(f"{phone} is not a phone; enter one such as PJSIP/33", page.text)
        self.assertEqual((await (await self.viewer()).send("/settings/account", phone="PJSIP/1")).status, 400)

    async def test_password(self) -> None:
        """The current password must be right; the user's other sessions end."""
        other = await self.enter(self.number)
        for old, new, again, why in (
            ("wrong", NEW, NEW, "current password is wrong"),
            (PASSWORD, "short", "short", "a password has"),
            (PASSWORD, NEW, NEW + "x", "are different"),
        ):
            page = await self.me.send("/settings/account/password", old=old, password=new, again=again)
            self.assertEqual(page.status, 400)
            self.assertIn(why, page.text.lower())
        page = await self.me.send("/settings/account/password", old=PASSWORD, password=NEW, again=NEW)
        self.assertIn("Your password was changed", page.text)
        self.assertEqual((await other.get("/settings/account")).location, "/login?next=/settings/account")
        stranger = self.new_client()
        self.assertEqual((await stranger.log_in("olga", NEW)).status, 303)

    async def test_guessing_the_password(self) -> None:
        """Password attempts are limited within an open session, too."""
        for _ in range(8):
            page = await self.me.send("/settings/account/password", old="x", password=NEW, again=NEW)
        self.assertIn("too many attempts", page.text.lower())


class ConsoleUserTests(ConsoleCase):
    """The pages ``/settings/console-users``."""

    async def start(self) -> None:
        """An admin, logged in."""
        await super().start()
        self.me = await self.admin()

    async def test_old_addresses(self) -> None:
        """The addresses that the pages had in 0.1.0 redirect."""
        for old, new in (("people", "console-users"), ("people/1", "console-users/1")):
            self.assertEqual((await self.get(f"/settings/{old}")).location, f"/settings/{new}")
        self.assertEqual((await self.get("/settings/people/99")).status, 404)

    async def test_life(self) -> None:
        """A user is created, changed, given a new password and deleted; the audit log has all of it."""
        page = await self.me.send("/settings/console-users", login="ben", role="viewer", phone="")
        password = re.search(r'class="secret"[^>]*>([^<]+)<', page.html)
        assert password
        ben = self.new_client()
        self.assertEqual((await ben.log_in("ben", password[1])).status, 303)
        self.assertEqual((await ben.get("/settings/console-users")).status, 403)
        users = await self.web.read(list_console_users)
        number = next(user.console_user_id for user in users if user.login == "ben")
        path = f"/settings/console-users/{number}"
        page = await self.me.send(path, role="admin", phone="PJSIP/9", enabled="1")
        self.assertIn("ben was changed", page.text)
        self.assertEqual((await ben.get("/settings/console-users")).status, 303)  # log in again
        self.assertEqual((await self.me.send(path, role="admin", phone="Local/x@y")).status, 400)
        await self.me.send(path, role="admin", phone="")
        self.assertEqual((await ben.log_in("ben", password[1])).status, 403)
        self.assertNotIn(password[1], (await self.me.send(f"{path}/password")).html)
        self.assertIn("ben was deleted", (await self.me.send(f"{path}/delete")).text)
        self.assertEqual((await self.get(path)).status, 404)
        entries = await self.web.read(lambda connection: find_entries(connection, AuditSearch(), 20))
        self.assertTrue({"create", "update", "password", "delete"} <= {entry.action for entry in entries})

    async def test_own_password_made(self) -> None:
        """An admin who generates a password for themselves sees it, in a session of its own; the others end."""
        other = self.new_client()
        me = await self.web.read(lambda connection: list_console_users(connection)[0])
        self.assertEqual((await other.log_in(me.login)).status, 303)
        page = await self.me.send(f"/settings/console-users/{me.console_user_id}/password")
        password = re.search(r'class="secret"[^>]*>([^<]+)<', page.html)
        assert password
        self.assertEqual((await self.me.get("/settings/account")).status, 200)
        self.assertEqual((await other.get("/settings/account")).status, 303)
        self.assertEqual((await other.log_in(me.login, password[1])).status, 303)

    async def test_what_cannot_be(self) -> None:
        """A login in use, an unknown role, and the last admin's role are refused."""
        await self.add_person("ana", Role.VIEWER)
        for login, role, why in (
            ("ANA", "viewer", "already"),
            ("x", "owner", "role from the list"),
            ("", "viewer", "login"),
        ):
            page = await self.me.send("/settings/console-users", login=login, role=role)
            self.assertEqual(page.status, 400)
            self.assertIn(why, page.text)
        users = await self.web.read(list_console_users)
        number = next(user.console_user_id for user in users if user.role is Role.ADMIN)
        page = await self.me.send(f"/settings/console-users/{number}", role="viewer", enabled="1")
        self.assertEqual(page.status, 400)
        self.assertIn("at least one enabled admin must remain", page.text.lower())
        self.assertEqual((await self.me.send(f"/settings/console-users/{number}/delete")).status, 400)

    async def test_hostile_login(self) -> None:
        """A login with mark-up is shown as text."""
        await self.add_person("<img src=x onerror=alert(1)>", Role.VIEWER)
        self.assertNotIn("<img src=x", (await self.get("/settings/console-users")).html)

    def test_passwords_differ(self) -> None:
        """Generated passwords are different, long enough, and without letters that look alike."""
        made = {new_password() for _ in range(50)}
        self.assertEqual(len(made), 50)
        self.assertTrue(all(len(item) == 17 and not set(item) & set("0O1lI") for item in made))


class TokenTests(ConsoleCase):
    """The page ``/settings/tokens``."""

    async def start(self) -> None:
        """An admin, logged in."""
        await super().start()
        self.me = await self.admin()

    async def test_life(self) -> None:
        """A token is shown once, has the checked scopes, and is revoked."""
        page = await self.me.send("/settings/tokens", [("name", "shop"), ("scope", "read"), ("scope", "dial")])
        found = re.search(r"pbxr_[A-Za-z0-9_-]{43}", page.html)
        assert found
        token = found[0]
        info = await self.web.read(lambda connection: find_token(connection, hash_token(token)))
        assert info is not None
        self.assertEqual({scope.value for scope in info.scopes}, {"read", "dial"})
        page = await self.get("/settings/tokens")
        self.assertIn("shop", page.text)
        self.assertNotIn(token, page.html)
        page = await self.me.send(f"/settings/tokens/{info.token_id}/revoke")
        self.assertIn("shop was revoked", page.text)
        gone = await self.web.read(lambda connection: find_token(connection, hash_token(token)))
        self.assertIsNone(gone)
        self.assertEqual((await self.me.send(f"/settings/tokens/{info.token_id}/revoke")).status, 404)

    async def test_what_cannot_be(self) -> None:
        """A missing name, no scope and an unknown scope are refused."""
        for fields in ([("name", "x")], [("name", ""), ("scope", "read")], [("name", "x"), ("scope", "all")]):
            self.assertEqual((await self.me.send("/settings/tokens", fields)).status, 400)


class DoctorTests(ConsoleCase):
    """The page ``/settings/doctor``."""

    def furnish(self, web: WebContext) -> WebContext:
        """A doctor that reports a finding, waits, and reports another."""
        self.looks: list[Deferred[None]] = []
        self.later = [wrong(Sentence("AMI"), Sentence("<b>no banner</b>"), Sentence("start Asterisk"))]
        self.examined = web.examined
        return dataclasses.replace(web, examine=self.look)

    async def look(self, tell: Callable[[Finding], object]) -> None:
        """Tell findings, as WebContext.examine does."""
        tell(ok(Sentence("rules"), Sentence("5 mappings")))
        self.looks.append(Deferred())
        await self.looks[-1]
        for finding in self.later:
            tell(finding)

    async def test_findings_as_they_come(self) -> None:
        """The page reloads itself while the checks run; starting them twice runs them once."""
        self.me = await self.admin()
        self.assertIn("No checks have been run", (await self.get("/settings/doctor")).text)
        for _ in range(2):
            shown = await self.me.send("/settings/doctor")
        self.assertEqual((len(self.looks), shown.header("Refresh")), (1, "2"))
        self.assertIn("5 mappings", shown.text)
        self.looks[0].callback(None)
        shown = await self.get("/settings/doctor")
        self.assertEqual(shown.header("Refresh"), "")
        self.assertIn("1 problem found", shown.text)
        self.assertIn("start Asterisk", shown.text)
        self.assertNotIn("<b>no banner", shown.html)

    async def test_headline(self) -> None:
        """The notice is good only if all was checked; what could not be is counted, with how to see it."""
        self.me = await self.admin()
        some = unknown(Sentence("PINs"), Sentence("not seen"), Sentence("run it as root"))
        for later, headline, state, kind in (
            ([], "No problems found.", "ok", "good"),
            ([some], "No problems found, but not everything could be checked.", "unknown", "warn"),
            ([some, *self.later], "1 problem found. 1 check could not be made.", "wrong", "bad"),
        ):
            self.later = later
            await self.me.send("/settings/doctor")
            self.looks[-1].callback(None)
            shown = await self.get("/settings/doctor")
            self.assertIn(headline, " ".join(shown.text.split()))
            self.assertIn(f'<div class="notice {kind}"', shown.html)
            self.assertEqual("run it as root" in shown.text, some in later)
            self.assertEqual(self.examined.counts.state, state)
            self.assertIsNotNone(self.examined.ended)

    async def test_a_look_that_breaks(self) -> None:
        """If the checks fail the page says so, and they can be started again."""
        self.me = await self.admin()
        await self.me.send("/settings/doctor")
        self.looks[0].errback(RuntimeError("x"))
        self.assertIn("checks failed", (await self.get("/settings/doctor")).text)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.examined.counts.state, "unknown")
        await self.me.send("/settings/doctor")
        self.assertEqual(len(self.looks), 2)
        self.looks[1].callback(None)
