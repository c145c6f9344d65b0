"""Services that run only while the gateway can route a call.

A gateway without rules that listened would keep every caller waiting. One that does not listen is refused by the
kernel at once, and the dialplan goes on to its fallback.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pbxrouter.errors import PbxrouterError
from pbxrouter.net import Timer
from pbxrouter.rules import RulesEngine

TRY_AGAIN_S: Final = 5.0
"""Seconds until a port that could not be opened is tried again."""


class WhenRouting(MultiService):
    """Starts its parts when the rules have been loaded once; before that they neither listen nor tell of themselves.

    With rules at the start it is like any MultiService. Later a part that cannot be started is logged once, and
    tried again until it can.
    """

    log = Logger()

    def __init__(self, engine: RulesEngine, clock: IReactorTime) -> None:
        super().__init__()
        self._ready = False
        self._timer = Timer(clock)
        self._logged = False
        engine.on_ready(self._rules_loaded)

    def addService(self, service: Service) -> None:
        """Add a part; without rules it waits like the others."""
        running, self.running = self.running, bool(self.running and self._ready)
        super().addService(service)
        self.running = running

    def privilegedStartService(self) -> None:
        """Open the ports, if there are rules."""
        if self._ready:
            super().privilegedStartService()

    def startService(self) -> None:
        """Start the parts, if there are rules."""
        if self._ready:
            super().startService()
        else:
            Service.startService(self)

    def stopService(self) -> Deferred[Any]:
        """Stop the parts that run."""
        Service.stopService(self)
        self._timer.clear()
        running = [service for service in reversed(list(self)) if service.running]
        return DeferredList([maybeDeferred(service.stopService) for service in running], consumeErrors=True)

    def _rules_loaded(self) -> None:
        self._ready = True
        if self.running:
            self._start(list(self))

    def _start(self, services: Sequence[IService]) -> None:
        waiting = []
        for service in services:
            try:
                service.privilegedStartService()
            except PbxrouterError as error:
                waiting.append(service)
                if not self._logged:
                    self._logged = True
                    self.log.critical("gateway: {error}; trying again until it can", error=str(error))
            else:
                service.startService()
        if waiting:
            self._timer.set(TRY_AGAIN_S, lambda: self._start(waiting))
