"""What the last run of the doctor in this process has found, for the metrics."""

from __future__ import annotations

from collections.abc import Iterable

from pbxrouter.doctor.finding import Counts, Finding


class LastRun:
    """The result of the last complete run.

    Attributes:
        counts: its findings by state; of nothing before the first run, whose state is ``unknown``.
        ended: when it ended, epoch seconds; None before the first.
    """

    def __init__(self) -> None:
        self.counts = Counts()
        self.ended: float | None = None

    def note(self, findings: Iterable[Finding], now: float) -> None:
        """Record a run that has ended now."""
        self.counts = Counts.of(findings)
        self.ended = now
