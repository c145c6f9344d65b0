"""The console's menu; a new page gets its entry here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pbxrouter.security import Role
from pbxrouter.text import Sentence
from pbxrouter.web.console.request import PageRequest


@dataclass(frozen=True, slots=True)
class Entry:
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
class Section:
    """A group of menu entries, with an optional heading."""

    label: Sentence | None
    entries: tuple[Entry, ...]


MENU: Final = (
    Section(
        None,
        (
            Entry("/", Sentence("Now"), "pulse"),
            Entry("/calls", Sentence("Calls"), "list"),
            Entry("/test", Sentence("Test a number"), "route"),
            Entry("/dial", Sentence("Dial"), "phone", Role.OPERATOR),
        ),
    ),
    Section(
        Sentence("Rules"),
        (
            Entry("/rules/mappings", Sentence("Mappings"), "hash"),
            Entry("/rules/extensions", Sentence("Extensions"), "desk"),
            Entry("/rules/users", Sentence("Users"), "person"),
            Entry("/rules/grants", Sentence("Grants"), "grid"),
            Entry("/lockouts", Sentence("Lock-outs"), "lock"),
            Entry("/rules/warnings", Sentence("Warnings"), "warning"),
            Entry("/rules/changes", Sentence("Changes"), "clock"),
        ),
    ),
    Section(
        Sentence("Settings"),
        (
            Entry("/settings/account", Sentence("My account"), "key"),
            Entry("/settings/people", Sentence("Console users"), "people", Role.ADMIN),
            Entry("/settings/tokens", Sentence("API tokens"), "code", Role.ADMIN),
            Entry("/settings/links", Sentence("Click to dial"), "link", Role.ADMIN),
            Entry("/settings/doctor", Sentence("Doctor"), "heart", Role.ADMIN),
        ),
    ),
)


def menu_for(page_request: PageRequest) -> list[Section]:
    """The menu entries that the request's user may see; empty without a user."""
    user = page_request.user
    if user is None:
        return []
    sections = (
        Section(item.label, tuple(entry for entry in item.entries if user.role.may(entry.role))) for item in MENU
    )
    return [section for section in sections if section.entries]
