"""Dial patterns, mappings, grants, and the decision about a call."""

from pbxrouter.rules.engine import RulesEngine
from pbxrouter.rules.model import Decision, Facts, Mapping, User, Verdict
from pbxrouter.rules.patterns import Pattern
from pbxrouter.rules.reloader import RulesKeeper
from pbxrouter.rules.ruleset import RuleSet

__all__ = [
    "Decision",
    "Facts",
    "Mapping",
    "Pattern",
    "RuleSet",
    "RulesEngine",
    "RulesKeeper",
    "User",
    "Verdict",
]
