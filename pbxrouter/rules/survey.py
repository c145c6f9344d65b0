"""All warnings of the rules in force, found between calls and kept until the rules change.

A look at 100 000 mappings takes seconds. It is done in the reactor's own thread in slices of
about a millisecond, so that no call waits longer for it; in another thread it would take the
interpreter from the calls for longer at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Cooperator
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbxrouter.rules.ruleset import RuleSet
from pbxrouter.rules.warnings import RuleWarnings, Survey

TURN_S: Final = 0.001
"""How long we look at a time."""
BREATH_S: Final = 0.0005
"""And how long not, so that whatever else waits is done."""


class RuleSurveyor:
    """The warnings of the rules in force.

    Args:
        rules: the rules of this moment, as RulesEngine has them; None before there are any.
        applications: the names that drivers provide, lower case.
    """

    log = Logger()

    def __init__(self, rules: Callable[[], RuleSet | None], applications: Collection[str], clock: IReactorTime) -> None:
        self._rules = rules
        self._applications = frozenset(applications)

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
        """Those of the rules of this moment, for a page of them; None before there are rules."""
        rules = self._rules()
        if rules is not None and (self._current is None or self._current.rules is not rules):
            self._current = RuleWarnings(rules, self._applications)
            self._found = None
        return self._current

    @property
    def known(self) -> Survey | None:
        """What is known of all without waiting; begins to look if nothing is."""
        warnings = self.warnings
        if warnings is not None and self._found is None and not self._under_way:
            self._look(warnings)
        return self._found

    def survey(self) -> Deferred[Survey | None]:
        """A look at all the rules, at once if it was done since they changed; None before there are rules.

        If they change meanwhile the answer is of the rules as they were.
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
                self.log.failure("looking through the rules broke", result)
                for deferred in waiting:
                    deferred.errback(result)
                return
            if self._current is warnings:
                self._found = found[0]
            for deferred in waiting:
                deferred.callback(found[0])

        self._cooperator.cooperate(slices()).whenDone().addBoth(finished)
