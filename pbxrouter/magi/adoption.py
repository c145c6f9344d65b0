"""Adopts calls that were already waiting in AGI(agi:async), as after a restart of the gateway.

They are found in the list of channels; what AsyncAGIStart would have told is queried. The variable
``PBXROUTER`` tells how far an earlier gateway came: a call whose application has run is not routed
again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from pbxrouter.agi import AGAIN, BOUNDED, NOT_SHOWN, AGIRequest, command, decode, parse_request
from pbxrouter.ami import AMIMessage, is_whole
from pbxrouter.errors import ProtocolViolation
from pbxrouter.magi.channel import MagiChannel
from pbxrouter.magi.wire import BLOCK_END, piece

SPENT: Final = frozenset({"dialling", "done", "failed", "refused"})
"""Values of PBXROUTER for calls to give back: the application has run, or the call was refused."""
NOT_BEGUN: Final = frozenset({"", "asked"})
"""Values of PBXROUTER for calls that no gateway has begun to serve."""

_ASKED: Final = (
    ("callerid", "${CALLERID(num)}"),
    ("calleridname", "${CALLERID(name)}"),
    ("dnid", "${CALLERID(dnid)}"),
    ("rdnis", "${CALLERID(rdnis)}"),
    ("extension", "${EXTEN}"),
)


def is_waiting(item: AMIMessage, contexts: Collection[str]) -> bool:
    """Whether an item of CoreShowChannels is a call in AGI(agi:async) in one of the contexts."""
    return (
        b"agi:async" in item.raw
        and may_be_waiting(item, contexts)
        and item.get("Application") == "AGI"
        and item.get("ApplicationData").partition(",")[0] == "agi:async"
    )


def may_be_waiting(item: AMIMessage, contexts: Collection[str]) -> bool:
    """Whether it may be such a call: after an EXEC the list keeps naming that application."""
    return item.get("Context") in contexts and is_whole(item, "Application", "ApplicationData")


def is_bounded(item: AMIMessage) -> bool:
    """Whether the dialplan of a call in a list of channels leaves its time limit to the gateway."""
    return any(text.startswith(f"{BOUNDED}=") for text in item.get("ApplicationData").split(",")[1:])


def is_second_turn(item: AMIMessage) -> bool:
    """Whether the dialplan of a call in a list of channels has asked about it before, and was given no decision."""
    return any(text.startswith(f"{AGAIN}=") for text in item.get("ApplicationData").split(",")[1:])


def agrees_with(status: AMIMessage, event: AMIMessage) -> bool:
    """Whether a channel's status has the same caller and number as its AsyncAGIStart and the block in it.

    A block that is not as Asterisk writes it agrees, for the call to be refused.
    """
    if not is_whole(status) or any(status.get(name) != event.get(name) for name in ("Uniqueid", "Context", "Exten")):
        return False
    env = piece(event.get("Env"))
    lines = decode(env.data).split("\n")
    facts = {"callerid": status.get("CallerIDNum"), "context": status.get("Context"), "extension": status.get("Exten")}
    if status.all("DNID"):
        facts["dnid"] = status.get("DNID")
    for name, value in facts.items():
        if value in ("", "<unknown>"):
            value = NOT_SHOWN
        found = [line for line in lines if line.startswith(f"agi_{name}: ")]
        if found != [f"agi_{name}: {value}"] and not (env.more and not found):
            return not is_block(event)
    return True


def has_gone_on(status: AMIMessage, event: AMIMessage) -> bool:
    """Whether a channel may have been in AGI(agi:async) as its event says, and is there no longer by its status.

    In a flood of calls events come late: the dialplan has gone on without the gateway by then, which is no forgery.
    """
    application = status.get("Application")
    return (
        is_whole(status)
        and application not in ("", "AGI")
        and all(status.get(name) == event.get(name) for name in ("Uniqueid", "Channel", "CallerIDNum"))
    )


def is_block(event: AMIMessage) -> bool:
    """Whether the opening block in an AsyncAGIStart is as Asterisk writes it, as far as it came."""
    env = piece(event.get("Env"))
    if env.more:
        return True
    try:
        parse_request(env.data.removesuffix(BLOCK_END))
    except ProtocolViolation:
        return False
    return True


def request_so_far(item: AMIMessage) -> AGIRequest:
    """The part of the request that a channel's event or list item contains."""
    found = {name.lower(): item.get(name) for name in ("Channel", "Language", "Uniqueid", "Context")}
    return AGIRequest({"request": "async", **found})


async def mark_of(call: MagiChannel) -> str:
    """Read how far an earlier gateway came. Fails as ``Channel.execute`` does."""
    return (await call.execute(command("GET VARIABLE", "PBXROUTER"))).data or ""


async def whole_request(call: MagiChannel, bounded: Callable[[], object] = lambda: None) -> AGIRequest:
    """Query the rest of a call's opening block. Fails as ``Channel.execute`` does.

    Args:
        bounded: called as soon as the call's arguments are known: its time limit may run out meanwhile.
    """
    argument = await call.execute(command("GET VARIABLE", "PBXROUTER_BOUNDED"))
    arguments = tuple(argument.data.split(",")) if argument.data else ()
    variables = dict(call.request.variables)
    call.request = AGIRequest(variables, arguments)
    bounded()
    for name, expression in _ASKED:
        reply = await call.execute(command("GET FULL VARIABLE", expression))
        variables[name] = reply.data or NOT_SHOWN
    return AGIRequest(variables, arguments)
