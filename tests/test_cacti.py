"""contrib/cacti: the templates fit what `pbxrouter counter` prints. In a real Cacti `make cacti` tries them."""

from __future__ import annotations

import re
import shlex
import xml.etree.ElementTree as ElementTree
from collections import Counter

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.cli.counter import SETTLED_S, counter, settled
from scripts import cacti_templates
from tests.cli.test_app import CommandTestCase
from tests.paths import ROOT

HASH = re.compile(r"hash_(\d\d)(\d{4})([0-9a-f]{32})")


class TemplateTests(SynchronousTestCase):
    """The file, as Cacti reads it."""

    def setUp(self) -> None:
        """Read the template."""
        text = cacti_templates.FILE.read_text(encoding="utf-8")
        self.tree = ElementTree.fromstring(text)
        self.hashes = [match for match in HASH.finditer(text) if text[match.start() - 1] == "<"]

    def parts(self, kind: str) -> list[ElementTree.Element]:
        """The elements of a kind, such as graph templates."""
        return [found for found in self.tree.iter() if found.tag.startswith(f"hash_{kind}")]

    def test_up_to_date(self) -> None:
        """The file is what scripts/cacti_templates.py writes."""
        self.assertEqual(cacti_templates.FILE.read_text(encoding="utf-8"), cacti_templates.document())

    def test_one_graph_uses_all(self) -> None:
        """All fields of a data template are in one graph; an RRD file has only fields that some graph uses."""
        templates = {
            frozenset(item.tag for item in template.find("items") or ())
            for template in self.parts(cacti_templates.DATA_TEMPLATE)
        }
        graphs = {
            frozenset(item.findtext("task_item_id") for item in template.find("items") or ())
            for template in self.parts(cacti_templates.GRAPH_TEMPLATE)
        }
        self.assertEqual(templates, graphs)
        self.assertEqual(len(graphs), len(cacti_templates.GRAPHS))

    def test_references(self) -> None:
        """What is named is there, and defined once; the device template has all graphs."""
        defined = Counter(match[3] for match in self.hashes)
        self.assertEqual(set(defined.values()), {1})
        self.assertEqual({match[2] for match in self.hashes}, {cacti_templates.VERSION})
        texts = [found.text or "" for found in self.tree.iter()]
        named = {match[3] for text in texts for match in HASH.finditer(text)}
        self.assertEqual(named - set(defined), set())
        (device,) = self.parts(cacti_templates.HOST_TEMPLATE)
        graphs = {graph.tag for graph in self.parts(cacti_templates.GRAPH_TEMPLATE)}
        self.assertEqual(set((device.findtext("graph_templates") or "").split("|")), graphs)

    def test_names(self) -> None:
        """Names of data sources are what RRDtool takes, each once."""
        names = [found.text or "" for found in self.tree.iter("data_source_name")]
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            self.assertRegex(name, r"\A[a-zA-Z0-9_-]{1,19}\Z")

    def test_allowed(self) -> None:
        """The command is the one that the documentation lets Cacti's user run."""
        (method,) = self.parts(cacti_templates.DATA_INPUT)
        words = shlex.split(re.sub(r"<\w+>", "x", method.findtext("input_string") or ""))
        program = words[words.index("pbxrouter") + 1]
        page = (ROOT / "docs/counter.md").read_text(encoding="utf-8")
        self.assertIn(f"www-data ALL=(pbxrouter) NOPASSWD: {program} {words[words.index(program) + 1]} *", page)
        options = {option for parameter in counter.params for option in parameter.opts}
        self.assertEqual({word for word in words if word.startswith("--")} - options, set())


class FieldTests(CommandTestCase):
    """The templates beside the command."""

    def test_all(self) -> None:
        """There is a data source for each field that the command prints."""
        self.good("init")
        printed = [field.partition(":")[0] for field in self.good("counter").split()]
        fields = [field.name for graph in cacti_templates.GRAPHS for field in graph.fields]
        self.assertEqual(sorted(fields), sorted(printed))


class PollTests(SynchronousTestCase):
    """When a poll reads."""

    def test_complete(self) -> None:
        """Polls that come at once after the full minute, and later ones, read the same minutes."""
        for late_s in (0, 1, SETTLED_S, 6, 59):
            clock = Clock()
            clock.advance(6000 + late_s)
            now = settled(clock.seconds, clock.advance)
            self.assertEqual(now, 6000 + max(late_s, SETTLED_S))
            self.assertEqual(int(now - SETTLED_S) // 60, 100)
