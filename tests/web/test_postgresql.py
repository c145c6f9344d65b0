"""Console and API on a database of PostgreSQL: each page and each resource that reads, and a few that write."""

from __future__ import annotations

import re
import time

from pbxrouter.counter.counts import ALL, Counts
from pbxrouter.counter.storage import Batch, write
from pbxrouter.database import Connection, Place, admit_guess
from pbxrouter.database.audit import Actor
from pbxrouter.database.calls.history import add_calls
from pbxrouter.database.click_to_dial import LinkOptions, LinkValues, add_dial_link
from pbxrouter.database.rules import MappingValues, add_extension, add_mapping, add_user
from pbxrouter.security import GuessKey
from pbxrouter.web.api.resources.endpoints import ENDPOINTS
from tests.api_fakes import ApiCase, a_call
from tests.database.postgresql import cluster
from tests.web_fakes import ConsoleCase

ANA = Actor("ana", "console")


def fill(connection: Connection) -> None:
    """Add rows of every kind."""
    now = time.time()
    for number in range(60):
        add_mapping(connection, ANA, now, MappingValues(f"4{number:02}X", "dial", "SIP"))
        add_extension(connection, ANA, now, f"5{number:02}", f"PJSIP/5{number:02}")
        add_user(connection, ANA, now, f"Pérez {number}")
    add_calls(connection, [a_call(place, forwarded_by="PJSIP/21" if place % 2 else "") for place in range(130)])
    add_calls(connection, [a_call(0, began=now - 60 * place, ended=now) for place in range(5)])
    options = LinkOptions({"PJSIP": "PJSIP"}, {"lab": ("from-pbxrouter",)})
    add_dial_link(connection, ANA, now, LinkValues("Sales", "PJSIP/33", "from-pbxrouter", "20"), options)
    for _ in range(12):
        admit_guess(connection, (GuessKey("endpoint", "PJSIP/66"),), now)
    minute = int(now // 60 - 1) * 60
    write(connection, Batch("lab", {(minute, *ALL): Counts(started=7, failed={"busy": 1})}, seen=now))


class ConsoleTests(ConsoleCase):
    """The console."""

    def make_place(self) -> Place:
        """A database of a server, without tables."""
        server = cluster()
        place = server.new_database(empty=True)
        self.addCleanup(server.drop, place)
        return place

    async def test_each_page(self) -> None:
        """Each page of the console is there, with rows in all lists."""
        await self.web.write(fill)
        self.me = await self.admin()
        for route in self.router.routes:
            if "GET" not in route.methods or route.path in ("/logout", "/login", "/setup") or "events" in route.path:
                continue
            path = re.sub(r"<int:\w+>", "1", re.sub(r"<(?:string:)?kind>", "user", route.path))
            if "<" in path:
                continue
            answer = await self.get(path)
            self.assertIn(answer.status, (200, 303, 404), path)
            if "<" not in route.path:
                self.assertNotEqual(answer.status, 404, path)

    async def test_lists(self) -> None:
        """Lists are paged and searched, whatever the case of letters."""
        await self.web.write(fill)
        self.me = await self.admin()
        for path, there in (
            ("/rules/mappings?q=dial", "400X"),
            ("/rules/extensions?q=pjsip/55", "559"),
            ("/rules/users?q=P%C3%89REZ", "Pérez 0"),
            ("/calls?caller=3*", "Reception"),
            ("/calls?forwarded_by=21", "PJSIP/21"),
            ("/rules/changes?who=ana", "Pérez 59"),
        ):
            answer = await self.get(path)
            self.assertEqual(answer.status, 200, path)
            self.assertIn(there, answer.text, path)

    async def test_a_change_and_its_undo(self) -> None:
        """A user who was added by a form is in the audit log, and gone after the undo."""
        self.me = await self.operator()
        answer = await self.post("/rules/users", name="Zoë")
        self.assertEqual(answer.status, 303)
        self.assertIn("Zoë", (await self.get("/rules/users?q=ZO%C3%8B")).text)
        (entry,) = await self.web.read(
            lambda connection: connection.execute("SELECT max(audit_id) FROM audit_log").fetchone()
        )
        self.assertEqual((await self.post(f"/rules/changes/{entry}/undo")).status, 303)
        self.assertNotIn("Zoë", (await self.get("/rules/users?q=zo")).text.partition("Search by name")[2])


class ApiTests(ApiCase):
    """The API."""

    make_place = ConsoleTests.make_place

    async def test_each_resource(self) -> None:
        """Each resource answers, as the document declares it."""
        await self.web.write(fill)
        for endpoint in ENDPOINTS:
            if endpoint.method != "GET" or "{" in endpoint.path:
                continue
            said = await self.ask("GET", endpoint.path)
            self.assertIn(said.status, (200, 400, 404), endpoint.path)

    async def test_mappings(self) -> None:
        """A mapping is added, found, changed and deleted."""
        said = await self.ask("POST", "/api/mappings", {"pattern": "88X", "application": "dial", "data": "SIP"})
        self.assertEqual(said.status, 201, said.body)
        map_id = said.json["map_id"]
        said = await self.ask("GET", "/api/mappings?search=88x")
        self.assertEqual([row["map_id"] for row in said.json["items"]], [map_id])
        said = await self.ask("PATCH", f"/api/mappings/{map_id}", {"enabled": False})
        self.assertEqual((said.status, said.json["enabled"]), (200, False))
        self.assertEqual((await self.ask("DELETE", f"/api/mappings/{map_id}")).status, 204)
        self.assertEqual((await self.ask("GET", f"/api/mappings/{map_id}")).status, 404)
