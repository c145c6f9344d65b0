"""The rules as rows: reading all of them, the sample, setting a PIN."""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from pbxrouter.database.connection import reading
from pbxrouter.rules import Mapping, RuleSet
from pbxrouter.text import Sentence, sentence

_HASH: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class _Holders:
    """Of the two kinds of grant, where each is kept and what is said of those that lead nowhere."""

    query: str
    grants: str
    without_holder: Callable[[object, object], Sentence]
    without_mapping: Callable[[str, object], Sentence]


_MAPPINGS: Final = (
    "SELECT map_id, pattern, application_name, application_data, mappings_disabled.map_id IS NULL"
    " FROM applications_mappings LEFT JOIN mappings_disabled USING (map_id) ORDER BY map_id"
)
_EXTENSIONS: Final = _Holders(
    "SELECT extension_id, extension_number, NULL FROM extensions ORDER BY extension_id",
    "SELECT ext_map_id, extension_id, map_id FROM extensions_mappings ORDER BY ext_map_id",
    lambda grant_id, holder_id: sentence(
        "extension grant {grant_id} is left out: there is no extension {extension_id}",
        grant_id=grant_id,
        extension_id=holder_id,
    ),
    lambda extension, map_id: sentence(
        "a grant of extension {extension} is left out: there is no mapping {map_id}",
        extension=extension,
        map_id=map_id,
    ),
)
_USERS: Final = _Holders(
    "SELECT user_id, user_name, user_pin FROM users ORDER BY user_id",
    "SELECT usr_map_id, user_id, map_id FROM users_mappings ORDER BY usr_map_id",
    lambda grant_id, holder_id: sentence(
        "user grant {grant_id} is left out: there is no user {user_id}",
        grant_id=grant_id,
        user_id=holder_id,
    ),
    lambda user, map_id: sentence(
        "a grant of user {user} is left out: there is no mapping {map_id}",
        user=user,
        map_id=map_id,
    ),
)

# The workshop's rules, with its numbers.
_SAMPLE_MAPPINGS: Final = (
    (1, "dial", "IAX2", "3X"),
    (2, "dial", "SIP", "2X"),
    (3, "dial", "Zap", "XXXXXXXX"),
    (4, "voicemail", "", "66"),
    (5, "conference", "", "7X"),
)
_SAMPLE_EXTENSION: Final = (1, "33", (2,))
_SAMPLE_USER: Final = (1, "moises silva", "123456", (1, 2, 4, 5))


def read_rules(connection: sqlite3.Connection, hash_pin: Callable[[str], str]) -> RuleSet:
    """Read all rules as of one moment.

    Rows that make no sense are left out; RuleSet.problems names them.

    Args:
        connection: an open database.
        hash_pin: makes of a PIN what is stored of it.

    Raises:
        StoreError: the database cannot be read.
    """
    problems: list[Sentence] = []
    with reading(connection):
        mappings = _read_mappings(connection, problems)
        known = {mapping.map_id for mapping in mappings}
        extensions = [
            (number.strip(), grants) for number, _, grants in _read_holders(connection, _EXTENSIONS, known, problems)
        ]
        users = _read_holders(connection, _USERS, known, problems)
        max_calls = {
            _text(pin): int(limit)
            for pin, limit in connection.execute(
                "SELECT u.user_pin, l.max_calls FROM users_limits AS l JOIN users AS u USING (user_id)"
                " WHERE u.user_pin IS NOT NULL"
            )
        }
    for name, pin, _ in users:
        if pin is not None and not _HASH.fullmatch(pin):
            problems.append(
                sentence(
                    "the PIN of user {user} is in clear and does not count: set it with `pbxrouter pin`",
                    user=name,
                )
            )
    return RuleSet.build(mappings, extensions, users, hash_pin, problems, max_calls)


def check_columns(connection: sqlite3.Connection) -> None:
    """See that the rules could be read, without reading them.

    Raises:
        StoreError: a table or a column is not there, or the database cannot be read.
    """
    with reading(connection):
        for query in (_MAPPINGS, _EXTENSIONS.query, _EXTENSIONS.grants, _USERS.query, _USERS.grants):
            connection.execute(f"EXPLAIN {query}")


def _read_mappings(connection: sqlite3.Connection, problems: list[Sentence]) -> list[Mapping]:
    rows = connection.execute(_MAPPINGS)
    found: list[Mapping] = []
    for map_id, pattern, application, data, enabled in rows:
        if isinstance(pattern, str) and isinstance(application, str):
            found.append(Mapping(map_id, pattern.strip(), application.strip(), _text(data), bool(enabled)))
        else:
            problems.append(
                sentence("mapping {map_id} is left out: its pattern or its application is no text", map_id=map_id)
            )
    return found


def _read_holders(
    connection: sqlite3.Connection, holders: _Holders, mappings: set[int], problems: list[Sentence]
) -> list[tuple[str, str | None, frozenset[int]]]:
    """Extensions or users, each with the mappings granted: (number or name, PIN hash, map_ids)."""
    rows = connection.execute(holders.query).fetchall()
    known = {row[0]: _text(row[1]) for row in rows}
    granted: defaultdict[int, list[int]] = defaultdict(list)
    for grant_id, holder_id, map_id in connection.execute(holders.grants):
        if holder_id not in known:
            problems.append(holders.without_holder(grant_id, holder_id))
        elif map_id not in mappings:
            problems.append(holders.without_mapping(known[holder_id], map_id))
        else:
            granted[holder_id].append(map_id)
    return [(known[row_id], None if pin is None else _text(pin), frozenset(granted[row_id])) for row_id, _, pin in rows]


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _grants(holder: int, map_ids: Iterable[int]) -> list[dict[str, int]]:
    return [{"holder": holder, "map_id": map_id} for map_id in map_ids]
