"""Checks the values of settings beyond their types."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from pbxrouter.agi import is_prompt_name
from pbxrouter.config.address import place_of_ami
from pbxrouter.config.database_place import has_password, is_url, url_problem
from pbxrouter.config.schema import DEFAULT_LISTEN, AlarmSettings, Asterisk, Config, Web
from pbxrouter.config.zone import Zone
from pbxrouter.errors import ConfigError
from pbxrouter.rules import country_exists
from pbxrouter.security import parse_network
from pbxrouter.text import MAX_ASTERISK_NAME, is_asterisk_name, printable

URL_ACCEPTED: Final = "a URL such as postgresql://pbxrouter@db.example.org/pbxrouter"


def check_values(config: Config, source: str) -> None:
    """Check all values.

    Raises:
        ConfigError: one line with the file, the key and what is accepted.
    """

    def demand(condition: object, key: str, accepted: str) -> None:
        if not condition:
            raise ConfigError(f"{source}: {printable(key)}: accepted is {accepted}")

    demand(config.database, "database", f"the path of a file, or {URL_ACCEPTED}")
    for key in ("database", "database_password_file", "folder", "pin_key_file", "control"):
        demand("\0" not in getattr(config, key), key, "the path of a file")
    if is_url(config.database):
        problem = url_problem(config.database)
        demand(not problem, "database", f"{URL_ACCEPTED}; {problem}")
        demand(
            not (config.database_password_file and has_password(config.database)),
            "database_password_file",
            "one password: leave out the one in database",
        )
    else:
        demand("://" not in config.database, "database", f"the path of a file, or {URL_ACCEPTED}")
        for key in ("database_password_file", "folder"):
            demand(not getattr(config, key), key, f"a path only where database is {URL_ACCEPTED}")
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
            _is_trunk(trunk) and trunk.isprintable() and unicodedata.is_normalized("NFKC", trunk),
            "trunks",
            f'endpoints, a technology and a name, such as ["PJSIP/provider"], not {trunk!a}',
        )
    demand(
        not config.country or country_exists(config.country),
        "country",
        f'the code of a country, of two letters such as "DE" or "ES", not {config.country!a}',
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
    _check_asterisks(config.asterisk, demand)


def _check_asterisks(asterisks: Sequence[Asterisk], demand: Callable[[object, str, str], None]) -> None:
    """Check that each has a name of its own, and that no AMI is there twice: its calls would be counted twice."""
    names: dict[str, str] = {}
    places: dict[str, str] = {}
    for asterisk in asterisks:
        name = asterisk.name
        demand(
            is_asterisk_name(name),
            "asterisk.name",
            f"a name of at most {MAX_ASTERISK_NAME} letters, digits and _ . -, with blanks between, not {name!a}",
        )
        other = names.get(name.casefold())
        demand(
            other is None,
            "asterisk.name",
            f"a different name for each [[asterisk]], upper and lower case aside, not {other!a} and {name!a}",
        )
        names[name.casefold()] = name
        if not asterisk.secret_file:
            continue
        place = place_of_ami(asterisk.ami)
        demand(
            place not in places,
            "asterisk.ami",
            f"one [[asterisk]] for each AMI, not {places.get(place)!a} and {name!a} both at {asterisk.ami!a}",
        )
        places[place] = name


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
        not web.timezone or Zone.is_known(web.timezone),
        "web.timezone",
        f'the name of a time zone, such as "Europe/Madrid", not {web.timezone!r}',
    )


_is_trunk: Final[Callable[[str], object]] = re.compile(r"(?!(?i:local)/)[A-Za-z]\w*/\S(.*\S)?", re.ASCII).fullmatch
_URL: Final = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?/?")
_WEBHOOK: Final = re.compile(
    r"(https://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)|http://(127\.0\.0\.1|localhost|\[::1\]))(:[0-9]{1,5})?"
    r"(/[!-~]*|\?[!-~]*)?"
)
_HOST: Final = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+")
_ADDRESS: Final = re.compile(r"[0-9.]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_is_dial_part: Final[Callable[[str], object]] = re.compile(r"[^\s,&|\"\\]+").fullmatch
