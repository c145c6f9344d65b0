"""The web server as a service: its messages at the start, and the threads for passwords."""

from __future__ import annotations

import dataclasses
import pathlib
import threading
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import TestCase

from pbxrouter.config.schema import Web
from pbxrouter.database.access.console_users import add_console_user
from pbxrouter.database.access.sessions import is_setup_link
from pbxrouter.errors import EditRefused
from pbxrouter.security.roles import Role
from pbxrouter.security.tokens import hash_token
from pbxrouter.web.build import build_web
from pbxrouter.web.password_threads import MAX_WAITING, PasswordThreads
from tests.api_fakes import Ticking, make_web_context
from tests.web_fakes import ACTOR


class GreetingTests(TestCase):
    """What the web server prints and logs when it starts."""

    async def started(self, listen: str, with_admin: bool = False) -> tuple[list[str], str]:
        """The lines on the terminal and in the log; it is stopped again."""
        web = make_web_context(pathlib.Path(self.mktemp()).absolute(), {}, Ticking())
        self.addCleanup(web.writing.close)
        config = msgspec.structs.replace(web.config, web=Web(listen=listen))
        self.web = web = dataclasses.replace(web, config=config)
        if with_admin:
            await web.write(lambda connection: add_console_user(connection, ACTOR, 1.0, "ana", "hash", Role.ADMIN))
        logged: list[LogEvent] = []
        observer: Any = logged.append
        globalLogPublisher.addObserver(observer)
        said: list[str] = []
        server = build_web(web)
        server._say = said.append
        server.privilegedStartService()
        server.startService()
        await server.greeted
        await server.stopService()
        globalLogPublisher.removeObserver(observer)
        told = " ".join(
            str(event.get("log_format")) for event in logged if event["log_level"] in (LogLevel.info, LogLevel.warn)
        )
        return said, told + " ".join(str(event.get("url", "")) for event in logged)

    async def test_no_console_user(self) -> None:
        """Without console users a valid link is printed, and not logged."""
        said, told = await self.started("tcp:0:interface=127.0.0.1")
        link = said[0].rpartition("/setup/")[2].strip()
        now = self.web.now()
        good = await self.web.write(lambda connection: is_setup_link(connection, hash_token(link), now))
        self.assertTrue(good)
        self.assertNotIn(link, told)
        self.assertIn("pbxrouter console link", told)
        self.assertNotIn("without TLS", told)

    async def test_console_user(self) -> None:
        """With console users no link is printed."""
        said, told = await self.started("tcp:0:interface=127.0.0.1", with_admin=True)
        self.assertEqual(said, [])
        self.assertIn("console: open {url}", told)

    async def test_open_to_others(self) -> None:
        """The log warns that the console needs TLS."""
        _, told = await self.started("tcp:0")
        self.assertIn("without TLS", told)


class PasswordThreadsTests(TestCase):
    """The threads for passwords."""

    async def test_bounded(self) -> None:
        """Beyond the maximum of waiting passwords the next one is refused at once."""
        from twisted.internet import reactor

        threads = PasswordThreads(reactor)
        self.addCleanup(threads.stop)
        gate = threading.Event()
        waiting = [Deferred.fromCoroutine(threads(gate.wait, 10)) for _ in range(MAX_WAITING)]
        with self.assertRaises(EditRefused):
            await threads(len, "x")
        gate.set()
        for deferred in waiting:
            self.assertTrue(await deferred)
        self.assertEqual(await threads(len, "x"), 1)
