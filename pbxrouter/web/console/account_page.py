"""My account: the own password, phone and language; for everybody who may log in."""

from __future__ import annotations

from pbxrouter.database.people.console_users import credentials, set_console_password, update_console_user
from pbxrouter.errors import EditRefused
from pbxrouter.security.passwords import check_new_password, hash_password, password_fits
from pbxrouter.security.roles import Role
from pbxrouter.text.sentences import step
from pbxrouter.web.console.auth import Door, InThread
from pbxrouter.web.console.request import Visit
from pbxrouter.web.console.router import GoOn, Router
from pbxrouter.web.context import Desk
from pbxrouter.web.language import LANGUAGES


class Account:
    """The page ``/settings/account``."""

    def __init__(self, router: Router, door: Door, desk: Desk, in_thread: InThread) -> None:
        self._router = router
        self._door = door
        self._desk = desk
        self._in_thread = in_thread
        router.add("/settings/account", self.show, Role.VIEWER)
        router.add("/settings/account", self.change, Role.VIEWER, methods=("POST",))
        router.add("/settings/account/password", self.change_password, Role.VIEWER, methods=("POST",))

    async def show(self, visit: Visit) -> bytes:
        """Both forms."""
        return self._page(visit)

    def _page(self, visit: Visit, error: EditRefused | None = None) -> bytes:
        assert visit.user is not None
        if error is not None:
            visit.request.setResponseCode(400)
        phone = visit.form.get("phone", visit.user.phone)
        language = visit.form.get("language", visit.user.language)
        return self._router.page(
            "settings/account.html", visit, phone=phone, language=language, error=error, languages=LANGUAGES
        )

    async def change(self, visit: Visit) -> bytes:
        """Phone and language."""
        user = visit.user
        assert user is not None
        language = visit.form.get("language", "")
        phone = visit.form.text("phone")
        try:
            if language not in ("", *LANGUAGES):
                raise EditRefused(step("accepted are the languages in the list"), "language")
            if phone != user.phone and not user.role.may(Role.OPERATOR):
                raise EditRefused(step("who only looks has no phone to dial from"), "phone")
            await self._desk.write(
                lambda connection: update_console_user(
                    connection,
                    visit.actor,
                    self._desk.now(),
                    user.console_user_id,
                    phone=phone,
                    language=language,
                )
            )
        except EditRefused as error:
            return self._page(visit, error)
        if language:
            self._door.choose_language(visit, language)
        raise GoOn("/settings/account", step("your account is changed"))

    async def change_password(self, visit: Visit) -> bytes:
        """The password; whoever else is logged in by it must log in again."""
        user = visit.user
        assert user is not None
        new = visit.form.get("password", "")
        try:
            await self._door.try_password(visit, user.login)
            found = await self._desk.read(lambda connection: credentials(connection, user.login))
            old = visit.form.get("old", "")
            if not await self._in_thread(password_fits, found[1] if found else None, old):
                raise EditRefused(step("this is not your present password"), "old")
            self._door.password_was_right(visit, user.login)
            check_new_password(new, user.login)
            if new != visit.form.get("again", ""):
                raise EditRefused(step("the two passwords are not the same"), "again")
            hashed = await self._in_thread(hash_password, new)
            await self._desk.write(
                lambda connection: set_console_password(
                    connection, visit.actor, self._desk.now(), user.console_user_id, hashed
                )
            )
        except EditRefused as error:
            return self._page(visit, error)
        await self._door.open(visit, user.console_user_id)
        raise GoOn("/settings/account", step("your password is changed"))
