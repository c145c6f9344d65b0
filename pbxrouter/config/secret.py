"""Reads the secrets of FastAGI calls and of alarm webhooks from the files that the settings name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from pbxrouter.config.schema import Config
from pbxrouter.errors import ConfigError
from pbxrouter.text import Sentence, file_text, sentence

# Characters that neither the dialplan's own syntax nor an opening block would change.
_SECRET: Final = re.compile(r"[A-Za-z0-9._~+/=-]{16,128}")


def read_fastagi_secret(config: Config) -> str:
    """Read the secret of FastAGI calls, the first line of its file; ``""`` if none is configured.

    Raises:
        ConfigError: the file cannot be read or holds no usable secret. The message never contains it.
    """
    return _read(config.fastagi.secret_file, "fastagi.secret_file")


def read_alarm_secret(config: Config) -> bytes:
    """Read the key that webhooks are signed with, the first line of its file; empty if none is configured.

    Raises:
        ConfigError: as ``read_fastagi_secret``.
    """
    return _read(config.alarm.secret_file, "alarm.secret_file").encode("ascii")


def _read(path: str, key: str) -> str:
    if not path:
        return ""
    try:
        secret = file_text(Path(path).read_bytes()).partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or Sentence("it is not text")
        raise ConfigError(sentence("{key}: {path}: cannot be read: {why}", key=key, path=path, why=why)) from None
    if not _SECRET.fullmatch(secret):
        raise ConfigError(
            sentence(
                "{key}: {path} holds no usable secret; accepted is a line of 16 to 128 letters, digits "
                "and . _ ~ + / = -, such as `openssl rand -hex 24` prints",
                key=key,
                path=path,
            )
        )
    return secret
