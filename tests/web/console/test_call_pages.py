"""The pages of the history, and the page that tests a number."""

from __future__ import annotations

import csv
import io
import re

from pbxrouter.database.calls.history import CallRow, add_calls, trace_text
from pbxrouter.text.sentences import Sentence, sentence
from pbxrouter.web.console.call_pages import (
    PAGE,
    CallFilters,
    place_text,
    read_filters,
    read_place,
)
from pbxrouter.web.console.request import Form
from tests.web_fakes import ConsoleCase

HOSTILE = '"><script>alert(1)</script>'
FORMULA = "=HYPERLINK(1)"


def row(began: float, caller: str = "33", outcome: str = "ANSWER", *trace: Sentence, name: str = "") -> CallRow:
    """A call."""
    return CallRow(
        began, began + 5, "u.1", caller, name, "21", "allow", "2X", "dial", "SIP", "33", outcome, "16", 75,
        trace_text(trace),
    )  # fmt: skip


class CallsCase(ConsoleCase):
    """A viewer before a history."""

    async def start(self) -> None:
        """The viewer, and the time."""
        await super().start()
        self.me = await self.viewer()
        self.now = self.web.now()

    async def have(self, *rows: CallRow) -> None:
        """These calls have been."""
        await self.web.write(lambda connection: add_calls(connection, rows))


class ListTests(CallsCase):
    """``/calls``."""

    async def test_nothing_yet(self) -> None:
        """It says what to do."""
        self.assertIn("No calls yet", (await self.get("/calls")).text)
        self.assertIn("No calls match", (await self.get("/calls?caller=9")).text)

    async def test_filters(self) -> None:
        """By caller, outcome and time; the form keeps what was written."""
        await self.have(row(self.now - 10), row(self.now - 20, "34", "BUSY"), row(self.now - 90_000, "35"))
        page = await self.get("/calls?caller=34&outcome=BUSY")
        self.assertEqual(len(re.findall("/calls/[0-9]+", page.html)), 1)
        self.assertIn(("caller", "34"), page.form("/calls").fields)
        self.assertIn(("outcome", "BUSY"), page.form("/calls").fields)
        since = self.web.zone.local(self.now - 3600).strftime("%Y-%m-%dT%H:%M")
        self.assertEqual(len(re.findall("/calls/[0-9]+", (await self.get(f"/calls?since={since}")).html)), 2)
        self.assertIn("35", (await self.get(f"/calls?until={since}")).text)

    async def test_a_time_that_is_none(self) -> None:
        """The field says so; nothing else is lost."""
        for query, reason in (
            ("since=yesterday", "yesterday is not a time; enter one such as"),
            ("until=99999-99-99", "99999-99-99 is not a time; enter one such as"),
            (f"caller={'3' * 100}", "at most 80 characters are accepted"),
        ):
            page = await self.get(f"/calls?number=21&{query}")
            self.assertEqual(page.status, 400, query)
            self.assertIn(reason, page.text.lower())
            self.assertIn(("number", "21"), page.form("/calls").fields)

    async def test_pages(self) -> None:
        """Older and newer, with the filters."""
        await self.have(*(row(self.now - index) for index in range(PAGE + 5)), row(self.now, "34"))
        first = await self.get("/calls?caller=33")
        older = next(link for link in first.links if "before=" in link)
        second = await self.get(older)
        self.assertEqual(len(re.findall(r'href="/calls/[0-9]+"', second.html)), 5)
        newer = next(link for link in second.links if "after=" in link)
        self.assertEqual((await self.get(newer)).text, first.text)
        self.assertFalse(any("before=" in link for link in second.links))

    async def test_places_that_make_no_sense(self) -> None:
        """They are the first page."""
        await self.have(row(self.now))
        for place in ("x", "1", "1-", "-", "nan-x", "1e999-1", "1-99999999999999999999999"):
            self.assertEqual((await self.get(f"/calls?before={place}")).status, 200, place)

    async def test_hostile_names(self) -> None:
        """Text, wherever they stand."""
        await self.have(row(self.now, HOSTILE, HOSTILE, sentence("{x} said no", x=HOSTILE), name=HOSTILE))
        for path in ("/calls", "/calls/1", f"/calls?caller={HOSTILE}&outcome={HOSTILE}"):
            page = await self.get(path.replace(" ", "+"))
            self.assertNotIn("<script>alert", page.html, path)
            self.assertIn("&lt;script&gt;", page.html, path)

    async def test_spanish(self) -> None:
        """Outcomes and traces too."""
        self.me.headers["Accept-Language"] = "es"
        await self.have(row(self.now, "33", "BUSY", sentence("no pattern matches {number}", number="21")))
        self.assertIn("ningún patrón coincide con 21", (await self.get("/calls/1")).text)
        self.assertNotIn("Outcome", (await self.get("/calls")).text)


class OneTests(CallsCase):
    """``/calls/1``."""

    async def test_what_it_tells(self) -> None:
        """Facts, steps in order, and the way to test it again."""
        await self.have(row(self.now, "33", "ANSWER", sentence("first {x}", x="a"), sentence("second")))
        page = await self.get("/calls/1")
        self.assertIn("33 → 21", page.text)
        self.assertLess(page.text.index("first a"), page.text.index("second"))
        self.assertIn("1:15", page.text)
        self.assertIn("/test?caller=33&number=21", page.links)

    async def test_none(self) -> None:
        """404 in words."""
        for number in ("2", "99999999999999999999999"):
            page = await self.get(f"/calls/{number}")
            self.assertEqual(page.status, 404)


class CsvTests(CallsCase):
    """``/calls.csv``."""

    async def test_all_that_fit(self) -> None:
        """Also more than one piece; nothing in it is a formula."""
        await self.have(*(row(self.now - index) for index in range(2500)), row(self.now, FORMULA, name=f" {FORMULA}"))
        answer = await self.get("/calls.csv")
        self.assertEqual(answer.header("Content-Type"), "text/csv; charset=utf-8")
        self.assertRegex(answer.header("Content-Disposition"), r'^attachment; filename="calls-[0-9-]{10}\.csv"$')
        rows = list(csv.DictReader(io.StringIO(answer.html, newline="")))
        self.assertEqual(len(rows), 2501)
        self.assertEqual((rows[0]["caller"], rows[0]["caller_name"]), (f"'{FORMULA}", f"' {FORMULA}"))
        few = await self.get("/calls.csv?caller=34")
        self.assertEqual(len(few.html.splitlines()), 1)

    async def test_what_cannot_be_searched(self) -> None:
        """A page that says so."""
        answer = await self.get("/calls.csv?since=x")
        self.assertEqual((answer.status, "x is not a time" in answer.text.lower()), (400, True))


class BusiestTests(CallsCase):
    """``/calls/busiest``."""

    async def test_day_and_week(self) -> None:
        """Graphs, and the minutes as a table."""
        zone = self.web.zone
        noon = zone.midnight(self.now) + 12 * 3600
        await self.have(*(row(noon + index) for index in range(3)), row(noon - 86_400))
        page = await self.get("/calls/busiest")
        self.assertEqual(page.html.count('role="img"'), 2)
        self.assertIn("3 calls", page.text)
        self.assertIn("4 calls", page.text)
        yesterday = zone.local(noon - 86_400).strftime("%Y-%m-%d")
        self.assertIn("1 call", (await self.get(f"/calls/busiest?day={yesterday}")).text)

    async def test_days_that_are_none(self) -> None:
        """Said so, and today is shown."""
        for day in ("x", "0001-01-01", "9999-12-31"):
            page = await self.get(f"/calls/busiest?day={day}")
            self.assertIn(page.status, (200, 400), day)
            self.assertIn("Busiest minutes", page.text)


class TestTests(CallsCase):
    """``/test``."""

    async def test_each_verdict(self) -> None:
        """The same words as the command's."""
        for caller, number, said in (
            ("33", "21", "Allowed: 33 dials 21, which runs dial SIP"),
            ("33", "34", "A PIN is needed: 33 dials 34"),
            ("", "21", "A PIN is needed: a caller without number dials 21"),
            ("33", "999", "Invalid number: 33 dials 999"),
        ):
            page = await self.me.send("/test", caller=caller, number=number)
            self.assertIn(said, page.text)
        self.assertIn("Allowed: 33 dials 21", (await self.get("/test?caller=33&number=21")).text)

    async def test_pins(self) -> None:
        """The right one opens, a wrong one does not; neither is shown again, and only a few may be tried."""
        for pin, said in (("123456", "Allowed: 44 dials 34"), ("999999", "Denied: 44 dials 34")):
            page = await self.me.send("/test", caller="44", number="34", pin=pin)
            self.assertIn(said, page.text)
            self.assertNotIn(pin, page.html)
        for _ in range(8):
            page = await self.me.send("/test", caller="44", number="34", pin="000000")
        self.assertEqual(page.status, 400)
        self.assertIn("too many PIN attempts", page.text.replace("Too", "too"))
        self.wait(60)
        self.assertIn("Denied", (await self.me.send("/test", caller="44", number="34", pin="000000")).text)

    async def test_what_cannot_be_asked(self) -> None:
        """In words, beside the field."""
        self.assertEqual((await self.me.send("/test", caller="33", number="")).status, 400)
        self.assertEqual((await self.me.send("/test", caller="3" * 99, number="21")).status, 400)
        page = await self.me.send("/test", caller=HOSTILE, number=HOSTILE)
        self.assertNotIn("<script>alert", page.html)
        self.assertIn("cannot be dialled", page.text)


class FilterTests(CallsCase):
    """Addresses there and back."""

    def test_address(self) -> None:
        """What is not said is not in it."""
        filters = CallFilters(caller="+34 6", until="2026-11-23T10:00")
        address = filters.address("/calls", before="1.5-3")
        self.assertEqual(address, "/calls?caller=%2B34+6&until=2026-11-23T10%3A00&before=1.5-3")
        self.assertEqual(read_filters(Form([("caller", "+34 6"), ("until", "2026-11-23T10:00")])), filters)

    def test_place(self) -> None:
        """A place comes back exactly."""
        for place in ((1795431600.123456, 7), (0.1, 1)):
            self.assertEqual(read_place(place_text(place)), place)
