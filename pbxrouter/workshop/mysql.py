"""Turns a dump by mysqldump, mariadb-dump or phpMyAdmin into SQL that SQLite reads.

Of its statements CREATE TABLE, without types, keys and options, and INSERT are kept; all else is left out, such as SET
and LOCK TABLES. Lines keep their numbers. The syntax of strings is that of the MySQL manual, section String Literals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_HEAD: Final = 4000
"""Characters at the beginning in which a dump says what has written it."""
_SIGN: Final = re.compile(
    r"^(?:-- (?:MySQL|MariaDB|phpMyAdmin(?: SQL)?) dump\b|/\*M!999999)", re.IGNORECASE | re.MULTILINE
)
_TOKEN: Final = re.compile(
    r"""
      (?P<blank>  \s+ | --(?=\s|\Z)[^\n]* | \#[^\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<string> '(?:[^'\\]|\\.|'')*(?:'|\Z) | "(?:[^"\\]|\\.|"")*(?:"|\Z) )
    | (?P<name>   `[^`]*(?:``[^`]*)*(?:`|\Z) )
    | (?P<hex>    0x[0-9A-Fa-f]+\b )
    | (?P<word>   \w+ )
    | (?P<other>  . )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED: Final = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a", "%": r"\%", "_": r"\_"}
_CHARSET: Final = re.compile(r"_[a-z]+[0-9a-z]*")
_NO_COLUMNS: Final = frozenset("PRIMARY KEY UNIQUE INDEX CONSTRAINT FOREIGN FULLTEXT SPATIAL CHECK PERIOD".split())

Token = tuple[str, str]
"""Its kind, by the names in _TOKEN, and its text."""


def is_mysql_dump(text: str) -> bool:
    """Whether a dump says that MySQL or MariaDB has written it."""
    return _SIGN.search(text[:_HEAD]) is not None


def sqlite_text(text: str) -> str:
    """The statements of a dump that make tables and rows, as SQLite reads them."""
    return "".join(_translated(statement) for statement in _statements(text))


def _statements(text: str) -> Iterator[list[Token]]:
    found: list[Token] = []
    for token in _TOKEN.finditer(text):
        found.append((token.lastgroup or "", token.group()))
        if found[-1] == ("other", ";"):
            yield found
            found = []
    yield found


def _translated(statement: list[Token]) -> str:
    """A statement for SQLite, behind as many line ends as it had."""
    first = next((place for place, (kind, _) in enumerate(statement) if kind != "blank"), len(statement))
    ends = "".join(text for kind, text in statement[:first]).count("\n")
    rest = statement[first:]
    words = [text.upper() for kind, text in rest if kind == "word"][:3]
    if words[:2] == ["CREATE", "TABLE"]:
        said = _table(rest)
    elif words[:1] in (["INSERT"], ["REPLACE"]):
        said = "".join(_row_part(rest))
    else:
        said = ""
    inner = sum(text.count("\n") for _, text in rest)
    return "\n" * ends + said + "\n" * (inner - said.count("\n"))


def _table(statement: list[Token]) -> str:
    """CREATE TABLE with the names of the columns alone."""
    names: list[str] = []
    table, depth, is_first = "", 0, False
    for kind, text in statement:
        if kind == "blank":
            continue
        if depth == 0 and kind == "name":
            table = text
        if is_first and depth == 1 and (kind == "name" or (kind == "word" and text.upper() not in _NO_COLUMNS)):
            names.append(_name(text))
        depth += (text == "(") - (text == ")")
        is_first = text in ("(", ",") and depth == 1
    return f"CREATE TABLE {_name(table)} ({', '.join(names)});"


def _row_part(statement: list[Token]) -> Iterator[str]:
    """INSERT with strings and names as SQLite has them."""
    for place, (kind, text) in enumerate(statement):
        if kind == "string":
            yield _string(text)
        elif kind == "name":
            yield _name(text)
        elif kind == "hex":
            yield f"X'{text[2:]}'"
        elif kind == "blank" and text.lstrip()[:1] in ("#", "/", "-"):
            yield "\n" * text.count("\n") or " "
        elif kind == "word" and text.upper() == "IGNORE" and place < 4:
            yield "OR IGNORE"
        elif kind == "word" and _CHARSET.fullmatch(text) and _is_before_string(statement[place + 1 :]):
            continue
        else:
            yield text


def _is_before_string(tokens: list[Token]) -> bool:
    """Whether a string comes next, of which a word such as ``_binary`` says how it is encoded."""
    return next((kind for kind, _ in tokens if kind != "blank"), "") in ("string", "hex")


def _string(text: str) -> str:
    sign = text[0]
    bare = text[1:-1] if len(text) > 1 and text[-1] == sign else text[1:]
    parts = re.split(r"(\\.)", bare, flags=re.DOTALL)
    plain = "".join(
        _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), part)
        if part[:1] == "\\"
        else part.replace(sign * 2, sign)
        for part in parts
    )
    return "'" + plain.replace("'", "''") + "'"


def _name(text: str) -> str:
    bare = text[1:-1].replace("``", "`") if text[:1] == "`" else text
    return '"' + bare.replace('"', '""') + '"'
