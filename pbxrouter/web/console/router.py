"""Routes requests to pages, after checking session, role and CSRF token, and renders errors as pages.

A page cannot be added without its role. Handlers take a PageRequest and return bytes or raise; they do not
check roles or CSRF tokens themselves.
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

from pbxrouter.errors import EditConflict, EditRefused, ExportRefused, NotThere, PbxrouterError, StoreError
from pbxrouter.security import Role
from pbxrouter.text import Sentence
from pbxrouter.web.console.menu import menu_for
from pbxrouter.web.console.request import PageRequest, TooManyTries, read_form
from pbxrouter.web.console.session_auth import SessionAuth
from pbxrouter.web.console.shown_once import ShownOnce
from pbxrouter.web.console.templates import Pages
from pbxrouter.web.language import Translator

Handler = Callable[..., Awaitable[bytes]]
MAX_NOTICES: Final = 1000
"""Maximum number of sessions with pending notices."""
MAX_WAITING: Final = 5
"""Maximum number of pending notices of a session; the oldest are dropped."""
MAX_ROW: Final = 2**63 - 1
"""The greatest integer that SQLite stores, and so the greatest row id."""


class Redirect(Exception):
    """Redirects the browser to another page of the console, with status 303.

    Args:
        path: path within the console.
        notice: shown once on top of the next page.
        undo: the audit log entry that the notice's Undo button undoes.
    """

    def __init__(self, path: str, notice: Sentence | None = None, undo: int | None = None) -> None:
        super().__init__(path)
        self.path = path
        self.notice = None if notice is None else FlashMessage(notice, undo)


@dataclass(frozen=True, slots=True)
class FlashMessage:
    """A message shown once, on top of the next page.

    Attributes:
        undo: the audit log entry that its Undo button undoes; None for no button.
    """

    message: Sentence
    undo: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A path of the console, its methods, and who may use it.

    Attributes:
        path: in klein's notation.
        role: least role that may use it; None for a public page.
    """

    path: str
    methods: tuple[str, ...]
    role: Role | None


class Router:
    """Adds pages to a Klein app, and answers their requests.

    Attributes:
        routes: all routes added.
        once: secrets that a page shows after the form that made them.

    Args:
        seconds: the reactor's time.
    """

    log = Logger()

    def __init__(self, app: Klein, auth: SessionAuth, pages: Pages, seconds: Callable[[], float]) -> None:
        self._app = app
        self._auth = auth
        self._pages = pages
        self._notices: dict[str, list[FlashMessage]] = {}
        self.routes: list[Route] = []
        self.once = ShownOnce(seconds)

    def add(
        self,
        path: str,
        handler: Handler,
        role: Role | None,
        methods: tuple[str, ...] = ("GET",),
        csrf_exempt: bool = False,
    ) -> None:
        """Add a route.

        Args:
            path: in klein's notation.
            handler: called with the PageRequest and the path's placeholders by name.
            role: least role that may use it; None for a public page.
            methods: GET, or POST for a request that changes something.
            csrf_exempt: the handler checks the form's origin itself (a page embedded in another site
                gets no cookies).
        """
        self.routes.append(Route(path, methods, role))

        async def serve(request: IRequest, **places: Any) -> bytes:
            return await self._serve(request, role, csrf_exempt, handler, places)

        self._app.route(path, methods=[*methods], endpoint=f"{','.join(methods)} {path}")(serve)

    async def _serve(
        self, request: Any, role: Role | None, csrf_exempt: bool, handler: Handler, places: dict[str, Any]
    ) -> bytes:
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        page_request = self._auth.anonymous(request)
        try:
            page_request = await self._auth.page_request(request)
            if not csrf_exempt:
                self._auth.set_visitor_cookie(page_request)
            return await self._answer(page_request, role, csrf_exempt, handler, places)
        except Redirect as redirect:
            if redirect.notice is not None:
                self.flash(page_request, redirect.notice)
            return see_other(request, redirect.path)
        except CancelledError:  # the client has disconnected
            raise
        except Exception as error:
            return self._failed(page_request, error)

    async def _answer(
        self, page_request: PageRequest, role: Role | None, csrf_exempt: bool, handler: Handler, places: dict[str, Any]
    ) -> bytes:
        request = page_request.request
        if role is not None:
            if page_request.user is None:
                onward = quote(page_request.here, safe="/")
                raise Redirect("/login" if onward == "/" else f"/login?next={onward}")
            if not page_request.user.role.may(role):
                return self.problem(page_request, 403, Sentence("your role does not allow this page"))
        if request.method not in (b"GET", b"HEAD"):
            page_request.form = read_form(request)
            if not csrf_exempt and not self._auth.csrf_valid(page_request, page_request.form):
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
            case TooManyTries():
                page_request.request.setHeader("Retry-After", str(error.wait_s))
                return self.problem(page_request, 429, error.sentence)
            case EditRefused():
                return self.problem(page_request, 400, error.sentence)
            case StoreError():
                self.log.error("console: {error}", error=str(error))
                return self.problem(
                    page_request, 503, Sentence("the database is not available; calls are routed by the last rules")
                )
            case ExportRefused():
                return self.problem(page_request, 503, error.sentence)
            case PbxrouterError():
                return self.problem(page_request, 400, error.sentence)
        self.log.failure("console: unhandled error in {path}", path=page_request.path)
        return self.problem(page_request, 500, Sentence("internal error; see the gateway's log"))

    def problem(self, page_request: PageRequest, status: int, why: Sentence) -> bytes:
        """Render an error page."""
        page_request.request.setResponseCode(status)
        return self._page("problem.html", page_request, status=status, why=why)

    def page(self, template: str, page_request: PageRequest, **values: Any) -> bytes:
        """Render a page with the menu and the session's pending notices; forget the secret of another page."""
        self.once.leave(page_request.session, page_request.path)
        return self._page(template, page_request, **values)

    def show_once(self, page_request: PageRequest, path: str, value: Any, anchor: str = "") -> Redirect:
        """A redirect to the page that shows a secret, until the browser leaves that page."""
        self.once.put(page_request.session, path, value)
        return Redirect(path + anchor)

    def _page(self, template: str, page_request: PageRequest, **values: Any) -> bytes:
        notices = self._notices.pop(page_request.session, []) if page_request.session else []
        return self._pages.page(template, page_request, notices=notices, menu=menu_for(page_request), **values)

    @property
    def translator(self) -> Mapping[str, Translator]:
        """The Translator of each language."""
        return self._pages.translator

    def fragment(self, template: str, translator: Translator, **values: Any) -> str:
        """Render a part of a page, to update an open one."""
        return self._pages.render(template, translator, **values)

    def flash(self, page_request: PageRequest, notice: FlashMessage) -> None:
        """Show a notice on the session's next page."""
        if page_request.session:
            waiting = self._notices.setdefault(page_request.session, [])
            waiting.append(notice)
            del waiting[:-MAX_WAITING]
            if len(self._notices) > MAX_NOTICES:
                self._notices.pop(next(iter(self._notices)))


def see_other(request: Any, path: str) -> bytes:
    """Redirect the browser to a path of the console (303)."""
    request.setResponseCode(303)
    request.setHeader("Location", path)
    return b""
