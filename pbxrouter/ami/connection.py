"""The persistent connection to one Asterisk's AMI: reconnects, log-ins, subscriptions.

An AMIConnection outlives its TCP connections: subscriptions stay, and listeners are called at each
log-in and each loss. Actions are sent only while it is connected; otherwise they fail at once.

Not Twisted's ClientService: it raises NoTransition if the connection drops during login, which is how
Asterisk refuses one.
"""

from __future__ import annotations

import itertools
import random
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.endpoints import clientFromString
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pbxrouter.ami.account import Account
from pbxrouter.ami.messages import AMIMessage
from pbxrouter.ami.protocol import (
    ACTION_TIMEOUT_S,
    AMIProtocol,
    EventHandler,
    Headers,
)
from pbxrouter.errors import LoginRefused, ManagerUnavailable, PbxrouterError
from pbxrouter.net import Timer
from pbxrouter.text import Sentence, printable, sentence

FIRST_RETRY_S: Final = 0.25
SLOWEST_RETRY_S: Final = 15.0
REFUSED_RETRY_S: Final = 60.0
"""Seconds until the next attempt after a refused login; sooner would only fill Asterisk's log."""
STEADY_S: Final = 10.0
"""A connection that lasts this long resets the back-off; a shorter one counts as a failed attempt."""
SAY_AFTER: Final = 3
"""Failed attempts before one is logged, so that a restart of Asterisk is not."""
LEAVING_S: Final = 3.0
"""Seconds that the peer may take to read the last actions when the gateway stops."""


ProtocolFactory = Callable[[Any, dict[bytes, list[EventHandler]]], Factory]
"""Makes a protocol from a clock and the event handlers."""


class AMIFactory(Factory):
    """Makes an AMIProtocol for each connection."""

    noisy = False

    def __init__(self, clock: Any, handlers: dict[bytes, list[EventHandler]]) -> None:
        self._clock = clock
        self._handlers = handlers

    def buildProtocol(self, addr: IAddress | None) -> AMIProtocol:
        """Make the protocol of a new connection."""
        return AMIProtocol(self._clock, self._handlers)


class AMIConnection(Service):
    """The AMI connection to one Asterisk, for as long as the gateway runs.

    Args:
        name: the Asterisk's name in the configuration.
        description: a client endpoint string.
        account: how to log in.
        event_mask: event classes to receive.
        factory: makes the protocols; an AMIFactory by default.
        now: returns epoch seconds.

    Attributes:
        since: epoch second of the last change between up and down; None before the start.
        trouble: why there is no connection; None while there is one, or before the first failure.
        forged_events: number of events that Asterisk, when asked, contradicted (ami.ChannelCheck).
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
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._account = account
        self._event_mask = event_mask
        self._clock = reactor
        self._now = now
        self._handlers: dict[bytes, list[EventHandler]] = {}
        self._on_connect: list[Callable[[], object]] = []
        self._on_disconnect: list[Callable[[], object]] = []
        self._endpoint = self.endpoint(description)
        self._pause: Deferred[None] | None = None
        self._retrying = False
        self._factory = (factory or AMIFactory)(reactor, self._handlers)
        self._protocol: AMIProtocol | None = None
        self._life: Deferred[None] | None = None
        self._id_prefix = secrets.token_hex(6)
        self._ids = itertools.count(1)
        self._failures = 0
        self._complaint: Sentence | None = None
        self.forged_events = 0
        self.since: float | None = None
        self.trouble: Sentence | None = None

    # --- state ---

    @property
    def is_up(self) -> bool:
        """Whether it is connected and logged in."""
        # When the connection is lost, actions fail before the listeners are told; it must not count as up then.
        return self._protocol is not None and bool(getattr(self._protocol, "logged_in", True))

    @property
    def peer(self) -> str:
        """The address of the connected Asterisk; ``""`` if there is none, or it is not an IP address."""
        transport = getattr(self._protocol, "transport", None)
        return "" if transport is None else str(getattr(transport.getPeer(), "host", ""))

    def on_connect(self, tell: Callable[[], object]) -> None:
        """Call the listener after each log-in, and now if connected."""
        self._on_connect.append(tell)
        if self.is_up:
            tell()

    def on_disconnect(self, tell: Callable[[], object]) -> None:
        """Call the listener after each loss of a connection that was logged in."""
        self._on_disconnect.append(tell)

    # --- use ---

    def subscribe(self, event: str, handler: EventHandler) -> Callable[[], None]:
        """Subscribe to the events of a name, or to all (``*``). Returns a function that ends this subscription."""
        handlers = self._handlers.setdefault(event.encode("ascii"), [])
        handlers.append(handler)
        subscribed = True

        def unsubscribe() -> None:
            nonlocal subscribed
            if subscribed:
                subscribed = False
                handlers.remove(handler)

        return unsubscribe

    def action(self, name: str, headers: Headers = (), timeout_s: float = ACTION_TIMEOUT_S) -> Deferred[AMIMessage]:
        """Like AMIProtocol.action; fails at once with ManagerUnavailable while not connected."""
        if self._protocol is None:
            return fail(self._unavailable())
        return self._protocol.action(name, headers, timeout_s)

    def action_list(
        self, name: str, headers: Headers = (), timeout_s: float = ACTION_TIMEOUT_S
    ) -> Deferred[list[AMIMessage]]:
        """Like AMIProtocol.action_list; fails at once with ManagerUnavailable while not connected."""
        if self._protocol is None:
            return fail(self._unavailable())
        return self._protocol.action_list(name, headers, timeout_s)

    def new_id(self) -> str:
        """Make an unguessable id (CommandID, ChannelId); all have the same length."""
        return f"{self._id_prefix}-{next(self._ids):010}"

    def _unavailable(self) -> ManagerUnavailable:
        return ManagerUnavailable(sentence("there is no connection to {name} now", name=self.name))

    # --- other settings ---

    def endpoint(self, description: str) -> Any:
        """Make an endpoint; its certificates are read now.

        Raises:
            Exception: the description is no client endpoint; each kind of endpoint has its own.
        """
        return clientFromString(self._clock, description)

    def reconfigure(self, endpoint: Any, account: Account) -> None:
        """Use another endpoint and account for the next connection: now if there is none, else after it is lost."""
        self._endpoint = endpoint
        self._account = account
        if self._pause is not None:
            self._failures = 0
            self._complaint = None
            self._retrying = True
            self._pause.cancel()

    # --- staying connected ---

    def startService(self) -> None:
        """Connect, and reconnect until stopped."""
        if not self.running:
            super().startService()
            self.since = self._now()
            self._life = Deferred.fromCoroutine(self._stay_connected())

    def stopService(self) -> Deferred[None]:
        """Disconnect, after the actions already sent have left, if the peer reads them soon."""
        super().stopService()
        life, self._life = self._life, None
        if life is None:
            return succeed(None)
        life.addErrback(lambda failure: failure.trap(CancelledError) and None)
        if self._protocol is None:
            life.cancel()
            return life
        leaving = Timer(self._clock)
        leaving.set(LEAVING_S, self._protocol.close)
        self._protocol.transport.loseConnection()
        return life.addCallback(lambda _: leaving.clear())

    async def _stay_connected(self) -> None:
        while self.running:
            wait_s = await self._one_connection()
            if self.running:
                await self._wait(wait_s)

    async def _wait(self, seconds: float) -> None:
        """Wait before the next attempt; ``reconfigure`` ends the wait."""
        self._retrying = False
        self._pause = deferLater(self._clock, seconds)
        try:
            await self._pause
        except CancelledError:
            if not self._retrying:
                raise
        finally:
            self._pause = None

    async def _one_connection(self) -> float:
        """Connect, log in, and stay until the connection is lost; returns the seconds until the next attempt."""
        try:
            protocol: Any = await self._endpoint.connect(self._factory)
        except Exception as error:  # each kind of endpoint has its own
            return self._failed(sentence("no answer: {why}", why=error))
        protocol.name = self.name
        account = self._account
        try:
            await protocol.log_in(account.username, account.secret(), self._event_mask, account.plain)
        except CancelledError:
            protocol.close()
            raise
        except LoginRefused as error:
            protocol.close()
            self._complain(sentence("{why}; check username and secret_file, and manager.conf", why=error.sentence))
            return REFUSED_RETRY_S
        except PbxrouterError as error:
            protocol.close()
            return self._failed(error.sentence)
        except Exception:  # nothing that comes over the wire may end the attempts
            protocol.close()
            self.log.failure("AMI {name}: logging in failed unexpectedly", name=self.name)
            return self._failed(Sentence("the login failed"))
        began, self.since = self._clock.seconds(), self._now()
        self._complaint = self.trouble = None
        self.log.info("AMI {name}: connected ({banner})", name=self.name, banner=printable(protocol.banner))
        self._protocol = protocol
        self._tell(self._on_connect)
        await protocol.lost
        self._protocol = None
        self.since, self.trouble = self._now(), Sentence("the connection to AMI is lost")
        if self.running:
            self.log.warn("AMI {name}: the connection is lost", name=self.name)
        self._tell(self._on_disconnect)
        if self._clock.seconds() - began >= STEADY_S:
            self._failures = 0
        else:
            self._failures += 1
        return self._retry_in()

    def _failed(self, why: Sentence) -> float:
        self._failures += 1
        self.trouble = why
        if self._failures >= SAY_AFTER:
            self._complain(why)
        return self._retry_in()

    def _retry_in(self) -> float:
        """Seconds until the next attempt: exponential back-off with jitter."""
        grown: float = min(SLOWEST_RETRY_S, FIRST_RETRY_S * 2 ** min(self._failures, 10))
        return grown * random.uniform(0.5, 1.0)

    def _complain(self, why: Sentence) -> None:
        """Log a problem once; a retry that fails in the same way is not logged again."""
        self.trouble = why
        if self._complaint != why and self.running:
            self._complaint = why
            self.log.error("AMI {name}: no connection: {why}", name=self.name, why=why.english)

    def _tell(self, listeners: list[Callable[[], object]]) -> None:
        for tell in tuple(listeners):
            try:
                tell()
            except Exception:
                self.log.failure("AMI {name}: a connection listener raised", name=self.name)
