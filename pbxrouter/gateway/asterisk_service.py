"""The services of one Asterisk: its AMI connection and all that uses it."""

from __future__ import annotations

import hmac
import re
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
from pbxrouter.magi import Claims, Holder, MagiService, Serve
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
        new_key: makes the key of a call whose dialplan asks for it.

    Attributes:
        name: as configured.
        originator: originates calls; None without an AMI connection.
        claims: says which gateway serves calls by MAGI; None without an AMI connection.

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
        new_key: Callable[[], str] = str,
    ) -> None:
        super().__init__()
        self._clock = reactor
        self.name: str = config.name
        self.manager: AMIConnection | None = None
        self.originator: Originator | None = None
        self.claims: Claims | None = None
        if not config.secret_file:
            self.log.error("AMI {name}: not connected: no secret_file is configured", name=config.name)
            return
        self._secret = account_of(config).secret()  # to say so now if it cannot be read
        self._secret_file = config.secret_file
        account = Account(config.username, lambda: read_secret(config), plain=config.login == "plain")
        try:
            self.manager = AMIConnection(config.name, config.ami, account, reactor, factory=protocol_factory(config))
        except Exception as error:  # each kind of endpoint has its own, OpenSSL's among them
            raise _no_endpoint(config, error) from None
        if config.ami.startswith("ssl:"):
            self.log.warn("AMI {name}: ssl: endpoints verify no certificate; tls: endpoints do", name=config.name)
        self.manager.setServiceParent(self)
        self._routing = routing = WhenRouting(engine, reactor)
        routing.setServiceParent(self)
        self.claims = claims = Claims(self.manager, config.magi, Holder.of_this_process(gateway), reactor)
        self._heartbeat = Heartbeat(
            self.manager, reactor, gateway, lambda: claims.has_standby, lambda: claims.is_settled
        )
        if config.heartbeat:
            self._heartbeat.setServiceParent(routing)
        self.originator = Originator(self.manager, engine, technologies, reactor, config.originate)
        self._magi = MagiService(self.manager, config.magi, serve, reactor, watch, on_refused, gateway, claims, new_key)
        self._magi.setServiceParent(routing)
        claims.setServiceParent(routing)

    def prepare_reload(self, config: Asterisk, technologies: Mapping[str, str]) -> tuple[Callable[[], None], list[str]]:
        """Check other settings for this Asterisk, and read its secret and certificates again.

        Returns:
            A function that puts them in force, and what has changed besides the settings. A connection that is up
            stays; its endpoint and account count for the next one.

        Raises:
            ConfigError: the endpoint, its certificates or the secret cannot be used.
        """
        manager, originator = self.manager, self.originator
        if manager is None or originator is None:
            return lambda: None, []
        secret = account_of(config).secret()
        try:
            endpoint = manager.endpoint(config.ami)
        except Exception as error:
            raise _no_endpoint(config, error) from None
        news = []
        if config.secret_file == self._secret_file and not hmac.compare_digest(secret.encode(), self._secret.encode()):
            news.append(
                f"asterisk.secret_file of {self.name}: reloaded, for the next connection to AMI: the secret in "
                f"{config.secret_file} has changed"
            )
        if re.search("trustRoots=|certificate=|caCertsDir=", config.ami):
            news.append(f"asterisk.ami of {self.name}: the certificates are loaded again, for the next connection")

        def apply() -> None:
            self._secret, self._secret_file = secret, config.secret_file
            account = Account(config.username, lambda: read_secret(config), plain=config.login == "plain")
            originator.reconfigure(technologies, config.originate)
            self._magi.set_contexts(config.magi)
            if config.heartbeat and self._heartbeat.parent is None:
                self._heartbeat.setServiceParent(self._routing)
            elif not config.heartbeat and self._heartbeat.parent is not None:
                self._heartbeat.disownServiceParent()
            manager.reconfigure(endpoint, account)

        return apply, news

    def refuse_new(self) -> None:
        """Tell the dialplan by the heartbeat that the gateway stops, and take no further call by MAGI."""
        if self.manager is not None:
            if self._heartbeat.running:
                self._heartbeat.disownServiceParent()
            self._magi.refuse_new()

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


def _no_endpoint(config: Asterisk, error: Exception) -> ConfigError:
    return ConfigError(
        f"asterisk.ami: {printable(config.ami)!r} is no client endpoint ({printable(repr(error))}); "
        "accepted is for example tcp:127.0.0.1:5038 or tls:pbx.example.org:5039"
    )


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
