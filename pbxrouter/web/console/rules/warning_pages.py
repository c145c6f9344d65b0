"""The page of warnings about the rules, by kind, with links to what they are about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from twisted.internet.defer import TimeoutError as SurveyTimeout

from pbxrouter.database.rules import delete_orphans, find_orphans
from pbxrouter.rules import CODES, NOTES, RuleWarning, Survey
from pbxrouter.security import Role
from pbxrouter.text import Sentence, sentence
from pbxrouter.web.console.request import PageRequest
from pbxrouter.web.console.router import Redirect
from pbxrouter.web.console.rules.page_base import RuleContext, address

PATH: Final = "/rules/warnings"
WAIT_S: Final = 2.0
"""Seconds for which the page waits for the survey of all rules, before it says that it will reload."""

TITLES: Final = {
    "problem": (
        Sentence("Ignored rows"),
        Sentence("The gateway ignores these rows. Its log lists all of them."),
    ),
    "unreadable": (
        Sentence("Invalid patterns"),
        Sentence("These mappings are ignored until their pattern is corrected."),
    ),
    "never-matches": (
        Sentence("Patterns that match no number"),
        Sentence("No number that can be dialled matches these. Correct the pattern, or delete the mapping."),
    ),
    "shadowed": (
        Sentence("Patterns that never match"),
        Sentence("Other patterns always match first. Make this one more specific, or delete it."),
    ),
    "not-granted": (
        Sentence("Mappings that no caller can use"),
        Sentence(
            "Callers are asked for a PIN, but no PIN is accepted. Grant the mapping to an extension or a user, "
            "or disable it."
        ),
    ),
    "no-driver": (
        Sentence("Applications without a driver"),
        Sentence("Calls to these mappings fail. Choose another application, or install its driver."),
    ),
    "cannot-work": (
        Sentence("Mappings that cannot work"),
        Sentence("Calls to these mappings fail, since their application cannot use the data. Correct the data."),
    ),
    "not-a-number": (
        Sentence("Extensions that no call can come from"),
        Sentence("No caller is recognised as one of these. Correct the number: it is what a call shows."),
    ),
    "no-pin": (
        Sentence("Users without a PIN"),
        Sentence("A user is identified only by a PIN, so these users cannot call. Set a PIN, unless this is intended."),
    ),
    "no-grant": (
        Sentence("Extensions and users without a grant"),
        Sentence("They cannot dial anything by themselves. Grant them a mapping, unless this is intended."),
    ),
}
"""Title and advice for each kind of warning."""


@dataclass(frozen=True, slots=True)
class Line:
    """A warning, and the page where it is corrected; ``""`` if there is none."""

    sentence: Sentence
    href: str


@dataclass(frozen=True, slots=True)
class Group:
    """The warnings of one kind.

    Attributes:
        count: number of warnings; ``lines`` has the first ones.
    """

    code: str
    title: Sentence
    advice: Sentence
    is_note: bool
    count: int
    lines: tuple[Line, ...]


class WarningPages:
    """Serves the page ``/rules/warnings``."""

    def __init__(self, context: RuleContext) -> None:
        self._context = context
        context.router.add(PATH, self.show, Role.VIEWER)
        context.router.add(f"{PATH}/orphans", self.remove_orphans, Role.OPERATOR, methods=("POST",))

    async def show(self, page_request: PageRequest) -> bytes:
        """Show all warnings."""
        survey = await self._survey()
        orphans = await self._context.web.read(lambda connection: find_orphans(connection, 1))
        return self._context.page(
            "warnings.html",
            page_request,
            survey=survey,
            groups=() if survey is None else groups_of(survey),
            has_orphans=bool(orphans),
        )

    async def _survey(self) -> Survey | None:
        survey = self._context.web.surveyor.survey()
        survey.addTimeout(WAIT_S, self._context.web.reactor)
        try:
            return await survey
        except SurveyTimeout:
            return None

    async def remove_orphans(self, page_request: PageRequest) -> bytes:
        """Delete the grants whose mapping, extension or user no longer exists."""
        # No undo: grants without their mapping or holder cannot be restored.
        edited = await self._context.edit(page_request, delete_orphans)
        raise Redirect(PATH, sentence("orphaned grants deleted: {count}", count=edited.value))


def groups_of(survey: Survey) -> tuple[Group, ...]:
    """The warnings by kind, the most severe kinds first."""
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
    """The page where a warning is corrected; ``""`` if there is none."""
    if warning.map_id is not None:
        return f"/rules/mappings/{warning.map_id}"
    if warning.extension is not None:
        return address("/rules/extensions", {"q": warning.extension})
    if warning.user is not None:
        return address("/rules/users", {"q": warning.user})
    return ""
