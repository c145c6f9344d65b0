"""The table of calls in progress, kept from AMI events by the rule of docs/asterisk.md B6.

A call is all channels with one Linkedid. Events and times go in; the listener is told when a call
starts, is answered, ends. After a lost connection the table is reconciled with a list of channels
(``resync``).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

REMEMBER_HUNG_UP_S: Final = 60.0
"""How long a Uniqueid is remembered after its Hangup, so that a late event revives nothing."""

JOINED: Final = "joined"
"""Used in place of a Q.850 cause: the call's last channel became part of another call."""

ENDED_WELL: Final = ("", "0", "16")
"""Q.850 causes that are not failures."""

HOLDING_BRIDGE: Final = "holding_bridge"
"""BridgeTechnology of a bridge in which channels only wait (Park, BridgeWait)."""

MAX_TEXT: Final = 200
"""Characters that are kept of each text from outside."""
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,149}")


@dataclass(slots=True)
class LiveCall:
    """One call in progress.

    Attributes:
        linkedid: the Linkedid of all its channels.
        started: epoch seconds of its first channel.
        answered: epoch seconds when two of its channels were first bridged; None before.
        channels: Uniqueids.
        caller: the first channel's caller number; ``""`` if there is none.
        number: the number that it dialled; ``""`` if unknown.
        dial_status: DialStatus of the last DialEnd, or ``""``. DialEnd reports a refused call as NOANSWER.
        cause: Q.850 cause of the first of its channels that ended with a failure.
        outcome: the gateway's outcome (CallRecord); ``""`` if it had no part in the call.
        labels: further counts that it belongs to, as (kind, name).
        certain: False if its times are uncertain because events were missed.
        changed: whether anything above has changed since the writer looked.
    """

    linkedid: str
    started: float
    answered: float | None = None
    channels: set[str] = field(default_factory=set)
    caller: str = ""
    number: str = ""
    dial_status: str = ""
    cause: str = ""
    outcome: str = ""
    labels: set[tuple[str, str]] = field(default_factory=set)
    certain: bool = True
    changed: bool = field(default=True, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ChannelSeen:
    """One item of CoreShowChannels.

    Attributes:
        duration_s: how long the channel has existed.
        bridge: id of its bridge; ``""`` if it is in none.
    """

    uniqueid: str
    linkedid: str
    duration_s: float
    bridge: str = ""
    caller: str = ""
    number: str = ""


class CallListener:
    """Receives what happens to calls; override the methods of interest."""

    def started(self, call: LiveCall) -> None:
        """A call has its first channel."""

    def answered(self, call: LiveCall) -> None:
        """Two channels of a call have been bridged."""

    def finished(self, call: LiveCall, ended: float, cause: str) -> None:
        """A call lost its last channel, at epoch second ``ended``.

        ``cause`` is the last channel's Q.850 cause, JOINED, or empty if unknown.
        """


class CallTable:
    """All calls in progress on one Asterisk.

    Args:
        listener: receives each change.
    """

    def __init__(self, listener: CallListener) -> None:
        self._listener = listener
        self._linkedids: dict[str, str] = {}  # channel -> call
        self._calls: dict[str, LiveCall] = {}
        self._bridges: dict[str, set[str]] = {}
        self._bridge_of: dict[str, str] = {}  # channel -> bridge
        self._holding: set[str] = set()  # bridges in which channels only wait
        self._hung_up: set[str] = set()
        self._hung_up_at: deque[tuple[float, str]] = deque()

    @property
    def live(self) -> Mapping[str, LiveCall]:
        """Calls in progress by Linkedid."""
        return self._calls

    @property
    def channels(self) -> frozenset[str]:
        """Uniqueids of all known channels."""
        return frozenset(self._linkedids)

    def call_of(self, uniqueid: str) -> LiveCall | None:
        """The call of a channel; None if the channel is not known."""
        linkedid = self._linkedids.get(uniqueid)
        return None if linkedid is None else self._calls[linkedid]

    def restore(self, calls: Iterable[LiveCall]) -> None:
        """Restore calls that an earlier run has counted, without telling the listener."""
        for call in calls:
            channels = {channel for channel in call.channels if channel not in self._linkedids}
            if channels and call.linkedid not in self._calls:
                call.channels = channels
                call.certain = False
                self._calls[call.linkedid] = call
                self._linkedids.update(dict.fromkeys(channels, call.linkedid))

    def clock_set(self, by_s: float) -> None:
        """Move all times that are kept, since the gateway's clock was set forward by so many seconds."""
        for call in self._calls.values():
            call.started += by_s
            if call.answered is not None:
                call.answered += by_s
        self._hung_up_at = deque((when + by_s, uniqueid) for when, uniqueid in self._hung_up_at)

    def event(self, name: str, headers: Callable[[str], str], now: float) -> None:
        """Process one event.

        ``Shutdown`` needs no handling: the Hangups of all channels come just before it.

        Args:
            name: the event's name, as Asterisk spells it.
            headers: returns a header's first value, ``""`` if there is none.
            now: epoch seconds: the event's Timestamp if it has one.
        """
        if name == "DialEnd":
            self._dial_ended(headers)
            return
        uniqueid, linkedid = headers("Uniqueid"), headers("Linkedid")
        if not (_ID.fullmatch(uniqueid) and _ID.fullmatch(linkedid)):
            return
        if name == "Newchannel":
            self._forget_old(now)
            if uniqueid not in self._linkedids and uniqueid not in self._hung_up:
                self._add(uniqueid, linkedid, now, headers("CallerIDNum"), headers("Exten"))
            return
        if uniqueid not in self._linkedids:
            return
        if self._linkedids[uniqueid] != linkedid:
            self._move(uniqueid, linkedid, now)
        if name == "BridgeEnter":
            bridge = headers("BridgeUniqueid")[:MAX_TEXT]
            if headers("BridgeTechnology") == HOLDING_BRIDGE:
                self._holding.add(bridge)
                self._leave(uniqueid)
            else:
                self._enter(bridge, uniqueid, now)
        elif name == "BridgeLeave":
            self._leave(uniqueid)
        elif name == "Hangup":
            self._hang_up(uniqueid, now, headers("Cause")[:MAX_TEXT])

    def resync(
        self,
        known_before: Iterable[str],
        listed: Iterable[ChannelSeen],
        now: float,
        ended: float | None = None,
    ) -> None:
        """Reconcile with Asterisk's list of channels, after events may have been missed.

        The list is a snapshot taken ahead of the queued events (docs/asterisk.md B5), so the Linkedid of a
        known channel is not taken from it, but from the channel's events, in order.

        Args:
            known_before: ``channels`` at the time when the list was requested.
            listed: the whole list.
            now: epoch seconds.
            ended: epoch seconds to record as the end of calls that ended unseen; ``now`` by default.
        """
        seen = {item.uniqueid: item for item in listed if _ID.fullmatch(item.uniqueid) and _ID.fullmatch(item.linkedid)}
        self._forget_old(now)
        for uniqueid in known_before:
            if uniqueid in self._linkedids and uniqueid not in seen:
                self._calls[self._linkedids[uniqueid]].certain = False
                self._hang_up(uniqueid, now, "", now if ended is None else ended)
        for item in seen.values():
            if item.uniqueid not in self._linkedids and item.uniqueid not in self._hung_up:
                self._add(item.uniqueid, item.linkedid, now - item.duration_s, item.caller, item.number)
                self._calls[item.linkedid].certain = False
        self._bridges.clear()
        self._bridge_of.clear()
        self._holding &= {item.bridge for item in seen.values()}
        for item in seen.values():
            if item.bridge not in self._holding and item.uniqueid in self._linkedids:
                self._enter(item.bridge, item.uniqueid, now)

    def _dial_ended(self, headers: Callable[[str], str]) -> None:
        """Record why a call was not answered; counts nothing (docs/asterisk.md B6, rule 7)."""
        status = headers("DialStatus")[:MAX_TEXT]
        call = self.call_of(headers("Uniqueid"))
        if call is None:
            # Originate dials without a channel: an answer to it connects no two parties yet,
            # and any other Dial in the call tells more.
            call = self.call_of(headers("DestUniqueid"))
            if call is None or call.dial_status or status == "ANSWER":
                return
        call.dial_status, call.changed = status, True

    def _add(self, uniqueid: str, linkedid: str, started: float, caller: str, number: str) -> None:
        self._linkedids[uniqueid] = linkedid
        call = self._calls.get(linkedid)
        if call is None:
            call = LiveCall(linkedid, started, caller=caller[:MAX_TEXT], number=number[:MAX_TEXT])
            self._calls[linkedid] = call
            call.channels.add(uniqueid)
            self._listener.started(call)
        else:
            call.channels.add(uniqueid)
            call.changed = True

    def _move(self, uniqueid: str, linkedid: str, now: float) -> None:
        """Move a channel to another call (masquerade, bridge of two calls)."""
        old = self._calls[self._linkedids[uniqueid]]
        call = self._calls.get(linkedid)
        if call is None and len(old.channels) == 1:
            # A call's only channel goes by another Linkedid: still the same call.
            del self._calls[old.linkedid]
            old.linkedid = linkedid
            self._calls[linkedid] = old
            self._linkedids[uniqueid] = linkedid
            return
        old.channels.discard(uniqueid)
        old.changed = True
        self._linkedids[uniqueid] = linkedid
        if call is None:
            call = self._calls[linkedid] = LiveCall(linkedid, now, caller=old.caller, number=old.number)
            call.channels.add(uniqueid)
            self._listener.started(call)
        else:
            call.channels.add(uniqueid)
            call.changed = True
        if not old.channels:
            self._finish(old, now, JOINED)

    def _enter(self, bridge: str, uniqueid: str, now: float) -> None:
        if not bridge:
            return
        if self._bridge_of.get(uniqueid) != bridge:
            self._leave(uniqueid)
        self._bridge_of[uniqueid] = bridge
        inside = self._bridges.setdefault(bridge, set())
        inside.add(uniqueid)
        if len(inside) < 2:
            return
        for member in inside:
            call = self._calls[self._linkedids[member]]
            if call.answered is None:
                call.answered, call.changed = now, True
                self._listener.answered(call)

    def _leave(self, uniqueid: str) -> None:
        bridge = self._bridge_of.pop(uniqueid, None)
        if bridge is not None:
            inside = self._bridges[bridge]
            inside.discard(uniqueid)
            if not inside:
                del self._bridges[bridge]

    def _hang_up(self, uniqueid: str, now: float, cause: str, ended: float | None = None) -> None:
        self._leave(uniqueid)
        self._hung_up.add(uniqueid)
        self._hung_up_at.append((now, uniqueid))
        call = self._calls[self._linkedids.pop(uniqueid)]
        call.channels.discard(uniqueid)
        call.changed = True
        if not call.cause and cause not in ENDED_WELL:
            call.cause = cause
        if not call.channels:
            self._finish(call, now if ended is None else ended, cause)

    def _finish(self, call: LiveCall, ended: float, cause: str) -> None:
        del self._calls[call.linkedid]
        self._listener.finished(call, ended, cause)

    def _forget_old(self, now: float) -> None:
        while self._hung_up_at and now - self._hung_up_at[0][0] >= REMEMBER_HUNG_UP_S:
            self._hung_up.discard(self._hung_up_at.popleft()[1])
