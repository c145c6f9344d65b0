"""The web server as a service: its database, its threads, all its parts, and the port.

On the first start, when nobody may log in yet, it prints the one-time link that makes the first
admin. Not here: any page or endpoint.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from typing import Any, Final

from klein import Klein
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from pbxrouter.database.people.sessions import needs_setup, put_setup_link
from pbxrouter.errors import EditRefused, StoreError
from pbxrouter.security.tokens import hash_token
from pbxrouter.text.sentences import step
from pbxrouter.web.address import is_open_without_tls, setup_url
from pbxrouter.web.desk import Desk
from pbxrouter.web.site import WebService

MAX_WAITING: Final = 20
"""Passwords that wait to be hashed; each takes 80 ms and 64 MiB while it is its turn."""


class PasswordThreads:
    """Where passwords are hashed: two at a time, so that nobody can make the gateway busy by logging in."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, 2, "passwords")
        self._waiting = 0

    async def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the function there.

        Raises:
            EditRefused: too many wait already.
        """
        if self._waiting >= MAX_WAITING:
            raise EditRefused(step("too many people are logging in just now; try again"))
        if not self._pool.started:
            self._pool.start()
        self._waiting += 1
        try:
            return await deferToThreadPool(self._reactor, self._pool, function, *arguments)
        finally:
            self._waiting -= 1

    def stop(self) -> None:
        """End the threads."""
        if self._pool.started:
            self._pool.stop()


class WebServer(MultiService):
    """Console and API, with what they own.

    Args:
        desk: whose reading store is closed with this service.
        site: serves the pages.
        base: how browsers reach it.
        say: tells whoever started the gateway.

    Attributes:
        greeted: fires when it has said how to get in.
    """

    greeted: Deferred[None]

    log = Logger()

    def __init__(
        self,
        desk: Desk,
        threads: PasswordThreads,
        site: WebService,
        base: str,
        say: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self._desk = desk
        self._threads = threads
        self._base = base
        self._say = say or _say
        site.setServiceParent(self)

    def startService(self) -> None:
        """Say how to get in."""
        super().startService()
        web = self._desk.config.web
        if is_open_without_tls(web.url, web.listen or ""):
            self.log.warn(
                "web.listen: {listen} is open to other machines without TLS, and browsers there do not keep "
                "the console's cookies: put TLS in front and set web.url, or listen at a tls: endpoint "
                "(docs/console.md)",
                listen=web.listen,
            )
        self.greeted = Deferred.fromCoroutine(self._greet())

    async def _greet(self) -> None:
        try:
            if not await self._desk.read(needs_setup):
                self.log.info("the console is at {url}", url=self._base)
                return
            link = secrets.token_urlsafe(24)
            now = self._desk.now()
            await self._desk.write(lambda connection: put_setup_link(connection, hash_token(link), now))
        except StoreError as error:
            self.log.error("the console cannot be set up now: {error}", error=str(error))
            return
        # Not into the log, where it would stay.
        self._say(f"set up the console, within a day, at  {setup_url(self._base, link)}")
        self.log.info(
            "the console is at {url}; nobody may log in yet: open the link just printed, or type: "
            "pbxrouter console link",
            url=self._base,
        )

    def stopService(self) -> Deferred[None]:
        """Close the port, then what the pages used."""
        stopped: Deferred[None] = super().stopService()
        stopped.addBoth(lambda _: self._threads.stop())
        return stopped.addBoth(lambda _: self._desk.reading.close())


def _say(line: str) -> None:
    if sys.__stdout__ is not None:
        sys.__stdout__.write(f"\n    {line}\n\n")
        sys.__stdout__.flush()


def add_statics(app: Klein, statics: Any) -> None:
    """The style sheet and the like, for ever: their address changes with them."""

    @app.route("/static/<mark>/<name>", methods=["GET", "HEAD"])
    def static(request: Any, mark: str, name: str) -> bytes:
        found = statics.content(name)
        if found is None:
            request.setResponseCode(404)
            request.setHeader("Content-Type", "text/plain; charset=utf-8")
            return b"404: there is no such file\n"
        data, content_type = found
        current = statics.address(name).split("/")[2] == mark
        request.setHeader("Content-Type", content_type)
        request.setHeader("Cache-Control", f"public, max-age={31_536_000 if current else 60}, immutable")
        return bytes(data)
