"""Makes text from outside safe to show on one line."""

from __future__ import annotations

from typing import Final

MAX_PRINTABLE: Final = 8000
"""Characters that ``printable`` shows at most, unless it is told another number."""


def printable(text: str, most: int = MAX_PRINTABLE) -> str:
    """Escape control characters, so that text from outside is one line in a log or on a terminal.

    Escaped is what Unicode does not print: controls, line separators, marks that turn the direction of writing,
    surrogates (bytes that were not UTF-8). A longer text is cut, see ``cut``.
    """
    text = cut(text, most)
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


def cut(text: str, most: int) -> str:
    """Text of at most so many characters; of a longer one the beginning, and how long it was."""
    return text if len(text) <= most else f"{text[:most]}… (cut, {len(text)} characters)"
