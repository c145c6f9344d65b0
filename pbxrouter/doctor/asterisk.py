"""The doctor's look at one Asterisk over AMI: version, clock, heartbeat."""

from __future__ import annotations

import re
from typing import Final

from pbxrouter.ami import HEARTBEAT_VARIABLE
from pbxrouter.doctor.classes import read_classes, write_classes
from pbxrouter.doctor.finding import Finding, unknown, well, wrong
from pbxrouter.doctor.patient import Patient
from pbxrouter.errors import ActionFailed
from pbxrouter.text import Sentence, printable, sentence

CLOCKS_APART_S: Final = 5.0
HEARTBEAT_S: Final = 10.0
"""Age from which the dialplan would leave the gateway out."""
OLDEST: Final = 12
"""The first Asterisk with today's events."""
TRIED: Final = "22"


async def look_at_asterisk(patient: Patient) -> list[Finding]:
    """Everything but the dialplan.

    Raises:
        ManagerUnavailable: the connection was lost meanwhile.
    """
    logged_in = sentence(
        "logged in as {user} ({banner})",
        user=patient.config.username,
        banner=patient.protocol.banner or "",
    )
    found = [well(patient.area, logged_in)]
    found += await write_classes(patient)
    found += await read_classes(patient)
    found.append(await _version(patient))
    found.append(await _clock(patient))
    found.append(await _heartbeat(patient))
    return found


async def _version(patient: Patient) -> Finding:
    by_hand = sentence("type in Asterisk: {command}", command="core show version")
    try:
        said = (await patient.protocol.action("CoreSettings")).get("AsteriskVersion")
    except ActionFailed as error:
        return unknown(patient.area, sentence("Asterisk's version: {why}", why=error.sentence), by_hand)
    shown, major = printable(said), re.match(r"(?:certified[/-])?(\d{1,4})\b", said)
    if major is None:
        return unknown(
            patient.area,
            sentence("Asterisk's version {version}", version=ascii(shown)),
            sentence("this gateway was tried with {version}", version=TRIED),
        )
    if int(major[1]) < OLDEST:
        return wrong(
            patient.area,
            sentence("Asterisk {version} is too old", version=shown),
            sentence("{version} is what the gateway was tried with", version=TRIED),
        )
    return well(patient.area, sentence("Asterisk {version}", version=shown))


async def _clock(patient: Patient) -> Finding:
    asked = patient.seconds()
    said = (await patient.protocol.action("Ping")).get("Timestamp")
    took = patient.seconds() - asked
    try:
        apart = float(said) - asked - took / 2
    except ValueError:
        return unknown(
            patient.area,
            Sentence("Asterisk does not report its time"),
            Sentence("compare `date` on both machines"),
        )
    if abs(apart) > CLOCKS_APART_S + took:
        seconds = f"{abs(apart):.0f}"
        return wrong(
            patient.area,
            sentence(
                "its clock is {count} s ahead" if apart > 0 else "its clock is {count} s behind",
                count=seconds,
            ),
            Sentence("set both machines' clocks, by NTP for example"),
        )
    return well(patient.area, Sentence("its clock and ours agree"))


async def _heartbeat(patient: Patient) -> Finding:
    looked_at = await patient.variable("PBXROUTER_HEARTBEAT_S")
    value = await patient.variable(HEARTBEAT_VARIABLE)
    if value is None:
        return unknown(
            patient.area,
            Sentence("the heartbeat may not be read"),
            sentence("in Asterisk: dialplan show globals, {variable}", variable=HEARTBEAT_VARIABLE),
        )
    said = (await patient.protocol.action("Ping")).get("Timestamp").partition(".")[0]
    age = int(said) - int(value) if value.isdecimal() and said.isdecimal() else None
    if not patient.config.heartbeat:
        if looked_at and value.isdecimal() and int(value):
            return wrong(
                patient.area,
                sentence(
                    "an old heartbeat stands in {variable}, and asterisk.heartbeat forbids a new one: "
                    "every call goes to the fallback",
                    variable=HEARTBEAT_VARIABLE,
                ),
                sentence("set heartbeat = true, or the global variable {variable} to 0", variable=HEARTBEAT_VARIABLE),
            )
        return well(patient.area, Sentence("no heartbeat, as the settings say"))
    if age is None or not int(value):
        what = sentence(
            "the gateway has stopped: {variable} is {value}" if value else "there is no heartbeat: {variable} is empty",
            variable=HEARTBEAT_VARIABLE,
            value=value,
        )
        return wrong(patient.area, what, Sentence("start the gateway"))
    if age > HEARTBEAT_S:
        return wrong(
            patient.area,
            sentence("the last heartbeat came {count} s ago", count=age),
            Sentence("the gateway has died or is frozen: see its log, start it again"),
        )
    if looked_at:
        return well(patient.area, Sentence("the heartbeat is fresh"))
    return well(
        patient.area,
        Sentence("the heartbeat is fresh; the dialplan does not look at it (PBXROUTER_HEARTBEAT_S is empty)"),
    )
