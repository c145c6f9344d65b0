"""`pbxrouter init`: makes the database and the key of its PINs; done already, it changes nothing."""

import contextlib
import os
import pathlib
import sqlite3
from typing import TYPE_CHECKING

import click

from pbxrouter.cli.options import config_option, database_option, pin_hasher, read_config
from pbxrouter.errors import KeyFileError, NotADatabase

if TYPE_CHECKING:
    from pbxrouter.config import Config

_RULE_TABLES = ("applications_mappings", "extensions", "extensions_mappings", "users", "users_mappings")


@click.command()
@click.option("--sample", is_flag=True, help="Add the sample rules, if the database has none.")
@config_option
@database_option
def init(sample: bool, config_file: str | None, database: str | None) -> None:
    """Make the database and the PIN key file.

    What is there already is kept; a database of an older pbxrouter is brought up to date.
    """
    from pbxrouter import database as databases
    from pbxrouter.database.rules import add_sample

    config = read_config(config_file, database)
    path = pathlib.Path(config.database)
    if path.exists() and not (path.is_file() or path.is_dir()):
        # Opening a named pipe would wait for whoever writes to it.
        raise NotADatabase(f"database {path} is no file; accepted is the path of a file, or of none yet")
    new = not path.exists() or _is_empty(path)
    before = None if new else _version(path)
    if new:
        databases.create(path)
    connection = databases.connect(path)
    try:
        if new:
            click.echo(f"made the database {path}")
        elif before is not None and before < databases.SCHEMA_VERSION:
            click.echo(f"brought the database {path} from version {before} to {databases.SCHEMA_VERSION}")
        else:
            click.echo(f"the database {path} is there already: nothing changed")
        _ensure_key(config, connection)
        if sample:
            if _has_rules(connection):
                click.echo("the sample is not added: there are rules already")
            else:
                add_sample(connection, pin_hasher(config))
                click.echo("added the sample rules: try `pbxrouter explain 21 --from 33`")
    finally:
        connection.close()


def _is_empty(path: pathlib.Path) -> bool:
    """Whether there is a database without any table, as in a file of no bytes."""
    return path.is_file() and _ask(path, "SELECT count(*) FROM sqlite_master") == 0


def _version(path: pathlib.Path) -> int | None:
    """The schema version before anybody changes it; None when it is for `connect` to say what is wrong."""
    return _ask(path, "SELECT coalesce(max(version), 0) FROM schema_version")


def _ask(path: pathlib.Path, query: str) -> int | None:
    """A number from a file that may be no database; None when it has none to give."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            number: int = connection.execute(query).fetchone()[0]
            return number
    except sqlite3.Error:
        return None


def _ensure_key(config: "Config", connection: sqlite3.Connection) -> None:
    """Make the key if there is none and none is missed.

    Raises:
        KeyFileError: there is one that cannot be used, or users have PINs that only the missing one can
        check.
    """
    from pbxrouter.security import create_key, read_key

    path = pathlib.Path(config.pin_key_file)
    try:
        read_key(path)
        return
    except KeyFileError:
        if os.path.lexists(path):
            raise
    with_pin = connection.execute("SELECT count(*) FROM users WHERE user_pin IS NOT NULL").fetchone()[0]
    if with_pin:
        raise KeyFileError(
            f"PIN key {path} is missing, and {with_pin} PINs were hashed with it: "
            "bring it back from a backup, or clear them (UPDATE users SET user_pin = NULL) and run this again"
        )
    create_key(path)
    click.echo(f"made the PIN key {path}: keep a copy of it, apart from the database")


def _has_rules(connection: sqlite3.Connection) -> bool:
    return any(connection.execute(f"SELECT EXISTS (SELECT 1 FROM {table})").fetchone()[0] for table in _RULE_TABLES)
