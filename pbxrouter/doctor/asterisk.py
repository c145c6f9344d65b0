"""Checks one Asterisk over AMI: version, clock, heartbeat."""

from __future__ import annotations

import re
from typing import Final

from pbxrouter.ami import HEARTBEAT_VARIABLE
from pbxrouter.doctor.classes import read_classes, write_classes
from pbxrouter.doctor.finding import Finding, ok, unknown, wrong
from pbxrouter.doctor.probe import AsteriskProbe
from pbxrouter.errors import ActionFailed
from pbxrouter.magi import CLAIM_VARIABLE, ClaimText
from pbxrouter.text import Sentence, printable, sentence

CLOCKS_APART_S: Final = 5.0
HEARTBEAT_S: Final = 5.0
"""The age of the heartbeat, in seconds, from which it counts as missing; the dialplan has the same limit."""
OLDEST: Final = 12
"""The first Asterisk version with the events that the gateway needs."""
TRIED: Final = "22"
"""The Asterisk version that the gateway is tested with."""


async def check_asterisk(probe: AsteriskProbe) -> list[Finding]:
    """Check an Asterisk, except for its dialplan.

    Raises:
        ManagerUnavailable: the connection was lost.
    """
    logged_in = sentence(
        "logged in as {user} ({banner})",
        user=probe.config.username,
        banner=probe.protocol.banner or "",
    )
    found = [ok(probe.area, logged_in)]
    found += await write_classes(probe)
    found += await read_classes(probe)
    found.append(await _version(probe))
    found.append(await _clock(probe))
    found.append(await _heartbeat(probe))
    return found


async def check_claim(probe: AsteriskProbe, gateway: str) -> list[Finding]:
    """Check which gateway serves the calls in agi:async, if there are contexts of them.

    Args:
        gateway: this gateway's id.

    Raises:
        ManagerUnavailable: the connection was lost.
    """
    if not probe.config.magi:
        return []
    value = await probe.variable(CLAIM_VARIABLE)
    said = (await probe.protocol.action("Ping")).get("Timestamp").partition(".")[0]
    if value is None or not said.isdecimal():
        return [
            unknown(
                probe.area,
                Sentence("it cannot be seen which gateway serves the calls in agi:async"),
                sentence("in Asterisk: dialplan show globals, {variable}", variable=CLAIM_VARIABLE),
            )
        ]
    claim = ClaimText.parse(value)
    if not claim.gateway or int(said) - claim.at_ms / 1000 > HEARTBEAT_S:
        return [
            wrong(
                probe.area,
                Sentence("no gateway serves the calls in agi:async"),
                Sentence("start the gateway; if it runs, see its log"),
            )
        ]
    if claim.gateway == gateway:
        return [ok(probe.area, Sentence("this gateway serves the calls in agi:async"))]
    return [
        ok(
            probe.area,
            sentence(
                "gateway {id} on {host} serves the calls in agi:async; this one stands by",
                id=printable(claim.gateway),
                host=claim.host,
            ),
        )
    ]


async def _version(probe: AsteriskProbe) -> Finding:
    by_hand = sentence("type in Asterisk: {command}", command="core show version")
    try:
        said = (await probe.protocol.action("CoreSettings")).get("AsteriskVersion")
    except ActionFailed as error:
        return unknown(probe.area, sentence("Asterisk's version: {why}", why=error.sentence), by_hand)
    shown, major = printable(said), re.match(r"(?:certified[/-])?(\d{1,4})\b", said)
    if major is None:
        return unknown(
            probe.area,
            sentence("Asterisk's version {version}", version=ascii(shown)),
            sentence("the gateway is tested with {version}", version=TRIED),
        )
    if int(major[1]) < OLDEST:
        return wrong(
            probe.area,
            sentence("Asterisk {version} is too old", version=shown),
            sentence("the gateway is tested with {version}", version=TRIED),
        )
    return ok(probe.area, sentence("Asterisk {version}", version=shown))


async def _clock(probe: AsteriskProbe) -> Finding:
    asked = probe.seconds()
    said = (await probe.protocol.action("Ping")).get("Timestamp")
    took = probe.seconds() - asked
    try:
        apart = float(said) - asked - took / 2
    except ValueError:
        return unknown(
            probe.area,
            Sentence("Asterisk does not report its time"),
            Sentence("compare `date` on both machines"),
        )
    if abs(apart) > CLOCKS_APART_S + took:
        seconds = f"{abs(apart):.0f}"
        return wrong(
            probe.area,
            sentence(
                "its clock is {count} s ahead" if apart > 0 else "its clock is {count} s behind",
                count=seconds,
            ),
            Sentence("set both machines' clocks, by NTP for example"),
        )
    return ok(probe.area, Sentence("its clock agrees with this machine's"))


async def _heartbeat(probe: AsteriskProbe) -> Finding:
    looked_at = await probe.variable("PBXROUTER_HEARTBEAT_S")
    value = await probe.variable(HEARTBEAT_VARIABLE)
    if value is None:
        return unknown(
            probe.area,
            Sentence("the heartbeat cannot be read"),
            sentence("in Asterisk: dialplan show globals, {variable}", variable=HEARTBEAT_VARIABLE),
        )
    said = (await probe.protocol.action("Ping")).get("Timestamp").partition(".")[0]
    if value.isdecimal() and not said.isdecimal():
        return unknown(
            probe.area,
            Sentence("the age of the heartbeat: Asterisk does not report its time"),
            sentence("in Asterisk: dialplan show globals, {variable}", variable=HEARTBEAT_VARIABLE),
        )
    age = int(said) - int(value) if value.isdecimal() else None
    if not probe.config.heartbeat:
        if looked_at and value.isdecimal() and int(value):
            return wrong(
                probe.area,
                sentence(
                    "{variable} holds an old heartbeat, and asterisk.heartbeat is off: agi:async leads to the fallback",
                    variable=HEARTBEAT_VARIABLE,
                ),
                sentence("set heartbeat = true, or the global variable {variable} to 0", variable=HEARTBEAT_VARIABLE),
            )
        return ok(probe.area, Sentence("no heartbeat, as the settings say"))
    if age is None or not int(value):
        what = sentence(
            "the gateway has stopped: {variable} is {value}" if value else "there is no heartbeat: {variable} is empty",
            variable=HEARTBEAT_VARIABLE,
            value=value,
        )
        return wrong(probe.area, what, Sentence("start the gateway"))
    if age > HEARTBEAT_S:
        return wrong(
            probe.area,
            sentence("the last heartbeat came {count} s ago", count=age),
            Sentence("the gateway has crashed or hangs: see its log, restart it"),
        )
    if looked_at:
        return ok(probe.area, Sentence("the heartbeat is fresh"))
    return ok(
        probe.area,
        Sentence("the heartbeat is fresh; the dialplan does not check it (PBXROUTER_HEARTBEAT_S is empty)"),
    )
