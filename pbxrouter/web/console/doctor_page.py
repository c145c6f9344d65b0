"""The page of the doctor: starts its checks and shows the findings as they arrive."""

from __future__ import annotations

from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pbxrouter.doctor import Counts, Finding, examine
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
"""Label and badge kind of each state of a finding."""
RELOAD_S = 2


@dataclass(slots=True)
class DoctorRun:
    """One run of the doctor's checks.

    Attributes:
        began: epoch seconds.
        failed: whether it ended with an unexpected exception.
    """

    began: float
    running: bool = True
    failed: bool = False
    findings: list[Finding] = field(default_factory=list)

    @property
    def counts(self) -> Counts:
        """The findings so far by state."""
        return Counts.of(self.findings)


class DoctorPage:
    """Serves the page ``/settings/doctor``."""

    log = Logger()

    def __init__(self, router: Router, web: WebContext) -> None:
        self._router = router
        self._web = web
        self._examine = web.examine or (lambda note: examine(web.config, web.reactor, note))
        self._last_run: DoctorRun | None = None
        router.add("/settings/doctor", self.show, Role.ADMIN)
        router.add("/settings/doctor", self.start, Role.ADMIN, methods=("POST",))

    async def show(self, page_request: PageRequest) -> bytes:
        """Show the findings of the last run, or of the current one so far."""
        if self._last_run is not None and self._last_run.running:
            page_request.request.setHeader("Refresh", str(RELOAD_S))
        return self._router.page("settings/doctor.html", page_request, run=self._last_run, states=STATES)

    async def start(self, page_request: PageRequest) -> bytes:
        """Start the checks, unless they are running."""
        if self._last_run is None or not self._last_run.running:
            self._last_run = DoctorRun(self._web.now())
            Deferred.fromCoroutine(self._run(self._last_run))
        raise Redirect("/settings/doctor")

    async def _run(self, run: DoctorRun) -> None:
        try:
            await self._examine(run.findings.append)
            self._web.examined.note(run.findings, self._web.now())
        except Exception:
            run.failed = True
            self._web.examined.note([], self._web.now())
            self.log.failure("console: the doctor's checks failed")
        finally:
            run.running = False
