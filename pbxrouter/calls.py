"""Live calls and their counts, from AMI events, by the exact rule of facts B6.

A call is all channels with one Linkedid. Pure: events and times go in; who listens is
told when a call starts, is answered, ends. After a lost connection the table is
reconciled with a list of channels (``resync``). Not here: where events come from
(manager) and where counts are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

REMEMBER_HUNG_UP_S: Final = 60.0
"""How long a Uniqueid is remembered after its Hangup, so that a late event revives nothing."""

_ID: Final = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(slots=True)
class LiveCall:
    """One call in progress.

    Attributes:
        linkedid: what its channels have in common.
        started: epoch seconds of its first channel.
        answered: epoch seconds when two of its sides were first bridged; None before.
        channels: Uniqueids.
        caller: the first channel's number; ``""`` if it shows none.
        number: what it dialled; ``""`` if unknown.
        dial_status: how the last Dial within it ended, such as BUSY; ``""`` if none did.
        certain: False once a gap in the events made its times uncertain.
    """

    linkedid: str
    started: float
    answered: float | None = None
    channels: set[str] = field(default_factory=set)
    caller: str = ""
    number: str = ""
    dial_status: str = ""
    certain: bool = True


@dataclass(frozen=True, slots=True)
class ChannelSeen:
    """One item of CoreShowChannels.

    Attributes:
        duration_s: how long the channel has existed.
        bridge: its bridge's id; ``""`` if it is in none.
    """

    uniqueid: str
    linkedid: str
    duration_s: float
    bridge: str = ""
    caller: str = ""
    number: str = ""


class CallListener:
    """Told what happens to calls; override what matters."""

    def started(self, call: LiveCall) -> None:
        """A call has its first channel."""

    def answered(self, call: LiveCall) -> None:
        """Two sides of a call talk."""

    def finished(self, call: LiveCall, ended: float, cause: str) -> None:
        """A call lost its last channel, at epoch second ``ended``; ``cause`` is Q.850 or empty."""


class CallTable:
    """All calls in progress on one Asterisk.

    Args:
        listener: told of each change.
    """

    def __init__(self, listener: CallListener) -> None:
        self._listener = listener
        self._linkedids: dict[str, str] = {}  # channel -> call
        self._calls: dict[str, LiveCall] = {}
        self._bridges: dict[str, set[str]] = {}
        self._hung_up: dict[str, float] = {}  # in order of time

    @property
    def live(self) -> Mapping[str, LiveCall]:
        """Calls in progress by Linkedid."""
        return self._calls

    @property
    def channels(self) -> frozenset[str]:
        """Uniqueids of the channels known."""
        return frozenset(self._linkedids)

    def event(self, name: str, headers: Callable[[str], str], now: float) -> None:
        """Take one event.

        Args:
            name: of the event, as Asterisk spells it.
            headers: gives a header's first value, ``""`` if it is not there.
            now: epoch seconds, the event's own Timestamp where it has one.
        """
        if name == "Shutdown":
            self._end_all(now)
            return
        if name == "DialEnd":
            self._dial_ended(headers)
            return
        uniqueid, linkedid = headers("Uniqueid"), headers("Linkedid")
        if not (_ID.fullmatch(uniqueid) and _ID.fullmatch(linkedid)):
            return
        if name == "Newchannel":
            if uniqueid not in self._linkedids and uniqueid not in self._hung_up:
                self._add(uniqueid, linkedid, now, headers("CallerIDNum"), headers("Exten"))
            return
        if uniqueid not in self._linkedids:
            return
        if self._linkedids[uniqueid] != linkedid:
            self._move(uniqueid, linkedid, now)
        if name == "BridgeEnter":
            self._enter(headers("BridgeUniqueid"), uniqueid, now)
        elif name == "BridgeLeave":
            self._leave(headers("BridgeUniqueid"), uniqueid)
        elif name == "Hangup":
            self._hang_up(uniqueid, now, headers("Cause"))

    def resync(self, known_before: Iterable[str], listed: Iterable[ChannelSeen], now: float) -> None:
        """Reconcile with the channels that Asterisk says there are, after events may have been missed.

        Args:
            known_before: ``channels`` as it was when the list was asked for.
            listed: the whole list.
            now: epoch seconds.
        """
        seen = {
            item.uniqueid: item
            for item in listed
            if _ID.fullmatch(item.uniqueid) and _ID.fullmatch(item.linkedid)
        }
        for uniqueid in known_before:
            if uniqueid in self._linkedids and uniqueid not in seen:
                self._calls[self._linkedids[uniqueid]].certain = False
                self._hang_up(uniqueid, now, "")
        for item in seen.values():
            known = self._linkedids.get(item.uniqueid)
            if known is None:
                if item.uniqueid not in self._hung_up:
                    self._add(item.uniqueid, item.linkedid, now - item.duration_s, item.caller, item.number)
                    self._calls[item.linkedid].certain = False
            elif known != item.linkedid:
                self._move(item.uniqueid, item.linkedid, now)
        self._bridges.clear()
        for item in seen.values():
            if item.bridge and item.uniqueid in self._linkedids:
                self._enter(item.bridge, item.uniqueid, now)

    def _dial_ended(self, headers: Callable[[str], str]) -> None:
        """Note why a call was not answered; counts nothing (facts B6, rule 7)."""
        linkedid = self._linkedids.get(headers("Uniqueid")) or self._linkedids.get(headers("DestUniqueid"))
        if linkedid is not None:
            self._calls[linkedid].dial_status = headers("DialStatus")

    def _add(self, uniqueid: str, linkedid: str, started: float, caller: str, number: str) -> None:
        self._linkedids[uniqueid] = linkedid
        call = self._calls.get(linkedid)
        if call is None:
            call = self._calls[linkedid] = LiveCall(linkedid, started, caller=caller, number=number)
            call.channels.add(uniqueid)
            self._listener.started(call)
        else:
            call.channels.add(uniqueid)

    def _move(self, uniqueid: str, linkedid: str, now: float) -> None:
        """A channel became part of another call (masquerade, bridge of two calls)."""
        old = self._calls[self._linkedids[uniqueid]]
        old.channels.discard(uniqueid)
        self._linkedids[uniqueid] = linkedid
        call = self._calls.get(linkedid)
        if call is None and not old.channels:
            self._rename(old, linkedid, uniqueid)
            return
        if call is None:
            call = self._calls[linkedid] = LiveCall(
                linkedid, old.started, old.answered, caller=old.caller, number=old.number
            )
            self._listener.started(call)
        call.channels.add(uniqueid)
        if not old.channels:
            self._finish(old, now, "")

    def _rename(self, call: LiveCall, linkedid: str, uniqueid: str) -> None:
        """A call's only channel goes by another Linkedid: still the same call."""
        del self._calls[call.linkedid]
        call.linkedid = linkedid
        call.channels.add(uniqueid)
        self._calls[linkedid] = call

    def _enter(self, bridge: str, uniqueid: str, now: float) -> None:
        if not bridge:
            return
        inside = self._bridges.setdefault(bridge, set())
        inside.add(uniqueid)
        if len(inside) < 2:
            return
        for each in inside:
            call = self._calls[self._linkedids[each]]
            if call.answered is None:
                call.answered = now
                self._listener.answered(call)

    def _leave(self, bridge: str, uniqueid: str) -> None:
        inside = self._bridges.get(bridge)
        if inside is not None:
            inside.discard(uniqueid)
            if not inside:
                del self._bridges[bridge]

    def _hang_up(self, uniqueid: str, now: float, cause: str) -> None:
        for bridge in [bridge for bridge, inside in self._bridges.items() if uniqueid in inside]:
            self._leave(bridge, uniqueid)
        self._forget_old(now)
        self._hung_up[uniqueid] = now
        call = self._calls[self._linkedids.pop(uniqueid)]
        call.channels.discard(uniqueid)
        if not call.channels:
            self._finish(call, now, cause)

    def _finish(self, call: LiveCall, ended: float, cause: str) -> None:
        del self._calls[call.linkedid]
        self._listener.finished(call, ended, cause)

    def _end_all(self, now: float) -> None:
        for uniqueid in tuple(self._linkedids):
            self._hang_up(uniqueid, now, "")

    def _forget_old(self, now: float) -> None:
        for uniqueid, when in tuple(self._hung_up.items()):
            if now - when < REMEMBER_HUNG_UP_S:
                break
            del self._hung_up[uniqueid]
