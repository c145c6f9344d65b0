"""Reads the configuration file."""

from __future__ import annotations

import pathlib
from typing import Final

from pbxrouter.config.parsing import parse, resolved
from pbxrouter.config.schema import Config
from pbxrouter.errors import ConfigError
from pbxrouter.text import file_text

DEFAULT_FILE: Final = "pbxrouter.toml"


def read_config(path: str | None, here: pathlib.Path | None = None) -> Config:
    """Read and parse a configuration file.

    Args:
        here: the folder that a relative path counts from; by default the working directory.
        path: the file; None for ``pbxrouter.toml`` in the working directory, or the defaults if there
            is no such file.

    Raises:
        ConfigError: one line; the file cannot be read, or something in it is not accepted.
    """
    here = here or pathlib.Path.cwd()
    if path is None and not (here / DEFAULT_FILE).exists():
        return resolved(Config(), here)
    file = here / (path or DEFAULT_FILE)
    source = path or DEFAULT_FILE
    try:
        text = file_text(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: not TOML: byte {error.start} is not UTF-8") from None
    return parse(text, source, file.parent)
