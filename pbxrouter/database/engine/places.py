"""Translates the places of values in SQL, ``?`` and ``:name``, to psycopg's ``%s`` and ``%(name)s``."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = re.compile(
    r"""
      '(?:[^']|'')*'                   # a text
    | "(?:[^"]|"")*"                   # a quoted name
    | --[^\n]*                         # a comment
    | /\*.*?\*/
    | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$  # a function's body
    | ::                               # a cast
    | :(?P<name>[A-Za-z_]\w*)
    | (?P<place>\?)
    """,
    re.VERBOSE | re.DOTALL,
)
_BLANK: Final = re.compile(r"(?:\s|--[^\n]*|/\*.*?\*/|\()*", re.DOTALL)
_WORD: Final = re.compile(r"[A-Za-z]+")
_CHANGING: Final = re.compile(r"\b(?:INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as psycopg takes it.

    Attributes:
        text: with ``%s`` or ``%(name)s`` for values.
        changes_rows: whether it is an INSERT, UPDATE, DELETE or MERGE.
    """

    text: str
    changes_rows: bool


@functools.lru_cache(maxsize=2000)
def translated(sql: str) -> Statement:
    """Translate a statement; texts, quoted names, comments and casts stay as they are."""

    def replaced(token: re.Match[str]) -> str:
        if token["name"]:
            return f"%({token['name']})s"
        return "%s" if token["place"] else token[0].replace("%", "%%")

    parts: list[str] = []
    end = 0
    for token in _TOKEN.finditer(sql):
        parts += (sql[end : token.start()].replace("%", "%%"), replaced(token))
        end = token.end()
    parts.append(sql[end:].replace("%", "%%"))
    return Statement("".join(parts), _changes_rows(sql))


def _changes_rows(sql: str) -> bool:
    blank = _BLANK.match(sql)
    word = _WORD.match(sql, blank.end() if blank else 0)
    if word is None:
        return False
    if word[0].upper() == "WITH":
        return _CHANGING.search(_TOKEN.sub("", sql)) is not None
    return _CHANGING.fullmatch(word[0]) is not None
