"""All pages of the console, put together. A new page's class is named here, and in menu.MENU."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from klein import Klein
from werkzeug.exceptions import HTTPException

from pbxrouter.errors import StoreError
from pbxrouter.text.sentences import Step
from pbxrouter.web.console.account import Account
from pbxrouter.web.console.calls import Calls
from pbxrouter.web.console.click_pages import ClickPages
from pbxrouter.web.console.doctor_page import DoctorPage
from pbxrouter.web.console.door import Door, InThread
from pbxrouter.web.console.entrance import Entrance
from pbxrouter.web.console.now import Now
from pbxrouter.web.console.pages import Pages, Statics
from pbxrouter.web.console.people import People
from pbxrouter.web.console.router import Router
from pbxrouter.web.console.rules import RulePages
from pbxrouter.web.console.test_number import TestNumber
from pbxrouter.web.console.token_pages import TokenPages
from pbxrouter.web.desk import Desk
from pbxrouter.web.guard import Visitors
from pbxrouter.web.server import add_statics
from pbxrouter.web.site import AddRoutes
from pbxrouter.web.words import LANGUAGES, Words

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
