"""The pages of the call history, and the page Test a number."""

from __future__ import annotations

import csv
import dataclasses
import io
import re

import msgspec

from pbxrouter.config import Asterisk
from pbxrouter.database.calls.history import CallRow, add_calls, trace_text
from pbxrouter.database.rules import extension_numbered, update_extension
from pbxrouter.text.sentences import Sentence, sentence
from pbxrouter.web.console.call_pages import (
    PAGE,
    CallFilters,
    place_text,
    read_filters,
    read_place,
)
from pbxrouter.web.console.request import Form
from pbxrouter.web.csv_export import CsvExport, CsvExports
from pbxrouter.web.history_csv import FEW
from tests.api_fakes import ACTOR
from tests.web_fakes import ConsoleCase, reactor

HOSTILE = '"><script>alert(1)</script>'
FORMULA = "=HYPERLINK(1)"


def row(began: float, caller: str = "33", outcome: str = "ANSWER", *trace: Sentence, name: str = "") -> CallRow:
    """A row of the history."""
    return CallRow(
        began, began + 5, "u.1", caller, name, "21", "allow", "2X", "dial", "SIP", "33", outcome, "16", 75,
        trace_text(trace),
    )  # fmt: skip


class CallsCase(ConsoleCase):
    """Tests with a viewer and a call history."""

    async def start(self) -> None:
        """Log a viewer in, at a fixed time."""
        await super().start()
        self.me = await self.viewer()
        self.now = self.web.now()

    async def have(self, *rows: CallRow) -> None:
        """Add calls to the history."""
        await self.web.write(lambda connection: add_calls(connection, rows))


class ListTests(CallsCase):
    """The page ``/calls``."""

    async def test_nothing_yet(self) -> None:
        """Without calls the page says how to place one."""
        self.assertIn("No calls yet", (await self.get("/calls")).text)
        self.assertIn("No calls match", (await self.get("/calls?caller=9")).text)

    async def test_filters(self) -> None:
        """Filters by caller, outcome and time; the form keeps them."""
        await self.have(row(self.now - 10), row(self.now - 20, "34", "BUSY"), row(self.now - 90_000, "35"))
        page = await self.get("/calls?caller=34&outcome=BUSY")
        self.assertEqual(len(re.findall("/calls/[0-9]+", page.html)), 1)
        self.assertIn(("caller", "34"), page.form("/calls").fields)
        self.assertIn(("outcome", "BUSY"), page.form("/calls").fields)
        since = self.web.zone.local(self.now - 3600).strftime("%Y-%m-%dT%H:%M")
        self.assertEqual(len(re.findall("/calls/[0-9]+", (await self.get(f"/calls?since={since}")).html)), 2)
        self.assertIn("35", (await self.get(f"/calls?until={since}")).text)

    async def test_forwarded(self) -> None:
        """Caller and forwarder are shown; a filter finds by the forwarder; a link tests the call with it."""
        for place, forwarder in enumerate(("PJSIP/21", "44", "PJSIP/21, PJSIP/22", "")):
            await self.have(dataclasses.replace(row(self.now - place, f"060{place}"), forwarded_by=forwarder))
        page = await self.get("/calls?forwarded_by=21")
        self.assertEqual(len(re.findall("/calls/[0-9]+", page.html)), 2)
        self.assertIn("0600 forwarded by PJSIP/21 21", page.text)
        self.assertIn(("forwarded_by", "21"), page.form("/calls").fields)
        self.assertIn("/calls.csv?forwarded_by=21", page.links)
        lines = (await self.get("/calls.csv?forwarded_by=21")).html.splitlines()
        self.assertEqual([line["forwarded_by"] for line in csv.DictReader(lines)], ["PJSIP/21", "PJSIP/21, PJSIP/22"])
        self.assertEqual((await self.get(f"/calls?forwarded_by={'2' * 99}")).status, 400)
        for number, query in (
            (1, "&forwarded_by=PJSIP%2F21"),
            (2, "&claimed_forwarder=44"),
            (3, ""),
            (4, ""),
        ):
            page = await self.get(f"/calls/{number}")
            self.assertIn(f"/test?caller=060{number - 1}&number=21{query}", page.links)
        self.assertIn("forwarded by PJSIP/21, PJSIP/22", (await self.get("/calls/3")).text)

    async def test_a_time_that_is_none(self) -> None:
        """An invalid time is reported at its field; the other filters are kept."""
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
        """Older and newer pages keep the filters."""
        await self.have(*(row(self.now - index) for index in range(PAGE + 5)), row(self.now, "34"))
        first = await self.get("/calls?caller=33")
        older = next(link for link in first.links if "before=" in link)
        second = await self.get(older)
        self.assertEqual(len(re.findall(r'href="/calls/[0-9]+"', second.html)), 5)
        newer = next(link for link in second.links if "after=" in link)
        self.assertEqual((await self.get(newer)).text, first.text)
        self.assertFalse(any("before=" in link for link in second.links))

    async def test_places_that_make_no_sense(self) -> None:
        """An invalid place gives the first page."""
        await self.have(row(self.now))
        for place in ("x", "1", "1-", "-", "nan-x", "1e999-1", "1-99999999999999999999999"):
            self.assertEqual((await self.get(f"/calls?before={place}")).status, 200, place)

    async def test_hostile_names(self) -> None:
        """Names and numbers are shown as text."""
        await self.have(row(self.now, HOSTILE, HOSTILE, sentence("{x} said no", x=HOSTILE), name=HOSTILE))
        for path in ("/calls", "/calls/1", f"/calls?caller={HOSTILE}&outcome={HOSTILE}"):
            page = await self.get(path.replace(" ", "+"))
            self.assertNotIn("<script>alert", page.html, path)
            self.assertIn("&lt;script&gt;", page.html, path)

    async def test_spanish(self) -> None:
        """Outcomes and traces are translated, too."""
        self.me.headers["Accept-Language"] = "es"
        await self.have(row(self.now, "33", "BUSY", sentence("no pattern matches {number}", number="21")))
        self.assertIn("ningún patrón coincide con 21", (await self.get("/calls/1")).text)
        self.assertNotIn("Outcome", (await self.get("/calls")).text)


class SeveralAsterisksTests(CallsCase):
    """Calls and *Test a number* with several Asterisks in the settings."""

    async def start(self) -> None:
        """Have a call of each, and one of which it is not known."""
        await super().start()
        for place, asterisk in enumerate(("madrid", "lima", "", "closed")):
            await self.have(dataclasses.replace(row(self.now - place, f"060{place}"), asterisk=asterisk))

    def configure(self, *names: str) -> None:
        """Put Asterisks into the settings."""
        several = tuple(Asterisk(name=name) for name in names)
        self.web.reconfigure(msgspec.structs.replace(self.web.config, asterisk=several))

    async def test_one(self) -> None:
        """With one Asterisk neither list, call nor form tells of it."""
        self.configure("madrid")
        page = await self.get("/calls")
        (link, *_) = re.findall("/calls/[0-9]+", page.html)
        for text in (page.text, (await self.get(link)).text):
            self.assertNotIn("Asterisk", text)
        self.assertNotIn("From which the call comes", (await self.get("/test")).text)

    async def test_list(self) -> None:
        """The list has the Asterisk of each call, and a filter for each, for unknown, and for one that is gone."""
        self.configure("madrid", "lima")
        page = await self.get("/calls")
        self.assertIn("Asterisk", page.text)
        for asterisk, callers in (("lima", ["0601"]), ("?", ["0602"]), ("closed", ["0603"]), ("nowhere", [])):
            page = await self.get(f"/calls?asterisk={asterisk}")
            self.assertEqual(re.findall(r"060[0-9]", page.text), callers, asterisk)
            self.assertIn(("asterisk", asterisk), page.form("/calls").fields)
            lines = (await self.get(f"/calls.csv?asterisk={asterisk}")).html.splitlines()
            expected = [] if asterisk == "nowhere" else [asterisk.strip("?")]
            self.assertEqual([line["asterisk"] for line in csv.DictReader(lines)], expected)

    async def test_call(self) -> None:
        """A call's page has its Asterisk, and a link that tests it as a call from there."""
        self.configure("madrid", "lima")
        (link,) = re.findall("/calls/[0-9]+", (await self.get("/calls?asterisk=lima")).html)
        page = await self.get(link)
        self.assertIn("Asterisk lima", page.text)
        (test,) = [link for link in page.links if link.startswith("/test?")]
        self.assertIn("asterisk=lima", test)
        self.assertIn(("asterisk", "lima"), (await self.get(test)).form("/test").fields)

    async def test_decision(self) -> None:
        """The decision is that about a call from the Asterisk that is chosen."""
        self.configure("madrid", "lima")
        reception = await self.web.read(lambda connection: extension_numbered(connection, "33"))
        await self.web.write(
            lambda connection: update_extension(connection, ACTOR, self.now, reception.holder_id, "lima:33")
        )
        await self.web.reloader.reload()
        for asterisk, said in (
            ("lima", "lima:33 may use 2X by its own grant"),
            ("madrid", "33 is an extension of lima, and the call came from madrid"),
            ("", "33 is an extension of lima, and it is not known from which Asterisk the call came"),
        ):
            page = await self.me.send("/test", caller="33", number="21", asterisk=asterisk)
            self.assertIn(said, page.text)
        page = await self.me.send("/test", caller="33", number="21", asterisk="quito")
        self.assertEqual(page.status, 400)
        self.assertIn("accepted are: madrid, lima", page.text)


class OneTests(CallsCase):
    """The page ``/calls/1``."""

    async def test_what_it_tells(self) -> None:
        """The page has the call's facts, the trace, and a link to test it again."""
        await self.have(row(self.now, "33", "ANSWER", sentence("first {x}", x="a"), sentence("second")))
        page = await self.get("/calls/1")
        self.assertIn("33 → 21", page.text)
        self.assertLess(page.text.index("first a"), page.text.index("second"))
        self.assertIn("1:15", page.text)
        self.assertIn("/test?caller=33&number=21", page.links)

    async def test_none(self) -> None:
        """An unknown call is 404."""
        for number in ("2", "99999999999999999999999"):
            page = await self.get(f"/calls/{number}")
            self.assertEqual(page.status, 404)


class CsvTests(CallsCase):
    """The CSV file ``/calls.csv``."""

    async def test_all_that_fit(self) -> None:
        """All matching calls are streamed in several pieces; no cell is a formula."""
        await self.have(*(row(self.now - index) for index in range(2500)), row(self.now, FORMULA, name=f" {FORMULA}"))
        answer = await self.get("/calls.csv")
        self.assertEqual(answer.header("Content-Type"), "text/csv; charset=utf-8")
        self.assertRegex(answer.header("Content-Disposition"), r'^attachment; filename="calls-[0-9-]{10}\.csv"$')
        rows = list(csv.DictReader(io.StringIO(answer.html, newline="")))
        self.assertEqual(len(rows), 2501)
        self.assertEqual((rows[0]["caller"], rows[0]["caller_name"]), (f"'{FORMULA}", f"' {FORMULA}"))
        few = await self.get("/calls.csv?caller=34")
        self.assertEqual(len(few.html.splitlines()), 1)

    async def test_while_others_download(self) -> None:
        """Calls shows what others download; beside as many as there may be a long download is refused with words."""
        await self.have(*(row(self.now - index) for index in range(FEW + 1)))
        exports = CsvExports(reactor, most=1)
        object.__setattr__(self.web, "exports", exports)
        other = CsvExport(b"")
        other.sent = 12_345_678
        exports.running.append(other)
        self.assertIn("under way: 12 MB so far", (await self.get("/calls")).text)
        answer = await self.get("/calls.csv")
        self.assertEqual((answer.status, answer.header("Content-Disposition")), (503, ""))
        self.assertIn("try again when one has ended", answer.text)
        self.assertEqual(len((await self.get("/calls.csv?caller=34")).html.splitlines()), 1)
        exports.running.remove(other)
        self.assertEqual(len((await self.get("/calls.csv")).html.splitlines()), FEW + 2)

    async def test_what_cannot_be_searched(self) -> None:
        """An invalid filter gives an error page."""
        answer = await self.get("/calls.csv?since=x")
        self.assertEqual((answer.status, "x is not a time" in answer.text.lower()), (400, True))


class BusiestTests(CallsCase):
    """The page ``/calls/busiest``."""

    async def test_day_and_week(self) -> None:
        """Graphs of day and week, and the busiest minutes as a table."""
        zone = self.web.zone
        noon = zone.midnight(self.now) + 12 * 3600
        await self.have(*(row(noon + index) for index in range(3)), row(noon - 86_400))
        page = await self.get("/calls/busiest")
        # Of each graph one for wide and one for narrow windows, of which the style sheet shows one.
        for kind in ("wide", "narrow"):
            self.assertEqual(page.html.count(f'class="graph-svg {kind}"'), 2, kind)
        self.assertEqual(page.html.count('role="img"'), 4)
        self.assertIn("3 calls", page.text)
        self.assertIn("4 calls", page.text)
        yesterday = zone.local(noon - 86_400).strftime("%Y-%m-%d")
        self.assertIn("1 call", (await self.get(f"/calls/busiest?day={yesterday}")).text)

    async def test_days_that_are_none(self) -> None:
        """An invalid day is reported, and today is shown."""
        for day in ("x", "0001-01-01", "9999-12-31"):
            page = await self.get(f"/calls/busiest?day={day}")
            self.assertIn(page.status, (200, 400), day)
            self.assertIn("Busiest minutes", page.text)


class TestTests(CallsCase):
    """The page ``/test``."""

    async def test_each_verdict(self) -> None:
        """Each verdict is worded as by `pbxrouter explain`."""
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
        """A right PIN allows, a wrong one does not; no PIN is shown, and attempts are limited."""
        for pin, said in (("123456", "Allowed: 44 dials 34"), ("999999", "Denied: 44 dials 34")):
            page = await self.me.send("/test", caller="44", number="34", pin=pin)
            self.assertIn(said, page.text)
            self.assertNotIn(pin, page.html)
        for _ in range(8):
            page = await self.me.send("/test", caller="44", number="34", pin="000000")
        self.assertEqual(page.status, 429)
        self.assertRegex(page.header("Retry-After"), r"^[1-9][0-9]?$")
        self.assertIn("too many PIN attempts", page.text.replace("Too", "too"))
        self.wait(60)
        self.assertIn("Denied", (await self.me.send("/test", caller="44", number="34", pin="000000")).text)

    async def test_forwarded(self) -> None:
        """The fields for the forwarder, the claimed forwarder and the endpoint."""
        for fields, said in (
            ({"caller": "0600", "forwarded_by": "33"}, "Allowed: 0600, forwarded by 33, dials 21, which runs dial SIP"),
            ({"caller": "33", "forwarded_by": "PJSIP/44"}, "A PIN is needed: 33, forwarded by PJSIP/44, dials 21"),
            ({"caller": "33", "claimed_forwarder": "44"}, "the call claims that 44 forwarded it, without proof"),
            ({"caller": "33", "endpoint": "pjsip/33"}, "Allowed: 33 dials 21"),
        ):
            page = await self.me.send("/test", number="21", **fields)
            self.assertIn(said, page.text)
            self.assertIn("<details open>", page.html)
            self.assertEqual({**dict(page.form("/test").fields), **fields}, dict(page.form("/test").fields))
        self.assertNotIn("<details open>", (await self.get("/test?caller=33&number=21")).html)
        page = await self.get("/test?caller=33&number=21&forwarded_by=PJSIP/44")
        self.assertIn("forwarded by PJSIP/44", page.text)

    async def test_typing_errors(self) -> None:
        """Each error is beside its field, with what is accepted."""
        for field, text in (
            ("forwarded_by", "99"),
            ("endpoint", "33"),
            ("claimed_forwarder", "PJSIP/33"),
            ("forwarded_by", HOSTILE[:70]),
        ):
            page = await self.me.send("/test", {"caller": "33", "number": "21", field: text})
            self.assertEqual(page.status, 400)
            self.assertIn(f'id="e-{field}"', page.html)
            self.assertIn("accepted is", page.text)
            self.assertNotIn("<script>alert", page.html)

    async def test_what_cannot_be_asked(self) -> None:
        """Invalid input is reported beside its field."""
        self.assertEqual((await self.me.send("/test", caller="33", number="")).status, 400)
        self.assertEqual((await self.me.send("/test", caller="3" * 99, number="21")).status, 400)
        page = await self.me.send("/test", caller=HOSTILE, number=HOSTILE)
        self.assertNotIn("<script>alert", page.html)
        self.assertIn("cannot be dialled", page.text)


class FilterTests(CallsCase):
    """URLs of filters and places."""

    def test_address(self) -> None:
        """Empty filters are left out of the URL."""
        filters = CallFilters(caller="+34 6", until="2026-11-23T10:00")
        address = filters.address("/calls", before="1.5-3")
        self.assertEqual(address, "/calls?caller=%2B34+6&until=2026-11-23T10%3A00&before=1.5-3")
        self.assertEqual(read_filters(Form([("caller", "+34 6"), ("until", "2026-11-23T10:00")])), filters)

    def test_place(self) -> None:
        """A place is parsed as it was formatted."""
        for place in ((1795431600.123456, 7), (0.1, 1)):
            self.assertEqual(read_place(place_text(place)), place)
