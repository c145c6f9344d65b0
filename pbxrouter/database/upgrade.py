"""The version of a database's schema, and upgrades from an older one.

Each step is a file in pbxrouter/upgrades and one transaction: it is done wholly or not at all, and
of two processes that upgrade at once the second finds it done. Before the first step the database
is backed up to a file beside it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from pbxrouter.config import Place
from pbxrouter.database.audit_triggers import drop_triggers, ensure_triggers
from pbxrouter.database.backup import back_up, free_bytes, path_of, place_of
from pbxrouter.database.engine import DATABASE_ERRORS, Connection, part_for
from pbxrouter.errors import DatabaseTooNew, StoreError
from pbxrouter.text import sentence

SCHEMA_VERSION: Final = 11
"""The version that schema.sql makes."""

WORKSHOP_TABLES: Final = frozenset(
    {"applications_mappings", "extensions", "extensions_mappings", "users", "users_mappings"}
)

_STEP: Final = re.compile(r"(\d{4})_\w+\.sql")
_NOT_IN_A_STEP: Final = frozenset({"BEGIN", "COMMIT", "END", "ROLLBACK", "PRAGMA", "VACUUM"})
_BLANK: Final = re.compile(r"(?:\s|--[^\n]*|/\*.*?\*/)*", re.DOTALL)


def schema() -> str:
    """The text of schema.sql."""
    return files("pbxrouter").joinpath("schema.sql").read_text(encoding="utf-8")


def version_of(connection: Connection) -> int:
    """The schema version of a database; 0 if its schema_version table is empty.

    Raises:
        StoreError: it is no number.
    """
    (version,) = connection.execute("SELECT max(version) FROM schema_version").fetchone()
    if not isinstance(version, int | None):
        raise StoreError(
            sentence(
                "database {path} has no version in its table schema_version: restore a backup",
                path=place_of(connection),
            )
        )
    return version or 0


def too_new(place: Place, version: int) -> DatabaseTooNew:
    """The error for a database that a later version of the program has made."""
    return DatabaseTooNew(
        sentence(
            "database {path} was created by a later pbxrouter (its schema is version "
            "{version}, this one knows up to {known}): install the later one",
            path=place,
            version=version,
            known=SCHEMA_VERSION,
        )
    )


def too_old(place: Place, version: int) -> StoreError:
    """The error for a database of an earlier version that is only to be read."""
    return StoreError(
        sentence(
            "database {path} was created by an earlier pbxrouter (its schema is version {version}): "
            "start the gateway, which upgrades it",
            path=place,
            version=version,
        )
    )


def find_steps(directory: Traversable | Path | None = None) -> dict[int, Traversable | Path]:
    """The upgrade files, by the version that each leads to."""
    source = files("pbxrouter").joinpath("upgrades") if directory is None else directory
    found: dict[int, Traversable | Path] = {}
    for file in source.iterdir():
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
    notify: Callable[[str], object] | None = None,
    free: Callable[[Path], int] = free_bytes,
) -> list[int]:
    """Upgrade a database to a version, after a backup; return the versions it went through.

    Args:
        connection: an open database that has a schema_version table.
        target: the version to reach.
        directory: where the steps are; None is pbxrouter/upgrades.
        notify: called with one line if the database was upgraded; it names the backup.
        free: returns the space left in a directory, in bytes.

    Raises:
        StoreError: there is no room for the backup; or a step is missing or failed, and the steps
            before it stay done. If no step was done, the database is unchanged and no backup is
            left behind.
        sqlite3.Error: the database cannot be read or locked.
    """
    before = version_of(connection)
    if before >= target:
        return []
    steps = find_steps(directory)
    done: list[int] = []
    backup: Path | None = None
    # With foreign keys on, dropping a table to rebuild it would delete the grants that refer to it.
    connection.execute("PRAGMA foreign_keys = OFF")
    try:
        for version in range(before + 1, target + 1):
            if version not in steps:
                raise StoreError(f"no upgrade leads from version {version - 1} of the database to {version}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                if version_of(connection) >= version:
                    connection.rollback()
                    continue  # another process has done this step
                if backup is None:
                    backup = back_up(connection, target, free)
                _take(connection, version, steps[version])
            except BaseException:
                connection.rollback()
                raise
            done.append(version)
    finally:
        connection.execute("PRAGMA foreign_keys = ON")
        if backup is not None:
            if not done:
                backup.unlink(missing_ok=True)
            elif notify is not None:
                notify(
                    f"database {path_of(connection)}: upgraded from schema version {done[0] - 1} to {done[-1]}; "
                    f"the backup from before is {backup}"
                )
    return done


def _take(connection: sqlite3.Connection, version: int, step: Traversable | Path) -> None:
    """Do one step in the transaction that is open, and commit it."""
    drop_triggers(connection)  # a step may rebuild their tables, and is no change to be undone
    run(connection, step.read_text(encoding="utf-8"), step.name)
    connection.execute("INSERT INTO schema_version (version) VALUES (:version)", {"version": version})
    if version == SCHEMA_VERSION:
        ensure_triggers(connection)
    connection.commit()


def run(connection: sqlite3.Connection, script: str, name: str) -> None:
    """Run schema.sql or an upgrade inside the transaction that is open.

    ``executescript`` is no substitute: it commits the transaction first, and its errors name no line.

    Raises:
        StoreError: a statement failed, or is not allowed in a transaction.
    """
    run_each(connection, statements(part_for("sqlite", script)), name)


def run_each(connection: Connection, script: Iterable[tuple[int, str]], name: str) -> None:
    """Run the statements of schema.sql or an upgrade, each with its line, inside the transaction that is open.

    Raises:
        StoreError: a statement failed, or is not allowed in a transaction.
    """
    for line, statement in script:
        words = statement.split(None, 3)
        if words[0].upper().rstrip(";") in _NOT_IN_A_STEP:
            raise StoreError(f"{name}, line {line}: {words[0].rstrip(';')} is not allowed in an upgrade")
        try:
            connection.execute(statement)
        except DATABASE_ERRORS as error:
            raise StoreError(f"{name}, line {line}: {' '.join(words[:3])}: {error}") from error


def statements(script: str) -> Iterator[tuple[int, str]]:
    """Split one of our own scripts into statements, each with the line it begins in, from 1.

    SQLite itself decides where a statement ends. Comments before a statement are left out.
    """
    begin = _after_blanks(script, 0)
    for semicolon in re.finditer(";|$", script.rstrip()):
        end = semicolon.end()
        text = script[begin:end]
        if text and (sqlite3.complete_statement(text) or not semicolon[0]):
            yield script.count("\n", 0, begin) + 1, text
            begin = _after_blanks(script, end)


def _after_blanks(script: str, position: int) -> int:
    blanks = _BLANK.match(script, position)
    return blanks.end() if blanks else position
