"""Pages to manage the console users; for admins."""

from __future__ import annotations

import functools
import secrets
import string
from typing import Any, Final

from pbxrouter.database.access import (
    ConsoleUser,
    add_console_user,
    console_user,
    delete_console_user,
    list_console_users,
    set_console_password,
    update_console_user,
)
from pbxrouter.errors import EditRefused
from pbxrouter.security import Role
from pbxrouter.text import Sentence, sentence
from pbxrouter.web.console.request import PageRequest
from pbxrouter.web.console.router import Redirect, Router
from pbxrouter.web.console.session_auth import InThread, SessionAuth
from pbxrouter.web.context import WebContext

ROLES: Final = (
    (Role.VIEWER, Sentence("viewer"), Sentence("views calls and rules, and tests numbers")),
    (
        Role.OPERATOR,
        Sentence("operator"),
        Sentence("also changes rules and PINs, and dials from their own phone"),
    ),
    (Role.ADMIN, Sentence("admin"), Sentence("full access, including console users and API tokens")),
)
"""Each role with its name and its permissions in words."""
_LETTERS: Final = "".join(sorted(set(string.ascii_letters + string.digits) - set("0O1lI")))


def new_password() -> str:
    """Generate a password that is easy to read out."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(5)) for _ in range(3))


def read_role(text: str) -> Role:
    """Parse the role in a form.

    Raises:
        EditRefused: there is no such role.
    """
    try:
        return Role(text)
    except ValueError:
        raise EditRefused(sentence("choose a role from the list"), "role") from None


class ConsoleUserPages:
    """Serves the pages ``/settings/console-users``."""

    def __init__(self, router: Router, auth: SessionAuth, web: WebContext, in_thread: InThread) -> None:
        self._router = router
        self._auth = auth
        self._web = web
        self._in_thread = in_thread
        router.add("/settings/console-users", self.show, Role.ADMIN)
        router.add("/settings/console-users", self.create, Role.ADMIN, methods=("POST",))
        router.add("/settings/console-users/<int:number>", self.show_one, Role.ADMIN)
        router.add("/settings/console-users/<int:number>", self.change, Role.ADMIN, methods=("POST",))
        router.add("/settings/console-users/<int:number>/password", self.reset, Role.ADMIN, methods=("POST",))
        router.add("/settings/console-users/<int:number>/password", self.show_password, Role.ADMIN)
        router.add("/settings/console-users/<int:number>/delete", self.delete, Role.ADMIN, methods=("POST",))
        router.add("/settings/people", self.old_list, Role.ADMIN)
        router.add("/settings/people/<int:number>", self.old_one, Role.ADMIN)

    async def show(self, page_request: PageRequest) -> bytes:
        """Show all console users and the form for a new one."""
        return await self._list(page_request)

    async def _list(self, page_request: PageRequest, error: EditRefused | None = None) -> bytes:
        if error is not None:
            page_request.request.setResponseCode(400)
        users = await self._web.read(list_console_users)
        return self._router.page("settings/console_users.html", page_request, users=users, roles=ROLES, error=error)

    async def old_list(self, page_request: PageRequest) -> bytes:
        """Redirect from the address that the list had in 0.1.0."""
        raise Redirect("/settings/console-users")

    async def old_one(self, page_request: PageRequest, number: int) -> bytes:
        """Redirect from the address that a console user's page had in 0.1.0."""
        await self._web.read(functools.partial(console_user, console_user_id=number))
        raise Redirect(f"/settings/console-users/{number}")

    async def create(self, page_request: PageRequest) -> bytes:
        """Create a console user, and redirect to the page that shows the generated password."""
        password = new_password()
        login = page_request.form.text("login")
        try:
            role = read_role(page_request.form.get("role", ""))
            self._web.check_phone(page_request.form.text("phone"))
            hashed = await self._in_thread(self._web.passwords.hash, password)
            number = await self._web.write(
                lambda connection: add_console_user(
                    connection,
                    page_request.actor,
                    self._web.now(),
                    login,
                    hashed,
                    role,
                    page_request.form.text("phone"),
                )
            )
        except EditRefused as error:
            return await self._list(page_request, error)
        raise self._router.show_once(page_request, f"/settings/console-users/{number}/password", (login, password))

    async def show_password(self, page_request: PageRequest, number: int) -> bytes:
        """Show the generated password, until the browser leaves the page."""
        shown = self._router.once.get(page_request.session, page_request.path)
        if shown is None:
            await self._web.read(functools.partial(console_user, console_user_id=number))
            raise Redirect(
                f"/settings/console-users/{number}", Sentence("the generated password is not shown any more")
            )
        login, password = shown
        return self._router.page("settings/password.html", page_request, login=login, password=password)

    async def show_one(self, page_request: PageRequest, number: int) -> bytes:
        """Show one console user."""
        return await self._one(page_request, number)

    async def _one(self, page_request: PageRequest, number: int, error: EditRefused | None = None) -> bytes:
        if error is not None:
            page_request.request.setResponseCode(400)
        user: ConsoleUser = await self._web.read(functools.partial(console_user, console_user_id=number))
        return self._router.page(
            "settings/console_user.html",
            page_request,
            console_user=user,
            roles=ROLES,
            error=error,
            form=page_request.form,
        )

    async def change(self, page_request: PageRequest, number: int) -> bytes:
        """Change role, phone, and whether the user can log in."""
        values: dict[str, Any] = {
            "phone": page_request.form.text("phone"),
            "enabled": page_request.form.get("enabled") == "1",
        }
        try:
            values["role"] = read_role(page_request.form.get("role", ""))
            stored = await self._web.read(functools.partial(console_user, console_user_id=number))
            self._web.check_phone(values["phone"], stored.phone)
            await self._web.write(
                lambda connection: update_console_user(
                    connection, page_request.actor, self._web.now(), number, **values
                )
            )
        except EditRefused as error:
            return await self._one(page_request, number, error)
        user = await self._web.read(functools.partial(console_user, console_user_id=number))
        raise Redirect("/settings/console-users", sentence("{name} was changed", name=user.login))

    async def reset(self, page_request: PageRequest, number: int) -> bytes:
        """Generate a new password, and redirect to the page that shows it; the user's sessions end.

        An admin's own goes on in a new one: only there is the password shown.
        """
        user = await self._web.read(functools.partial(console_user, console_user_id=number))
        password = new_password()
        hashed = await self._in_thread(self._web.passwords.hash, password)
        await self._web.write(
            lambda connection: set_console_password(connection, page_request.actor, self._web.now(), number, hashed)
        )
        if page_request.user is not None and page_request.user.console_user_id == number:
            await self._auth.open(page_request, number)
        raise self._router.show_once(page_request, f"/settings/console-users/{number}/password", (user.login, password))

    async def delete(self, page_request: PageRequest, number: int) -> bytes:
        """Delete a console user."""
        user = await self._web.read(functools.partial(console_user, console_user_id=number))
        await self._web.write(
            lambda connection: delete_console_user(connection, page_request.actor, self._web.now(), number)
        )
        raise Redirect("/settings/console-users", sentence("{name} was deleted", name=user.login))
