"""The workshop's rules, as a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from pbxrouter.database.audit import Actor, changing
from pbxrouter.database.backup import place_of
from pbxrouter.database.engine import Connection
from pbxrouter.errors import StoreError

INIT: Final = Actor("init", "command")
_SAMPLE_MAPPINGS: Final = (
    (1, "dial", "IAX2", "3X"),
    (2, "dial", "SIP", "2X"),
    (3, "dial", "Zap", "XXXXXXXX"),
    (4, "voicemail", "", "66"),
    (5, "conference", "", "7X"),
)
_SAMPLE_EXTENSION: Final = (1, "33", (2,))
_SAMPLE_USER: Final = (1, "moises silva", "123456", (1, 2, 4, 5))


def add_sample(connection: Connection, hash_pin: Callable[[str], str], actor: Actor = INIT, now: float = 0.0) -> None:
    """Add the workshop's rules, with the workshop's own numbers, to a new database.

    Args:
        actor: the author, for the audit log.
        now: epoch seconds.

    Raises:
        StoreError: there are rules already, or the database cannot be written.
    """
    with changing(connection, actor, now, "import", "import", "pbxrouter init --sample"):
        if connection.execute("SELECT count(*) FROM applications_mappings").fetchone()[0]:
            raise StoreError(f"database {place_of(connection)} has rules already; the sample is for a new one")
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


def _grants(holder: int, map_ids: Iterable[int]) -> list[dict[str, int]]:
    return [{"holder": holder, "map_id": map_id} for map_id in map_ids]
