"""One thing to do later, or not: timers that can be set again and cleared at any time."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Timer:
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


class Deadline:
    """A Timer for what is set and cleared with every command, and nearly always cleared.

    Making and cancelling a delayed call costs more than the rest of a command's
    bookkeeping. So the one there is runs on when the deadline is cleared or moved
    later, and looks what is left to wait when it fires. ``stop`` really ends it.
    """

    __slots__ = ("_call", "_clock", "_due", "_then")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._call: IDelayedCall | None = None
        self._due = 0.0
        self._then: Callable[[], object] | None = None

    def set(self, seconds: float, then: Callable[[], object]) -> None:
        """Do it in so many seconds, and not what was set before."""
        self._then = then
        self._due = self._clock.seconds() + seconds
        if self._call is not None:
            if self._call.getTime() <= self._due:
                return
            self._call.cancel()  # moving it would make the reactor look through all it has
        self._call = self._clock.callLater(seconds, self._fire)

    def clear(self) -> None:
        """Do not do it; harmless when nothing is to be done."""
        self._then = None

    def stop(self) -> None:
        """Do not do it, and leave nothing with the clock."""
        self._then = None
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _fire(self) -> None:
        self._call = None
        then = self._then
        if then is None:
            return
        left = self._due - self._clock.seconds()
        if left > 0:
            self._call = self._clock.callLater(left, self._fire)
        else:
            self._then = None
            then()
