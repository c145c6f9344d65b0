"""Calls that wait in AGI(agi:async) and were never told to us, as after a restart of ours.

A list of channels names them; what else AsyncAGIStart would have said is asked. What an
earlier gateway left in ``PBXROUTER`` tells how far it came: a call whose application
has run is not routed again.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from pbxrouter.agi import NOT_SHOWN, AGIRequest, command
from pbxrouter.ami import AMIMessage, is_whole
from pbxrouter.magi.channel import MagiChannel

SPENT: Final = frozenset({"dialling", "done", "failed", "refused"})
"""PBXROUTER of a call whose application has run, or that was refused: the dialplan's turn."""

_ASKED: Final = (
    ("callerid", "${CALLERID(num)}"),
    ("calleridname", "${CALLERID(name)}"),
    ("dnid", "${CALLERID(dnid)}"),
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
    """Whether it could be one: once an EXEC has run, the list names that application for ever."""
    return item.get("Context") in contexts and is_whole(item, "Application", "ApplicationData")


def request_so_far(item: AMIMessage) -> AGIRequest:
    """What a channel's event, or an item of that list, tells of it."""
    told = {name.lower(): item.get(name) for name in ("Channel", "Language", "Uniqueid", "Context")}
    return AGIRequest({"request": "async", **told})


async def mark_of(call: MagiChannel) -> str:
    """How far an earlier gateway came; fails as ``Channel.execute``."""
    return (await call.execute(command("GET VARIABLE", "PBXROUTER"))).data or ""


async def whole_request(call: MagiChannel) -> AGIRequest:
    """The rest of what a call's opening block would have told; fails as ``Channel.execute``."""
    variables = dict(call.request.variables)
    for name, expression in _ASKED:
        reply = await call.execute(command("GET FULL VARIABLE", expression))
        variables[name] = reply.data or NOT_SHOWN
    bounded = await call.execute(command("GET VARIABLE", "PBXROUTER_BOUNDED"))
    return AGIRequest(variables, (bounded.data,) if bounded.data else ())
