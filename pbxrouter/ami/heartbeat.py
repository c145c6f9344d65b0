"""The heartbeat for the dialplan: global variables that the gateway updates over AMI.

The dialplan takes a fresh heartbeat for the sign that the gateway is alive: a frozen one
still accepts connections (docs/asterisk.md A8). The value is Asterisk's own time,
taken from its answer to Ping, so the clocks of two machines need not agree.

Several gateways may be connected to one Asterisk. Each has a variable of its own, which ends in its id and
holds milliseconds, so that the heartbeat of one does not hide the death of another. ``PBXROUTER_HEARTBEAT``
holds the seconds of the last heartbeat of any that knows who serves the calls by agi:async.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pbxrouter.ami.connection import AMIConnection
from pbxrouter.errors import ManagerError
from pbxrouter.net import every

HEARTBEAT_VARIABLE: Final = "PBXROUTER_HEARTBEAT"
"""The variable of all gateways: the second of the last heartbeat; 0 when a gateway has stopped."""
EVERY_S: Final = 1.0
TIMEOUT_S: Final = 4.0


class Heartbeat(MultiService):
    """Updates the heartbeat on one Asterisk while the gateway runs.

    Args:
        gateway: the gateway's id, which its own variable ends in; empty: it has none.
        has_others: tells whether another gateway sends heartbeats, too; then the variable of all stays when this one
            stops.
        is_settled: tells whether it is known which gateway serves the calls by agi:async; before that the variable of
            all is not set, since the dialplan goes by it for such calls.
    """

    log = Logger()

    def __init__(
        self,
        manager: AMIConnection,
        clock: IReactorTime,
        gateway: str = "",
        has_others: Callable[[], bool] = lambda: False,
        is_settled: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__()
        self._manager = manager
        self._own = f"{HEARTBEAT_VARIABLE}_{gateway}" if gateway else ""
        self._has_others = has_others
        self._is_settled = is_settled
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
                await self._set(answer.get("Timestamp"))
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
        farewell = Deferred.fromCoroutine(self._set(""))
        farewell.addErrback(lambda failure: failure.trap(ManagerError) and None)
        return farewell.addCallback(lambda _: stopped)

    async def _set(self, timestamp: str) -> None:
        """Set the variables to a time in seconds with decimals; to 0 if it is empty."""
        seconds, _, decimals = timestamp.partition(".")
        for_all = self._is_settled() if seconds else not self._has_others()
        values = [(HEARTBEAT_VARIABLE, seconds or "0")] if for_all else []
        if self._own:
            values.insert(0, (self._own, f"{seconds}{decimals[:3]:0<3}" if seconds else "0"))
        sent = [
            self._manager.action("Setvar", [("Variable", name), ("Value", value)], TIMEOUT_S) for name, value in values
        ]
        results: list[tuple[bool, Any]] = await DeferredList(sent, consumeErrors=True)
        for done, result in results:
            if not done:
                raise result.value
