"""Parses TOML into typed, frozen settings.

Every key is optional. A value that cannot be used raises ConfigError, whose message names the file,
the key, and what is accepted. Relative paths are relative to the file's folder.
"""

from __future__ import annotations

import pathlib
import re
import tomllib
from typing import Any, Final, get_args, get_type_hints

import msgspec

from pbxrouter.config.checks import URL_ACCEPTED, check_values
from pbxrouter.config.database_place import BASE_NAME, beside, has_password, is_url, place_at, url_problem
from pbxrouter.config.error_messages import plain
from pbxrouter.config.schema import TECHNOLOGIES, Config
from pbxrouter.errors import ConfigError
from pbxrouter.security import as_written
from pbxrouter.text import printable

PIN_KEY: Final = ".pinkey"
CONTROL: Final = ".sock"


def parse(text: str, source: str, base: pathlib.Path) -> Config:
    """Parse a configuration.

    Args:
        text: TOML.
        source: the file's name, for messages.
        base: the folder that relative paths count from.

    Raises:
        ConfigError: one line with file, key and what is accepted.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not TOML: {error}") from None
    return from_table(table, source, base)


def from_table(table: dict[str, Any], source: str, base: pathlib.Path) -> Config:
    """Like ``parse``, from a TOML table."""
    _refuse_unknown_keys(table, Config, source, "")
    try:
        config = msgspec.convert(table, Config, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {printable(plain(str(error), _words_accepted))}") from None
    check_values(config, source)
    return resolved(config, base)


def resolved(config: Config, base: pathlib.Path) -> Config:
    """Make paths absolute, add the built-in technologies, and write those of trunks as Asterisk does."""
    folder = base / config.folder
    database = config.database if is_url(config.database) else str(base / config.database)
    place = place_at(database, folder / BASE_NAME)
    changes = {
        "database": database,
        "database_password_file": str(base / config.database_password_file) if config.database_password_file else "",
        "folder": str(folder),
        "pin_key_file": str(base / config.pin_key_file if config.pin_key_file else beside(place, PIN_KEY)),
        "control": str(base / config.control if config.control else beside(place, CONTROL)),
        "technologies": {**TECHNOLOGIES, **config.technologies},
        "trunks": tuple(map(as_written, config.trunks)),
        "fastagi": msgspec.structs.replace(
            config.fastagi,
            secret_file=str(base / config.fastagi.secret_file) if config.fastagi.secret_file else "",
        ),
        "alarm": msgspec.structs.replace(
            config.alarm, secret_file=str(base / config.alarm.secret_file) if config.alarm.secret_file else ""
        ),
        "asterisk": tuple(
            msgspec.structs.replace(
                asterisk, secret_file=str(base / asterisk.secret_file) if asterisk.secret_file else ""
            )
            for asterisk in config.asterisk
        ),
    }
    return msgspec.structs.replace(config, **changes)


def at_database(config: Config, database: str, base: pathlib.Path) -> Config:
    """The configuration with another database, and with the files that belong to it unless they are configured.

    Args:
        database: a path, or a URL of PostgreSQL.
        base: the folder that a relative path counts from.

    Raises:
        ConfigError: the URL cannot be used, or a password is in it: everyone sees the arguments of a command.
    """
    if is_url(database):
        problem = url_problem(database)
        if problem:
            raise ConfigError(f"--database: {problem}; accepted is {URL_ACCEPTED}")
        if has_password(database):
            raise ConfigError(
                "--database: a password on the command line can be read by everyone on this machine; accepted is one "
                "in database_password_file of the settings, in ~/.pgpass or in PGPASSWORD"
            )
    else:
        database = str(base / database)
    before, after = config.place, place_at(database, pathlib.Path(config.folder, BASE_NAME))
    changes = {"database": database}
    for name, suffix in (("pin_key_file", PIN_KEY), ("control", CONTROL)):
        if getattr(config, name) == str(beside(before, suffix)):
            changes[name] = str(beside(after, suffix))
    return msgspec.structs.replace(config, **changes)


def _refuse_unknown_keys(table: dict[str, Any], struct: type[msgspec.Struct], source: str, path: str) -> None:
    """Raise ConfigError for the first unknown key, naming the accepted ones."""
    hints = get_type_hints(struct)
    fields = {field.encode_name: hints[field.name] for field in msgspec.structs.fields(struct)}
    for key, value in table.items():
        where = printable(f"{path}.{key}" if path else key)
        if key not in fields:
            accepted = ", ".join(sorted(fields))
            raise ConfigError(
                f"{source}: {where}: no such key; accepted {'here' if path else 'at the top'} are {accepted}"
            )
        inner = _struct_inside(fields[key])
        if key == "technologies" and isinstance(value, dict):
            for name, technology in value.items():
                if not isinstance(technology, str):
                    raise ConfigError(f"{source}: technologies.{printable(name)}: accepted is text in quotes")
        if inner is None:
            continue
        entries = value if isinstance(value, list) else [value]
        for entry in entries:
            if isinstance(entry, dict):
                _refuse_unknown_keys(entry, inner, source, where)


def _struct_inside(hint: Any) -> type[msgspec.Struct] | None:
    for candidate in (hint, *get_args(hint)):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None


def _words_accepted(where: str) -> tuple[str, ...]:
    """The words accepted by a key such as ``asterisk[0].login``."""
    hint: Any = Config
    for name in re.sub(r"\[[^]]*\]", "", where).split("."):
        struct = _struct_inside(hint)
        hint = get_type_hints(struct).get(name) if struct else None
    return tuple(str(word) for word in get_args(hint))
