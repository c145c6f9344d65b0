"""The table of calls in progress, kept from AMI events by the rule of docs/asterisk.md B6.

A call is all channels with one Linkedid. Events and times go in; the listener is told when a call
starts, is answered, ends. After a lost connection the table is reconciled with a list of channels
(``resync``).

Two people talk while their channels are in one bridge, or in bridges that Local channels join. The half of a Local
channel is no person: who talks through it is at the other half. Talk is kept for each channel and for each call.
"""

from __future__ import annotations

import enum
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

REMEMBER_HUNG_UP_S: Final = 60.0
"""How long a Uniqueid is remembered after its Hangup, so that a late event revives nothing."""

DOCTOR_PREFIX: Final = "pbxrouter-doctor-"
"""Begins the Uniqueids of channels that the doctor makes, which are no call."""

JOINED: Final = "joined"
"""Used in place of a Q.850 cause: the call's last channel became part of another call."""

ENDED_WELL: Final = ("", "0", "16")
"""Q.850 causes that are not failures."""

HOLDING_BRIDGE: Final = "holding_bridge"
"""BridgeTechnology of a bridge in which channels only wait (Park, BridgeWait)."""

WAITING_APPLICATIONS: Final = frozenset({"bridgewait", "park", "parkandannounce"})
"""Applications, in lower case, that put a channel into a holding bridge."""

NO_PERSONS: Final = frozenset(
    {
        "announcer",
        "asyncgoto",
        "bridge",
        "cbann",
        "cbrec",
        "local",
        "message",
        "multicastrtp",
        "recorder",
        "snoop",
        "surrogate",
        "unicastrtp",
    }
)
"""Technologies of channels, in lower case, that are no phone and no line: Asterisk makes them for itself."""

JOIN_S: Final = 1.0
"""Seconds within which Asterisk takes a Local channel out of a conversation, which goes on."""

MAX_TEXT: Final = 200
"""Characters that are kept of each text from outside."""
MAX_TALKS: Final = 1000
"""Talks of one channel that are kept apart; further ones are added to the last."""
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,149}")
_HALF: Final = re.compile(r"(Local/.{1,300});([12])", re.DOTALL)


class HungUpBy(enum.Enum):
    """Which side ended a channel, as far as Asterisk tells."""

    UNKNOWN = "unknown"
    FAR_END = "far end"
    """The phone or line."""
    PBX = "pbx"
    """Asterisk itself: an administrator, a program, the end of a Dial."""


@dataclass(slots=True)
class ChannelTalk:
    """What is known of one channel's talk, until REMEMBER_HUNG_UP_S after its end.

    Attributes:
        name: of the channel; ``""`` while it is unknown.
        talks: its ended talks, (began, ended) in epoch seconds.
        since: when the present talk began; None while there is none.
        ended: when the channel was hung up; None before.
        hung_up_by: which side hung it up.
        place: context and extension where it was hung up; ``("", "")`` before, or if they are not known.
        certain: False if a talk may have begun or ended unseen.
        heir: Uniqueid of the channel for which this half of a Local channel stood in, once Asterisk joins both ends
            without it; ``""`` otherwise.
        heir_since: when that was, epoch seconds.
        person_answered: when a person last answered a Dial() of its call, epoch seconds; 0 if none did, or if both were
            connected then, so that the talk tells.
        connected: whether it has been in a bridge with another channel, as far as is known.
        handed_over: whether a channel that it dialled has answered another one, which came in its place.
        joining: when Asterisk last began to take a Local channel out of its present talk, epoch seconds; None once the
            talk has gone on, or if it never did.
    """

    name: str = ""
    talks: list[tuple[float, float]] = field(default_factory=list)
    since: float | None = None
    ended: float | None = None
    hung_up_by: HungUpBy = HungUpBy.UNKNOWN
    place: tuple[str, str] = ("", "")
    certain: bool = True
    heir: str = ""
    heir_since: float = 0.0
    person_answered: float = 0.0
    connected: bool = True
    handed_over: bool = False
    joining: float | None = None

    @property
    def is_person(self) -> bool:
        """Whether the channel is a phone or a line, behind which a person may be."""
        return self.name.partition("/")[0].lower() not in NO_PERSONS

    @property
    def begun(self) -> int:
        """Number of talks so far, the present one included."""
        return len(self.talks) + (self.since is not None)

    def followed_by(self, heir: ChannelTalk) -> ChannelTalk:
        """This talk and what the heir talks since it is one: one conversation, in which the channel has changed."""
        own = list(self.talks)
        later = [(max(began, self.heir_since), ended) for began, ended in heir.talks if ended > self.heir_since]
        since = None if heir.since is None else max(heir.since, self.heir_since)
        if own and own[-1][1] >= self.heir_since:  # the talk of both, which has not ended for the change
            if later and later[0][0] == self.heir_since:
                later[0] = (own.pop()[0], later[0][1])
            elif not later and since == self.heir_since:
                since = own.pop()[0]
        return replace(
            self,
            talks=own + later,
            since=self.since if since is None else since,
            ended=self.ended if since is None else None,
            certain=self.certain and heir.certain,
        )

    def hang_up_requested(self, by: HungUpBy, context: str, extension: str) -> None:
        """Note by which side the channel is hung up, and where it was then; the first to do so counts."""
        if self.hung_up_by is HungUpBy.UNKNOWN:
            self.hung_up_by = by
        if self.place == ("", ""):
            self.place = (context[:MAX_TEXT], extension[:MAX_TEXT])

    def begin(self, now: float) -> None:
        """Two people talk from now on, or go on after an interruption by Asterisk itself."""
        if self.since is not None:
            return
        joining, self.joining, self.since = self.joining, None, now
        if joining is not None and now - joining <= JOIN_S and self.talks and self.talks[-1][1] >= joining:
            self.since = self.talks.pop()[0]

    def end(self, now: float) -> None:
        """They talk no more."""
        if self.since is None:
            return
        if len(self.talks) < MAX_TALKS:
            self.talks.append((self.since, now))
        else:
            began, ended = self.talks[-1]
            self.talks[-1] = (began - max(0.0, now - self.since), ended)
        self.since = None


@dataclass(slots=True)
class LiveCall:
    """One call in progress.

    Attributes:
        linkedid: the Linkedid of all its channels.
        started: epoch seconds of its first channel.
        answered: epoch seconds when two people were first connected; None before.
        channels: Uniqueids.
        caller: the first channel's caller number; ``""`` if there is none.
        number: the number that it dialled; ``""`` if unknown.
        dial_status: DialStatus of the last DialEnd, or ``""``. DialEnd reports a refused call as NOANSWER.
        cause: Q.850 cause of the first of its channels that ended with a failure.
        outcome: the gateway's outcome (CallRecord); ``""`` if it had no part in the call.
        labels: further counts that it belongs to, as (kind, name).
        connected: whether two of its channels were in one bridge, of people or not.
        person_answered: whether a person has answered a Dial() and was not yet connected with anybody.
        asked_to_end: whether one of its phones has hung up, or Asterisk was asked to end a talk of it.
        certain: False if its times are uncertain because events were missed.
        silent_s: seconds since the answer in which no two people were connected, without the present silence.
        silent_since: when the present silence began; None while two people talk, and before the answer.
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
    connected: bool = False
    person_answered: bool = False
    asked_to_end: bool = False
    silent_s: float = 0.0
    silent_since: float | None = None
    changed: bool = field(default=True, compare=False, repr=False)

    def talk_s(self, until: float) -> float:
        """Seconds in which two people were connected, until an epoch second."""
        if self.answered is None:
            return 0.0
        if self.silent_since is not None:
            until = min(until, self.silent_since)
        return max(0.0, until - self.answered - self.silent_s)


@dataclass(frozen=True, slots=True)
class ChannelSeen:
    """One item of CoreShowChannels.

    Attributes:
        duration_s: how long the channel has existed.
        bridge: id of its bridge; ``""`` if it is in none.
        name: of the channel.
        application: the dialplan application that it runs.
    """

    uniqueid: str
    linkedid: str
    duration_s: float
    bridge: str = ""
    caller: str = ""
    number: str = ""
    name: str = ""
    application: str = ""


class CallListener:
    """Receives what happens to calls; override the methods of interest."""

    def started(self, call: LiveCall) -> None:
        """A call has its first channel."""

    def answered(self, call: LiveCall) -> None:
        """Two people have been connected."""

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
        self._talks: dict[str, ChannelTalk] = {}
        self._dialled_by: dict[str, str] = {}  # channel that Dial() calls -> that for which it does
        self._halves: dict[str, dict[str, str]] = {}  # of Local channels: common name -> half -> channel
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

    def has_hung_up(self, uniqueid: str) -> bool:
        """Whether a channel was hung up less than REMEMBER_HUNG_UP_S ago."""
        return uniqueid in self._hung_up

    def is_bridged(self, uniqueid: str) -> bool:
        """Whether a channel is in a bridge that connects."""
        return uniqueid in self._bridge_of

    def is_waiting(self, bridge: str) -> bool:
        """Whether channels only wait in a bridge."""
        return bridge in self._holding

    def has_ended_unasked(self, uniqueid: str, ended: Collection[str]) -> bool:
        """Whether the end of a channel ends a call with talk for which no event has told who hung up.

        Args:
            ended: channels that have ended, too, and are still in the table.
        """
        call = self.call_of(uniqueid)
        if call is None or call.answered is None or call.asked_to_end or not call.certain:
            return False
        return call.channels - {uniqueid} <= set(ended)

    def talk_of(self, uniqueid: str) -> ChannelTalk | None:
        """A channel's talk; None if the channel is not known, or no longer.

        When Asterisk takes a Local channel out of a conversation, the talk of each half goes on with the channel for
        which it stood in.
        """
        talk = self._talks.get(uniqueid)
        if talk is None or not talk.heir:
            return talk
        heirs, passed = [talk], {uniqueid}
        while heirs[-1].heir in self._talks and heirs[-1].heir not in passed:
            passed.add(heirs[-1].heir)
            heirs.append(self._talks[heirs[-1].heir])
        talk = heirs.pop()
        while heirs:
            talk = heirs.pop().followed_by(talk)
        return talk

    def restore(self, calls: Iterable[LiveCall], talks: Mapping[str, ChannelTalk] = MappingProxyType({})) -> None:
        """Restore calls that an earlier run has counted, without telling the listener.

        Args:
            talks: what it knew of the talk of their channels.
        """
        for call in calls:
            channels = {channel for channel in call.channels if channel not in self._linkedids}
            if channels and call.linkedid not in self._calls:
                call.channels = channels
                call.certain = False
                self._calls[call.linkedid] = call
                self._linkedids.update(dict.fromkeys(channels, call.linkedid))
                for channel in channels:
                    talk = talks.get(channel)
                    self._talks[channel] = ChannelTalk(certain=False) if talk is None else talk
                    self._set_name(channel, self._talks[channel].name)

    def clock_set(self, by_s: float) -> None:
        """Move all times that are kept, since the gateway's clock was set forward by so many seconds."""
        for call in self._calls.values():
            call.changed = True
            call.started += by_s
            if call.answered is not None:
                call.answered += by_s
            if call.silent_since is not None:
                call.silent_since += by_s
        for talk in self._talks.values():
            talk.talks = [(began + by_s, ended + by_s) for began, ended in talk.talks]
            if talk.since is not None:
                talk.since += by_s
            if talk.ended is not None:
                talk.ended += by_s
            talk.heir_since += by_s
            talk.person_answered += by_s
            if talk.joining is not None:
                talk.joining += by_s
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
            self._dial_ended(headers, now)
            return
        if name == "DialBegin":
            if headers("DestUniqueid") in self._linkedids:
                self._dialled_by[headers("DestUniqueid")] = headers("Uniqueid")
            return
        if name == "Rename":
            self._renamed(headers("Uniqueid"), headers("Newname"), now)
            return
        if name == "LocalOptimizationBegin":
            self._optimized(headers("LocalOneUniqueid"), headers("LocalTwoUniqueid"), now)
            return
        uniqueid, linkedid = headers("Uniqueid"), headers("Linkedid")
        if not (_ID.fullmatch(uniqueid) and _ID.fullmatch(linkedid)):
            return
        if name == "Newchannel":
            self._forget_old(now)
            if uniqueid.startswith(DOCTOR_PREFIX):
                return
            if uniqueid not in self._linkedids and uniqueid not in self._hung_up:
                self._add(uniqueid, linkedid, now, headers("CallerIDNum"), headers("Exten"), headers("Channel"))
            return
        if uniqueid not in self._linkedids:
            return
        if self._linkedids[uniqueid] != linkedid:
            self._move(uniqueid, linkedid, now)
        if name == "BridgeEnter":
            bridge = headers("BridgeUniqueid")[:MAX_TEXT]
            if headers("BridgeTechnology") == HOLDING_BRIDGE:
                self._holding.add(bridge)
                self._leave(uniqueid, now)
            else:
                self._enter(bridge, uniqueid, now)
        elif name == "BridgeLeave":
            self._leave(uniqueid, now)
        elif name in ("HangupRequest", "SoftHangupRequest"):
            by = HungUpBy.FAR_END if name == "HangupRequest" else HungUpBy.PBX
            if by is HungUpBy.FAR_END or uniqueid in self._bridge_of:
                self._calls[linkedid].asked_to_end = True
            self._talks[uniqueid].hang_up_requested(by, headers("Context"), headers("Exten"))
        elif name == "Hangup":
            self._talks[uniqueid].hang_up_requested(HungUpBy.UNKNOWN, headers("Context"), headers("Exten"))
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
        unseen_since = now if ended is None else ended
        for uniqueid in known_before:
            if uniqueid in self._linkedids and uniqueid not in seen:
                self._calls[self._linkedids[uniqueid]].certain = False
                self._talks[uniqueid].certain = False
                self._hang_up(uniqueid, now, "", unseen_since)
        for item in seen.values():
            if item.uniqueid.startswith(DOCTOR_PREFIX):
                continue
            if item.uniqueid not in self._linkedids and item.uniqueid not in self._hung_up:
                self._add(item.uniqueid, item.linkedid, now - item.duration_s, item.caller, item.number, item.name)
                self._calls[item.linkedid].certain = False
                self._talks[item.uniqueid].certain = not item.bridge
            elif item.uniqueid in self._linkedids and item.name:
                self._set_name(item.uniqueid, item.name)
        self._rebuild_bridges(seen, now, unseen_since)

    def _rebuild_bridges(self, seen: Mapping[str, ChannelSeen], now: float, unseen_since: float) -> None:
        """Put the listed channels into the bridges in which they are by the list."""
        self._bridges.clear()
        self._bridge_of.clear()
        self._holding &= {item.bridge for item in seen.values()}
        self._holding |= {item.bridge for item in seen.values() if item.application.lower() in WAITING_APPLICATIONS}
        for item in seen.values():
            if item.bridge and item.bridge not in self._holding and item.uniqueid in self._linkedids:
                self._bridge_of[item.uniqueid] = item.bridge
                self._bridges.setdefault(item.bridge, set()).add(item.uniqueid)
        talking: set[str] = set()
        for bridge in self._bridges:
            members = self._connected(bridge)
            if self._is_talk(members):
                talking |= members
        for uniqueid, linkedid in self._linkedids.items():
            talk = self._talks[uniqueid]
            if (uniqueid in talking) == (talk.since is not None):
                continue
            if talk.since is None:
                talk.begin(now)
            else:
                talk.certain = talk.certain and unseen_since >= now
                talk.end(unseen_since)
            self._calls[linkedid].changed = True
        for call in tuple(self._calls.values()):
            self._update_call(call, now, unseen_since)

    def _dial_ended(self, headers: Callable[[str], str], now: float) -> None:
        """Record why a call was not answered; counts nothing yet (docs/asterisk.md B6, rule 7)."""
        status = headers("DialStatus")[:MAX_TEXT]
        dialled_by = self._talks.get(self._dialled_by.pop(headers("DestUniqueid"), ""))
        if dialled_by is not None and dialled_by is not self._talks.get(headers("Uniqueid")):
            dialled_by.handed_over = True
        call = self.call_of(headers("Uniqueid"))
        if call is None:
            # Originate dials without a channel: an answer to it connects no two parties yet,
            # and any other Dial in the call tells more.
            call = self.call_of(headers("DestUniqueid"))
            if call is None or call.dial_status or status == "ANSWER":
                return
        call.dial_status, call.changed = status, True
        if status == "ANSWER" and ChannelTalk(headers("DestChannel") or "Local/").is_person:
            call.person_answered = True
            for uniqueid in call.channels:
                talk = self._talks[uniqueid]
                if not talk.handed_over:  # it may still be there when the answer comes
                    talk.person_answered = now

    def _set_name(self, uniqueid: str, name: str) -> None:
        talk = self._talks[uniqueid]
        half = _HALF.fullmatch(talk.name)
        if half and self._halves.get(half[1], {}).get(half[2]) == uniqueid:
            del self._halves[half[1]][half[2]]
            if not self._halves[half[1]]:
                del self._halves[half[1]]
        talk.name = name[:MAX_TEXT]
        half = _HALF.fullmatch(talk.name)
        if half:
            self._halves.setdefault(half[1], {})[half[2]] = uniqueid

    def _other_half(self, uniqueid: str) -> str | None:
        """The other half of a Local channel; None if it is none, or the other is not known."""
        half = _HALF.fullmatch(self._talks[uniqueid].name)
        return self._halves.get(half[1], {}).get("2" if half[2] == "1" else "1") if half else None

    def _renamed(self, uniqueid: str, name: str, now: float) -> None:
        """Another channel has taken over this one, or it has a new name only."""
        if uniqueid not in self._linkedids or not name or name.endswith("<MASQ>"):
            return
        self._set_name(uniqueid, name)
        bridge = self._bridge_of.get(uniqueid)
        if bridge is not None:
            self._update_talk(self._connected(bridge), now)

    def _optimized(self, one: str, two: str, now: float) -> None:
        """Asterisk joins both ends of a Local channel, whose halves leave."""
        for half, other in ((one, two), (two, one)):
            if half not in self._linkedids or other not in self._linkedids:
                continue
            bridge = self._bridge_of.get(other, "")
            for uniqueid in self._connected(bridge):
                self._talks[uniqueid].joining = now
            inside = self._bridges.get(bridge, set()) - {other}
            heir = min(inside, key=lambda member: (not self._talks[member].is_person, member), default="")
            self._talks[half].heir, self._talks[half].heir_since = heir, now

    def _add(self, uniqueid: str, linkedid: str, started: float, caller: str, number: str, name: str) -> None:
        self._linkedids[uniqueid] = linkedid
        self._talks[uniqueid] = ChannelTalk(connected=False)
        self._set_name(uniqueid, name)
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
            old.linkedid, old.changed = linkedid, True
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
        self._update_call(old, now)
        self._update_call(call, now)
        if not old.channels:
            self._finish(old, now, JOINED)

    def _enter(self, bridge: str, uniqueid: str, now: float) -> None:
        if not bridge:
            return
        if self._bridge_of.get(uniqueid) != bridge:
            self._leave(uniqueid, now)
        self._bridge_of[uniqueid] = bridge
        self._talks[uniqueid].heir = ""
        inside = self._bridges.setdefault(bridge, set())
        inside.add(uniqueid)
        if len(inside) > 1:
            for member in inside:
                call = self._calls[self._linkedids[member]]
                if not call.connected or call.person_answered:
                    call.connected = call.changed = True
                call.person_answered = False
                self._talks[member].person_answered = 0.0
                self._talks[member].connected = True
        self._update_talk(self._connected(bridge), now)

    def _leave(self, uniqueid: str, now: float) -> None:
        bridge = self._bridge_of.pop(uniqueid, None)
        if bridge is None:
            return
        inside = self._bridges[bridge]
        inside.discard(uniqueid)
        if not inside:
            del self._bridges[bridge]
        self._update_talk({uniqueid}, now)
        self._update_talk(self._connected(bridge), now)
        other = self._other_half(uniqueid)
        beyond = self._bridge_of.get(other) if other else None
        if beyond is not None:
            self._update_talk(self._connected(beyond), now)

    # --- talk ---

    def _connected(self, bridge: str) -> set[str]:
        """All channels in a bridge, and in those that Local channels join to it."""
        waiting, seen = [bridge], {bridge}
        members: set[str] = set()
        while waiting:
            for uniqueid in self._bridges.get(waiting.pop(), ()):
                members.add(uniqueid)
                other = self._other_half(uniqueid)
                beyond = self._bridge_of.get(other) if other else None
                if beyond is not None and beyond not in seen:
                    seen.add(beyond)
                    waiting.append(beyond)
        return members

    def _is_talk(self, members: Iterable[str]) -> bool:
        """Whether among channels that hear each other there are two people."""
        return sum(self._talks[uniqueid].is_person for uniqueid in members) > 1

    def _update_talk(self, members: set[str], now: float) -> None:
        """Note of channels that hear each other whether they talk."""
        talks = self._is_talk(members)
        changed: dict[str, LiveCall] = {}
        for uniqueid in members:
            talk = self._talks[uniqueid]
            if talks == (talk.since is not None):
                continue
            if talks:
                talk.begin(now)
            else:
                talk.end(now)
            linkedid = self._linkedids[uniqueid]
            changed[linkedid] = self._calls[linkedid]
        for call in changed.values():
            call.changed = True
            self._update_call(call, now)

    def _update_call(self, call: LiveCall, now: float, ended: float | None = None) -> None:
        """Note of a call whether any of its channels talks."""
        talks = any(self._talks[uniqueid].since is not None for uniqueid in call.channels)
        if talks and call.answered is None:
            call.answered, call.changed = now, True
            self._listener.answered(call)
        elif talks and call.silent_since is not None:
            call.silent_s += max(0.0, now - call.silent_since)
            call.silent_since, call.changed = None, True
        elif not talks and call.answered is not None and call.silent_since is None:
            call.silent_since, call.changed = now if ended is None else ended, True

    def _hang_up(self, uniqueid: str, now: float, cause: str, ended: float | None = None) -> None:
        over = now if ended is None else ended
        self._dialled_by.pop(uniqueid, None)
        self._leave(uniqueid, over)
        self._talks[uniqueid].ended = over
        self._hung_up.add(uniqueid)
        self._hung_up_at.append((now, uniqueid))
        call = self._calls[self._linkedids.pop(uniqueid)]
        call.channels.discard(uniqueid)
        call.changed = True
        if not call.cause and cause not in ENDED_WELL:
            call.cause = cause
        if not call.channels:
            self._finish(call, over, cause)

    def _finish(self, call: LiveCall, ended: float, cause: str) -> None:
        del self._calls[call.linkedid]
        was_answered = call.person_answered and call.dial_status == "ANSWER" and call.outcome in ("", "ANSWER")
        if call.answered is None and was_answered and cause != JOINED:
            call.answered = call.silent_since = ended  # hung up before both were in the bridge: without talk
            self._listener.answered(call)
        self._listener.finished(call, ended, cause)

    def _forget_old(self, now: float) -> None:
        while self._hung_up_at and now - self._hung_up_at[0][0] >= REMEMBER_HUNG_UP_S:
            uniqueid = self._hung_up_at.popleft()[1]
            if self._talks[uniqueid].heir in self._linkedids:  # its conversation goes on
                self._hung_up_at.append((now, uniqueid))
                continue
            self._hung_up.discard(uniqueid)
            self._set_name(uniqueid, "")
            del self._talks[uniqueid]
