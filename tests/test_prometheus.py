"""contrib/prometheus and contrib/grafana name metrics that there are; promtool tries the rules.

In a real Prometheus `make prometheus` tries them.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.call import PinStatistics
from pbxrouter.doctor import LastRun
from pbxrouter.net import QueueFigures
from pbxrouter.web.metrics import registry_of
from tests import needs
from tests.paths import ROOT
from tests.web.test_metrics import FakeCounter

RULES = ROOT / "contrib/prometheus/pbxrouter.rules.yml"
RULES_TEST = ROOT / "contrib/prometheus/pbxrouter.rules.test.yml"
BOARD = ROOT / "contrib/grafana/pbxrouter-calls.json"
NAMED = re.compile(r"\b(?:pbxrouter|process)_\w+")


def samples() -> dict[str, list[dict[str, str]]]:
    """The labels of all samples of /metrics, by the sample's name."""
    counters: list[Any] = [FakeCounter("office")]
    registry = registry_of(
        counters,
        lambda: dict.fromkeys(("full", "peer", "late"), 0),
        pins=PinStatistics(),
        examined=LastRun(),
        queues=lambda: [QueueFigures("history", 0)],
        standing_by=lambda: {"office": 0},
    )
    found: dict[str, list[dict[str, str]]] = {}
    for metric in registry.collect():
        found.setdefault(metric.name, [])
        found.setdefault(f"{metric.name}_total" if metric.type == "counter" else metric.name, [])
        for sample in metric.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found


class MetricNameTests(SynchronousTestCase):
    """The metrics that rules and dashboard name."""

    def setUp(self) -> None:
        """Read the metrics."""
        self.samples = samples()

    def test_rules(self) -> None:
        """Each metric of a rule is in /metrics, and each label value that a rule selects."""
        text = RULES.read_text(encoding="utf-8")
        named = set(NAMED.findall(re.sub(r"#.*", "", text)))
        self.assertGreater(len(named), 12)
        self.assertEqual(named - set(self.samples), set())
        for metric, label, values in re.findall(r'(\w+)\{(\w+)=~?"([^"]+)"\}', text):
            if label != "job":
                there = {labels.get(label) for labels in self.samples[metric]}
                self.assertEqual(set(values.split("|")) - there, set(), metric)

    def test_dashboard(self) -> None:
        """Each metric of the dashboard is in /metrics."""
        text = BOARD.read_text(encoding="utf-8")
        board = json.loads(text)
        expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
        expressions += [variable["query"] for variable in board["templating"]["list"]]
        named = {name for expression in expressions for name in NAMED.findall(expression)}
        self.assertGreater(len(named), 8)
        self.assertEqual(named - set(self.samples), set())

    def test_all_alerts_tried(self) -> None:
        """Each alert is tried where it is silent, and where it fires."""
        alerts = set(re.findall(r"- alert: (\w+)", RULES.read_text(encoding="utf-8")))
        tried = set(re.findall(r"- name: (\w+ \w+(?: \w+)?)\n", RULES_TEST.read_text(encoding="utf-8")))
        self.assertEqual(tried, {f"{alert} {what}" for alert in alerts for what in ("is silent", "fires")})


class PromtoolTests(SynchronousTestCase):
    """The rules, as Prometheus reads them."""

    def run_promtool(self, *arguments: str) -> str:
        """Run promtool, the one that is installed or the one that scripts/setup-prometheus has unpacked."""
        unpacked = ROOT / "build/prometheus/usr/bin/promtool"
        promtool = shutil.which("promtool") or (str(unpacked) if unpacked.exists() else None)
        if promtool is None:
            needs.missing("promtool is not here; scripts/setup-prometheus brings it")
        done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_check(self) -> None:
        """They are well formed."""
        alerts = len(re.findall(r"- alert: ", RULES.read_text(encoding="utf-8")))
        self.assertIn(f"{alerts} rules found", self.run_promtool("check", "rules", str(RULES)))

    def test_rules(self) -> None:
        """Each is silent and fires where it should."""
        self.assertIn("SUCCESS", self.run_promtool("test", "rules", str(RULES_TEST)))
