"""The doctor's look at what its AMI user may do at an Asterisk, and which events come to it.

A class that the user lacks is found by actions that change nothing: with the class they
fail for want of an argument, without it by ``Permission denied`` (docs/asterisk.md B4). The one
trace left is a warning in Asterisk's log, of a call on a technology that is none. Not
here: anything else about that Asterisk (asterisk).
"""

from __future__ import annotations

from typing import Final

from pbxrouter.doctor.finding import Finding, unknown, well, wrong
from pbxrouter.doctor.patient import Patient
from pbxrouter.errors import ActionFailed
from pbxrouter.text import Sentence, sentence

# What each class of `write` is needed for, and an action that tells whether it is there.
_WRITE: Final = (
    ("originate", "Originate", Sentence("click-to-dial")),
    ("call", "Setvar", Sentence("the heartbeat")),
    ("agi", "AGI", Sentence("MAGI")),
    ("reporting", "CoreStatus", Sentence("the call counter")),
)


async def write_classes(patient: Patient) -> list[Finding]:
    """Which actions the user may use."""
    config, user = patient.config, patient.config.username
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
        elif "unknown command" in said.lower():
            found.append(
                wrong(
                    patient.area,
                    sentence(
                        "this Asterisk has no action {action}, which {purpose} needs",
                        action=action,
                        purpose=purpose,
                    ),
                    Sentence("load res_agi.so (modules.conf)")
                    if name == "agi"
                    else Sentence("see which modules it has loaded"),
                )
            )
        else:
            granted.append(name)
    if granted:
        found.insert(0, well(patient.area, sentence("{user} may write {names}", user=user, names=", ".join(granted))))
    return found


async def read_classes(patient: Patient) -> list[Finding]:
    """Which events come; the classes themselves can be asked of nobody."""
    user = patient.config.username
    by_hand = sentence(
        "type in Asterisk: {command}; read perm must have system, call and agi",
        command=f"manager show user {user}",
    )

    def lacks(name: str, event: str) -> Finding:
        return wrong(
            patient.area,
            sentence("{user} did not get {event}: the class {name} is missing", user=user, event=event, name=name),
            sentence(
                "add {name} to read = of [{user}] in manager.conf, then `manager reload` in Asterisk",
                name=name,
                user=user,
            ),
        )

    found = []
    booted = await patient.event("FullyBooted")
    found.append(
        well(patient.area, sentence("{user} reads {name}", user=user, name="system"))
        if booted
        else lacks("system", "FullyBooted")
    )
    if "originate" in patient.missing:
        found.append(
            unknown(
                patient.area,
                sentence("whether {user} reads {name} was not tried", user=user, name="call"),
                by_hand,
            )
        )
    else:
        found += await _reads_call(patient, user, lacks("call", "OriginateResponse"))
    if patient.config.magi:
        found.append(
            unknown(
                patient.area,
                sentence("whether {user} reads {name} shows only in a call", user=user, name="agi"),
                by_hand,
            )
        )
    return found


async def _reads_call(patient: Patient, user: str, lacking: Finding) -> list[Finding]:
    """By an Originate that cannot succeed: no channel is made, and an event says so."""
    uniqueid = patient.protocol.new_action_id()
    headers = [("Channel", "NoSuchTechnology/doctor"), ("Application", "Wait"), ("Data", "1")]
    try:
        await patient.protocol.action("Originate", [*headers, ("ChannelId", uniqueid), ("Async", "true")])
    except ActionFailed as error:
        return [
            unknown(
                patient.area,
                sentence("whether {user} reads {name}: {why}", user=user, name="call", why=error.sentence),
                Sentence("see manager.conf"),
            )
        ]
    event = await patient.event("OriginateResponse", "Uniqueid", uniqueid)
    if event is None:
        return [lacking]
    if not event.get("Timestamp"):
        return [
            wrong(
                patient.area,
                Sentence("events come without the time, so calls are counted less exactly"),
                Sentence("put timestampevents = yes under [general] in manager.conf"),
            )
        ]
    return [well(patient.area, sentence("{user} reads {name}", user=user, name="call"))]
