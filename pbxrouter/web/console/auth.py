"""Who is at the console's door: sessions, the code in each form (CSRF), and how often one may try to log in.

A session's cookie holds 32 random bytes whose hash is in the database; logging in always makes
a new one. A form brings back an HMAC of that cookie, or of a visitor's cookie before anybody is
logged in.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from twisted.logger import Logger
from twisted.web.iweb import IRequest

from pbxrouter.database.people import ConsoleUser, close_session, credentials, open_session, session_user, touch_session
from pbxrouter.errors import EditRefused
from pbxrouter.security import RateLimit, hash_token, network_of
from pbxrouter.text import printable, sentence
from pbxrouter.web.console.request import Form, PageRequest, read_query
from pbxrouter.web.context import WebContext
from pbxrouter.web.http.guard import Visitors
from pbxrouter.web.http.site import header, set_cookie
from pbxrouter.web.language import LANGUAGES, Translator, wished

SESSION_COOKIE: Final = "pbxrouter_session"
VISITOR_COOKIE: Final = "pbxrouter_visitor"
LANGUAGE_COOKIE: Final = "pbxrouter_language"
_YEAR_S: Final = 365 * 86_400
MAX_KNOWN: Final = 1000

InThread = Callable[..., Awaitable[Any]]
"""Calls a function in a thread: in_thread(function, *arguments)."""


class TooManyTries(EditRefused):
    """Logging in was tried too often.

    Attributes:
        wait_s: seconds until it may be tried again.
    """

    def __init__(self, wait_s: float) -> None:
        self.wait_s = int(wait_s) + 1
        super().__init__(sentence("too many tries; wait {seconds} s and try again", seconds=self.wait_s))


class SessionAuth:
    """Lets people in.

    Args:
        in_thread: where passwords are hashed.
    """

    log = Logger()

    def __init__(
        self,
        web: WebContext,
        visitors: Visitors,
        translator: Mapping[str, Translator],
        in_thread: InThread,
    ) -> None:
        self._web = web
        # Another key makes all open forms void.
        self._key = hmac.digest(web.key, b"pbxrouter console forms", "sha256")
        self._visitors = visitors
        self._translators = translator
        self._in_thread = in_thread
        self._known: dict[str, None] = {}  # logins with the networks from which they got in, the latest last
        # The narrow ones first: what they refuse does not count in the one that all addresses share.
        self._limits: Final = (
            RateLimit(per_minute=5, burst=20),  # from one address, whatever the login
            RateLimit(per_minute=1, burst=5),  # of one login, from one address
            RateLimit(per_minute=10, burst=40),  # of one login, from wherever
        )

    async def page_request(self, request: IRequest) -> PageRequest:
        """Find out who asks.

        Raises:
            StoreError: the database cannot be read.
        """
        user, session = None, ""
        cookie = _cookie(request, SESSION_COOKIE)
        if cookie:
            session = hash_token(cookie)
            user = await self._user(session)
        page_request = self.stranger(request, user)
        if user is not None:
            page_request.user, page_request.session = user, session
            page_request.csrf_token = self._code(cookie)
        return page_request

    async def _user(self, session: str) -> ConsoleUser | None:
        now = self._web.now()
        found = await self._web.read(lambda connection: session_user(connection, session, now))
        if found is None:
            return None
        user, is_stale = found
        if is_stale:
            await self._web.write(lambda connection: touch_session(connection, session, now))
        return user

    def stranger(self, request: IRequest, user: ConsoleUser | None = None) -> PageRequest:
        """A visit without a look into the database, as of somebody who is not logged in."""
        language = _cookie(request, LANGUAGE_COOKIE)
        if language not in LANGUAGES:
            own = user.language if user else ""
            language = own if own in LANGUAGES else wished(header(request, "Accept-Language"))
        page_request = PageRequest(request, self._translators[language], self._visitors.address(request))
        page_request.query = read_query(request)
        before = _cookie(request, VISITOR_COOKIE)
        page_request.csrf_token = self._code(before) if before else ""
        return page_request

    def set_visitor_cookie(self, page_request: PageRequest) -> None:
        """Give somebody who is not logged in the cookie that the forms for strangers need."""
        if page_request.user is None and not page_request.csrf_token:
            made = secrets.token_urlsafe(32)
            set_cookie(page_request.request, VISITOR_COOKIE, made)
            page_request.csrf_token = self._code(made)

    def choose_language(self, page_request: PageRequest, language: str) -> None:
        """Show this language from now on."""
        if language in LANGUAGES:
            set_cookie(page_request.request, LANGUAGE_COOKIE, language, max_age_s=_YEAR_S)

    def csrf_valid(self, page_request: PageRequest, form: Form) -> bool:
        """Whether a form is one that we gave to this very visitor."""
        origin = header(page_request.request, "Origin")
        if origin and origin.partition("://")[2].lower() != header(page_request.request, "Host").lower():
            return False
        if header(page_request.request, "Sec-Fetch-Site") in ("cross-site", "same-site"):
            return False
        brought = form.get("csrf", "") or header(page_request.request, "X-CSRF")
        return bool(page_request.csrf_token) and hmac.compare_digest(brought.encode(), page_request.csrf_token.encode())

    async def log_in(self, page_request: PageRequest, login: str, password: str) -> ConsoleUser:
        """Log somebody in; the answer carries their new session's cookie.

        Raises:
            TooManyTries: it was tried too often.
            EditRefused: login and password do not fit; which of the two is not said.
            StoreError: the database cannot be used.
        """
        login = login.strip()[:100]
        await self.try_password(page_request, login)
        found = await self._web.read(lambda connection: credentials(connection, login))
        fits = await self._in_thread(self._web.passwords.fits, found[1] if found else None, password)
        if found is None or not fits or not found[0].enabled:
            self.log.warn(
                "console: a login as {login} from {address} failed",
                login=printable(login),
                address=page_request.address,
            )
            raise EditRefused(sentence("login and password do not fit"))
        self.password_was_right(page_request, login)
        await self.open(page_request, found[0].console_user_id)
        self.log.info(
            "console: {login} has logged in from {address}", login=found[0].login, address=page_request.address
        )
        return found[0]

    async def try_password(self, page_request: PageRequest, login: str) -> None:
        """Count a try.

        Raises:
            TooManyTries: there were too many.
        """
        limited = _limited(page_request, login)
        for limit, key in zip(self._limits, limited, strict=True):
            if key == limited[-1] and limited[1] in self._known:
                continue  # whoever tries from many places does not keep its owner out
            wait_s = limit.wait_s(key, self._web.reactor.seconds())
            if wait_s:
                self.log.warn("console: too many logins from {address}", address=page_request.address)
                raise TooManyTries(wait_s)

    def password_was_right(self, page_request: PageRequest, login: str) -> None:
        """The try does not count after all."""
        limited = _limited(page_request, login)
        for limit, key in zip(self._limits, limited, strict=True):
            limit.give_back(key)
        self._known.pop(limited[1], None)
        self._known[limited[1]] = None
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    async def open(self, page_request: PageRequest, console_user_id: int) -> None:
        """Begin a session."""
        made = secrets.token_urlsafe(32)
        if page_request.session:
            await self.log_out(page_request)
        now = self._web.now()
        await self._web.write(
            lambda connection: open_session(connection, console_user_id, hash_token(made), page_request.address, now)
        )
        set_cookie(page_request.request, SESSION_COOKIE, made)
        page_request.session = hash_token(made)

    async def log_out(self, page_request: PageRequest) -> None:
        """End the session."""
        session = page_request.session
        await self._web.write(lambda connection: close_session(connection, session))
        set_cookie(page_request.request, SESSION_COOKIE, "", max_age_s=0)

    def _code(self, cookie: str) -> str:
        return hmac.digest(self._key, cookie.encode("utf-8", "surrogateescape"), "sha256").hex()


def _cookie(request: Any, name: str) -> str:
    value: bytes | None = request.getCookie(name.encode("ascii"))
    return value.decode("latin-1") if value and len(value) < 200 else ""


def _limited(page_request: PageRequest, login: str) -> tuple[str, str, str]:
    login, network = login.casefold(), network_of(page_request.address)
    return network, f"{login} {network}", login
