"""Notices that no memory is left.

After a MemoryError anything may be half done: a connection without its timer, a queue that no thread empties any more.
A gateway that has ended costs a call two seconds; one that is half dead could hold it for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.logger import ILogObserver, LogEvent
from zope.interface import implementer

PROBE: Final = 4 << 20
"""Bytes that can be had where a MemoryError was about one thing that was too large."""


def has_memory() -> bool:
    """Whether there is memory for the next calls."""
    try:
        return len(bytearray(PROBE)) == PROBE
    except MemoryError:
        return False


@implementer(ILogObserver)
class OutOfMemory:
    """A log observer: of what fails, the log is told.

    Args:
        end: called once, in any thread, when something failed since no memory is left.
        is_left: whether there is memory.
    """

    def __init__(self, end: Callable[[], object], is_left: Callable[[], bool] = has_memory) -> None:
        self._end = end
        self._is_left = is_left
        self._ended = False

    def __call__(self, event: LogEvent) -> None:
        """Look at an event."""
        failure = event.get("log_failure")
        if self._ended or failure is None or not failure.check(MemoryError) or self._is_left():
            return
        self._end()
        self._ended = True
