"""Builds the click-to-dial pages, which share the calls that were placed."""

from __future__ import annotations

from pbxrouter.web.click_to_dial.service import ClickToDial
from pbxrouter.web.console.click_to_dial.link_pages import LinkPages
from pbxrouter.web.console.click_to_dial.staff_pages import StaffPages
from pbxrouter.web.console.click_to_dial.visitor_pages import VisitorPages
from pbxrouter.web.console.router import Router
from pbxrouter.web.context import WebContext
from pbxrouter.web.language import LANGUAGES, Translator


class ClickPages:
    """The pages ``/click/…``, ``/dial`` and ``/settings/links``."""

    def __init__(self, router: Router, web: WebContext) -> None:
        dialling = ClickToDial(web)
        translator = {language: Translator(language, web.zone) for language in LANGUAGES}
        VisitorPages(router, web, dialling, translator)
        StaffPages(router, web, dialling)
        LinkPages(router, web, dialling)
