"""Checks what the dialplan's fallback can reach: it knows no grants, so it must dial no trunk.

It reads the context over AMI, and those that it includes or goes to by name. A place that is told by a variable, a
Macro, another AGI program or Lua cannot be followed.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from pbxrouter.ami import AMIMessage
from pbxrouter.config import Config
from pbxrouter.doctor.finding import Finding, ok, unknown, wrong
from pbxrouter.doctor.probe import AsteriskProbe
from pbxrouter.errors import ActionFailed
from pbxrouter.text import Sentence, printable, sentence

MAX_CONTEXTS: Final = 50
"""Contexts that are read at most."""

_OPEN: Final = frozenset(
    "agi eagi deadagi macro system trysystem exec tryexec externalivr queue followme page transfer stasis".split()
)
"""Applications that may lead anywhere."""
_INSIDE: Final = re.compile(rf"[?:]\s*({'|'.join(sorted(_OPEN))}|dial|trydial|retrydial|originate)\(", re.IGNORECASE)
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")


async def check_fallback(probe: AsteriskProbe, config: Config, area: Sentence) -> list[Finding]:
    """Look for trunks in the fallback; finds nothing to say where the shipped dialplan is not included."""
    name = await probe.variable("PBXROUTER_FALLBACK")
    if not name:
        return []
    waiting, seen, unclear = [name], set[str](), ""
    while waiting and len(seen) < MAX_CONTEXTS:
        context = waiting.pop()
        if context in seen:
            continue
        seen.add(context)
        try:
            items = await probe.protocol.action_list("ShowDialPlan", [("Context", context)])
        except ActionFailed as error:
            if "Permission denied" in str(error):
                return [
                    unknown(
                        area,
                        sentence("whether the fallback {context} dials a trunk", context=printable(name)),
                        sentence("type in Asterisk: {command}", command=f"dialplan show {printable(name)}"),
                    )
                ]
            if "context" not in str(error).lower():
                unclear = f"dialplan show {context}"
            continue  # no such context: the shipped one is taken
        for item in items:
            target = trunk_in(item, config.trunks)
            if target:
                return [
                    wrong(
                        area,
                        sentence(
                            "the fallback {context} reaches the trunk {target}, at {extension} in {place}: "
                            "while the gateway is gone, it is open to all",
                            context=printable(name),
                            target=printable(target),
                            extension=printable(item.get("Extension")),
                            place=printable(context),
                        ),
                        Sentence("let the fallback dial phones only (docs/dialplan.md)"),
                    )
                ]
            waiting += leads_to(item)
            if not unclear and cannot_be_followed(item):
                unclear = f"{item.get('Application')}({item.get('AppData')})"
    if waiting and not unclear:
        unclear = waiting[-1]
    if unclear:
        return [
            unknown(
                area,
                sentence(
                    "whether the fallback {context} dials a trunk: it leads to {place}, which cannot be followed",
                    context=printable(name),
                    place=printable(unclear),
                ),
                sentence("look at it in Asterisk: {command}", command=f"dialplan show {printable(name)}"),
            )
        ]
    return [ok(area, sentence("the fallback {context} dials no trunk", context=name))]


def trunk_in(item: AMIMessage, trunks: Collection[str]) -> str:
    """The target of a Dial that leaves the house, or ``""``.

    It is one of the settings' trunks, or has a further part behind its endpoint, as in ``PJSIP/${EXTEN}@provider``,
    ``IAX2/provider/${EXTEN}``, ``DAHDI/g1/${EXTEN}``.
    """
    if item.get("Application").lower() not in ("dial", "trydial", "retrydial", "originate"):
        return ""
    known = {trunk.lower() for trunk in trunks}
    for target in re.split("[&,]", item.get("AppData")):
        technology, slash, rest = target.strip().partition("/")
        if not slash or technology.lower() == "local":
            continue
        endpoint = rest.partition("/")[0]
        if "@" in rest or "/" in rest or f"{technology}/{endpoint}".lower() in known:
            return target.strip()
    return ""


def cannot_be_followed(item: AMIMessage) -> bool:
    """Whether a line of the dialplan leads to a place that it does not name, or runs a program."""
    application, data = item.get("Application").lower(), item.get("AppData")
    if application in _OPEN or item.get("Switch") or (application == "execif" and _INSIDE.search(data)):
        return True
    if application in ("goto", "gosub", "gotoif", "gosubif", "execif"):
        places = [place.split(",") for place in re.split("[?:()]", data)]
        return any(len(parts) > 2 and not _NAME.fullmatch(parts[0].strip()) for parts in places)
    if application in ("dial", "trydial", "retrydial", "originate"):
        targets = re.split("[&,]", data)
        return targets[0].strip().startswith("${") or bool(re.search(r"Local/[^&,]*@[^&,/]*\$\{", data, re.IGNORECASE))
    return False


def leads_to(item: AMIMessage) -> list[str]:
    """The contexts that a line of the dialplan leads to, as far as they stand there by name."""
    application, data = item.get("Application").lower(), item.get("AppData")
    found = [item.get("IncludeContext").partition(",")[0]]
    if application in ("goto", "gosub", "gotoif", "gosubif", "execif"):
        for place in re.split("[?:()]", data):
            parts = place.split(",")
            if len(parts) > 2:
                found.append(parts[0])
    if application in ("dial", "retrydial"):
        found += re.findall(r"Local/[^@&,]*@([A-Za-z0-9_.-]+)", data, re.IGNORECASE)
    return [context.strip() for context in found if _NAME.fullmatch(context.strip())]
