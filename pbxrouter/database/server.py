"""Opens, creates, checks and upgrades a database of a PostgreSQL server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pbxrouter.config import PostgreSQLPlace
from pbxrouter.database.audit_triggers import drop_triggers, ensure_triggers
from pbxrouter.database.engine import (
    DATABASE_ERRORS,
    FUNCTIONS,
    POSTGRESQL,
    RULES_CHANGED,
    part_for,
    postgresql_of,
    rule_triggers,
)
from pbxrouter.database.failures import store_error
from pbxrouter.database.upgrade import (
    SCHEMA_VERSION,
    WORKSHOP_TABLES,
    find_steps,
    run_each,
    schema,
    statements,
    too_new,
    too_old,
    version_of,
)
from pbxrouter.errors import DatabaseForeign, StoreError
from pbxrouter.text import sentence

if TYPE_CHECKING:
    from pbxrouter.database.engine import PostgreSQLConnection

OLDEST_SERVER: Final = 14
"""The oldest version of PostgreSQL that can be used."""
_TABLES: Final = (
    "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident(current_schema()))"
    " AND relkind IN ('r', 'p', 'v', 'm', 'f')"
)


def demand_psycopg(place: PostgreSQLPlace) -> None:
    """Check that psycopg is installed.

    Raises:
        StoreError: it is not.
    """
    try:
        import pbxrouter.database.engine.postgresql  # noqa: F401
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("psycopg", "psycopg_binary", "psycopg_c", ""):
            raise
        raise StoreError(
            sentence(
                "database {path} needs psycopg, which is not installed: install `pbxrouter[postgresql]` with pip",
                path=place,
            )
        ) from None


def connect(place: PostgreSQLPlace, lock_timeout_s: float, answer_s: float | None = None) -> PostgreSQLConnection:
    """Connect to a server, without a look at the database's tables.

    Args:
        lock_timeout_s: how long to wait for what another transaction has locked, in seconds.
        answer_s: how long to wait for an answer of the server, in seconds; None as usual.

    Raises:
        StoreError: psycopg is not installed, or there is no connection.
    """
    demand_psycopg(place)
    from pbxrouter.database.engine import ANSWER_S, connect_to_server

    try:
        return connect_to_server(place, lock_timeout_s, answer_s or ANSWER_S)
    except DATABASE_ERRORS as error:
        raise store_error(error, place) from error


def prepare(connection: PostgreSQLConnection, notify: Callable[[str], object] | None = None) -> None:
    """Check a connection that was just opened, and upgrade a database of an older version.

    Args:
        notify: called with one line if the database was upgraded.

    Raises:
        StoreError: it is no database of this program, or a later version has made it; the connection is closed.
    """
    try:
        if checked_version(connection) < SCHEMA_VERSION:
            upgrade(connection, notify)
        ensure_triggers(connection)
    except DATABASE_ERRORS as error:
        connection.close()
        raise store_error(error, connection.place) from error
    except BaseException:
        connection.close()
        raise


def prepare_read_only(connection: PostgreSQLConnection) -> None:
    """Check a connection that is only read from; a database of an older version is left as it is.

    Raises:
        StoreError: as prepare; or it is of an older version.
    """
    try:
        version = checked_version(connection)
        if version < SCHEMA_VERSION:
            raise too_old(connection.place, version)
        connection.run_script("SET default_transaction_read_only = on")
    except DATABASE_ERRORS as error:
        connection.close()
        raise store_error(error, connection.place) from error
    except BaseException:
        connection.close()
        raise


def checked_version(connection: PostgreSQLConnection) -> int:
    """Its schema version, when it is a database of this program that this version can read."""
    _check_server(connection)
    tables = {name for (name,) in connection.execute(_TABLES)}
    if not tables >= {"schema_version", *WORKSHOP_TABLES}:
        raise _foreign(connection.place, bool(tables))
    version = version_of(connection)
    if version > SCHEMA_VERSION:
        raise too_new(connection.place, version)
    return version


def is_empty(connection: PostgreSQLConnection) -> bool:
    """Whether a database has no tables.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        return connection.execute(_TABLES).fetchone() is None
    except DATABASE_ERRORS as error:
        raise store_error(error, connection.place) from error


def create(connection: PostgreSQLConnection) -> None:
    """Create all tables, functions and triggers in an empty database, in one transaction.

    Raises:
        StoreError: it is not empty, and is left unchanged; or they cannot be created.
    """
    place = connection.place
    try:
        _check_settings(connection)
        POSTGRESQL.begin_writing(connection, outlasts_power=True)
        if not is_empty(connection):
            raise StoreError(sentence("database {path} exists already: it is left as it is", path=place))
        _create_functions(connection)
        run_each(connection, _translated(schema(), "schema.sql"), "schema.sql")
        _create_triggers(connection)
        connection.commit()
    except DATABASE_ERRORS as error:
        raise store_error(error, place) from error
    finally:
        connection.rollback()


def upgrade(connection: PostgreSQLConnection, notify: Callable[[str], object] | None = None) -> list[int]:
    """Upgrade a database to this version, in one transaction; return the versions it went through.

    Raises:
        StoreError: a step is missing or failed; the database is unchanged.
    """
    POSTGRESQL.begin_writing(connection, outlasts_power=True)
    usual_s = connection.answer_s
    try:
        POSTGRESQL.take_time(connection)
        before = version_of(connection)
        steps = find_steps()
        done = list(range(before + 1, SCHEMA_VERSION + 1))
        for version in done:
            if version not in steps:
                raise StoreError(f"no upgrade leads from version {version - 1} of the database to {version}")
            if version == before + 1:
                _create_functions(connection)
                drop_triggers(connection)  # a step is no change to be recorded
            step = steps[version]
            run_each(connection, _translated(step.read_text(encoding="utf-8"), step.name), step.name)
            connection.execute("INSERT INTO schema_version (version) VALUES (:version)", {"version": version})
        if done:
            _create_triggers(connection)
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
    finally:
        connection.answer_s = usual_s
    if done and notify is not None:
        notify(
            f"database {connection.place}: upgraded from schema version {before} to {done[-1]} in one transaction; "
            "a backup from before is only what pg_dump has made"
        )
    return done


def _translated(script: str, name: str) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for line, statement in statements(part_for("postgresql", script)):
        try:
            found.extend((line, text) for text in postgresql_of(statement))
        except ValueError as error:
            raise StoreError(f"{name}, line {line}: {error}") from error
    return found


def _create_functions(connection: PostgreSQLConnection) -> None:
    for text in (*FUNCTIONS.values(), RULES_CHANGED):
        connection.run_script(text)


def _create_triggers(connection: PostgreSQLConnection) -> None:
    for text in rule_triggers():
        connection.run_script(text)
    ensure_triggers(connection)


def _check_server(connection: PostgreSQLConnection) -> None:
    """Refuse a server that is too old."""
    version = connection.raw.info.server_version
    if version < OLDEST_SERVER * 10_000:
        raise StoreError(
            sentence(
                "database {path}: the server is PostgreSQL {version}; accepted is {oldest} or newer",
                path=connection.place,
                version=version // 10_000,
                oldest=OLDEST_SERVER,
            )
        )


def _check_settings(connection: PostgreSQLConnection) -> None:
    """Refuse a database that cannot keep what is written.

    Raises:
        StoreError: another encoding than UTF8, or no schema to create the tables in.
    """
    place = connection.place
    _check_server(connection)
    ((encoding, schema_name),) = connection.execute("SELECT current_setting('server_encoding'), current_schema()")
    if encoding != "UTF8":
        raise StoreError(
            sentence(
                "database {path} has the encoding {encoding}; accepted is UTF8, as of `createdb -E UTF8 -T template0`",
                path=place,
                encoding=encoding,
            )
        )
    if schema_name is None:
        raise StoreError(
            sentence(
                "database {path} has no schema in which this user can create tables: create one, or set search_path",
                path=place,
            )
        )
    ((shared,),) = connection.execute(
        "SELECT count(*) FROM pg_namespace AS n, aclexplode(n.nspacl) AS a"
        " WHERE n.nspname = current_schema() AND a.grantee = 0 AND a.privilege_type = 'CREATE'"
    )
    if shared:  # as in PostgreSQL 14: what anyone makes there, the triggers' functions may take for their own
        raise StoreError(
            sentence(
                "database {path}: everyone may create functions in its schema; type REVOKE CREATE ON SCHEMA {name} "
                "FROM PUBLIC there, as its owner",
                path=place,
                name=schema_name,
            )
        )


def _foreign(place: PostgreSQLPlace, has_tables: bool) -> DatabaseForeign:
    if not has_tables:
        return DatabaseForeign(sentence("database {path} has no tables: create them with `pbxrouter init`", path=place))
    return DatabaseForeign(
        sentence("{path} is a database of another program; accepted is one that `pbxrouter init` creates", path=place)
    )
