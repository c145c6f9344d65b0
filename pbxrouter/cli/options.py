"""What the commands have in common: their options, the settings, and how a PIN is read."""

import functools
import pathlib
import sys
import tomllib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pbxrouter.errors import ConfigError, PinError

if TYPE_CHECKING:
    from pbxrouter.config import Config

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_FILE = "pbxrouter.toml"
STDIN = "-"

config_option = click.option(
    "-c",
    "--config",
    "config_file",
    metavar="FILE",
    help=f"The settings (TOML). Without it {DEFAULT_FILE} in the working directory, if it is there.",
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
    from pbxrouter.config import from_table

    here = pathlib.Path.cwd()
    path = pathlib.Path(DEFAULT_FILE if config_file is None else config_file)
    table: dict[str, Any] = {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if config_file is not None:
            raise ConfigError(f"{path}: no such file; accepted is a TOML file with the settings") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if database is not None:
        table["database"] = str(here / database)
    return from_table(table, str(path), (here / path).parent)


def pin_hasher(config: "Config") -> Callable[[str], str]:
    """The function that makes of a PIN what the database keeps; it reads the key when first needed."""

    @functools.cache
    def key() -> bytes:
        from pbxrouter.keyfile import read_key

        return read_key(pathlib.Path(config.pin_key_file))

    def hash_one(pin: str) -> str:
        from pbxrouter.pins import hash_pin

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
