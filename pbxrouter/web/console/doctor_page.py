"""The doctor's findings: looked for when an admin asks, shown as they come."""

from __future__ import annotations

from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pbxrouter.doctor import Finding, examine
from pbxrouter.security import Role
from pbxrouter.text import Sentence
from pbxrouter.web.console.request import PageRequest
from pbxrouter.web.console.router import Redirect, Router
from pbxrouter.web.context import WebContext

STATES = {
    "ok": (Sentence("OK"), "good"),
    "wrong": (Sentence("problem"), "bad"),
    "unknown": (Sentence("not checked"), "warn"),
}
"""What a finding's state is called, and how it is marked."""
RELOAD_S = 2


@dataclass(slots=True)
class Look:
    """One look at everything.

    Attributes:
        began: epoch seconds.
        broke: whether it came to no proper end.
    """

    began: float
    running: bool = True
    broke: bool = False
    findings: list[Finding] = field(default_factory=list)

    @property
    def wrong(self) -> int:
        """How many things are wrong."""
        return sum(finding.state == "wrong" for finding in self.findings)


class DoctorPage:
    """The page ``/settings/doctor``."""

    log = Logger()

    def __init__(self, router: Router, web: WebContext) -> None:
        self._router = router
        self._web = web
        self._examine = web.examine or (lambda tell: examine(web.config, web.reactor, tell))
        self._look: Look | None = None
        router.add("/settings/doctor", self.show, Role.ADMIN)
        router.add("/settings/doctor", self.look, Role.ADMIN, methods=("POST",))

    async def show(self, page_request: PageRequest) -> bytes:
        """What the last look found, or what this one has found so far."""
        if self._look is not None and self._look.running:
            page_request.request.setHeader("Refresh", str(RELOAD_S))
        return self._router.page("settings/doctor.html", page_request, look=self._look, states=STATES)

    async def look(self, page_request: PageRequest) -> bytes:
        """Begin to look, unless somebody does already."""
        if self._look is None or not self._look.running:
            self._look = Look(self._web.now())
            Deferred.fromCoroutine(self._go(self._look))
        raise Redirect("/settings/doctor")

    async def _go(self, look: Look) -> None:
        try:
            await self._examine(look.findings.append)
        except Exception:
            look.broke = True
            self.log.failure("the doctor broke off")
        finally:
            look.running = False
