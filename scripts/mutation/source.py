"""The text of a file, places in it, and what a mutant makes of it."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol


class Placed(Protocol):
    """A node of the syntax tree that has a place in the text."""

    lineno: int
    col_offset: int
    end_lineno: int | None
    end_col_offset: int | None


class Edit(NamedTuple):
    """A change of the text: its kind, which bytes are replaced, and by what."""

    operator: str
    start: int
    end: int
    text: str


class Source:
    """A module's text, in bytes as the syntax tree counts them."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        self.data = data
        self.tree = ast.parse(data)
        self._starts = [0]
        for line in data.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    @cached_property
    def meaning(self) -> str:
        """The syntax tree without places and comments."""
        return ast.dump(self.tree)

    @cached_property
    def enums(self) -> dict[str, list[str]]:
        """The members of enums that the module names, by the enum: its states, outcomes, verdicts."""
        found: dict[str, set[str]] = defaultdict(set)
        for node in ast.walk(self.tree):
            match node:
                case ast.Attribute(value=ast.Name(id=enum), attr=member) if member.isupper():
                    found[enum].add(member)
        is_class = re.compile(r"_?[A-Z]\w*[a-z]")
        return {name: sorted(members) for name, members in found.items() if is_class.match(name)}

    def start(self, node: ast.AST) -> int:
        """The position at which a node begins."""
        placed: Placed = node  # type: ignore[assignment]
        return self._starts[placed.lineno - 1] + placed.col_offset

    def end(self, node: ast.AST) -> int:
        """The position at which a node ends."""
        placed: Placed = node  # type: ignore[assignment]
        assert placed.end_lineno is not None and placed.end_col_offset is not None
        return self._starts[placed.end_lineno - 1] + placed.end_col_offset

    def text(self, node: ast.AST) -> str:
        """The text of a node."""
        return self.data[self.start(node) : self.end(node)].decode()

    def between(self, left: ast.AST, right: ast.AST) -> str:
        """The text between two nodes."""
        return self.data[self.end(left) : self.start(right)].decode()

    def replaced(self, operator: str, node: ast.AST, text: str) -> Edit:
        """The edit that puts a text in a node's place."""
        return Edit(operator, self.start(node), self.end(node), text)

    def line_of(self, offset: int) -> int:
        """The line of a place, from 1."""
        return self.data.count(b"\n", 0, offset) + 1


@dataclass(frozen=True)
class Mutant:
    """A file with one change.

    Attributes:
        function: the dotted name of the function or class that holds the change; "" for the module itself.
        lines: the first and last line that a test must reach to notice.
        on_import: whether the changed code runs when the module is imported.
        body: the first and last line of the function's body; none for code that runs on import.
    """

    source: Source
    edit: Edit
    function: str
    lines: tuple[int, int]
    on_import: bool
    body: tuple[int, int] = (0, -1)

    @property
    def path(self) -> Path:
        """The file, below the root."""
        return self.source.path

    @property
    def line(self) -> int:
        """The line of the change."""
        return self.source.line_of(self.edit.start)

    @property
    def data(self) -> bytes:
        """The file's text with the change."""
        edit, data = self.edit, self.source.data
        return data[: edit.start] + edit.text.encode() + data[edit.end :]

    @cached_property
    def before(self) -> str:
        """The changed lines as they are, as one."""
        return self._lines(self.source.data, self.edit.end)

    @cached_property
    def after(self) -> str:
        """The changed lines with the change, as one."""
        return self._lines(self.data, self.edit.start + len(self.edit.text.encode()))

    @property
    def key(self) -> tuple[str, str, str, str]:
        """A name for this mutant that stays when lines above it are added or removed."""
        return (self.path.as_posix(), self.function, self.before, self.after)

    def is_valid(self) -> bool:
        """Whether the text is still Python, and another program."""
        try:
            tree = ast.parse(self.data)
        except (SyntaxError, ValueError):
            return False
        return ast.dump(tree) != self.source.meaning

    def _lines(self, data: bytes, end: int) -> str:
        first = data.rfind(b"\n", 0, self.edit.start) + 1
        last = data.find(b"\n", end)
        text = data[first : last if last >= 0 else len(data)].decode()
        return " ".join(line.strip() for line in text.splitlines() if line.strip())
