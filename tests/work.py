"""Counts work (function calls, steps of SQLite) for tests of what must stay quick on any machine."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

SQL_STEPS: Final = 100
"""SQLite's steps are counted by the hundred."""


@dataclass
class Count:
    """The amount of work done."""

    total: int = 0


@contextlib.contextmanager
def calls() -> Iterator[Count]:
    """Count the function calls of this thread, C functions and resumed generators among them."""
    count = Count()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            count.total += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield count
    finally:
        sys.setprofile(before)


def count_sql(connection: Any) -> Count:
    """Count the steps of SQLite's virtual machine on a connection from now on."""
    count = Count()

    def note() -> int:
        count.total += SQL_STEPS
        return 0

    connection.set_progress_handler(note, SQL_STEPS)
    return count


def sql_steps(connection: sqlite3.Connection, work: Callable[[], object]) -> int:
    """Count the steps of SQLite's virtual machine that a piece of work takes."""
    count = count_sql(connection)
    try:
        work()
    finally:
        connection.set_progress_handler(None, 0)
    return count.total
