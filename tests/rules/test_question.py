"""The facts of a call that is asked about, from what was typed."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.errors import EditRefused
from pbxrouter.rules.model import NO_CALLER, Facts, Forwarder, Mapping
from pbxrouter.rules.phones import MAX_ENDPOINT
from pbxrouter.rules.question import facts_of
from pbxrouter.rules.ruleset import RuleSet
from tests.fakes import hash_pin

RULES = RuleSet.build(
    [Mapping(1, "2X", "dial", "PJSIP")],
    [(number, frozenset({1})) for number in ("33", "44", "55")],
    [],
    hash_pin,
    endpoints={"44": "PJSIP/desk", "55": "PJSIP/trunk"},
)
TRUNKS = ("PJSIP/trunk",)


def asked(caller: str | None = "33", number: str = "21", pin: str | None = None, **more: Any) -> Facts:
    """The facts of a question."""
    return facts_of(RULES, TRUNKS, caller, number, pin, **more)


class FactsTests(SynchronousTestCase):
    """facts_of reads what a person typed."""

    def test_caller(self) -> None:
        """Nothing, blanks and the word for it are a call without number; blanks around a number do not count."""
        for typed in (None, "", "  ", NO_CALLER, f" {NO_CALLER} "):
            self.assertEqual(asked(typed), Facts(None, "21"))
        self.assertEqual(asked(" 33 ", "2-1", "1234"), Facts("33", "2-1", "1234"))

    def test_endpoint(self) -> None:
        """The endpoint is written as Asterisk does; callers at a trunk are outsiders."""
        self.assertEqual(asked(endpoint=" pjsip/33 "), Facts("33", "21", endpoint="PJSIP/33"))
        self.assertEqual(asked(endpoint="pjsip/trunk"), Facts("33", "21", endpoint="PJSIP/trunk", by_trunk=True))
        self.assertEqual(asked(endpoint="  "), Facts("33", "21"))
        error = self.assertRaises(EditRefused, asked, endpoint="33")
        self.assertEqual(error.field, "endpoint")

    def test_forwarded_by_an_extension(self) -> None:
        """A forwarder's number stands for the endpoint that the extension is tied to, if there is one."""
        for typed, forwarder in (
            (" 33 ", Forwarder("", "33")),
            ("44", Forwarder("PJSIP/desk", "44")),
            ("55", Forwarder("PJSIP/trunk", "55", True)),
        ):
            self.assertEqual(asked(forwarded_by=typed), Facts("33", "21", forwarders=(forwarder,)))

    def test_forwarded_by_an_endpoint(self) -> None:
        """A forwarder's endpoint need not be in the rules; one of the trunks is known as such."""
        for typed, forwarder in (
            ("pjsip/77", Forwarder("PJSIP/77")),
            ("PJSIP/trunk", Forwarder("PJSIP/trunk", is_trunk=True)),
        ):
            self.assertEqual(asked(forwarded_by=typed), Facts("33", "21", forwarders=(forwarder,)))

    def test_claimed(self) -> None:
        """A call may claim any number as its forwarder's."""
        longest = "7" * MAX_ENDPOINT
        for typed, number in ((" 44 ", "44"), ("77", "77"), (longest, longest)):
            self.assertEqual(
                asked(claimed_forwarder=typed), Facts("33", "21", claimed_forwarder=Forwarder(number=number))
            )
        self.assertEqual(asked(claimed_forwarder=" ", forwarded_by=" "), Facts("33", "21"))

    def test_refused(self) -> None:
        """What is not accepted is named, with what is, and its field."""
        for typed, field, said in (
            ({"forwarded_by": "77"}, "forwarded_by", "77 is not among the extensions; accepted is the number of an"),
            ({"forwarded_by": "PJSIP/"}, "forwarded_by", "PJSIP/ is not an endpoint; accepted is a technology"),
            ({"claimed_forwarder": "PJSIP/44"}, "claimed_forwarder", "PJSIP/44 is not a number that a call can claim"),
            ({"claimed_forwarder": "4\n4"}, "claimed_forwarder", "is not a number that a call can claim; accepted is"),
            ({"claimed_forwarder": "7" * 81}, "claimed_forwarder", "is not a number that a call can claim"),
            (
                {"forwarded_by": "44", "claimed_forwarder": "44"},
                "claimed_forwarder",
                "accepted is a forwarder, or a claimed forwarder, not both",
            ),
        ):
            error = self.assertRaises(EditRefused, asked, **typed)
            self.assertEqual(error.field, field)
            self.assertIn(said, str(error))
