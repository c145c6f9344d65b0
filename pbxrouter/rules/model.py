"""The values that rules are made of: mappings, users, the facts of a call, the decision about it."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field, replace
from typing import Final

from pbxrouter.text import Sentence, printable

MAX_NUMBER: Final = 80
"""Characters of a number that can be dialled; an extension of Asterisk's has fewer."""
_NUMBER: Final = re.compile(r"[0-9*#+-]+")
NO_CALLER: Final = "unknown"
"""What Asterisk writes for a call without a caller number (docs/asterisk.md A1)."""


def normalise_number(text: str) -> str | None:
    """Remove dashes, which Asterisk ignores, from a dialled number; None if it is not a number.

    Accepted are at most MAX_NUMBER digits, ``*``, ``#``, ``+`` and ``-``; so no ``&``, ``,`` or ``/``
    ever reaches Dial (docs/asterisk.md A7).
    """
    if len(text) > MAX_NUMBER or not _NUMBER.fullmatch(text):
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
    """A person who is identified by a PIN, and the mappings granted to them.

    Attributes:
        max_calls: calls that the PIN may have at once.
    """

    name: str
    grants: frozenset[int]
    max_calls: int = 2


@dataclass(frozen=True, slots=True)
class Forwarder:
    """A phone, trunk or number that forwarded a call: by a forward (SIP 302), a transfer or parking.

    Attributes:
        endpoint: of its channel, such as ``PJSIP/21``; ``""`` if only its number is known.
        number: its number; None if only its endpoint is known.
        is_trunk: whether the endpoint is one of the trunks.
    """

    endpoint: str = ""
    number: str | None = None
    is_trunk: bool = False

    @property
    def name(self) -> str:
        """How it is shown: the number, or the endpoint."""
        return self.number or self.endpoint


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of a call that a decision depends on.

    Attributes:
        caller: the calling number as Asterisk gives it; None if it gives none.
        number: the dialled number, unchanged.
        pin: the digits that the caller keyed as PIN; None before the PIN prompt.
        endpoint: the endpoint by which the call came, such as ``PJSIP/33``; ``""`` if it is not known.
        by_trunk: whether that endpoint is one of the trunks, so that the caller number proves nothing.
        forwarders: who forwarded the call, as Asterisk itself tells; they answer for it in place of the caller, and
            each must be allowed.
        claimed_forwarder: who forwarded the call by its own claim, without proof; caller and forwarder must be allowed.
        asterisk: the Asterisk that the call came from, by its name in the settings; ``""`` if it is not known.
    """

    caller: str | None
    number: str
    pin: str | None = field(default=None, repr=False)
    endpoint: str = ""
    by_trunk: bool = False
    forwarders: tuple[Forwarder, ...] = ()
    claimed_forwarder: Forwarder | None = None
    asterisk: str = ""

    @property
    def forwarded_by(self) -> str:
        """Who forwarded the call, proven or claimed; ``""`` if it was not forwarded."""
        forwarders = self.forwarders or ((self.claimed_forwarder,) if self.claimed_forwarder else ())
        return printable(", ".join(forwarder.name for forwarder in forwarders))


class Verdict(enum.Enum):
    """The result of a decision."""

    ALLOW = "allow"
    """Run the application."""
    PIN = "pin"
    """Ask for a PIN."""
    DENY = "deny"
    """Refuse: the PIN does not grant this mapping."""
    INVALID = "invalid"
    """Refuse: no mapping matches the number."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision about a call, with its trace.

    Attributes:
        number: the dialled number without dashes; as dialled if it is none.
        mapping: the mapping whose pattern won; None if none matches.
        granted_by: extension or user whose grant allowed it; None if not allowed.
        trace: why, one sentence for each step, in order.
        extension: the extension that answers for the call: the caller's, or that of its forwarder; None if it is
            not among the extensions.
        user: the user whose PIN was keyed, whether or not it granted the mapping.
        max_calls: calls that this user's PIN may have at once; None if no PIN allowed the call.
        forwarded_by: who forwarded the call, proven or claimed; ``""`` if it was not forwarded.
        problem: why the application cannot work for this call, by its driver; None if nothing speaks against it.
        action: what Asterisk is told to run, such as ``Dial(PJSIP/21,60,i)``; ``""`` if that is not known.
    """

    verdict: Verdict
    number: str
    mapping: Mapping | None
    granted_by: str | None
    trace: tuple[Sentence, ...]
    extension: str | None = None
    user: str | None = None
    max_calls: int | None = None
    forwarded_by: str = ""
    problem: Sentence | None = None
    action: str = ""

    @property
    def is_allowed(self) -> bool:
        """Whether the rules allow it and nothing speaks against its working."""
        return self.verdict is Verdict.ALLOW and self.problem is None

    @property
    def cannot_work(self) -> bool:
        """Whether the rules allow what cannot work."""
        return self.verdict is Verdict.ALLOW and self.problem is not None

    def trace_lines(self) -> list[str]:
        """The trace as English sentences."""
        return [entry.english for entry in self.trace]

    def noting(self, entry: Sentence) -> Decision:
        """Return the same decision with one more step in its trace."""
        return replace(self, trace=(*self.trace, entry))
