"""Options that several commands share; reading the settings, the database and PINs."""

import contextlib
import functools
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from pbxrouter.errors import PinError

if TYPE_CHECKING:
    from pbxrouter.config import Config
    from pbxrouter.database import Connection

STDIN = "-"

config_option = click.option(
    "-c",
    "--config",
    "config_file",
    metavar="FILE",
    help="The settings file (TOML).  [default: pbxrouter.toml in the working directory, if it exists]",
)
database_option = click.option(
    "-d", "--database", metavar="FILE|URL", help="The database, in place of the one in the settings."
)
caller_option = click.option(
    "--from",
    "caller",
    metavar="CALLER",
    required=True,
    help="The caller's number; `unknown` if it is withheld.",
)


def read_config(config_file: str | None = None, database: str | None = None) -> "Config":
    """Read the settings.

    Args:
        config_file: the TOML file; None is pbxrouter.toml in the working directory if it exists, else the
            defaults.
        database: a database that takes precedence: a path relative to the working directory, or a URL of PostgreSQL.

    Raises:
        ConfigError: the file cannot be read, or a setting is not accepted.
    """
    from pbxrouter.config import at_database
    from pbxrouter.config import file as settings

    config = settings.read_config(config_file)
    return config if database is None else at_database(config, database, pathlib.Path.cwd())


@contextlib.contextmanager
def open_database(config: "Config") -> Iterator["Connection"]:
    """Open the database of the settings, and close it at the end of the block.

    One of an older version is backed up and upgraded, with one line on standard error.

    Raises:
        StoreError: it cannot be used.
    """
    from pbxrouter import database

    place = config.place
    with contextlib.closing(database.connect(place, notify=lambda line: click.echo(line, err=True))) as connection:
        try:
            yield connection
        except database.DATABASE_ERRORS as error:
            raise database.store_error(error, place) from error


def pin_hasher(config: "Config") -> Callable[[str], str]:
    """The function that hashes a PIN as the database keeps it; it reads the key at its first call."""

    @functools.cache
    def key() -> bytes:
        from pbxrouter.security import read_key

        return read_key(pathlib.Path(config.pin_key_file))

    def hash_one(pin: str) -> str:
        from pbxrouter.security import hash_pin

        return hash_pin(key(), pin)

    return hash_one


def given_pin(pin: str, *, twice: bool = False) -> str:
    """The PIN of an option; `-` reads it from standard input.

    At a terminal it is prompted for without echo; otherwise one line is read.

    Args:
        pin: the option's value.
        twice: prompt a second time, for a new PIN.

    Raises:
        PinError: standard input had no line.
    """
    if pin != STDIN:
        return pin
    if sys.stdin is None:
        raise PinError("no PIN on standard input; accepted is one line with it")
    if sys.stdin.isatty():
        asked: str = click.prompt("PIN", hide_input=True, err=True, confirmation_prompt=twice)
        return asked
    line = sys.stdin.readline()
    if not line:
        raise PinError("no PIN on standard input; accepted is one line with it")
    return line.removeprefix("\ufeff").strip("\r\n")
