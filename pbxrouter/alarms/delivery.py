"""Delivers alarms: a bounded queue for each target, attempts with back-off, and the service that raises alarms.

A call never waits for an alarm: raising one only puts it into queues.
"""

from __future__ import annotations

import secrets
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from pbxrouter.alarms.message import Alarm, Notice
from pbxrouter.alarms.targets import CommandTarget, Target, WebhookTarget
from pbxrouter.config import Config, read_alarm_secret
from pbxrouter.errors import AlarmFailed
from pbxrouter.net import QueueFigures, Timer

MAX_QUEUED: Final = 20
"""Alarms that wait for a target; of more the oldest is dropped."""
BACK_OFF_S: Final = (2.0, 10.0, 60.0, 300.0, 900.0)
"""Seconds before each further attempt; after the last the alarm is given up."""
QUIET_S: Final = 300.0
"""Seconds in which further alarms of a kind are counted and not sent."""


def targets_of(config: Config, reactor: Any, now: Callable[[], float]) -> list[Target]:
    """The targets that ``[alarm]`` configures.

    Raises:
        ConfigError: the secret cannot be used.
    """
    targets: list[Target] = []
    if config.alarm.command:
        targets.append(CommandTarget(config.alarm.command, reactor))
    if config.alarm.webhook:
        targets.append(WebhookTarget(config.alarm.webhook, read_alarm_secret(config), reactor, now))
    return targets


class AlarmService(Service):
    """Sends alarms to all targets.

    Args:
        now: epoch seconds.
    """

    log = Logger()

    def __init__(self, targets: Sequence[Target], reactor: Any, now: Callable[[], float]) -> None:
        self._reactor = reactor
        self._deliveries = [Delivery(target, reactor) for target in targets]
        self._former: list[Delivery] = []
        self._now = now
        self._sent: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def set_targets(self, targets: Sequence[Target]) -> None:
        """Send the alarms that are raised from now on to other targets; what waits still goes to the former ones."""
        self._former = [delivery for delivery in (*self._former, *self._deliveries) if delivery.is_busy]
        self._deliveries = [Delivery(target, self._reactor) for target in targets]

    def raise_alarm(self, alarm: Alarm) -> None:
        """Send an alarm, unless one of its kind was sent lately. Returns at once and never fails."""
        now = self._now()
        last = self._sent.get(alarm.kind)
        if last is not None and 0 <= now - last < QUIET_S:
            self._suppressed[alarm.kind] = self._suppressed.get(alarm.kind, 0) + 1
            return
        self._sent[alarm.kind] = now
        notice = notice_of(alarm, now, self._suppressed.pop(alarm.kind, 0))
        for delivery in self._deliveries:
            delivery.put(notice)

    @property
    def queues(self) -> list[QueueFigures]:
        """The figures of each target's queue."""
        return [delivery.figures(self._now()) for delivery in self._deliveries]

    def stopService(self) -> Deferred[Any]:
        """Give up what is not delivered."""
        super().stopService()
        return DeferredList([delivery.stop() for delivery in (*self._former, *self._deliveries)])


def notice_of(alarm: Alarm, now: float, suppressed: int = 0) -> Notice:
    """An alarm with an id of its own and this host's name."""
    return Notice(secrets.token_hex(16), alarm, now, socket.gethostname(), suppressed)


class Delivery:
    """The alarms that wait for one target; the next is sent when the one before is delivered or given up.

    Attributes:
        lost: number of alarms that were dropped or given up.
    """

    log = Logger()

    def __init__(self, target: Target, clock: Any) -> None:
        self._target = target
        self._queue: deque[Notice] = deque()
        self._timer = Timer(clock)
        self._attempts = 0
        self.lost = 0
        self._busy = False
        self._running: Deferred[None] | None = None
        self._stopped = False

    @property
    def is_busy(self) -> bool:
        """Whether alarms wait."""
        return self._busy

    def figures(self, now: float) -> QueueFigures:
        """The queue's figures.

        Args:
            now: epoch seconds.
        """
        oldest_s = max(0.0, now - self._queue[0].raised_at) if self._queue else 0.0
        return QueueFigures(f"alarms {self._target.name}", len(self._queue), oldest_s, 0, self.lost)

    def put(self, notice: Notice) -> None:
        """Queue an alarm."""
        if self._stopped:
            return
        self._queue.append(notice)
        if len(self._queue) > MAX_QUEUED:
            # The first one is being tried.
            dropped = self._queue[1]
            del self._queue[1]
            self.lost += 1
            self.log.error(
                "alarms: {target}: too many wait; dropped {kind} {id}",
                target=self._target.name,
                kind=dropped.alarm.kind,
                id=dropped.number,
            )
        if not self._busy:
            self._busy = True
            self._try()

    def stop(self) -> Deferred[None]:
        """Cancel the attempt that is running, and wait until it has ended."""
        self._stopped = True
        self._timer.clear()
        for notice in self._queue:
            self.log.error(
                "alarms: {target}: {kind} {id} was not delivered: the gateway stops",
                target=self._target.name,
                kind=notice.alarm.kind,
                id=notice.number,
            )
        self._queue.clear()
        ended: Deferred[None] = Deferred()
        if self._running is None:
            ended.callback(None)
        else:
            self._running.addCallback(ended.callback)
            self._running.cancel()
        return ended

    def _try(self) -> None:
        notice = self._queue[0]
        self._attempts += 1
        running = self._running = self._target.deliver(notice)
        running.addCallbacks(lambda _: self._delivered(notice), lambda failure: self._failed(notice, failure))

    def _delivered(self, notice: Notice) -> None:
        self.log.info(
            "alarms: {target}: delivered {kind} {id}",
            target=self._target.name,
            kind=notice.alarm.kind,
            id=notice.number,
        )
        self._next()

    def _failed(self, notice: Notice, failure: Any) -> None:
        self._running = None
        if self._stopped:
            return
        if not failure.check(AlarmFailed):
            self.log.failure("alarms: {target} raised", failure, target=self._target.name)
        more = self._attempts <= len(BACK_OFF_S)
        self.log.error(
            "alarms: {target}: {kind} {id} could not be delivered: {why}; {next}",
            target=self._target.name,
            kind=notice.alarm.kind,
            id=notice.number,
            why=str(failure.value),
            next=f"next attempt in {BACK_OFF_S[self._attempts - 1]:.0f} s" if more else "given up",
        )
        if more:
            self._timer.set(BACK_OFF_S[self._attempts - 1], self._try)
        else:
            self.lost += 1
            self._next()

    def _next(self) -> None:
        self._running = None
        self._attempts = 0
        if self._queue:
            self._queue.popleft()
        if self._queue:
            self._timer.set(0, self._try)
        else:
            self._busy = False
