"""Checks which classes the AMI user has: the actions it may send, and the events it receives.

The classes are found by actions that change nothing: with the class they fail because an argument
is missing, without it by ``Permission denied`` (docs/asterisk.md B4). The only traces are lines in
Asterisk's log, about a call on a technology and one to an extension that do not exist.
"""

from __future__ import annotations

import re
from typing import Final

from pbxrouter.counter import DOCTOR_PREFIX
from pbxrouter.doctor.finding import Finding, ok, unknown, wrong
from pbxrouter.doctor.probe import AsteriskProbe
from pbxrouter.errors import ActionFailed
from pbxrouter.text import Sentence, printable, sentence

# Each class of `write`, an action that needs it, and what the gateway needs it for.
_WRITE: Final = (
    ("originate", "Originate", Sentence("click-to-dial")),
    ("call", "Setvar", Sentence("the heartbeat")),
    ("agi", "AGI", Sentence("MAGI")),
    ("reporting", "CoreStatus", Sentence("the call counter")),
)


CHANNEL_EVENTS: Final = ("Newchannel", "Hangup")
"""Events of each channel, however short."""
_MISSING_ARGUMENT: Final = re.compile(r"specified|required|channel|variable", re.IGNORECASE)
"""What Asterisk answers to an action that is permitted and lacks an argument."""


async def write_classes(probe: AsteriskProbe) -> list[Finding]:
    """Check the user's `write` classes."""
    config, user = probe.config, probe.config.username
    found, granted = [], []
    for name, action, purpose in _WRITE:
        try:
            await probe.protocol.action(action)
            answer = ""
        except ActionFailed as error:
            answer = str(error)
        if "Permission denied" in answer:
            probe.missing.add(name)
            if name == "agi" and not config.magi:
                continue  # without MAGI it is not needed
            found.append(
                wrong(
                    probe.area,
                    sentence(
                        "{user} may not {action}: {purpose} needs the class {name}",
                        user=user,
                        action=action,
                        purpose=purpose,
                        name=name,
                    ),
                    sentence(
                        "add {name} to write = of [{user}] in manager.conf, then `manager reload` in Asterisk",
                        name=name,
                        user=user,
                    ),
                )
            )
        elif "unknown command" in answer.lower():
            found.append(
                wrong(
                    probe.area,
                    sentence(
                        "this Asterisk has no action {action}, which {purpose} needs",
                        action=action,
                        purpose=purpose,
                    ),
                    Sentence("load res_agi.so (modules.conf)")
                    if name == "agi"
                    else Sentence("check which modules it has loaded"),
                )
            )
        elif answer and not _MISSING_ARGUMENT.search(answer):
            found.append(
                unknown(
                    probe.area,
                    sentence("whether {user} may write {names}: {why}", user=user, names=name, why=printable(answer)),
                    sentence("type in Asterisk: {command}", command=f"manager show user {user}"),
                )
            )
        else:
            granted.append(name)
    if granted:
        found.insert(0, ok(probe.area, sentence("{user} may write {names}", user=user, names=", ".join(granted))))
    return found


async def read_classes(probe: AsteriskProbe) -> list[Finding]:
    """Check the user's `read` classes by the events that come; AMI has no action that lists them."""
    user = probe.config.username
    by_hand = sentence(
        "type in Asterisk: {command}; read perm must have system, call and agi",
        command=f"manager show user {user}",
    )

    def lacks(name: str, event: str) -> Finding:
        return wrong(
            probe.area,
            sentence("{user} did not get {event}: the class {name} is missing", user=user, event=event, name=name),
            sentence(
                "add {name} to read = of [{user}] in manager.conf, then `manager reload` in Asterisk",
                name=name,
                user=user,
            ),
        )

    found = []
    booted = await probe.event("FullyBooted")
    found.append(
        ok(probe.area, sentence("{user} reads {name}", user=user, name="system"))
        if booted
        else lacks("system", "FullyBooted")
    )
    if "originate" in probe.missing:
        found.append(
            unknown(
                probe.area,
                sentence("whether {user} reads {name} was not checked", user=user, name="call"),
                by_hand,
            )
        )
    else:
        found += await _reads_call(probe, user, lacks("call", "OriginateResponse"))
    if probe.config.magi:
        found.append(
            unknown(
                probe.area,
                sentence("whether {user} reads {name} can be seen only in a call", user=user, name="agi"),
                by_hand,
            )
        )
    return found


async def _reads_call(probe: AsteriskProbe, user: str, lacking: Finding) -> list[Finding]:
    """Check the class `call` by an Originate that cannot succeed: it makes no channel, but an event."""
    uniqueid = probe.protocol.new_action_id()
    headers = [("Channel", "NoSuchTechnology/doctor"), ("Application", "Wait"), ("Data", "1")]
    try:
        await probe.protocol.action("Originate", [*headers, ("ChannelId", uniqueid), ("Async", "true")])
    except ActionFailed as error:
        return [
            unknown(
                probe.area,
                sentence("whether {user} reads {name}: {why}", user=user, name="call", why=error.sentence),
                Sentence("see manager.conf"),
            )
        ]
    event = await probe.event("OriginateResponse", "Uniqueid", uniqueid)
    if event is None:
        return [lacking]
    if not event.get("Timestamp"):
        return [
            wrong(
                probe.area,
                Sentence("events come without the time, so calls are counted less exactly"),
                Sentence("put timestampevents = yes under [general] in manager.conf"),
            )
        ]
    withheld = await _withheld(probe)
    if withheld:
        return [
            wrong(
                probe.area,
                sentence("{user} does not get {names}: calls cannot be counted", user=user, names=", ".join(withheld)),
                take_out_of_filters(user),
            )
        ]
    return [ok(probe.area, sentence("{user} reads {name}", user=user, name="call"))]


def take_out_of_filters(user: str) -> Sentence:
    """What to do about events that Asterisk withholds."""
    return sentence(
        "take what excludes it out of eventfilter of [{user}], or out of disabledevents under [general], "
        "in manager.conf; then `manager reload` in Asterisk, and restart the gateway",
        user=user,
    )


async def _withheld(probe: AsteriskProbe) -> list[str]:
    """The events of a channel that do not come, though the class may be read.

    A Local channel to an extension that does not exist lives for some milliseconds. The call counter knows by its
    Uniqueid that it is no call.
    """
    uniqueid = f"{DOCTOR_PREFIX}{probe.protocol.new_action_id()}"
    headers = [
        ("Channel", f"Local/doctor@{DOCTOR_PREFIX}nowhere"),
        ("Application", "Wait"),
        ("Data", "1"),
        ("ChannelId", f"{uniqueid}-1"),
        ("OtherChannelId", f"{uniqueid}-2"),
        ("Async", "true"),
    ]
    try:
        await probe.protocol.action("Originate", headers)
    except ActionFailed:
        return []  # it was permitted before
    if await probe.event("OriginateResponse", "Uniqueid", f"{uniqueid}-1") is None:
        return []  # nothing can be said of the others
    return [name for name in CHANNEL_EVENTS if await probe.event(name, "Uniqueid", f"{uniqueid}-1") is None]
