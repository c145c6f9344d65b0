"""The services of one Asterisk: its AMI connection and all that uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger

from pbxrouter.adapters import demand_starpy
from pbxrouter.agi import AGIRequest, DialogueWatch
from pbxrouter.ami import Account, AMIConnection, Heartbeat, ProtocolFactory, account_of, read_secret
from pbxrouter.config import Asterisk
from pbxrouter.errors import ConfigError, ProtocolViolation
from pbxrouter.gateway.readiness import WhenRouting
from pbxrouter.magi import MagiService, Serve
from pbxrouter.originate import Originator
from pbxrouter.rules import RulesEngine
from pbxrouter.text import printable

LEAVING_S: Final = 3.0
"""Seconds that the services may take to stop before the connection is closed."""


class AsteriskService(MultiService):
    """The services of one ``[[asterisk]]`` of the configuration; MAGI and heartbeat wait for the rules.

    Args:
        serve: serves a call that comes by MAGI.
        engine: decides originated calls.
        technologies: what a technology is called on this Asterisk.
        on_refused: told of each call that was refused before it was served.
        gateway: the gateway's id, for its heartbeat and for the dialplan; empty: none.

    Attributes:
        name: as configured.
        originator: originates calls; None without an AMI connection.

    Raises:
        ConfigError: the endpoint or the secret file cannot be used.
    """

    log = Logger()

    def __init__(
        self,
        config: Asterisk,
        serve: Serve,
        engine: RulesEngine,
        technologies: Mapping[str, str],
        watch: DialogueWatch,
        reactor: Any,
        on_refused: Callable[[AGIRequest, ProtocolViolation], object] = lambda request, violation: None,
        gateway: str = "",
    ) -> None:
        super().__init__()
        self._clock = reactor
        self.name: str = config.name
        self.manager: AMIConnection | None = None
        self.originator: Originator | None = None
        if not config.secret_file:
            self.log.error("AMI {name}: not connected: no secret_file is configured", name=config.name)
            return
        account_of(config)  # to say so now if the secret cannot be read
        account = Account(config.username, lambda: read_secret(config), plain=config.login == "plain")
        try:
            self.manager = AMIConnection(config.name, config.ami, account, reactor, factory=protocol_factory(config))
        except Exception as error:  # each kind of endpoint has its own, OpenSSL's among them
            raise ConfigError(
                f"asterisk.ami: {printable(config.ami)!r} is no client endpoint ({printable(repr(error))}); "
                "accepted is for example tcp:127.0.0.1:5038 or tls:pbx.example.org:5039"
            ) from None
        if config.ami.startswith("ssl:"):
            self.log.warn("AMI {name}: ssl: endpoints verify no certificate; tls: endpoints do", name=config.name)
        self.manager.setServiceParent(self)
        routing = WhenRouting(engine, reactor)
        routing.setServiceParent(self)
        if config.heartbeat:
            Heartbeat(self.manager, reactor, gateway).setServiceParent(routing)
        self.originator = Originator(self.manager, engine, technologies, reactor, config.originate)
        MagiService(self.manager, config.magi, serve, reactor, watch, on_refused, gateway).setServiceParent(routing)

    def stopService(self) -> Deferred[Any]:
        """Stop the services that use the connection, then close it."""
        Service.stopService(self)
        manager = self.manager
        leaving = DeferredList(
            [maybeDeferred(service.stopService) for service in self if service is not manager], consumeErrors=True
        )
        if manager is None:
            return leaving
        leaving.addTimeout(LEAVING_S, self._clock)
        return leaving.addBoth(lambda _: manager.stopService())


def protocol_factory(config: Asterisk) -> ProtocolFactory | None:
    """The protocol factory that ``asterisk.library`` asks for; None for the default.

    Raises:
        ConfigError: StarPy is asked for and not installed.
    """
    if config.library != "starpy":
        return None
    demand_starpy("asterisk.library")
    from pbxrouter.adapters.starpy_ami import StarpyAMIFactory  # imports StarPy

    return StarpyAMIFactory
