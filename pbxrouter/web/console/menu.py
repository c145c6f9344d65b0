"""What the console offers, in the order of its menu; a new page gets its line here.

Not here: the pages, and who may see them (router); the menu only leaves out what its reader may not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pbxrouter.security.roles import Role
from pbxrouter.text.sentences import Step
from pbxrouter.web.console.request import Visit


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the menu.

    Attributes:
        path: the page; the line is marked on pages beneath it, too.
        icon: its name in templates/icons.html.
        role: who sees it.
    """

    path: str
    label: Step
    icon: str
    role: Role = Role.VIEWER

    def is_here(self, path: str) -> bool:
        """Whether a path is this page or beneath it."""
        return path == self.path or (self.path != "/" and path.startswith(f"{self.path}/"))


@dataclass(frozen=True, slots=True)
class Section:
    """Lines that belong together, under a heading of their own if it has one."""

    label: Step | None
    entries: tuple[Entry, ...]


MENU: Final = (
    Section(
        None,
        (
            Entry("/", Step("Now"), "pulse"),
            Entry("/calls", Step("Calls"), "list"),
            Entry("/test", Step("Test a number"), "route"),
            Entry("/dial", Step("Dial"), "phone", Role.OPERATOR),
        ),
    ),
    Section(
        Step("Rules"),
        (
            Entry("/rules/mappings", Step("Mappings"), "hash"),
            Entry("/rules/extensions", Step("Extensions"), "desk"),
            Entry("/rules/users", Step("Users"), "person"),
            Entry("/rules/grants", Step("Grants"), "grid"),
            Entry("/rules/warnings", Step("Warnings"), "warning"),
            Entry("/rules/changes", Step("Changes"), "clock"),
        ),
    ),
    Section(
        Step("Settings"),
        (
            Entry("/settings/account", Step("My account"), "key"),
            Entry("/settings/people", Step("Console users"), "people", Role.ADMIN),
            Entry("/settings/tokens", Step("API tokens"), "code", Role.ADMIN),
            Entry("/settings/links", Step("Click to dial"), "link", Role.ADMIN),
            Entry("/settings/doctor", Step("Doctor"), "heart", Role.ADMIN),
        ),
    ),
)


def menu_for(visit: Visit) -> list[Section]:
    """The part of the menu that a visitor may use; nothing for who is not logged in."""
    user = visit.user
    if user is None:
        return []
    sections = (
        Section(each.label, tuple(entry for entry in each.entries if user.role.may(entry.role)))
        for each in MENU
    )
    return [each for each in sections if each.entries]
