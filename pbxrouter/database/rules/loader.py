"""Loads all rules from the database."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final

from pbxrouter.database.connection import reading
from pbxrouter.database.engine import Connection
from pbxrouter.database.rules.holders import HOLDERS, HolderTable
from pbxrouter.errors import EditRefused
from pbxrouter.rules import Mapping, RuleSet, extension_number, read_endpoint
from pbxrouter.text import Sentence, sentence

UNREADABLE: Final = "?"
"""Stands for an endpoint of which nothing can be read."""

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_MAPPINGS: Final = (
    "SELECT map_id, pattern, application_name, application_data, mappings_disabled.map_id IS NULL"
    " FROM applications_mappings LEFT JOIN mappings_disabled USING (map_id) ORDER BY map_id"
)

_ENDPOINTS: Final = "SELECT extension_id, endpoint FROM extensions_endpoints"
_Holder = tuple[int, str, str | None, frozenset[int]]
"""An extension or a user: its number in the table, its number or name, its PIN's hash, the map_ids granted to it."""


def read_rules(connection: Connection, hash_pin: Callable[[str], str]) -> RuleSet:
    """Read all rules in one transaction.

    Rows that cannot be used are left out; RuleSet.problems names them.

    Args:
        connection: an open database.
        hash_pin: hashes a PIN as the database keeps it.

    Raises:
        StoreError: the database cannot be read.
    """
    problems: list[Sentence] = []
    with reading(connection):
        mappings = _read_mappings(connection, problems)
        known = {mapping.map_id for mapping in mappings}
        extensions = _read_holders(connection, HOLDERS["extension"], known, problems)
        users = _read_holders(connection, HOLDERS["user"], known, problems)
        max_calls = {
            _text(pin): int(limit)
            for pin, limit in connection.execute(
                "SELECT u.user_pin, l.max_calls FROM users_limits AS l JOIN users AS u USING (user_id)"
                " WHERE u.user_pin IS NOT NULL"
            )
        }
        tied = {row_id: _text(endpoint) for row_id, endpoint in connection.execute(_ENDPOINTS)}
    problems.extend(_repeated_users(users))
    for _, name, pin, _ in users:
        if pin is not None and not _HASH.fullmatch(pin):
            problems.append(
                sentence(
                    "the PIN of user {user} is in plain text and is ignored: set it with `pbxrouter pin`",
                    user=name,
                )
            )
    callers, endpoints, repeated = _by_number(extensions, tied, problems)
    people = [row[1:] for row in users]
    return RuleSet.build(mappings, callers, people, hash_pin, problems, max_calls, endpoints, repeated)


def _by_number(
    extensions: list[_Holder], tied: dict[int, str], problems: list[Sentence]
) -> tuple[list[tuple[str, frozenset[int]]], dict[str, str], dict[int, tuple[int, Sentence]]]:
    """The extensions and their endpoints by number, of which the first row counts, and the rows that are ignored."""
    first: dict[str, int] = {}
    callers: list[tuple[str, frozenset[int]]] = []
    endpoints: dict[str, str] = {}
    repeated: dict[int, tuple[int, Sentence]] = {}
    for row_id, name, _, grants in extensions:
        number = extension_number(name)
        if number in first:
            why = sentence(
                "extension {number} is there twice: row {row} is ignored, with its grants and its endpoint; "
                "row {first} counts",
                number=number,
                row=row_id,
                first=first[number],
            )
            repeated[row_id] = (first[number], why)
            continue
        first[number] = row_id
        callers.append((number, grants))
        if row_id in tied:
            endpoints[number] = _endpoint(number, tied[row_id], problems)
    return callers, endpoints, repeated


def _repeated_users(users: list[_Holder]) -> Iterator[Sentence]:
    """The users whose name another has, but for case, blanks and the width of characters."""
    first: dict[str, int] = {}
    for row_id, name, _, _ in users:
        spelled = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        if first.setdefault(spelled, row_id) != row_id:
            yield sentence(
                "user {user} is there twice, in row {first} and row {row}: the history cannot tell them apart; "
                "rename one",
                user=name.strip(),
                first=first[spelled],
                row=row_id,
            )


def _endpoint(number: str, text: str, problems: list[Sentence]) -> str:
    """An extension's endpoint; one that cannot be read ties the extension all the same, to where no call comes from."""
    try:
        return read_endpoint(text)
    except EditRefused as error:
        problems.append(
            sentence("no call counts as one of extension {number}: {why}", number=number, why=error.sentence)
        )
        return text.strip() or UNREADABLE


def check_columns(connection: Connection) -> None:
    """Check that the database has the tables and columns of the rules, without reading rows.

    Raises:
        StoreError: a table or a column is missing, or the database cannot be read.
    """
    holders = [query(table) for table in HOLDERS.values() for query in (_holders_query, _grants_query)]
    queries = [_MAPPINGS, *holders, _ENDPOINTS]
    with reading(connection):
        for query in queries:
            connection.execute(f"EXPLAIN {query}")


def _holders_query(table: HolderTable) -> str:
    return f"SELECT {table.row_id}, {table.name}, {table.pin} FROM {table.table} ORDER BY {table.row_id}"


def _grants_query(table: HolderTable) -> str:
    return f"SELECT {table.grant_id}, {table.row_id}, map_id FROM {table.grants} ORDER BY {table.grant_id}"


def _read_mappings(connection: Connection, problems: list[Sentence]) -> list[Mapping]:
    rows = connection.execute(_MAPPINGS)
    found: list[Mapping] = []
    for map_id, pattern, application, data, enabled in rows:
        if isinstance(pattern, str) and isinstance(application, str):
            found.append(Mapping(map_id, pattern.strip(), application.strip(), _text(data), bool(enabled)))
        else:
            problems.append(
                sentence("mapping {map_id} is left out: its pattern or its application is not text", map_id=map_id)
            )
    return found


def _read_holders(
    connection: Connection, table: HolderTable, mappings: set[int], problems: list[Sentence]
) -> list[_Holder]:
    """Extensions or users, each with the mappings granted."""
    rows = connection.execute(_holders_query(table)).fetchall()
    names = {row[0]: _text(row[1]) for row in rows}
    granted: defaultdict[int, list[int]] = defaultdict(list)
    for grant_id, holder_id, map_id in connection.execute(_grants_query(table)):
        if holder_id not in names:
            problems.append(sentence(table.orphan.message, grant_id=grant_id, holder_id=holder_id))
        elif map_id not in mappings:
            problems.append(sentence(table.orphan_mapping.message, holder=names[holder_id], map_id=map_id))
        else:
            granted[holder_id].append(map_id)
    return [
        (row_id, names[row_id], None if pin is None else _text(pin), frozenset(granted[row_id]))
        for row_id, _, pin in rows
    ]


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
