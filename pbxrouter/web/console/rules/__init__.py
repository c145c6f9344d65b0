"""The pages under ``/rules``: mappings, extensions, users, grants, warnings, changes.

Something new on a mapping's page is a section: a class with a template and a ``read``
(sections.Section), named in mapping_page.SECTIONS. The same goes for extensions and users
(holder_page.SECTIONS).
"""

from __future__ import annotations

from pbxrouter.web.console.router import Router
from pbxrouter.web.console.rules.changes import ChangePages
from pbxrouter.web.console.rules.grants import GrantPages
from pbxrouter.web.console.rules.holder_page import HolderPage
from pbxrouter.web.console.rules.holders import HolderPages
from pbxrouter.web.console.rules.mapping_page import MappingPage
from pbxrouter.web.console.rules.mappings import MappingPages
from pbxrouter.web.console.rules.page_base import Tools
from pbxrouter.web.console.rules.pins import PinPages
from pbxrouter.web.console.rules.warnings import WarningPages
from pbxrouter.web.context import WebContext


class RulePages:
    """All of them; they share one look for warnings."""

    def __init__(self, router: Router, web: WebContext) -> None:
        tools = Tools(router, web)
        MappingPages(tools)
        MappingPage(tools)
        HolderPages(tools)
        HolderPage(tools)
        PinPages(tools)
        GrantPages(tools)
        WarningPages(tools)
        ChangePages(tools)
