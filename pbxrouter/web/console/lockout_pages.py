"""The page of wrong PINs and lock-outs, and its buttons that lift them."""

from __future__ import annotations

from typing import Final

from pbxrouter.database import Connection, LockoutFigures, WrongGuesses, lift_lockout, list_guesses, lockout_figures
from pbxrouter.database.rules import names_of
from pbxrouter.errors import EditRefused
from pbxrouter.security import SCOPES, GuessKey, Role
from pbxrouter.text import Sentence, printable, sentence
from pbxrouter.web.console.request import PageRequest
from pbxrouter.web.console.router import Redirect, Router
from pbxrouter.web.context import WebContext

PATH: Final = "/lockouts"
SOURCES: Final = {
    "endpoint": Sentence("endpoint"),
    "number": Sentence("caller number"),
    "trunk": Sentence("number on a trunk"),
    "unnamed": Sentence("callers without a name"),
    "peer": Sentence("machine that sends calls"),
    "mapping": Sentence("mapping"),
    "gateway": Sentence("whole gateway"),
}


class LockoutPages:
    """Serves the page ``/lockouts``."""

    def __init__(self, router: Router, web: WebContext) -> None:
        self._router = router
        self._web = web
        router.add(PATH, self.show, Role.VIEWER)
        router.add(f"{PATH}/lift", self.lift, Role.OPERATOR, methods=("POST",))

    async def show(self, page_request: PageRequest) -> bytes:
        """Show who has keyed wrong PINs."""
        return await self._list(page_request)

    async def _list(self, page_request: PageRequest, error: EditRefused | None = None) -> bytes:
        if error is not None:
            page_request.request.setResponseCode(400)
        now = self._web.now()
        rows, figures, patterns = await self._web.read(lambda connection: _read(connection, now))
        user = page_request.user
        return self._router.page(
            "lockouts.html",
            page_request,
            rows=rows,
            figures=figures,
            sources=SOURCES,
            names={row.key: printable(patterns.get(row.key, row.key.name)) for row in rows},
            may_change=user is not None and user.role.may(Role.OPERATOR),
            error=error,
        )

    async def lift(self, page_request: PageRequest) -> bytes:
        """Forgive the wrong PINs of one source."""
        key = GuessKey(page_request.form.text("scope"), page_request.form.text("name"))
        try:
            if key.scope not in SCOPES:
                raise EditRefused(sentence("choose a source from the list"))
            await self._web.write(lambda connection: lift_lockout(connection, page_request.actor, self._web.now(), key))
        except EditRefused as error:
            return await self._list(page_request, error)
        self._web.pin_guard.lifted([key])
        raise Redirect(PATH, sentence("lock-out lifted: {name}", name=f"{key.scope} {key.name}".strip()))


def _read(connection: Connection, now: float) -> tuple[list[WrongGuesses], LockoutFigures, dict[GuessKey, str]]:
    """The rows, the figures, and the pattern of each mapping among them."""
    rows = list_guesses(connection, now)
    numbers = {row.key: int(row.key.name) for row in rows if row.key.scope == "mapping" and row.key.name.isdecimal()}
    patterns = names_of(connection, "mapping", sorted(set(numbers.values())))
    named = {key: patterns[number] for key, number in numbers.items() if number in patterns}
    return rows, lockout_figures(connection, now), named
