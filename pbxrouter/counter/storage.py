"""The call counter's rows in the database: written about once a second, restored at the start.

The functions block and run in the store's thread. One Batch is one transaction, so counts, calls in
progress and ``last_seen`` always belong together: after a kill -9 at any moment no call is counted
twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pbxrouter.counter.call_table import MAX_TALKS, ChannelTalk, LiveCall
from pbxrouter.counter.counts import Minutes
from pbxrouter.database import (
    Connection,
    FailedRow,
    SetAside,
    dialect_of,
    is_sqlite,
    keep_aside,
    reading,
    seconds_of,
    text_of,
    transaction,
    write_rows,
)
from pbxrouter.errors import StoreError
from pbxrouter.text import printable, sentence

MAX_TEXT: Final = 200
"""Characters of a name that calls are counted under."""

LiveRow = tuple[float, float | None, str, str, str, str, str, str, bool, str]
"""A row of counter_live, in the order of its columns."""


@dataclass(slots=True)
class Batch:
    """The changes to write for one Asterisk in one transaction.

    Attributes:
        minutes: counts to add to the stored ones.
        live: calls in progress that are new or have changed, by Linkedid.
        gone: Linkedids of calls that are no longer in progress.
        all_live: whether ``live`` is all of them, so that all other stored ones are deleted.
        seen: until when calls have been counted, epoch seconds; None if unknown now.
        gaps: times in which calls were not counted, (began, ended) in epoch seconds.
        started_up: Asterisk's start time in its own format; ``""`` keeps the stored one.
        mark: set when its writing begins: names the transaction, for ``was_written``; ``""`` if one that fails was
            not committed.
    """

    asterisk: str
    minutes: Minutes = field(default_factory=dict)
    live: dict[str, LiveRow] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    all_live: bool = False
    seen: float | None = None
    gaps: list[tuple[float, float]] = field(default_factory=list)
    started_up: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """The state that an earlier run has stored for one Asterisk.

    Attributes:
        last_seen: until when it counted, epoch seconds; None if it never did.
        talks: the talk of the channels of ``live``.
    """

    last_seen: float | None
    started_up: str
    live: tuple[LiveCall, ...]
    talks: Mapping[str, ChannelTalk] = field(default_factory=dict)


_SUMS: Final = ("started", "answered", "finished", "talked", "served", "talk_seconds")
_OF_LIVE: Final = (
    *("started", "answered", "channels", "caller", "number", "dial_status", "outcome", "labels", "certain", "talks"),
)
_MINUTES: Final = (
    "INSERT INTO counter_minutes (minute, asterisk, kind, name, started, answered, finished, talked, served,"
    " talk_seconds, peak) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (minute, asterisk, kind, name) DO UPDATE SET"
    f" {', '.join(f'{name} = counter_minutes.{name} + excluded.{name}' for name in _SUMS)},"
    " peak = max(counter_minutes.peak, excluded.peak)"
)
_FAILURES: Final = (
    "INSERT INTO counter_failures (minute, asterisk, kind, name, reason, calls) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (minute, asterisk, kind, name, reason)"
    " DO UPDATE SET calls = counter_failures.calls + excluded.calls"
)
_LIVE: Final = (
    f"INSERT INTO counter_live (asterisk, linkedid, {', '.join(_OF_LIVE)}) VALUES (?, ?{', ?' * len(_OF_LIVE)})"
    f" ON CONFLICT (asterisk, linkedid) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _OF_LIVE)}"
)
_GAPS: Final = (
    "INSERT INTO counter_gaps (asterisk, began, ended) VALUES (?, ?, ?)"
    " ON CONFLICT (asterisk, began) DO UPDATE SET ended = excluded.ended"
)
_COUNTS: Final = ("started", "answered", "finished", "talked", "served", "talk_s", "peak")


def write(
    connection: Connection, batch: Batch, confirm: Callable[[Connection], object] | None = None
) -> list[SetAside]:
    """Write a batch, wholly or not at all, but for rows that cannot be written whichever the database; returns those.

    Args:
        confirm: called in the transaction; nothing is written if it raises.

    Raises:
        StoreError: the database cannot be written now.
    """
    asterisk = batch.asterisk
    failed: dict[str, list[FailedRow]] = {}
    # A restart of PostgreSQL's server must not lose counts that the gateway has forgotten.
    with transaction(connection, outlasts_power=not is_sqlite(connection)):
        if confirm is not None:
            confirm(connection)
        batch.mark = dialect_of(connection).mark(connection)
        failed["counter_minutes"] = write_rows(
            connection,
            _MINUTES,
            [
                (minute, asterisk, kind, name, *(getattr(counts, value) for value in _COUNTS))
                for (minute, kind, name), counts in batch.minutes.items()
            ],
        )
        failed["counter_failures"] = write_rows(
            connection,
            _FAILURES,
            [
                (minute, asterisk, kind, name, reason, calls)
                for (minute, kind, name), counts in batch.minutes.items()
                for reason, calls in counts.failed.items()
            ],
        )
        failed["counter_live"] = _write_live(connection, batch)
        failed["counter_gaps"] = write_rows(
            connection, _GAPS, [(asterisk, began, ended) for began, ended in batch.gaps]
        )
        _write_seen(connection, batch)
    return [row for table, rows in failed.items() for row in keep_aside(connection, table, rows)]


def was_written(connection: Connection, batch: Batch) -> bool:
    """Whether a batch was written, when ``write`` has failed: the connection may have been lost in the commit.

    Raises:
        StoreError: that is not known yet.
    """
    with reading(connection):
        found = dialect_of(connection).was_committed(connection, batch.mark)
    if found is None:
        raise StoreError(sentence("the server has not ended the last transaction of the counter yet"))
    return found


def _write_live(connection: Connection, batch: Batch) -> list[FailedRow]:
    if batch.all_live:
        connection.execute("DELETE FROM counter_live WHERE asterisk = :asterisk", {"asterisk": batch.asterisk})
    else:
        connection.executemany(
            "DELETE FROM counter_live WHERE asterisk = :asterisk AND linkedid = :linkedid",
            [{"asterisk": batch.asterisk, "linkedid": linkedid} for linkedid in batch.gone],
        )
    return write_rows(connection, _LIVE, [(batch.asterisk, linkedid, *row) for linkedid, row in batch.live.items()])


def _write_seen(connection: Connection, batch: Batch) -> None:
    if batch.seen is not None:
        connection.execute(
            "INSERT INTO counter_asterisks (asterisk, first_seen, last_seen) VALUES (:asterisk, :seen, :seen)"
            " ON CONFLICT (asterisk) DO UPDATE SET last_seen = excluded.last_seen",
            {"asterisk": batch.asterisk, "seen": batch.seen},
        )
    if batch.started_up:
        connection.execute(
            "UPDATE counter_asterisks SET started_up = :started_up WHERE asterisk = :asterisk",
            {"asterisk": batch.asterisk, "started_up": batch.started_up},
        )


def load(connection: Connection, asterisk: str) -> Kept:
    """Load the stored state of one Asterisk.

    Raises:
        StoreError: the database cannot be read now.
    """
    name = {"asterisk": asterisk}
    with reading(connection):
        row = connection.execute(
            "SELECT last_seen, started_up FROM counter_asterisks WHERE asterisk = :asterisk", name
        ).fetchone()
        live = connection.execute(
            "SELECT linkedid, started, answered, channels, caller, number, dial_status, outcome, labels, talks"
            " FROM counter_live WHERE asterisk = :asterisk ORDER BY started",
            name,
        ).fetchall()
    calls = tuple(map(_live_call, live))
    talks: dict[str, ChannelTalk] = {}
    for call, (*_, text) in zip(calls, live, strict=True):
        _restore_talk(call, talks, text)
    if row is None:
        return Kept(None, "", calls, talks)
    return Kept(seconds_of(row[0]), text_of(row[1]), calls, talks)


def live_row(call: LiveCall, talk_of: Callable[[str], ChannelTalk | None] = lambda uniqueid: None) -> LiveRow:
    """Convert a call in progress to its row.

    Args:
        talk_of: returns the talk of a channel.
    """
    return (
        call.started,
        call.answered,
        " ".join(sorted(call.channels)),
        call.caller,
        call.number,
        call.dial_status,
        call.outcome,
        json.dumps(sorted(call.labels)) if call.labels else "[]",
        call.certain,
        _talks_text(call, talk_of),
    )


def _talks_text(call: LiveCall, talk_of: Callable[[str], ChannelTalk | None]) -> str:
    """A call's talk, and that of its channels, as JSON; ``{}`` if there was none yet."""
    channels = {}
    for uniqueid in sorted(call.channels):
        talk = talk_of(uniqueid)
        if talk is not None and (talk.begun or not talk.certain):
            channels[uniqueid] = [talk.talks, talk.since, talk.certain]
    if not call.connected and call.answered is None and not channels:
        return "{}"
    of_call = {"connected": call.connected, "silent": call.silent_s, "since": call.silent_since}
    return json.dumps({**of_call, "channels": channels})


def _restore_talk(call: LiveCall, talks: dict[str, ChannelTalk], text: object) -> None:
    """Read what ``_talks_text`` made; without it, or if it was damaged by hand, talk has lasted since the answer."""
    try:
        read = json.loads(text_of(text))
        call.connected = bool(read.get("connected"))
        if call.answered is not None:
            call.silent_s, since = seconds_of(read["silent"]), read["since"]
            call.silent_since = None if since is None else seconds_of(since)
        for uniqueid, (ended, since, certain) in read.get("channels", {}).items():
            talks[str(uniqueid)] = ChannelTalk(
                talks=[(seconds_of(began), seconds_of(end)) for began, end in ended[:MAX_TALKS]],
                since=None if since is None else seconds_of(since),
                certain=bool(certain),
            )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        call.silent_s, call.silent_since = 0.0, None
        return
    for uniqueid in call.channels - talks.keys():
        talks[uniqueid] = ChannelTalk()


def _live_call(row: tuple[Any, ...]) -> LiveCall:
    linkedid, started, answered, *texts, _ = row
    channels, caller, number, dial_status, outcome, labels = map(text_of, texts)
    return LiveCall(
        text_of(linkedid),
        seconds_of(started),
        None if answered is None else seconds_of(answered),
        set(channels.split()),
        caller=caller,
        number=number,
        dial_status=dial_status,
        outcome=outcome,
        labels=_labels(labels),
        certain=False,
    )


def _labels(text: str) -> set[tuple[str, str]]:
    """Parse stored labels; a row that was damaged by hand has none."""
    try:
        return {(str(kind), printable(str(name), MAX_TEXT)) for kind, name in json.loads(text)}
    except (ValueError, TypeError, RecursionError):
        return set()


def forget(connection: Connection, before: float) -> None:
    """Delete what is older than an epoch second.

    Raises:
        StoreError: the database cannot be written now.
    """
    with transaction(connection, outlasts_power=False):
        for table, column in (
            ("counter_minutes", "minute"),
            ("counter_failures", "minute"),
            ("counter_gaps", "ended"),
        ):
            connection.execute(f"DELETE FROM {table} WHERE {column} < :before", {"before": before})
