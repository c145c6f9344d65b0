"""One thing to do later, or not: a timer that can be set again and cleared at any time."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class OneShot:
    """At most one call in the future; setting it anew forgets the one before."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._call: IDelayedCall | None = None

    def set(self, seconds: float, then: Callable[[], object]) -> None:
        """Do it in so many seconds."""
        self.clear()
        self._call = self._clock.callLater(seconds, self._fire, then)

    def clear(self) -> None:
        """Do not do it; harmless when nothing is to be done."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _fire(self, then: Callable[[], object]) -> None:
        self._call = None
        then()
