"""The page of warnings about the rules, by kind, with links to what they are about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from twisted.internet.defer import TimeoutError as SurveyTimeout

from pbxrouter.database.rules import delete_orphans, find_orphans
from pbxrouter.rules import CODES, NOTES, RuleWarning, Survey
from pbxrouter.security import Role
from pbxrouter.text import Sentence, sentence
from pbxrouter.web.console.request import PageRequest
from pbxrouter.web.console.router import Redirect
from pbxrouter.web.console.rules.page_base import RuleContext, address, number_in

PATH: Final = "/rules/warnings"
WAIT_S: Final = 2.0
"""Seconds for which the page waits for the survey of all rules, before it says that it will reload."""
ROWS: Final = 100
"""Warnings on a page of one kind."""

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

    @property
    def every(self) -> str:
        """The page with all warnings of the kind."""
        return address(PATH, {"code": self.code})


@dataclass(frozen=True, slots=True)
class KindPage:
    """A page of the warnings of one kind.

    Attributes:
        first: number of the first line, from 1; likewise ``last``.
        newer, older: the pages before and after; None where there is none.
    """

    group: Group
    first: int
    last: int
    newer: str | None
    older: str | None


class WarningPages:
    """Serves the page ``/rules/warnings``."""

    def __init__(self, context: RuleContext) -> None:
        self._context = context
        context.router.add(PATH, self.show, Role.VIEWER)
        context.router.add(f"{PATH}/orphans", self.remove_orphans, Role.OPERATOR, methods=("POST",))

    async def show(self, page_request: PageRequest) -> bytes:
        """Show the first warnings of each kind, or a page of all of one kind."""
        survey = await self._survey()
        code = page_request.query.text("code")
        if survey is not None and code in survey.counts:
            page = await self._kind_page(survey, code, number_in(page_request.query, "after") or 0)
            return self._context.page("warnings_of_kind.html", page_request, page=page)
        orphans = None
        if survey is not None and "problem" in survey.counts:
            orphans = await self._context.web.read(lambda connection: find_orphans(connection, 1))
        return self._context.page(
            "warnings.html",
            page_request,
            survey=survey,
            groups=() if survey is None else groups_of(survey),
            has_orphans=bool(orphans),
        )

    async def _kind_page(self, survey: Survey, code: str, after: int) -> KindPage:
        count = survey.counts[code]
        start = min(after // ROWS, (count - 1) // ROWS) * ROWS
        # Some patterns take long to examine; calls must not wait for them.
        found = await self._context.web.in_thread(survey.some, code, start, ROWS)
        newer, older = (
            address(PATH, {"code": code, "after": place or None}) if 0 <= place < count else None
            for place in (start - ROWS, start + ROWS)
        )
        return KindPage(group_of(survey, code, found), start + 1, start + len(found), newer, older)

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
    return tuple(group_of(survey, code, survey.first[code]) for code in CODES if survey.counts.get(code))


def group_of(survey: Survey, code: str, shown: Iterable[RuleWarning]) -> Group:
    """The warnings of one kind, of which some are shown."""
    lines = tuple(Line(warning.sentence, where_of(warning)) for warning in shown)
    return Group(code, *TITLES[code], code in NOTES, survey.counts[code], lines)


def where_of(warning: RuleWarning) -> str:
    """The page where a warning is corrected; ``""`` if there is none."""
    if warning.map_id is not None:
        return f"/rules/mappings/{warning.map_id}"
    if warning.extension is not None:
        return address("/rules/extensions", {"q": warning.extension})
    if warning.user is not None:
        return address("/rules/users", {"q": warning.user})
    return ""
