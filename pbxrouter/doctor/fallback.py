"""Checks what the dialplan's fallback can reach: it knows no grants, so it must dial no trunk.

It reads the context over AMI, and those that it leads to: by include, Goto, Gosub, Macro, a Local channel, the options
of a Dial(), applications that run others, and variables as far as their values are known.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from pbxrouter.ami import AMIMessage
from pbxrouter.config import Config
from pbxrouter.doctor.dialplan_lines import Reach, assignments, reach_of, variables_in, without_variables
from pbxrouter.doctor.finding import Finding, ok, unknown, wrong
from pbxrouter.doctor.probe import AsteriskProbe
from pbxrouter.errors import ActionFailed
from pbxrouter.text import Sentence, joined, printable, sentence

MAX_CONTEXTS: Final = 200
"""Contexts that are read at most."""
MAX_VARIABLES: Final = 200
"""Global variables whose values are asked for."""
NAMED: Final = 5
"""How many places that cannot be read one finding names."""

_ASKS: Final = "pbxrouter-ask"
_EMERGENCY_NUMBERS: Final = "pbxrouter-emergency-numbers"
"""It leads to the emergency line, by its own numbers alone."""
_GROUP: Final = re.compile(r"[gGrR]\d+.*")
"""The part of a DAHDI target that names a group of lines."""


@dataclass(slots=True)
class _Walk:
    """The contexts read so far.

    Attributes:
        lines: by context, its lines.
        values: by variable, the values that it may have.
        missing: whether a context was left out, since there are too many.
    """

    lines: dict[str, list[AMIMessage]] = field(default_factory=dict)
    values: dict[str, list[str]] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    missing: bool = False


class _NotPermitted(Exception):
    """The AMI user may not read the dialplan."""


async def check_fallback(probe: AsteriskProbe, config: Config, area: Sentence) -> list[Finding]:
    """Look for trunks in the fallback; finds nothing to say where the shipped dialplan is not included."""
    name = await probe.variable("PBXROUTER_FALLBACK")
    if not name:
        return []
    shown = printable(name)
    todo = sentence("type in Asterisk: {command}", command=f"dialplan show {shown}")
    try:
        walk = await _walk(probe, name)
    except _NotPermitted:
        return [unknown(area, sentence("whether the fallback {context} dials a trunk", context=shown), todo)]
    unread: list[Sentence] = []
    for context, items in walk.lines.items():
        for item in items:
            reach = _reach(item, walk.values)
            place = {"extension": printable(item.get("Extension")), "place": printable(context)}
            for target in reach.targets:
                if leaves_house(target, config.trunks):
                    return [
                        wrong(
                            area,
                            sentence(
                                "the fallback {context} reaches the trunk {target}, at {extension} in {place}: "
                                "while the gateway is gone, it is open to all",
                                context=shown,
                                target=printable(target),
                                **place,
                            ),
                            Sentence("let the fallback dial phones only (docs/dialplan.md)"),
                        )
                    ]
            if _ASKS in reach.contexts:
                return [
                    wrong(
                        area,
                        sentence(
                            "the fallback {context} leads back to the gateway, at {extension} in {place}",
                            context=shown,
                            **place,
                        ),
                        Sentence("let the fallback dial phones only (docs/dialplan.md)"),
                    )
                ]
            unread += [
                sentence("{what} at {extension} in {place}", what=printable(what), **place) for what in reach.unread
            ]
    if unread or walk.missing:
        what = sentence(
            "the fallback {context} dials no trunk as far as it can be read; {count} places in it cannot: {places}",
            context=shown,
            count=len(unread),
            places=joined(unread[:NAMED]) if unread else "…",
        )
        return [unknown(area, what, Sentence("check that they lead to no trunk (docs/dialplan.md)"))]
    return [ok(area, sentence("the fallback {context} dials no trunk, as far as it can be read", context=shown))]


async def _walk(probe: AsteriskProbe, first: str) -> _Walk:
    """Read the fallback and all contexts that it leads to."""
    walk, waiting = _Walk(), [first]
    while waiting:
        context = waiting.pop()
        if context in walk.lines or context in (_ASKS, _EMERGENCY_NUMBERS):
            continue
        if len(walk.lines) >= MAX_CONTEXTS:
            walk.missing = True
            break
        walk.lines[context] = await _read(probe, context)
        for item in walk.lines[context]:
            for name, value in assignments(item.get("Application"), item.get("AppData")):
                if value not in walk.values.setdefault(name, []):
                    walk.values[name].append(value)
            await _ask_for_variables(probe, walk, item.get("AppData"))
        if not waiting:
            found = [_reach(item, walk.values) for items in walk.lines.values() for item in items]
            waiting = [name for reach in found for name in reach.contexts]
            waiting = [name for name in dict.fromkeys(waiting) if name not in walk.lines]
    return walk


async def _read(probe: AsteriskProbe, context: str) -> list[AMIMessage]:
    """The lines of a context; none if there is no such context: then the shipped one is taken."""
    try:
        return await probe.protocol.action_list("ShowDialPlan", [("Context", context)])
    except ActionFailed as error:
        if "context" not in str(error).lower():  # not "Did not find context", but "Permission denied" or another
            raise _NotPermitted from None
        return []


async def _ask_for_variables(probe: AsteriskProbe, walk: _Walk, text: str) -> None:
    for name in sorted(variables_in(text) - walk.asked):
        if len(walk.asked) >= MAX_VARIABLES:
            return
        walk.asked.add(name)
        value = await probe.variable(name)
        if value:
            walk.values.setdefault(name, []).append(value)
            await _ask_for_variables(probe, walk, value)


def _reach(item: AMIMessage, values: dict[str, list[str]]) -> Reach:
    found = reach_of(item.get("Application"), item.get("AppData"), values)
    included = item.get("IncludeContext").partition(",")[0].strip()
    if included:
        found.contexts.append(included)
    switch = item.get("Switch")
    if switch:
        technology, _, rest = switch.partition("/")
        if technology.strip().lower() in ("iax2", "dundi"):
            found.targets.append(f"{technology.strip()}/{rest}/")
        else:
            found.unread.append(f"switch => {switch}")
    return found


def leaves_house(target: str, trunks: Collection[str]) -> bool:
    """Whether a target of Dial() leaves the house.

    It is one of the settings' trunks, a group of lines, or has a further part behind its endpoint, as in
    ``PJSIP/${EXTEN}@provider``, ``IAX2/provider/${EXTEN}``, ``DAHDI/g1/${EXTEN}``.
    """
    technology, _, rest = target.strip().partition("/")
    rest = without_variables(rest)
    endpoint = rest.partition("/")[0]
    known = {trunk.lower() for trunk in trunks}
    return (
        "@" in rest
        or "/" in rest
        or f"{technology}/{endpoint}".lower() in known
        or (technology.lower() in ("dahdi", "zap") and _GROUP.fullmatch(endpoint) is not None)
    )
