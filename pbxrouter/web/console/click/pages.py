"""All pages of click-to-dial, put together: they share the calls that were begun."""

from __future__ import annotations

from pbxrouter.web.click.service import ClickToDial
from pbxrouter.web.console.click.link_pages import LinkPages
from pbxrouter.web.console.click.staff_pages import StaffPages
from pbxrouter.web.console.click.visitor_pages import VisitorPages
from pbxrouter.web.console.router import Router
from pbxrouter.web.context import Desk
from pbxrouter.web.language import LANGUAGES, Words


class ClickPages:
    """The pages ``/click/…``, ``/dial`` and ``/settings/links``."""

    def __init__(self, router: Router, desk: Desk) -> None:
        dialling = ClickToDial(desk)
        words = {language: Words(language, desk.zone) for language in LANGUAGES}
        VisitorPages(router, desk, dialling, words)
        StaffPages(router, desk, dialling)
        LinkPages(router, desk, dialling)
