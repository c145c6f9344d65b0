"""What the rules know of applications: which there are, what is wrong with data, what is run."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.errors import ApplicationFailed
from pbxrouter.rules.applications import KEPT, Action, Applications
from pbxrouter.rules.model import Facts, Mapping, Verdict
from pbxrouter.rules.patterns import Pattern
from pbxrouter.rules.ruleset import RuleSet
from pbxrouter.text import Sentence, sentence


class ThreeDigits(Applications):
    """One application, whose data must not be bad and whose numbers must have three digits."""

    def __init__(self) -> None:
        super().__init__(["told"])
        self.asked: list[str] = []
        self.tried: list[tuple[str, str, str | None]] = []

    def data_problem(self, application: str, data: str) -> Sentence | None:
        """Refuse bad data."""
        self.asked.append(data)
        return sentence("bad data; accepted is any other") if data == "bad" else None

    def action(self, mapping: Mapping, number: str, caller: str | None) -> Action:
        """Refuse numbers of another length."""
        self.tried.append((mapping.data, number, caller))
        if len(number) != 3:
            raise ApplicationFailed(sentence("three digits are accepted"))
        return Action("Told", f"{mapping.data},{number}")


def english(said: Sentence | None) -> str | None:
    """A sentence in English."""
    return None if said is None else said.english


class NamesTests(SynchronousTestCase):
    """Applications of which only the names are known."""

    def test_collection(self) -> None:
        """It is the collection of its names, and made of one only once."""
        applications = Applications.of(["dial", "voicemail"])
        self.assertEqual((sorted(applications), len(applications)), (["dial", "voicemail"], 2))
        self.assertIn("dial", applications)
        self.assertNotIn("fax", applications)
        self.assertIs(Applications.of(applications), applications)

    def test_any_data_passes(self) -> None:
        """Nothing is known of data and of what is run; an unknown application is named as it is written."""
        applications = Applications(["dial"])
        self.assertIsNone(applications.data_problem("dial", "anything"))
        self.assertIsNone(applications.action(Mapping(1, "2X", "dial", "anything"), "21", "33"))
        self.assertIsNone(applications.problem("DIAL", "anything", Pattern.parse("2X")))
        self.assertEqual(english(applications.problem("Fax", "")), "no driver provides the application Fax")

    def test_action_as_text(self) -> None:
        """An action reads as the dialplan writes it."""
        self.assertEqual(str(Action("Dial", "PJSIP/33,30")), "Dial(PJSIP/33,30)")
        self.assertEqual(str(Action("Hangup")), "Hangup()")


class ProblemTests(SynchronousTestCase):
    """Why a mapping cannot work."""

    def test_of_data(self) -> None:
        """The driver says what is wrong with data, whatever the pattern."""
        applications = ThreeDigits()
        for pattern in (None, Pattern.parse("5XX"), Pattern.parse("5.")):
            self.assertEqual(
                english(applications.problem("told", "bad", pattern)), "bad data; accepted is any other", pattern
            )
        self.assertEqual(applications.tried, [])

    def test_of_a_length(self) -> None:
        """A number as long as all that the pattern matches is tried; with several lengths, or no pattern, none is."""
        for pattern, why in (
            ("5XX", None),
            ("555", None),
            ("5X", "three digits are accepted"),
            ("5XXX", "three digits are accepted"),
            ("5.", None),
            (None, None),
        ):
            applications = ThreeDigits()
            found = applications.problem("Told", "x", None if pattern is None else Pattern.parse(pattern))
            self.assertEqual(english(found), why, pattern)
            tried = [] if pattern in ("5.", None) else [("x", "2" * len(pattern or ""), "0123456789")]
            self.assertEqual(applications.tried, tried, pattern)

    def test_asked_once(self) -> None:
        """A driver is asked once about the same data and length, as long as not too many answers are kept."""
        applications = ThreeDigits()
        for _ in range(2):
            applications.problem("told", "x")
            applications.problem("TOLD", "bad")
        self.assertEqual(applications.asked, ["x", "bad"])
        for number in range(KEPT - 2):
            applications.problem("told", str(number))
        applications.asked.clear()
        applications.problem("told", "x")
        self.assertEqual(applications.asked, [])
        applications.problem("told", "one too many")
        applications.problem("told", "x")
        self.assertEqual(applications.asked, ["one too many", "x"])

    def test_of_a_mapping(self) -> None:
        """Of a mapping, its pattern counts too, which may not even be readable."""
        applications = ThreeDigits()
        for pattern, why in (("5XX", None), ("5X", "three digits are accepted")):
            self.assertEqual(english(applications.problem_of(Mapping(1, pattern, "told", "x"))), why)
        self.assertEqual(
            english(applications.problem_of(Mapping(1, "[2", "told", "x"))), "pattern '[2' has a [ without its ]"
        )


class ExaminedTests(SynchronousTestCase):
    """Decisions with what is run for them."""

    def setUp(self) -> None:
        self.applications = ThreeDigits()
        mappings = [Mapping(1, "5.", "told", "x"), Mapping(2, "6.", "told", "bad"), Mapping(3, "7XX", "told", "x")]
        self.rules = RuleSet.build(mappings, [("33", frozenset({1, 2}))], [], str)

    def examined(self, number: str, caller: str | None = "33") -> tuple[Verdict, str, str | None, bool, str]:
        """Verdict, action, problem, whether the call is allowed, and the last step of the trace."""
        decision = self.applications.examined(self.rules.decide(Facts(caller, number)), caller)
        return (
            decision.verdict,
            decision.action,
            english(decision.problem),
            decision.is_allowed,
            decision.trace_lines()[-1],
        )

    def test_works(self) -> None:
        """An allowed call has what is run for its number and caller; so has one that a PIN would open."""
        self.assertEqual(self.examined("512")[:4], (Verdict.ALLOW, "Told(x,512)", None, True))
        self.assertEqual(self.examined("712")[:4], (Verdict.PIN, "Told(x,712)", None, False))
        self.assertEqual(self.applications.tried, [("x", "512", "33"), ("x", "712", "33")])

    def test_cannot_work(self) -> None:
        """A call that its driver cannot serve is not allowed, and the trace says why."""
        for number, why in (("51", "three digits are accepted"), ("612", "bad data; accepted is any other")):
            self.assertEqual(
                self.examined(number), (Verdict.ALLOW, "", why, False, f"it cannot work because {why}"), number
            )

    def test_nothing_to_run(self) -> None:
        """A number of no mapping stays as it is."""
        decision = self.rules.decide(Facts("33", "999"))
        self.assertIs(self.applications.examined(decision, "33"), decision)
