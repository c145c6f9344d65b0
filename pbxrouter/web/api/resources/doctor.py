"""``GET /api/doctor``: the doctor's findings."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pbxrouter.doctor import Counts, Finding, examine
from pbxrouter.security import Scope
from pbxrouter.web.api.endpoint import ApiRequest, Endpoint
from pbxrouter.web.api.items import item_of


class FindingItem(msgspec.Struct, frozen=True):
    """A finding of the doctor: what was checked, and what to change."""

    area: str
    state: Annotated[Literal["ok", "wrong", "unknown"], Meta(description="unknown: it cannot be checked from here.")]
    what: str
    todo: Annotated[
        str, Meta(description="What to change, or how to check it by hand; empty if nothing is to be done.")
    ]


class DoctorReport(msgspec.Struct, frozen=True):
    """All findings, as `pbxrouter doctor --json` writes them."""

    ok: Annotated[bool, Meta(description="Whether all was checked and nothing is wrong.")]
    state: Annotated[
        Literal["ok", "wrong", "unknown"],
        Meta(description="wrong: there are problems; unknown: none was found, but not everything could be checked."),
    ]
    wrong: Annotated[int, Meta(description="Number of problems.")]
    unknown: Annotated[int, Meta(description="Number of checks that could not be made.")]
    findings: list[FindingItem]


async def examine_all(request: ApiRequest) -> DoctorReport:
    """Run the doctor; nothing is changed."""
    web = request.web
    found: list[Finding] = []
    await (web.examine or (lambda tell: examine(web.config, web.reactor, tell)))(found.append)
    web.examined.note(found, web.now())
    counts = Counts.of(found)
    return DoctorReport(
        counts.state == "ok",
        counts.state,
        counts.wrong,
        counts.unknown,
        [item_of(FindingItem, finding) for finding in found],
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/doctor",
        "Administration",
        "Check the installation",
        examine_all,
        Scope.ADMIN,
        DoctorReport,
        shows=DoctorReport(
            False, "wrong", 1, 0, [FindingItem("database", "wrong", "it is readable by others", "chmod 600 …")]
        ),
        limit="doctor",
        note="Takes up to a minute if many parts do not answer; nothing is changed, and no call is made. Requests are "
        "limited to a burst of 2, then 4 a minute.",
    ),
)
