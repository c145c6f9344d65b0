"""The doctor's findings: looked for when an admin asks, shown as they come. Not here: the looks (doctor)."""

from __future__ import annotations

from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pbxrouter.doctor.examine import examine
from pbxrouter.doctor.finding import Finding
from pbxrouter.security.roles import Role
from pbxrouter.text.sentences import Step
from pbxrouter.web.console.request import Visit
from pbxrouter.web.console.router import GoOn, Router
from pbxrouter.web.context import Desk

STATES = {
    "ok": (Step("well"), "good"),
    "wrong": (Step("wrong"), "bad"),
    "unknown": (Step("not to be seen from here"), "warn"),
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
        return sum(each.state == "wrong" for each in self.findings)


class DoctorPage:
    """The page ``/settings/doctor``."""

    log = Logger()

    def __init__(self, router: Router, desk: Desk) -> None:
        self._router = router
        self._desk = desk
        self._examine = desk.examine or (lambda tell: examine(desk.config, desk.reactor, tell))
        self._look: Look | None = None
        router.add("/settings/doctor", self.show, Role.ADMIN)
        router.add("/settings/doctor", self.look, Role.ADMIN, methods=("POST",))

    async def show(self, visit: Visit) -> bytes:
        """What the last look found, or what this one has found so far."""
        if self._look is not None and self._look.running:
            visit.request.setHeader("Refresh", str(RELOAD_S))
        return self._router.page("settings/doctor.html", visit, look=self._look, states=STATES)

    async def look(self, visit: Visit) -> bytes:
        """Begin to look, unless somebody does already."""
        if self._look is None or not self._look.running:
            self._look = Look(self._desk.now())
            Deferred.fromCoroutine(self._go(self._look))
        raise GoOn("/settings/doctor")

    async def _go(self, look: Look) -> None:
        try:
            await self._examine(look.findings.append)
        except Exception:
            look.broke = True
            self.log.failure("the doctor broke off")
        finally:
            look.running = False
