"""The history of calls as rows: written in batches, searched, forgotten when old.

Everything here blocks. Not here: when to write (history), and showing it (cli).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Final

from pbxrouter.database.connection import reading, transaction
from pbxrouter.trace import Step


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
    def steps(self) -> list[Step]:
        """The trace, for showing it in any language."""
        return [Step(message, values) for message, values in json.loads(self.trace)]


def trace_text(steps: Iterable[Step]) -> str:
    """A trace as the table keeps it."""
    return json.dumps([[step.message, dict(step.values)] for step in steps])


@dataclass(frozen=True, slots=True)
class Search:
    """Which calls; None means any. Times are epoch seconds, the second excluded."""

    caller: str | None = None
    number: str | None = None
    outcome: str | None = None
    since: float | None = None
    until: float | None = None


_COLUMNS: Final = ", ".join(field.name for field in fields(CallRow))
_VALUES: Final = attrgetter(*(field.name for field in fields(CallRow)))  # dataclasses.astuple copies deeply
_INSERT: Final = f"INSERT INTO calls ({_COLUMNS}) VALUES ({', '.join('?' * len(fields(CallRow)))})"
_CONDITIONS: Final = {
    "caller": "caller = :caller",
    "number": "number = :number",
    "outcome": "outcome = :outcome",
    "since": "began >= :since",
    "until": "began < :until",
}


def add_calls(connection: sqlite3.Connection, rows: Iterable[CallRow]) -> None:
    """Write a batch, in one transaction.

    Raises:
        StoreError: the database cannot be written.
    """
    with transaction(connection):
        connection.executemany(_INSERT, map(_VALUES, rows))


def find_calls(connection: sqlite3.Connection, search: Search, limit: int) -> Iterator[CallRow]:
    """The newest calls that fit, newest first.

    Raises:
        StoreError: the database cannot be read.
    """
    values: dict[str, Any] = {
        name: value for name in _CONDITIONS if (value := getattr(search, name)) is not None
    }
    where = " AND ".join(_CONDITIONS[name] for name in values) or "1"
    query = f"SELECT {_COLUMNS} FROM calls WHERE {where} ORDER BY began DESC, call_id DESC LIMIT :limit"
    with reading(connection):
        for row in connection.execute(query, {**values, "limit": limit}):
            yield CallRow(*row)


def forget_calls(connection: sqlite3.Connection, before: float) -> None:
    """Remove the calls that began before an epoch second.

    Raises:
        StoreError: the database cannot be written.
    """
    with transaction(connection):
        connection.execute("DELETE FROM calls WHERE began < :before", {"before": before})
