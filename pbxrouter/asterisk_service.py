"""All that runs for one Asterisk: its AMI connection and what lives on it.

Not here: any of the parts; this puts them together as the configuration says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger

from pbxrouter.adapters import demand_starpy
from pbxrouter.agi.dialogue_watch import DialogueWatch
from pbxrouter.config.schema import Asterisk
from pbxrouter.errors import ConfigError
from pbxrouter.heartbeat import Heartbeat
from pbxrouter.magi import MagiService, Serve
from pbxrouter.manager_service import Account, Manager, ProtocolFactory
from pbxrouter.originate import Originator
from pbxrouter.rules.engine import RulesEngine
from pbxrouter.text.printable import printable
from pbxrouter.text.sentences import Step, step

LEAVING_S: Final = 3.0
"""How long taking leave may last when the gateway stops."""

_TRUST: Final = re.compile(r"tls:.*:trustRoots=([^:]+)")


class AsteriskService(MultiService):
    """One ``[[asterisk]]`` of the configuration.

    Args:
        serve: has the conversation of a call that comes by MAGI.
        engine: decides about calls that begin with us.
        technologies: what a technology is called on this Asterisk.

    Attributes:
        name: as configured.
        originator: begins calls; None without a connection to AMI.

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
    ) -> None:
        super().__init__()
        self._clock = reactor
        self.name: str = config.name
        self.manager: Manager | None = None
        self.originator: Originator | None = None
        if not config.secret_file:
            self.log.error(
                "{name}: no secret_file is set, so there is no connection to AMI", name=config.name
            )
            return
        account_of(config)  # to say so now if the secret cannot be read
        account = Account(config.username, lambda: read_secret(config), plain=config.login == "plain")
        try:
            self.manager = Manager(
                config.name, config.ami, account, reactor, factory=protocol_factory(config)
            )
        except Exception as error:  # each kind of endpoint has its own, OpenSSL's among them
            raise ConfigError(
                f"asterisk.ami: {printable(config.ami)!r} is no client endpoint ({printable(repr(error))}); "
                "accepted is for example tcp:127.0.0.1:5038 or tls:pbx.example.org:5039"
            ) from None
        if config.ami.startswith("ssl:"):
            self.log.warn("{name}: ssl: verifies no certificate; tls: does", name=config.name)
        self.manager.setServiceParent(self)
        if config.heartbeat:
            Heartbeat(self.manager, reactor).setServiceParent(self)
        self.originator = Originator(self.manager, engine, technologies, reactor, config.originate)
        MagiService(self.manager, config.magi, serve, reactor, watch).setServiceParent(self)

    def stopService(self) -> Deferred[Any]:
        """Let what lives on the connection take its leave, and then close it."""
        Service.stopService(self)
        manager = self.manager
        leaving = DeferredList(
            [maybeDeferred(each.stopService) for each in self if each is not manager], consumeErrors=True
        )
        if manager is None:
            return leaving
        leaving.addTimeout(LEAVING_S, self._clock)
        return leaving.addBoth(lambda _: manager.stopService())


def check_trust(description: str) -> None:
    """A folder of certificates without any makes every connection fail, and nobody says why.

    Raises:
        ConfigError: ``trustRoots`` of a ``tls:`` endpoint names such a folder.
    """
    found = _TRUST.match(description)
    if found is None:
        return
    try:
        certificates = (each.read_bytes() for each in Path(found[1]).glob("*.[Pp][Ee][Mm]"))
        if any(b"BEGIN CERTIFICATE" in each for each in certificates):
            return
    except OSError as error:
        raise ConfigError(
            step("asterisk.ami: {path}: cannot be read: {why}", path=error.filename, why=error.strerror)
        ) from None
    raise ConfigError(
        step(
            "asterisk.ami: no certificate in {folder}; trustRoots takes a folder with files named *.pem",
            folder=found[1],
        )
    )


def protocol_factory(config: Asterisk) -> ProtocolFactory | None:
    """What makes the AMI connection's protocols; None: our own.

    Raises:
        ConfigError: StarPy is asked for and not installed.
    """
    if config.library != "starpy":
        return None
    demand_starpy("asterisk.library")
    from pbxrouter.adapters.starpy_ami import StarpyAMIFactory  # imports StarPy

    return StarpyAMIFactory


def account_of(config: Asterisk) -> Account:
    """How to log in to its AMI now; the secret is read once.

    Raises:
        ConfigError: the secret cannot be read, or the endpoint trusts nobody.
    """
    check_trust(config.ami)
    secret = read_secret(config)
    return Account(config.username, lambda: secret, plain=config.login == "plain")


def read_secret(config: Asterisk) -> str:
    """The AMI user's secret: the first line of its file.

    Raises:
        ConfigError: the file cannot be read or is empty.
    """
    try:
        secret = Path(config.secret_file).read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or Step("it is not text")
        raise ConfigError(
            step("asterisk.secret_file: {path}: cannot be read: {why}", path=config.secret_file, why=why)
        ) from None
    if not secret:
        raise ConfigError(
            step(
                "asterisk.secret_file: {path} is empty; accepted is one line, the secret",
                path=config.secret_file,
            )
        )
    return secret
