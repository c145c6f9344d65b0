"""Reads the settings again while the gateway runs, and uses what can be changed without a restart.

A reload has two steps. First the file, the secrets and the certificates that it names are read and checked; if
anything is wrong, nothing changes. Then each part gets its new settings. No listener is closed and no call is
disturbed: a call that is in progress keeps the settings that it has begun with.

The keys in NEEDS_RESTART are settled when the gateway starts; a reload names those that have changed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from twisted.logger import Logger

from pbxrouter.config import Asterisk, Config
from pbxrouter.errors import ConfigError, PbxrouterError

NEEDS_RESTART: Final = frozenset(
    {
        "database",
        "database_password_file",
        "folder",
        "pin_key_file",
        "control",
        "gateway.workers",
        "fastagi.listen",
        "fastagi.library",
        "asterisk.name",
        "asterisk.library",
        "web.listen",
    }
)
"""Keys that are settled when the gateway starts; all others are reloaded."""
AT_NEXT_CONNECTION: Final = frozenset({"asterisk.ami", "asterisk.username", "asterisk.secret_file", "asterisk.login"})
"""Keys that a connection to AMI uses when it is made: a connection that is up stays as it is."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Checked settings of one part, ready to be used.

    Attributes:
        apply: puts them in force; must not fail.
        news: what else the reload has found, one line each, such as a secret that has changed in its file.
    """

    apply: Callable[[], object]
    news: Sequence[str] = ()


Prepare = Callable[[Config, Config], Prepared]
"""Checks a part's new settings: called with those in force and the new ones. Raises PbxrouterError if they cannot be
used; it must change nothing."""


class Reload:
    """The settings in force, and the reload of them.

    Args:
        config: the settings that the gateway was started with.
        read: reads them again. Raises ConfigError.

    Attributes:
        config: the settings in force.
    """

    log = Logger(namespace="pbxrouter.gateway.reload")

    def __init__(self, config: Config, read: Callable[[], Config]) -> None:
        self.config = config
        self._read = read
        self._parts: list[Prepare] = []

    def add(self, prepare: Prepare) -> None:
        """Add a part of the gateway."""
        self._parts.append(prepare)

    def run(self) -> list[str]:
        """Reload the settings; returns what was reloaded and what needs a restart, which is logged, too.

        Raises:
            PbxrouterError: something is wrong with the new settings. Nothing is changed.
        """
        try:
            found = self._read()
            _demand_files(found)
            new = with_settled(self.config, found)
            prepared = [prepare(self.config, new) for prepare in self._parts]
        except PbxrouterError as error:
            self.log.error("reload: refused; the settings in force stay: {error}", error=str(error))
            raise
        except Exception as error:
            self.log.failure("reload: refused; the settings in force stay")
            raise ConfigError("an unexpected error, which is in the gateway's log; nothing was reloaded") from error
        lines = list(changes(self.config, found))
        for part in prepared:
            lines += part.news
            try:
                part.apply()
            except Exception:
                self.log.failure("reload: a part could not take its new settings")
                lines.append("a part could not take its new settings: see the gateway's log, and restart it")
        self.config = new
        for line in lines or ["no setting has changed"]:
            self.log.info("reload: {line}", line=line)
        return lines or ["no setting has changed"]


def demand_file(path: str | Path, key: str) -> None:
    """Check that a path is a file, if anything is there: a named pipe would hold up the gateway with all its calls.

    Raises:
        ConfigError: it is something else.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return  # who reads it says why it cannot be read
    if not stat.S_ISREG(mode):
        raise ConfigError(f"{key}: {path} is not a file, so it is not read again; accepted is the path of a file")


def _demand_files(config: Config) -> None:
    for key, path in (
        ("fastagi.secret_file", config.fastagi.secret_file),
        ("alarm.secret_file", config.alarm.secret_file),
        *((f"asterisk.secret_file of {asterisk.name}", asterisk.secret_file) for asterisk in config.asterisk),
    ):
        if path:
            demand_file(path, key)


def changes(old: Config, new: Config) -> Iterator[str]:
    """One line for each key that differs: what a reload does about it."""
    before, after = dict(_flat(old)), dict(_flat(new))
    in_both = before.keys() & after.keys()
    for key in sorted(before.keys() | after.keys(), key=lambda key: (key[1], key[0])):
        if before.get(key) == after.get(key):
            continue
        name, asterisk = key
        shown = f"{name} of {asterisk}" if asterisk else name
        if name == "asterisk.name":
            what = "new" if key in after else "no longer in the settings"
            yield f"[[asterisk]] {asterisk} is {what}, which needs a restart"
        elif asterisk and ("asterisk.name", asterisk) not in in_both:
            continue  # said by its name
        elif _is_settled(key, before.get(key), after.get(key)):
            yield f"{shown}: needs a restart"
        elif name in AT_NEXT_CONNECTION:
            yield f"{shown}: reloaded, for the next connection to AMI"
        else:
            yield f"{shown}: reloaded"


def with_settled(old: Config, new: Config) -> Config:
    """The new settings, but for the keys that need a restart, which stay as they are in force."""
    names = ("database", "database_password_file", "folder", "pin_key_file", "control", "gateway")
    kept: dict[str, Any] = {name: getattr(old, name) for name in names}
    kept["fastagi"] = msgspec.structs.replace(new.fastagi, listen=old.fastagi.listen, library=old.fastagi.library)
    kept["web"] = msgspec.structs.replace(new.web, listen=old.web.listen)
    found = {asterisk.name: asterisk for asterisk in new.asterisk}
    kept["asterisk"] = tuple(_with_settled(asterisk, found.get(asterisk.name)) for asterisk in old.asterisk)
    return msgspec.structs.replace(new, **kept)


def _with_settled(old: Asterisk, new: Asterisk | None) -> Asterisk:
    if new is None:
        return old
    if bool(old.secret_file) != bool(new.secret_file):  # without a secret there is no connection
        new = msgspec.structs.replace(new, secret_file=old.secret_file)
    return msgspec.structs.replace(new, library=old.library)


def _is_settled(key: tuple[str, str], before: object, after: object) -> bool:
    return key[0] in NEEDS_RESTART or (key[0] == "asterisk.secret_file" and bool(before) != bool(after))


def _flat(config: Config) -> Iterator[tuple[tuple[str, str], object]]:
    """Each setting by its key, and by the name of the Asterisk where it is one's own."""
    for field in msgspec.structs.fields(Config):
        value = getattr(config, field.name)
        if field.name == "asterisk":
            for asterisk in value:
                for name, setting in _of(asterisk):
                    yield (f"asterisk.{name}", asterisk.name), setting
        elif isinstance(value, msgspec.Struct):
            for name, setting in _of(value):
                yield (f"{field.name}.{name}", ""), setting
        elif isinstance(value, Mapping):
            for name, setting in value.items():
                yield (f"{field.name}.{name}", ""), setting
        else:
            yield (field.name, ""), value


def _of(section: msgspec.Struct) -> Iterator[tuple[str, object]]:
    for field in msgspec.structs.fields(type(section)):
        yield field.encode_name, getattr(section, field.name)
