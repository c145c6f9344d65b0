"""Writes finished calls to the history in the database.

Records queue in memory and are written in batches, about once a second; no call waits for that. While the database
cannot be written the queue grows up to a bound, and beyond it the oldest records are discarded, which is logged. The
journal has them too, and what a stop or a kill leaves there is taken up at the next start.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pbxrouter.call.journal import CallJournal
from pbxrouter.call.record import CallRecord
from pbxrouter.database import Database, SetAside
from pbxrouter.database.calls import CallRow, add_calls, complete_calls, forget_calls, left_calls, trace_text
from pbxrouter.net import Outage, QueueFigures, every
from pbxrouter.text import printable

WRITE_EVERY_S: Final = 1.0
BATCH: Final = 1000
"""Calls that are written in one transaction."""
MAX_QUEUED: Final = 20_000
"""Calls that are kept while the database cannot be written."""
SYNC_EVERY_S: Final = 1.0
"""Seconds between two times that the journal is synchronised: as much as a power cut may cost."""
MAX_TEXT: Final = 200
"""Characters that the history keeps of each text from outside."""
FORGET_EVERY_S: Final = 3600.0
_DAY_S: Final = 86_400


class HistoryWriter(MultiService):
    """Writes finished calls to the database, and deletes old ones, while it runs.

    Args:
        keep_days: days after which calls are deleted.
        now: returns the time in epoch seconds.
        journal: keeps calls until they are in the database; by default memory alone does.

    Attributes:
        keep_days: the same; may be changed.
        lost: number of calls discarded since the process started.
        set_aside: number of calls since then that the database did not take, while it took others.
        outage: of writing to the database.
    """

    log = Logger()

    def __init__(
        self,
        store: Database,
        keep_days: int,
        clock: IReactorTime,
        now: Callable[[], float],
        journal: CallJournal | None = None,
    ) -> None:
        super().__init__()
        self.journal = journal
        self._store = store
        self.keep_days = keep_days
        self._now = now
        self._queue: deque[CallRow] = deque()
        self._being_written: list[CallRow] = []
        self._completions: dict[str, CallRow] = {}
        self._unlogged = 0  # of those lost
        self.lost = self.set_aside = 0
        self.outage = Outage(
            self.log,
            now,
            "history: calls cannot be written and wait in memory: {error}",
            "history: calls are written again",
        )
        every(WRITE_EVERY_S, self.write, clock, self)
        every(FORGET_EVERY_S, self.forget, clock, self)
        if journal is not None:
            every(SYNC_EVERY_S, journal.sync, clock, self)

    def startService(self) -> None:
        """Start, with the calls that earlier runs left in the journal."""
        if self.journal is not None:
            taken = self.journal.open()
            self.take_up(taken.rows)
            files = ", ".join(map(str, taken.files))
            if taken.rows:
                self.log.warn(
                    "history: took up {calls} calls that an earlier run left in {files}; {cut} of them were cut when"
                    " the gateway died",
                    calls=len(taken.rows),
                    files=files,
                    cut=taken.cut,
                )
            if taken.unreadable:
                self.log.error(
                    "history: {lines} lines of {files} could not be read, and may have been calls",
                    lines=taken.unreadable,
                    files=files,
                )
        super().startService()

    def take_up(self, rows: Sequence[CallRow]) -> None:
        """Queue the calls that earlier runs left; they are in the journal."""
        self._queue.extend(rows)

    @property
    def queued(self) -> int:
        """Number of calls that wait to be written."""
        return len(self._queue)

    @property
    def figures(self) -> QueueFigures:
        """The queue's figures for people and programs."""
        oldest = next(iter(self._being_written or self._queue), None)
        oldest_s = 0.0 if oldest is None else max(0.0, self._now() - oldest.ended)
        length = len(self._queue) + len(self._being_written)
        return QueueFigures("history", length, oldest_s, self.set_aside, self.lost)

    def report(self, record: CallRecord) -> None:
        """Queue a call that is over."""
        self._queue_row(self.keep(record))

    def keep(self, record: CallRecord) -> CallRow:
        """Write a call that is over to the journal; returns its row, for ``add``."""
        row = row_of(record)
        return row if self.journal is None else self.journal.finish(row)

    def drop(self, record: CallRecord) -> None:
        """Take what was no call out of the journal."""
        if self.journal is not None:
            self.journal.written([self.keep(record)])

    def add(self, row: CallRow) -> None:
        """Queue the row of a call, of which more may be known than ``keep`` was told."""
        self._queue_row(row if self.journal is None else self.journal.finish(row))

    def complete(self, row: CallRow) -> None:
        """Queue what was learnt later of a call that is in the history: its outcome and talk."""
        if row.call_key:
            self._completions[row.call_key] = row
            if len(self._completions) > MAX_QUEUED:
                del self._completions[next(iter(self._completions))]

    def _queue_row(self, row: CallRow) -> None:
        self._queue.append(row)
        if len(self._queue) > MAX_QUEUED:
            given_up = self._queue.popleft()
            if self.journal is not None:
                self.journal.written([given_up])
            self.lost += 1
            self._unlogged += 1

    def leave_out(self, record: CallRecord) -> None:
        """Note that a call is over which the history shall not have, or have later."""
        if self.journal is not None and record.key:
            self.journal.written([self.journal.finish(row_of(record))])

    async def write(self) -> None:
        """Write the queued calls; those that cannot be written stay queued. Never fails."""
        while self._queue:
            rows = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            self._being_written = rows
            try:
                failed = await self._store.run(functools.partial(add_calls, rows=rows))
            except Exception as error:
                self._queue.extendleft(reversed(rows))
                self.outage.failed(error)
                return
            finally:
                self._being_written = []
            if self.journal is not None:
                self.journal.written(rows)
            self.outage.over()
            for row in failed:
                self._log_set_aside(rows[row.place], row)
            self._log_lost()
        await self._write_completions()

    async def _write_completions(self) -> None:
        if not self._completions:
            return
        completions, self._completions = self._completions, {}
        try:
            await self._store.run(functools.partial(complete_calls, rows=tuple(completions.values())))
        except Exception as error:
            self._completions = completions | self._completions
            self.outage.failed(error)
        else:
            self.outage.over()

    async def left(self) -> list[CallRow]:
        """The calls of the last day that an earlier run of the gateway has left to Asterisk. Never fails."""
        try:
            return await self._store.run(functools.partial(left_calls, since=self._now() - _DAY_S))
        except Exception as error:
            self.log.debug("history: the calls that went on cannot be read now: {error}", error=str(error))
            return []

    async def forget(self) -> None:
        """Delete calls that are too old. Never fails."""
        try:
            await self._store.run(functools.partial(forget_calls, before=self._now() - self.keep_days * _DAY_S))
        except Exception as error:
            self.log.debug("history: old calls cannot be deleted now: {error}", error=str(error))

    def _log_set_aside(self, call: CallRow, row: SetAside) -> None:
        self.set_aside += 1
        self.log.error(
            "history: call {uniqueid} from {caller} to {number} cannot be written, {where}: {why}",
            uniqueid=printable(str(call.uniqueid), MAX_TEXT) or "?",
            caller=printable(str(call.caller), MAX_TEXT) or "unknown",
            number=printable(str(call.number), MAX_TEXT) or "?",
            where=row.where,
            why=row.why,
        )

    def _log_lost(self) -> None:
        if self._unlogged:
            lost, self._unlogged = self._unlogged, 0
            self.log.error(
                "history: {lost} calls are missing, since the database could not be written for too long", lost=lost
            )

    def stopService(self) -> Deferred[None]:
        """Stop, then write the calls that are still queued; what cannot be written stays in the journal."""
        stopped: Deferred[None] = super().stopService()
        return stopped.addCallback(lambda _: Deferred.fromCoroutine(self._last_write()))

    async def _last_write(self) -> None:
        await self.write()
        if self.journal is None:
            return
        kept = await self.journal.close()
        if self._queue and kept:
            self.log.warn(
                "history: {calls} calls could not be written; the next start takes them up from {file}",
                calls=len(self._queue),
                file=str(self.journal.path),
            )
        elif self._queue:
            self.log.error(
                "history: {calls} calls could be written neither to the database nor to the journal, and are lost",
                calls=len(self._queue),
            )


def row_of(record: CallRecord) -> CallRow:
    """A record as a row of the table; text from outside is made printable, and cut at MAX_TEXT characters."""
    request, decision, outcome = record.request, record.decision, record.outcome
    mapping = decision.mapping if decision else None
    return CallRow(
        record.began,
        record.ended,
        printable(request.uniqueid, MAX_TEXT),
        printable(request.caller or "", MAX_TEXT),
        printable(request.caller_name, MAX_TEXT),
        printable(decision.number if decision else request.extension, MAX_TEXT),
        decision.verdict.value if decision else "",
        mapping.pattern if mapping else "",
        mapping.application if mapping else "",
        mapping.data if mapping else "",
        (decision.granted_by or "") if decision else "",
        outcome.status,
        outcome.cause,
        outcome.answered_s,
        trace_text((*(decision.trace if decision else ()), *((record.note,) if record.note else ()))),
        printable(decision.forwarded_by, MAX_TEXT) if decision else "",
        record.asterisk,
        call_key=record.key,
    )
