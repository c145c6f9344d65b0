"""Mutants of constants: SQL, regular expressions and lists of words in strings, and other values."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from .source import Edit, Source

_SQL: Final = re.compile(
    r"\s*(?:select|insert|update|delete|with|create)\s.*\b(?:from|into|set|as|table)\b", re.I | re.S
)
_SQL_SWAPS: Final = (
    (r"(?<![<>=!])<(?![<>=])", "<="),
    (r"(?<![<>=!])>(?![<>=])", ">="),
    (r"<=", "<"),
    (r">=", ">"),
    (r"(?<=\s)=(?=\s)", "<>"),
    (r"<>|!=", "="),
    (r"\bAND\b", "OR"),
    (r"\bOR\b(?! (?:IGNORE|REPLACE|ABORT|FAIL))", "AND"),
    (r"\bIS NOT NULL\b", "IS NULL"),
    (r"\bIS NULL\b", "IS NOT NULL"),
    (r"\bNOT IN\b", "IN"),
    (r" DESC\b", ""),
    (r"\bmin\(", "max("),
    (r"\bmax\(", "min("),
    (r"\bLEFT JOIN\b", "JOIN"),
    (r"\bDISTINCT\b", ""),
    (r"\bUNION ALL\b", "UNION"),
    (r"\bOR IGNORE\b", ""),
    (r"\bEXISTS\b(?! \w)", "NOT EXISTS"),
    (r"(?<=\s)\+(?=\s)", "-"),
)
_ONE_COLUMN: Final = re.compile(r"\s*(?:PRAGMA\s+\w+\s*$|SELECT\s+(?:DISTINCT\s+)?[^,]+?\s+FROM\b)", re.I)
_SENTENCES: Final = frozenset({"sentence", "Sentence"})
_STRIPS: Final = frozenset({"strip", "lstrip", "rstrip"})
_REGEX_USERS: Final = frozenset({"compile", "match", "fullmatch", "search", "sub", "split", "finditer", "findall"})


def constant(source: Source, node: ast.Constant, parent: ast.AST) -> Iterator[Edit]:
    """Other values for a constant."""
    value = node.value
    if isinstance(value, bool):
        yield source.replaced("boolean", node, str(not value))
    elif isinstance(value, int | float):
        for other in dict.fromkeys((value + 1, value - 1, 0)):
            if other != value and not (other == -1 and _has_one_column(parent)):
                text = repr(other) if other >= 0 else f"({other!r})"
                yield source.replaced("number", node, text)
    elif isinstance(value, str | bytes):
        yield from _string(source, node, value, parent)


def _has_one_column(node: ast.AST) -> bool:
    """Whether a subscript is of a row with one column, as ``execute("SELECT a …").fetchone()`` gives: first is last."""
    match node:
        case ast.Subscript(
            value=ast.Call(
                func=ast.Attribute(
                    attr="fetchone",
                    value=ast.Call(func=ast.Attribute(attr="execute"), args=[ast.Constant(value=str(query)), *_]),
                )
            )
        ):
            return bool(_ONE_COLUMN.match(query))
    return False


def _string(source: Source, node: ast.Constant, value: str | bytes, parent: ast.AST) -> Iterator[Edit]:
    called = parent.func if isinstance(parent, ast.Call) else None
    if isinstance(called, ast.Name) and called.id in _SENTENCES and parent.args[0] is node:  # type: ignore[attr-defined]
        yield source.replaced("sentence", node, '"XX"')
        return
    if isinstance(called, ast.Name) and called.id in ("frozenset", "set") and len(value) > 1:  # of characters
        for rest in (value[1:], value[:-1]):
            yield source.replaced("member left out", node, repr(rest))
        return
    if isinstance(called, ast.Attribute) and called.attr in _STRIPS:
        # One sign more to strip is nothing that a text need have.
        yield source.replaced("string", node, '"XX"' if isinstance(value, str) else 'b"XX"')
        return
    special = list(_special(source, node, value, parent))
    yield from special
    if not special:
        written = source.text(node)
        if isinstance(value, str) and " " in value.strip():
            # Tests look for the part of a sentence that matters, so all of it goes.
            yield source.replaced("string", node, '"XX"')
            return
        if "\n" in written:
            return
        opening = re.match(r"""[A-Za-z]*("{3}|'{3}|"|')""", written)
        if opening:
            at = source.start(node) + opening.end()
            yield Edit("string", at, at, "XX")


def _special(source: Source, node: ast.Constant, value: str | bytes, parent: ast.AST) -> Iterator[Edit]:
    if isinstance(parent, ast.Attribute) and parent.attr == "split" and isinstance(value, str):
        yield from _words(source, node)
    elif isinstance(value, str) and _SQL.match(value):
        yield from _sql(source, node)
    elif _is_regex(parent, node):
        yield from _regex(source, node)


def _words(source: Source, node: ast.Constant) -> Iterator[Edit]:
    for found in re.finditer(r"[^\s\"']+", source.text(node)):
        at = source.start(node)
        yield Edit("word of a list removed", at + found.start(), at + found.end(), "")


def _sql(source: Source, node: ast.Constant) -> Iterator[Edit]:
    at, written = source.start(node), source.text(node)
    for pattern, other in _SQL_SWAPS:
        for found in re.finditer(pattern, written):
            first = at + len(written[: found.start()].encode())
            yield Edit("SQL", first, first + len(found.group().encode()), other)


def _is_regex(parent: ast.AST, node: ast.Constant) -> bool:
    return (
        isinstance(parent, ast.Call)
        and isinstance(parent.func, ast.Attribute)
        and isinstance(parent.func.value, ast.Name)
        and parent.func.value.id == "re"
        and parent.func.attr in _REGEX_USERS
        and bool(parent.args)
        and parent.args[0] is node
    )


def _regex(source: Source, node: ast.Constant) -> Iterator[Edit]:
    written, at = source.text(node), source.start(node)

    def edit(start: int, end: int, text: str) -> Edit:
        first = at + len(written[:start].encode())
        return Edit("regular expression", first, first + len(written[start:end].encode()), text)

    for start, end in alternatives(written):
        yield edit(start, end, "")
    for place, sign in _bare(written):
        if sign in "+*" and written[place - 1] not in "(|":
            yield edit(place, place + 1, "*" if sign == "+" else "+")
        elif sign in "^$" or (sign == "?" and written[place - 1] not in "(+*}"):
            yield edit(place, place + 1, "")


def _bare(written: str) -> Iterator[tuple[int, str]]:
    """The characters of a regular expression that are neither escaped nor in a set."""
    place, in_set = 0, False
    while place < len(written):
        sign = written[place]
        if sign == "\\":
            place += 1
        elif in_set:
            in_set = sign != "]"
        elif sign == "[":
            in_set = True
            if written[place + 1 : place + 2] == "^":
                place += 1
            if written[place + 1 : place + 2] == "]":
                place += 1
        else:
            yield place, sign
        place += 1


def alternatives(written: str) -> Iterator[tuple[int, int]]:
    """The parts to cut from a regular expression, each an alternative with its bar."""
    if "\n" in written:
        return
    begins = re.match(r"""[A-Za-z]*["']""", written)
    groups: list[list[int]] = [[begins.end() if begins else 0]]
    for place, sign in _bare(written[:-1]):
        if sign == "(":
            opening = re.compile(r"\((?:\?(?:P<\w+>|[:=!]|<[=!]))?").match(written, place)
            groups.append([opening.end() if opening else place + 1])
        elif sign == "|":
            groups[-1].append(place + 1)
        elif sign == ")" and len(groups) > 1:
            yield from _cuts([*groups.pop(), place + 1])
    yield from _cuts([*groups.pop(), len(written)])


def _cuts(begins: list[int]) -> Iterator[tuple[int, int]]:
    for index, begin in enumerate(begins[:-1]):
        if len(begins) > 2:
            last = index == len(begins) - 2
            yield (begin - 1, begins[index + 1] - 1) if last else (begin, begins[index + 1])
