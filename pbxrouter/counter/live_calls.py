"""Merges the gateway's calls in progress with those known from AMI, each call once.

A call of the gateway and a call on AMI are the same if the call on AMI contains the gateway's channel. Two Asterisks
may have channels with equal Uniqueids: where it is not known from which of them the gateway's call came, it stays
alone.
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
    """The part of CallCounter that is used here."""

    @property
    def asterisk(self) -> str:
        """The Asterisk's name in the configuration."""
        ...

    @property
    def in_sync(self) -> bool:
        """Whether its calls are completely known now."""
        ...

    @property
    def changes(self) -> int:
        """A number that changes whenever its calls may have changed."""
        ...

    @property
    def live(self) -> Collection[LiveCall]:
        """The known calls in progress."""
        ...

    def call_of(self, uniqueid: str) -> LiveCall | None:
        """The call of a channel; None if the channel is not known."""
        ...


@dataclass(frozen=True, slots=True)
class CallView:
    """One call in progress, from the gateway, AMI or both. All texts are printable.

    Attributes:
        key: unique among the calls; stable as long as its sources stay the same.
        asterisk: name of its Asterisk; ``""`` if that is not known.
        caller: caller number, ``""`` if there is none; likewise the caller's name.
        number: dialled number, ``""`` if unknown.
        pattern: pattern of its mapping; ``""`` if none or unknown.
        application: application of its mapping; ``""`` once the gateway is done with the call; likewise data.
        granted_by: extension or user whose grant allowed it; ``""`` if not known.
        forwarded_by: who forwarded the call, proven or claimed; ``""`` if it was not forwarded, or not known.
        since: when it began, epoch seconds.
        answered: when two channels were bridged, epoch seconds; None if they were not or it is unknown.
        in_gateway: whether the gateway is serving it.
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
    forwarded_by: str
    since: float
    answered: float | None
    phase: Phase
    in_gateway: bool


@dataclass(frozen=True, slots=True)
class LiveCalls:
    """Some of the calls in progress, and the number of all known.

    Attributes:
        start: number of calls that come before these.
    """

    calls: tuple[CallView, ...]
    total: int
    start: int = 0


@dataclass(frozen=True, slots=True)
class _Found:
    """A call's parts: the gateway's, AMI's, or both."""

    since: float
    asterisk: str
    gateway: GatewayCall | None
    ami: LiveCall | None


def live_version(active_calls: ActiveCalls, counters: Iterable[CallsOnAMI]) -> tuple[int, ...]:
    """A cheap version value that changes whenever the result of ``live_calls`` may change."""
    return (active_calls.version, *(counter.changes * 2 + counter.in_sync for counter in counters))


def live_calls(
    active_calls: ActiveCalls,
    counters: Iterable[CallsOnAMI],
    limit: int,
    start: int = 0,
    oldest_first: bool = False,
) -> LiveCalls:
    """Merge the calls in progress that the gateway and AMI know, each call once; the newest come first.

    Calls that only AMI knows are left out while the connection is lost. If the gateway serves one call
    several times (a Local channel that comes back), the first tells what the caller dialled.

    Args:
        limit: maximum number of calls returned.
        start: number of calls to leave out; beyond the last call the last page is returned.
        oldest_first: return the oldest first.
    """
    counters = tuple(counters)
    found: list[_Found] = []
    merged: set[int] = set()
    for gateway in active_calls.calls:  # the oldest first
        known = [
            (counter.asterisk, ami)
            for counter in counters
            if gateway.asterisk in ("", counter.asterisk) and (ami := counter.call_of(gateway.uniqueid)) is not None
        ]
        if len(known) != 1:
            found.append(_Found(gateway.since, gateway.asterisk, gateway, None))
            continue
        asterisk, ami = known[0]
        if id(ami) not in merged:
            merged.add(id(ami))
            found.append(_Found(min(gateway.since, ami.started), asterisk, gateway, ami))
    for counter in counters:
        if counter.in_sync:
            found += [_Found(ami.started, counter.asterisk, None, ami) for ami in counter.live if id(ami) not in merged]
    if start and limit:
        start = min(start, max(0, len(found) - 1) // limit * limit)
    select = heapq.nsmallest if oldest_first else heapq.nlargest
    chosen = select(start + limit, found, key=attrgetter("since"))[start:]
    return LiveCalls(tuple(map(_shown, chosen)), len(found), start)


def _shown(found: _Found) -> CallView:
    gateway, ami = found.gateway, found.ami
    answered = ami.answered if ami else None
    if gateway is None:
        assert ami is not None  # it is in at least one of the two sources
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
        gateway.forwarded_by,
        found.since,
        answered,
        phase,
        in_gateway=True,
    )
