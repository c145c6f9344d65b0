"""What the pages of rules have in common: changing something so that it can be undone, addresses, warnings."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import urlencode, urlsplit

from pbxrouter.database import Page
from pbxrouter.database.audit import Actor, Edited
from pbxrouter.errors import EditConflict, EditRefused, NotThere
from pbxrouter.rules import RuleWarning
from pbxrouter.security import Role
from pbxrouter.web.console.request import Form, PageRequest, local_path
from pbxrouter.web.console.router import Redirect, Router
from pbxrouter.web.console.rules.change_messages import headline
from pbxrouter.web.context import WebContext
from pbxrouter.web.http.site import header

T = TypeVar("T")
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_ONE: Final = re.compile(r"(/rules/(?:mappings|extensions|users))/[0-9]{1,18}(?:/.*)?")


class Tools:
    """What every page of rules is made with."""

    def __init__(self, router: Router, web: WebContext) -> None:
        self.router: Final = router
        self.web: Final = web

    async def edit(
        self, page_request: PageRequest, work: Callable[[sqlite3.Connection, Actor, float], Edited[T]]
    ) -> Edited[T]:
        """Change rules as this visitor; when it returns, calls are decided by the changed ones.

        Raises:
            EditRefused, StoreError: as ``work`` raises them.
        """
        actor, now = page_request.actor, self.web.now()
        return await self.web.change(lambda connection: work(connection, actor, now))

    async def warnings_of(self, map_ids: Collection[int]) -> Mapping[int, tuple[RuleWarning, ...]]:
        """Those of a page of mappings, by the rules in force."""
        warnings = self.web.surveyor.warnings
        if warnings is None or not map_ids:
            return {}
        # Some patterns take long to see through; calls must not wait for them.
        return await self.web.in_thread(warnings.of_mappings, map_ids)

    def page(self, template: str, page_request: PageRequest, **values: Any) -> bytes:
        """A page of rules."""
        user = page_request.user
        may_change = user is not None and user.role.may(Role.OPERATOR)
        return self.router.page(
            f"rules/{template}",
            page_request,
            may_change=may_change,
            here=here(page_request),
            address=address,
            headline=headline,
            **values,
        )


def refuse(page_request: PageRequest, error: EditRefused) -> EditRefused:
    """Give the form's page the status of what is wrong.

    Raises:
        NotThere: what the form is about is gone, so there is no form either.
    """
    if isinstance(error, NotThere):
        raise error
    page_request.request.setResponseCode(409 if isinstance(error, EditConflict) else 400)
    return error


# --- addresses ----------------------------------------------------------------


def address(path: str, query: Mapping[str, object], anchor: str = "") -> str:
    """A path with a query of what is not empty."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return path + (f"?{urlencode(given, errors='replace')}" if given else "") + (anchor and f"#{anchor}")


def number_in(form: Form, name: str) -> int | None:
    """A number of a row that a form or an address names; None if it is none."""
    text = form.text(name)
    return int(text) if _NUMBER.fullmatch(text) else None


def pages_around(
    page: Page[Any], path: str, query: Mapping[str, object], prefix: str = "", anchor: str = ""
) -> tuple[str | None, str | None]:
    """Addresses of the page before and of the page behind, where there is one."""
    before, behind = (
        None if number is None else address(path, {**query, f"{prefix}{name}": number}, anchor)
        for name, number in (("before", page.previous), ("after", page.next))
    )
    return before, behind


def here(page_request: PageRequest) -> str:
    """This page's address within the console, for going back to it."""
    uri: bytes = page_request.request.uri
    return local_path(uri.decode("ascii", "replace"))


def way_back(page_request: PageRequest, otherwise: str) -> str:
    """The page of rules that a form says it stood on."""
    back = local_path(page_request.form.text("back"))
    return back if back.startswith("/rules/") else otherwise


def came_from(page_request: PageRequest, otherwise: str) -> str:
    """The page of rules that the browser says it comes from."""
    try:
        parts = urlsplit(header(page_request.request, "Referer"))
    except ValueError:
        return otherwise
    if parts.netloc.lower() != header(page_request.request, "Host").lower():
        return otherwise
    back = local_path(parts.path + (f"?{parts.query}" if parts.query else ""))
    return back if back.startswith("/rules/") else otherwise


def list_above(path: str) -> str | None:
    """The list in which something of a page is; None if the page is not of one thing."""
    found = _ONE.fullmatch(path.partition("?")[0])
    return found[1] if found else None


def go_back(page_request: PageRequest, otherwise: str, said: Any, undo: int | None) -> Redirect:
    """Back to where the form stood, saying what was done."""
    return Redirect(way_back(page_request, otherwise), said, undo=undo)
