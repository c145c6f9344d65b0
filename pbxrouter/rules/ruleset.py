"""The RuleSet: an immutable snapshot of all rules, and the decision about a call.

The engine replaces it as a whole, so that each decision is made by rules that belong together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from collections.abc import Mapping as Mapping_
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from pbxrouter.errors import PatternError
from pbxrouter.rules.model import NO_CALLER, Decision, Facts, Mapping, User, Verdict, normalise_number
from pbxrouter.rules.pattern_index import PatternIndex
from pbxrouter.rules.patterns import Pattern
from pbxrouter.text import Sentence, printable, sentence

DEFAULT_MAX_CALLS: Final = 2
"""Calls that one PIN may have at once, unless its user is given more."""


class RuleSet:
    """An immutable snapshot of all rules.

    Attributes:
        entries: by map_id, each mapping whose pattern can be parsed, disabled or not, with the pattern.
        unreadable: by map_id, each other mapping, with the reason that is also among the problems.
        repeated: by map_id of a mapping that is never chosen, the earlier mapping with an equal pattern.
        extensions: by number, the map_ids granted to the extension.
        without_pin: the users who have no PIN.
        problems: what could not be loaded and why.
    """

    def __init__(
        self,
        entries: dict[int, tuple[Pattern, Mapping]],
        unreadable: dict[int, tuple[Mapping, Sentence]],
        extensions: dict[str, frozenset[int]],
        users: Iterable[tuple[str, str | None, frozenset[int]]],
        hash_pin: Callable[[str], str],
        problems: tuple[Sentence, ...],
        max_calls: Mapping_[str, int] = MappingProxyType({}),
    ) -> None:
        live = [entry for entry in entries.values() if entry[1].enabled]
        self._index = PatternIndex(live)
        self._disabled = tuple(entry for entry in entries.values() if not entry[1].enabled)
        self._by_pin: dict[str, User] = {}
        self._hash_pin = hash_pin
        without_pin: list[User] = []
        for name, pin, grants in users:
            if pin:
                self._by_pin[pin] = User(name, grants, max_calls.get(pin, DEFAULT_MAX_CALLS))
            else:
                without_pin.append(User(name, grants))
        self.entries = entries
        self.unreadable = unreadable
        self.repeated = {live[place][1].map_id: first[1] for place, first in self._index.repeated.items()}
        self.extensions = extensions
        self.without_pin = tuple(without_pin)
        self.problems = problems

    @property
    def users(self) -> Collection[User]:
        """The users who have a PIN."""
        return self._by_pin.values()

    def winner(self, number: str) -> tuple[Pattern, Mapping] | None:
        """Return the pattern and mapping that a number leads to, for any caller; None if none matches."""
        return self._index.best(number)

    @classmethod
    def build(
        cls,
        mappings: Iterable[Mapping],
        extensions: Iterable[tuple[str, frozenset[int]]],
        users: Iterable[tuple[str, str | None, frozenset[int]]],
        hash_pin: Callable[[str], str],
        problems: Iterable[str | Sentence] = (),
        max_calls: Mapping_[str, int] = MappingProxyType({}),
    ) -> RuleSet:
        """Build a RuleSet; what cannot be used is left out and named in ``problems``.

        Args:
            mappings: in configured order (by map_id): of equal patterns the first wins.
            extensions: number, and the map_ids granted to it.
            users: name, hashed PIN or None, and the map_ids granted.
            hash_pin: hashes a PIN as the stored ones are.
            problems: what the loader already had to leave out.
            max_calls: by hashed PIN, calls that it may have at once, where that is not DEFAULT_MAX_CALLS.
        """
        found = [
            problem if isinstance(problem, Sentence) else Sentence("{text}", {"text": problem}) for problem in problems
        ]
        entries: dict[int, tuple[Pattern, Mapping]] = {}
        unreadable: dict[int, tuple[Mapping, Sentence]] = {}
        for mapping in mappings:
            try:
                entries[mapping.map_id] = (Pattern.parse(mapping.pattern), mapping)
            except PatternError as error:
                why = sentence("mapping {map_id} is left out: {why}", map_id=mapping.map_id, why=error.sentence)
                unreadable[mapping.map_id] = (mapping, why)
                found.append(why)
        callers = {number: grants for number, grants in extensions if number not in ("", NO_CALLER)}
        return cls(entries, unreadable, callers, users, hash_pin, tuple(found), max_calls)

    def decide(self, facts: Facts) -> Decision:
        """Decide a call."""
        decision = self._decide(facts)
        # "" and Asterisk's word for a missing number are never among the extensions.
        return replace(decision, extension=facts.caller) if facts.caller in self.extensions else decision

    def _decide(self, facts: Facts) -> Decision:
        number = normalise_number(facts.number)
        if number is None:
            reason = sentence(
                "{number} cannot be dialled; accepted are digits, * # and +",
                number=facts.number or "(nothing)",
            )
            return Decision(Verdict.INVALID, printable(facts.number), None, None, (reason,))
        best = self._index.best(number)
        if best is None:
            return Decision(Verdict.INVALID, number, None, None, self._why_invalid(number))
        mapping = best[1]
        matched = sentence(
            "{number} matches {pattern}: {application} {data}"
            if mapping.data
            else "{number} matches {pattern}: {application}",
            number=number,
            pattern=mapping.pattern,
            application=mapping.application,
            data=mapping.data,
        )
        return self._authorise(facts, number, mapping, matched)

    def _why_invalid(self, number: str) -> tuple[Sentence, ...]:
        switched_off = tuple(
            sentence("{pattern} would match but is disabled", pattern=mapping.pattern)
            for pattern, mapping in self._disabled
            if pattern.matches(number)
        )
        return (*switched_off, sentence("no pattern matches {number}", number=number))

    def _authorise(self, facts: Facts, number: str, mapping: Mapping, matched: Sentence) -> Decision:
        caller = facts.caller
        if caller is None or caller in ("", NO_CALLER):
            by_extension = sentence("the call shows no caller number")
        elif caller not in self.extensions:
            by_extension = sentence("{caller} is not among the extensions", caller=caller)
        elif mapping.map_id in self.extensions[caller]:
            granted = sentence("{caller} may use {pattern} by its own grant", caller=caller, pattern=mapping.pattern)
            return Decision(Verdict.ALLOW, number, mapping, caller, (matched, granted))
        else:
            by_extension = sentence("{caller} has no grant for {pattern}", caller=caller, pattern=mapping.pattern)
        trace = (matched, by_extension)
        if facts.pin is None:
            return Decision(Verdict.PIN, number, mapping, None, (*trace, sentence("a PIN is asked for")))
        return self._authorise_by_pin(facts.pin, number, mapping, trace)

    def _authorise_by_pin(self, pin: str, number: str, mapping: Mapping, trace: tuple[Sentence, ...]) -> Decision:
        user = self._by_pin.get(self._hash_pin(pin)) if pin else None
        if user is None:
            why = sentence("the PIN does not belong to any user" if pin else "no PIN was keyed")
            return Decision(Verdict.DENY, number, mapping, None, (*trace, why))
        if mapping.map_id in user.grants:
            granted = sentence("{user} may use {pattern} by PIN", user=user.name, pattern=mapping.pattern)
            return Decision(
                Verdict.ALLOW,
                number,
                mapping,
                user.name,
                (*trace, granted),
                user=user.name,
                max_calls=user.max_calls,
            )
        refused = sentence(
            "the PIN belongs to {user}, who has no grant for {pattern}", user=user.name, pattern=mapping.pattern
        )
        return Decision(Verdict.DENY, number, mapping, None, (*trace, refused), user=user.name)
