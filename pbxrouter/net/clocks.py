"""The clocks of the gateway: the reactor's for timers, a monotonic one for durations, the system's for what is stored.

Twisted's reactor takes its time from the system's clock: while that is set back no timer runs, and when it is set
forward all timers run at once. It is the same with a process that was frozen: all timers run before the first byte
that came meanwhile is read. ``use_monotonic_time`` mends both for a whole process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from twisted.application.service import MultiService
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pbxrouter.net.timers import every

STEP_S: Final = 1.0
"""Seconds by which two clocks must have parted for one of them to count as set."""
LOOK_EVERY_S: Final = 2.0
FROZEN_S: Final = 4.0
"""Seconds between two turns of the reactor from which on the process was frozen; timers run every two seconds."""


def use_monotonic_time(reactor: Any, monotonic: Callable[[], float] = time.monotonic) -> None:
    """Let a reactor take its time from the monotonic clock, which no change of the system's clock touches.

    Its time goes on from where it is now, so that timers that are set already keep their time. While the process is
    frozen (SIGSTOP, a paused virtual machine) it stands still: a limit is for the work of the process, and what came
    meanwhile is read before a limit is over.

    Args:
        reactor: a ReactorBase; its ``seconds`` is replaced.
        monotonic: returns seconds that only ever grow, at the pace of real time.
    """
    looked_at = monotonic()
    ahead_s: float = reactor.seconds() - looked_at

    def seconds() -> float:
        nonlocal looked_at, ahead_s
        before, looked_at = looked_at, monotonic()
        if looked_at - before >= FROZEN_S and reactor.running:
            ahead_s -= looked_at - before
        return looked_at + ahead_s

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


class ClockWatch(MultiService):
    """Logs when the system's clock was set, and when the process was frozen.

    Args:
        reactor: of which the time stands still while the process is frozen.
        now: returns the system's time, epoch seconds.
        monotonic: returns monotonic seconds.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._set = ClockSteps(now, monotonic)
        self._frozen = ClockSteps(monotonic, reactor.seconds)
        every(LOOK_EVERY_S, self.look, reactor, self)

    async def look(self) -> None:
        """Look once. Never fails."""
        if step_s := self._set.step_s():
            way = "forward" if step_s > 0 else "back"
            self.log.warn("clock: the system's clock was set {way} by {seconds:.0f} s", way=way, seconds=abs(step_s))
        if frozen_s := self._frozen.step_s():
            self.log.warn("clock: the process did not run for {seconds:.0f} s; its time limits go on", seconds=frozen_s)
