"""``GET /api/warnings``: warnings about the rules in force."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pbxrouter.rules import KEPT, RuleWarning
from pbxrouter.security import Scope
from pbxrouter.text import Sentence
from pbxrouter.web.api.endpoint import ApiError, ApiRequest, Endpoint, Id
from pbxrouter.web.api.items import item_of
from pbxrouter.web.api.sentence_body import SentenceBody, sentence_body
from pbxrouter.web.api.token_auth import UNAVAILABLE

Code = Literal[
    "problem",
    "unreadable",
    "never-matches",
    "shadowed",
    "not-granted",
    "no-driver",
    "cannot-work",
    "not-a-number",
    "no-pin",
    "no-grant",
]


class WarningItem(msgspec.Struct, frozen=True):
    """A warning about a rule."""

    code: Code
    sentence: SentenceBody
    is_note: Annotated[bool, Meta(description="Whether it may be intended.")]
    map_id: Annotated[int, Meta(description="The mapping concerned.")] | None
    extension: Annotated[str, Meta(description="The number of the extension concerned.")] | None
    user: Annotated[str, Meta(description="The name of the user concerned.")] | None


class Warnings(msgspec.Struct, frozen=True):
    """Warnings about the rules in force."""

    total: Annotated[int, Meta(description="The number of warnings, notes excluded.")]
    counts: Annotated[dict[str, int], Meta(description="The number of warnings by code.")]
    warnings: Annotated[list[WarningItem], Meta(description=f"Of each code the first {KEPT}.")]


class WarningsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Query parameters that filter the warnings about rules."""

    map_id: Annotated[Id, Meta(description="Only warnings about this mapping.")] | None = None


def _shown(warning: RuleWarning) -> WarningItem:
    return item_of(WarningItem, warning, sentence=sentence_body(warning.sentence))


async def list_warnings(request: ApiRequest) -> Warnings:
    """List the warnings about all rules or one mapping."""
    query: WarningsQuery = request.query
    if query.map_id is not None:
        warnings = request.web.surveyor.warnings
        if warnings is None:
            raise ApiError(503, UNAVAILABLE)
        found = warnings.of_mappings([query.map_id]).get(query.map_id, ())
        counts: dict[str, int] = {}
        for warning in found:
            counts[warning.code] = counts.get(warning.code, 0) + 1
        grave = sum(not warning.is_note for warning in found)
        return Warnings(grave, counts, [_shown(warning) for warning in found])
    survey = await request.web.surveyor.survey()
    if survey is None:
        raise ApiError(503, UNAVAILABLE)
    return Warnings(
        survey.total,
        dict(survey.counts),
        [_shown(warning) for several in survey.first.values() for warning in several],
    )


_SAID = Sentence("no driver provides the application {name}", {"name": "konference"})

ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/warnings",
        "Rules",
        "List warnings about the rules",
        list_warnings,
        Scope.READ,
        Warnings,
        WarningsQuery,
        shows=Warnings(1, {"no-driver": 1}, [WarningItem("no-driver", sentence_body(_SAID), False, 4, None, None)]),
        note="Such as a pattern that can never match because another one always wins, or a mapping that no caller "
        "can use. With very many rules the first response after a change may take some seconds.",
    ),
)
