"""Pages to list, create and revoke API tokens."""

from __future__ import annotations

import datetime
import functools
from typing import Final

from pbxrouter.database.access import add_token, list_tokens, revoke_token, token
from pbxrouter.errors import EditRefused
from pbxrouter.security import Role, Scope, hash_token, new_token
from pbxrouter.text import Sentence, sentence
from pbxrouter.web.console.request import PageRequest
from pbxrouter.web.console.router import Redirect, Router
from pbxrouter.web.context import WebContext

SCOPES: Final = (
    (Scope.READ, Sentence("views calls, rules and health, and tests numbers")),
    (Scope.RULES, Sentence("changes rules and PINs, and undoes changes")),
    (Scope.DIAL, Sentence("places calls")),
    (Scope.ADMIN, Sentence("manages console users, tokens and click-to-dial links, and runs the doctor")),
)


def epoch(text: str | None) -> float | None:
    """Epoch seconds of an ISO 8601 time in UTC, as the table stores it; None if it is not a time."""
    try:
        return None if text is None else datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


class TokenPages:
    """Serves the page ``/settings/tokens``."""

    def __init__(self, router: Router, web: WebContext) -> None:
        self._router = router
        self._web = web
        router.add("/settings/tokens", self.show, Role.ADMIN)
        router.add("/settings/tokens", self.create, Role.ADMIN, methods=("POST",))
        router.add("/settings/tokens/<int:number>", self.show_secret, Role.ADMIN)
        router.add("/settings/tokens/<int:number>/revoke", self.revoke, Role.ADMIN, methods=("POST",))

    async def show(self, page_request: PageRequest) -> bytes:
        """Show all tokens and the form for a new one."""
        return await self._list(page_request)

    async def _list(self, page_request: PageRequest, error: EditRefused | None = None) -> bytes:
        if error is not None:
            page_request.request.setResponseCode(400)
        tokens = await self._web.read(list_tokens)
        tokens.sort(key=lambda token_info: (token_info.revoked is not None, -token_info.token_id))
        return self._router.page(
            "settings/tokens.html", page_request, tokens=tokens, scopes=SCOPES, error=error, epoch=epoch
        )

    async def create(self, page_request: PageRequest) -> bytes:
        """Create a token, and redirect to the page that shows it."""
        secret = new_token()
        name = page_request.form.text("name")
        chosen = page_request.form.every("scope")
        try:
            if not chosen or any(chosen_scope not in {scope.value for scope in Scope} for chosen_scope in chosen):
                raise EditRefused(sentence("choose at least one scope"), "scopes")
            number = await self._web.write(
                lambda connection: add_token(
                    connection,
                    page_request.actor,
                    self._web.now(),
                    name,
                    hash_token(secret),
                    frozenset(Scope(scope) for scope in chosen),
                )
            )
        except EditRefused as error:
            return await self._list(page_request, error)
        raise self._router.show_once(page_request, f"/settings/tokens/{number}", (name, secret))

    async def show_secret(self, page_request: PageRequest, number: int) -> bytes:
        """Show a new token, until the browser leaves the page."""
        shown = self._router.once.get(page_request.session, page_request.path)
        if shown is None:
            await self._web.read(functools.partial(token, token_id=number))
            raise Redirect("/settings/tokens", Sentence("the new token is not shown any more"))
        name, secret = shown
        return self._router.page("settings/token.html", page_request, name=name, secret=secret)

    async def revoke(self, page_request: PageRequest, number: int) -> bytes:
        """Revoke a token, from the next request on."""
        found = await self._web.read(functools.partial(token, token_id=number))
        await self._web.write(lambda connection: revoke_token(connection, page_request.actor, self._web.now(), number))
        raise Redirect("/settings/tokens", sentence("{name} was revoked", name=found.name))
