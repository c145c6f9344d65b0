"""Writes each call to the history, behind the calls' backs.

Records queue in memory and go to the database in batches, about once a second; no call
waits for that. While the database is away the queue grows to a bound, and beyond it
the oldest are given up, which the log tells.
"""

from __future__ import annotations

import functools
import sqlite3
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.application.internet import TimerService
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pbxrouter.call.record import CallRecord
from pbxrouter.database.calls import CallRow, add_calls, forget_calls, trace_text
from pbxrouter.errors import sentence_of
from pbxrouter.text import Sentence, printable

WRITE_EVERY_S: Final = 1.0
BATCH: Final = 1000
MAX_QUEUED: Final = 20_000
"""Calls kept while the database is away."""
FORGET_EVERY_S: Final = 3600.0
_DAY_S: Final = 86_400


class Keeper(Protocol):
    """What is needed of store.Store."""

    def run(self, work: Callable[[sqlite3.Connection], Any]) -> Deferred[Any]:
        """See Store.run."""
        ...


class History(MultiService):
    """The history's writer.

    Args:
        now: epoch seconds.
        keep_days: how long calls are kept.

    Attributes:
        lost: calls given up since the process began.
        away_since: epoch second since which nothing can be written; None while it can.
        trouble: why nothing can be written; None while it can.
    """

    log = Logger()

    def __init__(self, store: Keeper, keep_days: int, clock: IReactorTime, now: Callable[[], float]) -> None:
        super().__init__()
        self._store = store
        self._keep_s = keep_days * _DAY_S
        self._now = now
        self._queue: deque[CallRow] = deque()
        self._writing = False
        self._unsaid = 0  # lost, and not yet told in the log
        self.lost = 0
        self.away_since: float | None = None
        self.trouble: Sentence | None = None
        for seconds, work in ((WRITE_EVERY_S, self.write), (FORGET_EVERY_S, self.forget)):
            timer = TimerService(seconds, functools.partial(self._begin, work))
            timer.clock = clock
            timer.setServiceParent(self)

    def _begin(self, work: Callable[[], Any]) -> Deferred[None]:
        return Deferred.fromCoroutine(work())

    @property
    def queued(self) -> int:
        """How many calls wait to be written."""
        return len(self._queue)

    def report(self, record: CallRecord) -> None:
        """Queue a call that is over."""
        self._queue.append(row_of(record))
        if len(self._queue) > MAX_QUEUED:
            self._queue.popleft()
            self.lost += 1
            self._unsaid += 1

    async def write(self) -> None:
        """Write what is queued; what cannot be written now stays. Never fails."""
        if self._writing:
            return
        self._writing = True
        try:
            while self._queue:
                rows = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
                try:
                    await self._store.run(functools.partial(add_calls, rows=rows))
                except Exception as error:
                    self._queue.extendleft(reversed(rows))
                    self._failed(error)
                    return
                self._back()
        finally:
            self._writing = False

    async def forget(self) -> None:
        """Remove calls that are too old; never fails."""
        try:
            await self._store.run(functools.partial(forget_calls, before=self._now() - self._keep_s))
        except Exception as error:
            self.log.debug("old calls stay for now: {error}", error=str(error))

    def _failed(self, error: Exception) -> None:
        self.trouble = sentence_of(error)
        if self.away_since is None:
            self.away_since = self._now()
            self.log.error("the history cannot be written, calls wait in memory: {error}", error=str(error))

    def _back(self) -> None:
        if self.away_since is not None:
            self.away_since = self.trouble = None
            self.log.info("the history is written again")
        if self._unsaid:
            lost, self._unsaid = self._unsaid, 0
            self.log.error("{lost} calls are missing in the history: the database was away too long", lost=lost)

    def stopService(self) -> Deferred[None]:
        """Write what is left, then stop."""
        stopped: Deferred[None] = super().stopService()
        return stopped.addCallback(lambda _: Deferred.fromCoroutine(self.write()))


def row_of(record: CallRecord) -> CallRow:
    """A record as a row; bytes from outside made printable."""
    request, decision, outcome = record.request, record.decision, record.outcome
    mapping = decision.mapping if decision else None
    return CallRow(
        record.began,
        record.ended,
        printable(request.uniqueid),
        printable(request.caller or ""),
        printable(request.caller_name),
        decision.number if decision else printable(request.extension),
        decision.verdict.value if decision else "",
        mapping.pattern if mapping else "",
        mapping.application if mapping else "",
        mapping.data if mapping else "",
        (decision.granted_by or "") if decision else "",
        outcome.status,
        outcome.cause,
        outcome.answered_s,
        trace_text((*(decision.trace if decision else ()), *((record.note,) if record.note else ()))),
    )
