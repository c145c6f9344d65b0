"""A console on a real port with a real database, and clients that keep cookies and send forms.

Only Asterisk is not there: calls that are asked for are a fake's.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from io import BytesIO
from typing import Any, Final, cast
from urllib.parse import urlencode

import msgspec
from klein import Klein
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers
from werkzeug.routing import Map, RuleFactory

from pbxrouter.config.schema import Web
from pbxrouter.database import Place
from pbxrouter.database.access.console_users import add_console_user
from pbxrouter.database.access.sessions import open_session, put_setup_link
from pbxrouter.database.audit import Actor
from pbxrouter.security.roles import Role
from pbxrouter.security.tokens import hash_token
from pbxrouter.web.api.dispatch import api_routes
from pbxrouter.web.api.resources.endpoints import ENDPOINTS
from pbxrouter.web.console.app import add_console
from pbxrouter.web.console.session_auth import SESSION_COOKIE
from pbxrouter.web.context import WebContext
from pbxrouter.web.http.guard import Guarded, Visitors
from pbxrouter.web.http.site import BoundedSite
from pbxrouter.web.password_threads import PasswordThreads
from tests.api_fakes import FakeOriginator, Ticking, make_web_context
from tests.fakes import QUICK_ARGON2
from tests.needs import PATIENCE_S

reactor = cast(Any, the_reactor)
PASSWORD: Final = "a long enough password"
ACTOR: Final = Actor("the test", "command")
FORM: Final = "application/x-www-form-urlencoded"
_QUICK_HASH: Final = QUICK_ARGON2.hash(PASSWORD)


class _SharedPaths(Map):
    """The paths of the console, of which werkzeug compiles each once, and not for each test."""

    def __init__(self) -> None:
        super().__init__()
        self._known: set[tuple[str, str, frozenset[str]]] = set()

    def add(self, rulefactory: RuleFactory) -> None:
        """Add those that are not there."""
        for rule in rulefactory.get_rules(self):
            known = rule.rule, str(rule.endpoint), frozenset(rule.methods or ())
            if known not in self._known:
                super().add(rule)
                self._known.add(known)


_PATHS: Final = _SharedPaths()
Fields = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass
class PageForm:
    """A form of a page.

    Attributes:
        fields: what the browser would send if no field was changed; without the buttons.
    """

    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)


class _Reader(HTMLParser):
    """Parses a page into text, links and forms."""

    _SKIPPED = frozenset({"script", "style", "title", "svg"})
    _VOID = frozenset({"input", "meta", "link", "br", "hr", "img", "use", "path", "wbr"})

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.language = ""
        self.translator: list[str] = []
        self.links: list[str] = []
        self.forms: list[PageForm] = []
        self._open: list[str] = []
        self._select: str | None = None
        self._area: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag not in self._VOID:
            self._open.append(tag)
        match tag:
            case "html":
                self.language = given.get("lang", "")
            case "a":
                self.links.append(given.get("href", ""))
            case "form":
                self.forms.append(PageForm(given.get("action", ""), given.get("method", "get").lower()))
            case "input" if self.forms and "name" in given:
                if given.get("type") not in ("checkbox", "radio", "submit") or "checked" in given:
                    self.forms[-1].fields.append((given["name"], given.get("value", "")))
            case "select":
                self._select = given.get("name")
            case "option" if self.forms and self._select and "selected" in given:
                self.forms[-1].fields.append((self._select, given.get("value", "")))
            case "textarea" if self.forms:
                self.forms[-1].fields.append((given.get("name", ""), ""))
                self._area = given.get("name")

    def handle_endtag(self, tag: str) -> None:
        while tag in self._open:
            if self._open.pop() == tag:
                break
        if tag == "textarea":
            self._area = None
        elif tag == "select":
            self._select = None

    def handle_data(self, data: str) -> None:
        if "title" in self._open and "svg" not in self._open:
            self.title += data
        elif self._area is not None:
            name, value = self.forms[-1].fields.pop()
            self.forms[-1].fields.append((name, value + data.removeprefix("\n")))
        elif "main" in self._open and not self._SKIPPED.intersection(self._open):
            self.translator.append(data)


@dataclass(frozen=True)
class Answer:
    """A response of the web server."""

    status: int
    body: bytes
    headers: Headers

    def header(self, name: str) -> str:
        """A header; "" if it is not there."""
        return (self.headers.getRawHeaders(name) or [""])[0]

    @property
    def cookies(self) -> list[str]:
        """The response's ``Set-Cookie`` headers."""
        return list(self.headers.getRawHeaders("Set-Cookie") or [])

    @property
    def location(self) -> str:
        """The ``Location`` header; "" without one."""
        return self.header("Location")

    @property
    def html(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8")

    @functools.cached_property
    def _read(self) -> _Reader:
        reader = _Reader()
        reader.feed(self.html)
        reader.close()
        return reader

    @property
    def title(self) -> str:
        """The page's title, without the program's name."""
        return self._read.title.partition(" · ")[0].strip()

    @property
    def language(self) -> str:
        """The page's ``lang`` attribute."""
        return self._read.language

    @property
    def text(self) -> str:
        """The text of the main part (without menu and footer), with normalised blanks."""
        return re.sub(r"\s+", " ", " ".join(self._read.translator)).strip()

    @property
    def links(self) -> list[str]:
        """The targets of its links."""
        return self._read.links

    @property
    def forms(self) -> list[PageForm]:
        """The forms of the page."""
        return self._read.forms

    def form(self, action: str) -> PageForm:
        """The form with this action."""
        return next(form for form in self.forms if form.action == action)

    @property
    def csrf(self) -> str:
        """The CSRF token of its forms; "" if it has none."""
        found = re.search('<input type="hidden" name="csrf" value="([^"]*)">', self.html)
        return found[1] if found else ""


class WebClient:
    """A client with a browser's behaviour: it keeps cookies, and its forms carry the page's fields.

    Args:
        pool: for a client of many requests: keeps its connections open; the test closes them in the end.

    Attributes:
        cookies: by name, with the path that each is for.
        headers: sent with every request.
    """

    def __init__(self, url: str, pool: HTTPConnectionPool | None = None) -> None:
        self.url = url
        self._agent = Agent(reactor, pool=pool)
        self.cookies: dict[str, tuple[str, str]] = {}
        self.headers: dict[str, str] = {"Host": "localhost", "Accept-Language": "en"}
        self._csrf = ""

    async def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request; the given headers replace or add to the usual ones, None removes one."""
        sent = Headers()
        for name, value in {**self.headers, **(headers or {})}.items():
            sent.setRawHeaders(name, [value])
        mine = [f"{name}={value}" for name, (value, under) in self.cookies.items() if _is_under(path, under)]
        if mine and not sent.hasHeader("Cookie"):
            sent.setRawHeaders("Cookie", ["; ".join(mine)])
        data = None if body is None else FileBodyProducer(BytesIO(body))
        response = await self._agent.request(method.encode(), (self.url + path).encode(), sent, data)
        answer = Answer(response.code, await _body(response), response.headers)
        for cookie in answer.cookies:
            self._keep(cookie)
        return answer

    def _keep(self, cookie: str) -> None:
        pair, *attributes = cookie.split("; ")
        name, _, value = pair.partition("=")
        path = next((attribute[5:] for attribute in attributes if attribute.startswith("Path=")), "/")
        if "Max-Age=0" in attributes:
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = (value, path)

    async def get(self, path: str, **headers: str) -> Answer:
        """Get a page; headers by their names with _ for -."""
        answer = await self.ask("GET", path, headers=_named(headers))
        if answer.header("Content-Type").startswith("text/html"):
            self._csrf = answer.csrf or self._csrf
        return answer

    async def csrf(self) -> str:
        """The CSRF token that the console's forms have for this client."""
        if not self._csrf and SESSION_COOKIE in self.cookies:
            await self.get("/settings/account")
        if not self._csrf:
            await self.get("/login")
        return self._csrf

    async def post(self, path: str, fields: Fields = (), /, **more: str) -> Answer:
        """Send a form; the CSRF token is added unless the fields have one."""
        return await self.submit(path, [*(fields.items() if isinstance(fields, Mapping) else fields), *more.items()])

    async def submit(
        self, path: str, fields: Iterable[tuple[str, str]], headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a form with headers of its own."""
        pairs = list(fields)
        if not any(name == "csrf" for name, _ in pairs):
            pairs.append(("csrf", await self.csrf()))
        before = self.cookies.get(SESSION_COOKIE)
        answer = await self.ask("POST", path, urlencode(pairs).encode(), {"Content-Type": FORM, **(headers or {})})
        if self.cookies.get(SESSION_COOKIE) != before:
            self._csrf = ""  # it is of another session now
        return answer

    async def follow(self, answer: Answer) -> Answer:
        """Get the page that a response redirects to."""
        while answer.status in (302, 303):
            answer = await self.get(answer.location)
        return answer

    async def send(self, path: str, fields: Fields = (), /, **more: str) -> Answer:
        """Send a form, and get the page that it redirects to."""
        return await self.follow(await self.post(path, fields, **more))

    async def log_in(self, login: str, password: str = PASSWORD, **more: str) -> Answer:
        """Submit the login form."""
        return await self.post("/login", login=login, password=password, **more)


async def _body(response: Any) -> bytes:
    """The body; for an endless stream nothing, and the connection is closed."""
    reading = readBody(response)
    if "text/event-stream" in (response.headers.getRawHeaders("Content-Type") or []):
        reading.addErrback(lambda _: b"")
        reading.cancel()
    return bytes(await reading)


def _is_under(path: str, under: str) -> bool:
    return path.partition("?")[0].startswith(under)


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


class ConsoleCase(TestCase):
    """A test case with a gateway's console.

    Attributes:
        settings: the part ``[web]``.
        keeps_connections: whether clients use a connection for many requests.
        past: seconds that have gone by for the console beyond the real ones; see ``wait``.
        clock: the reactor, but for its time, which goes on when it is told.
        app: the console's own routes.
        routes: what its router knows.
    """

    settings = Web(listen="tcp:0:interface=127.0.0.1")
    keeps_connections = False
    timeout = 10 * PATIENCE_S

    def setUp(self) -> Deferred[None]:  # type: ignore[override]  # trial waits for it
        """Start a server on a free port."""
        return Deferred.fromCoroutine(self.start())

    def make_clock(self) -> Ticking:
        """Make the console's clock."""
        return Ticking()

    async def start(self) -> None:
        """Set up the console; a test that needs more overrides this."""
        self.past = 0.0
        self.path = pathlib.Path(self.mktemp()).absolute()
        self.originator = FakeOriginator()
        self.clock = self.make_clock()
        web = make_web_context(self.make_place(), {"lab": self.originator}, self.clock)
        self.web = self.furnish(
            dataclasses.replace(
                web,
                config=msgspec.structs.replace(web.config, web=self.settings),
                now=lambda: time.time() + self.past,
            )
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(self.web.exports.stop()))
        self.addCleanup(self.web.reading.close)
        self.addCleanup(self.web.writing.close)
        await self.web.reloader.poll()
        self.visitors = Visitors(self.web.config.web)
        threads = PasswordThreads(self.web.reactor)
        self.addCleanup(threads.stop)
        self.app = Klein()
        self.app._url_map = _PATHS  # its endpoints remain its own
        self.router = add_console(self.app, self.web, self.visitors, threads)
        api_routes(self.web, ENDPOINTS, self.visitors.address)(self.app)
        port = reactor.listenTCP(0, BoundedSite(Guarded(self.app.resource(), self.visitors)), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}"
        self.pool = HTTPConnectionPool(reactor) if self.keeps_connections else None
        if self.pool is not None:
            self.addCleanup(self.pool.closeCachedConnections)
        self.me = self.new_client()

    def make_place(self) -> Place:
        """Where the database is to be; another one for tests that override this."""
        return self.path

    def furnish(self, web: WebContext) -> WebContext:
        """Change the WebContext; for tests to override."""
        return web

    def wait(self, seconds: float) -> None:
        """Advance the console's clocks."""
        self.past += seconds
        self.clock.now += seconds

    def new_client(self) -> WebClient:
        """A new client that is not logged in."""
        return WebClient(self.url, self.pool)

    async def add_person(self, login: str, role: Role, phone: str = "", language: str = "") -> int:
        """Add a console user with the password PASSWORD; returns the user's id."""
        now = self.web.now()
        return await self.web.write(
            lambda connection: add_console_user(connection, ACTOR, now, login, _QUICK_HASH, role, phone, language)
        )

    async def enter(self, number: int) -> WebClient:
        """A client logged in as a user, without hashing a password."""
        cookie = secrets.token_urlsafe(32)
        now = self.web.now()
        await self.web.write(lambda connection: open_session(connection, number, hash_token(cookie), "192.0.2.7", now))
        client = self.new_client()
        client.cookies[SESSION_COOKIE] = (cookie, "/")
        return client

    async def as_(self, role: Role, phone: str = "") -> WebClient:
        """A client logged in as a new user of a role; the login is the role's name and a few letters."""
        return await self.enter(await self.add_person(f"{role.value} {secrets.token_hex(3)}", role, phone))

    async def viewer(self) -> WebClient:
        """A client logged in as a new viewer."""
        return await self.as_(Role.VIEWER)

    async def operator(self, phone: str = "") -> WebClient:
        """A client logged in as a new operator."""
        return await self.as_(Role.OPERATOR, phone)

    async def admin(self) -> WebClient:
        """A client logged in as a new admin."""
        return await self.as_(Role.ADMIN)

    async def setup_link(self) -> str:
        """The path of a fresh set-up link."""
        link = secrets.token_urlsafe(24)
        now = self.web.now()
        await self.web.write(lambda connection: put_setup_link(connection, hash_token(link), now))
        return f"/setup/{link}"

    async def get(self, path: str, **headers: str) -> Answer:
        """Get a page as ``self.me``."""
        return await self.me.get(path, **headers)

    async def post(self, path: str, fields: Fields = (), /, **more: str) -> Answer:
        """Send a form as ``self.me``."""
        return await self.me.post(path, fields, **more)
