"""A MultiService that stops its parts one after the other, in reverse order.

Twisted's MultiService stops all parts at once; here the database stays until its users have stopped.
"""

from __future__ import annotations

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger


class SequentialService(MultiService):
    """Starts its parts in order and stops them in reverse, each after the one before."""

    log = Logger()

    def stopService(self) -> Deferred[None]:
        """Stop the parts; a failure is logged and does not keep the others from stopping."""
        self.running = 0
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        parts: list[IService] = list(self)
        for part in reversed(parts):
            try:
                await maybeDeferred(part.stopService)
            except Exception:
                self.log.failure("gateway: stopping {part} failed", part=type(part).__name__)
