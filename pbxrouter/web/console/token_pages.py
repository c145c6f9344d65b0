"""API tokens: made, shown once, revoked; for admins. Not here: what a token may (tokens, web.api)."""

from __future__ import annotations

import datetime
import functools
from typing import Final

from pbxrouter.database.people.tokens import (
    add_token,
    list_tokens,
    revoke_token,
    token,
)
from pbxrouter.errors import EditRefused
from pbxrouter.security.roles import Role
from pbxrouter.security.tokens import Scope, hash_token, new_token
from pbxrouter.text.sentences import Step, step
from pbxrouter.web.console.request import Visit
from pbxrouter.web.console.router import GoOn, Router
from pbxrouter.web.context import Desk

SCOPES: Final = (
    (Scope.READ, Step("sees calls, rules and health, and tests numbers")),
    (Scope.RULES, Step("changes rules and PINs, and takes changes back")),
    (Scope.DIAL, Step("has phones called")),
    (Scope.ADMIN, Step("console users, tokens, click-to-dial links, the doctor")),
)


def epoch(text: str | None) -> float | None:
    """Epoch seconds of an ISO 8601 time in UTC, as the table has them; None if it is none."""
    try:
        return None if text is None else datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


class TokenPages:
    """The page ``/settings/tokens``."""

    def __init__(self, router: Router, desk: Desk) -> None:
        self._router = router
        self._desk = desk
        router.add("/settings/tokens", self.show, Role.ADMIN)
        router.add("/settings/tokens", self.create, Role.ADMIN, methods=("POST",))
        router.add("/settings/tokens/<int:number>/revoke", self.revoke, Role.ADMIN, methods=("POST",))

    async def show(self, visit: Visit) -> bytes:
        """All, and the form for one more."""
        return await self._list(visit)

    async def _list(self, visit: Visit, error: EditRefused | None = None) -> bytes:
        if error is not None:
            visit.request.setResponseCode(400)
        tokens = await self._desk.read(list_tokens)
        tokens.sort(key=lambda each: (each.revoked is not None, -each.token_id))
        return self._router.page(
            "settings/tokens.html", visit, tokens=tokens, scopes=SCOPES, error=error, epoch=epoch
        )

    async def create(self, visit: Visit) -> bytes:
        """Make one; it is shown once."""
        made = new_token()
        name = visit.form.text("name")
        chosen = visit.form.every("scope")
        try:
            if not chosen or any(each not in {scope.value for scope in Scope} for each in chosen):
                raise EditRefused(step("choose what the token is good for"), "scopes")
            await self._desk.write(
                lambda connection: add_token(
                    connection,
                    visit.actor,
                    self._desk.now(),
                    name,
                    hash_token(made),
                    frozenset(Scope(each) for each in chosen),
                )
            )
        except EditRefused as error:
            return await self._list(visit, error)
        return self._router.page("settings/token.html", visit, name=name, made=made)

    async def revoke(self, visit: Visit, number: int) -> bytes:
        """Make one invalid, from the next request on."""
        found = await self._desk.read(functools.partial(token, token_id=number))
        await self._desk.write(
            lambda connection: revoke_token(connection, visit.actor, self._desk.now(), number)
        )
        raise GoOn("/settings/tokens", step("{name} is revoked", name=found.name))
