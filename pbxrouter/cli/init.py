"""`pbxrouter init`: creates the database and the PIN key file."""

import contextlib
import os
import pathlib
import sqlite3
import time
from typing import TYPE_CHECKING

import click

from pbxrouter.cli.options import config_option, database_option, pin_hasher, read_config
from pbxrouter.errors import KeyFileError, NotADatabase

if TYPE_CHECKING:
    from pbxrouter.config import Config, Place
    from pbxrouter.database import Connection


@click.command()
@click.option("--sample", is_flag=True, help="Add the sample rules, if the database has no rules.")
@config_option
@database_option
def init(sample: bool, config_file: str | None, database: str | None) -> None:
    """Create the database and the PIN key file.

    Existing files are kept. A database of an older version is backed up and upgraded.
    """
    from pbxrouter import database as databases
    from pbxrouter.cli.actor import system_actor
    from pbxrouter.database.rules import add_sample

    config = read_config(config_file, database)
    place = config.place
    new = _is_new(place)
    if new:
        databases.create(place)
    upgraded: list[str] = []
    with contextlib.closing(databases.connect(place, notify=upgraded.append)) as connection:
        try:
            if new:
                click.echo(f"created the database {place}")
            elif upgraded:
                click.echo(upgraded[0])
            else:
                click.echo(f"the database {place} exists already: nothing changed")
            _ensure_key(config, connection)
            if sample:
                if _has_rules(connection):
                    click.echo("the sample rules are not added: the database has rules already")
                else:
                    add_sample(connection, pin_hasher(config), system_actor(), time.time())
                    click.echo("added the sample rules: try `pbxrouter explain 21 --from 33`")
        except databases.DATABASE_ERRORS as error:
            raise databases.store_error(error, place) from error


def _is_new(place: "Place") -> bool:
    """Whether there is no database yet, or one without tables.

    Raises:
        StoreError: it cannot be told; there is something else at the path, or no server.
    """
    from pbxrouter import database as databases

    if not isinstance(place, pathlib.Path):
        return databases.is_empty(place)
    if place.exists() and not (place.is_file() or place.is_dir()):
        # Opening a named pipe would wait for a writer.
        raise NotADatabase(f"database {place} is not a file; accepted is the path of a file, which need not exist yet")
    return not place.exists() or _is_empty(place)


def _is_empty(path: pathlib.Path) -> bool:
    """Whether a file is a database without tables, as an empty file is."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return path.is_file() and connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    except (sqlite3.Error, UnicodeDecodeError):
        return False


def _ensure_key(config: "Config", connection: "Connection") -> None:
    """Create the PIN key if there is none and no PIN was hashed with one.

    Raises:
        KeyFileError: the key file cannot be used, or it is missing and users have PINs that were hashed with it.
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
            "restore it from a backup, or clear them (UPDATE users SET user_pin = NULL) and run this again"
        )
    create_key(path)
    click.echo(f"created the PIN key {path}: keep a copy of it, apart from the database")


def _has_rules(connection: "Connection") -> bool:
    from pbxrouter.database import WORKSHOP_TABLES

    return any(connection.execute(f"SELECT EXISTS (SELECT 1 FROM {table})").fetchone()[0] for table in WORKSHOP_TABLES)
