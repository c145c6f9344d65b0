"""Writes the counts of one Asterisk to the database, and keeps them while it is away.

Of several gateways on one database and one Asterisk one writes the counts of all calls; each writes those by mapping,
user and extension of the calls that it has routed. When the one ends another goes on, and records the seconds between
as a gap.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger

from pbxrouter.counter import storage
from pbxrouter.counter.call_table import CallTable
from pbxrouter.counter.counts import ALL, CallCounts
from pbxrouter.counter.storage import Batch, Kept, LiveRow
from pbxrouter.counter.turn import Turn, TurnTaken
from pbxrouter.database import Connection, Database
from pbxrouter.net import Outage, QueueFigures


class CounterWriter:
    """Writes what has changed since the last write; what cannot be written is kept.

    Args:
        turn: says which of several gateways writes the counts of all calls; None: this one.

    Attributes:
        seen: until when calls have been counted, epoch seconds; None before the first time.
        started_up: Asterisk's start time in its own format.
        gaps: gaps that are still to be written.
        rewrite: whether to write all calls in progress, changed or not.
        outage: of writing to the database.
        writes_all: whether this gateway writes the counts of all calls; else another one on the database does.
        set_aside: number of rows since the process started that the database did not take, while it took others.
    """

    log = Logger()

    def __init__(
        self,
        asterisk: str,
        table: CallTable,
        counting: CallCounts,
        store: Database,
        now: Callable[[], float],
        turn: Turn | None = None,
    ) -> None:
        self._turn = turn
        self.writes_all = turn is None
        self.seen: float | None = None
        self.started_up = ""
        self.gaps: list[tuple[float, float]] = []
        self.rewrite = True
        self.set_aside = 0
        self.outage = Outage(
            self.log,
            now,
            "counter {name}: counts cannot be written and are kept in memory: {error}",
            "counter {name}: counts are written again, none was lost",
            name=asterisk,
        )
        self._asterisk = asterisk
        self._table = table
        self._counting = counting
        self._store = store
        self._now = now
        self._last_written = now()
        self._being_written: list[object] = []
        self._unsure: Batch | None = None  # of which it is not known whether it was written
        self._writing = False
        self._written: dict[str, LiveRow] = {}
        self._rows: dict[str, LiveRow] = {}  # of the calls in progress, when they were last looked at
        self._written_seen: float | None = None

    @property
    def figures(self) -> QueueFigures:
        """What waits to be written: minutes with counts, and gaps."""
        unsure = 0 if self._unsure is None else len(self._unsure.minutes) + len(self._unsure.gaps)
        length = self._counting.pending + len(self.gaps) + len(self._being_written) + unsure
        oldest_s = max(0.0, self._now() - self._last_written) if length else 0.0
        return QueueFigures(f"counter {self._asterisk}", length, oldest_s, self.set_aside)

    async def restore(self) -> None:
        """Restore the state of an earlier run, unless another gateway writes the counts.

        Raises:
            StoreError: the database cannot be read now.
        """
        if self._turn is not None and not await maybeDeferred(self._turn.take):
            self.log.warn(
                "counter {name}: another gateway on this database writes the counts of all calls; "
                "this one goes on when that one ends",
                name=self._asterisk,
            )
            return
        kept = await self._store.run(self._load)
        self.seen, self.started_up = kept.last_seen, kept.started_up
        self._table.restore(kept.live, kept.talks)
        self._counting.active = len(self._table.live)
        self.writes_all = True

    async def take_over(self) -> bool:
        """Write the counts from now on if no gateway does; whether that has begun with this call. Never fails."""
        if self.writes_all or self._turn is None:
            return False
        try:
            if not await maybeDeferred(self._turn.take):
                return False
            kept = await self._store.run(self._load)
        except Exception:
            return False  # again at the next write
        now = self._now()
        self._counting.forget_all_calls()  # of the time that is recorded as a gap
        known = {call.linkedid for call in kept.live}
        for call in self._table.live.values():
            if call.linkedid not in known:
                self._counting.missed(call)
        for call in kept.live:
            present = self._table.live.get(call.linkedid)
            if present is not None:
                present.labels |= call.labels
                present.outcome = present.outcome or call.outcome
        self._table.restore(kept.live)  # those that have ended meanwhile are missed in the next list of channels
        self._counting.active = len(self._table.live)
        if kept.last_seen is not None and kept.last_seen < now:
            self.gaps.append((kept.last_seen, now))
        self.started_up = self.started_up or kept.started_up
        self.writes_all = self.rewrite = True
        self.log.warn(
            "counter {name}: the gateway that wrote the counts of all calls has ended; this one goes on",
            name=self._asterisk,
        )
        return True

    def leave(self) -> None:
        """Leave the counts to another gateway."""
        if self._turn is not None:
            self._turn.leave()

    def _batch(self, live: dict[str, LiveRow], whole: bool) -> Batch:
        """What is to be written now."""
        minutes = self._counting.drain()
        if not self.writes_all:
            self.gaps = []
            return Batch(self._asterisk, {key: counts for key, counts in minutes.items() if key[1:] != ALL})
        return Batch(
            self._asterisk,
            minutes,
            live if whole else {key: row for key, row in live.items() if self._written.get(key) != row},
            [key for key in self._written if key not in live],
            whole,
            self.seen,
            self.gaps,
            self.started_up,
        )

    def _load(self, connection: Connection) -> Kept:
        return storage.load(connection, self._asterisk)

    def _live_rows(self) -> dict[str, LiveRow]:
        """The rows of all calls in progress; only those of calls that have changed are made anew."""
        known, self._rows = self._rows, {}
        for linkedid, call in self._table.live.items():
            row = None if call.changed else known.get(linkedid)
            if row is None:
                row, call.changed = storage.live_row(call, self._table.talk_of), False
            self._rows[linkedid] = row
        return self._rows

    async def write(self, last: bool = False) -> None:
        """Write. Never fails.

        Args:
            last: whether this is the last write, which does not wait for one under way.
        """
        if self._writing and not last:
            return
        if self._unsure is not None and not await self._is_sure(self._unsure):
            return
        live = self._live_rows()
        whole = (self.rewrite or last) and self.writes_all
        batch = self._batch(live, whole)
        if not (batch.minutes or batch.live or batch.gone or whole) and batch.seen == self._written_seen:
            self._last_written = self._now()
            return
        self.gaps, self.rewrite, self._writing = [], False, True
        self._being_written = [*batch.minutes, *batch.gaps]
        confirm = self._turn.confirm if self._turn is not None and self.writes_all else None
        try:
            failed = await self._store.run(functools.partial(storage.write, batch=batch, confirm=confirm))
        except TurnTaken:
            self._give_up_turn(batch)
        except Exception as error:
            self.rewrite = True
            self.outage.failed(error)
            if batch.mark:  # it may have been committed
                self._unsure = batch
            else:
                self._requeue(batch)
        else:
            self._written, self._written_seen = live, batch.seen
            self._last_written = self._now()
            self.outage.over()
            for row in failed:
                self.set_aside += 1
                self.log.error(
                    "counter {name}: a row cannot be written, {where}: {why}",
                    name=self._asterisk,
                    where=row.where,
                    why=row.why,
                )
        finally:
            self._writing = False
            self._being_written = []

    def _give_up_turn(self, batch: Batch) -> None:
        """Leave the counts of all calls to the gateway that writes them by now; from when it does, the database has."""
        self.writes_all, self.rewrite = False, True
        self._counting.requeue({key: counts for key, counts in batch.minutes.items() if key[1:] != ALL})
        self.log.warn(
            "counter {name}: while this gateway was cut off from the database another one has gone on with the counts "
            "of all calls; this one goes on when that one ends",
            name=self._asterisk,
        )

    def _requeue(self, batch: Batch) -> None:
        """Keep what was not written for the next time."""
        self._counting.requeue(batch.minutes)
        self.gaps = batch.gaps + self.gaps

    async def _is_sure(self, batch: Batch) -> bool:
        """Find out whether the last batch was written, and keep it if it was not; False if that is not known yet."""
        self._writing = True
        try:
            written = await self._store.run(functools.partial(storage.was_written, batch=batch))
        except Exception as error:
            self.outage.failed(error)
            return False
        finally:
            self._writing = False
        self._unsure = None
        if written:
            self._written_seen = batch.seen
        else:
            self._requeue(batch)
        return True

    async def forget(self, before: float) -> None:
        """Delete what is older than an epoch second; a failure is ignored until the next time."""
        try:
            await self._store.run(functools.partial(storage.forget, before=before))
        except Exception as error:
            self.log.debug(
                "counter {name}: old counts cannot be deleted: {error}", name=self._asterisk, error=str(error)
            )
