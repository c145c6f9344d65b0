"""Who is told of each call when the gateway is done with it: the log, the counter, whoever comes next."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from pbxrouter.call.record import CallRecord

Report = Callable[[CallRecord], object]


class Reports:
    """Passes each record on to all who asked; one that fails keeps it from nobody else."""

    log = Logger()

    def __init__(self) -> None:
        self._listeners: list[Report] = []

    def add(self, listener: Report) -> None:
        """Tell this one too, from now on."""
        self._listeners.append(listener)

    def __call__(self, record: CallRecord) -> None:
        """A call is over for us."""
        for listener in tuple(self._listeners):
            try:
                listener(record)
            except Exception:
                self.log.failure("whoever is told of calls failed on one")
