"""The rules engine decides by the rules in force; the reloader keeps them current."""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.errors import RulesNotLoaded, StoreError
from pbxrouter.rules.engine import RulesEngine
from pbxrouter.rules.model import Facts, Mapping, Verdict
from pbxrouter.rules.reloader import ANSWER_S, POLL_S, RELOAD_S, RulesReloader
from pbxrouter.rules.ruleset import RuleSet
from tests.fakes import hash_pin, loud, workshop_rules


def rules_with(pattern: str, application: str = "dial") -> RuleSet:
    """Rules with one mapping."""
    return RuleSet.build([Mapping(1, pattern, application, "")], [], [], hash_pin)


class Deciding(SynchronousTestCase):
    """RulesEngine decides on the rules that are loaded."""

    def test_at_once(self) -> None:
        """With rules in memory a decision is made at once, and new rules count at once."""
        engine = RulesEngine({"dial", "voicemail"})
        engine.replace(workshop_rules())
        self.assertEqual(self.successResultOf(engine.decide(Facts("33", "21"))).verdict, Verdict.ALLOW)
        engine.replace(rules_with("9X"))
        self.assertEqual(self.successResultOf(engine.decide(Facts("33", "21"))).verdict, Verdict.INVALID)

    def test_before_the_first_rules(self) -> None:
        """Before the first rules a decision fails at once; with them it is made."""
        engine = RulesEngine({"dial"})
        for number in ("21", "999"):
            failure = self.failureResultOf(engine.decide(Facts("33", number)), RulesNotLoaded)
            self.assertEqual(str(failure.value), "the rules are not loaded yet, so no call can be routed")
        engine.replace(workshop_rules())
        self.assertEqual(self.successResultOf(engine.decide(Facts("33", "21"))).verdict, Verdict.ALLOW)
        self.assertEqual(self.successResultOf(engine.decide(Facts("33", "999"))).verdict, Verdict.INVALID)

    def test_ready(self) -> None:
        """Listeners are told of the first rules, once; those that come later at once."""
        engine = RulesEngine({"dial"})
        told: list[str] = []
        engine.on_ready(lambda: told.append("early"))
        self.assertEqual(told, [])
        engine.replace(workshop_rules())
        engine.replace(rules_with("9X"))
        engine.on_ready(lambda: told.append("late"))
        self.assertEqual(told, ["early", "late"])

    def test_missing_driver(self) -> None:
        """A missing driver is a step of the trace, for allowed calls."""
        engine = RulesEngine({"dial"})
        engine.replace(workshop_rules(Mapping(9, "88", "Fax", "")))
        missing = "it cannot work because no driver provides the application "
        for facts, application in (
            (Facts("33", "88"), "Fax"),
            (Facts("33", "66"), "voicemail"),
            (Facts("33", "66", "000"), None),
            (Facts("33", "21"), None),
            (Facts("33", "999"), None),
        ):
            decision = self.successResultOf(engine.decide(facts))
            found = [line for line in decision.trace_lines() if line.startswith(missing)]
            self.assertEqual(found, [f"{missing}{application}"] if application else [])

    def test_rules(self) -> None:
        """There are no rules until they have been loaded; then those in force."""
        engine = RulesEngine({"dial"})
        self.assertIsNone(engine.rules)
        for rules in (workshop_rules(), rules_with("9X")):
            engine.replace(rules)
            self.assertIs(engine.rules, rules)

    def test_missing_driver_without_a_grant(self) -> None:
        """The trace of a call that needs a PIN has the missing driver too."""
        engine = RulesEngine(["dial"])
        engine.replace(workshop_rules())
        decision = self.successResultOf(engine.decide(Facts("33", "66")))
        self.assertEqual(decision.verdict, Verdict.PIN)
        self.assertEqual(
            decision.trace_lines(),
            [
                "66 matches 66: voicemail",
                "33 has no grant for 66",
                "a PIN is asked for",
                "it cannot work because no driver provides the application voicemail",
            ],
        )

    def test_applications_in_any_case(self) -> None:
        """Applications are compared with drivers in any case."""
        engine = RulesEngine({"dial"})
        engine.replace(rules_with("2X", "Dial"))
        self.assertNotIn("no driver", self.successResultOf(engine.decide(Facts(None, "21"))).trace_lines()[-1])

    def test_breaks(self) -> None:
        """An exception while deciding fails the Deferred; it is not raised."""

        def broken(pin: str) -> str:
            raise ZeroDivisionError("on purpose")

        engine = RulesEngine({"dial"})
        engine.replace(RuleSet.build([Mapping(1, "2X", "dial", "")], [], [], broken))
        self.failureResultOf(engine.decide(Facts("33", "21", "1")), ZeroDivisionError)


class FakeSource:
    """A store with the given rules."""

    def __init__(self) -> None:
        self.rules: RuleSet | Exception | Deferred[RuleSet] = workshop_rules()
        self.mark: int | Exception = 1
        self.loads = 0

    def load_rules(self) -> Deferred[RuleSet]:
        """The rules, or the error."""
        self.loads += 1
        if isinstance(self.rules, Deferred):
            return self.rules
        return fail(self.rules) if isinstance(self.rules, Exception) else succeed(self.rules)

    def version(self) -> Deferred[tuple[int, ...]]:
        """The version of the rules, which the test sets."""
        return fail(self.mark) if isinstance(self.mark, Exception) else succeed((self.mark,))


class Keeping(SynchronousTestCase):
    """RulesReloader loads rules when they change."""

    def setUp(self) -> None:
        """Start a reloader with a recorded log."""
        self.source = FakeSource()
        self.slow: Deferred[RuleSet] = Deferred()
        self.engine = RulesEngine({"dial"})
        self.clock = Clock()
        self.reloader = RulesReloader(self.source, self.engine, self.clock, self.clock.seconds)
        self.logs = cast("list[LogEvent]", self.enterContext(capturedLogs()))

    def verdict(self, number: str) -> Verdict:
        """The verdict on a call of 33."""
        return self.successResultOf(self.engine.decide(Facts("33", number))).verdict

    def formats(self) -> list[str]:
        """The log formats since the last call."""
        said = [event["log_format"] for event in self.logs if "log_namespace" in event]
        self.logs.clear()
        return [item for item in said if (item and "rules" in item) or "database" in item]

    def test_loads_and_reloads(self) -> None:
        """Rules are loaded at the start, and within a second when the version differs; not otherwise."""
        self.reloader.startService()
        self.assertEqual(self.verdict("21"), Verdict.ALLOW)
        self.clock.pump([POLL_S] * 4)
        self.assertEqual(self.source.loads, 1)
        self.source.rules, self.source.mark = rules_with("9X"), 2
        self.clock.advance(POLL_S)
        self.assertLess(POLL_S, 1)
        self.assertEqual(self.verdict("21"), Verdict.INVALID)
        self.assertEqual(self.source.loads, 2)
        self.assertEqual(self.formats(), ["rules loaded", "rules changed and loaded again"])

    def test_away(self) -> None:
        """While the database is away the last rules stay in force; the outage and its end are logged once."""
        self.reloader.startService()
        self.formats()
        self.source.mark = StoreError("it is locked")
        self.clock.pump([POLL_S] * 4)
        self.assertEqual(self.verdict("21"), Verdict.ALLOW)
        (event,) = loud(self.logs)
        self.assertEqual((event["log_level"], event["error"]), (LogLevel.error, "it is locked"))
        self.formats()
        self.source.mark = 1
        self.clock.pump([POLL_S] * 4)
        self.assertEqual(self.formats(), ["rules: the database can be read again"])
        self.assertEqual(self.source.loads, 1)

    def test_away_at_the_start(self) -> None:
        """If the database is away at the start, that is said once, and the first rules are loaded when they can be."""
        self.source.rules = StoreError("it is locked")
        self.reloader.startService()
        self.clock.pump([POLL_S] * 2)
        self.failureResultOf(self.engine.decide(Facts("33", "21")), RulesNotLoaded)
        self.source.rules = workshop_rules()
        self.clock.advance(POLL_S)
        self.assertEqual(self.verdict("21"), Verdict.ALLOW)
        self.assertEqual(
            self.formats(),
            [
                "rules: cannot be read, and no call is taken until they can: {error}",
                "rules: the database can be read again",
                "rules loaded",
            ],
        )

    def test_breaks(self) -> None:
        """An unexpected exception is logged each time, and the reloader goes on."""
        self.source.mark = ZeroDivisionError("on purpose")
        self.reloader.startService()
        self.clock.advance(POLL_S)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.source.mark = 1
        self.clock.advance(POLL_S)
        self.assertEqual(self.verdict("21"), Verdict.ALLOW)

    def test_reload(self) -> None:
        """After a change by this gateway, which does not change the version, the rules are loaded at once."""
        self.reloader.startService()
        self.source.rules = rules_with("9X")
        self.clock.pump([POLL_S] * 4)
        self.assertEqual((self.verdict("21"), self.source.loads), (Verdict.ALLOW, 1))
        self.successResultOf(Deferred.fromCoroutine(self.reloader.reload()))
        self.assertEqual((self.verdict("21"), self.source.loads), (Verdict.INVALID, 2))
        self.clock.pump([POLL_S] * 4)
        self.assertEqual(self.source.loads, 2)

    def test_changed_while_loading(self) -> None:
        """Rules that change between the version and the load are loaded again."""
        self.source.rules = self.slow
        self.reloader.startService()
        self.source.mark = 2
        self.slow.callback(workshop_rules())
        self.source.rules = rules_with("9X")
        self.clock.advance(POLL_S)
        self.assertEqual((self.verdict("21"), self.source.loads), (Verdict.INVALID, 2))

    def test_changed_and_away(self) -> None:
        """Changed rules that cannot be read leave the last ones in force, and are loaded later."""
        self.reloader.startService()
        self.source.rules, self.source.mark = StoreError("it is locked"), 2
        self.clock.pump([POLL_S] * 3)
        self.assertEqual((self.verdict("21"), self.source.loads), (Verdict.ALLOW, 4))
        self.source.rules = rules_with("9X")
        self.clock.advance(POLL_S)
        self.assertEqual(self.verdict("21"), Verdict.INVALID)
        self.assertEqual(
            self.formats(),
            [
                "rules loaded",
                "rules: cannot be read, the last ones stay in force: {error}",
                "rules: the database can be read again",
                "rules changed and loaded again",
            ],
        )

    def test_outage(self) -> None:
        """An outage has its time and its reason, for an exception too, whose traceback is in the log."""
        self.clock.advance(1000)
        self.reloader.startService()
        self.assertIsNone(self.reloader.outage.away_since)
        self.clock.advance(POLL_S)
        for mark, why in (
            (StoreError("it is locked"), "it is locked"),
            (ZeroDivisionError("on purpose"), "reading the rules failed; see the gateway's log"),
        ):
            self.source.mark = mark
            began = self.clock.seconds() + POLL_S
            self.clock.pump([POLL_S] * 2)
            self.assertEqual(self.reloader.outage.away_since, began)
            self.assertEqual(str(self.reloader.outage.trouble), why)
            self.source.mark = 1
            self.clock.advance(POLL_S)
            self.assertIsNone(self.reloader.outage.away_since)
            self.assertIsNone(self.reloader.outage.trouble)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(
            [event["log_format"] for event in loud(self.logs)],
            ["rules: cannot be read, the last ones stay in force: {error}"]
            + ["rules: loading failed unexpectedly, the last ones stay in force"] * 2,
        )

    def test_problems_by_name(self) -> None:
        """A new problem is logged alone; one that is still there is not logged again."""
        mappings = [Mapping(1, "[2", "dial", ""), Mapping(2, "[3", "dial", "")]
        self.source.rules = RuleSet.build(mappings[:1], [], [], hash_pin)
        self.reloader.startService()
        self.source.rules, self.source.mark = RuleSet.build(mappings, [], [], hash_pin), 2
        self.clock.advance(POLL_S)
        self.assertEqual(
            [(event["log_level"], formatEvent(event)) for event in loud(self.logs)],
            [
                (LogLevel.warn, f"rules: mapping {number} is left out: pattern '[{number + 1}' has a [ without its ]")
                for number in (1, 2)
            ],
        )

    def test_problems(self) -> None:
        """Each problem is logged when it is new."""
        self.source.rules = rules_with("[2")
        self.reloader.startService()
        self.assertEqual(len(loud(self.logs)), 1)
        self.assertIn("mapping 1 is left out", loud(self.logs)[0]["problem"])
        self.source.mark = 2
        self.clock.advance(POLL_S)
        self.assertEqual(len(loud(self.logs)), 1)
        self.source.rules, self.source.mark = rules_with("2X"), 3
        self.clock.advance(POLL_S)
        self.source.rules, self.source.mark = rules_with("[2"), 4
        self.clock.advance(POLL_S)
        self.assertEqual(len(loud(self.logs)), 2)

    def test_slow_load(self) -> None:
        """A load that takes long does not overlap with the next; stopping waits for it."""
        self.source.rules = slow = self.slow
        self.reloader.startService()
        self.clock.pump([POLL_S] * 4)
        self.assertEqual(self.source.loads, 1)
        stopped = self.reloader.stopService()
        self.assertNoResult(stopped)
        slow.callback(workshop_rules())
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_disk_that_hangs(self) -> None:
        """A database that does not answer is an outage after ANSWER_S; what it answers too late is not used."""
        self.reloader.startService()
        self.source.rules, self.source.mark = self.slow, 2
        self.clock.advance(POLL_S)
        self.clock.advance(ANSWER_S - 0.1)
        self.assertIsNone(self.reloader.outage.away_since)
        self.clock.advance(0.1)
        self.assertEqual(str(self.reloader.outage.trouble), "the database did not answer within 30 s")
        self.assertEqual(self.verdict("21"), Verdict.ALLOW)
        self.slow.callback(rules_with("8X"))
        self.assertEqual(self.verdict("21"), Verdict.ALLOW)
        self.source.rules = rules_with("9X")
        self.clock.advance(POLL_S)
        self.assertEqual(self.verdict("21"), Verdict.INVALID)
        self.assertIsNone(self.reloader.outage.away_since)

    def test_slow_reload(self) -> None:
        """One who has changed the rules does not wait longer than RELOAD_S; the rules count when they are loaded."""
        self.source.rules = slow = self.slow
        reloaded = Deferred.fromCoroutine(self.reloader.reload())
        self.clock.advance(RELOAD_S - 0.1)
        self.assertNoResult(reloaded)
        self.clock.advance(0.1)
        self.successResultOf(reloaded)
        self.assertIn("rules: loading takes longer than", loud(self.logs)[-1]["log_format"])
        slow.callback(rules_with("9X"))
        self.assertEqual(self.verdict("21"), Verdict.INVALID)

    def test_stops(self) -> None:
        """After a stop nothing is loaded."""
        self.reloader.startService()
        self.reloader.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
