"""Bounds what a guesser or a forger writes into log and history: calls that brought nothing, from one source.

The first calls of a source are recorded each. When they come faster, one a minute is: the latest, with the number of
those that are not listed. Statistics, metrics and alarms count every call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pbxrouter.call.record import CallRecord
from pbxrouter.net import every
from pbxrouter.security import RateLimit
from pbxrouter.text import joined, sentence

RECORDED_EACH: Final = 60
"""Calls of one source that are recorded each, and PER_MINUTE after those."""
PER_MINUTE: Final = 0.1
TELL_EVERY_S: Final = 60.0
"""Seconds after which calls that were not recorded are told of."""
MAX_SOURCES: Final = 1000
"""Sources whose calls are told of each by itself; further ones are told of together."""


class RepeatedCalls(MultiService):
    """Records calls, those that repeat in a summary; tells of them while it runs, and when it stops.

    Args:
        record: records a call.
        leave_out: told of a call that is not recorded.
        clock: for the summaries.
    """

    def __init__(
        self, record: Callable[[CallRecord], object], leave_out: Callable[[CallRecord], object], clock: IReactorTime
    ) -> None:
        super().__init__()
        self._record = record
        self._leave_out = leave_out
        self._clock = clock
        self._limit = RateLimit(PER_MINUTE, RECORDED_EACH)
        self._left_out: dict[str, tuple[CallRecord, int]] = {}  # by source: the latest, and how many
        every(TELL_EVERY_S, self._tell_regularly, clock, self)

    def report(self, record: CallRecord) -> None:
        """Record a call, or count it: if it has a source, and too many came from there."""
        if not record.source or not self._limit.wait_s(record.source, self._clock.seconds()):
            self._record(record)
            return
        self._leave_out(record)
        source = record.source if record.source in self._left_out or len(self._left_out) < MAX_SOURCES else ""
        _, count = self._left_out.get(source, (record, 0))
        self._left_out[source] = record, count + 1

    async def _tell_regularly(self) -> None:
        self.tell()

    def tell(self) -> None:
        """Record the latest call of each source with the number of those that were not recorded."""
        left_out, self._left_out = self._left_out, {}
        for record, count in left_out.values():
            if count > 1:
                more = sentence("{count} calls like this one came shortly before and are not listed", count=count - 1)
                record = replace(record, note=more if record.note is None else joined([record.note, more]))
            self._record(record)

    def stopService(self) -> Deferred[None]:
        """Stop, and tell of what was not recorded."""
        stopped: Deferred[None] = super().stopService()
        return stopped.addCallback(lambda _: self.tell())
