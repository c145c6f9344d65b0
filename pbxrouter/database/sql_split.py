"""SQL text, cut into statements, without running any of it.

Knows only what is needed to cut in the right places: strings, quoted names, comments,
numbers. sqlite3 has ``executescript`` for whole scripts, but that commits what is open,
tells no line number, and lets no statement be looked at first.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

# What is not closed ends with the text: SQLite then says what it thinks of that.
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
# Digits which SQLite would not give back as they are: a leading zero, or more than 64 bits.
_KEPT_AS_TEXT: Final = re.compile(r"0\d+|\d{19,}")
_HEAD_TOKENS: Final = 8


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement.

    Attributes:
        text: the statement; it may hold secrets, so no repr shows it.
        line: where in the source it begins, from 1.
        head: its beginning, up to the first value: fit to be shown.
        words: its first words in upper case, quotes taken off names.
    """

    text: str = field(repr=False)
    line: int
    head: str
    words: tuple[str, ...]


def split(source: str, keep_digits: bool = False) -> Iterator[Statement]:
    """Cut SQL text into its statements; a last one without ``;`` counts.

    Lines that mark a code block (three backquotes) are left out: that is how SQL
    comes out of a page on the web.

    Args:
        source: the SQL text.
        keep_digits: put quotes around 0123, as SQLite 2 would have kept it.
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
    # Only the body of a trigger has ; inside.
    return not (head and head[0].upper() == "CREATE") or sqlite3.complete_statement("".join(text))


def _statement(text: list[str], line: int, head: list[str]) -> Statement:
    words = tuple(word.strip('"[]`').upper() for word in head)
    return Statement("".join(text).strip(), line, " ".join(" ".join(head).split()) or "statement", words)
