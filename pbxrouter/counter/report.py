"""Reports of the call counter for a span of time: counts, and how much of it is unknown.

The functions block; they read the database and need no running gateway.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from pbxrouter.counter.counts import MINUTE_S, Counts
from pbxrouter.database import Connection, count_of, reading, seconds_of, shown_text, text_of

FRESH_S: Final = 15.0
"""A counting gateway updates ``last_seen`` every two seconds; after this many it counts as not counting."""
TOLERABLE: Final = 0.1
"""Largest unknown fraction of a span for which figures are given."""

_COLUMNS: Final = "started, answered, finished, talked, served, talk_seconds, peak"


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which calls were not counted, epoch seconds."""

    asterisk: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Report:
    """The counts of a span of time.

    Attributes:
        began: epoch seconds.
        ended: epoch seconds.
        active: calls in progress now; None if that is not known.
        minutes: counts of all calls by the minute's first second; minutes without calls are left out.
        by: counts by (kind, name), without ``all``.
        gaps: its unknown times, in order.
        names: the Asterisks whose calls are added up.
    """

    began: float
    ended: float
    active: int | None
    minutes: dict[int, Counts]
    by: dict[tuple[str, str], Counts]
    gaps: tuple[Gap, ...]
    names: tuple[str, ...] = ()

    @property
    def total(self) -> Counts:
        """The sum of all minutes."""
        total = Counts()
        for counts in self.minutes.values():
            total.add(counts)
        return total

    def unknown_s(self, began: float | None = None, ended: float | None = None, asterisk: str | None = None) -> float:
        """Seconds of the span, or of a part of it, in which at least one Asterisk's calls were not counted.

        Args:
            asterisk: only this one's gaps count.
        """
        first = self.began if began is None else began
        last = self.ended if ended is None else ended
        unknown, until = 0.0, first
        for gap in self.gaps:
            if asterisk not in (None, gap.asterisk):
                continue
            start, end = max(gap.began, until), min(gap.ended, last)
            if end > start:
                unknown += end - start
                until = end
        return unknown

    def is_known(self, began: float | None = None, ended: float | None = None) -> bool:
        """Whether enough of the span, or of a part of it, is known to give figures."""
        length = (self.ended if ended is None else ended) - (self.began if began is None else began)
        return self.unknown_s(began, ended) <= TOLERABLE * length

    def is_partly_known(self, began: float | None = None, ended: float | None = None) -> bool:
        """Whether enough of the span, or of a part of it, is known of at least one Asterisk: then there were at least
        as many calls as the figures say.
        """
        length = (self.ended if ended is None else ended) - (self.began if began is None else began)
        return any(self.unknown_s(began, ended, name) <= TOLERABLE * length for name in self.names)

    @property
    def is_seen(self) -> bool:
        """Whether any part of the span is known of at least one Asterisk."""
        return any(self.unknown_s(asterisk=name) < self.ended - self.began for name in self.names)

    def busiest(self, count: int) -> list[tuple[int, Counts]]:
        """The minutes in which most calls began."""
        return sorted(self.minutes.items(), key=lambda item: (-item[1].started, item[0]))[:count]


def asterisks(connection: Connection) -> list[str]:
    """The names of all Asterisks that have ever been counted."""
    rows = connection.execute("SELECT asterisk FROM counter_asterisks ORDER BY asterisk").fetchall()
    return [text_of(name) for (name,) in rows]


def read(
    connection: Connection,
    names: Iterable[str],
    began: int,
    ended: int,
    now: float,
    only_all: bool = False,
) -> Report:
    """Read the report of a span.

    Args:
        names: the Asterisks whose calls are added up.
        began: its first second, a whole minute.
        ended: the second after its last, not later than ``now``.
        now: epoch seconds.
        only_all: leave ``by`` empty, which saves most of the work.

    Raises:
        StoreError: the database cannot be read now.
    """
    minutes: dict[int, Counts] = {}
    by: dict[tuple[str, str], Counts] = {}
    gaps: list[Gap] = []
    active: int | None = 0
    names = list(names)
    with reading(connection):
        for name in names:
            span = {"asterisk": name, "began": began, "ended": ended}
            _add_counts(connection, span, minutes, by, only_all)
            gaps += _gaps(connection, span, now)
            live = _active(connection, name, now)
            active = None if active is None or live is None else active + live
    if not names:
        gaps, active = [Gap("", began, ended)], None
    return Report(began, ended, active, minutes, by, tuple(sorted(gaps, key=lambda gap: gap.began)), tuple(names))


def _add_counts(
    connection: Connection,
    span: dict[str, Any],
    minutes: dict[int, Counts],
    by: dict[tuple[str, str], Counts],
    only_all: bool,
) -> None:
    where = "WHERE minute >= :began AND minute < :ended AND asterisk = :asterisk"
    where += " AND kind = 'all'" if only_all else ""
    for minute, kind, name, *numbers in connection.execute(
        f"SELECT minute, kind, name, {_COLUMNS} FROM counter_minutes {where} ORDER BY minute", span
    ):
        *integers, talk_s, peak = numbers  # rows may be written by hand
        started, answered, finished, talked, served = map(count_of, integers)
        counts = Counts(started, answered, finished, talked, served, seconds_of(talk_s), count_of(peak))
        minute, name = count_of(minute), shown_text(name)
        if kind == "all":
            sum_of_minute = minutes.setdefault(minute, Counts())
            peak = sum_of_minute.peak + counts.peak  # of several Asterisks: at most
            sum_of_minute.add(counts)
            sum_of_minute.peak = peak
        else:
            by.setdefault((text_of(kind), name), Counts()).add(counts)
    for minute, kind, name, reason, calls in connection.execute(
        f"SELECT minute, kind, name, reason, calls FROM counter_failures {where}", span
    ):
        minute, name = count_of(minute), shown_text(name)
        counts = (
            minutes.setdefault(minute, Counts()) if kind == "all" else by.setdefault((text_of(kind), name), Counts())
        )
        counts.add(Counts(failed={shown_text(reason): count_of(calls)}))


def _gaps(connection: Connection, span: dict[str, Any], now: float) -> list[Gap]:
    """The gaps of a span: those stored, the time before counting began, the time after it ended."""
    name, began, ended = span["asterisk"], span["began"], span["ended"]
    found: list[tuple[float, float]] = connection.execute(
        "SELECT began, ended FROM counter_gaps WHERE asterisk = :asterisk AND ended > :began AND began < :ended",
        span,
    ).fetchall()
    row = connection.execute(
        "SELECT first_seen, last_seen FROM counter_asterisks WHERE asterisk = :asterisk", span
    ).fetchone()
    first_seen, last_seen = map(seconds_of, row or (ended, ended))
    found.append((began, first_seen))
    if now - last_seen > FRESH_S:
        found.append((last_seen, ended))
    clipped = ((max(seconds_of(start), began), min(seconds_of(end), ended)) for start, end in found)
    return [Gap(name, start, end) for start, end in clipped if end > start]


def _active(connection: Connection, name: str, now: float) -> int | None:
    row = connection.execute(
        "SELECT last_seen, (SELECT count(*) FROM counter_live WHERE asterisk = :asterisk)"
        " FROM counter_asterisks WHERE asterisk = :asterisk",
        {"asterisk": name},
    ).fetchone()
    return None if row is None or now - seconds_of(row[0]) > FRESH_S else int(row[1])


def minutes_of(report: Report) -> list[int]:
    """The first seconds of all minutes of a span."""
    return list(range(int(report.began), int(report.ended), MINUTE_S))
