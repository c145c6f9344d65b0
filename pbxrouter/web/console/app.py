"""All pages of the console, put together. A new page's class is named here, and in menu.MENU."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from klein import Klein
from werkzeug.exceptions import HTTPException

from pbxrouter.errors import StoreError
from pbxrouter.text.sentences import Step
from pbxrouter.web.console.account_page import Account
from pbxrouter.web.console.auth import Door, InThread
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
from pbxrouter.web.context import Desk
from pbxrouter.web.http.guard import Visitors
from pbxrouter.web.http.site import AddRoutes
from pbxrouter.web.http.statics import add_statics
from pbxrouter.web.language import LANGUAGES, Words

PAGES: tuple[Any, ...] = (
    Now,
    Calls,
    TestNumber,
    TokenPages,
    DoctorPage,
    RulePages,
    ClickPages,
)
"""Classes of pages: each is made with the Router and the Desk, and adds its routes."""


def console_routes(desk: Desk, visitors: Visitors, in_thread: InThread) -> AddRoutes:
    """The console as a part of the site."""

    def add_routes(app: Klein) -> None:
        add_console(app, desk, visitors, in_thread)

    return add_routes


def add_console(app: Klein, desk: Desk, visitors: Visitors, in_thread: InThread) -> Router:
    """Add the console; the router tells what was added."""
    words = {language: Words(language, desk.zone) for language in LANGUAGES}
    statics = Statics()
    door = Door(desk, visitors, words, in_thread)
    router = Router(app, door, Pages(words, statics))
    Entrance(router, door, desk, in_thread)
    Account(router, door, desk, in_thread)
    People(router, desk, in_thread)
    for each in PAGES:
        each(router, desk)
    add_statics(app, statics)

    @app.handle_errors(HTTPException)
    async def no_such_page(request: Any, failure: Any) -> bytes:
        error: HTTPException = failure.value
        for name, value in error.get_headers():
            if name == "Allow":
                request.setHeader(name, value)
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        words_of = {404: Step("there is no such page"), 405: Step("this page cannot be asked that way")}
        status = error.code or 500
        why = words_of.get(status, Step("this cannot be done"))
        if request.path.startswith(b"/api/"):
            request.setHeader("Content-Type", "application/json")
            request.setResponseCode(status)
            return json.dumps({"error": why.words}).encode() + b"\n"
        visit = door.stranger(request)
        with contextlib.suppress(StoreError):  # then without a menu
            visit = await door.visit(request)
            door.greet(visit)
        return router.problem(visit, status, why)

    return router
