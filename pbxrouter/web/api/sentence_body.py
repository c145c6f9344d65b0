"""The JSON form of a translatable sentence."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from pbxrouter.text import Sentence


class SentenceBody(msgspec.Struct, frozen=True):
    """A sentence with placeholders, and the values for them; ``message`` is the key for translations."""

    message: str
    values: dict[str, str]
    words: Annotated[str, Meta(description="Both together, in English.")]


def sentence_body(sentence: Sentence) -> SentenceBody:
    """The JSON form of a sentence."""
    values = {name: str(value) for name, value in sentence.values.items()}
    return SentenceBody(sentence.message, values, sentence.english)
