"""Finds out whether a mapping can ever be chosen, and if not, which others always win.

A pattern is shadowed by others if each number that it matches is won by one of them, such as
``[12]X`` by ``1X`` and ``2X``. The search is by counterexample: find a number that the
pattern matches and no winner found so far does, look up its winner in the rules, and repeat
with that winner added, until the pattern itself wins or no number is left. So only the few
patterns that matter are examined, among any number of rules.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from pbxrouter.rules.model import Mapping
from pbxrouter.rules.patterns import Pattern, Wildcards
from pbxrouter.rules.ruleset import RuleSet

DIALABLE: Final = "0123456789*#+"
"""Every character that a number can hold (rules.normalise_number)."""
MAX_WINNERS: Final = 256
"""Winners after which a pattern is left undecided."""
MAX_NODES: Final = 4000
"""Steps of the search for one mapping, all rounds together: at worst about 20 ms."""
MAX_TIDIED: Final = 8
"""Winners up to which the unnecessary ones are removed."""

_KEYS: Final = frozenset(DIALABLE)


class Reachability(enum.Enum):
    """Whether a mapping can be chosen."""

    WINS = "wins"
    """At least one number leads to it."""
    SHADOWED = "shadowed"
    """Each number that it matches leads to another mapping."""
    REPEATED = "repeated"
    """An earlier mapping has the same pattern; Asterisk loads only the first."""
    NOTHING = "nothing"
    """It matches no number that can be dialled."""
    NOT_KNOWN = "not known"
    """It is disabled, or the search takes too long."""


@dataclass(frozen=True, slots=True)
class ReachResult:
    """The result of ``reachability``.

    Attributes:
        number: a number that leads to the mapping; empty if there is none or it is not known.
        winners: the mappings that win in its place, if it is shadowed or repeated.
    """

    reachability: Reachability
    number: str = ""
    winners: tuple[Mapping, ...] = ()


_NOTHING: Final = ReachResult(Reachability.NOTHING)
_NOT_KNOWN: Final = ReachResult(Reachability.NOT_KNOWN)


def reachability(rules: RuleSet, map_id: int, nodes: int = MAX_NODES) -> ReachResult:
    """Find out whether a mapping can be chosen.

    Args:
        map_id: of a mapping whose pattern can be parsed (RuleSet.entries).
        nodes: maximum steps of the search.
    """
    pattern, mapping = rules.entries[map_id]
    number = example(pattern)
    if number is None:
        return _NOTHING
    if not mapping.enabled:
        return _NOT_KNOWN
    first = rules.repeated.get(map_id)
    if first is not None:
        return ReachResult(Reachability.REPEATED, winners=(first,))
    search: _Search | None = None
    winners: list[tuple[Pattern, Mapping]] = []
    try:
        while number is not None:
            winner = rules.winner(number)
            if winner is None or len(winners) == MAX_WINNERS:
                return _NOT_KNOWN
            if winner[1] is mapping:
                return ReachResult(Reachability.WINS, number)
            winners.append(winner)
            search = search or _Search(pattern, nodes)
            search.leave_out(winner[0])
            number = search.number()
        assert search is not None
        needed = _needed(pattern, winners, search.nodes)
    except _TooLong:
        return _NOT_KNOWN
    return ReachResult(Reachability.SHADOWED, winners=tuple(mapping for _, mapping in needed))


def example(pattern: Pattern) -> str | None:
    """A number that the pattern matches; None if it matches none that can be dialled."""
    if pattern.head.strip(DIALABLE):
        return None
    behind = _example_behind(pattern.rest)
    # A lone "!" matches the empty number too, which cannot be dialled.
    return None if behind is None else (pattern.head + behind) or DIALABLE[0]


def _example_behind(rest: Wildcards) -> str | None:
    found = [min(accepted & _KEYS, key=DIALABLE.index, default="") for accepted in rest.sets]
    if "" in found:
        return None
    return "".join(found) + (DIALABLE[0] if rest.tail == "." else "")


def _needed(pattern: Pattern, winners: list[tuple[Pattern, Mapping]], nodes: int) -> list[tuple[Pattern, Mapping]]:
    """Remove winners that the others cover together: all precede the pattern, so any cover is enough."""
    if len(winners) > MAX_TIDIED:
        return winners
    for winner in tuple(winners):
        others = [candidate for candidate in winners if candidate is not winner]
        search = _Search(pattern, nodes)
        for other, _ in others:
            search.leave_out(other)
        try:
            if others and search.number() is None:
                winners = others
        except _TooLong:
            break
    return winners


class _TooLong(Exception):
    """The search has used up its steps."""


class _Search:
    """Searches for a number that a pattern matches and others do not.

    Goes position by position, with the set of others that still match as the bits of an integer. A pair of
    position and set that has led to no number is not tried again.

    Attributes:
        nodes: steps that are left.
    """

    def __init__(self, pattern: Pattern, nodes: int) -> None:
        self.nodes = nodes
        self._tail = pattern.tail
        self._accepted = [*pattern.head, *("".join(sorted(items & _KEYS)) for items in pattern.rest.sets)]
        self._shortest = max(1, len(self._accepted) + (self._tail == "."))
        self._others = 0
        # By position, sets of the others: those that accept a character there, by character; those that
        # match a number that ends there; those that match every number from there on, behind which no search goes.
        self._accepting: list[dict[str, int]] = []
        self._ending: list[int] = []
        self._open: list[int] = []
        self._extend(self._shortest)

    def _extend(self, place: int) -> None:
        """Add positions up to this one; only patterns without a maximum length match there."""
        while len(self._open) <= place:
            going_on = self._open[-1] if self._open else 0
            here = len(self._open)
            characters = self._accepted[here] if here < len(self._accepted) else DIALABLE
            self._accepting.append(dict.fromkeys(characters, going_on))
            self._ending.append(going_on)
            self._open.append(going_on)

    def leave_out(self, other: Pattern) -> None:
        """Exclude the numbers that this pattern matches."""
        bit = 1 << self._others
        self._others += 1
        head, sets, tail = other.head, other.rest.sets, other.tail
        length = len(head) + len(sets)
        self._extend(length + 1)
        for place, accepting in enumerate(self._accepting):
            for character in accepting:
                if place < len(head):
                    accepts = head[place] == character
                else:
                    accepts = character in sets[place - len(head)] if place < length else bool(tail)
                if accepts:
                    accepting[character] |= bit
            if place == length and tail != ".":
                self._ending[place] |= bit
            if place >= length and tail:
                self._open[place] |= bit

    def number(self) -> str | None:
        """Find a number that is not excluded; None if there is none.

        Raises:
            _TooLong: the steps are used up.
        """
        prefix: list[str] = []
        return "".join(prefix) if self._found(0, (1 << self._others) - 1, prefix, set()) else None

    def _found(self, place: int, left: int, prefix: list[str], failed: set[tuple[int, int]]) -> bool:
        """Search on from a position where these others still match; appends the characters to ``prefix``."""
        may_end = place >= self._shortest and (self._tail or place == len(self._accepted))
        if may_end and not left & self._ending[place]:
            return True
        if place >= len(self._accepted) and not self._tail:
            return False
        if left & self._open[place] or (place, left) in failed:
            return False
        if not self.nodes:
            raise _TooLong
        self.nodes -= 1
        # One character of each kind is enough. The start varies: where plain numbers precede
        # the pattern, another character is more likely to be free.
        choices: dict[int, str] = {}
        accepting = self._accepting[place]
        characters = tuple(accepting)
        start = (7 * self._others + 3 * place) % len(characters)
        for character in characters[start:] + characters[:start]:
            choices.setdefault(left & accepting[character], character)
        for still_left in sorted(choices, key=int.bit_count):
            prefix.append(choices[still_left])
            if self._found(place + 1, still_left, prefix, failed):
                return True
            prefix.pop()
        failed.add((place, left))
        return False
