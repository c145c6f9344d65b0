"""Figures from the history of calls: by minute and by outcome.

The functions block; a week of 700 000 calls takes a third of a second, so they use the read-only
connection of the web server.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

from pbxrouter.counter.counts import MINUTE_S
from pbxrouter.database import Connection, dialect_of, reading
from pbxrouter.database.calls import outcomes


@dataclass(frozen=True, slots=True)
class OutcomeTotals:
    """Calls that began in a span of time.

    Attributes:
        by_outcome: number of calls by outcome (the words of PBXROUTER_OUTCOME).
    """

    by_outcome: Mapping[str, int]

    @property
    def calls(self) -> int:
        """Number of all calls."""
        return sum(self.by_outcome.values())

    def of(self, *names: str) -> int:
        """Number of calls with one of these outcomes."""
        return sum(self.by_outcome.get(name, 0) for name in names)


def totals(connection: Connection, since: float, until: float, asterisk: str | None = None) -> OutcomeTotals:
    """Count the calls that began in a span by outcome. Epoch seconds, the end excluded.

    Args:
        asterisk: only calls from this one; ``""``: of which it is not known.

    Raises:
        StoreError: the database cannot be read.
    """
    found = {}
    with reading(connection):
        for outcome in outcomes(connection):
            count = connection.execute(
                f"SELECT count(*) FROM calls {dialect_of(connection).using('calls_by_outcome')}"
                f" WHERE outcome = :outcome AND began >= :since AND began < :until{_of(asterisk)}",
                {"outcome": outcome, "since": since, "until": until, "asterisk": asterisk},
            ).fetchone()[0]
            if count:
                found[outcome] = count
    return OutcomeTotals(found)


def per_minute(connection: Connection, since: float, until: float, asterisk: str | None = None) -> dict[int, int]:
    """Count calls by the first second of the minute in which they began; minutes without calls are left out.

    Args:
        asterisk: as for totals.

    Raises:
        StoreError: the database cannot be read.
    """
    dialect = dialect_of(connection)
    query = (
        f"SELECT {dialect.whole('began')} / {MINUTE_S} * {MINUTE_S}, count(*)"
        f" FROM calls {dialect.using('calls_by_time')}"
        f" WHERE began >= :since AND began < :until{_of(asterisk)} GROUP BY 1"
    )
    with reading(connection):
        return dict(connection.execute(query, {"since": since, "until": until, "asterisk": asterisk}).fetchall())


def _of(asterisk: str | None) -> str:
    return "" if asterisk is None else " AND asterisk = :asterisk"


def busiest(minutes: Mapping[int, int], count: int) -> list[tuple[int, int]]:
    """The minutes in which most calls began, with their numbers; of equal ones the earlier first."""
    return heapq.nsmallest(count, minutes.items(), key=lambda item: (-item[1], item[0]))
