"""The rules engine: decides every call, whichever way it comes in.

``RulesEngine.decide`` answers from a RuleSet in memory, so no call waits for the database.
``RulesReloader`` replaces that RuleSet when the rules change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from pbxrouter.errors import RulesNotLoaded
from pbxrouter.rules.applications import Applications
from pbxrouter.rules.model import Decision, Facts
from pbxrouter.rules.ruleset import RuleSet


class RulesEngine:
    """Decides calls by the rules now in force.

    Args:
        applications: the names that drivers provide, lower case; or Applications, which know what they do.
    """

    def __init__(self, applications: Collection[str]) -> None:
        self._applications = Applications.of(applications)
        self._rules: RuleSet | None = None
        self._waiting: list[Callable[[], object]] = []

    @property
    def rules(self) -> RuleSet | None:
        """The rules in force; None until they have been loaded once."""
        return self._rules

    def on_ready(self, tell: Callable[[], object]) -> None:
        """Call the listener when rules have been loaded for the first time; at once if they have been."""
        if self._rules is None:
            self._waiting.append(tell)
        else:
            tell()

    def replace(self, rules: RuleSet) -> None:
        """Decide by these rules from now on."""
        self._rules = rules
        waiting, self._waiting = self._waiting, []
        for tell in waiting:
            tell()

    def decide(self, facts: Facts) -> Deferred[Decision]:
        """Decide a call. Fires at once; before the rules have been loaded it fails with RulesNotLoaded."""
        if self._rules is None:
            return fail(RulesNotLoaded())
        try:
            return succeed(self._decide(self._rules, facts))
        except Exception:
            return fail(Failure())

    def _decide(self, rules: RuleSet, facts: Facts) -> Decision:
        return self._applications.examined(rules.decide(facts), facts.caller)
