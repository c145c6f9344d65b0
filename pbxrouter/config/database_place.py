"""Where the database is: a file of SQLite, or a database of a PostgreSQL server."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

BASE_NAME: Final = "pbxrouter"
"""What the names of files begin with that belong to a database of PostgreSQL."""
SCHEMES: Final = ("postgresql://", "postgres://")
_HIDDEN: Final = frozenset({"password", "sslpassword"})
_MASK: Final = "***"
_BARE_PERCENT: Final = re.compile("%(?![0-9A-Fa-f]{2})|%00")
"""What libpq refuses with a message that has the text around it, such as a password."""


@dataclass(frozen=True, slots=True)
class PostgreSQLPlace:
    """A database of a PostgreSQL server.

    As text it is its URL without passwords: fit for messages, logs and pages.

    Attributes:
        url: the URL, such as postgresql://pbxrouter@db.example.org:5432/pbxrouter; it may hold a password.
        base: what the names of the files begin with that belong to the database and are kept on this machine.
        password_file: a file whose first line is the password; None if libpq finds it, as in ~/.pgpass.
    """

    url: str = field(repr=False)
    base: Path = Path("pbxrouter")
    password_file: Path | None = None

    def __str__(self) -> str:
        """The URL without passwords."""
        return shown_url(self.url)


Place = Path | PostgreSQLPlace
"""Where a database is; as text it is fit for messages."""


def is_url(database: str) -> bool:
    """Whether a setting names a database of PostgreSQL, and not a file."""
    return database.startswith(SCHEMES)


def shown_url(url: str) -> str:
    """A URL as people may see it: without passwords."""
    try:
        parts = urlsplit(url)
        query = [(key, _MASK if key.lower() in _HIDDEN else value) for key, value in parse_qsl(parts.query, True)]
    except ValueError:
        return f"{url.partition('://')[0]}://{_MASK}"
    if "@" in parts.path + parts.query + parts.fragment:  # it may be a password's that is not escaped
        return f"{parts.scheme}://{_MASK}"
    if any(not port.isdigit() for port in _ports(parts.netloc)):  # a user and a password without @ and host
        return f"{parts.scheme}://{_MASK}"
    user, at, hosts = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    shown = f"{parts.scheme}://{name}{f':{_MASK}' if colon else ''}{at}{hosts}{parts.path}"
    return f"{shown}?{urlencode(query, safe='/:,*', quote_via=quote)}" if query else shown


def place_at(database: str, base: Path, password_file: str = "") -> Place:
    """The place that settings name.

    Args:
        database: a path, or a URL of PostgreSQL.
        base: what the names of the files begin with that belong to a database of PostgreSQL.
        password_file: the file with its password; ``""`` if there is none.
    """
    if is_url(database):
        return PostgreSQLPlace(database, base, Path(password_file) if password_file else None)
    return Path(database)


def has_password(url: str) -> bool:
    """Whether a password, or what may be one, is in a URL."""
    return _MASK in shown_url(url)


def url_problem(url: str) -> str:
    """What is wrong with the URL of a database, without any part of it; ``""`` if nothing is."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "it cannot be read"
    if "@" in parts.path + parts.query + parts.fragment or parts.fragment:
        return "in a user, a password or a name the characters / ? # @ : and % are written %2F %3F %23 %40 %3A %25"
    if _BARE_PERCENT.search(url):
        return "a % that is not followed by two hex digits is written %25"
    if any(not port.isdigit() for port in _ports(parts.netloc)):
        return "a port is no number; a user and a password end with @"
    if not url.isprintable() or " " in url:
        return "it holds blanks or control characters"
    named_elsewhere = {"service", "dbname"} & {key for key, _ in parse_qsl(parts.query, True)}
    if not parts.path.strip("/") and not named_elsewhere:
        return "the name of the database is missing"
    if "/" in parts.path.removeprefix("/"):
        return "the name of the database holds a slash"
    return ""


def _ports(netloc: str) -> list[str]:
    """What stands where ports do in the hosts of a URL."""
    hosts = netloc.rpartition("@")[2].split(",")
    return [port for host in hosts if (port := host.rpartition("]")[2].partition(":")[2])]


def beside(place: Place, suffix: str) -> Path:
    """The file with a suffix, such as ``.pinkey``, that belongs to a database."""
    return Path(f"{place.base if isinstance(place, PostgreSQLPlace) else place}{suffix}")
