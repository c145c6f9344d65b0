"""What the pages of rules share: edits with undo, warnings, and URLs."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from pbxrouter.database import Connection, Page
from pbxrouter.database.audit import Actor, Edited
from pbxrouter.errors import EditRefused, NotThere
from pbxrouter.rules import RuleWarning
from pbxrouter.security import Role
from pbxrouter.text import Sentence
from pbxrouter.web.console.request import Form, PageRequest, local_path, own_referer, set_refused_status
from pbxrouter.web.console.router import Redirect, Router
from pbxrouter.web.console.rules.change_messages import headline
from pbxrouter.web.context import WebContext

T = TypeVar("T")
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_ONE: Final = re.compile(r"(/rules/(?:mappings|extensions|users))/[0-9]{1,18}(?:/.*)?")


class RuleContext:
    """The router and the WebContext, with what all pages of rules do with them."""

    def __init__(self, router: Router, web: WebContext) -> None:
        self.router: Final = router
        self.web: Final = web

    async def edit(self, page_request: PageRequest, work: Callable[[Connection, Actor, float], Edited[T]]) -> Edited[T]:
        """Change rules as the request's user; when it returns, calls are decided by the changed rules.

        Raises:
            EditRefused, StoreError: as ``work`` raises them.
        """
        actor, now = page_request.actor, self.web.now()
        return await self.web.change(lambda connection: work(connection, actor, now))

    async def warnings_of(self, map_ids: Collection[int]) -> Mapping[int, tuple[RuleWarning, ...]]:
        """The warnings about these mappings, by the rules in force."""
        warnings = self.web.surveyor.warnings
        if warnings is None or not map_ids:
            return {}
        # Some patterns take long to examine; calls must not wait for them.
        return await self.web.in_thread(warnings.of_mappings, map_ids)

    def repeated_extensions(self) -> Collection[int]:
        """The numbers of the rows of the extensions that are ignored, since an earlier row has the same number."""
        rules = self.web.engine.rules
        return () if rules is None else rules.repeated_extensions.keys()

    def page(self, template: str, page_request: PageRequest, **values: Any) -> bytes:
        """Render a page of rules."""
        # Begun early, since it takes a while with very many rules: it is known when the warnings are opened.
        _ = self.web.surveyor.known
        user = page_request.user
        may_change = user is not None and user.role.may(Role.OPERATOR)
        return self.router.page(
            f"rules/{template}",
            page_request,
            may_change=may_change,
            here=here(page_request),
            address=address,
            headline=headline,
            repeated=self.repeated_extensions(),
            **values,
        )


def refuse(page_request: PageRequest, error: EditRefused) -> EditRefused:
    """Set the status of a form's page by its error, which is returned.

    Raises:
        NotThere: the row that the form is about no longer exists, so the form is not shown.
    """
    if isinstance(error, NotThere):
        raise error
    set_refused_status(page_request, error)
    return error


# --- addresses ----------------------------------------------------------------


def address(path: str, query: Mapping[str, object], anchor: str = "") -> str:
    """A path with a query of all values that are not empty."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return path + (f"?{urlencode(given, errors='replace')}" if given else "") + (anchor and f"#{anchor}")


def number_in(form: Form, name: str) -> int | None:
    """A row id in a form or query; None if it is missing or not a number."""
    text = form.text(name)
    return int(text) if _NUMBER.fullmatch(text) else None


def pages_around(
    page: Page[Any], path: str, query: Mapping[str, object], prefix: str = "", anchor: str = ""
) -> tuple[str | None, str | None]:
    """URLs of the previous and the next page; None where there is none."""
    previous, following = (
        None if number is None else address(path, {**query, f"{prefix}{name}": number}, anchor)
        for name, number in (("before", page.previous), ("after", page.next))
    )
    return previous, following


def here(page_request: PageRequest) -> str:
    """The URL of the request, within the console."""
    uri: bytes = page_request.request.uri
    return local_path(uri.decode("ascii", "replace"))


def way_back(page_request: PageRequest, otherwise: str) -> str:
    """The page of rules that a form's field ``back`` names."""
    back = local_path(page_request.form.text("back"))
    return back if back.startswith("/rules/") else otherwise


def came_from(page_request: PageRequest, otherwise: str) -> str:
    """The page of rules that the Referer names."""
    back = own_referer(page_request.request)
    return back if back.startswith("/rules/") else otherwise


def list_above(path: str) -> str | None:
    """The list above the page of one mapping, extension or user; None for other pages."""
    found = _ONE.fullmatch(path.partition("?")[0])
    return found[1] if found else None


def go_back(page_request: PageRequest, otherwise: str, message: Sentence, undo: int | None) -> Redirect:
    """A redirect to the page of the form, with a notice."""
    return Redirect(way_back(page_request, otherwise), message, undo=undo)
