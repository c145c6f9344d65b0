"""The page of a console user's own account: password, phone and language."""

from __future__ import annotations

from pbxrouter.database.access import credentials, set_console_password, update_console_user
from pbxrouter.errors import EditRefused
from pbxrouter.security import Role, check_new_password
from pbxrouter.text import sentence
from pbxrouter.web.console.request import PageRequest, set_refused_status
from pbxrouter.web.console.router import Redirect, Router
from pbxrouter.web.console.session_auth import InThread, SessionAuth
from pbxrouter.web.context import WebContext
from pbxrouter.web.language import LANGUAGES


class AccountPage:
    """Serves the page ``/settings/account``."""

    def __init__(self, router: Router, auth: SessionAuth, web: WebContext, in_thread: InThread) -> None:
        self._router = router
        self._auth = auth
        self._web = web
        self._in_thread = in_thread
        router.add("/settings/account", self.show, Role.VIEWER)
        router.add("/settings/account", self.change, Role.VIEWER, methods=("POST",))
        router.add("/settings/account/password", self.change_password, Role.VIEWER, methods=("POST",))

    async def show(self, page_request: PageRequest) -> bytes:
        """Show the forms for phone and language and for the password."""
        return self._page(page_request)

    def _page(self, page_request: PageRequest, error: EditRefused | None = None) -> bytes:
        assert page_request.user is not None
        if error is not None:
            set_refused_status(page_request, error)
        phone = page_request.form.get("phone", page_request.user.phone)
        language = page_request.form.get("language", page_request.user.language)
        return self._router.page(
            "settings/account.html", page_request, phone=phone, language=language, error=error, languages=LANGUAGES
        )

    async def change(self, page_request: PageRequest) -> bytes:
        """Change phone and language."""
        user = page_request.user
        assert user is not None
        language = page_request.form.get("language", "")
        phone = page_request.form.text("phone")
        try:
            if language not in ("", *LANGUAGES):
                raise EditRefused(sentence("choose a language from the list"), "language")
            if phone != user.phone and not user.role.may(Role.OPERATOR):
                raise EditRefused(sentence("viewers cannot dial, so they cannot set a phone"), "phone")
            self._web.check_phone(phone, user.phone)
            await self._web.write(
                lambda connection: update_console_user(
                    connection,
                    page_request.actor,
                    self._web.now(),
                    user.console_user_id,
                    phone=phone,
                    language=language,
                )
            )
        except EditRefused as error:
            return self._page(page_request, error)
        if language:
            self._auth.choose_language(page_request, language)
        raise Redirect("/settings/account", sentence("your account was changed"))

    async def change_password(self, page_request: PageRequest) -> bytes:
        """Change the password; all other sessions of the user end."""
        user = page_request.user
        assert user is not None
        new = page_request.form.get("password", "")
        try:
            await self._auth.try_password(page_request, user.login)
            found = await self._web.read(lambda connection: credentials(connection, user.login))
            old = page_request.form.get("old", "")
            if not await self._in_thread(self._web.passwords.fits, found[1] if found else None, old):
                raise EditRefused(sentence("the current password is wrong"), "old")
            self._auth.password_was_right(page_request, user.login)
            check_new_password(new, user.login)
            if new != page_request.form.get("again", ""):
                raise EditRefused(sentence("the two passwords are different"), "again")
            hashed = await self._in_thread(self._web.passwords.hash, new)
            await self._web.write(
                lambda connection: set_console_password(
                    connection, page_request.actor, self._web.now(), user.console_user_id, hashed
                )
            )
        except EditRefused as error:
            return self._page(page_request, error)
        await self._auth.open(page_request, user.console_user_id)
        raise Redirect("/settings/account", sentence("your password was changed"))
