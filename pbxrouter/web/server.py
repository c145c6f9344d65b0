"""The web server as a service: its database connection, its threads, and the port.

On the first start, when there is no console user, it prints the one-time link that makes the first admin.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pbxrouter.config import Config
from pbxrouter.database.access import needs_setup, put_setup_link
from pbxrouter.errors import StoreError
from pbxrouter.security import hash_token
from pbxrouter.web.context import WebContext
from pbxrouter.web.http.guard import Visitors
from pbxrouter.web.http.public_url import check_url, is_open_without_tls, setup_url
from pbxrouter.web.http.site import WebService
from pbxrouter.web.password_threads import PasswordThreads


class WebServer(MultiService):
    """The service of console and API.

    Args:
        web: the context; its reading store is closed with this service.
        site: the port.
        base: its address for browsers.
        say: prints a line to the terminal.
        visitors: who they are, by the settings.

    Attributes:
        greeted: fires when the console's address has been printed.
    """

    greeted: Deferred[None]

    log = Logger()

    def __init__(
        self,
        web: WebContext,
        threads: PasswordThreads,
        site: WebService,
        base: str,
        say: Callable[[str], None] | None = None,
        visitors: Visitors | None = None,
    ) -> None:
        super().__init__()
        self._site = site
        self._visitors = visitors
        self._web = web
        self._threads = threads
        self._base = base
        self._say = say or _say
        site.setServiceParent(self)

    def prepare_reload(self, config: Config) -> tuple[Callable[[], None], bool]:
        """Check other settings of ``[web]``, and load the certificate again.

        Returns:
            A function that puts both in force, and whether there is a certificate.

        Raises:
            ConfigError: a setting or the certificate cannot be used.
        """
        check_url(config.web.url)
        renew = self._site.prepare_certificates()

        def apply() -> None:
            self._web.reconfigure(config)
            if self._visitors is not None:
                self._visitors.configure(config.web)
            if renew is not None:
                renew()

        return apply, renew is not None

    def startService(self) -> None:
        """Start, and print the console's address."""
        super().startService()
        web = self._web.config.web
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
            if not await self._web.read(needs_setup):
                self.log.info("console: open {url}", url=self._base)
                return
            link = secrets.token_urlsafe(24)
            now = self._web.now()
            await self._web.write(lambda connection: put_setup_link(connection, hash_token(link), now))
        except StoreError as error:
            self.log.error("console: cannot be set up now: {error}", error=str(error))
            return
        # Not into the log, where it would stay.
        self._say(f"set up the console, within a day, at  {setup_url(self._base, link)}")
        self.log.info(
            "console: {url} has no user yet: open the link just printed, or type: pbxrouter console link",
            url=self._base,
        )

    def stopService(self) -> Deferred[None]:
        """Close the port and end the exports, then the threads and the reading store."""
        stopped: Deferred[None] = super().stopService()
        stopped.addBoth(lambda _: Deferred.fromCoroutine(self._web.exports.stop()))
        stopped.addBoth(lambda _: self._threads.stop())
        return stopped.addBoth(lambda _: self._web.reading.close())


def _say(line: str) -> None:
    if sys.__stdout__ is not None:
        sys.__stdout__.write(f"\n    {line}\n\n")
        sys.__stdout__.flush()
