"""Makes text from outside safe to show on one line."""

from __future__ import annotations

import re
from typing import Final

_PLAIN: Final = re.compile(r"[\w./:;@+*#-]+", re.ASCII)


def printable(text: str) -> str:
    """Escape control characters, so that text from outside is one line in a log or on a terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


def log_field(text: str) -> str:
    """One field of a log line that programs read: in quotes unless it is a plain name or number.

    Within quotes a quote and a backslash have a backslash before them, so that no text from outside ends its field.
    """
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{printable(escaped)}"'
