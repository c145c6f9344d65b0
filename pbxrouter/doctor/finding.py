"""What one look found: well, wrong, or not to be known from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from pbxrouter.text.sentences import Step

NOTHING: Final = Step("")
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

    area_step: Step
    state: Literal["ok", "wrong", "unknown"]
    what_step: Step
    todo_step: Step = NOTHING

    @property
    def area(self) -> str:
        """Which part, in English."""
        return self.area_step.words

    @property
    def what(self) -> str:
        """What was found, in English."""
        return self.what_step.words

    @property
    def todo(self) -> str:
        """What to change, in English."""
        return self.todo_step.words


def well(area: Step, what: Step) -> Finding:
    """As it should be."""
    return Finding(area, "ok", what)


def wrong(area: Step, what: Step, todo: Step = NOTHING) -> Finding:
    """To be changed; without ``todo`` the words in ``what`` say how."""
    return Finding(area, "wrong", what, todo)


def unknown(area: Step, what: Step, todo: Step) -> Finding:
    """Not to be seen from here; ``todo`` tells how to look by hand."""
    return Finding(area, "unknown", what, todo)
