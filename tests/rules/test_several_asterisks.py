"""RuleSet with several Asterisks: two offices with the same numbers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.errors import EditRefused
from pbxrouter.rules import Facts, Forwarder, Mapping, RuleSet, Verdict, extension_number, extension_problem, facts_of
from pbxrouter.rules.warnings import RuleWarnings
from tests.fakes import hash_pin

ABROAD = Mapping(1, "00.", "dial", "PJSIP/provider")
INSIDE = Mapping(2, "2X", "dial", "SIP")
PLACES = ("madrid", "lima")


def rules_of(*extensions: tuple[str, int], endpoints: dict[str, str] | None = None) -> RuleSet:
    """Rules with these extensions, each with one grant."""
    holders = [(number, frozenset({grant})) for number, grant in extensions]
    return RuleSet.build([ABROAD, INSIDE], holders, [], hash_pin, endpoints=endpoints or {})


class OfficesTests(SynchronousTestCase):
    """Extension 33 of Madrid may call abroad, 33 of Lima may not; 44 is one for both."""

    def setUp(self) -> None:
        """The rules."""
        self.rules = rules_of(("madrid:33", 1), ("lima:33", 2), ("44", 1))

    def granted(self, rules: RuleSet, number: str, **facts: object) -> str | None:
        """Whose grant allows a call."""
        return rules.decide(Facts(**{"caller": "33", "number": number, **facts})).granted_by  # type: ignore[arg-type]

    def test_each_has_its_own_grants(self) -> None:
        """A phone has the grants of its own Asterisk's extension, and none of the other's."""
        self.assertEqual(self.granted(self.rules, "001", asterisk="madrid"), "madrid:33")
        self.assertIsNone(self.granted(self.rules, "001", asterisk="lima"))
        self.assertEqual(self.granted(self.rules, "21", asterisk="lima"), "lima:33")
        self.assertIsNone(self.granted(self.rules, "21", asterisk="madrid"))

    def test_not_known(self) -> None:
        """A call of which it is not known where it came from has neither's."""
        for number in ("001", "21"):
            self.assertIsNone(self.granted(self.rules, number))
        decision = self.rules.decide(Facts("33", "001"))
        self.assertEqual((decision.verdict, decision.extension), (Verdict.PIN, None))
        self.assertEqual(
            decision.trace_lines()[1],
            "33 is an extension of madrid, lima, and it is not known from which Asterisk the call came",
        )

    def test_a_third(self) -> None:
        """A third Asterisk's 33 is none of theirs; an extension without a name counts there, and on each."""
        self.assertIsNone(self.granted(self.rules, "001", asterisk="quito"))
        self.assertEqual(
            self.rules.decide(Facts("33", "001", asterisk="quito")).trace_lines()[1],
            "33 is an extension of madrid, lima, and the call came from quito",
        )
        for asterisk in ("", "madrid", "quito"):
            self.assertEqual(self.granted(self.rules, "001", caller="44", asterisk=asterisk), "44")

    def test_all_others(self) -> None:
        """With one of its own on Lima, the number alone is the extension of all others; unknown is none of them."""
        rules = rules_of(("33", 1), ("lima:33", 2))
        self.assertEqual(self.granted(rules, "001", asterisk="madrid"), "33")
        self.assertIsNone(self.granted(rules, "001", asterisk="lima"))
        self.assertEqual(self.granted(rules, "21", asterisk="lima"), "lima:33")
        self.assertIsNone(self.granted(rules, "001"))

    def test_a_caller_cannot_claim_it(self) -> None:
        """A number with a name in front, which a caller can send, is no extension's."""
        for caller in ("madrid:33", "lima:madrid:33"):
            for asterisk in ("", "madrid", "lima"):
                decision = self.rules.decide(Facts(caller, "001", asterisk=asterisk))
                self.assertEqual((decision.granted_by, decision.extension), (None, None))
        claimed = Facts("44", "001", claimed_forwarder=Forwarder(number="madrid:33"), asterisk="madrid")
        self.assertIsNone(self.rules.decide(claimed).granted_by)

    def test_tied(self) -> None:
        """An extension that is tied to an endpoint counts by that one of its own Asterisk only."""
        rules = rules_of(("madrid:33", 1), endpoints={"madrid:33": "PJSIP/33"})
        self.assertEqual(self.granted(rules, "001", asterisk="madrid", endpoint="PJSIP/33"), "madrid:33")
        for other in ({"asterisk": "lima"}, {}, {"asterisk": "madrid", "endpoint": "PJSIP/44"}):
            self.assertIsNone(self.granted(rules, "001", **{"endpoint": "PJSIP/33", **other}), other)
        self.assertIn(
            "madrid:33 is tied to PJSIP/33, and the call came by PJSIP/44",
            rules.decide(Facts("33", "001", endpoint="PJSIP/44", asterisk="madrid")).trace_lines(),
        )

    def test_forwarders(self) -> None:
        """A phone that forwards a call answers for it as its own Asterisk's extension, tied or by its name."""
        tied = rules_of(("madrid:33", 1), ("lima:33", 2), endpoints={"madrid:33": "PJSIP/33"})
        for rules in (self.rules, tied):
            for asterisk, granted in (("madrid", "madrid:33"), ("lima", None), ("", None)):
                facts = Facts("44", "001", forwarders=(Forwarder("PJSIP/33"),), asterisk=asterisk)
                self.assertEqual(rules.decide(facts).granted_by, granted, asterisk)
        claimed = Facts("44", "001", claimed_forwarder=Forwarder(number="33"), asterisk="madrid")
        self.assertEqual(self.rules.decide(claimed).granted_by, "44")
        self.assertIsNone(
            self.rules.decide(Facts("44", "001", claimed_forwarder=Forwarder(number="33"), asterisk="lima")).granted_by
        )

    def test_phones(self) -> None:
        """A phone is an extension's on its own Asterisk; so are the extensions that are tied to it."""
        tied = rules_of(("madrid:33", 1), ("lima:35", 2), endpoints={"madrid:33": "PJSIP/33", "lima:35": "PJSIP/33"})
        self.assertEqual(
            [tied.has_phone("PJSIP/33", "33", name) for name in ("madrid", "lima", "quito", "")],
            [True, True, False, False],
        )
        self.assertEqual(
            [self.rules.has_phone("PJSIP/33", "33", name) for name in ("madrid", "quito", "")], [True, False, False]
        )
        self.assertEqual(tied.tied_to("pjsip/33", "madrid"), [("madrid:33", "PJSIP/33")])
        self.assertEqual(tied.tied_to("PJSIP/33", "lima"), [("lima:35", "PJSIP/33")])
        self.assertEqual(tied.tied_to("PJSIP/33"), [])

    def test_numbers(self) -> None:
        """The number behind the name is normalised as any; a name that the settings lack is told of."""
        self.assertEqual(extension_number(" madrid: 3 3 "), "madrid:33")
        self.assertIsNone(extension_problem("madrid:33"))
        self.assertIsNone(extension_problem("madrid:33", PLACES))
        self.assertIn("accepted in front are: madrid, lima", str(extension_problem("quito:33", PLACES)))
        self.assertIn("not in the settings", str(extension_problem("quito:33", ())))
        self.assertIn("PJSIP/33 is a phone", str(extension_problem("madrid:PJSIP/33", PLACES)))
        (warning,) = RuleWarnings(rules_of(("quito:33", 1)), ["dial"], PLACES).of_extension("quito:33")
        self.assertEqual(warning.code, "not-a-number")


class QuestionTests(SynchronousTestCase):
    """facts_of with several Asterisks."""

    def setUp(self) -> None:
        """The rules."""
        self.rules = rules_of(("madrid:33", 1), ("44", 1), endpoints={"madrid:33": "PJSIP/33"})

    def asked(self, caller: str = "33", **named: str) -> Facts:
        """The facts of a question."""
        return facts_of(self.rules, (), caller, "21", asterisks=PLACES, **named)

    def test_which(self) -> None:
        """The Asterisk may be named by itself, or in front of a caller, an endpoint or a forwarder."""
        for facts in (
            self.asked(asterisk="madrid", endpoint="PJSIP/33"),
            self.asked("madrid:33", endpoint="PJSIP/33"),
            self.asked(endpoint="madrid:PJSIP/33"),
            self.asked("madrid:33", asterisk="madrid", endpoint="madrid:PJSIP/33"),
        ):
            self.assertEqual((facts.caller, facts.endpoint, facts.asterisk), ("33", "PJSIP/33", "madrid"))
        facts = self.asked("44", forwarded_by="madrid:33")
        self.assertEqual((facts.forwarders, facts.asterisk), ((Forwarder("PJSIP/33", "33"),), "madrid"))
        self.assertEqual(self.asked().asterisk, "")

    def test_refused(self) -> None:
        """A name that is not there, and two that differ, are refused; the accepted ones are named."""
        for field, words, named in (
            (
                "asterisk",
                "there is no Asterisk quito in the settings; accepted are: madrid, lima",
                {"asterisk": "quito"},
            ),
            ("endpoint", "lima:PJSIP/33 is on another", {"asterisk": "madrid", "endpoint": "lima:PJSIP/33"}),
            ("forwarded_by", "33 is not among", {"asterisk": "lima", "forwarded_by": "33"}),
        ):
            error = self.assertRaises(EditRefused, self.asked, **named)
            self.assertEqual(error.field, field)
            self.assertIn(words, str(error))
