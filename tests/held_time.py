"""The real reactor and its sockets, with a clock that the test advances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock, deferLater

reactor: Any = the_reactor
LOOK_S = 0.005


class HeldTime:
    """A reactor whose time the test advances."""

    def __init__(self) -> None:
        self._clock = Clock()

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def seconds(self) -> float:
        """The held clock's time."""
        return self._clock.seconds()

    def callLater(self, delay: float, call: Callable[..., object], *arguments: Any, **named: Any) -> IDelayedCall:
        """Schedule a call on the held clock."""
        return self._clock.callLater(delay, call, *arguments, **named)

    def advance(self, seconds: float) -> None:
        """Advance the time, and run what is due."""
        self._clock.advance(seconds)


async def until(condition: Callable[[], object]) -> None:
    """Let the real reactor run until the condition holds; the test's own time-out bounds it."""
    while not condition():
        await deferLater(reactor, LOOK_S)
