"""The history of calls as rows: written in batches, searched page by page, forgotten when old.

Everything here blocks. A million calls are nothing special: each search goes along the index
that leaves least to look at.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Final

from pbxrouter.database.connection import reading, transaction
from pbxrouter.errors import NotThere
from pbxrouter.text import Sentence, sentence

FEW: Final = 50_000
"""Rows that are read and sorted in a moment; of more, an index in order of time is wanted."""
CHUNK: Final = 1000
"""Calls read at a time when all are wanted."""
BULK: Final = 500
"""Who reads so many at a time wants all, and is not to sort them all again for each page."""


@dataclass(frozen=True, slots=True)
class CallRow:
    """One call, as the table ``calls`` has it; schema.sql tells what each is."""

    began: float
    ended: float
    uniqueid: str
    caller: str
    caller_name: str
    number: str
    verdict: str
    pattern: str
    application: str
    data: str
    granted_by: str
    outcome: str
    cause: str
    answered_s: int | None
    trace: str

    @property
    def steps(self) -> list[Sentence]:
        """The trace, for showing it in any language; empty if a hand has spoilt it."""
        try:
            return [_step(message, values) for message, values in json.loads(self.trace)]
        except (ValueError, TypeError, AttributeError):
            return []


@dataclass(frozen=True, slots=True)
class KeptCall(CallRow):
    """A call in the table, with its number there."""

    call_id: int = 0


def trace_text(steps: Iterable[Sentence]) -> str:
    """A trace as the table keeps it."""
    return json.dumps([_packed(step) for step in steps])


def _packed(message: Sentence) -> list[Any]:
    values = {name: _packed(value) if isinstance(value, Sentence) else value for name, value in message.values.items()}
    return [message.message, values]


def _step(message: Any, values: Any) -> Sentence:
    return Sentence(
        str(message),
        {name: _step(*value) if isinstance(value, list) else str(value) for name, value in values.items()},
    )


@dataclass(frozen=True, slots=True)
class Search:
    """Which calls; None means any. Times are epoch seconds, the second excluded.

    Attributes:
        caller: the number; with ``*`` at its end all that begin so. The same of ``number``.
    """

    caller: str | None = None
    number: str | None = None
    outcome: str | None = None
    since: float | None = None
    until: float | None = None


Place = tuple[float, int]
"""Where a page begins: a call's ``began`` and ``call_id``."""


@dataclass(frozen=True, slots=True)
class CallPage:
    """A page of calls, newest first.

    Attributes:
        newer: pass it as ``after`` for the page with newer calls; None if there are none.
        older: the same as ``before``.
    """

    calls: list[KeptCall]
    newer: Place | None
    older: Place | None


_NAMES: Final = tuple(field.name for field in fields(CallRow))
_COLUMNS: Final = ", ".join(_NAMES)
_VALUES: Final = attrgetter(*_NAMES)  # dataclasses.astuple copies deeply
_INSERT: Final = f"INSERT INTO calls ({_COLUMNS}) VALUES ({', '.join('?' * len(_NAMES))})"
_INDEXES: Final = {"caller": "calls_by_caller", "number": "calls_by_number", "outcome": "calls_by_outcome"}


def add_calls(connection: sqlite3.Connection, rows: Iterable[CallRow]) -> None:
    """Write a batch, in one transaction.

    Raises:
        StoreError: the database cannot be written.
    """
    with transaction(connection):
        connection.executemany(_INSERT, map(_VALUES, rows))


def call(connection: sqlite3.Connection, call_id: int) -> KeptCall:
    """One call.

    Raises:
        NotThere: there is none of that number, or not any more.
        StoreError: the database cannot be read.
    """
    query = f"SELECT {_COLUMNS}, call_id FROM calls WHERE call_id = :id"
    with reading(connection):
        row = connection.execute(query, {"id": min(call_id, 2**63 - 1)}).fetchone()
    if row is None:
        raise NotThere(sentence("there is no call {id} in the history; it may have been deleted", id=call_id))
    return KeptCall(*row)


def find_calls(connection: sqlite3.Connection, search: Search, limit: int) -> Iterator[CallRow]:
    """The newest calls that fit, newest first.

    Raises:
        StoreError: the database cannot be read.
    """
    before: Place | None = None
    while limit > 0:
        page = find_page(connection, search, min(limit, CHUNK), before=before)
        yield from page.calls
        if page.older is None:
            return
        limit -= len(page.calls)
        before = page.older


def find_page(
    connection: sqlite3.Connection,
    search: Search,
    limit: int,
    before: Place | None = None,
    after: Place | None = None,
) -> CallPage:
    """A page of the calls that fit.

    Args:
        before: only calls older than this place.
        after: only newer ones, those next to it.

    Raises:
        StoreError: the database cannot be read.
    """
    conditions, values = _conditions(search)
    upwards = after is not None and before is None
    place = after if upwards else before
    if place is not None:
        sign = ">" if upwards else "<"
        # Twice, since the index is entered by the first alone.
        conditions += [f"began {sign}= :began", f"(began, call_id) {sign} (:began, :call_id)"]
        values |= {"began": place[0], "call_id": place[1]}
    direction = "ASC" if upwards else "DESC"
    order = f"ORDER BY began {direction}, call_id {direction}"
    with reading(connection):
        index = _index(connection, search, limit)
        found_by = f"FROM calls INDEXED BY {index} WHERE {' AND '.join(conditions) or '1'} {order} LIMIT :limit"
        if index != "calls_by_time" and _is_beginning_alone(search):
            # All that is asked stands in the index: sort that, and read only the rows of the page.
            found_by = f"FROM calls WHERE call_id IN (SELECT call_id {found_by}) {order}"
        query = f"SELECT {_COLUMNS}, call_id {found_by}"
        rows = connection.execute(query, {**values, "limit": limit + 1}).fetchall()
    more = len(rows) > limit
    found = [KeptCall(*row) for row in rows[:limit]]
    if upwards:
        found.reverse()
    newer_there = more if upwards else before is not None
    older_there = after is not None if upwards else more
    if not found:
        return CallPage([], None, None)
    first, last = ((value.began, value.call_id) for value in (found[0], found[-1]))
    return CallPage(found, first if newer_there else None, last if older_there else None)


def _conditions(search: Search) -> tuple[list[str], dict[str, Any]]:
    conditions: list[str] = []
    values: dict[str, Any] = {}
    for name in ("caller", "number", "outcome"):
        wanted: str | None = getattr(search, name)
        if wanted is None:
            continue
        beginning = _beginning(name, wanted)
        if beginning is None:
            conditions.append(f"{name} = :{name}")
            values[name] = wanted
        else:
            conditions.append(f"{name} >= :{name} AND {name} < :{name}_end")
            values |= {name: beginning, f"{name}_end": f"{beginning}\U0010ffff"}
    for name, sign in (("since", ">="), ("until", "<")):
        if getattr(search, name) is not None:
            conditions.append(f"began {sign} :{name}")
            values[name] = getattr(search, name)
    return conditions, values


def _beginning(name: str, wanted: str) -> str | None:
    """What it must begin with, if only that is said."""
    return wanted[:-1] if name != "outcome" and wanted.endswith("*") and len(wanted) > 1 else None


def _is_beginning_alone(search: Search) -> bool:
    """Whether all that is said, but for the time, is what one number begins with."""
    said = [name for name in _INDEXES if getattr(search, name) is not None]
    return len(said) == 1 and _beginning(said[0], getattr(search, said[0])) is not None


def _index(connection: sqlite3.Connection, search: Search, limit: int) -> str:
    """The index that leaves least to look at."""
    best, fewest = "calls_by_time", FEW + 1
    exact = ""
    if limit < BULK and _is_beginning_alone(search):
        return "calls_by_caller" if search.caller else "calls_by_number"
    for name, index in _INDEXES.items():
        wanted = getattr(search, name)
        if wanted is None:
            continue
        only = Search(**{name: wanted, "since": search.since, "until": search.until})
        conditions, values = _conditions(only)
        counted: int = connection.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM calls INDEXED BY {index}"
            f" WHERE {' AND '.join(conditions)} LIMIT {FEW + 1})",
            values,
        ).fetchone()[0]
        if counted < fewest:
            best, fewest = index, counted
        if _beginning(name, wanted) is None:
            exact = exact or index
    # Of one exact value the index is in order of time; of a beginning it is not.
    return exact if fewest > FEW and exact else best


def outcomes(connection: sqlite3.Connection) -> list[str]:
    """The outcomes that occur, from one to the next along the index."""
    query = (
        "WITH RECURSIVE found(outcome) AS (SELECT min(outcome) FROM calls UNION ALL"
        " SELECT (SELECT min(outcome) FROM calls WHERE outcome > found.outcome) FROM found"
        " WHERE found.outcome IS NOT NULL LIMIT 200)"
        " SELECT outcome FROM found WHERE outcome IS NOT NULL"
    )
    with reading(connection):
        return [outcome for (outcome,) in connection.execute(query)]


def forget_calls(connection: sqlite3.Connection, before: float) -> None:
    """Remove the calls that began before an epoch second.

    Raises:
        StoreError: the database cannot be written.
    """
    with transaction(connection):
        connection.execute("DELETE FROM calls WHERE began < :before", {"before": before})


def csv_heading() -> list[str]:
    """The names of the columns of ``csv_cells``."""
    return list(_NAMES)


def csv_cells(row: CallRow) -> list[object]:
    """A call as cells; the trace in English."""
    return [getattr(row, name) for name in _NAMES[:-1]] + ["; ".join(step.english for step in row.steps)]
