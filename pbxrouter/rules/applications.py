"""The applications that mappings can lead to, as the rules know them: names, what is wrong with data, what is run.

The drivers fill it in (``drivers.DriverApplications``); with names alone, any data passes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from pbxrouter.errors import ApplicationFailed, PatternError
from pbxrouter.rules.model import Decision, Mapping, Verdict
from pbxrouter.rules.patterns import Pattern
from pbxrouter.text import Sentence, sentence

EXAMPLE_CALLER: Final = "0123456789"
"""The caller of the call for which a mapping is tried."""
EXAMPLE_DIGIT: Final = "2"
"""The digit of which its number is made."""
KEPT: Final = 10_000
"""How many answers of drivers about data are kept."""


@dataclass(frozen=True, slots=True)
class Action:
    """What a driver has Asterisk run for a call: an application of the dialplan, and its arguments."""

    application: str
    arguments: str = ""

    def __str__(self) -> str:
        return f"{self.application}({self.arguments})"


class Applications(Collection[str]):
    """The names that drivers provide, in lower case; what they do with data is not known.

    Attributes:
        generation: changes when what is known about data may have changed.
    """

    generation = 0

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._problems: dict[tuple[str, str, int], Sentence | None] = {}

    @classmethod
    def of(cls, names: Collection[str]) -> Applications:
        """These applications, made of their names if only those are known."""
        return names if isinstance(names, Applications) else Applications(names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def data_problem(self, application: str, data: str) -> Sentence | None:
        """What is wrong with the data of an application that a driver provides, by that driver; None if nothing is."""
        return None

    def action(self, mapping: Mapping, number: str, caller: str | None) -> Action | None:
        """What would be run for a call; None if the driver does not say, or has Asterisk run nothing.

        Raises:
            ApplicationFailed: the driver could not serve this call.
        """
        return None

    def problem(self, application: str, data: str, pattern: Pattern | None = None) -> Sentence | None:
        """Why a mapping cannot work; None if nothing speaks against it.

        Args:
            pattern: its pattern. If all numbers that it matches have one length, a number of that length is tried.
        """
        name = application.lower()
        if name not in self:
            return sentence("no driver provides the application {name}", name=application)
        length = 0 if pattern is None or pattern.tail else len(pattern.head) + len(pattern.rest.sets)
        key = (name, data, length)
        if key not in self._problems:  # many mappings have the same data, and each call asks
            if len(self._problems) >= KEPT:
                self._problems.clear()
            self._problems[key] = self.data_problem(name, data) or self._problem_of_length(name, data, length)
        return self._problems[key]

    def _problem_of_length(self, name: str, data: str, length: int) -> Sentence | None:
        """Why no number of so many digits can be served; 0 tries none."""
        if not length:
            return None
        try:
            self.action(Mapping(0, "", name, data), EXAMPLE_DIGIT * length, EXAMPLE_CALLER)
        except ApplicationFailed as error:
            return error.sentence
        return None

    def problem_of(self, mapping: Mapping) -> Sentence | None:
        """Why a mapping cannot work, its pattern included, as ``problem``."""
        try:
            pattern = Pattern.parse(mapping.pattern)
        except PatternError as error:
            return error.sentence
        return self.problem(mapping.application, mapping.data, pattern)

    def examined(self, decision: Decision, caller: str | None) -> Decision:
        """A decision with what is run for it, or with a further step that says why it cannot work.

        Args:
            caller: the calling number; None if the call shows none.
        """
        mapping = decision.mapping
        if mapping is None or decision.verdict not in (Verdict.ALLOW, Verdict.PIN):
            return decision
        why = self.problem(mapping.application, mapping.data)
        action = None
        if why is None:
            try:
                action = self.action(mapping, decision.number, caller)
            except ApplicationFailed as error:
                why = error.sentence
        if why is not None:
            decision = decision.noting(sentence("it cannot work because {why}", why=why))
        return replace(decision, problem=why, action="" if action is None else str(action))
