"""RuleSurveyor: all rules are examined in slices, once for each RuleSet."""

from __future__ import annotations

from typing import cast

from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.rules.applications import Applications
from pbxrouter.rules.model import Mapping
from pbxrouter.rules.ruleset import RuleSet
from pbxrouter.rules.survey import BREATH_S, TURN_S, RuleSurveyor
from tests.fakes import hash_pin, loud, workshop_rules


class SlowClock(Clock):
    """A clock that advances at each reading, as if everything took long."""

    def seconds(self) -> float:
        """The time, a little later at each call."""
        self.rightNow += 0.0004
        return super().seconds()


class ScriptedClock(Clock):
    """A clock whose next readings are given."""

    def __init__(self) -> None:
        super().__init__()
        self.readings: list[float] = []

    def seconds(self) -> float:
        """The next reading; without any, the unchanged time."""
        return self.readings.pop(0) if self.readings else super().seconds()


class Surveying(SynchronousTestCase):
    """RuleSurveyor examines all rules in slices."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.rules: RuleSet | None = workshop_rules()
        self.surveyor = RuleSurveyor(lambda: self.rules, ["dial", "voicemail", "conference"], self.clock)

    def test_once(self) -> None:
        """All who wait share one survey; afterwards the result is known at once."""
        first, second = self.surveyor.survey(), self.surveyor.survey()
        self.assertNoResult(first)
        self.clock.advance(1)
        found = self.successResultOf(first)
        assert found is not None
        self.assertEqual(dict(found.counts), {"not-granted": 1})
        self.assertIs(self.successResultOf(second), found)
        self.assertIs(self.successResultOf(self.surveyor.survey()), found)
        self.assertIs(self.surveyor.known, found)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_other_drivers(self) -> None:
        """The same rules are surveyed anew when applications have changed what they accept."""
        applications = Applications(["dial", "voicemail", "conference"])
        surveyor = RuleSurveyor(lambda: self.rules, applications, self.clock)
        before = surveyor.warnings
        self.assertIs(surveyor.warnings, before)
        applications.generation += 1
        after = surveyor.warnings
        self.assertIsNot(after, before)
        self.assertIs(surveyor.warnings, after)

    def test_changed(self) -> None:
        """Other rules are surveyed anew; those who asked before get the result for the earlier rules."""
        before = self.surveyor.survey()
        self.rules = RuleSet.build([Mapping(1, "2X", "fax", "")], [("33", frozenset({1}))], [], hash_pin)
        warnings = self.surveyor.warnings
        assert warnings is not None
        self.assertIs(warnings.rules, self.rules)
        self.clock.advance(1)
        found = self.successResultOf(before)
        assert found is not None
        self.assertEqual(found.mappings, 5)
        self.assertIsNone(self.surveyor.known)
        self.clock.advance(1)
        known = self.surveyor.known
        assert known is not None
        self.assertEqual(dict(known.counts), {"no-driver": 1})

    def test_changed_after_a_survey(self) -> None:
        """The results for earlier rules are dropped as soon as there are other rules."""
        self.surveyor.survey()
        self.clock.advance(1)
        before = self.surveyor.known
        self.assertIsNotNone(before)
        self.rules = RuleSet.build([Mapping(1, "2X", "fax", "")], [("33", frozenset({1}))], [], hash_pin)
        self.assertIsNone(self.surveyor.known)
        after = self.surveyor.survey()
        self.assertNoResult(after)
        self.clock.advance(1)
        found = self.successResultOf(after)
        assert found is not None
        self.assertEqual(dict(found.counts), {"no-driver": 1})
        self.assertIs(self.surveyor.known, found)

    def test_no_rules_yet(self) -> None:
        """Without rules there is no survey to wait for."""
        self.rules = None
        self.assertIsNone(self.successResultOf(self.surveyor.survey()))
        self.assertIsNone(self.surveyor.warnings)

    def test_begun_by_a_question(self) -> None:
        """Asking for known results begins a survey, once, which goes on after a pause."""
        self.assertIsNone(self.surveyor.known)
        self.assertIsNone(self.surveyor.known)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(BREATH_S * 0.9)
        self.assertIsNone(self.surveyor.known)
        self.clock.advance(BREATH_S * 0.1)
        found = self.surveyor.known
        assert found is not None
        self.assertEqual(dict(found.counts), {"not-granted": 1})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_warnings_of_the_rules_in_force(self) -> None:
        """The same object while the rules are the same, so that what a survey found out serves the pages."""
        warnings = self.surveyor.warnings
        assert warnings is not None
        self.assertIs(warnings.rules, self.rules)
        self.surveyor.survey()
        self.clock.advance(1)
        self.assertIs(self.surveyor.warnings, warnings)

    def test_no_slice_is_long(self) -> None:
        """A slice ends when its millisecond is over, and the next one begins only after the pause."""
        clock = SlowClock()
        mappings = [Mapping(index, f"4{index}", "dial", "") for index in range(100)]
        rules = RuleSet.build(mappings, [], [], hash_pin)
        surveyor = RuleSurveyor(lambda: rules, ["dial"], clock)
        waiting = surveyor.survey()
        slices = 0
        while not waiting.called:
            (call,) = clock.getDelayedCalls()
            self.assertLessEqual(call.getTime() - clock.rightNow, BREATH_S)
            clock.advance(BREATH_S)
            slices += 1
        # Of 0.4 ms each, three readings of the clock fit into a slice of 1 ms.
        self.assertGreaterEqual(slices, 100 // 3)
        self.assertLessEqual(slices, 100)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_a_slice_ends_with_its_millisecond(self) -> None:
        """A slice ends when its millisecond has just passed."""
        clock = ScriptedClock()
        surveyor = RuleSurveyor(lambda: self.rules, ["dial"], clock)
        self.assertIsNone(surveyor.known)
        clock.readings = [
            BREATH_S,
            5.0,
            5.0 + TURN_S,
        ]  # read by advance, at the slice's beginning, after its first step
        clock.advance(BREATH_S)
        self.assertEqual(clock.readings, [])
        self.assertIsNone(surveyor.known)
        clock.advance(BREATH_S)
        self.assertIsNotNone(surveyor.known)

    def test_applications_are_those_given(self) -> None:
        """A mapping to an application without a driver is counted."""
        self.surveyor = RuleSurveyor(lambda: self.rules, ["dial"], self.clock)
        waiting = self.surveyor.survey()
        self.clock.advance(1)
        found = self.successResultOf(waiting)
        assert found is not None
        self.assertEqual(dict(found.counts), {"not-granted": 1, "no-driver": 2})

    def test_in_turns(self) -> None:
        """Slices leave pauses for other work."""
        clock = SlowClock()
        rules = workshop_rules(*(Mapping(10 + index, f"4{index}", "dial", "") for index in range(100)))
        surveyor = RuleSurveyor(lambda: rules, ["dial"], clock)
        waiting = surveyor.survey()
        turns = 0
        while surveyor.known is None:
            clock.advance(0.001)
            turns += 1
        self.assertGreater(turns, 20)
        found = self.successResultOf(waiting)
        assert found is not None
        self.assertEqual(found.mappings, 105)

    def test_fault(self) -> None:
        """An unexpected exception fails those who wait, and does not block the next survey."""
        broken = RuleSet.build([Mapping(1, "2X", None, "")], [], [], hash_pin)  # type: ignore[arg-type]
        sound, self.rules = self.rules, broken
        waiting, other = self.surveyor.survey(), self.surveyor.survey()
        with capturedLogs() as events:
            self.clock.advance(1)
        self.failureResultOf(waiting, AttributeError)
        self.failureResultOf(other, AttributeError)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.assertEqual(
            [event["log_format"] for event in loud(cast("list[LogEvent]", events))],
            ["rules: surveying them for warnings failed"],
        )
        self.rules = sound
        again = self.surveyor.survey()
        self.clock.advance(1)
        self.assertIsNotNone(self.successResultOf(again))
