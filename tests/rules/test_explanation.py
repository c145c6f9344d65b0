"""A decision in words: the headline, and why others did not win."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.rules.explanation import (
    MAX_OTHERS,
    as_dict,
    headline,
    runners_up,
)
from pbxrouter.rules.model import Facts, Mapping
from pbxrouter.rules.ruleset import RuleSet


def rules_of(*patterns: str, off: str = "") -> RuleSet:
    """Rules with these patterns, numbered from 1; 33 may use the first."""
    mappings = [Mapping(number, text, "dial", "SIP", text != off) for number, text in enumerate(patterns, 1)]
    return RuleSet.build(mappings, [("33", frozenset({1}))], [], str)


class ExplainedTests(SynchronousTestCase):
    """Decisions of small rule sets."""

    def words(self, rules: RuleSet, number: str, caller: str | None = "33") -> list[str]:
        """What is said of the others."""
        return [runner_up.english for runner_up in runners_up(rules, rules.decide(Facts(caller, number)))]

    def test_headline(self) -> None:
        """Who dials what, and what it runs if it may."""
        rules = rules_of("2X", "3X")
        for caller, number, said in (
            ("33", "21", "allowed: 33 dials 21, which runs dial SIP"),
            ("33", "31", "a PIN is needed: 33 dials 31"),
            (None, "99", "invalid number: a caller without number dials 99"),
        ):
            self.assertEqual(headline(rules.decide(Facts(caller, number)), caller).english, said)

    def test_the_less_exact_ones(self) -> None:
        """In Asterisk's order."""
        self.assertEqual(
            self.words(rules_of("21", "_2.", "2X", "3X"), "21"),
            [
                "2X matches too, but 21 is more specific and comes first",
                "_2. matches too, but 21 is more specific and comes first",
            ],
        )

    def test_twice(self) -> None:
        """Of two equal ones the first counts."""
        self.assertEqual(
            self.words(rules_of("2X", "_2X"), "21"),
            ["_2X matches too, but mapping 1 has the same pattern and comes first"],
        )

    def test_switched_off(self) -> None:
        """It would match; where nothing else does, the trace has said so already."""
        self.assertEqual(self.words(rules_of("2X", "21", off="21"), "21"), ["21 would match but is disabled"])
        self.assertEqual(self.words(rules_of("3X", "21", off="21"), "21"), [])

    def test_no_number(self) -> None:
        """Nothing matches what cannot be dialled."""
        self.assertEqual(self.words(rules_of("2X"), "2&1"), [])

    def test_many(self) -> None:
        """They are counted, not listed."""
        rules = rules_of("2X", *("_2[0-9]" for _ in range(50)))
        found = self.words(rules, "21")
        self.assertEqual(len(found), MAX_OTHERS + 1)
        self.assertEqual(found[-1], "and 30 more patterns match")

    def test_as_json(self) -> None:
        """Keys that programs rely on."""
        rules = rules_of("2X", "21", off="21")
        decision = rules.decide(Facts("33", "21"))
        table = as_dict(decision, "33", rules.problems, runners_up(rules, decision))
        self.assertEqual((table["decision"], table["map_id"], table["granted_by"]), ("allow", 1, "33"))
        self.assertEqual(table["others"], ["21 would match but is disabled"])
