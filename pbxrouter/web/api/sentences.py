"""Sentences as the API shows them: so that a program can show them in another language, too."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from pbxrouter.text.sentences import Step


class Sentence(msgspec.Struct, frozen=True):
    """A sentence with places, and what stands in them."""

    message: str
    values: dict[str, str]
    words: Annotated[str, Meta(description="Both together, in English.")]


def sentence(step: Step) -> Sentence:
    """A step as the API shows it."""
    return Sentence(step.message, {name: str(value) for name, value in step.values.items()}, step.words)
