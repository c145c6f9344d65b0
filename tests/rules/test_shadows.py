"""Reachability: which mappings can be chosen, found as if every number were tried, at a bounded cost."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.rules import shadows
from pbxrouter.rules.model import Mapping, normalise_number
from pbxrouter.rules.patterns import Pattern
from pbxrouter.rules.ruleset import RuleSet
from pbxrouter.rules.shadows import (
    DIALABLE,
    MAX_NODES,
    MAX_WINNERS,
    Reachability,
    ReachResult,
    example,
    reachability,
)
from tests.fakes import hash_pin
from tests.work import calls

# In these rules the digits 4 to 8 are interchangeable, and so are * and +.
ELEMENTS = st.sampled_from("X N Z 1 2 [12] [1-3] [5-1] [5-19] [] # s . !".split())
KEYS = "012359#*"
NUMBERS = ["".join(keys) for length in range(1, 5) for keys in itertools.product(KEYS, repeat=length)]


def rules_of(*patterns: str) -> RuleSet:
    """Rules with a mapping for each pattern, numbered from 0."""
    return RuleSet.build(
        [Mapping(map_id, pattern, "dial", "SIP") for map_id, pattern in enumerate(patterns)], [], [], hash_pin
    )


class Reaching(SynchronousTestCase):
    """The reachability of the last of several mappings."""

    def reachability(self, *patterns: str) -> tuple[Reachability, list[str]]:
        """The reachability of the last mapping, and the patterns that win in its place."""
        reach = reachability(rules_of(*patterns), len(patterns) - 1)
        return reach.reachability, [mapping.pattern for mapping in reach.winners]

    def test_wins(self) -> None:
        """A mapping that can win has a number that leads to it."""
        for patterns in (
            ("2X",),
            ("21", "2X"),
            ("2X!", "2."),
            ("X!", "2XX"),
            ("[1-3]X", "XX"),
            ("!",),
            (".",),
        ):
            rules = rules_of("991", *patterns)
            reach = reachability(rules, len(patterns))
            self.assertEqual(reach.reachability, Reachability.WINS, patterns)
            winner = rules.winner(reach.number)
            assert winner is not None
            self.assertEqual(winner[1].map_id, len(patterns))
            self.assertEqual(normalise_number(reach.number), reach.number)

    def test_shadowed(self) -> None:
        """A mapping may be shadowed by one or several others; only those that win are named."""
        for patterns, winners in (
            (("1X", "2X", "[12]X"), ["1X", "2X"]),
            (("1X", "3X", "[12]X"), None),
            (("2X!", "2."), None),  # by 2*
            (("2[0-9*#+]!", "2."), ["2[0-9*#+]!"]),
            (("_20", "2[0-9*#+]!", "2."), ["2[0-9*#+]!"]),
            (("ZX", "0X", "XX"), ["0X", "ZX"]),
            (("2.", "_2!"), None),
            (("2", "2.", "_2!"), ["2", "2."]),
            ((*(f"2{digit}" for digit in range(10)), "2X"), [f"2{digit}" for digit in range(10)]),
        ):
            reachability, found = self.reachability(*patterns)
            if winners is None:
                self.assertEqual(reachability, Reachability.WINS, patterns)
            else:
                self.assertEqual((reachability, sorted(found)), (Reachability.SHADOWED, sorted(winners)), patterns)

    def test_repeated(self) -> None:
        """Of equal patterns only the first is loaded, also if it matches nothing (docs/asterisk.md D2)."""
        for patterns in (
            ("2X", "2X"),
            ("_2X", "2X"),
            ("2X", "2[0-9]"),
            ("2-1", "21"),
            ("_2[5-1]", "_2"),
            ("NX", "[2-9]X"),
        ):
            self.assertEqual(self.reachability(*patterns), (Reachability.REPEATED, [patterns[0]]))
        self.assertEqual(self.reachability("21", "_21"), (Reachability.SHADOWED, ["21"]))

    def test_nothing(self) -> None:
        """A pattern with an empty set or letters matches no number that a phone can dial."""
        for pattern in ("2[5-1]", "s", "_s!", "[abc]X", "X[=]", "2X$"):
            self.assertEqual(self.reachability("21", pattern), (Reachability.NOTHING, []), pattern)

    def test_example(self) -> None:
        """A number that a pattern matches, of the first key that fits each place; None if no phone can dial one."""
        for text, number in (
            ("21", "21"),
            ("2XZN", "2012"),
            ("_2.", "20"),
            ("_2!", "2"),
            ("_!", "0"),
            ("_.", "0"),
            ("_[+#*]", "*"),
            ("_[9a]", "9"),
            ("_2[ab]X", None),
            ("_2[5-1]", None),
            ("_2s1", None),
            ("s2", None),
            ("s", None),
        ):
            self.assertEqual(example(Pattern.parse(text)), number, text)

    def test_what_is_found(self) -> None:
        """A mapping that wins has a number, one that does not has its winners, and an unknown one neither."""
        rules = rules_of("1X", "2X", "[12]X", "_1X", "3X", "[5-1]")
        first, second, *_ = [mapping for _, mapping in rules.entries.values()]
        wins = reachability(rules, 4)
        self.assertEqual(
            (wins, Pattern.parse("3X").matches(wins.number)), (ReachResult(Reachability.WINS, wins.number), True)
        )
        for map_id, result in (
            (2, ReachResult(Reachability.SHADOWED, "", (first, second))),
            (3, ReachResult(Reachability.REPEATED, "", (first,))),
            (5, ReachResult(Reachability.NOTHING, "", ())),
        ):
            found = reachability(rules, map_id)
            self.assertEqual((found.reachability, found.number), (result.reachability, result.number))
            self.assertEqual(set(found.winners), set(result.winners))
        self.assertEqual(reachability(rules, 2, nodes=0), ReachResult(Reachability.NOT_KNOWN, "", ()))

    def test_as_many_winners_as_are_followed(self) -> None:
        """Up to 256 winners are found; with one more the result is unknown."""
        numbers = [f"2{a}{b}{c}" for a in range(4) for b in range(8) for c in range(8)]
        reachability, winners = self.reachability(*numbers, "_2[0-3][0-7][0-7]")
        self.assertEqual((reachability, sorted(winners), len(winners)), (Reachability.SHADOWED, numbers, MAX_WINNERS))
        self.assertEqual(self.reachability(*numbers, "2400", "_2[0-3][0-7][0-7]!"), (Reachability.NOT_KNOWN, []))
        numbers.append("2080")
        self.assertEqual(self.reachability(*numbers, "_208[0-0]", "_2[0-3][0-7][0-7]")[0], Reachability.SHADOWED)
        more = [f"_28{a}{b}!" for a in range(8) for b in range(8)]
        self.assertEqual(self.reachability(*numbers, *more, "_2[0-38][0-7][0-7]"), (Reachability.NOT_KNOWN, []))

    def test_states(self) -> None:
        """The console and the API name the states so."""
        self.assertEqual(
            [state.value for state in Reachability], ["wins", "shadowed", "repeated", "nothing", "not known"]
        )

    def test_which_number_is_found(self) -> None:
        """The number found is the first that the pattern matches; if another wins that, one with other digits."""
        for patterns, number in (
            (["2XX"], "200"),
            (["0X", "1X", "XX"], "70"),
            (["21X", "20X", "2XX"], "270"),
            (["000", "111", "XXX"], "703"),
            (["_0XXX", "1XXX", "2XX!", "XXXX"], "7036"),
        ):
            self.assertEqual(reachability(rules_of(*patterns), len(patterns) - 1).number, number, patterns)

    def test_winners_that_are_not_needed(self) -> None:
        """Of up to eight winners those that others cover are left out; of more, or without steps for it, none is."""
        rules = rules_of("2[0-1]X", "2[2-3]X", "2[1-2]X", "2[0-3]X")
        first, second, between, last = (entry for entry in rules.entries.values())
        pattern = last[0]
        three = [between, first, second]
        self.assertEqual(shadows._needed(pattern, three, 1000), [first, second])
        self.assertEqual(shadows._needed(pattern, three, 0), three)
        self.assertEqual(shadows._needed(pattern, [first], 1000), [first])
        self.assertEqual(shadows._needed(pattern, [last], 1000), [last])
        for count in (8, 9):
            digits = range(count - 1)
            rules = rules_of("2[01]X", *(f"2{digit}X" for digit in digits), f"2[0-{digits[-1]}]X")
            *winners, last = rules.entries.values()
            left = shadows._needed(last[0], winners, 10_000)
            self.assertEqual([mapping.map_id for _, mapping in left], list(range(count == 8, count)))

    def test_behind_shorter_ones(self) -> None:
        """Patterns that end sooner with a dot or a bang count for the longer numbers, too."""
        self.assertEqual(self.reachability("0.", "XXX"), (Reachability.WINS, []))
        reachability, winners = self.reachability("[0-4].", "[5-9]!", "XXXX")
        self.assertEqual((reachability, sorted(winners)), (Reachability.SHADOWED, ["[0-4].", "[5-9]!"]))

    def test_switched_off(self) -> None:
        """Disabled mappings shadow no others, and are not examined themselves."""
        rules = RuleSet.build(
            [Mapping(1, "2X", "dial", "", enabled=False), Mapping(2, "2X", "dial", "")], [], [], hash_pin
        )
        self.assertEqual(reachability(rules, 1).reachability, Reachability.NOT_KNOWN)
        self.assertEqual(reachability(rules, 2).reachability, Reachability.WINS)

    def test_given_up(self) -> None:
        """With too many winners or too few steps the result is unknown."""
        numbers = [f"2{number:03}" for number in range(1000)]
        self.assertEqual(self.reachability(*numbers, "2XXX"), (Reachability.NOT_KNOWN, []))
        self.assertEqual(reachability(rules_of("1X", "2X", "[12]X"), 2, nodes=2).reachability, Reachability.NOT_KNOWN)

    def test_hard(self) -> None:
        """A hard question ends after a bounded number of steps."""
        rows = [f"_{'X' * place}{digit}{'X' * (14 - place)}!" for place in range(15) for digit in "[0-4] [5-8]".split()]
        rules = rules_of(*rows, f"_{'X' * 15}!")
        with calls() as count:
            reachability(rules, len(rows))
        self.assertLess(count.total, 20 * MAX_NODES)

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(
            st.builds(
                lambda mark, parts: mark + "".join(parts),
                st.sampled_from(["", "_"]),
                st.lists(ELEMENTS, min_size=1, max_size=3),
            ),
            min_size=1,
            max_size=7,
        )
    )
    def test_as_if_all_were_tried(self, patterns: list[str]) -> None:
        """Each mapping has the result of trying every number."""
        rules = rules_of(*patterns)
        won: dict[int, str] = {}
        for number in NUMBERS:
            winner = rules.winner(number)
            if winner is not None:
                won.setdefault(winner[1].map_id, number)
        for map_id, (pattern, _) in rules.entries.items():
            reach = reachability(rules, map_id)
            matched = [number for number in NUMBERS if pattern.matches(number)]
            if reach.reachability is Reachability.WINS:
                self.assertIn(map_id, won)
                winner = rules.winner(reach.number)
                assert winner is not None
                self.assertEqual(winner[1].map_id, map_id)
                continue
            self.assertNotIn(map_id, won)
            self.assertEqual(reach.reachability is Reachability.NOTHING, not matched)
            self.assertNotEqual(reach.reachability, Reachability.NOT_KNOWN)
            if reach.reachability is Reachability.SHADOWED:
                winners = [rules.entries[winner.map_id][0] for winner in reach.winners]
                for number in matched:
                    self.assertTrue(any(winner.matches(number) for winner in winners))
                for left_out in winners:  # each is needed
                    others = [winner for winner in winners if winner is not left_out]
                    self.assertFalse(all(any(other.matches(number) for other in others) for number in matched))

    def test_dialable(self) -> None:
        """The characters that are tried are those that patterns distinguish."""
        self.assertEqual({chr(code) for code in range(256) if normalise_number(chr(code))}, set(DIALABLE))

    def test_many(self) -> None:
        """Among many rules the work depends on the few that matter."""
        rules = rules_of(*(f"00{number:04}X." for number in range(10_000)), "00000X!", "0[0]0[0-9]0[0-9]X.")
        with calls() as count:
            fates = [reachability(rules, map_id).reachability for map_id in range(9_900, 10_002)]
        self.assertLess(count.total, 1000 * len(fates))
        self.assertEqual(set(fates[:100]), {Reachability.WINS})
