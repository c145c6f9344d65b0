"""The rules: who may dial what, and what a call comes to.

A RuleSet is all of them at one moment, never changed, only replaced as a whole, so
that a decision is made on rules that belong together. ``decide`` turns Facts into a
Decision and says why.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Container
from dataclasses import dataclass, field, replace
from typing import Final

from pbxrouter.text import Sentence, sentence

_NUMBER: Final = re.compile(r"[0-9*#+-]+")
NO_CALLER: Final = "unknown"
"""What Asterisk writes where a call shows no number (facts A1)."""


def normalise_number(text: str) -> str | None:
    """A dialled number without its dashes, which mean nothing; None if it is no number.

    Accepted are digits, ``*``, ``#``, ``+`` and ``-``; so no ``&``, ``,`` or ``/``
    ever reaches Dial (facts A7).
    """
    if not _NUMBER.fullmatch(text):
        return None
    return text.replace("-", "") or None


@dataclass(frozen=True, slots=True)
class Mapping:
    """A pattern and the application it leads to (table applications_mappings)."""

    map_id: int
    pattern: str
    application: str
    data: str
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class User:
    """Somebody known by a PIN, and the mappings granted to them."""

    name: str
    grants: frozenset[int]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a call when it is decided.

    Attributes:
        caller: the number that calls, as Asterisk says it; None where it says none.
        number: what was dialled, as dialled.
        pin: the digits keyed when asked for a PIN; None if not asked yet.
    """

    caller: str | None
    number: str
    pin: str | None = field(default=None, repr=False)


class Verdict(enum.Enum):
    """What a call comes to."""

    ALLOW = "allow"
    """The application is run."""
    PIN = "pin"
    """A PIN is asked for."""
    DENY = "deny"
    """The PIN given does not open this mapping."""
    INVALID = "invalid"
    """Nothing is at that number."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to happen with a call, and why.

    Attributes:
        number: the dialled number without dashes; as dialled if it is none.
        mapping: the mapping whose pattern won; None if none matches.
        granted_by: extension or user whose grant allowed it; None if not allowed.
        trace: the steps that led here, in order.
        extension: the caller's number if it is among the extensions.
        user: whose PIN was keyed, whether or not it opened the mapping.
    """

    verdict: Verdict
    number: str
    mapping: Mapping | None
    granted_by: str | None
    trace: tuple[Sentence, ...]
    extension: str | None = None
    user: str | None = None

    def trace_lines(self) -> list[str]:
        """The trace as English sentences."""
        return [entry.english for entry in self.trace]

    def noting(self, entry: Sentence) -> Decision:
        """The same decision with one step more."""
        return replace(self, trace=(*self.trace, entry))

    def checked_for_driver(self, applications: Container[str]) -> Decision:
        """The same, with a step more if nobody provides the application it leads to.

        Args:
            applications: the names that drivers provide, lower case.
        """
        if self.mapping is None or self.verdict is Verdict.DENY or self.mapping.application.lower() in applications:
            return self
        return self.noting(sentence("no driver provides the application {name}", name=self.mapping.application))
