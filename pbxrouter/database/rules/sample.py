"""The workshop's rules as a sample."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from pbxrouter.database.backup import path_of
from pbxrouter.database.connection import transaction
from pbxrouter.database.rules.loader import _SAMPLE_EXTENSION, _SAMPLE_MAPPINGS, _SAMPLE_USER, _grants
from pbxrouter.errors import StoreError


def add_sample(connection: sqlite3.Connection, hash_pin: Callable[[str], str]) -> None:
    """Write the workshop's rules, under the workshop's own numbers, into a new database.

    Raises:
        StoreError: there are rules already, or the database cannot be written.
    """
    with transaction(connection):
        if connection.execute("SELECT count(*) FROM applications_mappings").fetchone()[0]:
            raise StoreError(f"database {path_of(connection)} has rules already; the sample is for a new one")
        connection.executemany(
            "INSERT INTO applications_mappings (map_id, application_name, application_data, pattern)"
            " VALUES (:map_id, :name, :data, :pattern)",
            [dict(zip(("map_id", "name", "data", "pattern"), row, strict=True)) for row in _SAMPLE_MAPPINGS],
        )
        extension_id, number, extension_grants = _SAMPLE_EXTENSION
        connection.execute(
            "INSERT INTO extensions (extension_id, extension_number) VALUES (:id, :number)",
            {"id": extension_id, "number": number},
        )
        connection.executemany(
            "INSERT INTO extensions_mappings (extension_id, map_id) VALUES (:holder, :map_id)",
            _grants(extension_id, extension_grants),
        )
        user_id, name, pin, user_grants = _SAMPLE_USER
        connection.execute(
            "INSERT INTO users (user_id, user_name, user_pin) VALUES (:id, :name, :pin)",
            {"id": user_id, "name": name, "pin": hash_pin(pin)},
        )
        connection.executemany(
            "INSERT INTO users_mappings (user_id, map_id) VALUES (:holder, :map_id)",
            _grants(user_id, user_grants),
        )
