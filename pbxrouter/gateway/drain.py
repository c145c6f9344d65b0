"""Ends the calls in progress when the gateway stops: conversations first, then everything.

No further call is taken: the FastAGI port is closed, so that Asterisk's dialplan goes to its fallback or to another
gateway at once, and the heartbeat is set to 0. Conversations go on until they end, for DRAIN_S at most. Calls whose
application (such as Dial) runs do not need the gateway: Asterisk goes on with it, and the dialplan has the result
(docs/asterisk.md A8, C). What is left is then closed, and recorded as STOPPED or LEFT.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pbxrouter.call import CallFlow

APPLICATION_S: Final = 1.0
"""Seconds that a call in an application is waited for: a Dial that fails does so at once, and is then recorded."""
DRAIN_S: Final = 10.0
"""Seconds for which conversations may go on after the gateway was told to stop."""
RECORDING_S: Final = 2.0
"""Seconds that a conversation may take to be recorded after its connection was closed."""
LOOK_EVERY_S: Final = 0.05


class WayIn(Protocol):
    """Where calls come from."""

    def refuse_new(self) -> object:
        """Take no further call; those in progress go on. Never fails."""
        ...


class Drain(Service):
    """Takes no new calls when it is stopped, and waits for the conversations that are in progress.

    Args:
        ways_in: the FastAGI server and the Asterisks.
        clock: for waiting.
    """

    log = Logger(namespace="pbxrouter.gateway")

    def __init__(self, flow: CallFlow, ways_in: Collection[WayIn], clock: Any) -> None:
        self._flow = flow
        self._ways_in = ways_in
        self._clock = clock

    def stopService(self) -> Deferred[None]:
        """Take no further call; fires when no conversation needs the gateway, after DRAIN_S at the latest."""
        super().stopService()
        return Deferred.fromCoroutine(self._drain())

    async def _drain(self) -> None:
        for way_in in self._ways_in:
            way_in.refuse_new()
        flow = self._flow
        if flow.in_progress:
            self.log.info(
                "gateway: stopping: {talking} conversations may take {seconds:.0f} s to end; {running} calls in an "
                "application go on without the gateway",
                talking=flow.talking,
                seconds=DRAIN_S,
                running=flow.in_progress - flow.talking,
            )
        await wait_while(lambda: flow.in_progress, APPLICATION_S, self._clock)
        await wait_while(lambda: flow.talking, DRAIN_S - APPLICATION_S, self._clock)
        if flow.talking:
            self.log.info(
                "gateway: {talking} conversations did not end in {seconds:.0f} s and are cut",
                talking=flow.talking,
                seconds=DRAIN_S,
            )


class LastRecords(Service):
    """Waits, when it is stopped, until the calls that were closed are recorded."""

    def __init__(self, flow: CallFlow, clock: Any) -> None:
        self._flow = flow
        self._clock = clock

    def stopService(self) -> Deferred[None]:
        """Wait for RECORDING_S at most."""
        super().stopService()
        return Deferred.fromCoroutine(wait_while(lambda: self._flow.in_progress, RECORDING_S, self._clock))


async def wait_while(condition: Callable[[], object], seconds: float, clock: Any) -> None:
    """Wait until a condition no longer holds; it is looked at every LOOK_EVERY_S."""
    for _ in range(round(seconds / LOOK_EVERY_S)):
        if not condition():
            return
        await deferLater(clock, LOOK_EVERY_S)
