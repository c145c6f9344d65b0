"""The configuration: TOML parsed into typed, frozen values.

Every key is optional. A value that cannot be used raises ConfigError, whose message names the file,
the key, and what is accepted. Relative paths are relative to the file's folder.
"""

from __future__ import annotations

import pathlib
import re
import tomllib
import types
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, get_args, get_type_hints

import msgspec

from pbxrouter.agi import Prompts, is_prompt_name
from pbxrouter.config.error_messages import plain
from pbxrouter.errors import ConfigError
from pbxrouter.rules import as_written
from pbxrouter.security import parse_network
from pbxrouter.text import printable

DEFAULT_LISTEN: Final = "tcp:4573:interface=127.0.0.1"
TECHNOLOGIES: Final = types.MappingProxyType({"SIP": "PJSIP", "Zap": "DAHDI"})
"""Channel technologies of the 2006 workshop and their names on today's Asterisk."""

Library = Literal["pbxrouter", "starpy"]
"""Which protocol implementation is used: pbxrouter's, or StarPy's if it is installed."""


class FastAGI(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[fastagi]``: where the FastAGI server listens.

    ``allow`` lists the networks that may connect, any if it is empty. ``secret_file`` holds a secret that each
    call must pass as an argument of AGI(), none if it is empty. ``max_connections`` may be open at once,
    ``max_connections_per_peer`` from one address; 0 stands for a share of the open files. ``debug`` writes every
    AGI dialogue to the log, PINs masked.
    """

    listen: str = DEFAULT_LISTEN
    allow: tuple[str, ...] = ()
    secret_file: str = ""
    max_connections: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    max_connections_per_peer: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    debug: bool = False
    library: Library = "pbxrouter"


class Asterisk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[[asterisk]]``: an Asterisk to connect to over AMI.

    ``magi`` names the dialplan contexts whose ``AGI(agi:async)`` calls the gateway serves, ``originate``
    those that originated calls may enter (no call is originated if it names none).
    """

    name: str = "asterisk"
    ami: str = "tcp:127.0.0.1:5038"
    username: str = "pbxrouter"
    secret_file: str = ""
    login: Literal["md5", "plain"] = "md5"
    magi: tuple[str, ...] = ()
    originate: tuple[str, ...] = ()
    heartbeat: bool = True
    library: Library = "pbxrouter"


class Web(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[web]``: where console and API are served; nowhere without ``listen``.

    ``url`` is its public address, ``hosts`` lists further host names, ``proxies`` the
    addresses of reverse proxies whose X-Forwarded-For and -Proto are believed, ``timezone`` the
    PBX's own (as in Europe/Madrid; that of the system if empty).
    """

    listen: str | None = None
    url: str = ""
    hosts: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    timezone: str = ""


class Counter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[counter]``: how the calls of each ``[[asterisk]]`` are counted. ``keep_days`` in days."""

    keep_days: Annotated[int, msgspec.Meta(ge=1, le=36500)] = 400


class History(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[history]``: the history of calls. ``keep_days`` in days."""

    keep_days: Annotated[int, msgspec.Meta(ge=1, le=36500)] = 90


class DialSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[dial]``: arguments of Dial. ``timeout`` in seconds; ``options`` as in Asterisk's Dial().

    ``forwarding`` lets a called phone forward its call (a SIP 302); otherwise Dial gets option ``i``.
    """

    timeout: Annotated[int, msgspec.Meta(ge=1, le=86400)] = 60
    options: str = ""
    forwarding: bool = False


class AlarmSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[alarm]``: where alarms are delivered.

    ``command`` is a program with its arguments, ``webhook`` a URL; ``secret_file`` holds the key that requests to
    it are signed with.
    """

    command: tuple[str, ...] = ()
    webhook: str = ""
    secret_file: str = ""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings. ``parse`` makes paths absolute; empty ones are placed beside the database."""

    database: str = "pbxrouter.sqlite"
    pin_key_file: str = ""
    control: str = ""
    fastagi: FastAGI = FastAGI()
    asterisk: tuple[Asterisk, ...] = ()
    web: Web = Web()
    prompts: Prompts = Prompts()
    history: History = History()
    dial: DialSettings = DialSettings()
    counter: Counter = Counter()
    alarm: AlarmSettings = AlarmSettings()
    technologies: dict[str, str] = {}
    trunks: tuple[str, ...] = ()


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
    _check_values(config, source)
    return resolved(config, base)


def resolved(config: Config, base: pathlib.Path) -> Config:
    """Make paths absolute, add the built-in technologies, and write those of trunks as Asterisk does."""
    database = base / config.database
    changes = {
        "database": str(database),
        "pin_key_file": str(base / config.pin_key_file if config.pin_key_file else f"{database}.pinkey"),
        "control": str(base / config.control if config.control else f"{database}.sock"),
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


def at_database(config: Config, path: pathlib.Path) -> Config:
    """The configuration with another database, and with the files beside it unless they are configured."""
    changes = {"database": str(path)}
    for name in ("pin_key_file", "control"):
        value: str = getattr(config, name)
        if value.startswith(f"{config.database}."):
            changes[name] = f"{path}{value.removeprefix(config.database)}"
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


def _check_values(config: Config, source: str) -> None:
    def demand(condition: object, key: str, accepted: str) -> None:
        if not condition:
            raise ConfigError(f"{source}: {printable(key)}: accepted is {accepted}")

    demand(config.database, "database", "the path of a file")
    for key in ("database", "pin_key_file", "control"):
        demand("\0" not in getattr(config, key), key, "the path of a file")
    demand(bool(config.fastagi.listen), "fastagi.listen", f"an endpoint such as {DEFAULT_LISTEN}")
    demand("\0" not in config.fastagi.secret_file, "fastagi.secret_file", "the path of a file")
    for network in config.fastagi.allow:
        demand(
            parse_network(network),
            "fastagi.allow",
            f'addresses and networks, such as ["192.0.2.7", "2001:db8::/64"], not {network!a}',
        )
    for role, name in msgspec.structs.asdict(config.prompts).items():
        demand(
            is_prompt_name(name),
            f"prompts.{role.replace('_', '-')}",
            "the name of a sound: letters, digits, _ - . / and {language}",
        )
    for name, technology in config.technologies.items():
        demand(
            _is_dial_part(technology) and _is_dial_part(name),
            f"technologies.{name}",
            'a technology, or the beginning of a dial string, such as "PJSIP" or "DAHDI/g0"',
        )
    demand(
        _is_dial_part(config.dial.options) or not config.dial.options,
        "dial.options",
        "the letters of Dial()'s options",
    )
    for trunk in config.trunks:
        demand(
            _is_trunk(trunk) and trunk.isprintable(),
            "trunks",
            f'endpoints, a technology and a name, such as ["PJSIP/provider"], not {trunk!a}',
        )
    for asterisk in config.asterisk:
        demand("\0" not in asterisk.secret_file, "asterisk.secret_file", "the path of a file")
        demand(
            asterisk.username.isprintable() and asterisk.username,
            "asterisk.username",
            "the name of a user in Asterisk's manager.conf",
        )
        for key in ("magi", "originate"):
            for context in getattr(asterisk, key):
                demand(
                    re.fullmatch(r"[\w.-]+", context, re.ASCII),
                    f"asterisk.{key}",
                    'names of dialplan contexts, such as ["pbxrouter-phones"]',
                )
    _check_web(config.web, demand)
    _check_alarm(config.alarm, demand)
    names = [asterisk.name for asterisk in config.asterisk]
    demand(len(set(names)) == len(names), "asterisk.name", "a different name for each [[asterisk]]")


def _check_alarm(alarm: AlarmSettings, demand: Callable[[object, str, str], None]) -> None:
    demand(
        not alarm.command or (alarm.command[0].startswith("/") and not any("\0" in part for part in alarm.command)),
        "alarm.command",
        'a program\'s path from / on and its arguments, such as ["/usr/local/bin/alarm", "--sms"]',
    )
    demand("\0" not in alarm.secret_file, "alarm.secret_file", "the path of a file")
    demand(
        not alarm.webhook or _WEBHOOK.fullmatch(alarm.webhook),
        "alarm.webhook",
        'an address such as "https://alarms.example.org/pbx", without name and password; http only on loopback',
    )
    demand(
        not alarm.webhook or alarm.secret_file, "alarm.secret_file", "a file with the key that webhooks are signed with"
    )


def _check_web(web: Web, demand: Callable[[object, str, str], None]) -> None:
    demand(
        not web.url or _URL.fullmatch(web.url),
        "web.url",
        'how browsers reach it, such as "https://pbx.example.org"',
    )
    for host in web.hosts:
        demand(_HOST.fullmatch(host), "web.hosts", 'names without port, such as ["pbx.example.org"]')
    for address in web.proxies:
        demand(_ADDRESS.fullmatch(address), "web.proxies", 'addresses, such as ["127.0.0.1", "::1"]')
    demand(
        not web.timezone or _ZONE.fullmatch(web.timezone),
        "web.timezone",
        'a time zone, such as "Europe/Madrid"',
    )


_is_trunk: Final[Callable[[str], object]] = re.compile(r"(?!(?i:local)/)[A-Za-z]\w*/\S(.*\S)?", re.ASCII).fullmatch
_URL: Final = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?/?")
_WEBHOOK: Final = re.compile(
    r"(https://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)|http://(127\.0\.0\.1|localhost|\[::1\]))(:[0-9]{1,5})?"
    r"(/[!-~]*|\?[!-~]*)?"
)
_HOST: Final = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+")
_ADDRESS: Final = re.compile(r"[0-9.]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_ZONE: Final = re.compile(r"[A-Za-z][\w+-]*(/[A-Za-z][\w+-]*)*", re.ASCII)
_is_dial_part: Final[Callable[[str], object]] = re.compile(r"[^\s,&|\"\\]+").fullmatch
