"""What is odd about the rules in force, in words that stand beside the rule they are about.

A warning changes nothing: the rules count as they are. For one page of a list only its own
mappings are looked at; a look at all of them comes in slices, for whoever wants to do something
between (rules.survey).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pbxrouter.rules.model import Mapping as Rule
from pbxrouter.rules.model import User
from pbxrouter.rules.ruleset import RuleSet
from pbxrouter.rules.shadows import Reachability, ReachResult, reachability
from pbxrouter.text import Sentence, sentence

NAMED: Final = 3
"""So many of the patterns that always win are named, the others counted."""
KEPT: Final = 20
"""Warnings of each kind that a survey keeps."""
SLICE: Final = 50
"""Extensions or users looked at before a pause."""

CODES: Final = (
    "problem",
    "unreadable",
    "never-matches",
    "shadowed",
    "nobody",
    "no-driver",
    "no-pin",
    "no-grant",
)
"""Every kind of warning, the graver ones first."""
NOTES: Final = frozenset({"no-pin", "no-grant"})
"""Kinds that may well be meant so."""


@dataclass(frozen=True, slots=True)
class RuleWarning:
    """Something odd.

    Attributes:
        code: of which kind, one of CODES.
        step: what, for people.
        map_id: of the mapping it is about; None if it is about none, as the next two.
        extension: number of the extension it is about.
        user: name of the user it is about.
    """

    code: str
    sentence: Sentence
    map_id: int | None = None
    extension: str | None = None
    user: str | None = None

    @property
    def is_note(self) -> bool:
        """Whether it may well be meant so."""
        return self.code in NOTES


@dataclass(frozen=True, slots=True)
class Survey:
    """What a look at all the rules found.

    Attributes:
        counts: how many warnings there are, by code; those that there are none of are not in it.
        first: by code, the first KEPT warnings.
        map_ids: by code, all mappings that have such a warning.
        mappings: how many there are, those left out too.
    """

    counts: Mapping[str, int]
    first: Mapping[str, tuple[RuleWarning, ...]]
    map_ids: Mapping[str, frozenset[int]]
    mappings: int

    @property
    def total(self) -> int:
        """Warnings of all kinds, but for notes."""
        return sum(count for code, count in self.counts.items() if code not in NOTES)


@dataclass(slots=True)
class _Tally:
    """A survey in the making."""

    counts: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    first: defaultdict[str, list[RuleWarning]] = field(default_factory=lambda: defaultdict(list))
    map_ids: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))

    def add(self, found: Iterable[RuleWarning]) -> None:
        for warning in found:
            self.counts[warning.code] += 1
            if self.counts[warning.code] <= KEPT:
                self.first[warning.code].append(warning)
            if warning.map_id is not None:
                self.map_ids[warning.code].add(warning.map_id)


@dataclass(frozen=True, slots=True)
class _Granted:
    """Mappings that somebody has a grant for: who can be recognised, or who cannot for want of a PIN."""

    usable: Collection[int]
    unusable: Collection[int]


class RuleWarnings:
    """The warnings of one RuleSet.

    Args:
        applications: the names that drivers provide, lower case.
    """

    def __init__(self, rules: RuleSet, applications: Collection[str]) -> None:
        self.rules = rules
        self._applications = frozenset(applications)
        # What a survey of all found out, for the pages that come after it.
        self._granted: _Granted | None = None

    def of_mappings(self, map_ids: Collection[int]) -> dict[int, tuple[RuleWarning, ...]]:
        """Those of a page of mappings, each's graver ones first; without the mappings that have none."""
        granted = self._granted or self._granted_among(map_ids)
        found = {map_id: tuple(self._of_mapping(map_id, granted)) for map_id in map_ids}
        return {map_id: warnings for map_id, warnings in found.items() if warnings}

    def of_extension(self, number: str) -> tuple[RuleWarning, ...]:
        """Those of an extension, by its number."""
        if self.rules.extensions.get(number) == frozenset():
            said = sentence("{extension} has no grant: each number that it dials asks for a PIN", extension=number)
            return (RuleWarning("no-grant", said, extension=number),)
        return ()

    def of_user(self, name: str, has_pin: bool, has_grant: bool) -> tuple[RuleWarning, ...]:
        """Those of a user; names are no keys, so what counts is given."""
        found = []
        if not has_pin:
            said = sentence("{user} has no PIN, so no caller can show to be {user}", user=name)
            found.append(RuleWarning("no-pin", said, user=name))
        if not has_grant:
            said = sentence("{user} has no grant: the PIN opens nothing", user=name)
            found.append(RuleWarning("no-grant", said, user=name))
        return tuple(found)

    def problems(self) -> tuple[RuleWarning, ...]:
        """What was left out when the rules were read, but for unreadable mappings: of_mappings has those."""
        of_mappings = {id(why) for _, why in self.rules.unreadable.values()}
        return tuple(
            RuleWarning("problem", problem) for problem in self.rules.problems if id(problem) not in of_mappings
        )

    def survey(self) -> Survey:
        """A look at everything: about two seconds for 100 000 mappings."""
        looking = self.survey_in_slices()
        while True:
            try:
                next(looking)
            except StopIteration as end:
                found: Survey = end.value
                return found

    def survey_in_slices(self) -> Generator[None, None, Survey]:
        """The same, with a pause after each mapping: 10 µs, or 20 ms at the very worst."""
        tally = _Tally()
        tally.add(self.problems())
        usable: set[int] = set()
        unusable: set[int] = set()
        for place, grants in enumerate(self._usable_grants()):
            usable |= grants
            if place % SLICE == 0:
                yield
        for place, user in enumerate(self.rules.without_pin):
            unusable |= user.grants
            if place % SLICE == 0:
                yield
        self._granted = granted = _Granted(usable, unusable)
        for map_id in (*self.rules.unreadable, *self.rules.entries):
            tally.add(self._of_mapping(map_id, granted))
            yield
        for place, number in enumerate(self.rules.extensions):
            tally.add(self.of_extension(number))
            if place % SLICE == 0:
                yield
        for place, (user, has_pin) in enumerate(self._users()):
            tally.add(self.of_user(user.name, has_pin, bool(user.grants)))
            if place % SLICE == 0:
                yield
        return Survey(
            dict(tally.counts),
            {code: tuple(warnings) for code, warnings in tally.first.items()},
            {code: frozenset(map_ids) for code, map_ids in tally.map_ids.items()},
            len(self.rules.unreadable) + len(self.rules.entries),
        )

    def _users(self) -> Iterator[tuple[User, bool]]:
        """All, and whether they have a PIN."""
        for user in self.rules.users:
            yield user, True
        for user in self.rules.without_pin:
            yield user, False

    def _usable_grants(self) -> Iterator[frozenset[int]]:
        """Those of each who can be recognised."""
        yield from self.rules.extensions.values()
        for user in self.rules.users:
            yield user.grants

    def _granted_among(self, map_ids: Collection[int]) -> _Granted:
        """Of these mappings alone."""
        usable = _covered(frozenset(map_ids), self._usable_grants())
        without_pin = (user.grants for user in self.rules.without_pin)
        return _Granted(usable, _covered(frozenset(map_ids) - usable, without_pin))

    def _of_mapping(self, map_id: int, granted: _Granted) -> Iterator[RuleWarning]:
        if map_id in self.rules.unreadable:
            yield RuleWarning("unreadable", self.rules.unreadable[map_id][1], map_id)
        if map_id not in self.rules.entries:
            return
        mapping = self.rules.entries[map_id][1]
        reach = reachability(self.rules, map_id)
        if reach.fate is Reachability.NOTHING:
            said = sentence("{pattern} accepts no number that can be dialled", pattern=mapping.pattern)
            yield RuleWarning("never-matches", said, map_id)
        if not mapping.enabled:
            return
        if reach.fate in (Reachability.SHADOWED, Reachability.REPEATED):
            yield RuleWarning("shadowed", _shadowed(mapping, reach), map_id)
        if map_id not in granted.usable:
            yield RuleWarning("nobody", _nobody(mapping, map_id in granted.unusable), map_id)
        if mapping.application.lower() not in self._applications:
            said = sentence("no driver provides the application {name}", name=mapping.application)
            yield RuleWarning("no-driver", said, map_id)


def _covered(map_ids: frozenset[int], grants: Iterable[frozenset[int]]) -> frozenset[int]:
    """Which of the mappings are in at least one of the grants; looks no longer than needed."""
    left = set(map_ids)
    for grant in grants:
        if not left:
            break
        if not left.isdisjoint(grant):
            left -= grant & left
    return map_ids - left


def _nobody(mapping: Rule, without_pin: bool) -> Sentence:
    if without_pin:
        return sentence(
            "only users without a PIN have a grant for {pattern}: nobody may use it", pattern=mapping.pattern
        )
    return sentence("no extension and no user has a grant for {pattern}: nobody may use it", pattern=mapping.pattern)


def _shadowed(mapping: Rule, reach: ReachResult) -> Sentence:
    others = [winner.pattern for winner in reach.winners]
    if reach.fate is Reachability.REPEATED:
        return sentence(
            "{pattern} can never match: {other} of mapping {map_id} is the same pattern and comes first",
            pattern=mapping.pattern,
            other=others[0],
            map_id=reach.winners[0].map_id,
        )
    if len(others) == 1:
        return sentence("{pattern} can never match: {other} always wins", pattern=mapping.pattern, other=others[0])
    if len(others) <= NAMED:
        return sentence(
            "{pattern} can never match: {others} always win",
            pattern=mapping.pattern,
            others=", ".join(others),
        )
    return sentence(
        "{pattern} can never match: {others} and {count} more always win",
        pattern=mapping.pattern,
        others=", ".join(others[:NAMED]),
        count=len(others) - NAMED,
    )
