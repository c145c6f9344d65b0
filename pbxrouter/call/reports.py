"""Passes the record of each finished call on to the log, the counter, the history and other listeners."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from pbxrouter.call.record import CallRecord

Report = Callable[[CallRecord], object]


class Reports:
    """Passes each record on to all listeners, also when one of them raises."""

    log = Logger()

    def __init__(self) -> None:
        self._listeners: list[Report] = []

    def add(self, listener: Report) -> None:
        """Pass records on to this listener too, from now on."""
        self._listeners.append(listener)

    def __call__(self, record: CallRecord) -> None:
        """Pass a record on."""
        for listener in tuple(self._listeners):
            try:
                listener(record)
            except Exception:
                self.log.failure("calls: a listener for finished calls raised; the other listeners were still told")
