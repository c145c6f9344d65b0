"""What the edits have in common: how a text is checked, and what is said of what is gone."""

from __future__ import annotations

from typing import Final

from pbxrouter.errors import EditRefused, NotThere
from pbxrouter.text import Sentence, sentence

MAX_NAME: Final = 80
"""Characters in a name or a number."""


def no_mapping(map_id: int) -> NotThere:
    """What is said of a number that no mapping has."""
    return NotThere(sentence("there is no mapping {number}", number=map_id))


def no_holder(kind: str, row_id: int) -> NotThere:
    """What is said of a number that no extension, or no user, has."""
    return NotThere(sentence(_GONE[kind].message, number=row_id))


_GONE: Final = {
    "extension": Sentence("there is no extension {number}"),
    "user": Sentence("there is no user {number}"),
}


def checked_text(text: str, field: str, refusal: Sentence, most: int) -> str:
    """Text without blanks around it.

    Raises:
        EditRefused: it is empty, too long, or holds what cannot be printed; in the words given.
    """
    text = text.strip()
    if not text or len(text) > most or not text.isprintable():
        raise EditRefused(refusal, field)
    return text
