"""Explains a decision: a headline, and why other mappings that match the number were not chosen.

Shared by ``pbxrouter explain``, the console and the API.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pbxrouter.rules.model import (
    Decision,
    Mapping,
    Verdict,
    normalise_number,
)
from pbxrouter.rules.ruleset import RuleSet
from pbxrouter.text import Sentence, sentence

MAX_OTHERS: Final = 20
"""How many other matching mappings are named."""

VERDICTS: Final = {
    Verdict.ALLOW: Sentence("allowed"),
    Verdict.PIN: Sentence("a PIN is needed"),
    Verdict.DENY: Sentence("denied"),
    Verdict.INVALID: Sentence("invalid number"),
}
"""What is said of each verdict."""
FAIL: Final = "fail"
"""The decision, in JSON, about a call that the rules allow and that cannot work."""
CANNOT_WORK: Final = Sentence("cannot work")


def headline(decision: Decision, caller: str | None) -> Sentence:
    """The result of a decision in one sentence.

    Args:
        caller: None if the call shows no number.
    """
    values: dict[str, object] = {
        "verdict": CANNOT_WORK if decision.cannot_work else VERDICTS[decision.verdict],
        "who": caller if caller else Sentence("a caller without number"),
        "number": decision.number,
    }
    mapping, forwarder = decision.mapping, decision.forwarded_by
    if forwarder:
        values["forwarder"] = forwarder
    if mapping is None or decision.granted_by is None:
        return sentence(
            "{verdict}: {who}, forwarded by {forwarder}, dials {number}"
            if forwarder
            else "{verdict}: {who} dials {number}",
            **values,
        )
    return sentence(
        "{verdict}: {who}, forwarded by {forwarder}, dials {number}, which runs {application}"
        if forwarder
        else "{verdict}: {who} dials {number}, which runs {application}",
        **values,
        application=f"{mapping.application} {mapping.data}".rstrip(),
    )


def action_of(decision: Decision) -> Sentence | None:
    """What Asterisk is told to run for an allowed call, as a sentence; None if it is not allowed, or not known."""
    if not (decision.action and decision.is_allowed):
        return None
    return sentence("Asterisk runs {action}", action=decision.action)


def runners_up(rules: RuleSet, decision: Decision) -> tuple[Sentence, ...]:
    """For each other mapping that matches the dialled number, why it was not chosen.

    Visits all mappings, about a microsecond each; with many, call it in a thread. At most MAX_OTHERS are
    named; a further sentence says how many are left.
    """
    number = normalise_number(decision.number)
    if number is None:
        return ()
    winner = decision.mapping
    found = [
        (pattern.order, mapping)
        for pattern, mapping in rules.entries.values()
        if pattern.matches(number) and (winner is None or mapping.map_id != winner.map_id)
    ]
    found.sort(key=lambda candidate: (not candidate[1].enabled, candidate[0], candidate[1].map_id))
    steps = [_why_not(mapping, winner, rules) for _, mapping in found[:MAX_OTHERS] if winner or mapping.enabled]
    if len(found) > MAX_OTHERS:
        steps.append(sentence("and {count} more patterns match", count=len(found) - MAX_OTHERS))
    return tuple(steps)


def _why_not(mapping: Mapping, winner: Mapping | None, rules: RuleSet) -> Sentence:
    if not mapping.enabled:
        return sentence("{pattern} would match but is disabled", pattern=mapping.pattern)
    first = rules.repeated.get(mapping.map_id)
    if first is not None:
        return sentence(
            "{pattern} matches too, but mapping {map_id} has the same pattern and comes first"
            if winner
            else "{pattern} would match, but mapping {map_id} has the same pattern and comes first",
            pattern=mapping.pattern,
            map_id=first.map_id,
        )
    assert winner is not None  # one of the mappings that match and are not repeated
    return sentence(
        "{pattern} matches too, but {winner} is more specific and comes first",
        pattern=mapping.pattern,
        winner=winner.pattern,
    )


def as_dict(
    decision: Decision, caller: str | None, problems: Iterable[Sentence], beside: Iterable[Sentence] = ()
) -> dict[str, object]:
    """Convert a decision to a JSON object.

    Args:
        problems: of the rules, see RuleSet.
        beside: from ``runners_up``.
    """
    mapping = decision.mapping
    return {
        "number": decision.number,
        "caller": caller,
        "forwarded_by": decision.forwarded_by or None,
        "decision": FAIL if decision.cannot_work else decision.verdict.value,
        "pattern": mapping.pattern if mapping else None,
        "application": mapping.application if mapping else None,
        "data": mapping.data if mapping else None,
        "map_id": mapping.map_id if mapping else None,
        "granted_by": decision.granted_by,
        "action": decision.action or None,
        "cannot_work": decision.problem.english if decision.problem else None,
        "trace": decision.trace_lines(),
        "others": [other.english for other in beside],
        "problems": [problem.english for problem in problems],
    }
