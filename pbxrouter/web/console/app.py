"""All pages of the console, put together. A new page's class is named here, and in menu.MENU."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from klein import Klein
from werkzeug.exceptions import HTTPException

from pbxrouter.errors import StoreError
from pbxrouter.text import Sentence
from pbxrouter.web.console.account_page import Account
from pbxrouter.web.console.auth import InThread, SessionAuth
from pbxrouter.web.console.call_pages import Calls
from pbxrouter.web.console.click.pages import ClickPages
from pbxrouter.web.console.doctor_page import DoctorPage
from pbxrouter.web.console.login_pages import Entrance
from pbxrouter.web.console.now_page import Now
from pbxrouter.web.console.router import Router
from pbxrouter.web.console.rules import RulePages
from pbxrouter.web.console.templates import Pages, Statics
from pbxrouter.web.console.token_pages import TokenPages
from pbxrouter.web.console.try_number import TestNumber
from pbxrouter.web.console.user_pages import People
from pbxrouter.web.context import WebContext
from pbxrouter.web.http.guard import Visitors
from pbxrouter.web.http.site import AddRoutes
from pbxrouter.web.http.statics import add_statics
from pbxrouter.web.language import LANGUAGES, Translator

PAGES: tuple[Any, ...] = (
    Now,
    Calls,
    TestNumber,
    TokenPages,
    DoctorPage,
    RulePages,
    ClickPages,
)
"""Classes of pages: each is made with the Router and the WebContext, and adds its routes."""


def console_routes(web: WebContext, visitors: Visitors, in_thread: InThread) -> AddRoutes:
    """The console as a part of the site."""

    def add_routes(app: Klein) -> None:
        add_console(app, web, visitors, in_thread)

    return add_routes


def add_console(app: Klein, web: WebContext, visitors: Visitors, in_thread: InThread) -> Router:
    """Add the console; the router tells what was added."""
    translator = {language: Translator(language, web.zone) for language in LANGUAGES}
    statics = Statics()
    door = SessionAuth(web, visitors, translator, in_thread)
    router = Router(app, door, Pages(translator, statics))
    Entrance(router, door, web, in_thread)
    Account(router, door, web, in_thread)
    People(router, web, in_thread)
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
        words_of = {
            404: Sentence("this page does not exist"),
            405: Sentence("this page does not accept this method"),
        }
        status = error.code or 500
        why = words_of.get(status, Sentence("the request cannot be completed"))
        if request.path.startswith(b"/api/"):
            request.setHeader("Content-Type", "application/json")
            request.setResponseCode(status)
            return json.dumps({"error": why.english}).encode() + b"\n"
        page_request = door.stranger(request)
        with contextlib.suppress(StoreError):  # then without a menu
            page_request = await door.page_request(request)
            door.set_visitor_cookie(page_request)
        return router.problem(page_request, status, why)

    return router
