"""An AMI connection for checks of an Asterisk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from twisted.internet.task import deferLater

from pbxrouter.ami import Account, AMIMessage, AMIProtocol, EventHandler, connect_once
from pbxrouter.config import Asterisk
from pbxrouter.counter import DOCTOR_PREFIX
from pbxrouter.doctor.finding import Finding, wrong
from pbxrouter.errors import (
    ActionFailed,
    ConfigError,
    LoginRefused,
    ManagerError,
    ManagerProtocolError,
    ManagerUnavailable,
)
from pbxrouter.text import Sentence, sentence

EVENT_WAIT_S: Final = 2.0
"""How long to wait for an event that must come, in seconds."""
LOOK_EVERY_S: Final = 0.05
"""The interval of looking for the event, in seconds."""


def area_of(asterisk: Asterisk) -> Sentence:
    """The area of findings about an Asterisk."""
    return sentence("AMI {name}", name=asterisk.name)


@dataclass(slots=True)
class AsteriskProbe:
    """An Asterisk that is checked over AMI.

    Attributes:
        config: its settings.
        clock: for waiting.
        seconds: returns this machine's time, in epoch seconds.
        protocol: the AMI connection.
        events: the events that came, by name.
        missing: the write classes that the user lacks.
    """

    config: Asterisk
    clock: Any
    seconds: Any
    protocol: AMIProtocol
    events: dict[str, list[AMIMessage]]
    missing: set[str] = field(default_factory=set)

    @property
    def area(self) -> Sentence:
        """The area of findings about it."""
        return area_of(self.config)

    async def variable(self, name: str) -> str | None:
        """The value of a global variable or a function; None if it cannot be read."""
        try:
            return (await self.protocol.action("Getvar", [("Variable", name)])).get("Value")
        except ActionFailed:
            return None

    async def event(self, name: str, header: str = "", value: str = "") -> AMIMessage | None:
        """Wait for an event; None if it did not come in EVENT_WAIT_S."""
        for _ in range(int(EVENT_WAIT_S / LOOK_EVERY_S)):
            for event in self.events.get(name, ()):
                if not header or event.get(header) == value:
                    return event
            await deferLater(self.clock, LOOK_EVERY_S)
        return None


async def log_in(config: Asterisk, account: Account, clock: Any, seconds: Any) -> AsteriskProbe | Finding:
    """Log in to AMI; a Finding if that failed."""
    area = area_of(config)
    events: dict[str, list[AMIMessage]] = {}

    def keep(event: AMIMessage) -> None:
        events.setdefault(event.name, []).append(event)

    def keep_own(event: AMIMessage) -> None:
        if event.get("Uniqueid").startswith(DOCTOR_PREFIX):
            keep(event)

    handlers: dict[bytes, list[EventHandler]] = {
        b"FullyBooted": [keep],
        b"OriginateResponse": [keep],
        b"Newchannel": [keep_own],
        b"Hangup": [keep_own],
    }
    try:
        protocol = await connect_once(config.ami, account, clock, handlers, "system,call,agi")
    except LoginRefused as error:
        return wrong(
            area,
            error.sentence,
            sentence(
                "see asterisk.username, secret_file, and [{user}] in manager.conf: secret, permit, deny; "
                "then `manager reload` in Asterisk",
                user=config.username,
            ),
        )
    except ManagerProtocolError as error:
        return wrong(area, error.sentence, Sentence("see asterisk.ami: a TLS port wants tls:HOST:PORT"))
    except ManagerUnavailable as error:
        if "certificate" in str(error):
            return wrong(
                area,
                error.sentence,
                Sentence(
                    "the certificate must match that host name and come from a trusted authority: docs/ami.md explains "
                    "trustRoots"
                ),
            )
        return wrong(
            area,
            error.sentence,
            Sentence(
                "start Asterisk; see asterisk.ami, and in manager.conf enabled = yes, bindaddr and port "
                "(a TLS port wants tls:HOST:PORT)"
            ),
        )
    except (ConfigError, ManagerError) as error:
        return wrong(area, error.sentence)
    return AsteriskProbe(config, clock, seconds, protocol, events)
