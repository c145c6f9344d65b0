#!/usr/bin/env python3
"""How long pages, filters and figures of a history of a million calls take.

    python bench/history.py [-n CALLS] [-d DAYS] [-r ROUNDS]

Makes a database in a temporary folder, fills it by the gateway's own writer, and asks what the console,
the API and `pbxrouter history` ask. Beside it stands the plainest query that there is on the same table,
`SELECT * FROM calls ORDER BY began DESC LIMIT 50`; each figure is given as so many times that. README.md
beside this file says what to make of the numbers.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pbxrouter import database
from pbxrouter.config import Zone
from pbxrouter.counter.outcome_figures import busiest, per_minute, totals
from pbxrouter.database.calls import CallsCsv
from pbxrouter.database.calls.history import (
    CallRow,
    ListPosition,
    Search,
    add_calls,
    call,
    find_page,
    forget_calls,
    outcomes,
    trace_text,
)
from pbxrouter.text.sentences import sentence

PAGE = 50
DAY_S = 86_400
END = 1_800_000_000.0
BATCH = 10_000
PLAIN = f"SELECT * FROM calls ORDER BY began DESC LIMIT {PAGE}"
OUTCOMES = ("ANSWER", "NOANSWER", "BUSY", "CANCEL", "INVALID", "DENIED", "FAILED")
OFTEN = (60, 15, 10, 8, 5, 2, 0.001)
SLOW_S = 0.1

Work = Callable[[sqlite3.Connection], object]


def calls(count: int, days: float) -> Iterator[CallRow]:
    """Make calls, oldest first: few callers with many calls, many with few, and some rare outcomes.

    Callers that begin with 00 went away after the first fiftieth; those that begin with 01 only call inside.
    """
    chance = random.Random(2006)
    callers = [str(200 + place) for place in range(2000)]
    weights = [1 / (place + 1) for place in range(2000)]
    step_s = days * DAY_S / count
    traces = [
        trace_text(
            [
                sentence("{number} matches {pattern}: {application} {data}", number=number, pattern="_0.",
                     application="dial", data="PJSIP"),
                sentence("{caller} may use {pattern} by its own grant", caller="200", pattern="_0."),
            ]
        )
        for number in ("0123456789", "0987654321", "0555123456")
    ]  # fmt: skip
    for began in range(0, count, BATCH):
        size = min(BATCH, count - began)
        who = chance.choices(callers, weights, k=size)
        came_to = chance.choices(OUTCOMES, OFTEN, k=size)
        for place in range(size):
            # Half of all calls go to one of a hundred numbers, the others anywhere.
            number = (
                str(300 + int(100 * chance.random() ** 3))
                if chance.random() < 0.5
                else f"0{chance.randrange(10**9):09}"
            )
            when = END - days * DAY_S + (began + place + chance.random()) * step_s
            caller = who[place]
            if began + place < count / 50:
                caller = f"00{caller}"
            elif chance.random() < 0.02:
                caller, number = f"01{caller}", f"3{place % 100:02}"
            length = int(chance.expovariate(1 / 120))
            yield CallRow(
                when,
                when + length,
                f"{when:.0f}.{began + place}",
                caller,
                "Somebody",
                number,
                "allow",
                "_0.",
                "dial",
                "PJSIP",
                caller,
                came_to[place],
                "16",
                length if came_to[place] == "ANSWER" else None,
                traces[place % 3],
            )


def fill(connection: sqlite3.Connection, count: int, days: float) -> float:
    """Write the calls as the gateway does; returns the seconds that this took."""
    took = 0.0
    rows: list[CallRow] = []
    for row in calls(count, days):
        rows.append(row)
        if len(rows) == 1000:  # a batch of the gateway's writer
            took += timed(lambda connection: add_calls(connection, rows), connection)
            rows.clear()
    return took + timed(lambda connection: add_calls(connection, rows), connection)


def timed(work: Work, connection: sqlite3.Connection) -> float:
    """The seconds that a piece of work takes."""
    began = time.perf_counter()
    work(connection)
    return time.perf_counter() - began


def page(
    before: ListPosition | None = None, after: ListPosition | None = None, limit: int = PAGE, **search: Any
) -> Work:
    """Read a page."""
    found = Search(**search)
    return lambda connection: find_page(connection, found, limit, before, after)


def work(connection: sqlite3.Connection, count: int, days: float) -> dict[str, Work]:
    """The queries, by their names."""
    query = "SELECT began, call_id FROM calls WHERE call_id = ?"
    middle, oldest = (connection.execute(query, (place,)).fetchone() for place in (count // 2, PAGE + 1))
    (once,) = connection.execute("SELECT number FROM calls WHERE number LIKE '0%' LIMIT 1").fetchone()
    week, first = END - 7 * DAY_S, END - days * DAY_S
    day_then: dict[str, Any] = {"since": END - days / 2 * DAY_S, "until": END - days / 2 * DAY_S + DAY_S}

    csv_rows = CallsCsv(Zone())

    def csv(connection: sqlite3.Connection) -> object:
        return csv_rows.lines(find_page(connection, Search(), 500).calls)

    return {
        "page: the newest": page(),
        "page: in the middle": page(before=middle),
        "page: the oldest": page(before=oldest),
        "page: the newer of the middle": page(after=middle),
        "page: one day in the middle": page(**day_then),
        "one call with its trace": lambda connection: call(connection, count // 2).steps,
        "500 calls as CSV": csv,
        "caller: who calls most": page(caller="200"),
        "caller: who calls seldom": page(caller="2199"),
        "caller: who never calls": page(caller="9"),
        "caller: begins with 2 (all of them)": page(caller="2*"),
        "caller: begins with 219": page(caller="219*"),
        "number: dialled most": page(number="300"),
        "number: dialled once": page(number=once),
        "number: begins with 0 (half)": page(number="0*"),
        "number: begins with 01234": page(number="01234*"),
        "number: begins with 0, in the middle": page(before=middle, number="0*"),
        "outcome: most": page(outcome="ANSWER"),
        "outcome: very rare": page(outcome="FAILED"),
        "outcome: that never was": page(outcome="XYZ"),
        "caller and number, both common": page(caller="200", number="300"),
        "caller common, number once": page(caller="200", number=once),
        "caller common, outcome very rare": page(caller="200", outcome="FAILED"),
        "caller begins with 2, outcome rare": page(caller="2*", outcome="DENIED"),
        "caller begins with 219, number with 0": page(caller="219*", number="0*"),
        "caller common, number begins with 099": page(caller="200", number="099*"),
        "caller and number common, never both": page(caller="200", number="300", outcome="FAILED"),
        "caller begins with 00 (gone for long)": page(caller="00*"),
        "caller begins with 01, number with 0 (never)": page(caller="01*", number="0*"),
        "beginnings that hardly meet": page(caller="21*", number="0000*"),
        "all filters, one day": page(caller="200", number="3*", outcome="ANSWER", **day_then),
        "outcomes that occur": outcomes,
        "totals: a day": lambda connection: totals(connection, END - DAY_S, END),
        "totals: a week": lambda connection: totals(connection, week, END),
        "totals: all": lambda connection: totals(connection, first, END),
        "calls a minute: a day": lambda connection: per_minute(connection, END - DAY_S, END),
        "calls a minute: a week": lambda connection: per_minute(connection, week, END),
        "busiest minutes: a week": lambda connection: busiest(per_minute(connection, week, END), 10),
        "calls a minute: all": lambda connection: per_minute(connection, first, END),
    }


def plain(connection: sqlite3.Connection) -> object:
    """The plain query that all is compared with."""
    return connection.execute(PLAIN).fetchall()


def main() -> None:
    """Make the calls, ask in turns, print ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-n", type=int, default=1_000_000, help="calls; 1000000")
    parser.add_argument("-d", type=float, default=30, help="days in which they came; 30")
    parser.add_argument("-r", type=int, default=7, help="rounds; 7")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pbxrouter-bench-") as folder:
        path = Path(folder) / "history.db"
        database.create(path)
        connection = database.connect(path)
        took_s = fill(connection, options.n, options.d)
        size = path.stat().st_size / options.n
        print(f"{options.n} calls in {options.d:g} days: written at {options.n / took_s:.0f} a second, ", end="")
        print(f"{size:.0f} bytes each")
        each_s: dict[str, list[float]] = {}
        ratios: dict[str, list[float]] = {}
        asked = work(connection, options.n, options.d)
        plain(connection)
        for _ in range(options.r):
            for name, ask in asked.items():
                plain_s = timed(plain, connection)
                took_s = timed(ask, connection)
                each_s.setdefault(name, []).append(took_s)
                ratios.setdefault(name, []).append(took_s / plain_s)
                each_s.setdefault("plain", []).append(plain_s)
        print(f"{PLAIN}: {statistics.median(each_s['plain']) * 1000:.3f} ms")
        print("times that (median, maximum)                                   ms (median)")
        for name in asked:
            middle_s = statistics.median(each_s[name])
            slow = "  slow" if middle_s > SLOW_S else ""
            print(
                f"{name:48} {statistics.median(ratios[name]):9.1f} {max(ratios[name]):9.1f}"
                f" {middle_s * 1000:10.2f}{slow}"
            )
        day = END - (options.d - 1) * DAY_S
        took_s = timed(lambda connection: forget_calls(connection, day), connection)
        print(f"to forget the oldest day: {took_s * 1000:.0f} ms")
        connection.close()


if __name__ == "__main__":
    main()
