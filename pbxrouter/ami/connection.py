"""Staying connected to one Asterisk's AMI: reconnects, log-ins, subscriptions.

A Manager outlives its connections: who subscribed to an event keeps it, and who asked
to be told is told of each log-in and each loss. Actions go out only while there is a
connection; otherwise they fail at once, so nobody waits for what may never come.

It is no ClientService: that one of Twisted's ends in NoTransition, with a traceback,
when the connection is lost during the log-in, which is how Asterisk refuses one.
"""

from __future__ import annotations

import itertools
import random
import secrets
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
"""After a refused login: trying again sooner would only fill Asterisk's log."""
STEADY_S: Final = 10.0
"""A connection that lasted so long was a good one; one that did not counts as a failed attempt."""
SAY_AFTER: Final = 3
"""Failed attempts after which it is said that nobody answers: a restart of Asterisk's is no news."""
LEAVING_S: Final = 3.0
"""How long the far end may take to read our last words."""


ProtocolFactory = Callable[[Any, dict[bytes, list[EventHandler]]], Factory]
"""Of a clock, and of who wants which event."""


class AMIFactory(Factory):
    """Makes our own protocol for each connection."""

    noisy = False

    def __init__(self, clock: Any, handlers: dict[bytes, list[EventHandler]]) -> None:
        self._clock = clock
        self._handlers = handlers

    def buildProtocol(self, addr: IAddress | None) -> AMIProtocol:
        """A new connection."""
        return AMIProtocol(self._clock, self._handlers)


class AMIConnection(Service):
    """One Asterisk's AMI, for as long as the gateway runs.

    Args:
        name: what the owner calls this Asterisk.
        description: a client endpoint string.
        account: how to log in.
        event_mask: event classes to receive.
        factory: what makes the protocols, if they are to be others than ours (adapters).

    Attributes:
        since: epoch second since which it is as it is, up or not; None before it was started.
        trouble: why there is no connection; None while there is one, or before anything went wrong.
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
        self._clock = reactor
        self._handlers: dict[bytes, list[EventHandler]] = {}
        self._on_connect: list[Callable[[], object]] = []
        self._on_disconnect: list[Callable[[], object]] = []
        self._endpoint = clientFromString(reactor, description)
        self._factory = (factory or AMIFactory)(reactor, self._handlers)
        self._protocol: AMIProtocol | None = None
        self._life: Deferred[None] | None = None
        self._id_prefix = secrets.token_hex(6)
        self._ids = itertools.count(1)
        self._failures = 0
        self._complaint: Sentence | None = None
        self.since: float | None = None
        self.trouble: Sentence | None = None

    # --- state ---

    @property
    def is_up(self) -> bool:
        """Whether we are connected and logged in."""
        # At a loss actions fail before anybody is told of it; who asks then must not hear that all is well.
        return self._protocol is not None and bool(getattr(self._protocol, "logged_in", True))

    def on_connect(self, tell: Callable[[], object]) -> None:
        """Be told after each log-in, and now if there is a connection."""
        self._on_connect.append(tell)
        if self.is_up:
            tell()

    def on_disconnect(self, tell: Callable[[], object]) -> None:
        """Be told after each loss of a connection that was logged in."""
        self._on_disconnect.append(tell)

    # --- use ---

    def subscribe(self, event: str, handler: EventHandler) -> Callable[[], None]:
        """Have events of this name handed on, or every one (``*``); returns what ends it."""
        handlers = self._handlers.setdefault(event.encode("ascii"), [])
        handlers.append(handler)

        def unsubscribe() -> None:
            if handler in handlers:
                handlers.remove(handler)

        return unsubscribe

    def action(self, name: str, headers: Headers = (), timeout_s: float = ACTION_TIMEOUT_S) -> Deferred[AMIMessage]:
        """As AMIProtocol.action; fails at once with ManagerUnavailable while there is no connection."""
        if self._protocol is None:
            return fail(self._unavailable())
        return self._protocol.action(name, headers, timeout_s)

    def action_list(
        self, name: str, headers: Headers = (), timeout_s: float = ACTION_TIMEOUT_S
    ) -> Deferred[list[AMIMessage]]:
        """As AMIProtocol.listing; fails at once with ManagerUnavailable while there is no connection."""
        if self._protocol is None:
            return fail(self._unavailable())
        return self._protocol.action_list(name, headers, timeout_s)

    def new_id(self) -> str:
        """An id for Asterisk to repeat (CommandID, ChannelId), all of one length, that nobody guesses."""
        return f"{self._id_prefix}-{next(self._ids):010}"

    def _unavailable(self) -> ManagerUnavailable:
        return ManagerUnavailable(sentence("there is no connection to {name} now", name=self.name))

    # --- staying connected ---

    def startService(self) -> None:
        """Connect, and stay connected."""
        if not self.running:
            super().startService()
            self.since = self._clock.seconds()
            self._life = Deferred.fromCoroutine(self._stay_connected())

    def stopService(self) -> Deferred[None]:
        """Leave; what was sent goes out first, if the far end takes it soon."""
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
                await deferLater(self._clock, wait_s)

    async def _one_connection(self) -> float:
        """Connect, log in, and be there until all is lost; returns the seconds until the next attempt."""
        try:
            protocol: Any = await self._endpoint.connect(self._factory)
        except Exception as error:  # each kind of endpoint has its own
            return self._failed(sentence("nobody answers there: {why}", why=error))
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
            self.log.failure("{name}: logging in broke", name=self.name)
            return self._failed(Sentence("logging in broke"))
        began = self.since = self._clock.seconds()
        self._complaint = self.trouble = None
        self.log.info("{name}: connected to AMI ({banner})", name=self.name, banner=printable(protocol.banner))
        self._protocol = protocol
        self._tell(self._on_connect)
        await protocol.lost
        self._protocol = None
        self.since, self.trouble = self._clock.seconds(), Sentence("the connection to AMI is lost")
        if self.running:
            self.log.warn("{name}: the connection to AMI is lost", name=self.name)
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
        """Seconds until the next attempt: growing, with jitter, without end."""
        grown: float = min(SLOWEST_RETRY_S, FIRST_RETRY_S * 2 ** min(self._failures, 10))
        return grown * random.uniform(0.5, 1.0)

    def _complain(self, why: Sentence) -> None:
        """Say once what is wrong; a retry that fails in the same way says nothing new."""
        self.trouble = why
        if self._complaint != why and self.running:
            self._complaint = why
            self.log.error("{name}: no connection to AMI: {why}", name=self.name, why=why.english)

    def _tell(self, listeners: list[Callable[[], object]]) -> None:
        for tell in tuple(listeners):
            try:
                tell()
            except Exception:
                self.log.failure("{name}: a listener failed", name=self.name)
