"""What one look found: well, wrong, or not to be known from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        area: which part of the installation.
        state: ``ok``; ``wrong``; ``unknown`` if it could not be seen.
        what: what was found, for people; never a secret.
        todo: what to change, or how to look by hand; empty if all is well.
    """

    area: str
    state: Literal["ok", "wrong", "unknown"]
    what: str
    todo: str = ""


def well(area: str, what: str) -> Finding:
    """As it should be."""
    return Finding(area, "ok", what)


def wrong(area: str, what: str, todo: str = "") -> Finding:
    """To be changed; without ``todo`` the words in ``what`` say how."""
    return Finding(area, "wrong", what, todo)


def unknown(area: str, what: str, todo: str) -> Finding:
    """Not to be seen from here; ``todo`` tells how to look by hand."""
    return Finding(area, "unknown", what, todo)
