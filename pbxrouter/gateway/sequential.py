"""A MultiService that stops its parts one after the other, in reverse order.

Twisted's MultiService stops all parts at once; here the database stays until its users have stopped. A part that does
not end is left behind: a stop comes to its end in any case.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

STOP_S: Final = 15.0
"""Seconds that a part may take to stop."""


class SequentialService(MultiService):
    """Starts its parts in order and stops them in reverse, each after the one before.

    Args:
        clock: for the time that a part may take.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__()
        self._clock = clock

    def stopService(self) -> Deferred[None]:
        """Stop the parts; a failure is logged and does not keep the others from stopping."""
        self.running = 0
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        parts: list[IService] = list(self)
        for part in reversed(parts):
            try:
                stopped: Deferred[Any] = maybeDeferred(part.stopService)
                await stopped.addTimeout(STOP_S, self._clock)
            except TimeoutError:
                self.log.error(
                    "gateway: {part} did not stop within {seconds:.0f} s; going on without it",
                    part=type(part).__name__,
                    seconds=STOP_S,
                )
            except Exception:
                self.log.failure("gateway: stopping {part} failed", part=type(part).__name__)
