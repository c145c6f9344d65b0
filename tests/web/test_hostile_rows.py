"""Rows written by hand: each page of the console and resource of the API can be shown with hostile text in them."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import ClassVar

from twisted.logger import capturedLogs

from pbxrouter.security import hash_token, new_token
from pbxrouter.web.api.resources.endpoints import ENDPOINTS
from tests.hostile_text import VALUES, fill, spoil
from tests.web_fakes import ConsoleCase


class HostileRows(ConsoleCase):
    """A console whose database was edited."""

    keeps_connections = True

    SKIPPED: ClassVar = {"/now/events", "/api/doctor"}
    """What does not end, and what asks other hosts."""
    MORE: ClassVar = [
        "/calls?caller=3*",
        "/test?caller=33&number=21",
        "/rules/grants?kind=user",
        "/rules/mappings?q=2",
        "/api/calls?outcome=ANSWER",
    ]

    async def start(self) -> None:
        """Fill every table."""
        await super().start()
        self.me = await self.admin()
        self.token = new_token()
        await self.web.write(lambda connection: fill(connection, hash_token(self.token)))

    def paths(self) -> list[str]:
        """The pages that are read, and the resources."""
        number = re.compile(r"<int:\w+>|\{\w+\}")
        routes = [route.path for route in self.router.routes if "GET" in route.methods]
        resources = [endpoint.path for endpoint in ENDPOINTS if endpoint.method == "GET"]
        found = [number.sub("1", path) for path in (*routes, *resources) if path not in self.SKIPPED]
        return [path for path in found if "<" not in path] + self.MORE

    async def look(self) -> list[str]:
        """Get everything; returns what failed."""
        failed = []
        with capturedLogs() as logs:
            for path in self.paths():
                headers = {"Authorization": f"Bearer {self.token}"} if path.startswith("/api/") else {}
                answer = await self.me.ask("GET", path, headers=headers)
                answer.body.decode("utf-8")
                if answer.status >= 500 or len(answer.body) > 3_000_000:
                    failed.append(f"{answer.status} {len(answer.body)} {path}")
        failed += [event["log_failure"].getTraceback()[-500:] for event in logs if "log_failure" in event]
        return failed

    async def test_pages(self) -> None:
        """Each page and resource is shown with hostile text in all columns but those that a log-in needs."""
        self.assertEqual(await self.look(), [])
        with closing(sqlite3.connect(self.path)) as live, closing(sqlite3.connect(":memory:")) as before:
            live.backup(before)
            for name, value in VALUES.items():
                spoil(live, value)
                await self.web.reloader.poll()
                self.assertIsNone(self.web.reloader.outage.trouble, name)
                self.assertEqual(await self.look(), [], name)
                before.backup(live)
