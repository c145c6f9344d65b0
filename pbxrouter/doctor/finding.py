"""What one look found: well, wrong, or not to be known from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from pbxrouter.text import Sentence

NOTHING: Final = Sentence("")
"""Nothing to say."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        area_step: which part of the installation.
        state: ``ok``; ``wrong``; ``unknown`` if it could not be seen.
        what_step: what was found, for people; never a secret.
        todo_step: what to change, or how to look by hand; empty if all is well.
    """

    area_step: Sentence
    state: Literal["ok", "wrong", "unknown"]
    what_step: Sentence
    todo_step: Sentence = NOTHING

    @property
    def area(self) -> str:
        """Which part, in English."""
        return self.area_step.english

    @property
    def what(self) -> str:
        """What was found, in English."""
        return self.what_step.english

    @property
    def todo(self) -> str:
        """What to change, in English."""
        return self.todo_step.english


def well(area: Sentence, what: Sentence) -> Finding:
    """As it should be."""
    return Finding(area, "ok", what)


def wrong(area: Sentence, what: Sentence, todo: Sentence = NOTHING) -> Finding:
    """To be changed; without ``todo`` the words in ``what`` say how."""
    return Finding(area, "wrong", what, todo)


def unknown(area: Sentence, what: Sentence, todo: Sentence) -> Finding:
    """Not to be seen from here; ``todo`` tells how to look by hand."""
    return Finding(area, "unknown", what, todo)
