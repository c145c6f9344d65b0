"""The console's menu; a new page gets its entry here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pbxrouter.security import Role
from pbxrouter.text import Sentence
from pbxrouter.web.console.request import PageRequest


@dataclass(frozen=True, slots=True)
class MenuEntry:
    """A menu entry.

    Attributes:
        path: the page's path; the entry is also current on pages below it.
        icon: a name in templates/icons.html.
        role: least role that sees the entry.
    """

    path: str
    label: Sentence
    icon: str
    role: Role = Role.VIEWER

    def is_here(self, path: str) -> bool:
        """Whether a path is this page or below it."""
        return path == self.path or (self.path != "/" and path.startswith(f"{self.path}/"))


@dataclass(frozen=True, slots=True)
class MenuSection:
    """A group of menu entries, with an optional heading."""

    label: Sentence | None
    entries: tuple[MenuEntry, ...]


MENU: Final = (
    MenuSection(
        None,
        (
            MenuEntry("/", Sentence("Now"), "pulse"),
            MenuEntry("/calls", Sentence("Calls"), "list"),
            MenuEntry("/test", Sentence("Test a number"), "route"),
            MenuEntry("/dial", Sentence("Dial"), "phone", Role.OPERATOR),
        ),
    ),
    MenuSection(
        Sentence("Rules"),
        (
            MenuEntry("/rules/mappings", Sentence("Mappings"), "hash"),
            MenuEntry("/rules/extensions", Sentence("Extensions"), "desk"),
            MenuEntry("/rules/users", Sentence("Users"), "person"),
            MenuEntry("/rules/grants", Sentence("Grants"), "grid"),
            MenuEntry("/lockouts", Sentence("Lock-outs"), "lock"),
            MenuEntry("/rules/warnings", Sentence("Warnings"), "warning"),
            MenuEntry("/rules/changes", Sentence("Changes"), "clock"),
        ),
    ),
    MenuSection(
        Sentence("Settings"),
        (
            MenuEntry("/settings/account", Sentence("My account"), "key"),
            MenuEntry("/settings/console-users", Sentence("Console users"), "people", Role.ADMIN),
            MenuEntry("/settings/tokens", Sentence("API tokens"), "code", Role.ADMIN),
            MenuEntry("/settings/links", Sentence("Click to dial"), "link", Role.ADMIN),
            MenuEntry("/settings/doctor", Sentence("Doctor"), "heart", Role.ADMIN),
        ),
    ),
)


def menu_for(page_request: PageRequest) -> list[MenuSection]:
    """The menu entries that the request's user may see; empty without a user."""
    user = page_request.user
    if user is None:
        return []
    sections = (
        MenuSection(item.label, tuple(entry for entry in item.entries if user.role.may(entry.role))) for item in MENU
    )
    return [section for section in sections if section.entries]
