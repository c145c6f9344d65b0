"""Builds the console from its pages; a new page's class is added to PAGES, and its entry to menu.MENU."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from klein import Klein
from werkzeug.exceptions import HTTPException

from pbxrouter.errors import StoreError
from pbxrouter.text import Sentence
from pbxrouter.web.console.account_page import AccountPage
from pbxrouter.web.console.call_pages import CallPages
from pbxrouter.web.console.click_to_dial.pages import ClickPages
from pbxrouter.web.console.console_user_pages import ConsoleUserPages
from pbxrouter.web.console.doctor_page import DoctorPage
from pbxrouter.web.console.lockout_pages import LockoutPages
from pbxrouter.web.console.login_pages import LoginPages
from pbxrouter.web.console.now_page import NowPage
from pbxrouter.web.console.router import Router
from pbxrouter.web.console.rules import RulePages
from pbxrouter.web.console.session_auth import InThread, SessionAuth
from pbxrouter.web.console.templates import Pages, Statics
from pbxrouter.web.console.token_pages import TokenPages
from pbxrouter.web.console.try_number import TryNumberPage
from pbxrouter.web.context import WebContext
from pbxrouter.web.http.guard import Visitors
from pbxrouter.web.http.site import AddRoutes
from pbxrouter.web.http.statics import add_statics
from pbxrouter.web.language import LANGUAGES, Translator

PAGES: tuple[Any, ...] = (
    NowPage,
    CallPages,
    TryNumberPage,
    TokenPages,
    LockoutPages,
    DoctorPage,
    RulePages,
    ClickPages,
)
"""Page classes, constructed with the Router and the WebContext; each adds its routes."""


def console_routes(web: WebContext, visitors: Visitors, in_thread: InThread) -> AddRoutes:
    """Return a function that adds the console to the site's Klein app."""

    def add_routes(app: Klein) -> None:
        add_console(app, web, visitors, in_thread)

    return add_routes


def add_console(app: Klein, web: WebContext, visitors: Visitors, in_thread: InThread) -> Router:
    """Add the console's routes to a Klein app.

    Returns:
        The router, which lists the routes.
    """
    translator = {language: Translator(language, web.zone) for language in LANGUAGES}
    statics = Statics()
    auth = SessionAuth(web, visitors, translator, in_thread)
    router = Router(app, auth, Pages(translator, statics), web.reactor.seconds)
    LoginPages(router, auth, web, in_thread)
    AccountPage(router, auth, web, in_thread)
    ConsoleUserPages(router, auth, web, in_thread)
    for page in PAGES:
        page(router, web)
    add_statics(app, statics)

    @app.handle_errors(HTTPException)
    async def no_such_page(request: Any, failure: Any) -> bytes:
        error: HTTPException = failure.value
        for name, value in error.get_headers():
            if name == "Allow":
                request.setHeader(name, value)
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        reasons = {
            404: Sentence("this page does not exist"),
            405: Sentence("this page does not accept this method"),
        }
        status = error.code or 500
        why = reasons.get(status, Sentence("the request cannot be completed"))
        if request.path.startswith(b"/api/"):
            request.setHeader("Content-Type", "application/json")
            request.setResponseCode(status)
            return json.dumps({"error": why.english}).encode() + b"\n"
        page_request = auth.anonymous(request)
        with contextlib.suppress(StoreError):  # the page is shown without a menu
            page_request = await auth.page_request(request)
            auth.set_visitor_cookie(page_request)
        return router.problem(page_request, status, why)

    return router
