"""The history of calls: written in batches, searched in pages, deleted when old.

Each search uses the index that leaves the fewest rows, so that it is fast with millions of calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Final

import msgspec

from pbxrouter.database.connection import read_row, reading, transaction
from pbxrouter.database.engine import CONSTRAINT_ERRORS, Connection, dialect_of, is_sqlite
from pbxrouter.database.set_aside import FailedRow, SetAside, keep_aside, write_rows
from pbxrouter.database.values import bounded, count_of, shown_texts, sortable, text_of
from pbxrouter.errors import NotThere
from pbxrouter.text import MAX_VALUE, Sentence, fits, read_sentence, sentence

FEW: Final = 50_000
"""The most rows that are sorted; for more, an index in order of time is used."""
CHUNK: Final = 1000
"""The calls that find_calls reads at a time."""
MAX_STEPS: Final = 100
"""Steps of a trace that are shown."""
MAX_OUTCOME: Final = 200
"""Characters of an outcome; a longer one is none of the gateway's."""
MAX_OUTCOMES: Final = 200
"""The different outcomes that are listed, at most."""
MAX_TRACE: Final = 100_000
"""Characters of a stored trace; a longer one is none of the gateway's."""
BULK: Final = 500
"""The limit of a page from which a reader is taken to want all calls, which must not be sorted for each page."""

_PLAIN_STEPS: Final = msgspec.json.Decoder(list[tuple[str, dict[str, str]]])
"""Reads a trace whose values are texts, as nearly all are."""

NEVER_TALKED: Final = frozenset(
    {
        "BUSY",
        "CANCEL",
        "CHANUNAVAIL",
        "CONGESTION",
        "DEAD",
        "DENIED",
        "DONTCALL",
        "INVALID",
        "INVALIDARGS",
        "LOCKEDOUT",
        "NOANSWER",
        "NODRIVER",
        "REFUSED",
        "TORTURE",
    }
)
"""Outcomes of calls in which no two people talked."""


@dataclass(frozen=True, slots=True)
class CallRow:
    """A row of the table ``calls``; schema.sql describes its columns.

    Attributes:
        call_key: names the call in the gateway's journal; it is written only, and ``""`` in rows that were read.
    """

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
    forwarded_by: str = ""
    asterisk: str = ""
    call_key: str = field(default="", kw_only=True, compare=False)

    @property
    def talk_s(self) -> int | None:
        """Seconds that two people talked; None if that is not known. Rows of earlier versions have no zeros."""
        return 0 if self.answered_s is None and self.outcome in NEVER_TALKED else self.answered_s

    @property
    def steps(self) -> list[Sentence]:
        """The trace as sentences, at most MAX_STEPS; empty if the column does not hold a trace."""
        return steps_of(self.trace)


@dataclass(frozen=True, slots=True)
class KeptCall(CallRow):
    """A row of the table with its number."""

    call_id: int = 0


def steps_of(trace: str) -> list[Sentence]:
    """The sentences of a stored trace, at most MAX_STEPS; empty if it is not a trace."""
    try:
        return [read_sentence(message, values) for message, values in json.loads(trace)[:MAX_STEPS]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def english_of(trace: str) -> str:
    """A stored trace as English text, a sentence behind the other; as ``steps_of`` has it, and faster."""
    if len(trace) <= MAX_VALUE:
        try:
            steps = _PLAIN_STEPS.decode(trace)
        except (msgspec.MsgspecError, UnicodeError):  # sentences within sentences, values that are no text
            steps = []
        if steps and len(steps) <= MAX_STEPS and all(fits(message, frozenset(values)) for message, values in steps):
            text = "; ".join([message.format_map(values) for message, values in steps])
            if text.isprintable():
                return text
    return "; ".join(step.english for step in steps_of(trace))


def trace_text(steps: Iterable[Sentence]) -> str:
    """A trace as JSON, for the column ``trace``."""
    return json.dumps([_packed(step) for step in steps])


def _packed(message: Sentence) -> list[Any]:
    values = {name: _packed(value) if isinstance(value, Sentence) else value for name, value in message.values.items()}
    return [message.message, values]


@dataclass(frozen=True, slots=True)
class Search:
    """The conditions of a search; None means any. Times are epoch seconds, ``until`` excluded.

    Attributes:
        caller: a number; with ``*`` at its end, a prefix.
        number: a number or a prefix, too.
        forwarded_by: who forwarded the call: an endpoint, or a number, which is also that behind the technology of an
            endpoint; or a prefix of it.
        asterisk: the Asterisk that it came from, by its name in the settings; ``""``: that is not known.
    """

    caller: str | None = None
    number: str | None = None
    outcome: str | None = None
    since: float | None = None
    until: float | None = None
    forwarded_by: str | None = None
    asterisk: str | None = None


ListPosition = tuple[float, int]
"""The place of a call in the list: its ``began`` and ``call_id``."""


@dataclass(frozen=True, slots=True)
class CallPage:
    """A page of calls, newest first.

    Attributes:
        newer: the value of ``after`` for the page with newer calls; None if there are none.
        older: the value of ``before`` for the page with older calls; None if there are none.
    """

    calls: list[KeptCall]
    newer: ListPosition | None
    older: ListPosition | None


_NAMES: Final = CallRow.__match_args__  # without call_key
_COLUMNS: Final = ", ".join(_NAMES)
_VALUES: Final = attrgetter(*_NAMES, "call_key")  # dataclasses.astuple copies deeply
LONGEST_S: Final = 7 * 86_400.0
"""Seconds for which a call is taken to last at most before the gateway leaves it."""
UNKNOWN: Final = "UNKNOWN"
"""The outcome of a call in which the gateway died."""
PROVISIONAL: Final = {UNKNOWN: 0, "LOST": 1, "STOPPED": 1, "LEFT": 1, "MOVED": 2, "FAILED": 2, "HANGUP": 3}
"""Outcomes that give way to another one of the same call, which a second gateway, or the next run, had to its end.

One with a higher number knows more; of the same number that of the row which began later counts.
"""
GOES_ON: Final = ("LEFT", "LOST", UNKNOWN)
"""Outcomes of calls that may go on without the gateway."""


def _known(column: str) -> str:
    """SQL for the number that an outcome has in PROVISIONAL; a larger one for any other outcome."""
    cases = " ".join(f"WHEN '{outcome}' THEN {number}" for outcome, number in PROVISIONAL.items())
    return f"CASE {column} {cases} ELSE {len(PROVISIONAL)} END"


_THERE: Final = _known("calls.outcome")
_NEW: Final = _known("excluded.outcome")
_INSERT: Final = (
    f"INSERT INTO calls ({_COLUMNS}, call_key) VALUES ({', '.join('?' * len(_NAMES))}, ?)"
    " ON CONFLICT (call_key) WHERE call_key <> '' DO UPDATE SET"
    f" {', '.join(f'{name} = excluded.{name}' for name in _NAMES if name != 'began')},"
    " began = CASE WHEN excluded.began < calls.began THEN excluded.began ELSE calls.began END"
    f" WHERE {_THERE} < {len(PROVISIONAL)}"
    f" AND ({_THERE} < {_NEW} OR {_THERE} = {_NEW} AND calls.began < excluded.began)"
)
_COMPLETE: Final = (
    "UPDATE calls SET outcome = ?, answered_s = ? WHERE call_key = ? AND call_key <> ''"  # as the index demands
    # The next run of the gateway, or another gateway, may have served the call to its end meanwhile.
    f" AND {_known('outcome')} <= ?"
)
_INDEXES: Final = {
    "caller": "calls_by_caller",
    "number": "calls_by_number",
    "outcome": "calls_by_outcome",
    "forwarded_by": "calls_sent_on",
    "asterisk": "calls_by_asterisk",
}
_NUMBERS: Final = ("caller", "number")


def add_calls(connection: Connection, rows: Iterable[CallRow]) -> list[SetAside]:
    """Insert calls in one transaction; returns those that cannot be written, which are set aside.

    A call that is there already, by its key, is left as it is; only one with an outcome of PROVISIONAL is replaced.

    Raises:
        StoreError: the database cannot be written.
    """
    values = list(map(_VALUES, rows))
    try:
        with _writing(connection):
            failed = write_rows(connection, _INSERT, values)
    except CONSTRAINT_ERRORS:  # a trigger of the owner's rolls the transaction back
        failed = []
        for place, row in enumerate(values):
            try:
                with _writing(connection):
                    failed += [replace(found, place=place) for found in write_rows(connection, _INSERT, [row])]
            except CONSTRAINT_ERRORS as error:
                failed.append(FailedRow(place, row, error))
    return keep_aside(connection, "calls", failed)


def complete_calls(connection: Connection, rows: Iterable[CallRow]) -> None:
    """Set outcome and talk of calls that are in the history already.

    One that is not there is left out, and so is one that the database does not let be changed.

    Raises:
        StoreError: the database cannot be written.
    """
    most = len(PROVISIONAL)
    values = [(row.outcome, row.answered_s, row.call_key, PROVISIONAL.get(row.outcome, most)) for row in rows]
    with _writing(connection):
        write_rows(connection, _COMPLETE, values)


def _writing(connection: Connection) -> AbstractContextManager[None]:
    """A write transaction of what the journal then takes for written.

    SQLite need not wait for the disk: a power cut takes the journal's last second, too. The server of PostgreSQL may be
    another machine, whose restart must lose nothing.
    """
    return transaction(connection, outlasts_power=not is_sqlite(connection))


def left_calls(connection: Connection, since: float) -> list[CallRow]:
    """Calls that may go on without the gateway and whose talk is not known.

    Args:
        since: epoch seconds; calls that the gateway was done with before are left out.

    Raises:
        StoreError: the database cannot be read.
    """
    found = []
    with reading(connection):
        for outcome in GOES_ON:
            found += connection.execute(
                f"SELECT {_COLUMNS}, call_id, call_key FROM calls"
                f" {dialect_of(connection).using('calls_by_outcome')} WHERE outcome = :outcome"
                " AND began >= :began AND ended >= :since AND answered_s IS NULL AND call_key <> ''"
                " ORDER BY began DESC LIMIT :limit",
                {"outcome": outcome, "began": since - LONGEST_S, "since": since, "limit": CHUNK},
            ).fetchall()
    return [replace(_kept_call(row[:-1]), call_key=text_of(row[-1])) for row in found]


def _kept_call(row: Sequence[Any]) -> KeptCall:
    """A row of the table, which may have been written by hand."""
    began, ended, *texts, answered_s, trace, forwarded_by, asterisk, call_id = row
    *shown, forwarder, place = shown_texts([*texts, forwarded_by, asterisk])
    values: tuple[Any, ...] = (
        sortable(began),
        sortable(ended),
        *shown,
        None if answered_s is None else count_of(answered_s),
        trace if isinstance(trace, str) and len(trace) <= MAX_TRACE else "",
        forwarder,
        place,
        call_id,
    )
    return KeptCall(*values)


def call(connection: Connection, call_id: int) -> KeptCall:
    """Get a call.

    Raises:
        NotThere: there is no such call, or no longer.
        StoreError: the database cannot be read.
    """
    query = f"SELECT {_COLUMNS}, call_id FROM calls WHERE call_id = :id"
    missing = NotThere(sentence("there is no call {id} in the history; it may have been deleted", id=call_id))
    return _kept_call(read_row(connection, query, {"id": bounded(call_id)}, missing))


def find_calls(connection: Connection, search: Search, limit: int) -> Iterator[CallRow]:
    """Find calls, newest first.

    Raises:
        StoreError: the database cannot be read.
    """
    before: ListPosition | None = None
    while limit > 0:
        page = find_page(connection, search, min(limit, CHUNK), before=before)
        yield from page.calls
        if page.older is None:
            return
        limit -= len(page.calls)
        before = page.older


def find_page(
    connection: Connection,
    search: Search,
    limit: int,
    before: ListPosition | None = None,
    after: ListPosition | None = None,
) -> CallPage:
    """Find a page of calls.

    Args:
        before: only calls older than this place.
        after: only calls newer than this place, the next ones.

    Raises:
        StoreError: the database cannot be read.
    """
    conditions, values = _conditions(search)
    upwards = after is not None and before is None
    place = after if upwards else before
    if place is not None:
        sign = ">" if upwards else "<"
        # Both, because the index is used for the first only.
        conditions += [f"began {sign}= :began", f"(began, call_id) {sign} (:began, :call_id)"]
        values |= {"began": place[0], "call_id": place[1]}
    direction = "ASC" if upwards else "DESC"
    order = f"ORDER BY began {direction}, call_id {direction}"
    with reading(connection):
        index = _index(connection, search, limit)
        by_index = dialect_of(connection).using(index)
        found_by = f"FROM calls {by_index} WHERE {' AND '.join(conditions) or 'TRUE'} {order} LIMIT :limit"
        if index != "calls_by_time" and _is_beginning_alone(search):
            # The index has all the columns of the search: sort it, and read only the rows of the page.
            found_by = f"FROM calls WHERE call_id IN (SELECT call_id {found_by}) {order}"
        query = f"SELECT {_COLUMNS}, call_id {found_by}"
        rows = connection.execute(query, {**values, "limit": limit + 1}).fetchall()
    more = len(rows) > limit
    found = [_kept_call(row) for row in rows[:limit]]
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
    if search.forwarded_by is not None:
        # The column lists several forwarders with commas between.
        beginning = _beginning("forwarded_by", search.forwarded_by)
        conditions.append("forwarded_by <> ''")  # as the index demands
        conditions.append(
            "(instr(', ' || forwarded_by || ',', ', ' || :forwarder) > 0"
            " OR instr(forwarded_by || ',', '/' || :forwarder) > 0)"
        )
        values["forwarder"] = f"{search.forwarded_by}," if beginning is None else beginning
    if search.asterisk is not None:
        conditions.append("asterisk = :asterisk")
        values["asterisk"] = search.asterisk
        if search.asterisk:
            conditions.append("asterisk <> ''")  # as the index demands
    for name, sign in (("since", ">="), ("until", "<")):
        if getattr(search, name) is not None:
            conditions.append(f"began {sign} :{name}")
            values[name] = getattr(search, name)
    return conditions, values


def _beginning(name: str, wanted: str) -> str | None:
    """The prefix that a search asks for; None if it asks for a whole value."""
    return wanted[:-1] if name not in ("outcome", "asterisk") and wanted.endswith("*") and len(wanted) > 1 else None


def _is_beginning_alone(search: Search) -> bool:
    """Whether the only condition, except for the time, is a prefix of one number."""
    given = [name for name in _INDEXES if getattr(search, name) is not None]
    return len(given) == 1 and given[0] in _NUMBERS and _beginning(given[0], getattr(search, given[0])) is not None


def _index(connection: Connection, search: Search, limit: int) -> str:
    """The index that leaves the fewest rows."""
    best, fewest = "calls_by_time", FEW + 1
    exact = ""
    if limit < BULK and _is_beginning_alone(search):
        return "calls_by_caller" if search.caller else "calls_by_number"
    for name, index in _INDEXES.items():
        wanted = getattr(search, name)
        if wanted is None or (name == "asterisk" and not wanted):  # the index has those that are known
            continue
        only = Search(**{name: wanted, "since": search.since, "until": search.until})
        conditions, values = _conditions(only)
        counted: int = connection.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM calls {dialect_of(connection).using(index)}"
            f" WHERE {' AND '.join(conditions)} LIMIT {FEW + 1}) AS found",
            values,
        ).fetchone()[0]
        if counted < fewest:
            best, fewest = index, counted
        if name == "forwarded_by" or (_beginning(name, wanted) is None and not exact):
            exact = index
    # For one value the index is in order of time; for a prefix it is not, but that of calls that were forwarded is.
    return exact if fewest > FEW and exact else best


def outcomes(connection: Connection) -> list[str]:
    """The outcomes that occur, found by skipping along the index."""
    query = (
        "WITH RECURSIVE found(outcome) AS (SELECT min(outcome) FROM calls UNION ALL"
        " SELECT (SELECT min(outcome) FROM calls WHERE outcome > found.outcome) FROM found"
        " WHERE found.outcome IS NOT NULL)"
        f" SELECT outcome FROM found WHERE outcome IS NOT NULL LIMIT {MAX_OUTCOMES}"
    )
    with reading(connection):
        found = [outcome for (outcome,) in connection.execute(query)]
    return [outcome for outcome in found if isinstance(outcome, str) and len(outcome) <= MAX_OUTCOME]


def forget_calls(connection: Connection, before: float) -> None:
    """Delete the calls that began before an epoch second.

    Raises:
        StoreError: the database cannot be written.
    """
    with transaction(connection, outlasts_power=False):
        connection.execute("DELETE FROM calls WHERE began < :before", {"before": before})
