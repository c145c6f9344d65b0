"""Which page answers which address, and what holds for all: who may see it, where forms come from, errors.

A page cannot be added without saying which role it is for. Handlers get a Visit and give
bytes, or raise; not one of them looks at roles or CSRF codes itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from klein import Klein
from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.web.iweb import IRequest

from pbxrouter.errors import EditConflict, EditRefused, NotThere, PbxrouterError, StoreError
from pbxrouter.security import Role
from pbxrouter.text import Sentence
from pbxrouter.web.console.auth import SessionAuth
from pbxrouter.web.console.menu import menu_for
from pbxrouter.web.console.request import PageRequest, read_form
from pbxrouter.web.console.templates import Pages
from pbxrouter.web.language import Translator

Handler = Callable[..., Awaitable[bytes]]
MAX_NOTICES: Final = 1000
"""Sessions for which notices wait."""
MAX_WAITING: Final = 5
"""Notices that wait for one session; of more, the last ones count."""
MAX_ROW: Final = 2**63 - 1
"""No row of the database has a greater number, and the database takes none."""


class Redirect(Exception):
    """The answer is another page: see there (303).

    Args:
        path: within the console.
        notice: what that page shall say on top, once.
        undo: the audit log's entry that a button beside the notice takes back.
    """

    def __init__(self, path: str, notice: Sentence | None = None, undo: int | None = None) -> None:
        super().__init__(path)
        self.path = path
        self.notice = None if notice is None else Notice(notice, undo)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the next page says once, on top.

    Attributes:
        undo: the audit log's entry that can be taken back by a button beside it.
    """

    said: Sentence
    undo: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One address.

    Attributes:
        role: who may; None is everybody.
    """

    path: str
    methods: tuple[str, ...]
    role: Role | None


class Router:
    """Adds pages to the site.

    Attributes:
        routes: all that were added.
    """

    log = Logger()

    def __init__(self, app: Klein, door: SessionAuth, pages: Pages) -> None:
        self._app = app
        self._door = door
        self._pages = pages
        self._notices: dict[str, list[Notice]] = {}
        self.routes: list[Route] = []

    def add(
        self,
        path: str,
        handler: Handler,
        role: Role | None,
        methods: tuple[str, ...] = ("GET",),
        csrf_exempt: bool = False,
    ) -> None:
        """Let a handler answer an address.

        Args:
            path: in klein's notation.
            handler: called with the Visit and the path's places by name.
            role: who may see it; None is everybody, logged in or not.
            methods: GET, or POST for whatever changes something.
            own_check: the handler itself sees to it that a form is one of ours (a page that stands
                in a frame of another site gets no cookies).
        """
        self.routes.append(Route(path, methods, role))

        async def serve(request: IRequest, **places: Any) -> bytes:
            return await self._serve(request, role, csrf_exempt, handler, places)

        self._app.route(path, methods=[*methods], endpoint=f"{','.join(methods)} {path}")(serve)

    async def _serve(
        self, request: Any, role: Role | None, own_check: bool, handler: Handler, places: dict[str, Any]
    ) -> bytes:
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        page_request = self._door.stranger(request)
        try:
            page_request = await self._door.page_request(request)
            if not own_check:
                self._door.set_visitor_cookie(page_request)
            return await self._answer(page_request, role, own_check, handler, places)
        except Redirect as on:
            if on.notice is not None:
                self.flash(page_request, on.notice)
            return see_other(request, on.path)
        except CancelledError:  # the browser has gone
            raise
        except Exception as error:
            return self._failed(page_request, error)

    async def _answer(
        self, page_request: PageRequest, role: Role | None, own_check: bool, handler: Handler, places: dict[str, Any]
    ) -> bytes:
        request = page_request.request
        if role is not None:
            if page_request.user is None:
                onward = quote(page_request.path, safe="/") if request.method in (b"GET", b"HEAD") else "/"
                raise Redirect("/login" if onward == "/" else f"/login?next={onward}")
            if not page_request.user.role.may(role):
                return self.problem(page_request, 403, Sentence("your role does not allow this page"))
        if request.method not in (b"GET", b"HEAD"):
            page_request.form = read_form(request)
            if not own_check and not self._door.csrf_valid(page_request, page_request.form):
                return self.problem(
                    page_request,
                    403,
                    Sentence(
                        "this form has expired or was not sent from this console; go back, reload the page and "
                        "try again. If it fails every time: cookies must be allowed here, and over plain HTTP "
                        "browsers keep them on this machine only"
                    ),
                )
        if any(isinstance(place, int) and place > MAX_ROW for place in places.values()):
            raise NotThere(Sentence("this page does not exist"))
        return await handler(page_request, **places)

    def _failed(self, page_request: PageRequest, error: Exception) -> bytes:
        match error:
            case NotThere():
                return self.problem(page_request, 404, error.sentence)
            case EditConflict():
                return self.problem(page_request, 409, error.sentence)
            case EditRefused():
                return self.problem(page_request, 400, error.sentence)
            case StoreError():
                self.log.error("console: {error}", error=str(error))
                return self.problem(
                    page_request, 503, Sentence("the database is not available; calls are routed by the last rules")
                )
            case PbxrouterError():
                return self.problem(page_request, 400, error.sentence)
        self.log.failure("console: {path} broke", path=page_request.path)
        return self.problem(page_request, 500, Sentence("internal error; see the gateway's log"))

    def problem(self, page_request: PageRequest, status: int, why: Sentence) -> bytes:
        """A page that says what is wrong."""
        page_request.request.setResponseCode(status)
        return self.page("problem.html", page_request, status=status, why=why)

    def page(self, template: str, page_request: PageRequest, **values: Any) -> bytes:
        """A page, with the notices that wait for this visitor."""
        notices = self._notices.pop(page_request.session, []) if page_request.session else []
        return self._pages.page(template, page_request, notices=notices, menu=menu_for(page_request), **values)

    @property
    def translator(self) -> Mapping[str, Translator]:
        """What pages say, by language."""
        return self._pages.translator

    def fragment(self, template: str, translator: Translator, **values: Any) -> str:
        """A part of a page, for one that is open already."""
        return self._pages.render(template, translator, **values)

    def flash(self, page_request: PageRequest, said: Notice) -> None:
        """Have the visitor's next page say this on top."""
        if page_request.session:
            waiting = self._notices.setdefault(page_request.session, [])
            waiting.append(said)
            del waiting[:-MAX_WAITING]
            if len(self._notices) > MAX_NOTICES:
                self._notices.pop(next(iter(self._notices)))


def see_other(request: Any, path: str) -> bytes:
    """Send the browser to another page of ours."""
    request.setResponseCode(303)
    request.setHeader("Location", path)
    return b""
