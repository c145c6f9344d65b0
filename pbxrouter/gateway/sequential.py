"""A service whose parts stop one after the other, the last started first.

Twisted's MultiService begins to stop all parts at once; here what others still use
(the database) stays until those others have stopped.
"""

from __future__ import annotations

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger


class SequentialService(MultiService):
    """Starts its parts in order, stops them in reverse, each when the one before has stopped."""

    log = Logger()

    def stopService(self) -> Deferred[None]:
        """Stop the parts; one that fails is told in the log and holds up nothing."""
        self.running = 0
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        parts: list[IService] = list(self)
        for part in reversed(parts):
            try:
                await maybeDeferred(part.stopService)
            except Exception:
                self.log.failure("{part} did not stop well", part=type(part).__name__)
