"""Staying connected to one Asterisk's AMI: reconnects, log-ins, subscriptions.

A Manager outlives its connections: who subscribed to an event keeps it, and who asked
to be told is told of each log-in and each loss. Actions go out only while there is a
connection; otherwise they fail at once, so nobody waits for what may never come.

It is no ClientService: that one of Twisted's ends in NoTransition, with a traceback,
when the connection is lost during the log-in, which is how Asterisk refuses one.
Not here: the protocol (manager).
"""

from __future__ import annotations

import itertools
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.endpoints import clientFromString
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from pbxrouter.ami import Message
from pbxrouter.errors import LoginRefused, ManagerError, ManagerUnavailable, PbxrouterError
from pbxrouter.manager import ACTION_TIMEOUT_S, EventHandler, Headers, ManagerProtocol
from pbxrouter.oneshot import OneShot
from pbxrouter.trace import printable

FIRST_RETRY_S: Final = 0.25
SLOWEST_RETRY_S: Final = 15.0
REFUSED_RETRY_S: Final = 60.0
"""After a refused login: trying again sooner would only fill Asterisk's log."""
STEADY_S: Final = 10.0
"""A connection that lasted so long was a good one; one that did not counts as a failed attempt."""
SAY_AFTER: Final = 3
"""Failed attempts after which it is said that nobody answers: a restart of Asterisk's is no news."""
LEAVING_S: Final = 3.0
"""How long the far end may take to read our last words."""

MakeFactory = Callable[[Any, dict[bytes, list[EventHandler]]], Factory]


@dataclass(frozen=True, slots=True)
class Account:
    """Who we are to one Asterisk. ``secret`` is asked anew at each log-in, and never shown."""

    username: str
    secret: Callable[[], str]
    plain: bool = False


class ManagerFactory(Factory):
    """Makes a ManagerProtocol for each connection."""

    noisy = False

    def __init__(self, clock: Any, handlers: dict[bytes, list[EventHandler]]) -> None:
        self._clock = clock
        self._handlers = handlers

    def buildProtocol(self, addr: IAddress | None) -> ManagerProtocol:
        """A new connection."""
        return ManagerProtocol(self._clock, self._handlers)


class Manager(Service):
    """One Asterisk's AMI, for as long as the gateway runs.

    Args:
        name: what the owner calls this Asterisk.
        description: a client endpoint string.
        account: how to log in.
        event_mask: event classes to receive.
        make_factory: what makes a connection's protocol, with the clock and the table of subscriptions.
    """

    log = Logger()

    def __init__(
        self,
        name: str,
        description: str,
        account: Account,
        reactor: Any,
        event_mask: str = "system,call,agi",
        make_factory: MakeFactory = ManagerFactory,
    ) -> None:
        self.name = name
        self._account = account
        self._event_mask = event_mask
        self._clock = reactor
        self._handlers: dict[bytes, list[EventHandler]] = {}
        self._when_up: list[Callable[[], object]] = []
        self._when_down: list[Callable[[], object]] = []
        self._endpoint = clientFromString(reactor, description)
        self._factory = make_factory(reactor, self._handlers)
        self._protocol: ManagerProtocol | None = None
        self._connecting: Deferred[None] | None = None
        self._retry = OneShot(reactor)
        self._id_prefix = secrets.token_hex(6)
        self._ids = itertools.count(1)
        self._failures = 0
        self._complaint = ""

    # --- state ---

    @property
    def is_up(self) -> bool:
        """Whether we are connected and logged in."""
        return self._protocol is not None

    def when_up(self, tell: Callable[[], object]) -> None:
        """Be told after each log-in, and now if there is a connection."""
        self._when_up.append(tell)
        if self.is_up:
            tell()

    def when_down(self, tell: Callable[[], object]) -> None:
        """Be told after each loss of a connection that was logged in."""
        self._when_down.append(tell)

    # --- use ---

    def subscribe(self, event: str, handler: EventHandler) -> Callable[[], None]:
        """Have events of this name handed on, or every one (``*``); returns what ends it."""
        handlers = self._handlers.setdefault(event.encode("ascii"), [])
        handlers.append(handler)

        def unsubscribe() -> None:
            if handler in handlers:
                handlers.remove(handler)

        return unsubscribe

    def action(
        self, name: str, headers: Headers = (), timeout_s: float = ACTION_TIMEOUT_S
    ) -> Deferred[Message]:
        """As ManagerProtocol.action; fails at once with ManagerUnavailable while there is no connection."""
        if self._protocol is None:
            return fail(self._unavailable())
        return self._protocol.action(name, headers, timeout_s)

    def listing(
        self, name: str, headers: Headers = (), timeout_s: float = ACTION_TIMEOUT_S
    ) -> Deferred[list[Message]]:
        """As ManagerProtocol.listing; fails at once with ManagerUnavailable while there is no connection."""
        if self._protocol is None:
            return fail(self._unavailable())
        return self._protocol.listing(name, headers, timeout_s)

    def new_id(self) -> str:
        """An id for Asterisk to repeat (CommandID, ChannelId), all of one length, that nobody guesses."""
        return f"{self._id_prefix}-{next(self._ids):010}"

    def _unavailable(self) -> ManagerUnavailable:
        return ManagerUnavailable(f"there is no connection to {self.name} now")

    # --- staying connected ---

    def startService(self) -> None:
        """Connect, and stay connected."""
        if not self.running:
            super().startService()
            if self._connecting is None:
                self._connect()

    def stopService(self) -> Deferred[None]:
        """Leave; what was sent goes out first, if the far end takes it soon."""
        super().stopService()
        self._retry.clear()
        connecting = self._connecting
        if connecting is None:
            return succeed(None)
        protocol = self._protocol
        if protocol is None:
            connecting.cancel()
        else:
            protocol.transport.loseConnection()
            self._retry.set(LEAVING_S, protocol.close)
        gone: Deferred[None] = Deferred()
        connecting.addBoth(lambda _: gone.callback(None))
        return gone

    def _connect(self) -> None:
        self._connecting = Deferred.fromCoroutine(self._one_connection())
        self._connecting.addErrback(self._broken).addBoth(self._ended)

    async def _one_connection(self) -> None:
        """Connect, log in, and be there until the connection is lost."""
        protocol = await self._reach()
        try:
            await self._log_in(protocol)
        except (PbxrouterError, CancelledError) as error:
            self._complain(str(error) or "interrupted")
            protocol.close()
            raise
        began = self._clock.seconds()
        self._complaint = ""
        self.log.info("{name}: connected to AMI ({banner})", name=self.name, banner=protocol.banner)
        self._protocol = protocol
        self._tell(self._when_up)
        await protocol.lost
        self._protocol = None
        if self._clock.seconds() - began >= STEADY_S:
            self._failures = 0
        if self.running:
            self.log.warn("{name}: the connection to AMI is lost", name=self.name)
        self._tell(self._when_down)

    async def _reach(self) -> Any:
        try:
            return await self._endpoint.connect(self._factory)
        except CancelledError:
            raise
        except Exception as error:
            raise ManagerUnavailable(f"nobody answers there: {printable(str(error))}") from None

    async def _log_in(self, protocol: ManagerProtocol) -> None:
        account = self._account
        try:
            await protocol.log_in(account.username, account.secret(), self._event_mask, account.plain)
        except LoginRefused as error:
            refused = LoginRefused(f"{error}; check username and secret_file, and manager.conf")
            raise refused from None

    def _broken(self, failure: Any) -> None:
        """An attempt came to nothing; what is no failure of the connection is a fault of ours."""
        error = failure.value
        if isinstance(error, LoginRefused):
            self._failures = max(self._failures, 1)
            self._next_retry_s = REFUSED_RETRY_S
        elif isinstance(error, ManagerUnavailable) and self._failures + 1 >= SAY_AFTER:
            self._complain(str(error))
        elif not isinstance(error, PbxrouterError | CancelledError):
            self.log.failure("{name}: connecting to AMI broke", failure, name=self.name)

    def _ended(self, _: object) -> None:
        self._connecting = None
