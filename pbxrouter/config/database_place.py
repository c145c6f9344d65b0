"""Where the database is: a file of SQLite, or a database of a PostgreSQL server."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

SCHEMES: Final = ("postgresql://", "postgres://")
_HIDDEN: Final = frozenset({"password", "sslpassword"})
_MASK: Final = "***"


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
        query = [(key, _MASK if key in _HIDDEN else value) for key, value in parse_qsl(parts.query, True)]
    except ValueError:
        return f"{url.partition('://')[0]}://{_MASK}"
    if "@" in parts.path + parts.query + parts.fragment:  # it may be a password's that is not escaped
        return f"{parts.scheme}://{_MASK}"
    user, at, hosts = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    shown = f"{parts.scheme}://{name}{f':{_MASK}' if colon else ''}{at}{hosts}{parts.path}"
    return f"{shown}?{urlencode(query, safe='/:,*', quote_via=quote)}" if query else shown


def beside(place: Place, suffix: str) -> Path:
    """The file with a suffix, such as ``.pinkey``, that belongs to a database."""
    return Path(f"{place.base if isinstance(place, PostgreSQLPlace) else place}{suffix}")
