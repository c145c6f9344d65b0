"""Logging in and out, the first admin's set-up, and the switch of languages.

Not here: sessions and their checks (door), users and roles (settings pages).
"""

from __future__ import annotations

import hmac
from typing import Any, Final

from pbxrouter.database.audit.log import Actor
from pbxrouter.database.people.sessions import is_setup_link, needs_setup, use_setup_link
from pbxrouter.errors import EditRefused, NotThere
from pbxrouter.security.passwords import MIN_LENGTH, check_new_password, hash_password
from pbxrouter.security.roles import Role
from pbxrouter.security.tokens import hash_token
from pbxrouter.text.sentences import step
from pbxrouter.web.console.auth import Door, InThread, TooManyTries
from pbxrouter.web.console.request import Visit, local_path
from pbxrouter.web.console.router import GoOn, Router
from pbxrouter.web.context import Desk
from pbxrouter.web.http.site import set_cookie

SETUP_COOKIE: Final = "pbxrouter_setup"


class Entrance:
    """The pages for those who are not in yet."""

    def __init__(self, router: Router, door: Door, desk: Desk, in_thread: InThread) -> None:
        self._router = router
        self._door = door
        self._desk = desk
        self._in_thread = in_thread
        router.add("/login", self.login, None)
        router.add("/login", self.log_in, None, methods=("POST",))
        router.add("/logout", self.log_out, Role.VIEWER, methods=("POST",))
        router.add("/language", self.language, None, methods=("POST",))
        router.add("/setup", self.setup, None)
        router.add("/setup", self.set_up, None, methods=("POST",))
        router.add("/setup/<link>", self.setup_link, None)

    async def login(self, visit: Visit) -> bytes:
        """The form."""
        onward = local_path(visit.query.get("next", "/"))
        if visit.user is not None:
            raise GoOn(onward)
        return await self._login_page(visit, onward)

    async def _login_page(self, visit: Visit, onward: str, error: EditRefused | None = None) -> bytes:
        fresh = await self._desk.read(needs_setup)
        return self._router.page(
            "login.html", visit, onward=onward, login=visit.form.text("login"), error=error, needs_setup=fresh
        )

    async def log_in(self, visit: Visit) -> bytes:
        """Take login and password."""
        onward = local_path(visit.form.get("next", "/"))
        try:
            await self._door.log_in(visit, visit.form.get("login", ""), visit.form.get("password", ""))
        except TooManyTries as error:
            visit.request.setResponseCode(429, b"Too Many Requests")
            visit.request.setHeader("Retry-After", str(error.wait_s))
            return await self._login_page(visit, onward, error)
        except EditRefused as error:
            visit.request.setResponseCode(403)
            return await self._login_page(visit, onward, error)
        raise GoOn(onward)

    async def log_out(self, visit: Visit) -> bytes:
        """End the session."""
        await self._door.log_out(visit)
        raise GoOn("/login")

    async def language(self, visit: Visit) -> bytes:
        """Show everything in another language."""
        self._door.choose_language(visit, visit.form.get("language", ""))
        raise GoOn(local_path(visit.form.get("next", "/")))

    # --- the first admin ---

    async def setup_link(self, visit: Visit, link: str) -> bytes:
        """Take the link's secret out of the address, into a cookie."""
        request: Any = visit.request
        if not await self._is_good(link):
            raise NotThere(
                step(
                    "this set-up link was used already, or is too old; "
                    "`pbxrouter console link` prints a new one"
                )
            )
        set_cookie(request, SETUP_COOKIE, link, path="/setup", max_age_s=3600)
        request.setHeader("Referrer-Policy", "no-referrer")
        raise GoOn("/setup")

    async def _is_good(self, link: str) -> bool:
        now = self._desk.now()
        return await self._desk.read(lambda connection: is_setup_link(connection, hash_token(link), now))

    async def setup(self, visit: Visit) -> bytes:
        """The form in which the first admin chooses login and password."""
        return await self._setup_page(visit)

    async def _setup_page(self, visit: Visit, error: EditRefused | None = None) -> bytes:
        link = _setup_cookie(visit)
        if not link or not await self._is_good(link):
            raise NotThere(
                step(
                    "set-up begins with the link that the gateway printed; "
                    "`pbxrouter console link` prints a new one"
                )
            )
        return self._router.page(
            "setup.html", visit, login=visit.form.text("login"), error=error, min_length=MIN_LENGTH
        )

    async def set_up(self, visit: Visit) -> bytes:
        """Make the first admin, and log them in."""
        link, login, password = _setup_cookie(visit), visit.form.text("login"), visit.form.get("password", "")
        try:
            check_new_password(password, login)
            if not hmac.compare_digest(password.encode(), visit.form.get("again", "").encode()):
                raise EditRefused(step("the two passwords are not the same"), "again")
            if not await self._is_good(link):
                raise EditRefused(step("this set-up link was used already, or is too old"))
            hashed = await self._in_thread(hash_password, password)
            now = self._desk.now()
            number = await self._desk.write(
                lambda connection: use_setup_link(
                    connection, hash_token(link), now, login, hashed, Actor(login, "console")
                )
            )
        except EditRefused as error:
            visit.request.setResponseCode(400)
            return await self._setup_page(visit, error)
        await self._door.open(visit, number)
        request: Any = visit.request
        set_cookie(request, SETUP_COOKIE, "", path="/setup", max_age_s=0)
        raise GoOn("/")


def _setup_cookie(visit: Visit) -> str:
    request: Any = visit.request
    value: bytes | None = request.getCookie(SETUP_COOKIE.encode("ascii"))
    return value.decode("latin-1") if value else ""
