"""The version of a database's schema, and the way from an older one to ours.

Each step is one file in pbxrouter/upgrades and one transaction, so a step is done or
not done, and of two processes that start at once the second finds it done.
"""

from __future__ import annotations

import re
import sqlite3
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from pbxrouter.database.sql_split import split
from pbxrouter.errors import StoreError

SCHEMA_VERSION: Final = 6
"""The version that schema.sql makes."""

_STEP: Final = re.compile(r"(\d{4})_\w+\.sql")
_NOT_IN_A_STEP: Final = frozenset({"BEGIN", "COMMIT", "END", "ROLLBACK", "PRAGMA", "VACUUM"})


def schema() -> str:
    """The text of schema.sql."""
    return files("pbxrouter").joinpath("schema.sql").read_text(encoding="utf-8")


def version_of(connection: sqlite3.Connection) -> int:
    """The schema version of a database; 0 if it has the table, but no row in it."""
    row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
    return int(row[0] or 0)


def find_steps(directory: Traversable | Path | None = None) -> dict[int, Traversable | Path]:
    """The upgrade files, by the version that each leads to."""
    places = files("pbxrouter").joinpath("upgrades") if directory is None else directory
    found: dict[int, Traversable | Path] = {}
    for file in places.iterdir():
        match = _STEP.fullmatch(file.name)
        if match:
            if int(match[1]) in found:
                raise StoreError(f"upgrade {match[1]} is there twice: {file.name} and {found[int(match[1])].name}")
            found[int(match[1])] = file
    return found


def upgrade(
    connection: sqlite3.Connection,
    target: int = SCHEMA_VERSION,
    directory: Traversable | Path | None = None,
) -> list[int]:
    """Bring a database up to a version; return the versions it went through.

    Args:
        connection: an open database that has a schema_version table.
        target: the version to reach.
        directory: where the steps are; in the package unless told (tests do).

    Raises:
        StoreError: a step is missing, or failed; the steps before it stay done.
        sqlite3.Error: the database cannot be read or locked.
    """
    if version_of(connection) >= target:
        return []
    steps = find_steps(directory)
    done: list[int] = []
    # Rebuilding a table drops the old one, which must not take the grants along.
    connection.execute("PRAGMA foreign_keys = OFF")
    try:
        for version in range(version_of(connection) + 1, target + 1):
            if version not in steps:
                raise StoreError(f"no upgrade leads from version {version - 1} of the database to {version}")
            if _take(connection, version, steps[version]):
                done.append(version)
    finally:
        connection.execute("PRAGMA foreign_keys = ON")
    return done


def _take(connection: sqlite3.Connection, version: int, step: Traversable | Path) -> bool:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if version_of(connection) >= version:
            connection.rollback()
            return False  # another process was faster
        run(connection, step.read_text(encoding="utf-8"), step.name)
        connection.execute("INSERT INTO schema_version (version) VALUES (:version)", {"version": version})
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
    return True


def run(connection: sqlite3.Connection, script: str, name: str) -> None:
    """Run a script of ours inside the transaction that is open.

    Raises:
        StoreError: a statement failed, or is none that a transaction may hold.
    """
    for statement in split(script):
        if statement.words and statement.words[0] in _NOT_IN_A_STEP:
            raise StoreError(f"{name}, line {statement.line}: {statement.words[0]} has no place in an upgrade")
        try:
            connection.execute(statement.text)
        except sqlite3.Error as error:
            raise StoreError(f"{name}, line {statement.line}: {statement.head}: {error}") from error
