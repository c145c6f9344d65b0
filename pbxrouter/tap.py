"""``twistd pbxrouter``: its options, the checks before the start, and the service.

An error is one line on stderr and exit status 2, before the gateway runs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import re
import socket
import sys
from typing import Any, Final, NoReturn

import msgspec
from twisted.application.service import MultiService
from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger
from twisted.python import usage

from pbxrouter import database
from pbxrouter.config import DEFAULT_FILE, Config, at_database, read_config
from pbxrouter.database import dialect_of
from pbxrouter.database.rules import check_columns
from pbxrouter.errors import ConfigError, DatabaseFull, DatabaseLocked, PbxrouterError, StoreError
from pbxrouter.gateway import clean_log, demand_file, service, signals
from pbxrouter.net import limit_threads, raise_file_limit, unblock_output, use_monotonic_time, with_backlog
from pbxrouter.rules import RuleSet
from pbxrouter.text import sentence

__all__ = ["Options", "makeService", "read_config"]

log = Logger()
NOT_FOR_OTHERS: Final = 0o027
"""Least umask of the gateway: what it makes, twistd's log too, others can neither read nor write."""


class Options(usage.Options):
    """The options of ``twistd pbxrouter``; other settings are in the file."""

    synopsis = "[options]"
    longdesc = "pbxrouter: a call router for Asterisk. FastAGI server, rules, PINs."
    optParameters = [  # noqa: RUF012  (Twisted's own way)
        ["config", "c", None, "Settings file, TOML. [default: pbxrouter.toml, if it exists]"],
        [
            "database",
            "d",
            None,
            "SQLite database. [default: pbxrouter.sqlite beside the settings]",
        ],
        [
            "listen",
            "l",
            None,
            "Endpoint of the FastAGI server. [default: tcp:4573:interface=127.0.0.1]",
        ],
        ["web", "w", None, "Endpoint of the web console and API. [default: web.listen of the settings]"],
    ]
    optFlags = [  # noqa: RUF012
        ["agi-debug", "g", "Write every AGI dialogue to the log, PINs masked."],
    ]

    def parseOptions(self, options: Any = None) -> None:
        """Parse the command line; an error is one line."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            give_up(f"{str(error).rstrip('.')}; see twistd pbxrouter --help")


def makeService(options: Options) -> MultiService:
    """Build the gateway; ends the program with status 2 if it cannot run."""
    from twisted.internet import reactor

    signals.hold()
    clean_log()
    here = pathlib.Path.cwd()
    try:
        config = configured(options, here)
    except PbxrouterError as error:
        give_up(str(error))
    raise_file_limit()
    use_monotonic_time(reactor)
    limit_threads(reactor)
    os.umask(os.umask(NOT_FOR_OTHERS) | NOT_FOR_OTHERS)  # twistd opens its log right after this
    try:
        rules = check(config, reactor)
        gateway = Gateway()
        whole = service.build(config, reactor, lambda _: rules, lambda: configured_again(options, here))
        whole.setServiceParent(gateway)
        write_log = unblock_output(reactor)  # twistd logs to it from now on
        signals.Signals(whole, reactor, write_log).setServiceParent(gateway)
        return gateway
    except ConfigError as error:
        give_up(str(error) if _was_said_here(error, options) else f"{_file(options)}: {error}")
    except PbxrouterError as error:
        give_up(str(error))


def _file(options: Options) -> str:
    return str(options["config"] or DEFAULT_FILE)


def _was_said_here(error: ConfigError, options: Options) -> bool:
    """Whether the error is about an option or a default, not about the settings file."""
    from_option = any(
        options[option] and str(error).startswith(key)
        for option, key in (("listen", "fastagi.listen"), ("web", "web.listen"), ("database", "--database"))
    )
    return from_option or not pathlib.Path(_file(options)).exists()


class Gateway(MultiService):
    """The outermost service; an error while it opens its ports is one line, too."""

    def privilegedStartService(self) -> None:
        """Open the ports, before twistd gives up its privileges."""
        try:
            super().privilegedStartService()
        except PbxrouterError as error:
            give_up(str(error))


def give_up(line: str) -> NoReturn:
    """Print an error on stderr, and exit with status 2."""
    sys.__stderr__.write(f"pbxrouter: {line}\n") if sys.__stderr__ else None
    raise SystemExit(2)


def configured(options: Options, here: pathlib.Path | None = None) -> Config:
    """The settings of the file, overridden by the options.

    Args:
        here: what relative paths of the options count from; by default the working directory.

    Raises:
        ConfigError: as read_config.
    """
    here = here or pathlib.Path.cwd()
    config = read_config(options["config"], here)
    if options["database"]:
        config = at_database(config, options["database"], here)
    fastagi = config.fastagi
    if options["listen"]:
        fastagi = msgspec.structs.replace(fastagi, listen=options["listen"])
    if options["agi-debug"]:
        fastagi = msgspec.structs.replace(fastagi, debug=True)
    web = config.web
    if options["web"]:
        web = msgspec.structs.replace(web, listen=options["web"])
    return msgspec.structs.replace(config, fastagi=fastagi, web=web)


def configured_again(options: Options, here: pathlib.Path) -> Config:
    """As configured, while the gateway runs.

    Raises:
        ConfigError: as configured; or the file is a named pipe or the like, which could be read only once.
    """
    demand_file(here / (options["config"] or DEFAULT_FILE), _file(options))
    return configured(options, here)


def check(config: Config, reactor: object) -> RuleSet | None:
    """Check that the gateway can run: endpoint, ports, database, rules.

    A database of an older version is backed up and upgraded.

    Returns:
        The rules; None if the database is locked: the gateway starts, and takes calls when it has read them.

    Raises:
        ConfigError: the endpoint cannot be understood or opened.
        StoreError: the database cannot be used.
    """
    try:
        serverFromString(reactor, with_backlog(config.fastagi.listen))
    except Exception as error:
        raise ConfigError(
            f"fastagi.listen: {config.fastagi.listen!r} is no endpoint ({error}); accepted is for example "
            "tcp:4573:interface=127.0.0.1 or unix:/run/pbxrouter.sock"
        ) from None
    _check_port("fastagi.listen", config.fastagi.listen)
    if config.web.listen:
        _check_port("web.listen", config.web.listen)
    try:
        check_database(config.place)
        return service.read_first_rules(config)
    except DatabaseLocked:
        return None
    except PbxrouterError:
        raise
    except database.DATABASE_ERRORS as error:
        raise database.store_error(error, config.place) from error
    except Exception as error:  # of values that no edit of ours writes
        why = f"{type(error).__name__}: {error}"
        raise StoreError(
            sentence("database {path}: the rules cannot be read: {why}", path=config.place, why=why)
        ) from error


def check_database(place: database.Place) -> None:
    """Check that the database can be used: the tables and columns of the rules are there, and it can be written.

    Raises:
        StoreError: it cannot. One that is being written, or on a full disk, can: calls are routed, and written later.
    """
    try:
        with contextlib.closing(database.connect(place, notify=_log_upgrade)) as connection:
            check_columns(connection)
            try:
                dialect_of(connection).try_writing(connection)
            except database.DATABASE_ERRORS as error:
                why = database.store_error(error, place)
                if not isinstance(why, DatabaseLocked | DatabaseFull):
                    raise why from error
    except database.DATABASE_ERRORS as error:
        raise database.store_error(error, place) from error


def _log_upgrade(line: str) -> None:
    log.info("{line}", line=line)


def _check_port(key: str, description: str) -> None:
    """Bind a TCP port briefly, so that an error is one line, not a traceback later."""
    # In an endpoint string a backslash makes the next character literal, as in interface=\:\:1.
    kind, *rest = (re.sub(r"\\(.)", r"\1", part) for part in re.split(r"(?<!\\):", description))
    port = rest[0].removeprefix("port=") if rest else ""
    if kind != "tcp" or not port.isdigit():
        return
    found = [part.removeprefix("interface=") for part in rest if part.startswith("interface=")]
    host = found[0] if found else ""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, int(port)))
            probe.listen()
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            why = f"port {port} is in use by another program; stop it or choose another port"
        else:
            why = f"cannot listen at {description}: {getattr(error, 'strerror', None) or error}"
        raise ConfigError(f"{key}: {why}") from None
