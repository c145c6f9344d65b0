"""Chooses the store for a database, by its engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pbxrouter.config import Place, PostgreSQLPlace
from pbxrouter.database.connection import TIMEOUT_S
from pbxrouter.database.server import demand_psycopg
from pbxrouter.database.store import Store


def open_store(place: Place, hash_pin: Callable[[str], str], reactor: Any, timeout_s: float = TIMEOUT_S) -> Store:
    """A store on a database of either engine; see Store for the arguments.

    Raises:
        StoreError: psycopg is needed and not installed. Whether the database can be opened tells the first use.
    """
    if isinstance(place, PostgreSQLPlace):
        demand_psycopg(place)
        from pbxrouter.database.server_store import ServerStore

        return ServerStore(place, hash_pin, reactor, timeout_s)
    from pbxrouter.database.file_store import FileStore

    return FileStore(place, hash_pin, reactor, timeout_s)
