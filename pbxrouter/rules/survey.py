"""Collects all warnings about the rules in force, between calls, and keeps them until the rules change.

With 100 000 mappings that takes seconds. It runs in the reactor's thread in slices of about a
millisecond, so that no call waits longer; another thread would hold the interpreter for longer at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Cooperator
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbxrouter.rules.applications import Applications
from pbxrouter.rules.ruleset import RuleSet
from pbxrouter.rules.warnings import RuleWarnings, Survey

TURN_S: Final = 0.001
"""Seconds that one slice may take."""
BREATH_S: Final = 0.0005
"""Seconds between two slices, for everything else that waits."""


class RuleSurveyor:
    """Surveys the rules in force for warnings.

    Args:
        rules: returns the rules in force, as RulesEngine has them; None before the first were loaded.
        applications: the names that drivers provide, lower case; or Applications, which know what they do.
        asterisks: the names of all Asterisks in the settings; None: any will do.
    """

    log = Logger()

    def __init__(
        self,
        rules: Callable[[], RuleSet | None],
        applications: Collection[str],
        clock: IReactorTime,
        asterisks: Collection[str] | None = None,
    ) -> None:
        self._rules = rules
        self._asterisks = asterisks
        self._applications = Applications.of(applications)
        self._generation = self._applications.generation

        def turn() -> Callable[[], bool]:
            end = clock.seconds() + TURN_S
            return lambda: clock.seconds() >= end

        self._cooperator = Cooperator(
            terminationPredicateFactory=turn,
            scheduler=lambda work: clock.callLater(BREATH_S, work),
        )
        self._current: RuleWarnings | None = None
        self._found: Survey | None = None
        self._under_way = False
        self._waiting: list[Deferred[Survey | None]] = []

    @property
    def warnings(self) -> RuleWarnings | None:
        """The warnings of the rules in force, to be asked page by page; None before the rules are loaded."""
        rules, generation = self._rules(), self._applications.generation
        if rules is not None and (
            self._current is None or self._current.rules is not rules or self._generation != generation
        ):
            self._current, self._generation = RuleWarnings(rules, self._applications, self._asterisks), generation
            self._found = None
        return self._current

    @property
    def known(self) -> Survey | None:
        """The finished survey, or None; starts one if there is none."""
        warnings = self.warnings
        if warnings is not None and self._found is None and not self._under_way:
            self._look(warnings)
        return self._found

    def survey(self) -> Deferred[Survey | None]:
        """Survey all rules. Fires at once if that was done since they changed; with None before they are loaded.

        If the rules change meanwhile, the result is of the earlier ones.
        """
        known = self.known
        if known is not None or self._current is None:
            return succeed(known)
        done: Deferred[Survey | None] = Deferred()
        self._waiting.append(done)
        return done

    def _look(self, warnings: RuleWarnings) -> None:
        self._under_way = True
        found: list[Survey] = []

        def slices() -> Generator[None, None, None]:
            found.append((yield from warnings.survey_in_slices()))

        def finished(result: object) -> None:
            self._under_way = False
            waiting, self._waiting = self._waiting, []
            if isinstance(result, Failure):
                self.log.failure("rules: surveying them for warnings failed", result)
                for deferred in waiting:
                    deferred.errback(result)
                return
            if self._current is warnings:
                self._found = found[0]
            for deferred in waiting:
                deferred.callback(found[0])

        self._cooperator.cooperate(slices()).whenDone().addBoth(finished)
