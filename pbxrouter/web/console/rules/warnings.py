"""All that is odd about the rules, by kind, each with the way to where it is mended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from twisted.internet.defer import TimeoutError as TookTooLong

from pbxrouter.database.rules import delete_orphans, find_orphans
from pbxrouter.rules import CODES, NOTES, RuleWarning, Survey
from pbxrouter.security import Role
from pbxrouter.text import Sentence, sentence
from pbxrouter.web.console.request import PageRequest
from pbxrouter.web.console.router import Redirect
from pbxrouter.web.console.rules.page_base import Tools, address

PATH: Final = "/rules/warnings"
WAIT_S: Final = 2.0
"""So long the page waits for a look at all rules; then it says that it comes back."""

TITLES: Final = {
    "problem": (
        Sentence("Left out when the rules were read"),
        Sentence("The gateway goes on without these. Its log names all of them."),
    ),
    "unreadable": (
        Sentence("Patterns that cannot be read"),
        Sentence("These mappings are left out until their pattern is mended."),
    ),
    "never-matches": (
        Sentence("Patterns that no number fits"),
        Sentence("No phone can dial what these accept. Correct the pattern, or delete the mapping."),
    ),
    "shadowed": (
        Sentence("Patterns that never get their turn"),
        Sentence("Another pattern always comes first. Make this one tighter, or delete it."),
    ),
    "nobody": (
        Sentence("Mappings that nobody may use"),
        Sentence("Whoever dials them is asked for a PIN, in vain. Grant them to somebody, or switch them off."),
    ),
    "no-driver": (
        Sentence("Applications that nothing provides"),
        Sentence("Calls to these fail. Choose another application, or install its driver."),
    ),
    "no-pin": (
        Sentence("Users without a PIN"),
        Sentence("They are known by their PIN alone. It may be meant so: give them one, or leave it."),
    ),
    "no-grant": (
        Sentence("Extensions and users without a grant"),
        Sentence("They may dial nothing by themselves. It may be meant so."),
    ),
}
"""Of each kind what it is, and what can be done about it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A warning, and where it is mended; ``""`` if nowhere here."""

    said: Sentence
    href: str


@dataclass(frozen=True, slots=True)
class Group:
    """All warnings of a kind.

    Attributes:
        count: how many there are; ``lines`` has the first ones.
    """

    code: str
    title: Sentence
    advice: Sentence
    is_note: bool
    count: int
    lines: tuple[Line, ...]


class WarningPages:
    """The page ``/rules/warnings``."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        tools.router.add(PATH, self.show, Role.VIEWER)
        tools.router.add(f"{PATH}/orphans", self.remove_orphans, Role.OPERATOR, methods=("POST",))

    async def show(self, page_request: PageRequest) -> bytes:
        """All of them."""
        survey = await self._survey()
        orphans = await self._tools.web.read(lambda connection: find_orphans(connection, 1))
        return self._tools.page(
            "warnings.html",
            page_request,
            survey=survey,
            groups=() if survey is None else groups_of(survey),
            has_orphans=bool(orphans),
        )

    async def _survey(self) -> Survey | None:
        looking = self._tools.web.surveyor.survey()
        looking.addTimeout(WAIT_S, self._tools.web.reactor)
        try:
            return await looking
        except TookTooLong:
            return None

    async def remove_orphans(self, page_request: PageRequest) -> bytes:
        """Grants to what is gone: away with them."""
        # No undo: what they lead to is not there, so they could not be put back.
        made = await self._tools.edit(page_request, delete_orphans)
        raise Redirect(PATH, sentence("grants to what is gone, deleted: {count}", count=made.value))


def groups_of(survey: Survey) -> tuple[Group, ...]:
    """The warnings by kind, the graver kinds first."""
    return tuple(
        Group(
            code,
            *TITLES[code],
            code in NOTES,
            survey.counts[code],
            tuple(Line(row.sentence, where_of(row)) for row in survey.first[code]),
        )
        for code in CODES
        if survey.counts.get(code)
    )


def where_of(warning: RuleWarning) -> str:
    """The page where it is mended."""
    if warning.map_id is not None:
        return f"/rules/mappings/{warning.map_id}"
    if warning.extension is not None:
        return address("/rules/extensions", {"q": warning.extension})
    if warning.user is not None:
        return address("/rules/users", {"q": warning.user})
    return ""
