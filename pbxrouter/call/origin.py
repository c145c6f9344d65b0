"""Finds out by which endpoint a call came, and who forwarded it.

Asterisk says in channel variables who forwarded a call: ``BLINDTRANSFER`` after a blind transfer, ``PARKER`` on a
call that comes back from parking, ``FORWARDERNAME`` on the leg that it makes for a forward (SIP 302),
``TRANSFERERNAME`` on the one that it makes for an attended transfer by keys. A caller cannot set any of them.
``agi_rdnis`` is a claim: it is taken from an INVITE's Diversion header without any check.

They are variables of one channel, and a Dial's legs do not inherit them. So the gateway leaves
``PBXROUTER_FORWARDED_BY``, which the legs inherit, with the Uniqueid of the channel that it was set on. A Local channel
has no endpoint: it inherits that of the channel that made it, which is the one named there, or else the call's first.

While a caller is asked for the number, another phone can take the call up, by an attended transfer or by an INVITE with
Replaces. Then the channel has that phone's name, and that phone, which keyed the number, answers for the call.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from pbxrouter.agi import NOT_SHOWN, Channel, command
from pbxrouter.rules import Forwarder
from pbxrouter.security import as_written, endpoint_of

FORWARDED_BY: Final = "PBXROUTER_FORWARDED_BY"
"""The variable by which the legs of a Dial know who forwarded the call: a Uniqueid and endpoints, joined by ``&``."""
_OWN: Final = ("BLINDTRANSFER", "TRANSFERERNAME", "FORWARDERNAME", "PARKER")
_LATEST_FIRST: Final = ("BLINDTRANSFER", "PARKER", "FORWARDERNAME", "TRANSFERERNAME")
"""Asterisk clears the first and the third as a channel enters a bridge: each is younger than those behind it."""
_INHERITED: Final = (*_OWN, FORWARDED_BY)
_HOPS_LEFT: Final = "CHANNEL(max_forwards)"
_HOPS: Final = re.compile(r"-?[0-9]{1,9}", re.ASCII)
_UNIQUEID: Final = re.compile(r"[A-Za-z0-9._-]+")
_ENDPOINT: Final = re.compile(r"[\w./:@+-]+", re.ASCII)
MAX_VALUES: Final = 10_000
"""Characters of all values together, and so of the endpoints that a call's legs inherit."""
MAX_PARTIES: Final = 50
"""Parties that sent one call on; of more it is not known who they are."""
UNKNOWN: Final = "unknown"
"""Stands for the endpoint of a forwarder whose channel name cannot be read; no extension is tied to it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a call came from.

    Attributes:
        endpoint: such as ``PJSIP/33``; ``""`` if it is not known.
        by_trunk: whether that is one of the trunks.
        forwarders: who forwarded the call, as Asterisk tells.
        claimed_forwarder: who forwarded the call by its own claim, without proof.
        has_leftover: whether the channel holds a FORWARDED_BY of the call that it was dialled for, which says nothing
            about a call of its own.
    """

    endpoint: str = ""
    by_trunk: bool = False
    forwarders: tuple[Forwarder, ...] = ()
    claimed_forwarder: Forwarder | None = None
    has_leftover: bool = False


async def origin_of(channel: Channel, trunks: Collection[str]) -> Origin:
    """Ask Asterisk for a call's origin: one command, for a Local channel two. Fails as ``Channel.execute`` does.

    Args:
        trunks: endpoints whose callers are outsiders.
    """
    request = channel.request
    endpoint = as_written(endpoint_of(request.channel))
    names = _INHERITED if endpoint else (*_INHERITED, "CHANNEL(linkedid)", _HOPS_LEFT)
    values = await _variables(channel, names)
    forwarded_by = [UNKNOWN] if values is None else _own_forwarder(values)
    has_leftover = False
    if values is not None and not forwarded_by:
        uniqueid, left = _left(values[FORWARDED_BY])
        if uniqueid == request.uniqueid or (left and not uniqueid):
            forwarded_by = left
        elif endpoint:
            has_leftover = bool(left)
        else:
            maker = uniqueid or values["CHANNEL(linkedid)"]
            if maker != request.uniqueid and _UNIQUEID.fullmatch(maker):
                endpoint, forwarded_by = await _of_maker(channel, maker, left, values[_HOPS_LEFT])
    forwarders = tuple(Forwarder(name, is_trunk=name in trunks) for name in forwarded_by)
    rdnis = _rdnis(channel)
    claimed_forwarder = None if forwarders or not rdnis else Forwarder(number=rdnis)
    return Origin(endpoint, endpoint in trunks, forwarders, claimed_forwarder, has_leftover)


async def taken_up(channel: Channel, origin: Origin, trunks: Collection[str]) -> Origin:
    """The origin of a call whose caller was asked for the number; if another has taken it up since, that party's.

    One command. Fails as ``Channel.execute`` does.

    Args:
        origin: before the caller was asked.
        trunks: endpoints whose callers are outsiders.
    """
    values = await _variables(channel, ("CHANNEL",))
    name = "" if values is None else values["CHANNEL"]
    if name == channel.request.channel:
        return origin
    endpoint = _readable(as_written(endpoint_of(name)))
    return Origin(endpoint, endpoint in trunks, (Forwarder(endpoint, is_trunk=endpoint in trunks),))


def inherited(uniqueid: str, forwarders: Iterable[Forwarder]) -> str:
    """The value of FORWARDED_BY that tells the legs of a Dial who forwarded the call.

    Args:
        uniqueid: of the channel that dials.
    """
    return "&".join((uniqueid, *dict.fromkeys(_readable(forwarder.endpoint) for forwarder in forwarders)))


async def _of_maker(channel: Channel, uniqueid: str, left: list[str], hops_left: str) -> tuple[str, list[str]]:
    """The endpoint of the channel that made a Local channel, and who forwarded its call.

    It may be another channel that made it. One that is gone proves nothing, nor does one whose caller number differs,
    nor one that is further away while the call shows who redirected it: a leg between may be that of a forward.

    Args:
        channel: the Local channel.
        uniqueid: of the channel that made it.
        left: the endpoints that the Local channel inherited.
        hops_left: of the Local channel; each Dial takes one away.
    """
    maker = await _variables(channel, ("CHANNEL", "CALLERID(num)", _HOPS_LEFT, *_INHERITED), uniqueid)
    if maker is None or not maker["CHANNEL"]:
        return "", [UNKNOWN]
    if _rdnis(channel) and not _is_next(maker[_HOPS_LEFT], hops_left):
        return endpoint_of(maker["CHANNEL"]), [UNKNOWN]
    setter, its_left = _left(maker[FORWARDED_BY])
    forwarded_by = _own_forwarder(maker) or left or (its_left if setter == uniqueid else [])
    caller = channel.request.caller
    if forwarded_by and maker["CALLERID(num)"] != ("" if caller is None or caller == NOT_SHOWN else caller):
        forwarded_by = [UNKNOWN]
    return endpoint_of(maker["CHANNEL"]), forwarded_by


async def _variables(channel: Channel, names: Collection[str], uniqueid: str = "") -> dict[str, str] | None:
    """Variables of a channel in one command; all empty if there is no such channel, None if they cannot be told apart.

    Args:
        uniqueid: of another channel; by default the call's own is meant.
    """
    expression = ",".join(f"${{{name}}}" for name in names)
    reply = await channel.execute(command("GET FULL VARIABLE", expression, *([uniqueid] if uniqueid else [])))
    if reply.result != "1" or reply.data is None:
        return dict.fromkeys(names, "")
    if len(reply.data) > MAX_VALUES:  # cut, it would name fewer parties
        return None
    values = reply.data.split(",", len(names))
    return dict(zip(names, values, strict=True)) if len(values) == len(names) else None


def _rdnis(channel: Channel) -> str:
    """The number that redirected the call, as far as it shows one.

    One with a slash is not named: it would look like an endpoint, which is proven.
    """
    rdnis = channel.request.variables.get("rdnis", NOT_SHOWN)
    return "" if rdnis == NOT_SHOWN else UNKNOWN if "/" in rdnis else rdnis


def _is_next(hops_before: str, hops_after: str) -> bool:
    """Whether one Dial lies between two channels."""
    return (
        _HOPS.fullmatch(hops_before) is not None
        and _HOPS.fullmatch(hops_after) is not None
        and int(hops_before) - int(hops_after) == 1
    )


def _own_forwarder(values: dict[str, str]) -> list[str]:
    """The endpoint that Asterisk names as the last that forwarded a call; none if the call was not forwarded."""
    name = next((name for name in _LATEST_FIRST if values[name]), None)
    if name is None:
        return []
    return [_readable(values[name] if name == "PARKER" else endpoint_of(values[name]))]  # PARKER is an endpoint


def _left(value: str) -> tuple[str, list[str]]:
    """The parts of FORWARDED_BY: the Uniqueid, ``""`` if there is none, and the endpoints."""
    if not value:
        return "", []
    uniqueid, *endpoints = value.split("&", MAX_PARTIES + 1)
    if not 0 < len(endpoints) <= MAX_PARTIES or not _UNIQUEID.fullmatch(uniqueid):
        return "", [UNKNOWN]
    return uniqueid, list(dict.fromkeys(_readable(endpoint) for endpoint in endpoints))


def _readable(endpoint: str) -> str:
    return endpoint if _ENDPOINT.fullmatch(endpoint) else UNKNOWN
