"""Checking texts, and the sentences that several edits share."""

from __future__ import annotations

from typing import Final

from pbxrouter.errors import EditRefused, NotThere
from pbxrouter.text import Sentence, sentence

MAX_NAME: Final = 80
"""The longest name or number, in characters."""
PIN_TAKEN: Final = Sentence("this PIN cannot be used; choose another one")
EXTENSION_TAKEN: Final = Sentence("there is already an extension with this number")


def no_mapping(map_id: int) -> NotThere:
    """The error for a mapping that does not exist."""
    return NotThere(sentence("there is no mapping {number}", number=map_id))


def checked_text(text: str, field: str, refusal: Sentence, most: int) -> str:
    """The text without surrounding blanks.

    Raises:
        EditRefused: it is empty, longer than ``most``, or not printable; the message is ``refusal``.
    """
    text = text.strip()
    if not text or len(text) > most or not text.isprintable():
        raise EditRefused(refusal, field)
    return text
