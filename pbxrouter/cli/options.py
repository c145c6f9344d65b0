"""What the commands have in common: their options, the settings, and how a PIN is read."""

import functools
import pathlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from pbxrouter.errors import PinError

if TYPE_CHECKING:
    from pbxrouter.config import Config

STDIN = "-"

config_option = click.option(
    "-c",
    "--config",
    "config_file",
    metavar="FILE",
    help="The settings (TOML). Without it pbxrouter.toml in the working directory, if it is there.",
)
database_option = click.option(
    "-d", "--database", metavar="FILE", help="The database, instead of the one that the settings name."
)
caller_option = click.option(
    "--from",
    "caller",
    metavar="CALLER",
    required=True,
    help="The number that calls; `unknown` for a caller who shows none.",
)


def read_config(config_file: str | None = None, database: str | None = None) -> "Config":
    """Read the settings.

    Args:
        config_file: the TOML file; None is pbxrouter.toml in the working directory if it is there, else all
        defaults.
        database: a database path that takes precedence; relative to the working directory.

    Raises:
        ConfigError: the file cannot be read, or a setting is not accepted.
    """
    from pbxrouter.config import at_database
    from pbxrouter.config import file as settings

    config = settings.read_config(config_file)
    return config if database is None else at_database(config, pathlib.Path.cwd() / database)


def pin_hasher(config: "Config") -> Callable[[str], str]:
    """The function that makes of a PIN what the database keeps; it reads the key when first needed."""

    @functools.cache
    def key() -> bytes:
        from pbxrouter.security import read_key

        return read_key(pathlib.Path(config.pin_key_file))

    def hash_one(pin: str) -> str:
        from pbxrouter.security import hash_pin

        return hash_pin(key(), pin)

    return hash_one


def given_pin(pin: str, *, twice: bool = False) -> str:
    """The PIN of an option: itself, or what is keyed when it is `-`.

    At a terminal it is asked for without echo; otherwise one line of standard input is read.

    Args:
        pin: as given.
        twice: ask a second time, for a new PIN.

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
    return line.strip("\r\n")
