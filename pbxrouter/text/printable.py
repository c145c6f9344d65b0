"""Makes text from outside safe to show on one line."""

from __future__ import annotations

import re
from typing import Final

_PLAIN: Final = re.compile(r"[\w./:;@+*#-]+", re.ASCII)

MAX_PRINTABLE: Final = 8000
"""Characters that ``printable`` shows at most, unless it is told another number."""
MAX_LOG_FIELD: Final = 200
"""Characters of a field of a log line that programs read."""


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


def log_field(text: str) -> str:
    """One field of a log line that programs read: in quotes unless it is a plain name or number.

    Within quotes a quote and a backslash have a backslash before them, so that no text from outside ends its field.
    A text longer than MAX_LOG_FIELD is cut.
    """
    text = cut(text, MAX_LOG_FIELD)
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{printable(escaped)}"'
