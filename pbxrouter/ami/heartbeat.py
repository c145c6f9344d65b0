"""The heartbeat for the dialplan: a global variable that the gateway updates over AMI.

The dialplan compares ``PBXROUTER_HEARTBEAT`` with its own clock before it hands a
call over, so that no caller waits for a gateway that is gone or frozen: a frozen one
still accepts connections (docs/asterisk.md A8). The value is Asterisk's own time,
taken from its answer to Ping, so the clocks of two machines need not agree.
"""

from __future__ import annotations

from typing import Final

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pbxrouter.ami.connection import AMIConnection
from pbxrouter.errors import ManagerError
from pbxrouter.net import every

HEARTBEAT_VARIABLE: Final = "PBXROUTER_HEARTBEAT"
EVERY_S: Final = 2.0
TIMEOUT_S: Final = 4.0


class Heartbeat(MultiService):
    """Updates the heartbeat on one Asterisk while the gateway runs."""

    log = Logger()

    def __init__(self, manager: AMIConnection, clock: IReactorTime) -> None:
        super().__init__()
        self._manager = manager
        self._refused = False
        every(EVERY_S, self.beat, clock, self)
        manager.on_connect(lambda: Deferred.fromCoroutine(self.beat()))

    async def beat(self) -> None:
        """Update the heartbeat once. Never fails."""
        if not self.running:
            return
        try:
            answer = await self._manager.action("Ping", timeout_s=TIMEOUT_S)
            if self.running:  # else stopService has set it to 0 meanwhile
                await self._set(answer.get("Timestamp").partition(".")[0] or "0")
        except ManagerError as error:
            # A lost connection is logged elsewhere; a refusal is logged once.
            if self._manager.is_up and not self._refused:
                self._refused = True
                self.log.warn("heartbeat {name}: cannot be set: {error}", name=self._manager.name, error=str(error))
        else:
            self._refused = False

    def stopService(self) -> Deferred[None]:
        """Set the heartbeat to 0, so that the dialplan knows at once."""
        stopped: Deferred[None] = super().stopService()
        farewell = Deferred.fromCoroutine(self._set("0"))
        farewell.addErrback(lambda failure: failure.trap(ManagerError) and None)
        return farewell.addCallback(lambda _: stopped)

    async def _set(self, value: str) -> None:
        await self._manager.action("Setvar", [("Variable", HEARTBEAT_VARIABLE), ("Value", value)], TIMEOUT_S)
