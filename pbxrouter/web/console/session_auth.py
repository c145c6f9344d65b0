"""Authentication of console users: sessions, CSRF tokens, and limits on login attempts.

A session cookie holds 32 random bytes, whose hash is in the database; each login creates a new one.
The CSRF token of a form is an HMAC of the session cookie, or before login of the visitor cookie.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from twisted.logger import Logger
from twisted.web.iweb import IRequest

from pbxrouter.database.access import ConsoleUser, close_session, credentials, open_session, session_user, touch_session
from pbxrouter.errors import EditRefused
from pbxrouter.security import RateLimit, hash_token, network_of
from pbxrouter.text import printable, sentence
from pbxrouter.web.console.request import Form, PageRequest, TooManyTries, read_query
from pbxrouter.web.context import WebContext
from pbxrouter.web.http.guard import Visitors
from pbxrouter.web.http.site import header, set_cookie
from pbxrouter.web.language import LANGUAGES, Translator, preferred_language

SESSION_COOKIE: Final = "pbxrouter_session"
VISITOR_COOKIE: Final = "pbxrouter_visitor"
LANGUAGE_COOKIE: Final = "pbxrouter_language"
_YEAR_S: Final = 365 * 86_400
MAX_KNOWN: Final = 1000

InThread = Callable[..., Awaitable[Any]]
"""Calls a function in a thread: in_thread(function, *arguments)."""


class SessionAuth:
    """Identifies the user of a request, and logs users in and out.

    Args:
        translator: a Translator for each language.
        in_thread: runs password hashing in a thread.
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
        # A new key invalidates the tokens of all open forms.
        self._key = hmac.digest(web.key, b"pbxrouter console forms", "sha256")
        self._visitors = visitors
        self._translators = translator
        self._in_thread = in_thread
        self._known: dict[str, None] = {}  # login and network of successful logins, the latest last
        # The narrow limits first: an attempt that they refuse does not count towards the one shared by all addresses.
        self._limits: Final = (
            RateLimit(per_minute=5, burst=20),  # of one address, any login
            RateLimit(per_minute=1, burst=5),  # of one login from one address
            RateLimit(per_minute=10, burst=40),  # of one login, any address
        )

    async def page_request(self, request: IRequest) -> PageRequest:
        """Return the request with its user and session, if it has a valid session cookie.

        Raises:
            StoreError: the database cannot be read.
        """
        user, session = None, ""
        cookie = _cookie(request, SESSION_COOKIE)
        if cookie:
            session = hash_token(cookie)
            user = await self._user(session)
        page_request = self.anonymous(request, user)
        if user is not None:
            page_request.user, page_request.session = user, session
            page_request.csrf_token = self._csrf_token(cookie)
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

    def anonymous(self, request: IRequest, user: ConsoleUser | None = None) -> PageRequest:
        """Return the request without a user, without reading the database.

        Args:
            user: the user whose language applies.
        """
        language = _cookie(request, LANGUAGE_COOKIE)
        if language not in LANGUAGES:
            own = user.language if user else ""
            language = own if own in LANGUAGES else preferred_language(header(request, "Accept-Language"))
        page_request = PageRequest(request, self._translators[language], self._visitors.address(request))
        page_request.query = read_query(request)
        visitor = _cookie(request, VISITOR_COOKIE)
        page_request.csrf_token = self._csrf_token(visitor) if visitor else ""
        return page_request

    def set_visitor_cookie(self, page_request: PageRequest) -> None:
        """Set the cookie from which CSRF tokens are derived before login, if it is missing."""
        if page_request.user is None and not page_request.csrf_token:
            token = secrets.token_urlsafe(32)
            set_cookie(page_request.request, VISITOR_COOKIE, token)
            page_request.csrf_token = self._csrf_token(token)

    def choose_language(self, page_request: PageRequest, language: str) -> None:
        """Set the cookie with the browser's chosen language."""
        if language in LANGUAGES:
            set_cookie(page_request.request, LANGUAGE_COOKIE, language, max_age_s=_YEAR_S)

    def csrf_valid(self, page_request: PageRequest, form: Form) -> bool:
        """Whether a form has the CSRF token of this session or visitor, and comes from this site."""
        origin = header(page_request.request, "Origin")
        if origin and origin.partition("://")[2].lower() != header(page_request.request, "Host").lower():
            return False
        if header(page_request.request, "Sec-Fetch-Site") in ("cross-site", "same-site"):
            return False
        token = form.get("csrf", "") or header(page_request.request, "X-CSRF")
        return bool(page_request.csrf_token) and hmac.compare_digest(token.encode(), page_request.csrf_token.encode())

    async def log_in(self, page_request: PageRequest, login: str, password: str) -> ConsoleUser:
        """Check login and password, and open a session; sets the session cookie.

        Raises:
            TooManyTries: too many attempts.
            EditRefused: the login or the password is wrong; the error does not say which.
            StoreError: the database cannot be used.
        """
        login = login.strip()[:100]
        await self.try_password(page_request, login)
        found = await self._web.read(lambda connection: credentials(connection, login))
        password_matches = await self._in_thread(self._web.passwords.fits, found[1] if found else None, password)
        if found is None or not password_matches or not found[0].enabled:
            self.log.warn(
                "console: login failed for {login} from {address}",
                login=printable(login),
                address=page_request.address,
            )
            raise EditRefused(sentence("wrong login or password"))
        self.password_was_right(page_request, login)
        await self.open(page_request, found[0].console_user_id)
        self.log.info("console: {login} logged in from {address}", login=found[0].login, address=page_request.address)
        return found[0]

    async def try_password(self, page_request: PageRequest, login: str) -> None:
        """Count a login attempt.

        Raises:
            TooManyTries: too many attempts.
        """
        keys = _limit_keys(page_request, login)
        for limit, key in zip(self._limits, keys, strict=True):
            if key == keys[-1] and keys[1] in self._known:
                continue  # attempts from many addresses must not lock its owner out
            wait_s = limit.wait_s(key, self._web.reactor.seconds())
            if wait_s:
                self.log.warn("console: too many login attempts from {address}", address=page_request.address)
                raise TooManyTries(wait_s)

    def password_was_right(self, page_request: PageRequest, login: str) -> None:
        """Take back the attempt that try_password counted."""
        keys = _limit_keys(page_request, login)
        for limit, key in zip(self._limits, keys, strict=True):
            limit.give_back(key)
        self._known.pop(keys[1], None)
        self._known[keys[1]] = None
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    async def open(self, page_request: PageRequest, console_user_id: int) -> None:
        """Open a session for a user, and close the request's old one; sets the session cookie."""
        token = secrets.token_urlsafe(32)
        if page_request.session:
            await self.log_out(page_request)
        now = self._web.now()
        await self._web.write(
            lambda connection: open_session(connection, console_user_id, hash_token(token), page_request.address, now)
        )
        set_cookie(page_request.request, SESSION_COOKIE, token)
        page_request.session = hash_token(token)

    async def log_out(self, page_request: PageRequest) -> None:
        """Close the session and delete its cookie."""
        session = page_request.session
        await self._web.write(lambda connection: close_session(connection, session))
        set_cookie(page_request.request, SESSION_COOKIE, "", max_age_s=0)

    def _csrf_token(self, cookie: str) -> str:
        return hmac.digest(self._key, cookie.encode("utf-8", "surrogateescape"), "sha256").hex()


def _cookie(request: Any, name: str) -> str:
    value: bytes | None = request.getCookie(name.encode("ascii"))
    return value.decode("latin-1") if value and len(value) < 200 else ""


def _limit_keys(page_request: PageRequest, login: str) -> tuple[str, str, str]:
    login, network = login.casefold(), network_of(page_request.address)
    return network, f"{login} {network}", login
