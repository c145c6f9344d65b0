"""Who may dial what: every verdict with its trace, and what a RuleSet leaves out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.rules.model import (
    Facts,
    Mapping,
    Verdict,
    normalise_number,
)
from pbxrouter.rules.ruleset import RuleSet
from tests.fakes import hash_pin, workshop_rules


def words(rules: RuleSet, caller: str | None, number: str, pin: str | None = None) -> tuple[Verdict, list[str]]:
    """The verdict and the trace."""
    decision = rules.decide(Facts(caller, number, pin))
    return decision.verdict, decision.trace_lines()


class Numbers(SynchronousTestCase):
    """What can be dialled."""

    def test_taken(self) -> None:
        """Dashes mean nothing."""
        for text, number in (("21", "21"), ("5-5", "55"), ("*72#", "*72#"), ("+34", "+34"), ("-1-", "1")):
            self.assertEqual(normalise_number(text), number)

    def test_refused(self) -> None:
        """Nothing that means something to Dial, no other script's digits, no line end."""
        for text in (
            "",
            "-",
            "--",
            "_2X",
            "2&1",
            "2,1",
            "2/1",
            " 2",
            "2\n",
            "\n2",
            "٢",
            "s",
            "2\udcff",
            "2\0",
        ):
            self.assertIsNone(normalise_number(text), repr(text))

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """What is taken holds the keys of a phone only."""
        number = normalise_number(text)
        self.assertTrue(number is None or (number and not set(number) - set("0123456789*#+")))


class Deciding(SynchronousTestCase):
    """The workshop's rules."""

    rules = workshop_rules()

    def test_own_grant(self) -> None:
        """An extension's grant allows, and says so."""
        decision = self.rules.decide(Facts("33", "2-1"))
        self.assertEqual((decision.verdict, decision.number, decision.granted_by), (Verdict.ALLOW, "21", "33"))
        self.assertEqual(decision.trace_lines(), ["21 matches 2X: dial SIP", "33 may use 2X by its own grant"])
        assert decision.mapping is not None
        self.assertEqual(decision.mapping.map_id, 2)

    def test_asks_for_a_pin(self) -> None:
        """No grant, no extension, no number: in each case it says which."""
        for caller, why in (
            ("33", "33 has no grant for 3X"),
            ("44", "44 is not among the extensions"),
            ("", "the call shows no caller number"),
            ("unknown", "the call shows no caller number"),
            (None, "the call shows no caller number"),
        ):
            verdict, trace = words(self.rules, caller, "34")
            self.assertEqual(verdict, Verdict.PIN)
            self.assertEqual(trace, ["34 matches 3X: dial IAX2", why, "a PIN is asked for"])

    def test_by_pin(self) -> None:
        """A PIN counts when its user has a grant for that very mapping."""
        for number, pin, verdict, why in (
            ("34", "123456", Verdict.ALLOW, "pepe may use 3X by PIN"),
            ("34", "000000", Verdict.DENY, "the PIN does not belong to any user"),
            ("34", "", Verdict.DENY, "no PIN was keyed"),
            ("12345678", "123456", Verdict.DENY, "the PIN belongs to pepe, who has no grant for XXXXXXXX"),
        ):
            came, trace = words(self.rules, "33", number, pin)
            self.assertEqual((came, trace[-1]), (verdict, why))
            self.assertNotIn("123456 ", " ".join(trace[1:]))

    def test_pin_is_not_needed(self) -> None:
        """Who has the grant is not asked what he keyed."""
        self.assertEqual(words(self.rules, "33", "21", "wrong")[0], Verdict.ALLOW)

    def test_nothing_there(self) -> None:
        """No pattern, or no number at all."""
        self.assertEqual(words(self.rules, "33", "999"), (Verdict.INVALID, ["no pattern matches 999"]))
        reason = "cannot be dialled; accepted are digits, * # and +"
        for number, shown in (("2&1", "2&1"), ("", "(nothing)"), ("2\n1", "2\\n1")):
            self.assertEqual(words(self.rules, "33", number), (Verdict.INVALID, [f"{shown} {reason}"]))

    def test_no_data(self) -> None:
        """A mapping without data says nothing of it."""
        self.assertEqual(words(self.rules, "33", "66")[1][0], "66 matches 66: voicemail")

    def test_pin_is_not_shown(self) -> None:
        """Facts that are printed keep it."""
        self.assertNotIn("123456", repr(Facts("33", "34", "123456")))


class Building(SynchronousTestCase):
    """From rows to a RuleSet."""

    def test_left_out(self) -> None:
        """A pattern that cannot be read is left out and named; the rest works."""
        rules = RuleSet.build(
            [Mapping(1, "[2", "dial", ""), Mapping(2, "2X", "dial", "")], [], [], hash_pin, ["before"]
        )
        self.assertEqual(rules.problems[0].english, "before")
        self.assertIn("mapping 1 is left out: ", rules.problems[1].english)
        self.assertEqual(words(rules, None, "21")[0], Verdict.PIN)

    def test_switched_off(self) -> None:
        """A rule that is off does not count, and is named when nothing else matches."""
        rules = RuleSet.build([Mapping(1, "2X", "dial", "", enabled=False)], [], [], hash_pin)
        self.assertEqual(
            words(rules, None, "21"),
            (Verdict.INVALID, ["2X would match but is disabled", "no pattern matches 21"]),
        )
        self.assertEqual(words(rules, None, "31")[1], ["no pattern matches 31"])

    def test_first_of_equals(self) -> None:
        """Of equal patterns the first configured counts."""
        rules = RuleSet.build([Mapping(1, "_[2]X", "dial", "a"), Mapping(2, "2X", "dial", "b")], [], [], hash_pin)
        mapping = rules.decide(Facts(None, "21")).mapping
        assert mapping is not None
        self.assertEqual(mapping.map_id, 1)

    def test_no_grant_applies(self) -> None:
        """The grants of an extension named unknown or "", and of a user without a PIN, apply to no call."""
        everything = frozenset({1})
        rules = RuleSet.build(
            [Mapping(1, "2X", "dial", "")],
            [("unknown", everything), ("", everything)],
            [("a", None, everything), ("b", "", everything)],
            lambda pin: "",
        )
        for caller in ("unknown", "", None):
            self.assertEqual(words(rules, caller, "21")[0], Verdict.PIN)
            self.assertEqual(words(rules, caller, "21", "1")[0], Verdict.DENY)

    def test_empty(self) -> None:
        """Without any rule everything is invalid."""
        self.assertEqual(words(RuleSet.build([], [], [], hash_pin), "33", "21")[0], Verdict.INVALID)
