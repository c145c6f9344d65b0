"""The result of one check, and of all: ok, wrong, or unknown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from pbxrouter.text import Sentence

NOTHING: Final = Sentence("")
"""An empty sentence."""

AS_OWNER: Final = Sentence("run this as the gateway's own user, or root")
"""What to do about a file that this user may not read."""

State = Literal["ok", "wrong", "unknown"]


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
    state: State
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


@dataclass(frozen=True, slots=True)
class Counts:
    """How many findings there are of each state.

    Attributes:
        ok: checks that found all as it should be.
        wrong: problems.
        unknown: checks that could not be made.
    """

    ok: int = 0
    wrong: int = 0
    unknown: int = 0

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Counts:
        """Count findings."""
        states = [finding.state for finding in findings]
        return cls(states.count("ok"), states.count("wrong"), states.count("unknown"))

    @property
    def state(self) -> State:
        """The state of the whole: ``ok`` only if all has been checked; ``unknown`` if nothing has been."""
        if self.wrong:
            return "wrong"
        return "ok" if self.ok and not self.unknown else "unknown"


def ok(area: Sentence, what: Sentence) -> Finding:
    """A finding that is as it should be."""
    return Finding(area, "ok", what)


def wrong(area: Sentence, what: Sentence, todo: Sentence = NOTHING) -> Finding:
    """A problem; without ``todo``, ``what`` says what to change."""
    return Finding(area, "wrong", what, todo)


def unknown(area: Sentence, what: Sentence, todo: Sentence) -> Finding:
    """Something that cannot be checked from here; ``todo`` says how to check it by hand."""
    return Finding(area, "unknown", what, todo)
