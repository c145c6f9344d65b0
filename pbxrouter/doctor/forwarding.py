"""Checks what lets parties of a call forward it: Dial()'s options, and how Asterisk treats phones that forward.

docs/transfers.md tells what each of them opens. Settings of endpoints are read by the function PJSIP_ENDPOINT.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable
from typing import Final

from pbxrouter.agi import option_letters
from pbxrouter.ami import AMIMessage
from pbxrouter.config import Config
from pbxrouter.doctor.dialplan_lines import reach_of
from pbxrouter.doctor.fallback import leaves_house
from pbxrouter.doctor.finding import Finding, ok, unknown, wrong
from pbxrouter.doctor.probe import AsteriskProbe
from pbxrouter.errors import ActionFailed
from pbxrouter.text import Sentence, printable, sentence

MAX_ASKED: Final = 1000
"""Endpoints that an Asterisk is asked about."""
NAMED: Final = 5
"""How many places, or endpoints, one finding names."""

_OWN_PLACES: Final = re.compile(r"pbxrouter-.*|park-dial|parkedcalls")
"""Contexts of the shipped dialplan, and of Asterisk's own parking."""
_FORWARDS: Final = frozenset("tTkKFgG")
"""Options of Dial() by which a party forwards a call, or goes on in the dialplan; docs/transfers.md."""
_UNSET: Final = ("", "<unknown>", '"" <>')


def letters(options: str) -> set[str]:
    """The letters of Dial()'s options, without their arguments."""
    return {letter for letter in option_letters(options) if letter.isalpha()}


def forwarding_options(options: str) -> set[str]:
    """Those of Dial()'s options by which a party forwards a call, or goes on in the dialplan."""
    return letters(options) & _FORWARDS


def check_options(config: Config, area: Sentence) -> Iterable[Finding]:
    """Name the settings under ``[dial]`` by which parties forward calls."""
    found = forwarding_options(config.dial.options)
    if found:
        yield unknown(
            area,
            sentence(
                "dial.options has {options}: parties of a call, outsiders among them, can forward it by keys, or go on "
                "in the dialplan",
                options=", ".join(sorted(found)),
            ),
            sentence("docs/transfers.md tells whom each option lets do what; leave out what is not wanted"),
        )
    if config.dial.forwarding:
        yield unknown(
            area,
            Sentence(
                "forwarding = true: a called phone that forwards by SIP 302 can name a channel, such as "
                "Local/600@outside or PJSIP/600@trunk, which Asterisk calls past the dialplan and the gateway"
            ),
            Sentence("set forwarding = false under [dial], unless all called phones are trusted (docs/transfers.md)"),
        )


async def check_forwarding(
    probe: AsteriskProbe, config: Config, area: Sentence, endpoints: Collection[str]
) -> list[Finding]:
    """Check an Asterisk's endpoints and the Dial()s of its dialplan.

    Args:
        endpoints: those that the settings and the rules name, such as ``PJSIP/33``.
    """
    try:
        lines = await probe.protocol.action_list("ShowDialPlan")
    except ActionFailed as error:
        why = sentence("the dialplan cannot be read: {why}", why=error.sentence)
        return [unknown(area, why, sentence("type in Asterisk: {command}", command="dialplan show"))]
    targets, found = _dials(lines, config, area)
    return [*found, *await _endpoints(probe, config, area, [*endpoints, *targets])]


def _dials(lines: Iterable[AMIMessage], config: Config, area: Sentence) -> tuple[list[str], list[Finding]]:
    """The endpoints that the dialplan's own lines dial, and the findings about their options."""
    targets: dict[str, None] = {}
    by_keys: list[str] = []
    forwarding: list[str] = []
    for item in lines:
        if _OWN_PLACES.fullmatch(item.get("Context")):
            continue
        reach = reach_of(item.get("Application"), item.get("AppData"), {})
        phones = [target for target in reach.targets if not leaves_house(target, config.trunks)]
        targets.update(dict.fromkeys(target for target in reach.targets if "$" not in target))
        place = f"{printable(item.get('Extension'))}@{printable(item.get('Context'))}"
        given = [letters(options) for options in reach.options]
        if any(options & set("tTkK") for options in given):
            by_keys.append(place)
        if phones and any("i" not in options for options in given):
            forwarding.append(place)
    findings = []
    if by_keys:
        findings.append(
            unknown(
                area,
                sentence(
                    "Dial() has t, T, k or K at {places}: a party of the call can forward it by keys",
                    places=_named(by_keys),
                ),
                sentence("docs/transfers.md tells whom each option lets do what; leave out what is not wanted"),
            )
        )
    if forwarding and not config.dial.forwarding:
        findings.append(
            unknown(
                area,
                sentence(
                    "Dial() has no option i at {places}: a phone called there can forward the call by SIP 302",
                    places=_named(forwarding),
                ),
                Sentence("add i to its options, or set forwarding = true under [dial] if that is wanted"),
            )
        )
    if not findings:
        findings.append(ok(area, Sentence("no Dial() of the dialplan lets a party forward its call")))
    return list(targets), findings


async def _endpoints(probe: AsteriskProbe, config: Config, area: Sentence, endpoints: Iterable[str]) -> list[Finding]:
    """Read the settings of PJSIP endpoints."""
    listed = await _listed(probe)
    names = dict.fromkeys(name.partition("/")[0] for name in listed or ())
    for endpoint in endpoints:
        technology, _, name = endpoint.partition("/")
        if technology.lower() == "pjsip" and re.fullmatch(r"[^@/,(){}$]+", name):
            names[name] = None
    by_itself: list[str] = []
    past: list[str] = []
    trusting: list[str] = []
    any_number: list[str] = []
    known, unread = 0, max(0, len(names) - MAX_ASKED)
    for name in list(names)[:MAX_ASKED]:
        method = await probe.variable(f"PJSIP_ENDPOINT({name},redirect_method)")
        unread += method is None
        if not method:
            continue
        known += 1
        endpoint = f"PJSIP/{name}"
        by_itself += [endpoint] if method == "uri_pjsip" else []
        past += [endpoint] if method == "uri_core" else []
        if endpoint not in config.trunks:
            trusts = await probe.variable(f"PJSIP_ENDPOINT({name},trust_id_inbound)")
            trusting += [endpoint] if trusts in ("true", "yes") else []
            shown = await probe.variable(f"PJSIP_ENDPOINT({name},callerid)")
            any_number += [endpoint] if shown in _UNSET else []
    if not known:
        return [
            unknown(
                area,
                Sentence("the settings of PJSIP endpoints cannot be read: redirect_method, trust_id_inbound, callerid"),
                sentence("type in Asterisk: {command}", command="pjsip show endpoint 33"),
            )
        ]
    findings = []
    if by_itself:
        findings.append(
            wrong(
                area,
                sentence(
                    "with redirect_method = uri_pjsip Asterisk itself calls where {endpoints} forwards to: no option "
                    "of Dial() stops it, and the gateway is not asked, or is asked as if the caller had dialled",
                    endpoints=_named(by_itself),
                ),
                Sentence("in pjsip.conf: redirect_method = user (docs/transfers.md)"),
            )
        )
    if past:
        says = wrong if config.dial.forwarding else unknown
        findings.append(
            says(
                area,
                sentence(
                    "with redirect_method = uri_core a Dial() without option i calls the address that {endpoints} "
                    "forwards to, past the dialplan and the gateway",
                    endpoints=_named(past),
                ),
                Sentence("in pjsip.conf: redirect_method = user (docs/transfers.md)"),
            )
        )
    if trusting or any_number:
        findings.append(
            unknown(
                area,
                sentence(
                    "a phone at {endpoints} can send any caller number (no callerid, or trust_id_inbound = yes); "
                    "it gets the grants of each extension of that number that is not tied to an endpoint",
                    endpoints=_named(dict.fromkeys([*trusting, *any_number])),
                ),
                Sentence(
                    'in pjsip.conf: callerid = "Name" <33> and trust_id_inbound = no; name trunks in the settings; or '
                    "tie each extension to its endpoint: pbxrouter endpoint 33 PJSIP/33"
                ),
            )
        )
    if unread:
        findings.append(
            unknown(
                area,
                sentence(
                    "PJSIP endpoints whose settings were not read: {count} of {all}", count=unread, all=len(names)
                ),
                sentence("type in Asterisk: {command}", command="pjsip show endpoint 33"),
            )
        )
    if not findings:
        findings.append(ok(area, sentence("{count} PJSIP endpoints forward by the dialplan only", count=known)))
    if listed is None:
        findings.append(
            unknown(
                area,
                sentence(
                    "only the {count} PJSIP endpoints that settings, rules and dialplan name were looked at: the AMI "
                    "user cannot list all",
                    count=known,
                ),
                Sentence(
                    "load res_manager_devicestate.so in Asterisk, or type there: pjsip show endpoints; each must have "
                    "redirect_method = user, callerid, and trust_id_inbound = no"
                ),
            )
        )
    return findings


async def _listed(probe: AsteriskProbe) -> list[str] | None:
    """The names of all PJSIP endpoints; None if the user may not list them.

    PJSIPShowEndpoints needs the class system, which the gateway's user should not have; DeviceStateList needs call or
    reporting, and the module res_manager_devicestate.
    """
    with contextlib.suppress(ActionFailed):
        items = await probe.protocol.action_list("PJSIPShowEndpoints")
        return [item.get("ObjectName") for item in items if item.get("ObjectName")]
    with contextlib.suppress(ActionFailed):
        devices = [item.get("Device") for item in await probe.protocol.action_list("DeviceStateList")]
        return [device.partition("/")[2] for device in devices if device.startswith("PJSIP/")] or None
    return None


def _named(places: Iterable[str]) -> str:
    every = list(dict.fromkeys(places))
    return ", ".join(every[:NAMED]) + (f", … ({len(every)})" if len(every) > NAMED else "")
