"""What drivers say about data, asked through DriverApplications; drivers that say nothing go on as before."""

from __future__ import annotations

from importlib.metadata import EntryPoint

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.config import Config
from pbxrouter.drivers import GROUP, Action, Call, Outcome, load_drivers
from pbxrouter.drivers.applications import DriverApplications, DriversOnDemand
from pbxrouter.errors import ApplicationFailed
from pbxrouter.rules import Facts, Mapping, Pattern, RuleSet, Verdict, action_of, headline
from pbxrouter.rules.applications import Applications
from pbxrouter.text import Sentence


class Old:
    """A driver as before: it only runs."""

    def __init__(self, config: Config) -> None:
        pass

    async def run(self, call: Call) -> Outcome:
        """Run nothing."""
        return Outcome()


class Odd(Old):
    """A driver whose attributes have the names of the methods, and are something else."""

    data_problem = "no method"

    def action(self) -> str:
        """Another thing than a driver's action."""
        return "other"


class Told(Old):
    """A driver that says all."""

    def data_problem(self, data: str) -> Sentence | None:
        """Data must not be bad."""
        return Sentence("bad data; accepted is any other") if data == "bad" else None

    def action(self, data: str, number: str, caller: str | None) -> Action:
        """A number must have three digits."""
        if len(number) != 3:
            raise ApplicationFailed(Sentence("three digits are accepted"))
        return Action("Told", f"{data},{number}")


class Refusing(Old):
    """A driver that raises what it has to say about data."""

    def data_problem(self, data: str) -> Sentence | None:
        """No data is accepted."""
        raise ApplicationFailed(Sentence("{data} is no data; accepted is none", {"data": data}))


class Strict(Told):
    """A driver that keeps the calls for which it was tried."""

    def __init__(self) -> None:
        self.tried: list[tuple[str, str | None]] = []

    def action(self, data: str, number: str, caller: str | None) -> Action:
        """Any call will do."""
        self.tried.append((number, caller))
        return Action("Told", data)


def applications_of(**drivers: Old) -> DriverApplications:
    """These drivers."""
    return DriverApplications(drivers)


def rules_for(application: str, data: str, pattern: str = "5XX") -> RuleSet:
    """One mapping, which extension 33 may use."""
    return RuleSet.build([Mapping(1, pattern, application, data)], [("33", frozenset({1}))], [], lambda pin: pin)


class Asking(SynchronousTestCase):
    """What DriverApplications knows of the drivers."""

    def test_installed(self) -> None:
        """The workshop's own data is accepted; what cannot work is not."""
        applications = DriverApplications(load_drivers(Config(technologies={"SIP": "PJSIP", "Zap": "DAHDI"})))
        for application, data in (
            ("dial", "IAX2"),
            ("Dial", "SIP"),
            ("dial", "Zap"),
            ("dial", "Zap/1"),
            ("voicemail", ""),
            ("conference", ""),
            ("conference", "quiet_bridge,guest"),
            ("playback", "iss_{language}"),
            ("hangup", ""),
            ("hangup", "17"),
            ("changepin", ""),
            ("saydigits", ""),
        ):
            self.assertIsNone(applications.problem(application, data, Pattern.parse("2X")))
        for application, data, words in (
            ("dail", "SIP", "no driver provides the application dail"),
            ("hangup", "999", "0 to 127"),
            ("voicemail", "a b", "context"),
            ("conference", "a,b,c,d", "profiles"),
            ("conference", "a&b", "profiles"),
            ("playback", "", "name of a sound"),
            ("dial", "PJSIP/{nummer}", "braces"),
        ):
            self.assertIn(words, str(applications.problem(application, data)))

    def test_by_the_length_of_the_number(self) -> None:
        """A pattern of one length shows what a cut leaves; one of any length does not."""
        applications = DriverApplications(load_drivers(Config()))
        for pattern, cut, works in (
            ("2X", 2, False),
            ("2X", 1, True),
            ("9!", 1, True),
            ("9.", 2, True),
            ("911", 3, False),
        ):
            found = applications.problem("dial", f"PJSIP/{{number:{cut}}}@trunk", Pattern.parse(pattern))
            self.assertEqual(found is None, works, pattern)

    def test_names(self) -> None:
        """The names that drivers provide can be listed and counted."""
        applications = Applications(["b", "a"])
        self.assertEqual((sorted(applications), len(applications), "a" in applications), (["a", "b"], 2, True))

    def test_tried(self) -> None:
        """A mapping is tried with a number of its pattern's length and a caller, both of digits; data is tried once."""
        strict = Strict()
        applications = applications_of(strict=strict)
        for pattern in ("5XX", "6XX", "9XXX", "9."):
            self.assertIsNone(applications.problem_of(Mapping(1, pattern, "strict", "x")))
        self.assertEqual([len(number) for number, _ in strict.tried], [3, 4])
        for number, caller in strict.tried:
            self.assertTrue(number.isdecimal() and caller is not None and caller.isdecimal())
        problem = applications.problem_of(Mapping(1, "[", "strict", "x"))
        self.assertIn("[", "" if problem is None else problem.english)
        self.assertIsNotNone(applications.problem_of(Mapping(1, "5XX", "none", "x")))

    def test_drivers_that_say_nothing(self) -> None:
        """A driver without the methods, or with other attributes of their names, accepts all and tells no action."""
        for driver in (Old(Config()), Odd(Config())):
            applications = applications_of(old=driver)
            with capturedLogs():
                decision = applications.examined(rules_for("old", "x").decide(Facts("33", "512")), "33")
            self.assertEqual((decision.is_allowed, decision.problem, decision.action), (True, None, ""))
            self.assertIsNone(action_of(decision))
            self.assertIsNone(applications.problem("Old", "any, data"))
        self.flushLoggedErrors()

    def test_failing_driver(self) -> None:
        """A method that fails is logged once and no call fails for it."""
        applications = applications_of(odd=Odd(Config()))
        for _ in range(3):
            applications.examined(rules_for("odd", "x").decide(Facts("33", "512")), "33")
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_refusing_driver(self) -> None:
        """A driver whose data_problem raises ApplicationFailed says by it what is wrong with the data."""
        applications = applications_of(refusing=Refusing(Config()))
        self.assertEqual(str(applications.data_problem("refusing", "x")), "x is no data; accepted is none")
        decision = applications.examined(rules_for("refusing", "x").decide(Facts("33", "512")), "33")
        self.assertEqual((decision.cannot_work, decision.action), (True, ""))

    def test_examined(self) -> None:
        """A decision gets the action, or why it cannot work; then it is never called allowed."""
        applications = applications_of(told=Told(Config()))
        decision = applications.examined(rules_for("told", "good").decide(Facts("33", "512")), "33")
        self.assertEqual((decision.is_allowed, decision.action), (True, "Told(good,512)"))
        self.assertEqual(str(action_of(decision)), "Asterisk runs Told(good,512)")
        for data, pattern, number, why in (
            ("bad", "5XX", "512", "bad data; accepted is any other"),
            ("good", "5.", "5123", "three digits are accepted"),
        ):
            decision = applications.examined(rules_for("told", data, pattern).decide(Facts("33", number)), "33")
            self.assertEqual(
                (decision.verdict, decision.is_allowed, decision.cannot_work), (Verdict.ALLOW, False, True)
            )
            self.assertEqual(decision.trace_lines()[-1], f"it cannot work because {why}")
            self.assertTrue(str(headline(decision, "33")).startswith("cannot work: 33 dials"))
            self.assertIsNone(action_of(decision))
        decision = applications.examined(rules_for("told", "bad").decide(Facts("44", "512")), "44")
        self.assertEqual((decision.verdict, decision.cannot_work), (Verdict.PIN, False))
        self.assertIn("bad data", decision.trace_lines()[-1])

    def test_other_drivers(self) -> None:
        """After a reload the new drivers are asked, and surveys are made again."""
        applications = applications_of(told=Old(Config()))
        before = applications.generation
        self.assertIsNone(applications.problem("told", "bad"))
        applications.replace({"told": Told(Config())})
        self.assertNotEqual(applications.generation, before)
        self.assertIsNotNone(applications.problem("told", "bad"))


class OnDemand(SynchronousTestCase):
    """Drivers that are loaded when they are asked for."""

    def test_loading(self) -> None:
        """A driver is loaded when it is asked for; one that cannot be is as if it were not installed."""
        drivers = DriversOnDemand(
            Config(),
            [
                EntryPoint("Dial", "pbxrouter.drivers.dial:Dial", GROUP),
                EntryPoint("gone", "no.such.module:X", GROUP),
            ],
        )
        self.assertEqual((len(drivers), list(drivers)), (2, ["dial", "gone"]))
        applications = DriverApplications(drivers)
        self.assertIsNone(applications.problem("dial", "PJSIP"))
        self.assertEqual(len(self.flushLoggedErrors()), 0)
        self.assertIn("no driver provides", str(applications.problem("gone", "")))
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.assertEqual((len(drivers), list(drivers)), (1, ["dial"]))
        self.assertIn("no driver provides", str(applications.problem("teapot", "")))
