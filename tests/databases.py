"""Databases for tests: copies of new ones, of which each process creates one of a kind."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from pbxrouter import database
from pbxrouter.database import Connection
from pbxrouter.database.audit_triggers import drop_triggers, ensure_triggers
from pbxrouter.database.rules.sample import add_sample

SAMPLE_PIN: Final = "123456"
"""The only PIN of the sample rules."""


def new_database(path: Path) -> None:
    """Make the empty database that ``database.create`` makes, in a fiftieth of the time.

    Raises:
        OSError: there is such a file, or it cannot be written.
    """
    _write(path, _empty())


def sample_database(path: Path, hash_pin: Callable[[str], str]) -> None:
    """Make a new database with the sample rules; raises as new_database."""
    _write(path, _sample(hash_pin(SAMPLE_PIN)))


@contextlib.contextmanager
def unrecorded(connection: Connection) -> Iterator[None]:
    """A transaction whose changes do not come into the audit log: of many or long rows that takes most of the time."""
    with database.transaction(connection):
        drop_triggers(connection)
        yield
        ensure_triggers(connection)


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


@functools.cache
def _empty() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.db"
        database.create(path)
        return path.read_bytes()


@functools.cache
def _sample(hashed: str) -> bytes:
    def hash_pin(pin: str) -> str:
        assert pin == SAMPLE_PIN, "the sample has another PIN"
        return hashed

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.db"
        new_database(path)
        with contextlib.closing(database.connect(path)) as connection:
            add_sample(connection, hash_pin)
        return path.read_bytes()
