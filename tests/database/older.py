"""Databases of an older schema version, for tests of upgrades."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

LATER = (
    "counter_",
    "api_",
    "calls",
    "console_",
    "audit_",
    "dial_",
    "pin_",
    "users_limits",
    "extensions_endpoints",
)
"""The beginnings of the names of tables that version 1 did not have."""


def make_older(path: Path) -> None:
    """Turn a new database back into one of schema version 1; its rules stay."""
    with closing(sqlite3.connect(path)) as connection:
        for kind, name in connection.execute("SELECT type, name FROM sqlite_master").fetchall():
            if kind in {"trigger", "view"} or (kind == "table" and name.startswith(LATER)):
                connection.execute(f"DROP {kind} IF EXISTS {name}")
        connection.execute("UPDATE schema_version SET version = 1")
        connection.commit()
