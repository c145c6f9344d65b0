"""All pages of click-to-dial, put together: they share the calls that were begun."""

from __future__ import annotations

from pbxrouter.web.click import ClickToDial
from pbxrouter.web.console.click_links import LinkPages
from pbxrouter.web.console.click_staff import StaffPages
from pbxrouter.web.console.click_visitor import VisitorPages
from pbxrouter.web.console.router import Router
from pbxrouter.web.desk import Desk
from pbxrouter.web.words import LANGUAGES, Words


class ClickPages:
    """The pages ``/click/…``, ``/dial`` and ``/settings/links``."""

    def __init__(self, router: Router, desk: Desk) -> None:
        dialling = ClickToDial(desk)
        words = {language: Words(language, desk.zone) for language in LANGUAGES}
        VisitorPages(router, desk, dialling, words)
        StaffPages(router, desk, dialling)
        LinkPages(router, desk, dialling)
