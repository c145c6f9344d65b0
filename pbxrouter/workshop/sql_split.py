"""Splits SQL text into statements without running it.

It recognises strings, quoted names, comments and numbers. ``executescript`` of sqlite3 is no
substitute for text from outside: it gives no line numbers, and no statement can be checked first.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

# A string, name or comment that is not closed ends with the text; SQLite then reports the error.
_TOKEN: Final = re.compile(
    r"""
      (?P<fence>   ^[ \t]*```[\w-]*[ \t\r]*$ )
    | (?P<blank>   \s+ | --[^\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<literal> '[^']*(?:''[^']*)*(?:'|\Z) )
    | (?P<name>   "[^"]*(?:""[^"]*)*(?:"|\Z) | `[^`]*(?:``[^`]*)*(?:`|\Z) | \[[^\]]*(?:\]|\Z) | [^\W\d][\w$]*)
    | (?P<number>  \.?\d+ (?: [eE][+-]?\d+ | [\w.] )* )
    | (?P<end>     ; )
    | (?P<other>   . )
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
# Digits that SQLite would change: a leading zero, or more than 64 bits.
_KEPT_AS_TEXT: Final = re.compile(r"0\d+|\d{19,}")
_HEAD_TOKENS: Final = 8


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL statement.

    Attributes:
        text: the statement; it may hold secrets, so repr leaves it out.
        line: the line of the source in which it begins, from 1.
        head: its beginning, up to the first value; safe to show.
        words: its first words in upper case, names without quotes.
    """

    text: str = field(repr=False)
    line: int
    head: str
    words: tuple[str, ...]


def split(source: str, keep_digits: bool = False) -> Iterator[Statement]:
    """Split SQL text into its statements; the last one needs no ``;``.

    Lines that mark a code block (three backquotes) are skipped, for SQL that was copied from a
    web page.

    Args:
        source: the SQL text.
        keep_digits: quote numbers such as 0123, which SQLite 2 stored as they were written.
    """
    text: list[str] = []
    head: list[str] = []
    head_open = True
    begin = line = 1
    for token in _TOKEN.finditer(source):
        kind, value = token.lastgroup, token.group()
        if kind in ("fence", "blank"):
            if text:
                text.append(value if kind == "blank" else " ")
        elif kind == "end":
            text.append(value)
            if text != [";"] and _is_whole(head, text):
                yield _statement(text, begin, head)
                text, head, head_open = [], [], True
            elif text == [";"]:
                text = []
        else:
            if not text:
                begin = line
            if head_open and kind == "name" and len(head) < _HEAD_TOKENS and not any(map(str.isdigit, value)):
                head.append(value)
            elif value != ".":
                head_open = False
            text.append(f"'{value}'" if keep_digits and kind == "number" and _KEPT_AS_TEXT.fullmatch(value) else value)
        line += value.count("\n")
    if text:
        yield _statement(text, begin, head)


def _is_whole(head: list[str], text: list[str]) -> bool:
    # Only the body of a trigger contains semicolons.
    if not (head and head[0].upper() == "CREATE"):
        return True
    # NUL and half a surrogate pair are no matter here: SQLite refuses them where the statement is run.
    plain = "".join(text).replace("\0", "?").encode("utf-8", "replace").decode("utf-8")
    return sqlite3.complete_statement(plain)


def _statement(text: list[str], line: int, head: list[str]) -> Statement:
    words = tuple(word.strip('"[]`').upper() for word in head)
    return Statement("".join(text).strip(), line, " ".join(" ".join(head).split()) or "statement", words)
