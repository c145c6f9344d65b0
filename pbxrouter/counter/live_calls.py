"""All calls in progress, each once: what the gateway does with it, and what AMI knows of it.

A call of the gateway's is one of AMI's if its channel is part of that.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

from pbxrouter.call import ActiveCalls, GatewayCall, Phase, short
from pbxrouter.counter.call_table import LiveCall


class CallsOnAMI(Protocol):
    """What is needed of counter.service.CallCounter."""

    @property
    def asterisk(self) -> str:
        """Its name in the configuration."""
        ...

    @property
    def in_sync(self) -> bool:
        """Whether what is known of its calls is so just now."""
        ...

    @property
    def changes(self) -> int:
        """Another number whenever its calls may have changed."""
        ...

    @property
    def live(self) -> Collection[LiveCall]:
        """The calls in progress, as far as known."""
        ...

    def call_of(self, uniqueid: str) -> LiveCall | None:
        """The call that a channel is part of; None if the channel is not known."""
        ...


@dataclass(frozen=True, slots=True)
class CallView:
    """One call in progress, whoever knows of it; all texts are printable.

    Attributes:
        key: tells it from the others, and stays the same as long as the same ones know of it.
        asterisk: its Asterisk's name; ``""`` if AMI does not know the call.
        caller: ``""`` if it shows none; so is the caller's name.
        number: ``""`` if not known.
        pattern: of the mapping that it takes; ``""`` if none, or not known.
        application: of the mapping; ``""`` once the gateway is done with the call; so is data.
        granted_by: extension or user whose grant allowed it; ``""`` if not known.
        since: when it began, epoch seconds.
        answered: when two sides began to talk, epoch seconds; None if they do not, or AMI cannot tell.
        in_gateway: whether the gateway has it in hand.
    """

    key: str
    asterisk: str
    caller: str
    caller_name: str
    number: str
    pattern: str
    application: str
    data: str
    granted_by: str
    since: float
    answered: float | None
    phase: Phase
    in_gateway: bool


@dataclass(frozen=True, slots=True)
class LiveCalls:
    """The newest of the calls in progress, newest first, and how many are known in all."""

    calls: tuple[CallView, ...]
    total: int


@dataclass(frozen=True, slots=True)
class _Found:
    """A call before it is shown: the gateway's part of it, AMI's, or both."""

    since: float
    asterisk: str
    gateway: GatewayCall | None
    ami: LiveCall | None


def live_version(active_calls: ActiveCalls, counters: Iterable[CallsOnAMI]) -> tuple[int, ...]:
    """Another value whenever live_calls may give another answer; costs next to nothing."""
    return (active_calls.version, *(counter.changes * 2 + counter.in_sync for counter in counters))


def live_calls(active_calls: ActiveCalls, counters: Iterable[CallsOnAMI], limit: int) -> LiveCalls:
    """What the gateway and AMI know of the calls in progress, each call once.

    Calls that only AMI knows are left out while it cannot be seen whether they go on. Where the
    gateway has a hand in one call several times (a Local channel that comes back), the first
    tells what the caller wanted.

    Args:
        limit: most calls to show.
    """
    counters = tuple(counters)
    found: list[_Found] = []
    merged: set[int] = set()
    for gateway in active_calls.calls:  # the oldest first
        for counter in counters:
            ami = counter.call_of(gateway.uniqueid)
            if ami is not None:
                if id(ami) not in merged:
                    merged.add(id(ami))
                    found.append(_Found(min(gateway.since, ami.started), counter.asterisk, gateway, ami))
                break
        else:
            found.append(_Found(gateway.since, "", gateway, None))
    for counter in counters:
        if counter.in_sync:
            found += [_Found(ami.started, counter.asterisk, None, ami) for ami in counter.live if id(ami) not in merged]
    newest = heapq.nlargest(limit, found, key=attrgetter("since"))
    return LiveCalls(tuple(map(_shown, newest)), len(found))


def _shown(found: _Found) -> CallView:
    gateway, ami = found.gateway, found.ami
    answered = ami.answered if ami else None
    if gateway is None:
        assert ami is not None  # somebody knows of it
        phase = Phase.OUTSIDE if answered is None else Phase.TALKING
        pattern = min((name for kind, name in ami.labels if kind == "mapping"), default="")
        return CallView(
            f"{found.asterisk}/{ami.linkedid}",
            found.asterisk,
            short(ami.caller),
            "",
            short(ami.number),
            short(pattern),
            "",
            "",
            "",
            found.since,
            answered,
            phase,
            in_gateway=False,
        )
    phase = gateway.phase
    if phase is Phase.RUNNING and answered is not None:
        phase = Phase.TALKING
    return CallView(
        f"{found.asterisk}/{ami.linkedid}" if ami else f"/{gateway.uniqueid}/{gateway.serial}",
        found.asterisk,
        gateway.caller or (short(ami.caller) if ami else ""),
        gateway.caller_name,
        gateway.number or (short(ami.number) if ami else ""),
        gateway.pattern,
        gateway.application,
        gateway.data,
        gateway.granted_by,
        found.since,
        answered,
        phase,
        in_gateway=True,
    )
