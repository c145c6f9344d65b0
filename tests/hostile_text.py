"""Text and values as they may come from outside, to be thrown at every place where some enters."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final

from pbxrouter import database
from pbxrouter.counter import storage
from pbxrouter.counter.call_table import LiveCall
from pbxrouter.counter.counts import ALL, Counts
from pbxrouter.database import CONSTRAINT_ERRORS, Connection, access, calls, click_to_dial, rules
from pbxrouter.security import GuessKey, Scope
from tests.api_fakes import ACTOR, a_call
from tests.database.test_unusable import LINK, PLACES
from tests.databases import unrecorded

LONG: Final = b"x" * 900_000
TEXTS: Final[Mapping[str, bytes]] = {
    "a byte that is not UTF-8": b"a\xffb",
    "a surrogate in UTF-8": b"\xed\xa0\x80",
    "NUL": b"a\0b",
    "an escape sequence": b"\x1b[2J\x1b]0;owned\x07",
    "C1 controls": "\x9b2J\x85".encode(),
    "a right-to-left override": "\u202eDIALED\u2066".encode(),
    "a line separator": "a\u2028b\u2029c".encode(),
    "a carriage return": b"a\rpbxrouter: all is well",
    "beyond 64 bits": b"99999999999999999999999",
    "no number": b"NaN",
    "infinity": b"-1e999",
    "placeholders": b"{0.__class__} {x!r:>99999999} {{ }} { %s %n",
    "markup": b"</script><script>alert(1)</script>'\"&",
    "a formula": b'=HYPERLINK("http://evil")|\'+1',
    "no character": "\uffff\ufdd0\U0010ffff".encode(),
    "many combining characters": ("z" + "\u0301" * 500).encode(),
    "digits of other scripts": "٣٣²①".encode(),
    "JSON of a surrogate": b"\\ud800",
    "very long": LONG,
}
"""Bytes that a caller, an Asterisk or a file may send, none with a line end."""

VALUES: Final[Mapping[str, object]] = {
    "a blob that is no text": b"a\xff\0b",
    "text that is not UTF-8": "CAST(x'61ff0062' AS TEXT)",
    "controls": "a\0b\x1b[2J\u202e\u2028\r\nc",
    "placeholders": "{0.__class__} {x!r:>99999999} {",
    "markup": "</script><b>'\"&",
    "the largest integer": 2**63 - 1,
    "the smallest integer": -(2**63),
    "infinity": float("inf"),
    "a negative number": -5.5,
    "a word": "word",
    "nothing": "",
    "no JSON": '[[[{"a": NaN, "b": "\\ud800"}]]',
    "deep JSON": "[" * 50_000,
    "JSON of another shape": '[["{x:>999999999} {y}", {"x": ["\\ud800", {"z": []}], "y": "\\ud800"}], 5, [null, null]]',
    "long": "y" * 300_000,
}
"""Values of rows that were written by hand."""
LONG_VALUE: Final = 50_000

KEYS: Final = {
    "console_users": {"console_user_id", "login", "password_hash", "role", "disabled_at"},
    "console_sessions": {"session_hash", "console_user_id", "created_at", "last_used_at"},
    "api_tokens": {"token_id", "token_hash", "revoked_at", "scopes"},
    "schema_version": {"version"},
}
"""Columns that log-ins need, or by which the database is known: they keep their values."""


def spoil(connection: Connection, value: object, tables: Iterable[str] | None = None) -> None:
    """Write a value into each column of each row, but for keys, as owners may with any SQLite tool."""
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute("PRAGMA foreign_keys = OFF")
    if isinstance(value, str) and len(value) >= LONG_VALUE:
        with unrecorded(connection):
            _spoil(connection, value, tables)
    else:
        _spoil(connection, value, tables)
        connection.commit()


def _spoil(connection: Connection, value: object, tables: Iterable[str] | None) -> None:
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in names if tables is None else tables:
        if table.startswith("sqlite_"):
            continue
        for _, column, _, _, _, key in connection.execute(f"PRAGMA table_info({table})").fetchall():
            if column in KEYS.get(table, ()) or (key and column.endswith("_id")):
                continue
            try:
                if isinstance(value, str) and value.startswith("CAST("):
                    connection.execute(f"UPDATE OR IGNORE {table} SET {column} = {value}")
                else:
                    connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ?", (value,))
            except CONSTRAINT_ERRORS:
                connection.execute(
                    f"UPDATE OR IGNORE {table} SET {column} = ? WHERE rowid = (SELECT min(rowid) FROM {table})",
                    (value,),
                )


def fill(connection: Connection, token_hash: str) -> None:
    """Write rows into every table of a database with sample rules."""
    now = time.time()
    minute = int(now // 60) * 60
    calls.add_calls(connection, [a_call(place, began=now - 60 * place) for place in range(12)])
    access.add_token(connection, ACTOR, now, "another", token_hash, list(Scope))
    click_to_dial.add_dial_link(connection, ACTOR, now, LINK, PLACES)
    database.admit_guess(connection, (GuessKey("number", "33"), GuessKey("gateway", "")), now)
    rules.grant(connection, ACTOR, now, rules.Grant("extension", 1, 3))
    minutes = {(minute, *ALL): Counts(started=1, failed={"busy": 1}), (minute, "user", "pepe"): Counts(started=1)}
    live = {"1.1": storage.live_row(LiveCall("1.1", now))}
    storage.write(
        connection,
        storage.Batch("lab", minutes, live, seen=now, gaps=[(now - 99, now - 9)], started_up="then"),
    )
