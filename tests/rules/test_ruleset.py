"""RuleSet: every verdict with its trace, and what is left out of the rules."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.rules.model import (
    Decision,
    Facts,
    Forwarder,
    Mapping,
    User,
    Verdict,
    normalise_number,
)
from pbxrouter.rules.ruleset import DEFAULT_MAX_CALLS, RuleSet
from pbxrouter.text import sentence
from tests.fakes import hash_pin, workshop_rules


def words(rules: RuleSet, caller: str | None, number: str, pin: str | None = None) -> tuple[Verdict, list[str]]:
    """The verdict and the trace of a decision."""
    decision = rules.decide(Facts(caller, number, pin))
    return decision.verdict, decision.trace_lines()


class Numbers(SynchronousTestCase):
    """How dialled numbers are normalised."""

    def test_taken(self) -> None:
        """Dashes in a dialled number are dropped."""
        for text, number in (("21", "21"), ("5-5", "55"), ("*72#", "*72#"), ("+34", "+34"), ("-1-", "1")):
            self.assertEqual(normalise_number(text), number)

    def test_refused(self) -> None:
        """Characters with a meaning to Dial, digits of other scripts, and line ends are refused."""
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
        """An accepted number has a phone's keys only."""
        number = normalise_number(text)
        self.assertTrue(number is None or (number and not set(number) - set("0123456789*#+")))


class Deciding(SynchronousTestCase):
    """Decisions by the workshop's rules."""

    rules = workshop_rules()

    def test_own_grant(self) -> None:
        """An extension's own grant allows the call, and the trace says so."""
        decision = self.rules.decide(Facts("33", "2-1"))
        self.assertEqual((decision.verdict, decision.number, decision.granted_by), (Verdict.ALLOW, "21", "33"))
        self.assertEqual(decision.trace_lines(), ["21 matches 2X: dial SIP", "33 may use 2X by its own grant"])
        assert decision.mapping is not None
        self.assertEqual(decision.mapping.map_id, 2)

    def test_asks_for_a_pin(self) -> None:
        """Without a grant, an extension or a number a PIN is asked for; the trace says which is missing."""
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
        """A PIN counts if its user has a grant for the mapping."""
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
        """A caller with a grant is not asked for a PIN, and a PIN changes nothing."""
        self.assertEqual(words(self.rules, "33", "21", "wrong")[0], Verdict.ALLOW)

    def test_nothing_there(self) -> None:
        """Without a pattern or a number the call is invalid."""
        self.assertEqual(words(self.rules, "33", "999"), (Verdict.INVALID, ["no pattern matches 999"]))
        reason = "cannot be dialled; accepted are digits, * # and +"
        for number, shown in (("2&1", "2&1"), ("", "(nothing)"), ("2\n1", "2\\n1")):
            self.assertEqual(words(self.rules, "33", number), (Verdict.INVALID, [f"{shown} {reason}"]))

    def test_no_data(self) -> None:
        """The trace of a mapping without data names the application only."""
        self.assertEqual(words(self.rules, "33", "66")[1][0], "66 matches 66: voicemail")

    def test_decisions_in_full(self) -> None:
        """Every field of a decision is checked, for every verdict."""
        two, three, voicemail = Mapping(2, "2X", "dial", "SIP"), Mapping(3, "3X", "dial", ""), Mapping(4, "66", "x", "")
        rules = RuleSet.build(
            [two, three, voicemail],
            [("33", frozenset({2})), ("44", frozenset())],
            [
                ("ana", hash_pin("1111"), frozenset({3})),
                ("eva", hash_pin("2222"), frozenset({3, 4})),
                ("otto", None, frozenset({3})),
            ],
            hash_pin,
            max_calls={hash_pin("2222"): 5},
        )
        asked = sentence("a PIN is asked for")
        matches_two = sentence(
            "{number} matches {pattern}: {application} {data}",
            number="21",
            pattern="2X",
            application="dial",
            data="SIP",
        )
        matches_three = sentence(
            "{number} matches {pattern}: {application}", number="31", pattern="3X", application="dial", data=""
        )
        hidden = sentence("the call shows no caller number")
        no_grant = sentence("{caller} has no grant for {pattern}", caller="33", pattern="3X")
        foreign = sentence("{caller} is not among the extensions", caller="55")
        for facts, decision in (
            (
                Facts("33", "2-1"),
                Decision(
                    Verdict.ALLOW,
                    "21",
                    two,
                    "33",
                    (
                        matches_two,
                        sentence("{caller} may use {pattern} by its own grant", caller="33", pattern="2X"),
                    ),
                    extension="33",
                ),
            ),
            (
                Facts("33", "31"),
                Decision(Verdict.PIN, "31", three, None, (matches_three, no_grant, asked), extension="33"),
            ),
            (Facts("55", "31"), Decision(Verdict.PIN, "31", three, None, (matches_three, foreign, asked))),
            (Facts(None, "31"), Decision(Verdict.PIN, "31", three, None, (matches_three, hidden, asked))),
            (
                Facts("33", "31", "1111"),
                Decision(
                    Verdict.ALLOW,
                    "31",
                    three,
                    "ana",
                    (matches_three, no_grant, sentence("{user} may use {pattern} by PIN", user="ana", pattern="3X")),
                    extension="33",
                    user="ana",
                    max_calls=DEFAULT_MAX_CALLS,
                ),
            ),
            (
                Facts("", "31", "2222"),
                Decision(
                    Verdict.ALLOW,
                    "31",
                    three,
                    "eva",
                    (matches_three, hidden, sentence("{user} may use {pattern} by PIN", user="eva", pattern="3X")),
                    user="eva",
                    max_calls=5,
                ),
            ),
            (
                Facts("55", "31", "9999"),
                Decision(
                    Verdict.DENY,
                    "31",
                    three,
                    None,
                    (matches_three, foreign, sentence("the PIN does not belong to any user")),
                ),
            ),
            (
                Facts("33", "31", ""),
                Decision(
                    Verdict.DENY,
                    "31",
                    three,
                    None,
                    (matches_three, no_grant, sentence("no PIN was keyed")),
                    extension="33",
                ),
            ),
            (
                Facts("unknown", "21", "1111"),
                Decision(
                    Verdict.DENY,
                    "21",
                    two,
                    None,
                    (
                        matches_two,
                        hidden,
                        sentence("the PIN belongs to {user}, who has no grant for {pattern}", user="ana", pattern="2X"),
                    ),
                    user="ana",
                ),
            ),
            (
                Facts("44", "9-9"),
                Decision(
                    Verdict.INVALID,
                    "99",
                    None,
                    None,
                    (sentence("no pattern matches {number}", number="99"),),
                    extension="44",
                ),
            ),
            (
                Facts("44", "2&\n1"),
                Decision(
                    Verdict.INVALID,
                    "2&\\n1",
                    None,
                    None,
                    (sentence("{number} cannot be dialled; accepted are digits, * # and +", number="2&\\n1"),),
                    extension="44",
                ),
            ),
        ):
            self.assertEqual(rules.decide(facts), decision)

    def test_pin_is_not_shown(self) -> None:
        """The repr of Facts has no PIN."""
        self.assertNotIn("123456", repr(Facts("33", "34", "123456")))


class Building(SynchronousTestCase):
    """Building a RuleSet from rows."""

    def test_left_out(self) -> None:
        """A pattern that cannot be read is left out and named; the other rules count."""
        rules = RuleSet.build(
            [Mapping(1, "[2", "dial", ""), Mapping(2, "2X", "dial", "")], [], [], hash_pin, ["before"]
        )
        self.assertEqual(rules.problems[0].english, "before")
        self.assertIn("mapping 1 is left out: ", rules.problems[1].english)
        self.assertEqual(words(rules, None, "21")[0], Verdict.PIN)

    def test_switched_off(self) -> None:
        """A disabled mapping does not count, and is named when nothing else matches."""
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

    def test_what_it_says_of_itself(self) -> None:
        """A RuleSet has the numbers of its mappings, repeated patterns, extensions and users."""
        good, bad, again = Mapping(4, "2X", "dial", ""), Mapping(5, "2[", "dial", ""), Mapping(6, "_2X", "dial", "")
        off = Mapping(7, "2X", "dial", "", enabled=False)
        rules = RuleSet.build(
            [good, bad, off, again],
            [("33", frozenset({4})), ("unknown", frozenset({4})), ("", frozenset({4})), ("34", frozenset())],
            [("ana", "a" * 64, frozenset({4})), ("eva", None, frozenset({6})), ("otto", "", frozenset())],
            hash_pin,
            ["100 % {sure}", sentence("a {thing} is odd", thing="row")],
            {"a" * 64: 7},
        )
        self.assertEqual(
            [(map_id, mapping) for map_id, (_, mapping) in rules.entries.items()], [(4, good), (7, off), (6, again)]
        )
        self.assertEqual(
            {map_id: pattern.text for map_id, (pattern, _) in rules.entries.items()}, {4: "2X", 7: "2X", 6: "_2X"}
        )
        why = sentence(
            "mapping {map_id} is left out: {why}",
            map_id=5,
            why=sentence("pattern {pattern} has a [ without its ]", pattern="'2['"),
        )
        self.assertEqual(rules.unreadable, {5: (bad, why)})
        self.assertIs(rules.problems[-1], rules.unreadable[5][1])
        self.assertEqual(rules.problems[1], sentence("a {thing} is odd", thing="row"))
        self.assertEqual(
            [problem.english for problem in rules.problems],
            ["100 % {sure}", "a row is odd", "mapping 5 is left out: pattern '2[' has a [ without its ]"],
        )
        self.assertEqual(rules.repeated, {6: good})
        self.assertEqual(rules.extensions, {"33": frozenset({4}), "34": frozenset()})
        self.assertEqual(list(rules.users), [User("ana", frozenset({4}), 7)])
        self.assertEqual(User("ana", frozenset()).max_calls, DEFAULT_MAX_CALLS)
        self.assertEqual(rules.without_pin, (User("eva", frozenset({6})), User("otto", frozenset())))

    def test_winner(self) -> None:
        """winner gives the mapping of a number for any caller; disabled ones do not count."""
        mappings = [Mapping(1, "2X", "dial", ""), Mapping(2, "21", "dial", "", enabled=False)]
        rules = RuleSet.build(mappings, [], [], hash_pin)
        self.assertEqual(rules.winner("21"), rules.entries[1])
        self.assertIsNone(rules.winner("31"))

    def test_every_disabled_one_is_named(self) -> None:
        """Disabled mappings that would match are named in configured order."""
        rules = RuleSet.build(
            [Mapping(number, text, "dial", "", enabled=False) for number, text in enumerate(("2.", "3X", "2X"))],
            [],
            [],
            hash_pin,
        )
        self.assertEqual(
            words(rules, "33", "2-1")[1],
            ["2. would match but is disabled", "2X would match but is disabled", "no pattern matches 21"],
        )

    def test_empty(self) -> None:
        """Without rules every call is invalid."""
        self.assertEqual(words(RuleSet.build([], [], [], hash_pin), "33", "21")[0], Verdict.INVALID)


class ForwardedCalls(SynchronousTestCase):
    """Forwarded calls, and callers whose number proves nothing."""

    rules = RuleSet.build(
        [Mapping(1, "2X", "dial", "SIP"), Mapping(2, "6XX", "dial", "SIP")],
        [("33", frozenset({2})), ("21", frozenset({1})), ("22", frozenset({1, 2})), ("44", frozenset({2}))],
        [("pepe", hash_pin("123456"), frozenset({2}))],
        hash_pin,
        endpoints={"44": "PJSIP/desk", "9": "PJSIP/none"},
    )

    def decided(self, caller: str | None, number: str, **more: object) -> tuple[str, str | None, str | None, list[str]]:
        """Verdict, grant, answering extension, and the trace after the pattern."""
        decision = self.rules.decide(Facts(caller, number, **more))  # type: ignore[arg-type]
        return decision.verdict.value, decision.granted_by, decision.extension, decision.trace_lines()[1:]

    def test_forwarding_phone_answers(self) -> None:
        """The forwarding phone answers for the call: 33's grant for 600 does not count if 21 forwards the call."""
        by_21 = (Forwarder("PJSIP/21"),)
        self.assertEqual(self.decided("33", "600")[:3], ("allow", "33", "33"))
        self.assertEqual(
            self.decided("33", "600", endpoint="PJSIP/33", forwarders=by_21),
            (
                "pin",
                None,
                "21",
                [
                    "PJSIP/21 forwarded the call and answers for it in place of the caller",
                    "21 has no grant for 6XX",
                    "a PIN is asked for",
                ],
            ),
        )

    def test_forwarding_phone_pays(self) -> None:
        """An outsider whom 22 forwards may go where 22 may, without a PIN."""
        self.assertEqual(
            self.decided(
                "0600112233", "600", endpoint="PJSIP/trunk", by_trunk=True, forwarders=(Forwarder("PJSIP/22"),)
            ),
            (
                "allow",
                "22",
                "22",
                [
                    "PJSIP/22 forwarded the call and answers for it in place of the caller",
                    "22 may use 6XX by its own grant",
                ],
            ),
        )

    def test_pin_of_a_forwarded_call(self) -> None:
        """A PIN allows a call that was forwarded, as any call."""
        by_21 = (Forwarder("PJSIP/21"),)
        self.assertEqual(self.decided("33", "600", forwarders=by_21, pin="123456")[:3], ("allow", "pepe", "21"))
        self.assertEqual(self.decided("33", "600", forwarders=by_21, pin="1")[:3], ("deny", None, "21"))

    def test_several(self) -> None:
        """Where Asterisk names two forwarders, each must be allowed."""
        both = (Forwarder("PJSIP/22"), Forwarder("PJSIP/21"))
        for forwarders in (both, both[::-1]):
            self.assertEqual(self.decided("33", "600", forwarders=forwarders)[0], "pin")
            self.assertEqual(self.decided("33", "21", forwarders=forwarders)[0], "allow")
        self.assertEqual(self.rules.decide(Facts("33", "600", forwarders=both)).forwarded_by, "PJSIP/22, PJSIP/21")

    def test_party_without_grants(self) -> None:
        """Trunks, endpoints of no extension, and names of extensions that are tied elsewhere have no grants."""
        for forwarder, why in (
            (Forwarder("PJSIP/22", is_trunk=True), "PJSIP/22 is a trunk and has no grants"),
            (Forwarder("PJSIP/trunk"), "PJSIP/trunk is not among the extensions"),
            (Forwarder("PJSIP/44"), "PJSIP/44 is not among the extensions"),
            (Forwarder(""), " is not among the extensions"),
            (Forwarder("unknown"), "unknown is not among the extensions"),
            (Forwarder(number="55"), "55 is not among the extensions"),
        ):
            decided = self.decided("33", "600", forwarders=(forwarder,))
            self.assertEqual((decided[:3], decided[3][1]), (("pin", None, None), why))

    def test_party_of_several_extensions(self) -> None:
        """The grant of any extension that is tied to the forwarding endpoint counts."""
        rules = RuleSet.build(
            [Mapping(2, "6XX", "dial", "SIP")],
            [("21", frozenset()), ("22", frozenset({2}))],
            [],
            hash_pin,
            endpoints={"21": "PJSIP/desk", "22": "PJSIP/desk"},
        )
        decision = rules.decide(Facts("0600112233", "600", forwarders=(Forwarder("PJSIP/desk"),)))
        self.assertEqual((decision.verdict, decision.granted_by), (Verdict.ALLOW, "22"))

    def test_tied_party(self) -> None:
        """An endpoint stands for the extension that is tied to it."""
        decided = self.decided("0600112233", "600", forwarders=(Forwarder("PJSIP/desk"),))
        self.assertEqual(decided[:3], ("allow", "44", "44"))

    def test_names_the_forwarder(self) -> None:
        """A decision names the forwarder: by Asterisk's word, or else by the call's own claim; all printable."""
        for facts, named in (
            (Facts("33", "21"), ""),
            (Facts("33", "21", claimed_forwarder=Forwarder(number="22")), "22"),
            (Facts("33", "21", claimed_forwarder=Forwarder(number="2\x1b")), "2\\x1b"),
            (
                Facts("33", "21", forwarders=(Forwarder("PJSIP/21"),), claimed_forwarder=Forwarder(number="22")),
                "PJSIP/21",
            ),
            (Facts("33", "x", claimed_forwarder=Forwarder(number="22")), "22"),
        ):
            self.assertEqual(self.rules.decide(facts).forwarded_by, named, facts)

    def test_claim_narrows(self) -> None:
        """A claimed forwarder never allows what the caller may not, and takes away what the forwarder may not."""
        for caller, claimed, verdict in (
            ("33", "22", "allow"),
            ("33", "21", "pin"),
            ("33", "0911", "pin"),
            ("33", "33", "allow"),
            ("21", "22", "pin"),
            ("0600112233", "22", "pin"),
            (None, "22", "pin"),
        ):
            decided = self.decided(caller, "600", claimed_forwarder=Forwarder(number=claimed))
            self.assertEqual(decided[0], verdict, (caller, claimed))
            self.assertEqual(decided[1], caller if verdict == "allow" else None)
        self.assertEqual(
            self.decided("33", "600", claimed_forwarder=Forwarder(number="21"))[3],
            [
                "the call claims that 21 forwarded it, without proof: caller and 21 must be allowed",
                "33 may use 6XX by its own grant",
                "21 has no grant for 6XX",
                "a PIN is asked for",
            ],
        )

    def test_trunk(self) -> None:
        """A caller by a trunk is no extension, also if the call shows the number of one."""
        self.assertEqual(
            self.decided("33", "600", endpoint="PJSIP/trunk", by_trunk=True),
            (
                "pin",
                None,
                None,
                [
                    "the call came by the trunk PJSIP/trunk, where the caller number 33 proves nothing",
                    "a PIN is asked for",
                ],
            ),
        )

    def test_tied(self) -> None:
        """The number of an extension that is tied to an endpoint counts only there."""
        self.assertEqual(self.decided("44", "600", endpoint="PJSIP/desk")[:3], ("allow", "44", "44"))
        for endpoint, why in (
            ("PJSIP/44", "44 is tied to PJSIP/desk, and the call came by PJSIP/44"),
            ("", "44 is tied to PJSIP/desk, and the call's endpoint is not known"),
        ):
            decided = self.decided("44", "600", endpoint=endpoint)
            self.assertEqual((decided[:3], decided[3][0]), (("pin", None, None), why))
        self.assertEqual(self.rules.endpoints, {"44": "PJSIP/desk"})

    def test_twice(self) -> None:
        """Of repeated numbers the first counts; the second is named."""
        rules = RuleSet.build(
            [Mapping(1, "2X", "dial", "SIP")], [("33", frozenset({1})), ("33", frozenset())], [], hash_pin
        )
        self.assertEqual(rules.extensions, {"33": frozenset({1})})
        self.assertEqual(
            [problem.english for problem in rules.problems],
            ["extension 33 is there twice: the grants of the second are ignored"],
        )


class Phones(SynchronousTestCase):
    """The endpoints that are extensions' phones."""

    def setUp(self) -> None:
        """Make rules with an extension that is tied to an endpoint, and two that are not."""
        self.rules = RuleSet.build(
            [Mapping(1, "2X", "dial", "SIP")],
            [("33", frozenset({1})), ("44", frozenset({1})), ("55", frozenset({1}))],
            [],
            hash_pin,
            endpoints={"44": "pjsip/Desk"},
        )

    def test_technology(self) -> None:
        """The technology of a row is read in any case, and the name as it is: so Asterisk does."""
        self.assertEqual(self.rules.endpoints, {"44": "PJSIP/Desk"})
        facts = [Facts("44", "21", endpoint=endpoint) for endpoint in ("PJSIP/Desk", "PJSIP/desk")]
        self.assertEqual([self.rules.decide(fact).verdict for fact in facts], [Verdict.ALLOW, Verdict.PIN])

    def test_has_phone(self) -> None:
        """One that an extension is tied to, or that is named as the extension which it calls as."""
        phones = ("PJSIP/Desk", "44"), ("PJSIP/Desk", "1"), ("PJSIP/33", "33"), ("SIP/55", "55")
        for endpoint, number in phones:
            self.assertTrue(self.rules.has_phone(endpoint, number), endpoint)
        others = (
            ("PJSIP/desk", "44"),
            ("PJSIP/44", "44"),
            ("PJSIP/33", "55"),
            ("PJSIP/66", "66"),
            ("", "33"),
            ("", None),
        )
        for endpoint, caller in others:
            self.assertFalse(self.rules.has_phone(endpoint, caller), endpoint)

    def test_tied_to(self) -> None:
        """The extensions tied to a phone, whichever case its technology has; that with its name comes first."""
        rules = RuleSet.build(
            [],
            [(number, frozenset()) for number in ("33", "44", "55", "66")],
            [],
            hash_pin,
            endpoints={"33": "PJSIP/44", "44": "PJSIP/44", "55": "SIP/44", "66": "PJSIP/4"},
        )
        both = [("44", "PJSIP/44"), ("33", "PJSIP/44")]
        for phone in ("PJSIP/44", "pjsip/44"):
            self.assertEqual(rules.tied_to(phone), both, phone)
        self.assertEqual(rules.tied_to("sip/44"), [("55", "SIP/44")])
        for phone in ("PJSIP/55", "PJSIP", "IAX2/44", ""):
            self.assertEqual(rules.tied_to(phone), [], phone)
        self.assertEqual(self.rules.tied_to("PJSIP/desk"), [])
