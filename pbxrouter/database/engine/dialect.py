"""All in which the SQL of the two engines differs, one object for each.

Most SQL needs nothing of this: it is written once, in what both understand. PostgreSQL gets the functions that SQLite
has and it lacks (``FUNCTIONS``), where they can mean the same.
"""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING, Any, Final, Protocol

from pbxrouter.database.engine.errors import EngineError
from pbxrouter.database.engine.protocol import Connection

if TYPE_CHECKING:
    from pbxrouter.database.engine.postgresql import PostgreSQLConnection


LOCKS_S: Final = 60.0
"""How long a transaction that may take its time waits until others are done with a table, in seconds."""


class Dialect(Protocol):
    """What is said differently to an engine.

    Attributes:
        name: of the engine, for people.
    """

    name: str

    def begin_writing(self, connection: Any, outlasts_power: bool) -> None:
        """Open a transaction, and wait until no other writer has one."""
        ...

    def begin_reading(self, connection: Any) -> None:
        """Open a transaction in which all statements see the same rows."""
        ...

    def try_writing(self, connection: Any) -> None:
        """Find out whether the database can be written, without a change.

        Raises:
            DATABASE_ERRORS: it cannot.
        """
        ...

    def find_damage(self, connection: Any) -> str:
        """Wait until no other writer has a transaction, and look for damage; ``""`` if none is found.

        Raises:
            DATABASE_ERRORS: it cannot be written or read.
        """
        ...

    def take_time(self, connection: Any) -> None:
        """Let the open transaction take as long as it needs, as one that carries millions of rows."""
        ...

    def defer_foreign_keys(self, connection: Any) -> None:
        """Have references checked when the open transaction is committed."""
        ...

    def mark(self, connection: Any) -> str:
        """The name by which ``was_committed`` knows the open transaction; ``""`` where its end is always known."""
        ...

    def was_committed(self, connection: Any, mark: str) -> bool | None:
        """Whether a transaction was committed whose end was not heard of; None if it is not over yet.

        Raises:
            DATABASE_ERRORS: the database cannot be read.
        """
        ...

    def using(self, index: str) -> str:
        """What follows a table's name so that rows are found by an index; PostgreSQL chooses by itself."""
        ...

    def without_case(self, text: str) -> str:
        """An SQL expression of a text, to compare or to sort by, in which the letters A to Z are a to z."""
        ...

    def whole(self, number: str) -> str:
        """An SQL expression of a number, without its fraction, as a whole number."""
        ...

    def is_unusual(self, text: str) -> str:
        """An SQL condition: a text has a blank, or another character than those of ASCII that can be seen."""
        ...

    def contains(self, text: str, place: str) -> tuple[str, dict[str, str]]:
        """An SQL condition on ``{column}`` that it contains a text, in upper or lower case, and its values.

        Args:
            text: what is looked for.
            place: what the names of the values begin with.
        """
        ...


class _SQLite:
    name = "SQLite"

    def begin_writing(self, connection: sqlite3.Connection, outlasts_power: bool) -> None:
        connection.execute(f"PRAGMA synchronous = {'FULL' if outlasts_power else 'NORMAL'}")
        connection.execute("BEGIN IMMEDIATE")

    def begin_reading(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")

    def try_writing(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        # The lock alone is given for a file that may only be read, too.
        connection.execute("CREATE TABLE written (by_this)")
        connection.execute("ROLLBACK")

    def find_damage(self, connection: sqlite3.Connection) -> str:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        return "" if found == "ok" else str(found).splitlines()[-1]

    def take_time(self, connection: sqlite3.Connection) -> None:
        """Do nothing: SQLite ends no statement because it takes long."""

    def defer_foreign_keys(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA defer_foreign_keys = ON")

    def mark(self, connection: sqlite3.Connection) -> str:
        return ""

    def was_committed(self, connection: sqlite3.Connection, mark: str) -> bool | None:
        return False

    def using(self, index: str) -> str:
        return f"INDEXED BY {index}"

    def without_case(self, text: str) -> str:
        return f"{text} COLLATE NOCASE"

    def whole(self, number: str) -> str:
        return f"CAST({number} AS INTEGER)"

    def is_unusual(self, text: str) -> str:
        return f"{text} GLOB '*[^!-~]*'"

    def contains(self, text: str, place: str) -> tuple[str, dict[str, str]]:
        # LIKE is fast, but knows the case of ASCII's letters only: GLOB checks the others.
        values = {place: _like_pattern(text)}
        condition = f"{{column}} LIKE :{place} ESCAPE '\\'"
        if not text.isascii():
            values[f"{place}_glob"] = f"*{''.join(map(_glob_of, text))}*"
            condition = f"({condition} AND {{column}} GLOB :{place}_glob)"
        return condition, values


class _PostgreSQL:
    name = "PostgreSQL"

    def begin_writing(self, connection: PostgreSQLConnection, outlasts_power: bool) -> None:
        connection.begin_writing(outlasts_power)

    def begin_reading(self, connection: PostgreSQLConnection) -> None:
        connection.begin_reading()

    def try_writing(self, connection: PostgreSQLConnection) -> None:
        connection.begin_writing(outlasts_power=False)
        try:
            connection.execute("UPDATE schema_version SET version = version WHERE version < 0")
        finally:
            connection.rollback()

    def find_damage(self, connection: PostgreSQLConnection) -> str:
        self.try_writing(connection)  # the server itself looks for damage
        return ""

    def take_time(self, connection: PostgreSQLConnection) -> None:
        connection.wait_long(LOCKS_S)

    def defer_foreign_keys(self, connection: PostgreSQLConnection) -> None:
        connection.run_script("SET CONSTRAINTS ALL DEFERRED")

    def mark(self, connection: PostgreSQLConnection) -> str:
        return str(connection.execute("SELECT CAST(pg_current_xact_id() AS text)").fetchall()[0][0])

    def was_committed(self, connection: PostgreSQLConnection, mark: str) -> bool | None:
        try:
            ((status,),) = connection.execute("SELECT pg_xact_status(CAST(:mark AS xid8))", {"mark": mark}).fetchall()
        except EngineError as error:
            if error.sqlstate != _NOT_YET_THERE:
                raise
            return False
        return None if status == "in progress" else status == "committed"

    def using(self, index: str) -> str:
        return ""

    def without_case(self, text: str) -> str:
        return f"ascii_lower({text})"

    def whole(self, number: str) -> str:
        return f"CAST(trunc({number}) AS bigint)"

    def is_unusual(self, text: str) -> str:
        return f"{text} ~ '[^!-~]'"

    def contains(self, text: str, place: str) -> tuple[str, dict[str, str]]:
        # The columns sort by bytes, so ILIKE knows the case of ASCII's letters only: the expression checks the others.
        # For digits alone LIKE is twice as fast.
        like = "ILIKE" if _LETTER.search(text) else "LIKE"
        values = {place: _like_pattern(text)}
        condition = f"{{column}} {like} :{place} ESCAPE '\\'"
        if not text.isascii():
            values[f"{place}_expression"] = "".join(map(_expression_of, text))
            condition = f"({condition} AND {{column}} ~ :{place}_expression)"
        return condition, values


_NOT_YET_THERE: Final = "22023"
"""The code for a transaction in the future: a standby that has taken over had not heard of it."""
_LETTER: Final = re.compile(r"[A-Za-z]")
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]+")


def _like_pattern(text: str) -> str:
    """A pattern of LIKE for what contains a text, in which letters that are not ASCII stand for any text."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{_NOT_ASCII.sub('%', escaped)}%"


def _cases(character: str) -> list[str]:
    """A character in either case."""
    return sorted({case for case in (character, character.lower(), character.upper()) if len(case) == 1})


def _glob_of(character: str) -> str:
    """A pattern of GLOB for a character in either case."""
    cases = _cases(character)
    return f"[{''.join(cases)}]" if len(cases) > 1 or character in "*?[" else character


def _expression_of(character: str) -> str:
    """A regular expression for a character in either case."""
    cases = _cases(character)
    return f"[{''.join(cases)}]" if len(cases) > 1 else re.escape(character)


SQLITE: Final = _SQLite()
POSTGRESQL: Final = _PostgreSQL()


def is_sqlite(connection: Connection) -> bool:
    """Whether a connection is one of sqlite3."""
    return isinstance(connection, sqlite3.Connection)


def dialect_of(connection: Connection) -> Dialect:
    """The dialect that a connection understands."""
    return SQLITE if isinstance(connection, sqlite3.Connection) else POSTGRESQL


FUNCTIONS: Final = {
    "instr": """CREATE OR REPLACE FUNCTION instr(text, text) RETURNS integer
        LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT strpos($1, $2)'""",
    "max": """CREATE OR REPLACE FUNCTION max(anycompatible, anycompatible) RETURNS anycompatible
        LANGUAGE sql IMMUTABLE PARALLEL SAFE
        AS 'SELECT CASE WHEN $1 >= $2 THEN $1 WHEN $2 > $1 THEN $2 END'""",
    "min": """CREATE OR REPLACE FUNCTION min(anycompatible, anycompatible) RETURNS anycompatible
        LANGUAGE sql IMMUTABLE PARALLEL SAFE
        AS 'SELECT CASE WHEN $1 <= $2 THEN $1 WHEN $2 < $1 THEN $2 END'""",
    "ifnull": """CREATE OR REPLACE FUNCTION ifnull(anycompatible, anycompatible) RETURNS anycompatible
        LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT coalesce($1, $2)'""",
    # The letters A to Z alone, as SQLite's lower() and NOCASE.
    "ascii_lower": """CREATE OR REPLACE FUNCTION ascii_lower(text) RETURNS text
        LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT lower($1 COLLATE "C")'""",
    "utc_now": """CREATE OR REPLACE FUNCTION utc_now() RETURNS text LANGUAGE sql STABLE
        AS $$SELECT to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')$$""",
}
"""The functions that PostgreSQL gets, by name, each with its SQL; ``pbxrouter init`` creates them with the tables."""
