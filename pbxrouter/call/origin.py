"""Finds out by which endpoint a call came, and who sent it on.

Asterisk says in channel variables who sent a call on: ``FORWARDERNAME`` on the leg that it makes for a forward (SIP
302), ``BLINDTRANSFER`` and ``TRANSFERERNAME`` after a transfer, ``PARKER`` for a parked call. A caller cannot set any
of them. ``agi_rdnis`` is a claim: it is taken from an INVITE's Diversion header without any check.

A Local channel has no endpoint: it inherits that of the call's first channel. The gateway leaves
``PBXROUTER_SENT_ON_BY`` to the legs that a Dial of its own makes, since Asterisk's variables do not go on to them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from pbxrouter.agi import NOT_SHOWN, Channel, command
from pbxrouter.rules import Party
from pbxrouter.security import endpoint_of

SENT_ON_BY: Final = "PBXROUTER_SENT_ON_BY"
"""The variable by which the legs of a Dial know who sent the call on: endpoints, joined by ``&``."""
_OWN: Final = ("BLINDTRANSFER", "TRANSFERERNAME", "FORWARDERNAME", "PARKER")
_INHERITED: Final = (*_OWN, SENT_ON_BY)
_UNIQUEID: Final = re.compile(r"[A-Za-z0-9._-]+")
_ENDPOINT: Final = re.compile(r"[\w./:@+-]+", re.ASCII)
UNKNOWN: Final = "unknown"
"""Stands for the endpoint of a party whose channel name cannot be read; no extension is tied to it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a call came from.

    Attributes:
        endpoint: such as ``PJSIP/33``; ``""`` if it is not known.
        by_trunk: whether that is one of the trunks.
        sent_on_by: the parties that sent the call on, as Asterisk tells.
        claimed: a party that the call merely claims to have been sent on by.
    """

    endpoint: str = ""
    by_trunk: bool = False
    sent_on_by: tuple[Party, ...] = ()
    claimed: Party | None = None


async def origin_of(channel: Channel, trunks: Collection[str]) -> Origin:
    """Ask Asterisk for a call's origin: one command, for a Local channel two. Fails as ``Channel.execute`` does.

    Args:
        trunks: endpoints whose callers are outsiders.
    """
    request = channel.request
    endpoint = endpoint_of(request.channel)
    names = _INHERITED if endpoint else (*_INHERITED, "CHANNEL(linkedid)")
    values = await _variables(channel, names)
    if values is None:
        senders = [UNKNOWN]
    else:
        senders = _senders(values)
        linkedid = values.get("CHANNEL(linkedid)", "")
        if linkedid != request.uniqueid and _UNIQUEID.fullmatch(linkedid):
            first = await _variables(channel, ("CHANNEL", *_INHERITED), linkedid)
            if first is not None:
                endpoint = endpoint_of(first["CHANNEL"])
                senders = senders or _senders(first)
    sent_on_by = tuple(Party(sender, is_trunk=sender in trunks) for sender in senders)
    rdnis = request.variables.get("rdnis", NOT_SHOWN)
    claimed = None if sent_on_by or rdnis in ("", NOT_SHOWN) else Party(number=rdnis)
    return Origin(endpoint, endpoint in trunks, sent_on_by, claimed)


def inherited(parties: Iterable[Party]) -> str:
    """The value of SENT_ON_BY that tells the legs of a Dial who sent the call on."""
    return "&".join(dict.fromkeys(_readable(party.endpoint) for party in parties))


async def _variables(channel: Channel, names: Collection[str], uniqueid: str = "") -> dict[str, str] | None:
    """Variables of a channel in one command; all empty if there is no such channel, None if they cannot be told apart.

    Args:
        uniqueid: of another channel; by default the call's own is meant.
    """
    expression = ",".join(f"${{{name}}}" for name in names)
    reply = await channel.execute(command("GET FULL VARIABLE", expression, *([uniqueid] if uniqueid else [])))
    if reply.result != "1" or reply.data is None:
        return dict.fromkeys(names, "")
    values = reply.data.split(",")
    return dict(zip(names, values, strict=True)) if len(values) == len(names) else None


def _senders(values: dict[str, str]) -> list[str]:
    """The endpoints that sent a call on, each once; the inherited ones count if the channel has none of its own."""
    own = [values[name] for name in _OWN if values[name]]
    channels = own or [name for name in values[SENT_ON_BY].split("&") if name]
    return list(dict.fromkeys(_readable(endpoint_of(name)) for name in channels))


def _readable(endpoint: str) -> str:
    return endpoint if _ENDPOINT.fullmatch(endpoint) else UNKNOWN
