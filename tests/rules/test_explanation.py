"""A decision in words: the headline, and why others did not win."""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.rules.explanation import (
    MAX_OTHERS,
    action_of,
    as_dict,
    headline,
    runners_up,
)
from pbxrouter.rules.model import Facts, Forwarder, Mapping
from pbxrouter.rules.ruleset import RuleSet
from pbxrouter.text import sentence


def rules_of(*patterns: str, off: str = "") -> RuleSet:
    """Rules with these patterns, numbered from 1; 33 may use the first."""
    mappings = [Mapping(number, text, "dial", "SIP", text != off) for number, text in enumerate(patterns, 1)]
    return RuleSet.build(mappings, [("33", frozenset({1}))], [], str)


class ExplainedTests(SynchronousTestCase):
    """Decisions of small rule sets."""

    def words(self, rules: RuleSet, number: str, caller: str | None = "33") -> list[str]:
        """The reasons why other patterns did not win."""
        return [runner_up.english for runner_up in runners_up(rules, rules.decide(Facts(caller, number)))]

    def test_headline(self) -> None:
        """The headline has caller and number, and the application of an allowed call."""
        rules = rules_of("2X", "3X")
        for caller, number, said in (
            ("33", "21", "allowed: 33 dials 21, which runs dial SIP"),
            ("33", "31", "a PIN is needed: 33 dials 31"),
            (None, "99", "invalid number: a caller without number dials 99"),
        ):
            self.assertEqual(headline(rules.decide(Facts(caller, number)), caller).english, said)

    def test_headline_of_each_verdict(self) -> None:
        """The headline of a refused call has no application, and one without a number says so."""
        rules = RuleSet.build(
            [Mapping(1, "2X", "voicemail", ""), Mapping(2, "3X", "dial", "SIP")],
            [("33", frozenset({1}))],
            [("ana", "1", frozenset({1}))],
            str,
        )
        for facts, said in (
            (Facts("33", "21"), "allowed: 33 dials 21, which runs voicemail"),
            (Facts("", "2-1", "1"), "allowed: a caller without number dials 21, which runs voicemail"),
            (Facts("33", "31", "1"), "denied: 33 dials 31"),
        ):
            self.assertEqual(headline(rules.decide(facts), facts.caller).english, said)

    def test_action(self) -> None:
        """What Asterisk runs is told of an allowed call only, if it is known."""
        decision = rules_of("2X", "3X").decide(Facts("33", "21"))
        self.assertIsNone(action_of(decision))
        known = replace(decision, action="Dial(SIP/21)")
        said = action_of(known)
        assert said is not None
        self.assertEqual(said.english, "Asterisk runs Dial(SIP/21)")
        self.assertIsNone(action_of(replace(known, problem=sentence("no"))))
        self.assertIsNone(action_of(replace(rules_of("2X", "3X").decide(Facts("33", "31")), action="Dial(SIP/31)")))

    def test_cannot_work(self) -> None:
        """Only what is allowed can fail to work; then it is not allowed."""
        allowed, asks = (rules_of("2X", "3X").decide(Facts("33", number)) for number in ("21", "31"))
        self.assertEqual((allowed.is_allowed, allowed.cannot_work), (True, False))
        broken = replace(allowed, problem=sentence("no"))
        self.assertEqual((broken.is_allowed, broken.cannot_work), (False, True))
        self.assertFalse(replace(asks, problem=sentence("no")).cannot_work)

    def test_headline_of_a_forwarded_call(self) -> None:
        """The headline of a forwarded call names who forwarded it."""
        rules = rules_of("2X", "3X")
        for number, said in (
            ("21", "allowed: 44, forwarded by 33, dials 21, which runs dial SIP"),
            ("31", "a PIN is needed: 44, forwarded by 33, dials 31"),
        ):
            decision = rules.decide(Facts("44", number, forwarders=(Forwarder(number="33"),)))
            self.assertEqual(headline(decision, "44").english, said)

    def test_the_less_exact_ones(self) -> None:
        """Less exact patterns are listed in Asterisk's order."""
        self.assertEqual(
            self.words(rules_of("21", "_2.", "2X", "3X"), "21"),
            [
                "2X matches too, but 21 is more specific and comes first",
                "_2. matches too, but 21 is more specific and comes first",
            ],
        )

    def test_twice(self) -> None:
        """Of two equal patterns the first counts."""
        self.assertEqual(
            self.words(rules_of("2X", "_2X"), "21"),
            ["_2X matches too, but mapping 1 has the same pattern and comes first"],
        )

    def test_switched_off(self) -> None:
        """A disabled mapping that would match is listed, unless the trace names it already."""
        self.assertEqual(self.words(rules_of("2X", "21", off="21"), "21"), ["21 would match but is disabled"])
        self.assertEqual(self.words(rules_of("3X", "21", off="21"), "21"), [])

    def test_order(self) -> None:
        """Patterns in force come first, in Asterisk's order and equal ones by map_id; then disabled ones, likewise."""
        mappings = [
            Mapping(9, "_2.", "dial", "SIP"),
            Mapping(8, "_2X", "dial", "SIP"),
            Mapping(7, "2X", "dial", "SIP"),
            Mapping(5, "_2[0-9]", "dial", "SIP"),
            Mapping(4, "_2!", "dial", "SIP", enabled=False),
            Mapping(3, "2[1]", "dial", "SIP", enabled=False),
            Mapping(2, "21", "dial", "SIP"),
        ]
        self.assertEqual(
            self.words(RuleSet.build(mappings, [], [], str), "21"),
            [
                "_2[0-9] matches too, but mapping 8 has the same pattern and comes first",
                "2X matches too, but mapping 8 has the same pattern and comes first",
                "_2X matches too, but 21 is more specific and comes first",
                "_2. matches too, but 21 is more specific and comes first",
                "2[1] would match but is disabled",
                "_2! would match but is disabled",
            ],
        )

    def test_ignored_for_one_that_never_matches(self) -> None:
        """A pattern that would match is ignored, as by Asterisk, where an equal one that never matches precedes it."""
        self.assertEqual(
            self.words(rules_of("_2[5-1]", "_2", "2.", off="2."), "2"),
            ["_2 would match, but mapping 1 has the same pattern and comes first"],
        )

    def test_no_number(self) -> None:
        """Without a number nothing matches."""
        self.assertEqual(self.words(rules_of("2X", "2&1", "_X&1"), "2&1"), [])

    def test_many(self) -> None:
        """Many others are counted, not listed."""
        rules = rules_of("2X", *("_2[0-9]" for _ in range(50)))
        found = self.words(rules, "21")
        self.assertEqual(len(found), MAX_OTHERS + 1)
        self.assertEqual(found[-1], "and 30 more patterns match")
        for others in (MAX_OTHERS, MAX_OTHERS + 1):
            found = self.words(rules_of("2X", *("_2[0-9]" for _ in range(others))), "21")
            self.assertEqual(len(found), others)
        self.assertEqual(found[-1], "and 1 more patterns match")

    def test_as_json(self) -> None:
        """The JSON has the keys that programs rely on."""
        rules = rules_of("2X", "21", off="21")
        decision = rules.decide(Facts("33", "21"))
        table = as_dict(decision, "33", rules.problems, runners_up(rules, decision))
        self.assertEqual((table["decision"], table["map_id"], table["granted_by"]), ("allow", 1, "33"))
        self.assertEqual(table["others"], ["21 would match but is disabled"])

    def test_as_json_in_full(self) -> None:
        """The JSON has every key, with null for what a decision does not have."""
        rules = rules_of("2X", "[")
        self.assertEqual(
            as_dict(rules.decide(Facts("33", "2-1")), "33", rules.problems, [sentence("beside")]),
            {
                "number": "21",
                "caller": "33",
                "forwarded_by": None,
                "decision": "allow",
                "pattern": "2X",
                "application": "dial",
                "data": "SIP",
                "map_id": 1,
                "granted_by": "33",
                "action": None,
                "cannot_work": None,
                "trace": ["21 matches 2X: dial SIP", "33 may use 2X by its own grant"],
                "others": ["beside"],
                "problems": ["mapping 2 is left out: pattern '[' has a [ without its ]"],
            },
        )
        self.assertEqual(
            as_dict(rules.decide(Facts(None, "9")), None, ()),
            {
                "number": "9",
                "caller": None,
                "forwarded_by": None,
                "decision": "invalid",
                "pattern": None,
                "application": None,
                "data": None,
                "map_id": None,
                "granted_by": None,
                "action": None,
                "cannot_work": None,
                "trace": ["no pattern matches 9"],
                "others": [],
                "problems": [],
            },
        )
