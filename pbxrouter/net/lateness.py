"""How late the reactor is: a measure of whether the process keeps up with its work."""

from __future__ import annotations

from typing import Final

from twisted.application.service import MultiService
from twisted.internet.interfaces import IReactorTime

from pbxrouter.net.timers import every

TICK_S: Final = 0.25


class Lateness(MultiService):
    """Measures how long the reactor has not come to its timers.

    In one round the reactor takes up everything that waits: connections, replies, timers. The longer that takes, the
    later is all that comes next.
    """

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__()
        self._clock = clock
        self._ticked: float | None = None
        every(TICK_S, self._tick, clock, self)

    @property
    def seconds(self) -> float:
        """By how many seconds the reactor is late now; 0 while the service does not run."""
        if self._ticked is None or not self.running:
            return 0.0
        return max(0.0, self._clock.seconds() - self._ticked - TICK_S)

    async def _tick(self) -> None:
        self._ticked = self._clock.seconds()
