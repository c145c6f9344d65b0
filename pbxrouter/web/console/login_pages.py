"""Pages for login, logout, first set-up and choice of language."""

from __future__ import annotations

import hmac
from typing import Any, Final

from pbxrouter.database.access import is_setup_link, needs_setup, use_setup_link
from pbxrouter.database.audit import Actor
from pbxrouter.errors import EditRefused, NotThere
from pbxrouter.security import MIN_PASSWORD_LENGTH, Role, check_new_password, hash_token
from pbxrouter.text import sentence
from pbxrouter.web.console.request import (
    MAX_ONWARD,
    Form,
    PageRequest,
    TooManyTries,
    local_path,
    set_refused_status,
)
from pbxrouter.web.console.router import Redirect, Router
from pbxrouter.web.console.session_auth import InThread, SessionAuth
from pbxrouter.web.context import WebContext
from pbxrouter.web.http.site import set_cookie

SETUP_COOKIE: Final = "pbxrouter_setup"


class LoginPages:
    """The pages ``/login``, ``/logout``, ``/language`` and ``/setup``."""

    def __init__(self, router: Router, auth: SessionAuth, web: WebContext, in_thread: InThread) -> None:
        self._router = router
        self._auth = auth
        self._web = web
        self._in_thread = in_thread
        router.add("/login", self.login, None)
        router.add("/login", self.log_in, None, methods=("POST",))
        router.add("/logout", self.log_out, Role.VIEWER, methods=("POST",))
        router.add("/language", self.language, None, methods=("POST",))
        router.add("/setup", self.setup, None)
        router.add("/setup", self.set_up, None, methods=("POST",))
        router.add("/setup/<link>", self.setup_link, None)

    async def login(self, page_request: PageRequest) -> bytes:
        """Show the login form."""
        onward = _onward(page_request.query)
        if page_request.user is not None:
            raise Redirect(onward)
        return await self._login_page(page_request, onward)

    async def _login_page(self, page_request: PageRequest, onward: str, error: EditRefused | None = None) -> bytes:
        is_fresh = await self._web.read(needs_setup)
        return self._router.page(
            "login.html",
            page_request,
            onward=onward,
            login=page_request.form.text("login"),
            error=error,
            needs_setup=is_fresh,
        )

    async def log_in(self, page_request: PageRequest) -> bytes:
        """Log in with the form's login and password."""
        onward, before = _onward(page_request.form), page_request.session
        try:
            await self._auth.log_in(
                page_request, page_request.form.get("login", ""), page_request.form.get("password", "")
            )
        except TooManyTries as error:
            set_refused_status(page_request, error)
            return await self._login_page(page_request, onward, error)
        except EditRefused as error:
            page_request.request.setResponseCode(403)
            return await self._login_page(page_request, onward, error)
        self._router.once.forget(before)
        raise Redirect(onward)

    async def log_out(self, page_request: PageRequest) -> bytes:
        """End the session, and show the login page."""
        self._router.once.forget(page_request.session)
        await self._auth.log_out(page_request)
        raise Redirect("/login")

    async def language(self, page_request: PageRequest) -> bytes:
        """Change the console's language."""
        self._auth.choose_language(page_request, page_request.form.get("language", ""))
        raise Redirect(local_path(page_request.form.get("next", "/")))

    # --- set-up of the first admin ---

    async def setup_link(self, page_request: PageRequest, link: str) -> bytes:
        """Move the set-up link's secret from the URL into a cookie."""
        request: Any = page_request.request
        if not await self._is_valid(link):
            raise NotThere(
                sentence("this set-up link has been used or has expired; `pbxrouter console link` prints a new one")
            )
        set_cookie(request, SETUP_COOKIE, link, path="/setup", max_age_s=3600)
        request.setHeader("Referrer-Policy", "no-referrer")
        raise Redirect("/setup")

    async def _is_valid(self, link: str) -> bool:
        now = self._web.now()
        return await self._web.read(lambda connection: is_setup_link(connection, hash_token(link), now))

    async def setup(self, page_request: PageRequest) -> bytes:
        """Show the form for the first admin's login and password."""
        return await self._setup_page(page_request)

    async def _setup_page(self, page_request: PageRequest, error: EditRefused | None = None) -> bytes:
        link = _setup_cookie(page_request)
        if not link or not await self._is_valid(link):
            raise NotThere(
                sentence("open the set-up link that the gateway printed; `pbxrouter console link` prints a new one")
            )
        return self._router.page(
            "setup.html",
            page_request,
            login=page_request.form.text("login"),
            error=error,
            min_length=MIN_PASSWORD_LENGTH,
        )

    async def set_up(self, page_request: PageRequest) -> bytes:
        """Create the first admin and log them in."""
        link, login, password = (
            _setup_cookie(page_request),
            page_request.form.text("login"),
            page_request.form.get("password", ""),
        )
        try:
            check_new_password(password, login)
            if not hmac.compare_digest(password.encode(), page_request.form.get("again", "").encode()):
                raise EditRefused(sentence("the two passwords are different"), "again")
            if not await self._is_valid(link):
                raise EditRefused(sentence("this set-up link has been used or has expired"))
            hashed = await self._in_thread(self._web.passwords.hash, password)
            now = self._web.now()
            number = await self._web.write(
                lambda connection: use_setup_link(
                    connection, hash_token(link), now, login, hashed, Actor(login, "console")
                )
            )
        except EditRefused as error:
            page_request.request.setResponseCode(400)
            return await self._setup_page(page_request, error)
        await self._auth.open(page_request, number)
        request: Any = page_request.request
        set_cookie(request, SETUP_COOKIE, "", path="/setup", max_age_s=0)
        raise Redirect("/")


def _onward(form: Form) -> str:
    """The page to show after the login, as the router asked for it."""
    onward = local_path(form.get("next", "/"))
    return onward if len(onward) <= MAX_ONWARD else "/"


def _setup_cookie(page_request: PageRequest) -> str:
    request: Any = page_request.request
    value: bytes | None = request.getCookie(SETUP_COOKIE.encode("ascii"))
    return value.decode("latin-1") if value else ""
