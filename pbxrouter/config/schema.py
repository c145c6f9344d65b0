"""The settings: every section and key with its type and default.

A new key goes here; what its value may be beyond its type goes into ``checks``.
"""

from __future__ import annotations

import types
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from pbxrouter.agi import Prompts
from pbxrouter.config.database_place import BASE_NAME, Place, place_at

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


class Gateway(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[gateway]``: the process itself. ``workers`` is the number of processes that share the FastAGI port."""

    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1


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
    """``[history]``: the history of calls. ``keep_days`` in days.

    ``cdr_field`` is the field of Asterisk's own CDR that gets user, mapping and key of each call that the rules allow.
    """

    keep_days: Annotated[int, msgspec.Meta(ge=1, le=36500)] = 90
    cdr_field: Literal["", "userfield", "accountcode"] = ""


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
    """All settings. ``parse`` makes paths absolute; empty ones are placed beside the database.

    ``database`` is a file's path, or the URL of a database of PostgreSQL, which may hold a password: show ``place``
    instead. ``folder`` is where files are placed that would stand beside a database's file, and
    ``database_password_file`` holds the password, both for PostgreSQL.

    ``country`` is the code of the country whose numbers people write, such as ``DE``; none if empty.
    """

    database: str = "pbxrouter.sqlite"
    database_password_file: str = ""
    folder: str = ""
    pin_key_file: str = ""
    control: str = ""
    gateway: Gateway = Gateway()
    fastagi: FastAGI = FastAGI()
    asterisk: tuple[Asterisk, ...] = ()
    web: Web = Web()
    prompts: Prompts = Prompts()
    history: History = History()
    dial: DialSettings = DialSettings()
    counter: Counter = Counter()
    alarm: AlarmSettings = AlarmSettings()
    technologies: dict[str, str] = {}
    country: str = ""
    trunks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Short, and without the password that may be in ``database``."""
        return f"Config({self.place})"

    @property
    def place(self) -> Place:
        """Where the database is, once paths are absolute; as text it is fit for messages."""
        return place_at(self.database, Path(self.folder, BASE_NAME), self.database_password_file)
