"""The two clocks of the gateway: monotonic time for timers, the system's clock for what is shown or stored.

Twisted's reactor takes its time from the system's clock: while that is set back no timer runs, and when it is set
forward all timers run at once. ``use_monotonic_time`` mends that for a whole process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

STEP_S: Final = 1.0
"""Seconds by which the two clocks must have parted for the system's clock to count as set."""


def use_monotonic_time(reactor: Any, monotonic: Callable[[], float] = time.monotonic) -> None:
    """Let a reactor take its time from the monotonic clock, which no change of the system's clock touches.

    Its time goes on from where it is now, so that timers that are set already keep their time.

    Args:
        reactor: a ReactorBase; its ``seconds`` is replaced.
        monotonic: returns seconds that only ever grow, at the pace of real time.
    """
    ahead_s: float = reactor.seconds() - monotonic()

    def seconds() -> float:
        return monotonic() + ahead_s

    for call in reactor.getDelayedCalls():
        call.seconds = seconds
    reactor.seconds = seconds


class ClockSteps:
    """Notices when the system's clock was set.

    Args:
        now: returns the system's time, epoch seconds.
        seconds: returns monotonic seconds.
    """

    def __init__(self, now: Callable[[], float], seconds: Callable[[], float]) -> None:
        self._now = now
        self._seconds = seconds
        self._ahead_s = now() - seconds()

    def step_s(self) -> float:
        """Seconds by which the clock was set forward since the last call, negative for back; 0.0 below STEP_S."""
        ahead_s = self._now() - self._seconds()
        step_s = ahead_s - self._ahead_s
        if abs(step_s) < STEP_S:
            return 0.0
        self._ahead_s = ahead_s
        return step_s
