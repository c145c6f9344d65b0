"""Staying connected to one Asterisk's AMI: reconnects, log-ins, subscriptions.

A Manager outlives its connections: who subscribed to an event keeps it, and who asked
to be told is told of each log-in and each loss. Actions go out only while there is a
connection; otherwise they fail at once, so nobody waits for what may never come.
Not here: the protocol (manager).
"""

from __future__ import annotations

import itertools
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import clientFromString
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from pbxrouter.ami import Message
from pbxrouter.errors import LoginRefused, ManagerError, ManagerUnavailable
from pbxrouter.manager import ACTION_TIMEOUT_S, EventHandler, Headers, ManagerProtocol

FIRST_RETRY_S: Final = 0.25
SLOWEST_RETRY_S: Final = 15.0
REFUSED_RETRY_S: Final = 60.0
"""After a refused login: trying again sooner would only fill Asterisk's log."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who we are to one Asterisk. ``secret`` is asked anew at each log-in, and never shown."""

    username: str
    secret: Callable[[], str]
    plain: bool = False


ProtocolFactory = Callable[[Any, dict[bytes, list[EventHandler]]], Factory]
"""Of a clock, and of who wants which event."""


class Manager(ClientService):
    """One Asterisk's AMI, for as long as the gateway runs.

    Args:
        name: what the owner calls this Asterisk.
        description: a client endpoint string.
        account: how to log in.
        event_mask: event classes to receive.
        factory: what makes the protocols, if they are to be others than ours (adapters).
    """

    log = Logger()

    def __init__(
        self,
        name: str,
        description: str,
        account: Account,
        reactor: Any,
        event_mask: str = "system,call,agi",
        factory: ProtocolFactory | None = None,
    ) -> None:
        self.name = name
        self._account = account
        self._event_mask = event_mask
        self._handlers: dict[bytes, list[EventHandler]] = {}
        self._when_up: list[Callable[[], object]] = []
        self._when_down: list[Callable[[], object]] = []
        self._protocol: ManagerProtocol | None = None
        self._id_prefix = secrets.token_hex(6)
        self._ids = itertools.count(1)
        self._refused = False
        self._complained = False
        super().__init__(
            clientFromString(reactor, description),
            (factory or _ManagerFactory)(reactor, self._handlers),
            retryPolicy=self._retry_in,
            clock=reactor,
            prepareConnection=self._prepare,
        )

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
        """Have events of this name handed on; returns what ends it."""
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

    def _prepare(self, protocol: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(self._log_in(protocol))

    async def _log_in(self, protocol: ManagerProtocol) -> None:
        try:
            await protocol.log_in(
                self._account.username, self._account.secret(), self._event_mask, self._account.plain
            )
        except LoginRefused as error:
            self._complain(f"{error}; check username and secret_file, and manager.conf")
            self._refused = True
            protocol.close()
            raise
        except ManagerError as error:
            self._complain(str(error))
            protocol.close()
            raise
        self._refused = self._complained = False
        self.log.info("{name}: connected to AMI ({banner})", name=self.name, banner=protocol.banner)
        self._protocol = protocol
        protocol.lost.addCallback(self._lost)
        self._tell(self._when_up)

    def _lost(self, _: None) -> None:
        self._protocol = None
        if self.running:
            self.log.warn("{name}: the connection to AMI is lost", name=self.name)
        self._tell(self._when_down)

    def _tell(self, listeners: list[Callable[[], object]]) -> None:
        for tell in tuple(listeners):
            try:
                tell()
            except Exception:
                self.log.failure("{name}: a listener failed", name=self.name)

    def _complain(self, why: str) -> None:
        """Say once what is wrong; a retry that fails as well says nothing new."""
        if not self._complained:
            self._complained = True
            self.log.error("{name}: no connection to AMI: {why}", name=self.name, why=why)

    def _retry_in(self, failed_attempts: int) -> float:
        """Seconds until the next attempt: growing, with jitter, without end."""
        if self._refused:
            return REFUSED_RETRY_S
        if failed_attempts == 3:
            self._complain("nobody answers there")
        grown: float = min(SLOWEST_RETRY_S, FIRST_RETRY_S * 2 ** min(failed_attempts, 10))
        return grown * random.uniform(0.5, 1.0)


class _ManagerFactory(Factory):
    noisy = False

    def __init__(self, clock: Any, handlers: dict[bytes, list[EventHandler]]) -> None:
        self._clock = clock
        self._handlers = handlers

    def buildProtocol(self, addr: IAddress | None) -> ManagerProtocol:
        return ManagerProtocol(self._clock, self._handlers)
