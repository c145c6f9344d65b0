"""Rules for every page of the console: roles, CSRF tokens, hosts, headers, methods, errors.

The routes are taken from the router itself, so that a page that is added later is tested, too.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from twisted.internet.address import IPv4Address
from twisted.web.client import RequestTransmissionFailed, ResponseNeverReceived
from twisted.web.test.requesthelper import DummyRequest

from pbxrouter.config.schema import Web
from pbxrouter.database import open_store
from pbxrouter.security.roles import Role
from pbxrouter.web.console.menu import MENU
from pbxrouter.web.console.router import Route
from pbxrouter.web.console.session_auth import SESSION_COOKIE
from pbxrouter.web.http.site import CUT_OFF, MAX_FORM
from tests.web_fakes import FORM, PASSWORD, ConsoleCase, WebClient

EVERYBODYS = {"/login", "/logout", "/language", "/setup", "/setup/<link>"}
"""Pages of the entrance, which have rules of their own."""
NOT_PAGES = ("/api/", "/static/", "/metrics")
"""Addresses that are no pages: tokens, or nothing, guard them."""
OWN_CHECK = ("/call/", "/c/", "/click/")
"""Beginnings of pages for strangers that see for themselves where a form comes from: they stand in frames."""
ENDLESS = frozenset({"/now/events"})
"""Responses that last as long as the client is connected."""


def filled(path: str) -> str:
    """A route's path with values in its placeholders."""
    return re.sub(r"<(?:\w+(?:\([^)]*\))?:)?\w+>", "1", path)


class RolesTests(ConsoleCase):
    """Each page has a role."""

    def pages(self, *methods: str) -> Iterator[tuple[str, Route]]:
        """The paths of the routes with these methods, without the login pages."""
        for route in self.router.routes:
            if route.path not in EVERYBODYS and set(route.methods) & set(methods):
                yield filled(route.path), route

    async def test_every_route_says_for_whom(self) -> None:
        """Every address is served by the router; the public ones are listed here."""
        declared = {route.path for route in self.router.routes}
        for rule in self.app.url_map.iter_rules():
            if rule.endpoint in self.app.endpoints and not rule.rule.startswith(NOT_PAGES):
                self.assertIn(rule.rule, declared)
        strangers = {route.path for route in self.router.routes if route.role is None}
        self.assertEqual({path for path in strangers - EVERYBODYS if not path.startswith(OWN_CHECK)}, set())

    async def test_a_route_that_changes_something_is_a_post(self) -> None:
        """A page answers GET or POST, never both by one handler, and nothing else."""
        for route in self.router.routes:
            self.assertIn(route.methods, (("GET",), ("POST",)), route.path)

    async def test_no_session(self) -> None:
        """Without a session every page redirects to the login, and changes nothing."""
        for path, route in self.pages("GET"):
            if route.role is not None:
                answer = await self.get(path)
                self.assertEqual(answer.status, 303, path)
                self.assertRegex(answer.location, r"^/login(\?next=/.*)?$")
                self.assertEqual(answer.body, b"")
        for path, route in self.pages("POST"):
            if route.role is not None:
                answer = await self.post(path)
                self.assertEqual((answer.status, answer.location), (303, "/login"), path)

    async def test_too_small_a_role(self) -> None:
        """A page for a higher role is refused, by GET and by a complete POST."""
        clients = {role: await self.as_(role) for role in Role}
        for path, route in self.pages("GET", "POST"):
            for role, client in clients.items():
                if route.role is not None and not role.may(route.role):
                    answer = await (client.get(path) if "GET" in route.methods else client.post(path))
                    self.assertEqual(answer.status, 403, f"{role.value}: {path}")
                    self.assertIn("Your role does not allow this page", answer.text)

    async def test_sufficient_role(self) -> None:
        """With the role each page is shown, or is 404 for a missing row; none fails."""
        clients = {role: await self.as_(role) for role in Role}
        for path, route in self.pages("GET"):
            if route.role is not None and path not in ENDLESS:
                answer = await clients[route.role].get(path)
                self.assertIn(answer.status, (200, 303, 404), f"{route.role.value}: {path}")
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_the_menu(self) -> None:
        """The menu has exactly the pages that the user's role may see, and each of them exists."""
        for role in Role:
            client = await self.as_(role)
            menu = [entry for section in MENU for entry in section.entries]
            shown = (await client.get("/settings/account")).links
            for entry in menu:
                self.assertEqual(entry.path in shown, role.may(entry.role), f"{role.value}: {entry.path}")
                if role.may(entry.role):
                    self.assertEqual((await client.get(entry.path)).status, 200, entry.path)


class FormsTests(ConsoleCase):
    """A form of another session is refused."""

    async def start(self) -> None:
        """Log in as an admin."""
        await super().start()
        self.me = await self.admin()

    async def test_an_origin_that_is_none(self) -> None:
        """An invalid Origin header is refused."""
        for origin in ("http://[", "null", "://", "http://localhost@evil.example"):
            answer = await self.me.submit("/language", [("language", "es")], {"Origin": origin})
            self.assertEqual(answer.status, 403, origin)

    async def test_no_code(self) -> None:
        """Forms without the CSRF token, or with a wrong one, are refused; the session stays."""
        for route in self.router.routes:
            if "POST" in route.methods and not route.path.startswith(OWN_CHECK):
                for code in ("", "wrong", "é", "0" * 64):
                    answer = await self.post(filled(route.path), csrf=code)
                    self.assertEqual(answer.status, 403, route.path)
                    self.assertIn("This form has expired or was not sent from this console", answer.text)
        self.assertEqual((await self.get("/settings/account")).status, 200)

    async def test_anothers_code(self) -> None:
        """A token is valid for its own session only."""
        other = await (await self.admin()).csrf()
        stranger = await self.new_client().csrf()
        mine = await self.me.csrf()
        for code in (other, stranger):
            self.assertEqual((await self.post("/settings/account", csrf=code)).status, 403)
        await self.post("/settings/account", phone="")
        again = await self.admin()
        self.assertEqual((await again.post("/settings/account", csrf=mine)).status, 403)

    async def test_a_strangers_form(self) -> None:
        """The login form, too, is refused without the visitor's cookie or with another token."""
        self.me = self.new_client()
        self.assertEqual((await self.post("/login", csrf="", login="a", password="b")).status, 403)
        code = await self.new_client().csrf()
        answer = await self.post("/login", csrf=code, login="a", password="b")
        self.assertIn("cookies must be allowed", answer.text)
        self.assertEqual(answer.status, 403)

    async def test_from_another_site(self) -> None:
        """A browser's report of a cross-site form is believed, even with the right token."""
        pairs = [("phone", ""), ("language", "")]
        for headers, status in (
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "http://localhost.evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "same-site"}, 403),
            ({"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}, 303),
            ({"Sec-Fetch-Site": "none"}, 303),
            ({}, 303),
        ):
            answer = await self.me.submit("/settings/account", pairs, headers)
            self.assertEqual(answer.status, status, headers)

    async def test_the_code_in_a_header(self) -> None:
        """The CSRF token may come in a header."""
        code = await self.me.csrf()
        pairs = [("csrf", ""), ("phone", ""), ("language", "")]
        answer = await self.me.submit("/settings/account", pairs, {"X-CSRF": code})
        self.assertEqual(answer.status, 303)
        answer = await self.me.submit("/settings/account", pairs, {"X-CSRF": "x"})
        self.assertEqual(answer.status, 403)

    async def test_no_form(self) -> None:
        """Invalid forms are refused with a message: content type, encoding, empty, too many fields."""
        code = (await self.me.csrf()).encode()
        for body, kind in (
            (b"csrf=" + code, "text/plain"),
            (b'{"csrf": "' + code + b'"}', "application/json"),
            (
                b'--x\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n' + code + b"\r\n--x--\r\n",
                "multipart/form-data; boundary=x",
            ),
            (b"csrf=" + code + b"&phone=%ff%fe", FORM),
            (b"csrf=" + code + b"&phone=\xff", FORM),
            (b"&".join([b"csrf=" + code, *[b"a=b"] * 5000]), FORM),
            (b"csrf=" + code + b"&phone=" + b"x" * MAX_FORM, FORM),
            (b"csrf=" + code + b"&phone=" + b"x" * (CUT_OFF - 1000), FORM),
        ):
            answer = await self.me.ask("POST", "/settings/account", body, {"Content-Type": kind})
            self.assertEqual(answer.status, 400, (kind, body[:100]))
            self.assertIn('role="alert"', answer.html)
        answer = await self.me.ask("POST", "/settings/account", b"", {"Content-Type": FORM})
        self.assertEqual(answer.status, 403)

    async def test_far_too_long(self) -> None:
        """A request without end is cut off, and not kept in memory."""
        # The client may still be writing when the answer comes.
        with contextlib.suppress(ResponseNeverReceived, RequestTransmissionFailed):
            answer = await self.me.ask("POST", "/settings/account", b"x" * (4 * CUT_OFF), {"Content-Type": FORM})
            self.assertEqual(answer.status, 413)
        self.assertEqual((await self.get("/settings/account")).status, 200)


class HostTests(ConsoleCase):
    """Which Host headers are accepted."""

    settings = Web(
        listen="tcp:0:interface=127.0.0.1",
        url="https://pbx.example.org",
        hosts=("Pbx.internal",),
        proxies=("127.0.0.1",),
    )

    async def test_hosts(self) -> None:
        """Only the server's own names and address are answered."""
        for host, status in (
            ("localhost", 200),
            ("localhost:8080", 200),
            ("LOCALHOST", 200),
            ("127.0.0.1", 200),
            ("127.0.0.1:8080", 200),
            ("[::1]:8080", 200),
            ("pbx.example.org", 200),
            ("pbx.internal:80", 200),
            ("evil.example", 421),
            ("localhost.evil.example", 421),
            ("pbx.example.org.evil.example", 421),
            ("192.0.2.1", 421),
            ("localhost@evil.example", 421),
            ("evil.example@localhost", 421),
            ("localhost:x", 421),
            ("localhost/", 421),
            ("localhost#", 421),
            ("[::1", 421),
            (" ", 421),
        ):
            answer = await self.get("/login", Host=host)
            self.assertEqual(answer.status, status, host)
            if status == 421:
                self.assertNotIn("login", answer.body.decode())
                self.assertEqual(answer.header("X-Content-Type-Options"), "nosniff")

    async def test_behind_a_proxy(self) -> None:
        """A trusted proxy's address and scheme are believed; the login limits count by that address."""
        answer = await self.get("/login", X_Forwarded_Proto="https")
        self.assertEqual(answer.header("Strict-Transport-Security"), "max-age=31536000")
        self.assertEqual((await self.get("/login")).header("Strict-Transport-Security"), "")
        wrong = [("login", "ana"), ("password", "wrong")]
        for number, status in ((1, 403), (2, 403), (1, 429)):
            for _ in range(5 if status == 403 else 1):
                answer = await self.me.submit("/login", wrong, {"X-Forwarded-For": f"198.51.100.9, 192.0.2.{number}"})
            self.assertEqual(answer.status, status, number)

    async def test_a_proxy_that_adds_a_line(self) -> None:
        """The last entry of the last X-Forwarded-For counts; it may have a port."""
        for value, address in (
            ("192.0.2.5", "192.0.2.5"),
            ("10.0.0.1, 192.0.2.5:4711", "192.0.2.5"),
            ("[2001:db8::1]:99", "2001:db8::1"),
            ("nonsense", "127.0.0.1"),
        ):
            request: Any = DummyRequest([b""])
            request.client = IPv4Address("TCP", "127.0.0.1", 1)
            request.requestHeaders.addRawHeader("X-Forwarded-For", "203.0.113.9")
            request.requestHeaders.addRawHeader("X-Forwarded-For", value)
            self.assertEqual(self.visitors.address(request), address, value)

    async def test_many_addresses_do_not_shut_the_owner_out(self) -> None:
        """A user can log in from a known network in spite of many attempts at that login from elsewhere."""
        await self.add_person("bo", Role.VIEWER)
        right, wrong = ([("login", "bo"), ("password", value)] for value in (PASSWORD, "wrong"))
        home = {"X-Forwarded-For": "192.0.2.7"}
        self.assertEqual((await self.new_client().submit("/login", right, home)).status, 303)
        statuses = [
            (await self.me.submit("/login", wrong, {"X-Forwarded-For": f"198.51.100.{host}"})).status
            for host in range(50)
        ]
        self.assertIn(429, statuses)
        self.assertEqual((await self.new_client().submit("/login", right, home)).status, 303)

    async def test_attempts_do_not_lock_others_out(self) -> None:
        """Attempts from one address do not prevent a login from another."""
        await self.add_person("bo", Role.VIEWER)
        wrong = [("login", "bo"), ("password", "wrong")]
        for _ in range(60):
            await self.me.submit("/login", wrong, {"X-Forwarded-For": "192.0.2.66"})
        right = [("login", "bo"), ("password", PASSWORD)]
        answer = await self.new_client().submit("/login", right, {"X-Forwarded-For": "192.0.2.7"})
        self.assertEqual(answer.status, 303)


class NoProxyTests(ConsoleCase):
    """Headers of a proxy while no proxy is trusted."""

    async def test_not_believed(self) -> None:
        """Headers that a client sets itself do not circumvent the limits."""
        statuses = [
            (
                await self.me.submit(
                    "/login",
                    [("login", "ana"), ("password", "wrong")],
                    {"X-Forwarded-For": f"192.0.2.{number}", "X-Real-IP": f"192.0.2.{number}"},
                )
            ).status
            for number in range(6)
        ]
        self.assertEqual(statuses, [403] * 5 + [429])
        answer = await self.get("/login", X_Forwarded_Proto="https")
        self.assertEqual(answer.header("Strict-Transport-Security"), "")


class HeadersTests(ConsoleCase):
    """Headers of every response."""

    async def test_every_answer(self) -> None:
        """Pages, redirects, errors and files: no frames, no type guessing, no foreign scripts."""
        me = await self.admin()
        for path in ("/login", "/", "/settings/account", "/nowhere", "/static/x/none.css", "/api/nowhere"):
            for client in (self.me, me):
                answer = await client.get(path)
                policy = answer.header("Content-Security-Policy")
                self.assertIn("default-src 'none'", policy)
                self.assertIn("frame-ancestors 'none'", policy)
                self.assertIn("form-action 'self'", policy)
                self.assertNotIn("unsafe", policy)
                self.assertEqual(answer.header("X-Frame-Options"), "DENY")
                self.assertEqual(answer.header("X-Content-Type-Options"), "nosniff")
                self.assertEqual(answer.header("Referrer-Policy"), "same-origin")
                self.assertEqual(answer.header("Cross-Origin-Opener-Policy"), "same-origin")

    async def test_pages_are_kept_nowhere(self) -> None:
        """No page is cached by browsers or proxies."""
        for path in ("/login", "/settings/account", "/settings/console-users"):
            answer = await (await self.admin()).get(path)
            self.assertEqual(answer.header("Cache-Control"), "no-store")
            self.assertIn("Cookie", answer.header("Vary"))

    async def test_nothing_inline(self) -> None:
        """No page has inline scripts, styles or handlers, which the policy forbids."""
        me = await self.admin()
        for section in MENU:
            for entry in section.entries:
                html = (await me.get(entry.path)).html
                self.assertNotRegex(html, r"(?i)<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=", entry.path)

    async def test_static_files(self) -> None:
        """Static files are cacheable without a limit at their address, a minute at an old one; others are 404."""
        page = await self.get("/login")
        found = set(re.findall(r'"(/static/[^"]+)"', page.html))
        self.assertEqual({row.rpartition(".")[2] for row in found}, {"css", "js", "svg"})
        for path in found:
            answer = await self.get(path)
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.header("Cache-Control"), "public, max-age=31536000, immutable")
            self.assertRegex(answer.header("Content-Type"), r"^(text/(css|javascript)|image/svg\+xml)")
            old = await self.get(re.sub(r"/static/\w+/", "/static/0000/", path))
            self.assertEqual((old.status, old.body), (200, answer.body))
            self.assertIn("max-age=60", old.header("Cache-Control"))
        for evil in (
            "../desk.py",
            "..%2fdesk.py",
            "%2e%2e%2fdesk.py",
            "none.css",
            "/etc/passwd",
            ".",
            "x" * 500,
        ):
            answer = await self.get(f"/static/0000/{evil}")
            self.assertEqual(answer.status, 404, evil)

    async def test_no_server_lets_a_value_into_a_header(self) -> None:
        """Line ends in an address do not start a header."""
        for path in (
            "/%0d%0aX-Evil:%20yes",
            "/settings/account%0d%0aX-Evil:%20yes",
            "/test?number=%0d%0aX-Evil:1",
        ):
            answer = await self.get(path)
            self.assertEqual(answer.header("X-Evil"), "")


class ProblemsTests(ConsoleCase):
    """Errors are shown as pages."""

    async def test_no_such_page(self) -> None:
        """A page that does not exist is 404, with the menu for logged-in users; the path is not echoed."""
        for client, menu in ((self.me, False), (await self.viewer(), True)):
            answer = await client.get("/nowhere/<script>")
            self.assertEqual((answer.status, answer.title), (404, "404"))
            self.assertIn("This page does not exist", answer.text)
            self.assertEqual("/calls" in answer.links, menu)
            self.assertNotIn("<script>", answer.html.replace("<script src=", ""))

    async def test_in_spanish(self) -> None:
        """Errors are translated, too."""
        answer = await self.get("/nowhere", Accept_Language="es")
        self.assertEqual((answer.status, answer.language), (404, "es"))
        self.assertNotIn("This page does not exist", answer.text)

    async def test_other_methods(self) -> None:
        """A method that is not allowed gives 405 with the allowed ones."""
        answer = await (await self.viewer()).ask("POST", "/login/", b"", {"Content-Type": FORM})
        self.assertIn(answer.status, (404, 405))
        for method, path, allowed in (
            ("GET", "/logout", {"POST"}),
            ("DELETE", "/settings/account", {"GET", "HEAD", "POST"}),
            ("PUT", "/login", {"GET", "HEAD", "POST"}),
        ):
            answer = await self.me.ask(method, path)
            self.assertEqual(answer.status, 405, path)
            self.assertEqual({part.strip() for part in answer.header("Allow").split(",")}, allowed)
            self.assertIn("does not accept this method", answer.text)

    async def test_head(self) -> None:
        """HEAD is answered as GET, without the page."""
        me = await self.viewer()
        answer = await me.ask("HEAD", "/settings/account")
        self.assertEqual((answer.status, answer.body), (200, b""))
        answer = await self.me.ask("HEAD", "/settings/account")
        self.assertEqual(answer.location, "/login?next=/settings/account")

    async def test_addresses_that_are_no_text(self) -> None:
        """Invalid percent encoding and UTF-8, in path or query, cause no error."""
        me = await self.admin()
        for path in (
            "/%ff",
            "/%",
            "/%zz",
            "/test?caller=%ff&number=%",
            "/test?" + "a=b&" * 500,
            "/%00",
            "/test?q=%00",
        ):
            answer = await me.get(path)
            self.assertIn(answer.status, (200, 400, 404), path)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_numbers_beyond_all_rows(self) -> None:
        """A number beyond all rows is 404."""
        me = await self.admin()
        for route in self.router.routes:
            if "<int:" in route.path and "GET" in route.methods:
                for number in ("0", "999999999", "9" * 30):
                    path = re.sub(r"<int:\w+>", number, route.path)
                    self.assertEqual((await me.get(filled(path))).status, 404, path)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_nothing_is_broken_by_hostile_forms(self) -> None:
        """Every form with invalid values is answered by an error page."""
        rubbish = "'\"><script>alert(1)</script>\x00\u202e{caller}%s"
        names = (
            "login",
            "role",
            "phone",
            "name",
            "number",
            "pattern",
            "application",
            "data",
            "caller",
            "pin",
            "scopes",
        )
        for route in self.router.routes:
            if "POST" in route.methods and route.role is not None and route.path not in EVERYBODYS:
                me = await self.admin()
                answer = await me.post(filled(route.path), dict.fromkeys(names, rubbish))
                self.assertIn(answer.status, (200, 303, 400, 404, 409, 422), route.path)
                self.assertNotIn("<script>alert", answer.html)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_something_breaks(self) -> None:
        """An unexpected error is shown without its traceback, which is in the log."""

        async def broken(page_request: object) -> bytes:
            raise ZeroDivisionError("the secret innards")

        self.router.add("/broken", broken, None)
        answer = await self.get("/broken")
        self.assertEqual(answer.status, 500)
        self.assertIn("see the gateway's log", answer.text)
        self.assertNotIn("innards", answer.html)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_the_database_is_away(self) -> None:
        """Without the database pages give 503, also without a session, and recover with it."""
        me = await self.admin()
        kept = self.path.with_suffix(".kept")
        self.path.rename(kept)
        self.path.mkdir()  # a database cannot be made anew there
        self.web.reading.close()
        away = open_store(self.path, self.web.hash_pin, self.web.reactor)
        object.__setattr__(self.web, "reading", away)
        answer = await me.get("/settings/console-users")
        self.assertEqual(answer.status, 503)
        self.assertIn("The database is not available", answer.text)
        self.assertEqual((await self.get("/nowhere")).status, 404)
        self.path.rmdir()
        kept.rename(self.path)
        self.assertEqual((await me.get("/settings/console-users")).status, 200)


class HostileTests(ConsoleCase):
    """Text from outside is shown as text."""

    async def test_a_hostile_login(self) -> None:
        """A login with mark-up is shown as text, on the form, in the menu and in the list."""
        evil = "\"><img src=x onerror=alert(1)>'"
        answer = await self.me.log_in(evil)
        self.assertEqual(answer.status, 403)
        self.assertNotIn("<img", answer.html)
        self.assertIn(("login", evil), answer.form("/login").fields)
        me = await self.enter(await self.add_person(evil, Role.ADMIN))
        page = await me.get("/settings/console-users")
        self.assertNotIn("<img", page.html)
        self.assertIn(evil, page.text)

    async def test_a_hostile_number(self) -> None:
        """The tested number is shown as text."""
        me = await self.viewer()
        query = urlencode({"caller": "<b>33", "number": "<script>alert(1)</script>"})
        page = await me.get(f"/test?{query}")
        self.assertNotIn("<script>alert", page.html)
        self.assertNotIn("<b>", page.html)

    async def test_no_session_in_an_address(self) -> None:
        """A session is accepted from the cookie only, never from a URL."""
        me: WebClient = await self.admin()
        cookie = me.cookies[SESSION_COOKIE][0]
        answer = await self.get(f"/settings/account?{SESSION_COOKIE}={cookie}")
        self.assertEqual(answer.status, 303)
        self.assertNotIn(cookie, answer.location)
