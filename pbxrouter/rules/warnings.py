"""Warnings about rules that are probably mistakes, such as a mapping that can never be chosen.

A warning changes nothing: the rules apply as they are. For one page of a list only its own mappings
are examined; examining all comes in slices (rules.survey).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pbxrouter.rules.applications import Applications
from pbxrouter.rules.model import Mapping as Rule
from pbxrouter.rules.model import User
from pbxrouter.rules.phones import extension_problem
from pbxrouter.rules.ruleset import RuleSet
from pbxrouter.rules.shadows import Reachability, ReachResult, reachability
from pbxrouter.text import Sentence, sentence

NAMED: Final = 3
"""How many of the patterns that always win are named; the others are counted."""
KEPT: Final = 20
"""How many warnings of each kind a survey keeps."""
SLICE: Final = 50
"""Extensions or users examined in one slice."""

CODES: Final = (
    "problem",
    "unreadable",
    "never-matches",
    "shadowed",
    "not-granted",
    "no-driver",
    "cannot-work",
    "not-a-number",
    "no-pin",
    "no-grant",
)
"""All kinds of warnings, by severity, highest first."""
NOTES: Final = frozenset({"no-pin", "no-grant"})
"""Kinds that may be intended; they are shown as notes."""


@dataclass(frozen=True, slots=True)
class RuleWarning:
    """A warning about a mapping, an extension or a user.

    Attributes:
        code: its kind, one of CODES.
        sentence: the message.
        map_id: the mapping concerned, or None; likewise the next two.
        extension: number of the extension concerned.
        user: name of the user concerned.
    """

    code: str
    sentence: Sentence
    map_id: int | None = None
    extension: str | None = None
    user: str | None = None

    @property
    def is_note(self) -> bool:
        """Whether it may be intended."""
        return self.code in NOTES


Subject = int | str | tuple[User, bool] | RuleWarning
"""What a warning is about: a map_id, an extension's number, a user and whether they have a PIN; or a problem itself."""


@dataclass(frozen=True, slots=True)
class Survey:
    """The result of a survey of all rules.

    Attributes:
        counts: number of warnings by code; codes without any are left out.
        first: by code, the first KEPT warnings.
        map_ids: by code, all mappings that have such a warning.
        mappings: number of mappings, unreadable ones included.
        subjects: by code, what each warning is about, in order; ``some`` makes the warnings of a page of them.
        source: the warnings that were surveyed.
    """

    counts: Mapping[str, int]
    first: Mapping[str, tuple[RuleWarning, ...]]
    map_ids: Mapping[str, frozenset[int]]
    mappings: int
    subjects: Mapping[str, tuple[Subject, ...]] = field(default_factory=dict, repr=False)
    source: RuleWarnings | None = field(default=None, repr=False, compare=False)

    @property
    def total(self) -> int:
        """Number of warnings of all kinds, notes excluded."""
        return sum(count for code, count in self.counts.items() if code not in NOTES)

    def some(self, code: str, start: int, count: int) -> tuple[RuleWarning, ...]:
        """A page of the warnings of one kind: some 10 µs for each, at worst 20 ms."""
        if self.source is None:
            return self.first.get(code, ())[start : start + count]
        return self.source.about(code, self.subjects.get(code, ())[start : start + count])


@dataclass(slots=True)
class _Tally:
    """Collects the warnings of a survey and counts them by kind."""

    counts: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    first: defaultdict[str, list[RuleWarning]] = field(default_factory=lambda: defaultdict(list))
    map_ids: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    subjects: defaultdict[str, list[Subject]] = field(default_factory=lambda: defaultdict(list))

    def add(self, found: Iterable[RuleWarning], subject: Subject | None = None) -> None:
        for warning in found:
            self.counts[warning.code] += 1
            self.subjects[warning.code].append(warning if subject is None else subject)
            if self.counts[warning.code] <= KEPT:
                self.first[warning.code].append(warning)
            if warning.map_id is not None:
                self.map_ids[warning.code].add(warning.map_id)


@dataclass(frozen=True, slots=True)
class _Granted:
    """Mappings with a grant to extensions or users who can be recognised, and to users without a PIN."""

    usable: Collection[int]
    unusable: Collection[int]


class RuleWarnings:
    """The warnings of one RuleSet.

    Args:
        applications: the names that drivers provide, lower case; or Applications, which know what they do.
        asterisks: the names of all Asterisks in the settings; None: any will do.
    """

    def __init__(self, rules: RuleSet, applications: Collection[str], asterisks: Collection[str] | None = None) -> None:
        self._asterisks = asterisks
        self.rules = rules
        self._applications = Applications.of(applications)
        # What a survey of all found out, for the pages that come after it.
        self._granted: _Granted | None = None

    def of_mappings(self, map_ids: Collection[int]) -> dict[int, tuple[RuleWarning, ...]]:
        """Warnings by map_id for a page of mappings, highest severity first; mappings without any are left out."""
        granted = self._granted or self._granted_among(map_ids)
        found = {map_id: tuple(self._of_mapping(map_id, granted)) for map_id in map_ids}
        return {map_id: warnings for map_id, warnings in found.items() if warnings}

    def of_extension(self, number: str) -> tuple[RuleWarning, ...]:
        """Warnings about an extension, by its number."""
        found = []
        why = extension_problem(number, self._asterisks)
        if why is not None:
            found.append(RuleWarning("not-a-number", why, extension=number))
        if self.rules.extensions.get(number) == frozenset():
            message = sentence("{extension} has no grants: every number that it dials asks for a PIN", extension=number)
            found.append(RuleWarning("no-grant", message, extension=number))
        return tuple(found)

    def of_repeated(self, extension_id: int) -> tuple[RuleWarning, ...]:
        """The warning about a row of the extensions that is ignored, by its number in the table; else none."""
        if extension_id not in self.rules.repeated_extensions:
            return ()
        return (RuleWarning("problem", self.rules.repeated_extensions[extension_id][1]),)

    def of_user(self, name: str, has_pin: bool, has_grant: bool) -> tuple[RuleWarning, ...]:
        """Warnings about a user. Names are not unique, so the user's PIN and grants are arguments."""
        found = []
        if not has_pin:
            message = sentence("{user} has no PIN, so no caller can identify as {user}", user=name)
            found.append(RuleWarning("no-pin", message, user=name))
        if not has_grant:
            message = sentence("{user} has no grants: their PIN allows no calls", user=name)
            found.append(RuleWarning("no-grant", message, user=name))
        return tuple(found)

    def problems(self) -> tuple[RuleWarning, ...]:
        """What could not be loaded, except unreadable mappings, which ``of_mappings`` reports."""
        of_mappings = {id(why) for _, why in self.rules.unreadable.values()}
        return tuple(
            RuleWarning("problem", problem) for problem in self.rules.problems if id(problem) not in of_mappings
        )

    def survey(self) -> Survey:
        """Survey all rules at once: about two seconds for 100 000 mappings."""
        looking = self.survey_in_slices()
        while True:
            try:
                next(looking)
            except StopIteration as end:
                found: Survey = end.value
                return found

    def survey_in_slices(self) -> Generator[None, None, Survey]:
        """Survey all rules, yielding after each mapping: 10 µs, at worst 20 ms."""
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
            tally.add(self._of_mapping(map_id, granted), map_id)
            yield
        for place, number in enumerate(self.rules.extensions):
            tally.add(self.of_extension(number), number)
            if place % SLICE == 0:
                yield
        for place, (user, has_pin) in enumerate(self._users()):
            tally.add(self.of_user(user.name, has_pin, bool(user.grants)), (user, has_pin))
            if place % SLICE == 0:
                yield
        return Survey(
            dict(tally.counts),
            {code: tuple(warnings) for code, warnings in tally.first.items()},
            {code: frozenset(map_ids) for code, map_ids in tally.map_ids.items()},
            len(self.rules.unreadable) + len(self.rules.entries),
            {code: tuple(subjects) for code, subjects in tally.subjects.items()},
            self,
        )

    def about(self, code: str, subjects: Iterable[Subject]) -> tuple[RuleWarning, ...]:
        """The warnings of one kind about these subjects of a survey."""
        return tuple(warning for subject in subjects for warning in self._about(subject) if warning.code == code)

    def _about(self, subject: Subject) -> Iterable[RuleWarning]:
        match subject:
            case RuleWarning():
                return (subject,)
            case int():
                return self._of_mapping(subject, self._granted or self._granted_among((subject,)))
            case str():
                return self.of_extension(subject)
        user, has_pin = subject
        return self.of_user(user.name, has_pin, bool(user.grants))

    def _users(self) -> Iterator[tuple[User, bool]]:
        """Each user, and whether they have a PIN."""
        for user in self.rules.users:
            yield user, True
        for user in self.rules.without_pin:
            yield user, False

    def _usable_grants(self) -> Iterator[frozenset[int]]:
        """The grants of each extension, and of each user who has a PIN."""
        yield from self.rules.extensions.values()
        for user in self.rules.users:
            yield user.grants

    def _granted_among(self, map_ids: Collection[int]) -> _Granted:
        """The grants among these mappings only."""
        usable = _covered(frozenset(map_ids), self._usable_grants())
        without_pin = (user.grants for user in self.rules.without_pin)
        return _Granted(usable, _covered(frozenset(map_ids) - usable, without_pin))

    def _of_mapping(self, map_id: int, granted: _Granted) -> Iterator[RuleWarning]:
        if map_id in self.rules.unreadable:
            yield RuleWarning("unreadable", self.rules.unreadable[map_id][1], map_id)
        if map_id not in self.rules.entries:
            return
        pattern, mapping = self.rules.entries[map_id]
        reach = reachability(self.rules, map_id)
        if reach.reachability is Reachability.NOTHING:
            message = sentence("{pattern} matches no number that can be dialled", pattern=mapping.pattern)
            yield RuleWarning("never-matches", message, map_id)
        if not mapping.enabled:
            return
        if reach.reachability in (Reachability.SHADOWED, Reachability.REPEATED):
            yield RuleWarning("shadowed", _shadowed(mapping, reach), map_id)
        if map_id not in granted.usable:
            yield RuleWarning("not-granted", _not_granted(mapping, map_id in granted.unusable), map_id)
        if mapping.application.lower() not in self._applications:
            message = sentence("no driver provides the application {name}", name=mapping.application)
            yield RuleWarning("no-driver", message, map_id)
            return
        why = self._applications.problem(mapping.application, mapping.data, pattern)
        if why is not None:
            yield RuleWarning(
                "cannot-work", sentence("{pattern} cannot work: {why}", pattern=mapping.pattern, why=why), map_id
            )


def _covered(map_ids: frozenset[int], grants: Iterable[frozenset[int]]) -> frozenset[int]:
    """Which of the mappings are in at least one of the grants; stops when all are found."""
    left = set(map_ids)
    for grant in grants:
        if not left:
            break
        if not left.isdisjoint(grant):
            left -= grant & left
    return map_ids - left


def _not_granted(mapping: Rule, without_pin: bool) -> Sentence:
    if without_pin:
        return sentence(
            "only users without a PIN have a grant for {pattern}, so no caller can use it", pattern=mapping.pattern
        )
    return sentence("no extension or user has a grant for {pattern}, so no caller can use it", pattern=mapping.pattern)


def _shadowed(mapping: Rule, reach: ReachResult) -> Sentence:
    others = [winner.pattern for winner in reach.winners]
    if reach.reachability is Reachability.REPEATED:
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
