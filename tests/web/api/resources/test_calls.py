"""The history through the API: search, pages, CSV, figures."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable
from typing import Any

from pbxrouter.database.calls.history import CallRow, add_calls, forget_calls
from pbxrouter.security.tokens import Scope
from pbxrouter.web.api.endpoint import CSV
from pbxrouter.web.csv_export import CsvExports
from pbxrouter.web.history_csv import FEW
from tests.api_fakes import NOON, ApiCase, a_call, reactor


class CallsTests(ApiCase):
    """Tests with calls in the history."""

    scopes = (Scope.READ,)

    async def put(self, rows: Iterable[CallRow]) -> None:
        """Add calls to the history."""
        await self.web.write(lambda connection: add_calls(connection, rows))

    async def get(self, path: str) -> Any:
        """Send a GET that must succeed; returns the response's JSON."""
        said = await self.ask("GET", path)
        self.assertEqual(said.status, 200, said.body)
        return said.json

    async def test_pages(self) -> None:
        """Newest first, each call once on the way through all pages, while new calls are added."""
        await self.put(map(a_call, range(25)))
        seen: list[str] = []
        path = "/api/calls?limit=10"
        while path:
            page = await self.get(path)
            seen += [row["uniqueid"] for row in page["items"]]
            path = f"/api/calls?limit=10&after={page['next']}" if page["next"] else ""
            await self.put([a_call(100 + len(seen))])
        self.assertEqual(seen, [a_call(place).uniqueid for place in reversed(range(25))])
        await self.web.write(lambda connection: forget_calls(connection, NOON + 10_000))
        self.assertEqual(await self.get("/api/calls?after=3"), {"items": [], "next": None})

    async def test_filters(self) -> None:
        """Filters by caller, number and its prefix, outcome in any case, and time."""
        await self.put(map(a_call, range(12)))
        forwarded = a_call(12, caller="", number="0034911", outcome="DENIED", verdict="deny", forwarded_by="PJSIP/21")
        await self.put([forwarded])
        for query, count in (
            ("", 13),
            ("caller=33", 12),
            ("caller=", 1),
            ("number=22", 1),
            ("number=2*", 12),
            ("number=0034*", 1),
            ("forwarded_by=21", 1),
            ("forwarded_by=PJSIP/2*&caller=33", 0),
            ("outcome=busy", 4),
            (f"since={NOON + 20}&until={NOON + 60}", 2),
            (f"caller=33&outcome=ANSWER&until={NOON + 60}", 2),
            ("caller=%27%20OR%201=1", 0),
        ):
            self.assertEqual(len((await self.get(f"/api/calls?{query}"))["items"]), count, query)
        for query, field in (("since=yesterday", "since"), ("limit=501", "limit"), ("callers=33", "callers")):
            said = await self.ask("GET", f"/api/calls?{query}")
            self.assertEqual((said.status, said.json["field"]), (400, field))

    async def test_one(self) -> None:
        """A call has its trace, as text and as sentences."""
        await self.put([a_call(0)])
        listed = (await self.get("/api/calls"))["items"][0]
        found = await self.get(f"/api/calls/{listed['call_id']}")
        self.assertEqual({**found, **listed}, found)
        self.assertEqual(
            found["trace"],
            [
                {
                    "message": "{number} matches {pattern}",
                    "values": {"number": "22", "pattern": "2X"},
                    "words": "22 matches 2X",
                }
            ],
        )
        self.assertEqual((await self.ask("GET", "/api/calls/999")).status, 404)

    async def test_csv(self) -> None:
        """All calls in several pieces; a caller's name is no formula."""
        count = 2 * FEW + 3
        await self.put(a_call(place, caller_name='=HYPERLINK("http://x","y")') for place in range(count))
        said = await self.ask("GET", "/api/calls.csv")
        self.assertEqual((said.status, said.header("Content-Type")), (200, CSV))
        self.assertIn("calls.csv", said.header("Content-Disposition"))
        rows = list(csv.DictReader(io.StringIO(said.body.decode())))
        self.assertEqual(len(rows), count)
        self.assertEqual(rows[0]["uniqueid"], a_call(count - 1).uniqueid)
        self.assertEqual({row["caller_name"][:2] for row in rows}, {"'="})
        self.assertEqual(rows[0]["trace"], "22 matches 2X")
        said = await self.ask("GET", f"/api/calls.csv?limit={FEW + 1}&outcome=answer")
        self.assertEqual(len(said.body.splitlines()), FEW + 2)
        self.assertEqual((await self.ask("HEAD", "/api/calls.csv")).status, 200)

    async def test_csv_beside_others(self) -> None:
        """Beside as many downloads as there may be a long one is refused, and a short one is not."""
        await self.put(map(a_call, range(FEW + 1)))
        object.__setattr__(self.web, "exports", CsvExports(reactor, most=0))
        said = await self.ask("GET", "/api/calls.csv")
        self.assertEqual(said.status, 503)
        self.assertIn("under way already", said.json["error"])
        said = await self.ask("GET", f"/api/calls.csv?limit={FEW}")
        self.assertEqual(len(said.body.splitlines()), FEW + 1)

    async def test_csv_of_nothing(self) -> None:
        """Without calls there is the heading; an unavailable database gives 503, not a truncated text."""
        said = await self.ask("GET", "/api/calls.csv")
        self.assertEqual(len(said.body.splitlines()), 1)
        self.path.rename(f"{self.path}.away")
        self.assertEqual((await self.ask("GET", "/api/calls.csv")).status, 503)

    async def test_figures(self) -> None:
        """Figures per minute, by outcome, and the busiest minutes; by default of the last day."""
        await self.put(map(a_call, range(7)))
        found = await self.get(f"/api/calls/figures?since={NOON}&until={NOON + 3600}&busiest=2")
        self.assertEqual((found["calls"], found["by_outcome"]), (7, {"ANSWER": 4, "BUSY": 3}))
        minutes = [{"minute": NOON + 60 * place, "calls": calls} for place, calls in enumerate((3, 3, 1))]
        self.assertEqual((found["minutes"], found["busiest"]), (minutes, minutes[:2]))
        now = time.time()
        await self.put([a_call(0, began=now - 10, ended=now)])
        self.assertEqual((await self.get("/api/calls/figures"))["calls"], 1)
        for query in (f"since={NOON}&until={NOON - 1}", f"since={NOON}&until={NOON + 9 * 86400}"):
            said = await self.ask("GET", f"/api/calls/figures?{query}")
            self.assertEqual((said.status, said.json["field"]), (422, "since"))
        self.assertEqual((await self.get("/api/calls/figures?until=0"))["calls"], 0)
