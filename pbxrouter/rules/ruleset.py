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
from pbxrouter.rules.model import NO_CALLER, Decision, Facts, Forwarder, Mapping, User, Verdict, normalise_number
from pbxrouter.rules.pattern_index import PatternIndex
from pbxrouter.rules.patterns import Pattern
from pbxrouter.security import as_written
from pbxrouter.text import Sentence, at_asterisk, printable, sentence, split_asterisk

PIN_IS_ASKED: Final = Sentence("a PIN is asked for")
"""The step of a trace that says that a PIN decides."""
DEFAULT_MAX_CALLS: Final = 2
"""Calls that one PIN may have at once, unless its user is given more."""


class RuleSet:
    """An immutable snapshot of all rules.

    Attributes:
        entries: by map_id, each mapping whose pattern can be parsed, disabled or not, with the pattern.
        unreadable: by map_id, each other mapping, with the reason that is also among the problems.
        repeated: by map_id of a mapping that is never chosen, the earlier mapping with an equal pattern.
        extensions: by number, the map_ids granted to the extension. One of a single Asterisk has its name in front
            (``madrid:33``); the number alone is the extension's on all others.
        endpoints: by number, the endpoint that the extension is tied to; without those that are not tied.
        repeated_extensions: by extension_id of a row that is ignored because an earlier one has the same number, that
            row's extension_id and the reason, which is also among the problems.
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
        endpoints: Mapping_[str, str] = MappingProxyType({}),
        repeated_extensions: Mapping_[int, tuple[int, Sentence]] = MappingProxyType({}),
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
        self.endpoints = {
            number: as_written(endpoint) for number, endpoint in endpoints.items() if number in extensions
        }
        self._at_endpoint: dict[str, list[str]] = {}
        for extension, endpoint in self.endpoints.items():
            self._at_endpoint.setdefault(endpoint, []).append(extension)
        self._asterisks: dict[str, list[str]] = {}  # by number, those on which it is an extension of its own
        for extension in extensions:
            asterisk, number = split_asterisk(extension)
            if asterisk:
                self._asterisks.setdefault(number, []).append(asterisk)
        self.repeated_extensions = repeated_extensions
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
        endpoints: Mapping_[str, str] = MappingProxyType({}),
        repeated_extensions: Mapping_[int, tuple[int, Sentence]] = MappingProxyType({}),
    ) -> RuleSet:
        """Build a RuleSet; what cannot be used is left out and named in ``problems``.

        Args:
            mappings: in configured order (by map_id): of equal patterns the first wins.
            extensions: number, and the map_ids granted to it; of one number the first counts, and the second is
                named in ``problems``.
            users: name, hashed PIN or None, and the map_ids granted.
            hash_pin: hashes a PIN as the stored ones are.
            problems: what the loader already had to leave out.
            max_calls: by hashed PIN, calls that it may have at once, where that is not DEFAULT_MAX_CALLS.
            endpoints: by number of an extension, the endpoint that it is tied to.
            repeated_extensions: rows that were left out of ``extensions``, see RuleSet.
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
        callers: dict[str, frozenset[int]] = {}
        for number, grants in extensions:
            if number in callers:
                found.append(
                    sentence("extension {number} is there twice: the grants of the second are ignored", number=number)
                )
            elif number not in ("", NO_CALLER):
                callers[number] = grants
        found += [why for _, why in repeated_extensions.values()]
        named = tuple(found)
        return cls(entries, unreadable, callers, users, hash_pin, named, max_calls, endpoints, repeated_extensions)

    def decide(self, facts: Facts) -> Decision:
        """Decide a call: which mapping it matches, and whether it may use it."""
        decision = self._decide(facts)
        extension = self._responsible(facts)
        forwarded_by = facts.forwarded_by
        if extension is None and not forwarded_by:
            return decision
        return replace(decision, extension=extension, forwarded_by=forwarded_by)

    def _responsible(self, facts: Facts) -> str | None:
        """The extension that answers for the call."""
        if facts.forwarders:
            return next(iter(self._extensions_of(facts.forwarders[0], facts.asterisk)), None)
        extension = self.extension_of(facts.caller, facts.asterisk)
        return extension if extension is not None and self._came_from(extension, facts) else None

    def extension_of(self, number: str | None, asterisk: str) -> str | None:
        """The extension that has a number on an Asterisk; None if none has.

        A number with an Asterisk's name in front is no number that a call can show: it may be a caller's forgery.
        """
        # "" and Asterisk's word for a missing number are never among the extensions.
        if number is None or split_asterisk(number)[0]:
            return None
        own = at_asterisk(asterisk, number)
        if own in self.extensions and (asterisk or number not in self._asterisks):
            return own
        return number if asterisk and number in self.extensions else None

    def grants_of(self, number: str, asterisk: str) -> frozenset[int]:
        """The grants that the extension of a number may have.

        Args:
            asterisk: the Asterisk that has it; ``""`` if any may.
        """
        own = self.extension_of(number, asterisk)
        if own is not None:
            return self.extensions[own]
        places = () if asterisk else self._asterisks.get(number, ())
        return frozenset().union(*(self.extensions[at_asterisk(place, number)] for place in places))

    def _counts_at(self, extension: str, asterisk: str) -> bool:
        """Whether an extension may be that of a call from an Asterisk."""
        place, number = split_asterisk(extension)
        return self.extension_of(number, asterisk) == extension if not place else place == asterisk

    def _came_from(self, extension: str, facts: Facts) -> bool:
        """Whether a call that shows the number of an extension is its own."""
        tied = self.endpoints.get(extension)
        return not facts.by_trunk and (tied is None or tied == facts.endpoint)

    def _extensions_of(self, forwarder: Forwarder, asterisk: str) -> list[str]:
        """The extensions of a forwarder: tied to its endpoint, or else named as it is."""
        if forwarder.is_trunk:
            return []
        if not forwarder.endpoint:
            extension = self.extension_of(forwarder.number, asterisk)
            return [] if extension is None else [extension]
        tied = [name for name in self._at_endpoint.get(forwarder.endpoint, ()) if self._counts_at(name, asterisk)]
        if tied:
            return tied
        extension = self.extension_of(forwarder.endpoint.partition("/")[2], asterisk)
        return [extension] if extension is not None and extension not in self.endpoints else []

    def has_phone(self, endpoint: str, caller: str | None, asterisk: str = "") -> bool:
        """Whether an endpoint is an extension's: tied to it, or named as the extension that it calls as.

        Args:
            asterisk: the Asterisk that has it; ``""`` if that is not known.
        """
        if any(self._counts_at(extension, asterisk) for extension in self._at_endpoint.get(endpoint, ())):
            return True
        name = endpoint.partition("/")[2]
        if not name or name != caller:
            return False
        extension = self.extension_of(name, asterisk)
        return extension is not None and extension not in self.endpoints

    def tied_to(self, phone: str, asterisk: str = "") -> list[tuple[str, str]]:
        """The extensions tied to a phone such as ``PJSIP/33``, that with its name first, and the endpoint of each.

        The technology may be in any case, as Dial() and Originate accept it.

        Args:
            asterisk: the Asterisk that has the phone; ``""`` if that is not known.
        """
        technology, _, name = phone.partition("/")
        spelled = [endpoint for endpoint in self._at_endpoint if _is_same(endpoint, technology, name)]
        found = [
            (extension, endpoint)
            for endpoint in spelled
            for extension in self._at_endpoint[endpoint]
            if self._counts_at(extension, asterisk)
        ]
        return sorted(found, key=lambda pair: split_asterisk(pair[0])[1] != name)

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
        if facts.forwarders:
            checks = [self._forwarder_check(forwarder, mapping, facts.asterisk) for forwarder in facts.forwarders]
            who = facts.forwarded_by
            why = [sentence("{forwarder} forwarded the call and answers for it in place of the caller", forwarder=who)]
        else:
            checks = [self._caller_check(facts, mapping)]
            why = []
            if facts.claimed_forwarder is not None and facts.claimed_forwarder.name != facts.caller:
                checks.append(self._forwarder_check(facts.claimed_forwarder, mapping, facts.asterisk))
                why.append(
                    sentence(
                        "the call claims that {forwarder} forwarded it, without proof: caller and {forwarder} must be "
                        "allowed",
                        forwarder=facts.claimed_forwarder.name,
                    )
                )
        trace = (matched, *why, *(step for _, step in checks))
        granted_by = checks[0][0]
        if granted_by is not None and all(extension is not None for extension, _ in checks):
            return Decision(Verdict.ALLOW, number, mapping, granted_by, trace)
        if facts.pin is None:
            return Decision(Verdict.PIN, number, mapping, None, (*trace, PIN_IS_ASKED))
        return self._authorise_by_pin(facts.pin, number, mapping, trace)

    def _caller_check(self, facts: Facts, mapping: Mapping) -> tuple[str | None, Sentence]:
        """The extension by whose grant the caller may use a mapping, None if there is none; and why."""
        caller = facts.caller
        if caller is None or caller in ("", NO_CALLER):
            return None, sentence("the call shows no caller number")
        extension = self.extension_of(caller, facts.asterisk)
        if extension is None:
            return None, self._no_extension(caller, facts.asterisk)
        if facts.by_trunk:
            return None, sentence(
                "the call came by the trunk {endpoint}, where the caller number {caller} proves nothing",
                caller=caller,
                endpoint=facts.endpoint,
            )
        if not self._came_from(extension, facts):
            return None, sentence(
                "{caller} is tied to {tied}, and the call came by {endpoint}"
                if facts.endpoint
                else "{caller} is tied to {tied}, and the call's endpoint is not known",
                caller=extension,
                tied=self.endpoints[extension],
                endpoint=facts.endpoint,
            )
        if mapping.map_id in self.extensions[extension]:
            granted = sentence("{caller} may use {pattern} by its own grant", caller=extension, pattern=mapping.pattern)
            return extension, granted
        return None, sentence("{caller} has no grant for {pattern}", caller=extension, pattern=mapping.pattern)

    def _no_extension(self, number: str, asterisk: str) -> Sentence:
        """Why a number is no extension's on an Asterisk."""
        others = self._asterisks.get(number)
        if others is None:
            return sentence("{caller} is not among the extensions", caller=number)
        return sentence(
            "{caller} is an extension of {asterisks}, and the call came from {asterisk}"
            if asterisk
            else "{caller} is an extension of {asterisks}, and it is not known from which Asterisk the call came",
            caller=number,
            asterisks=", ".join(others),
            asterisk=asterisk,
        )

    def _forwarder_check(self, forwarder: Forwarder, mapping: Mapping, asterisk: str) -> tuple[str | None, Sentence]:
        """The same for a forwarder of a call from an Asterisk."""
        if forwarder.is_trunk:
            return None, sentence("{forwarder} is a trunk and has no grants", forwarder=forwarder.name)
        extensions = self._extensions_of(forwarder, asterisk)
        if not extensions:
            return None, sentence("{forwarder} is not among the extensions", forwarder=forwarder.name)
        for extension in extensions:
            if mapping.map_id in self.extensions[extension]:
                return extension, sentence(
                    "{caller} may use {pattern} by its own grant", caller=extension, pattern=mapping.pattern
                )
        return None, sentence(
            "{caller} has no grant for {pattern}", caller=", ".join(extensions), pattern=mapping.pattern
        )

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


def _is_same(endpoint: str, technology: str, name: str) -> bool:
    own_technology, _, own_name = endpoint.partition("/")
    return own_name == name and own_technology.lower() == technology.lower()
