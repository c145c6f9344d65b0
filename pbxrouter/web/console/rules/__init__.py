"""The pages under ``/rules``: mappings, extensions, users, grants, warnings, changes.

A part of a mapping's page is a section: a class with a template and a ``read`` (sections.Section), listed in
mapping_page.SECTIONS; those of extensions and users are in holder_page.SECTIONS.
"""

from __future__ import annotations

from pbxrouter.web.console.router import Router
from pbxrouter.web.console.rules.change_pages import ChangePages
from pbxrouter.web.console.rules.grant_pages import GrantPages
from pbxrouter.web.console.rules.holder_list import HolderPages
from pbxrouter.web.console.rules.holder_page import HolderPage
from pbxrouter.web.console.rules.mapping_list import MappingPages
from pbxrouter.web.console.rules.mapping_page import MappingPage
from pbxrouter.web.console.rules.page_base import RuleContext
from pbxrouter.web.console.rules.pin_pages import PinPages
from pbxrouter.web.console.rules.warning_pages import WarningPages
from pbxrouter.web.context import WebContext


class RulePages:
    """Adds all pages of rules, with one RuleContext."""

    def __init__(self, router: Router, web: WebContext) -> None:
        context = RuleContext(router, web)
        MappingPages(context)
        MappingPage(context)
        HolderPages(context)
        HolderPage(context)
        PinPages(context)
        GrantPages(context)
        WarningPages(context)
        ChangePages(context)
