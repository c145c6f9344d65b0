"""Dial patterns, mappings, grants, and the decision about a call.

The engine and its reloader need Twisted and are imported when first asked for: ``pbxrouter explain``
decides without them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from pbxrouter.rules.model import Decision, Facts, Mapping, User, Verdict
from pbxrouter.rules.patterns import Pattern
from pbxrouter.rules.ruleset import RuleSet

if TYPE_CHECKING:
    from pbxrouter.rules.engine import RulesEngine
    from pbxrouter.rules.reloader import RulesReloader

__all__ = [
    "Decision",
    "Facts",
    "Mapping",
    "Pattern",
    "RuleSet",
    "RulesEngine",
    "RulesReloader",
    "User",
    "Verdict",
]

_LAZY = {"RulesEngine": "engine", "RulesKeeper": "reloader"}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(f"pbxrouter.rules.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
