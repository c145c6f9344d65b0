"""The doctor's look at one Asterisk over AMI: login, classes, version, clock, heartbeat.

A class that the user lacks is found by actions that change nothing: with the class they
fail for want of an argument, without it by ``Permission denied`` (facts B4). The one
trace left is a warning in Asterisk's log, of a call on a technology that is none. Not
here: the dialplan's side (hook) and sounds (sounds).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.internet.task import deferLater

from pbxrouter.ami import Message
from pbxrouter.config import Asterisk
from pbxrouter.doctor.finding import Finding, unknown, well, wrong
from pbxrouter.errors import (
    ActionFailed,
    ConfigError,
    LoginRefused,
    ManagerError,
    ManagerProtocolError,
    ManagerUnavailable,
)
from pbxrouter.heartbeat import VARIABLE
from pbxrouter.manager import EventHandler, ManagerProtocol
from pbxrouter.manager_once import connect_once
from pbxrouter.manager_service import Account
from pbxrouter.trace import printable

EVENT_WAIT_S: Final = 2.0
"""How long an event may take that must come."""
LOOK_EVERY_S: Final = 0.05
CLOCKS_APART_S: Final = 5.0
HEARTBEAT_S: Final = 10.0
"""Age from which the dialplan would leave the gateway out."""
OLDEST: Final = 12
"""The first Asterisk with today's events."""
TRIED: Final = "22"

# What each class of `write` is needed for, and an action that tells whether it is there.
_WRITE: Final = (
    ("originate", "Originate", "click-to-dial"),
    ("call", "Setvar", "the heartbeat"),
    ("agi", "AGI", "MAGI"),
    ("reporting", "CoreStatus", "the call counter"),
)


@dataclass(slots=True)
class Patient:
    """An Asterisk that is being looked at.

    Attributes:
        config: as configured.
        clock: for waiting.
        seconds: this machine's time, in epoch seconds.
        protocol: its AMI.
        events: those that came, by name.
        missing: the write classes that the user lacks.
    """

    config: Asterisk
    clock: Any
    seconds: Any
    protocol: ManagerProtocol
    events: dict[str, list[Message]]
    missing: set[str] = field(default_factory=set)

    @property
    def area(self) -> str:
        """How findings about it are headed."""
        return f"AMI {printable(self.config.name)}"

    async def variable(self, name: str) -> str | None:
        """The value of a global variable or of a function; None if it cannot be asked."""
        try:
            return (await self.protocol.action("Getvar", [("Variable", name)])).get("Value")
        except ActionFailed:
            return None

    async def event(self, name: str, header: str = "", value: str = "") -> Message | None:
        """An event that must come soon; None if it did not."""
        for _ in range(int(EVENT_WAIT_S / LOOK_EVERY_S)):
            for event in self.events.get(name, ()):
                if not header or event.get(header) == value:
                    return event
            await deferLater(self.clock, LOOK_EVERY_S)
        return None


async def log_in(config: Asterisk, account: Account, clock: Any, seconds: Any) -> Patient | Finding:
    """A connection to look through, or why there is none."""
    area = f"AMI {printable(config.name)}"
    events: dict[str, list[Message]] = {}

    def keep(event: Message) -> None:
        events.setdefault(event.name, []).append(event)

    handlers: dict[bytes, list[EventHandler]] = {b"FullyBooted": [keep], b"OriginateResponse": [keep]}
    user = printable(config.username)
    try:
        protocol = await connect_once(config.ami, account, clock, handlers, "system,call,agi")
    except LoginRefused as error:
        return wrong(
            area,
            str(error),
            f"see asterisk.username, secret_file, and [{user}] in manager.conf: secret, permit, deny; "
            "then `manager reload` in Asterisk",
        )
    except ManagerProtocolError as error:
        return wrong(area, str(error), "see asterisk.ami: a TLS port wants tls:HOST:PORT")
    except ManagerUnavailable as error:
        if "certificate" in str(error):
            return wrong(
                area,
                str(error),
                "the certificate must be of that host name, and of an authority known here: docs/ami.md "
                "tells of trustRoots",
            )
        return wrong(
            area,
            str(error),
            "start Asterisk; see asterisk.ami, and in manager.conf enabled = yes, bindaddr and port (a TLS "
            "port wants tls:HOST:PORT)",
        )
    except (ConfigError, ManagerError) as error:
        return wrong(area, str(error))
    return Patient(config, clock, seconds, protocol, events)


async def look_at_asterisk(patient: Patient) -> list[Finding]:
    """Everything but the dialplan.

    Raises:
        ManagerUnavailable: the connection was lost meanwhile.
    """
    banner = printable(patient.protocol.banner or "")
    found = [well(patient.area, f"logged in as {printable(patient.config.username)} ({banner})")]
    found += await _write_classes(patient)
    found += await _read_classes(patient)
    found.append(await _version(patient))
    found.append(await _clock(patient))
    found.append(await _heartbeat(patient))
    return found


async def _write_classes(patient: Patient) -> list[Finding]:
    config, user = patient.config, printable(patient.config.username)
    found, granted = [], []
    for name, action, purpose in _WRITE:
        try:
            await patient.protocol.action(action)
            said = ""
        except ActionFailed as error:
            said = str(error)
        if "Permission denied" in said:
            patient.missing.add(name)
            if name == "agi" and not config.magi:
                continue  # nothing here needs it
            found.append(
                wrong(
                    patient.area,
                    f"{user} may not {action}: {purpose} needs the class {name}",
                    f"add {name} to write = of [{user}] in manager.conf, then `manager reload` in Asterisk",
                )
            )
        elif "unknown command" in said.lower():
            found.append(
                wrong(
                    patient.area,
                    f"this Asterisk has no action {action}, which {purpose} needs",
                    "load res_agi.so (modules.conf)" if name == "agi" else "see which modules it has loaded",
                )
            )
        else:
            granted.append(name)
    if granted:
        found.insert(0, well(patient.area, f"{user} may write {', '.join(granted)}"))
    return found


async def _read_classes(patient: Patient) -> list[Finding]:
    """Which events come; the classes themselves can be asked of nobody."""
    user = printable(patient.config.username)
    by_hand = f"type in Asterisk: manager show user {user}; read perm must have system, call and agi"

    def lacks(name: str, event: str) -> Finding:
        return wrong(
            patient.area,
            f"{user} did not get {event}: the class {name} is missing",
            f"add {name} to read = of [{user}] in manager.conf, then `manager reload` in Asterisk",
        )

    found = []
    booted = await patient.event("FullyBooted")
    found.append(well(patient.area, f"{user} reads system") if booted else lacks("system", "FullyBooted"))
    if "originate" in patient.missing:
        found.append(unknown(patient.area, f"whether {user} reads call was not tried", by_hand))
    else:
        found += await _reads_call(patient, user, lacks("call", "OriginateResponse"))
    if patient.config.magi:
        found.append(unknown(patient.area, f"whether {user} reads agi shows only in a call", by_hand))
    return found


async def _reads_call(patient: Patient, user: str, lacking: Finding) -> list[Finding]:
    """By an Originate that cannot succeed: no channel is made, and an event says so."""
    uniqueid = patient.protocol.new_action_id()
    headers = [("Channel", "NoSuchTechnology/doctor"), ("Application", "Wait"), ("Data", "1")]
    try:
        await patient.protocol.action("Originate", [*headers, ("ChannelId", uniqueid), ("Async", "true")])
    except ActionFailed as error:
        return [unknown(patient.area, f"whether {user} reads call: {error}", "see manager.conf")]
    event = await patient.event("OriginateResponse", "Uniqueid", uniqueid)
    if event is None:
        return [lacking]
    if not event.get("Timestamp"):
        return [
            wrong(
                patient.area,
                "events come without the time, so calls are counted less exactly",
                "put timestampevents = yes under [general] in manager.conf",
            )
        ]
    return [well(patient.area, f"{user} reads call")]


async def _version(patient: Patient) -> Finding:
    by_hand = "type in Asterisk: core show version"
    try:
        said = (await patient.protocol.action("CoreSettings")).get("AsteriskVersion")
    except ActionFailed as error:
        return unknown(patient.area, f"Asterisk's version: {error}", by_hand)
    shown, major = printable(said), re.match(r"(?:certified[/-])?(\d{1,4})\b", said)
    if major is None:
        return unknown(patient.area, f"Asterisk's version {shown!a}", f"this gateway was tried with {TRIED}")
    if int(major[1]) < OLDEST:
        return wrong(
            patient.area, f"Asterisk {shown} is too old", f"{TRIED} is what the gateway was tried with"
        )
    return well(patient.area, f"Asterisk {shown}")


async def _clock(patient: Patient) -> Finding:
    asked = patient.seconds()
    said = (await patient.protocol.action("Ping")).get("Timestamp")
    took = patient.seconds() - asked
    try:
        apart = float(said) - asked - took / 2
    except ValueError:
        return unknown(patient.area, "Asterisk does not tell its time", "compare `date` on both machines")
    if abs(apart) > CLOCKS_APART_S + took:
        return wrong(
            patient.area,
            f"its clock is {abs(apart):.0f} s {'ahead' if apart > 0 else 'behind'}",
            "set both machines' clocks, by NTP for example",
        )
    return well(patient.area, "its clock and ours agree")


async def _heartbeat(patient: Patient) -> Finding:
    looked_at = await patient.variable("PBXROUTER_HEARTBEAT_S")
    value = await patient.variable(VARIABLE)
    if value is None:
        return unknown(
            patient.area, "the heartbeat may not be read", f"in Asterisk: dialplan show globals, {VARIABLE}"
        )
    said = (await patient.protocol.action("Ping")).get("Timestamp").partition(".")[0]
    age = int(said) - int(value) if value.isdecimal() and said.isdecimal() else None
    if not patient.config.heartbeat:
        if looked_at and value.isdecimal() and int(value):
            return wrong(
                patient.area,
                f"an old heartbeat stands in {VARIABLE}, and asterisk.heartbeat forbids a new one: "
                "every call goes to the fallback",
                f"set heartbeat = true, or the global variable {VARIABLE} to 0",
            )
        return well(patient.area, "no heartbeat, as the settings say")
    if age is None or not int(value):
        what = "there is no heartbeat" if not value else "the gateway has stopped"
        return wrong(
            patient.area, f"{what}: {VARIABLE} is {printable(value) or 'empty'}", "start the gateway"
        )
    if age > HEARTBEAT_S:
        return wrong(
            patient.area,
            f"the last heartbeat came {age} s ago",
            "the gateway has died or is frozen: see its log, start it again",
        )
    dialplan = "" if looked_at else "; the dialplan does not look at it (PBXROUTER_HEARTBEAT_S is empty)"
    return well(patient.area, f"the heartbeat is fresh{dialplan}")
