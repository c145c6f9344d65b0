"""The result of one check: ok, wrong, or unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from pbxrouter.text import Sentence

NOTHING: Final = Sentence("")
"""An empty sentence."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        area_sentence: the part of the installation.
        state: ``ok``, ``wrong``, or ``unknown`` if it could not be checked.
        what_sentence: what was found; never a secret.
        todo_sentence: what to change, or how to check it by hand; empty if nothing is to be done.
    """

    area_sentence: Sentence
    state: Literal["ok", "wrong", "unknown"]
    what_sentence: Sentence
    todo_sentence: Sentence = NOTHING

    @property
    def area(self) -> str:
        """The part of the installation, in English."""
        return self.area_sentence.english

    @property
    def what(self) -> str:
        """What was found, in English."""
        return self.what_sentence.english

    @property
    def todo(self) -> str:
        """What to change, in English."""
        return self.todo_sentence.english


def ok(area: Sentence, what: Sentence) -> Finding:
    """A finding that is as it should be."""
    return Finding(area, "ok", what)


def wrong(area: Sentence, what: Sentence, todo: Sentence = NOTHING) -> Finding:
    """A problem; without ``todo``, ``what`` says what to change."""
    return Finding(area, "wrong", what, todo)


def unknown(area: Sentence, what: Sentence, todo: Sentence) -> Finding:
    """Something that cannot be checked from here; ``todo`` says how to check it by hand."""
    return Finding(area, "unknown", what, todo)
