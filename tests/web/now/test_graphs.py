"""Graphs: what is kept of pygal's SVG, and its texts."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.config import Zone
from pbxrouter.web.language import Translator
from pbxrouter.web.now.graphs import (
    Bar,
    busy_day,
    busy_week,
    calls_per_minute,
    draw,
)

HOSTILE = '"><script>alert(1)</script>'


class GraphTests(SynchronousTestCase):
    """Graphs drawn by pygal."""

    def setUp(self) -> None:
        """English, in Madrid's time zone."""
        self.translator = Translator("en", Zone("Europe/Madrid"))
        self.now = 1_795_431_600.0  # 23 November 2026, 12:00 in Madrid

    def told(self, graph: str) -> list[str]:
        """The tooltips of the bars."""
        return re.findall(r"<title>([^<]*)</title>", graph)

    def test_nothing_that_the_policy_forbids(self) -> None:
        """No style, script, link or handler, and no text becomes one."""
        graph = draw([Bar(1.0, HOSTILE, HOSTILE), Bar(None, "", "?")], HOSTILE, HOSTILE)
        tree = ElementTree.fromstring(graph)
        names = {str(element.tag).rpartition("}")[2] for element in tree.iter()}
        self.assertEqual(names - {"svg", "g", "path", "rect", "text", "title"}, set())
        attributes = {name for element in tree.iter() for name in element.attrib}
        self.assertEqual(
            {
                attribute
                for attribute in attributes
                if attribute.startswith("on") or "href" in attribute or attribute == "style"
            },
            set(),
        )
        self.assertNotIn("<script", graph)
        self.assertEqual(tree.get("aria-label"), f"{HOSTILE}: {HOSTILE}")

    def test_minutes(self) -> None:
        """Each minute has its bar; unknown ones are marked."""
        minute = int(self.now) - 600
        graph = calls_per_minute(
            {minute: 3, minute + 60: None}, self.now - 600, self.now, self.translator, "Calls", "3"
        )
        told = self.told(graph)
        self.assertEqual(len(told), 11)
        self.assertEqual(sorted(told)[:3], ["11:50: 3", "11:51: ?", "11:52: 0"])
        self.assertEqual(ElementTree.fromstring(graph).get("role"), "img")

    def test_no_calls_at_all(self) -> None:
        """Without calls there is still a graph."""
        graph = calls_per_minute({}, self.now - 600, self.now, self.translator, "Calls", "none")
        self.assertEqual({line[-1] for line in self.told(graph)}, {"0"})

    def test_day(self) -> None:
        """Each quarter of an hour has its maximum, and the summary has the day's."""
        zone = self.translator.zone
        midnight = zone.midnight(self.now)
        minutes = {int(midnight) + 60 * at: calls for at, calls in ((600, 2), (601, 7), (615, 1))}
        graph = busy_day(minutes, midnight, zone.midnight(self.now, 1), self.translator)
        told = self.told(graph)
        self.assertEqual(len(told), 96)
        self.assertEqual([line for line in told if not line.endswith(": 0")], ["10:00: 7", "10:15: 1"])
        self.assertIn("the busiest minute was Mon 23 Nov, 10:01, with 7 calls", graph)

    def test_week(self) -> None:
        """Each hour of the week, also where the end of summer time repeats one."""
        zone = self.translator.zone
        for now, hours in (
            (self.now, 168),
            (zone.seconds(zone.local(1_792_922_400.0).replace(tzinfo=None)), 169),
        ):
            began, ended = zone.midnight(now, -6), zone.midnight(now, 1)
            self.assertEqual(len(self.told(busy_week({}, began, ended, self.translator))), hours)
