"""Explains failures of a PostgreSQL server and of the way to it, each in one line that says what to do."""

from __future__ import annotations

import re
from typing import Final

from pbxrouter.config import Place
from pbxrouter.database.engine import EngineError
from pbxrouter.errors import DatabaseForeign, DatabaseFull, DatabaseLocked, DatabaseMissing, StoreError
from pbxrouter.text import Sentence, printable, sentence

_MAX_WORDS: Final = 300
_LOST: Final = re.compile(
    r"server closed the connection|connection is closed|connection not open|terminating connection"
    r"|consuming input failed|sending (?:query|data).*failed|could not (?:receive|send) data|SSL SYSCALL"
    r"|the connection is lost|has not answered|no connection to the server",
    re.IGNORECASE,
)
_PREFIX: Final = re.compile(
    r"^connection failed: |^connection is bad: |^connection to server .*? failed: |^(?:FATAL|ERROR):\s+"
)


def server_error(error: EngineError, place: Place) -> StoreError:
    """The StoreError for an error of PostgreSQL; its message says what to do, and has no password."""
    message = str(error)
    match error.sqlstate:
        case "55P03":
            return DatabaseLocked(
                sentence("database {path} is locked: another program has not ended its transaction", path=place)
            )
        case "40001" | "40P01":
            return DatabaseLocked(
                sentence(
                    "database {path}: another program has changed the same at the same time; try again", path=place
                )
            )
        case "57014":
            return StoreError(
                sentence("database {path}: the server has ended a statement that took too long", path=place)
            )
        case "53100":
            return DatabaseFull(sentence("database {path} cannot be written: the server's disk is full", path=place))
        case "25006":
            return _standby(place)
        case "42P01" | "3F000":
            return DatabaseForeign(
                sentence("database {path} lacks a table: {why}; see `pbxrouter init`", path=place, why=_words(message))
            )
        case "42501":
            return StoreError(
                sentence(
                    "database {path}: this user may not do that ({why}); make it the owner of the database, or grant "
                    "it the right",
                    path=place,
                    why=_words(message),
                )
            )
        case "25P03" | "57P01" | "57P02" | "57P05":
            return _lost(place, message)
        case "":
            return _unreachable(message, place)
    return StoreError(sentence("database {path}: {why}", path=place, why=_words(message)))


def _unreachable(message: str, place: Place) -> StoreError:
    """The error where there is no connection: the server gives no code then, so its words tell."""
    plain = message.lower()
    if "read-only" in plain or "hot standby" in plain:
        return _standby(place)
    if "password authentication failed" in plain or "no password supplied" in plain:
        return StoreError(
            sentence(
                "database {path}: the server refuses the user or the password; accepted is a password in "
                "database_password_file, in ~/.pgpass or in PGPASSWORD",
                path=place,
            )
        )
    if "authentication failed" in plain or "pg_hba.conf" in plain or ("role" in plain and "does not exist" in plain):
        return StoreError(
            sentence(
                "database {path}: the server does not let this user in: {why}; see its pg_hba.conf",
                path=place,
                why=_words(message),
            )
        )
    if "database" in plain and "does not exist" in plain:
        return DatabaseMissing(
            sentence("database {path} does not exist on the server: create it with `createdb -E UTF8`", path=place)
        )
    if "too many clients" in plain or "remaining connection slots" in plain or "too many connections" in plain:
        return StoreError(
            sentence(
                "database {path}: the server has no connection left; raise its max_connections (a gateway needs three)",
                path=place,
            )
        )
    if (
        "starting up" in plain
        or "shutting down" in plain
        or "in recovery mode" in plain
        or "not yet accepting" in plain
    ):
        return StoreError(sentence("database {path}: the server is starting or stopping", path=place))
    if _LOST.search(message):
        return _lost(place, message)
    return StoreError(sentence("database {path}: the server cannot be reached: {why}", path=place, why=_words(message)))


def _standby(place: Place) -> StoreError:
    return StoreError(
        sentence(
            "database {path} cannot be written: the server is a standby, or read-only; name the primary, or all hosts "
            "with commas between",
            path=place,
        )
    )


def _lost(place: Place, message: str) -> StoreError:
    return StoreError(
        sentence("database {path}: the connection to the server was lost: {why}", path=place, why=_words(message))
    )


def _words(message: str) -> str | Sentence:
    """The server's own words in one line."""
    words = message
    while words != (shorter := _PREFIX.sub("", words)):
        words = shorter
    return printable(words, _MAX_WORDS)
