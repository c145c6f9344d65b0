"""Dial patterns, mappings, grants, and the decision about a call.

The engine and its reloader need Twisted and are imported when first asked for: ``pbxrouter explain``
decides without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbxrouter.lazy import lazy_names
from pbxrouter.rules.applications import Action, Applications
from pbxrouter.rules.explanation import action_of, as_dict, headline, runners_up
from pbxrouter.rules.model import (
    MAX_NUMBER,
    NO_CALLER,
    Decision,
    Facts,
    Forwarder,
    Mapping,
    User,
    Verdict,
    normalise_number,
)
from pbxrouter.rules.patterns import Pattern
from pbxrouter.rules.phones import extension_number, extension_problem, is_context, read_endpoint, read_phone
from pbxrouter.rules.question import facts_of
from pbxrouter.rules.ruleset import PIN_IS_ASKED, RuleSet
from pbxrouter.rules.shadows import example
from pbxrouter.rules.warnings import (
    CODES,
    KEPT,
    NOTES,
    RuleWarning,
    Survey,
)
from pbxrouter.rules.written_numbers import WrittenNumber, country_exists, read_written

if TYPE_CHECKING:
    from pbxrouter.rules.engine import RulesEngine
    from pbxrouter.rules.reloader import RulesReloader
    from pbxrouter.rules.survey import RuleSurveyor

__all__ = [
    "CODES",
    "KEPT",
    "MAX_NUMBER",
    "NOTES",
    "NO_CALLER",
    "PIN_IS_ASKED",
    "Action",
    "Applications",
    "Decision",
    "Facts",
    "Forwarder",
    "Mapping",
    "Pattern",
    "RuleSet",
    "RuleSurveyor",
    "RuleWarning",
    "RulesEngine",
    "RulesReloader",
    "Survey",
    "User",
    "Verdict",
    "WrittenNumber",
    "action_of",
    "as_dict",
    "country_exists",
    "example",
    "extension_number",
    "extension_problem",
    "facts_of",
    "headline",
    "is_context",
    "normalise_number",
    "read_endpoint",
    "read_phone",
    "read_written",
    "runners_up",
]

__getattr__ = lazy_names(__name__, {"RulesEngine": "engine", "RulesReloader": "reloader", "RuleSurveyor": "survey"})
