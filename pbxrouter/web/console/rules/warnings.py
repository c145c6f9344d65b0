"""All that is odd about the rules, by kind, each with the way to where it is mended.

Not here: finding it (rule_warnings, rule_survey).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from twisted.internet.defer import TimeoutError as TookTooLong

from pbxrouter.database.rules.grant_lists import find_orphans
from pbxrouter.database.rules.mapping_edits import delete_orphans
from pbxrouter.rules.warnings import (
    CODES,
    NOTES,
    RuleWarning,
    Survey,
)
from pbxrouter.security.roles import Role
from pbxrouter.text.sentences import Step, step
from pbxrouter.web.console.request import Visit
from pbxrouter.web.console.router import GoOn
from pbxrouter.web.console.rules.page_base import Tools, address

PATH: Final = "/rules/warnings"
WAIT_S: Final = 2.0
"""So long the page waits for a look at all rules; then it says that it comes back."""

TITLES: Final = {
    "problem": (
        Step("Left out when the rules were read"),
        Step("The gateway goes on without these. Its log names all of them."),
    ),
    "unreadable": (
        Step("Patterns that cannot be read"),
        Step("These mappings are left out until their pattern is mended."),
    ),
    "never-matches": (
        Step("Patterns that no number fits"),
        Step("No phone can dial what these accept. Correct the pattern, or delete the mapping."),
    ),
    "shadowed": (
        Step("Patterns that never get their turn"),
        Step("Another pattern always comes first. Make this one tighter, or delete it."),
    ),
    "nobody": (
        Step("Mappings that nobody may use"),
        Step("Whoever dials them is asked for a PIN, in vain. Grant them to somebody, or switch them off."),
    ),
    "no-driver": (
        Step("Applications that nothing provides"),
        Step("Calls to these fail. Choose another application, or install its driver."),
    ),
    "no-pin": (
        Step("Users without a PIN"),
        Step("They are known by their PIN alone. It may be meant so: give them one, or leave it."),
    ),
    "no-grant": (
        Step("Extensions and users without a grant"),
        Step("They may dial nothing by themselves. It may be meant so."),
    ),
}
"""Of each kind what it is, and what can be done about it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A warning, and where it is mended; ``""`` if nowhere here."""

    said: Step
    href: str


@dataclass(frozen=True, slots=True)
class Group:
    """All warnings of a kind.

    Attributes:
        count: how many there are; ``lines`` has the first ones.
    """

    code: str
    title: Step
    advice: Step
    is_note: bool
    count: int
    lines: tuple[Line, ...]


class WarningPages:
    """The page ``/rules/warnings``."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        tools.router.add(PATH, self.show, Role.VIEWER)
        tools.router.add(f"{PATH}/orphans", self.remove_orphans, Role.OPERATOR, methods=("POST",))

    async def show(self, visit: Visit) -> bytes:
        """All of them."""
        survey = await self._survey()
        orphans = await self._tools.desk.read(lambda connection: find_orphans(connection, 1))
        return self._tools.page(
            "warnings.html",
            visit,
            survey=survey,
            groups=() if survey is None else groups_of(survey),
            has_orphans=bool(orphans),
        )

    async def _survey(self) -> Survey | None:
        looking = self._tools.desk.surveyor.survey()
        looking.addTimeout(WAIT_S, self._tools.desk.reactor)
        try:
            return await looking
        except TookTooLong:
            return None

    async def remove_orphans(self, visit: Visit) -> bytes:
        """Grants to what is gone: away with them."""
        # No undo: what they lead to is not there, so they could not be put back.
        made = await self._tools.edit(visit, delete_orphans)
        raise GoOn(PATH, step("grants to what is gone, deleted: {count}", count=made.value))


def groups_of(survey: Survey) -> tuple[Group, ...]:
    """The warnings by kind, the graver kinds first."""
    return tuple(
        Group(
            code,
            *TITLES[code],
            code in NOTES,
            survey.counts[code],
            tuple(Line(each.step, where_of(each)) for each in survey.first[code]),
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
