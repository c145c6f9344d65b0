"""Timers: one that can be set again and cleared, one for deadlines, and work at regular intervals.

A process that was stopped (SIGSTOP, a machine that slept) finds all its timers due at once when it goes on, before
it has read what came meanwhile. A timer that fires LATE_S late is therefore put off by GRACE_S, in which the reactor
reads: most replies that seemed to be missing are there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar

from twisted.application.internet import TimerService
from twisted.application.service import IServiceCollection
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

LATE_S: Final = 1.5
"""Seconds after its time at which a timer shows that the process stood still."""
GRACE_S: Final = 0.5
"""Seconds by which such a timer is put off."""

T = TypeVar("T")


def every(
    seconds: float,
    work: Callable[[], Coroutine[Deferred[Any], Any, object]],
    clock: IReactorTime,
    parent: IServiceCollection,
) -> TimerService:
    """Run a coroutine function at regular intervals while a service runs, the first time when it starts.

    A run that takes longer than the interval is not overlapped by the next; stopping waits for it. A run that
    raises is logged by Twisted and is the last one, so ``work`` should not.

    Args:
        seconds: from the beginning of one run to that of the next.
        parent: the service, such as a MultiService.
    """
    timer = TimerService(seconds, lambda: Deferred.fromCoroutine(work()))
    timer.clock = clock
    timer.setServiceParent(parent)
    return timer


async def in_slices(items: Iterable[T], size: int, clock: IReactorTime) -> AsyncIterator[T]:
    """Iterate over many items, with other work of the reactor's between slices of so many."""
    count = 0
    for item in items:
        if count == size:
            count = 0
            pause: Deferred[None] = Deferred()
            clock.callLater(0, pause.callback, None)
            await pause
        count += 1
        yield item


def at_most(seconds: float, work: Deferred[Any], clock: IReactorTime) -> Deferred[bool]:
    """Wait for work, but not longer than so many seconds; the work goes on. Fires with whether it is done.

    Args:
        work: of which failures are logged by Twisted, unless they are handled before.
    """
    done: Deferred[bool] = Deferred()

    def fire(in_time: bool) -> None:
        if timer.active():
            timer.cancel()
        if not done.called:
            done.callback(in_time)

    timer = clock.callLater(seconds, fire, False)

    def over(result: Any) -> Any:
        fire(True)
        return result if isinstance(result, Failure) else None

    work.addBoth(over)
    return done


class Timer:
    """A timer for at most one function call; setting it again replaces the call."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._call: IDelayedCall | None = None
        self._due = 0.0

    def set(self, seconds: float, function: Callable[[], object]) -> None:
        """Call the function after so many seconds, instead of what was set before."""
        self.clear()
        self._due = self._clock.seconds() + seconds
        self._call = self._clock.callLater(seconds, self._fire, function)

    def clear(self) -> None:
        """Cancel the call, if one is set."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _fire(self, function: Callable[[], object]) -> None:
        self._call = None
        if self._clock.seconds() - self._due > LATE_S:
            self.set(GRACE_S, function)
        else:
            function()


class Deadline:
    """A Timer for deadlines, which are set with every command and nearly always cleared.

    Making and cancelling a delayed call costs more than the rest of a command's bookkeeping. So the delayed call
    runs on when the deadline is cleared or moved later, and when it fires it looks at the time that is left.
    ``stop`` cancels it.
    """

    __slots__ = ("_call", "_clock", "_due", "_function")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._call: IDelayedCall | None = None
        self._due = 0.0
        self._function: Callable[[], object] | None = None

    def set(self, seconds: float, function: Callable[[], object]) -> None:
        """Call the function after so many seconds, instead of what was set before."""
        self._function = function
        self._due = self._clock.seconds() + seconds
        if self._call is not None:
            if self._call.getTime() <= self._due:
                return
            self._call.cancel()  # delaying it would make the reactor search all its calls
        self._call = self._clock.callLater(seconds, self._fire)

    def clear(self) -> None:
        """Forget the function, if one is set."""
        self._function = None

    def stop(self) -> None:
        """Forget the function and cancel the delayed call."""
        self._function = None
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _fire(self) -> None:
        self._call = None
        function = self._function
        if function is None:
            return
        left = self._due - self._clock.seconds()
        if left < -LATE_S:
            self.set(GRACE_S, function)
        elif left > 0:
            self._call = self._clock.callLater(left, self._fire)
        else:
            self._function = None
            function()
