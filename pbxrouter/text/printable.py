"""Makes text from outside safe to show on one line."""

from __future__ import annotations


def printable(text: str) -> str:
    """Escape control characters, so that text from outside is one line in a log or on a terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )
