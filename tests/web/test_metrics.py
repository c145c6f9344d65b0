"""The call counter's Prometheus metrics."""

from __future__ import annotations

from typing import Any

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.counter.call_table import LiveCall
from pbxrouter.counter.counts import (
    ALL,
    REASONS,
    CallCounts,
    Counts,
)
from pbxrouter.doctor import LastRun, ok, unknown, wrong
from pbxrouter.net import QueueFigures
from pbxrouter.rules import RuleSet
from pbxrouter.rules.model import Decision, Verdict
from pbxrouter.rules.model import Mapping as Rule
from pbxrouter.rules.patterns import Pattern
from pbxrouter.text import Sentence
from pbxrouter.web.metrics import PART, registry_of
from tests.hostile_text import TEXTS


def rule_set(*patterns: str, disabled: tuple[str, ...] = (), extensions: tuple[str, ...] = ()) -> RuleSet:
    """Rules with these mappings and extensions."""
    entries = {}
    for place, text in enumerate(patterns, start=1):
        entries[place] = (Pattern.parse(text), Rule(place, text, "dial", "", enabled=text not in disabled))
    return RuleSet(entries, {}, {number: frozenset() for number in extensions}, (), str, ())


class FakeCounter:
    """The part of CallCounter that the metrics read."""

    def __init__(self, asterisk: str) -> None:
        self.asterisk = asterisk
        self.counting = CallCounts()
        self.active: int | None = 3
        self.in_sync = self.database_up = True
        self.unknown_s = 1.5
        self.gaps = self.restarts = 1
        self.forged_events = 2


class MetricsTests(SynchronousTestCase):
    """The metrics as text, parsed again."""

    def setUp(self) -> None:
        """Two Asterisks, one with calls."""
        self.examined = LastRun()
        self.rules: RuleSet | None = None
        self.busy, self.idle = FakeCounter("a"), FakeCounter('b"\\')
        counts = Counts(started=5, answered=2, finished=4, talked=2, served=1, talk_s=7.5, failed={"busy": 1})
        for label in (ALL, ("mapping", '2"X\n'), ("extension", "33"), ("user", "pepe")):
            self.busy.counting.totals[label] = counts

    def queues(self) -> list[QueueFigures]:
        """Two queues."""
        return [QueueFigures("history", 3, 4.5, 1, 2), QueueFigures('counter b"\\', 0)]

    def families(self) -> dict[str, Metric]:
        """The metric families by name."""
        counters: list[Any] = [self.busy, self.idle]
        registry = registry_of(
            counters,
            lambda: {"network": 4},
            refused_calls=lambda: 7,
            examined=self.examined,
            queues=self.queues,
            standing_by=lambda: {"a": 2, "b": 0},
            rules=lambda: self.rules,
        )
        text = generate_latest(registry).decode()
        families: dict[str, Metric] = {}
        for family in text_string_to_metric_families(text):
            assert family.name not in families, family.name
            families[family.name] = family
        return families

    def value(self, metric: str, /, **labels: str) -> float | None:
        """The value of a sample; None if it is missing."""
        for family in self.families().values():
            for sample in family.samples:
                if sample.name == metric and sample.labels == labels:
                    return float(sample.value)
        return None

    def test_doctor(self) -> None:
        """The state of the doctor's last run; before the first it is unknown."""
        self.assertEqual(self.value("pbxrouter_doctor_state", state="unknown"), 1)
        self.assertEqual(self.value("pbxrouter_doctor_state", state="ok"), 0)
        self.assertIsNone(self.value("pbxrouter_doctor_last_run_timestamp_seconds"))
        good = ok(Sentence("a"), Sentence("b"))
        for findings, state in (
            ([good], "ok"),
            ([good, unknown(Sentence("a"), Sentence("b"), Sentence("c"))], "unknown"),
            ([good, wrong(Sentence("a"), Sentence("b"))], "wrong"),
        ):
            self.examined.note(findings, 5.0)
            for name in ("ok", "wrong", "unknown"):
                self.assertEqual(self.value("pbxrouter_doctor_state", state=name), name == state)
                count = sum(finding.state == name for finding in findings)
                self.assertEqual(self.value("pbxrouter_doctor_findings", state=name), count)
        self.assertEqual(self.value("pbxrouter_doctor_last_run_timestamp_seconds"), 5)

    def test_refused(self) -> None:
        """Refused FastAGI connections by reason."""
        self.assertEqual(self.value("pbxrouter_fastagi_refused_total", reason="network"), 4)

    def test_values(self) -> None:
        """Each count has its metric."""
        for name, value in (
            ("calls_started_total", 5),
            ("calls_answered_total", 2),
            ("calls_finished_total", 4),
            ("calls_served_total", 1),
            ("calls_talk_seconds_total", 7.5),
            ("calls_active", 3),
            ("asterisk_up", 1),
            ("database_up", 1),
            ("unknown_seconds_total", 1.5),
            ("unknown_gaps_total", 1),
            ("asterisk_restarts_total", 1),
            ("forged_events_total", 2),
        ):
            self.assertEqual(self.value(f"pbxrouter_{name}", asterisk="a"), value, name)
        self.assertEqual(self.value("pbxrouter_calls_started_total", asterisk='b"\\'), 0)
        self.assertEqual(self.value("pbxrouter_calls_refused_total"), 7)

    def test_standby(self) -> None:
        """Each Asterisk has the number of contexts that another gateway serves."""
        self.assertEqual(self.value("pbxrouter_magi_standby", asterisk="a"), 2)
        self.assertEqual(self.value("pbxrouter_magi_standby", asterisk="b"), 0)

    def test_queues(self) -> None:
        """Each queue has its length, its age, and what it has set aside and lost."""
        for name, value in (("length", 3), ("oldest_seconds", 4.5), ("set_aside_total", 1), ("lost_total", 2)):
            self.assertEqual(self.value(f"pbxrouter_queue_{name}", queue="history"), value, name)
            self.assertEqual(self.value(f"pbxrouter_queue_{name}", queue='counter b"\\'), 0, name)

    def test_hostile_names(self) -> None:
        """Names that rules by hand may have make no scrape fail."""
        for name in TEXTS.values():
            pattern = name.decode("utf-8", "surrogateescape")
            decision = Decision(Verdict.ALLOW, "21", Rule(1, pattern, "dial", ""), None, (), extension=pattern)
            self.busy.counting.label(LiveCall("x", 1.0), decision, "ANSWER")
        labels = [sample.labels for sample in self.families()["pbxrouter_routed_calls_started"].samples]
        self.assertLess(max(len(label["name"]) for label in labels), 1500)

    def test_reasons(self) -> None:
        """Every reason is present from the start, so that a rate can be computed."""
        for reason in REASONS:
            value = self.value("pbxrouter_calls_failed_total", asterisk="a", reason=reason)
            self.assertEqual(value, 1 if reason == "busy" else 0)

    def test_routed(self) -> None:
        """Calls are counted by mapping and extension, but not by user."""
        labels = {"asterisk": "a", "kind": "mapping", "name": '2"X\n'}
        self.assertEqual(self.value("pbxrouter_routed_calls_answered_total", **labels), 2)
        self.assertEqual(self.value("pbxrouter_routed_calls_failed_total", **labels, reason="busy"), 1)
        kinds = {sample.labels["kind"] for sample in self.families()["pbxrouter_routed_calls_started"].samples}
        self.assertEqual(kinds, {"mapping", "extension"})

    def test_begin_at_zero(self) -> None:
        """A mapping and an extension have series before their first call, a mapping's with every reason."""
        labels = {"asterisk": "a", "kind": "mapping", "name": "3X"}
        self.assertIsNone(self.value("pbxrouter_routed_calls_started_total", **labels))
        self.rules = rule_set("2X", "3X", extensions=("21", "33"))
        counts = ("started", "answered", "finished", "served", "talk_seconds")
        for asterisk in ("a", 'b"\\'):
            for kind, name in (("mapping", "3X"), ("extension", "21")):
                labels = {"asterisk": asterisk, "kind": kind, "name": name}
                for count in counts:
                    self.assertEqual(self.value(f"pbxrouter_routed_calls_{count}_total", **labels), 0)
            labels = {"asterisk": asterisk, "kind": "mapping", "name": "3X"}
            for reason in REASONS:
                self.assertEqual(self.value("pbxrouter_routed_calls_failed_total", **labels, reason=reason), 0)
        labels = {"asterisk": "a", "kind": "extension", "name": "33"}
        self.assertEqual(self.value("pbxrouter_routed_calls_started_total", **labels), 5)
        self.rules = rule_set("4X")
        labels = {"asterisk": "a", "kind": "mapping", "name": "4X"}
        self.assertEqual(self.value("pbxrouter_routed_calls_started_total", **labels), 0)

    def test_disabled(self) -> None:
        """A disabled mapping has no series, since no call is counted under it."""
        self.rules = rule_set("2X", "3X", disabled=("3X",))
        names = {sample.labels["name"] for sample in self.families()["pbxrouter_routed_calls_started"].samples}
        self.assertEqual(names, {"2X", '2"X\n', "33"})

    def test_same_names(self) -> None:
        """A series at zero has the name that calls are counted under, however hostile, and is there once."""
        for name in TEXTS.values():
            pattern = name.decode("utf-8", "surrogateescape")
            self.rules = rule_set("2X", extensions=(pattern,))
            samples = self.families()["pbxrouter_routed_calls_started"].samples
            keys = [tuple(sample.labels.values()) for sample in samples]
            self.assertEqual(len(keys), len(set(keys)))
            decision = Decision(Verdict.ALLOW, "21", Rule(1, "2X", "dial", ""), None, (), extension=pattern)
            self.busy.counting.label(LiveCall("x", 1.0), decision, "ANSWER")
            after = self.families()["pbxrouter_routed_calls_started"].samples
            self.assertEqual({tuple(sample.labels.values()) for sample in after}, set(keys))

    def test_parts(self) -> None:
        """A family with many samples comes in parts, so that calls go on meanwhile."""
        self.rules = rule_set(*(f"9{place:03}" for place in range(PART // len(REASONS) + 1)))
        counters: list[Any] = [self.busy]
        families = list(registry_of(counters, rules=lambda: self.rules).collect())
        failed = [family for family in families if family.name == "pbxrouter_routed_calls_failed"]
        self.assertEqual(len(failed), 2)
        self.assertLessEqual(max(len(family.samples) for family in families), PART)
        names = {sample.labels["name"] for family in failed for sample in family.samples}
        self.assertEqual(len(names), len(self.rules.entries) + 2)

    def test_unknown(self) -> None:
        """An unknown value is missing."""
        self.busy.active, self.busy.in_sync = None, False
        self.assertIs(self.value("pbxrouter_calls_active", asterisk="a"), None)
        self.assertEqual(self.value("pbxrouter_asterisk_up", asterisk="a"), 0)

    def test_help_and_types(self) -> None:
        """The format as promtool requires it: HELP everywhere, counters end in _total, units are base units."""
        for name, family in self.families().items():
            self.assertTrue(family.documentation, name)
            self.assertIn(family.type, ("counter", "gauge"), name)
            for sample in family.samples:
                self.assertEqual(sample.name.endswith("_total"), family.type == "counter", name)
            self.assertNotRegex(name, r"_(ms|minutes|milliseconds|count|sum|bucket)\b")
