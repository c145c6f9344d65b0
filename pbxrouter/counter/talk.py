"""Completes the history's calls by what AMI tells of their channels: how long two people talked, and how it ended.

The gateway's part of a call may be over before AMI's last events of it have come, and a call that goes on without the
gateway ends later. So a finished call waits for a few seconds, in the journal, until the counter knows its end; one
that lasts longer is written with what is known and completed afterwards. No call waits for any of this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pbxrouter.call import CallRecord, GatewayOutcome
from pbxrouter.counter.call_table import ChannelTalk, HungUpBy
from pbxrouter.database.calls import GOES_ON, CallRow
from pbxrouter.net import Timer

TICK_S: Final = 0.25
SETTLE_S: Final = 1.0
"""Seconds after the gateway's part in which AMI's events of it have come."""
HOLD_S: Final = 4.0
"""Seconds for which a finished call is not written to the history because its end is not known."""
ELSEWHERE_S: Final = 30.0
"""Seconds for which a caller who seems to have hung up is watched: the call may go on elsewhere."""
WATCH_S: Final = 86_400.0
"""Seconds for which a call that goes on without the gateway is watched."""
TAKE_UP_S: Final = 5.0
"""Seconds after the start at which the history has the calls that an earlier run left."""
EARLIER_S: Final = 1.0
"""Seconds by which a talk may seem to begin before its call, by the clocks."""
MAX_WATCHED: Final = 5000

_BY_THE_CALLER: Final = frozenset({GatewayOutcome.HUNG_UP, "CANCEL"})
_AFTER_A_HANGUP: Final = frozenset({"h", "T"})


class Counter(Protocol):
    """The part of CallCounter that is used here."""

    @property
    def asterisk(self) -> str:
        """The Asterisk's name in the settings."""
        ...

    @property
    def follows_talk(self) -> bool:
        """Whether the talk of all calls in progress is known now."""
        ...

    @property
    def sees_talk(self) -> bool:
        """Whether Asterisk sends the events that tell of talk."""
        ...

    @property
    def sees_who_hangs_up(self) -> bool:
        """Whether Asterisk sends the events that tell which side ends a call; False until the first has come."""
        ...

    def talk_of(self, uniqueid: str) -> ChannelTalk | None:
        """The talk of a channel; None if the channel is not known."""
        ...


class History(Protocol):
    """The part of HistoryWriter that is used here."""

    def keep(self, record: CallRecord) -> CallRow:
        """Write a finished call to the journal; it is not queued for the history yet."""
        ...

    def drop(self, record: CallRecord) -> None:
        """Forget what was no call."""
        ...

    def add(self, row: CallRow) -> None:
        """Queue a finished call for the history."""
        ...

    def complete(self, row: CallRow) -> None:
        """Queue what has been learnt later of a call that is in the history."""
        ...

    async def left(self) -> list[CallRow]:
        """The calls that an earlier run of the gateway has left to Asterisk."""
        ...


@dataclass(slots=True)
class _Watched:
    """A finished call whose end is not known yet."""

    row: CallRow
    mark: int  # talks of its channel that came before the call
    place: tuple[str, str]  # where the dialplan handed it over
    since: float  # of the clock
    written: bool = False
    is_earlier: bool = False  # an earlier run of the gateway has left it
    begun: int | None = None  # talks of its channel when the gateway was done with it
    silent_since: float | None = None  # of the clock: since when a conversation that has changed channels is silent
    limit: int | None = None  # talks of its channel when the gateway got its next call; None: there was none

    def has(self, number: int, began: float) -> bool:
        """Whether a talk is this call's, by its number among those of the channel and its beginning.

        What begins when the gateway is done with the call belongs to another one, such as that of a transfer, or to
        the dialplan, unless the gateway has left the call to Asterisk.
        """
        if number < self.mark or (self.limit is not None and number >= self.limit):
            return False
        if self.is_earlier:
            return began >= self.row.began - EARLIER_S
        if self.row.outcome in GOES_ON:
            return True
        return (self.begun is not None and number < self.begun) or began <= self.row.ended

    def was_answered(self, talk: ChannelTalk) -> bool:
        """Whether a person has answered the call, if only to hang up before the two were connected."""
        return talk.person_answered >= self.row.began


class TalkOfCalls(Service):
    """Receives finished calls, completes them and passes them to the history.

    Attributes:
        counters: those of all Asterisks with an AMI connection.
    """

    def __init__(self, clock: IReactorTime, history: History) -> None:
        self.counters: Sequence[Counter] = ()
        self._history = history
        self._clock = clock
        self._watched: list[_Watched] = []
        self._timer = Timer(clock)
        self._taking_up = Timer(clock)

    @property
    def watched(self) -> int:
        """Number of finished calls whose end is not known yet."""
        return len(self._watched)

    def talks_so_far(self, uniqueid: str, asterisk: str = "") -> int | None:
        """Number of talks that a channel has had, asked when a call begins; None if no counter knows the channel.

        Args:
            asterisk: the Asterisk that has it; ``""`` if that is not known.
        """
        found = self._find(uniqueid, asterisk)
        if found is None or not found[0].follows_talk:
            return None
        for call in self._watched:
            if call.row.uniqueid == uniqueid and call.row.asterisk == asterisk and call.limit is None:
                call.limit = found[1].begun
        return found[1].begun

    def report(self, record: CallRecord) -> None:
        """Receive a finished call."""
        if record.outcome.status == GatewayOutcome.NO_CALL:
            self._history.drop(record)
            return
        row = self._history.keep(record)
        request = record.request
        place = (request.variables.get("context", ""), request.extension)
        found = self._find(request.uniqueid, record.asterisk)
        begun = None if found is None else found[1].begun
        self._watch(_Watched(row, record.talks_before, place, self._clock.seconds(), begun=begun))

    def startService(self) -> None:
        """Take up the calls that an earlier run left, once the history has them from the journal."""
        super().startService()
        self._taking_up.set(TAKE_UP_S, lambda: Deferred.fromCoroutine(self.take_up()))

    async def take_up(self) -> None:
        """Watch the calls of the history that an earlier run of the gateway has left to Asterisk."""
        for row in await self._history.left():
            self._watch(_Watched(row, 0, ("", ""), self._clock.seconds(), True, True))

    def watch_left(self, row: CallRow) -> None:
        """Watch a call that a process of the gateway has left to Asterisk; it is on its way into the history."""
        if row.outcome in GOES_ON:
            self._watch(_Watched(row, 0, ("", ""), self._clock.seconds(), True, True))

    def _watch(self, call: _Watched) -> None:
        if self._settle(call):
            return
        if len(self._watched) >= MAX_WATCHED:
            self._write(self._watched.pop(0))
        self._watched.append(call)
        if len(self._watched) == 1:
            self._timer.set(TICK_S, self._tick)

    def _tick(self) -> None:
        self._watched = [call for call in self._watched if not self._settle(call)]
        if self._watched:
            self._timer.set(TICK_S, self._tick)

    def _of(self, asterisk: str) -> Sequence[Counter]:
        """The counters that may know the calls of an Asterisk: its own, or all if it is not known which it is."""
        return [counter for counter in self.counters if counter.asterisk == asterisk] if asterisk else self.counters

    def _find(self, uniqueid: str, asterisk: str) -> tuple[Counter, ChannelTalk] | None:
        """The talk of a channel; None also if several Asterisks have such a one, and it is not known which it is."""
        found = [
            (counter, talk)
            for counter in self._of(asterisk)
            if counter.sees_talk and (talk := counter.talk_of(uniqueid)) is not None
        ]
        return found[0] if len(found) == 1 else None

    def _settle(self, call: _Watched) -> bool:
        """Complete a call if its end is known, or will not be; returns whether it is done with."""
        age_s = self._clock.seconds() - call.since
        found = self._find(call.row.uniqueid, call.row.asterisk)
        if found is None:
            counters = self._of(call.row.asterisk)
            away = call.is_earlier and not all(counter.follows_talk for counter in counters)
            waits = bool(counters) and (away or age_s < SETTLE_S)
            if not waits:
                self._write(call)
            return not waits
        counter, talk = found
        if counter.follows_talk and self._is_over(call, talk, age_s) and self._tells_who(counter, call, talk, age_s):
            self._complete(call, talk, counter.sees_who_hangs_up)
            return True
        if age_s >= HOLD_S:
            self._write(call)
        return age_s >= WATCH_S

    def _is_over(self, call: _Watched, talk: ChannelTalk, age_s: float) -> bool:
        if talk.ended is not None and not talk.heir:
            return True
        if talk.since is not None:
            call.silent_since = None
            return not call.has(len(talk.talks), talk.since)
        if talk.ended is not None:  # the half of a Local channel; what it stood in for may be on its way to a bridge
            if call.silent_since is None:
                call.silent_since = self._clock.seconds()
            return self._clock.seconds() - call.silent_since >= SETTLE_S
        if call.row.outcome in GOES_ON:
            return False
        if call.row.outcome in _BY_THE_CALLER and talk.hung_up_by is HungUpBy.UNKNOWN:
            return age_s >= ELSEWHERE_S
        return age_s >= SETTLE_S

    def _tells_who(self, counter: Counter, call: _Watched, talk: ChannelTalk, age_s: float) -> bool:
        """Whether it is known who ended a call, or has been waited for: other calls may tell that it is told."""
        seems_cut = call.row.outcome in _BY_THE_CALLER and talk.hung_up_by is HungUpBy.PBX
        return counter.sees_who_hangs_up or not seems_cut or age_s >= HOLD_S

    def _complete(self, call: _Watched, talk: ChannelTalk, sees_who_hangs_up: bool) -> None:
        row = call.row
        if not sees_who_hangs_up:
            talk = replace(talk, hung_up_by=HungUpBy.UNKNOWN)
        talks = [(began, ended) for number, (began, ended) in enumerate(talk.talks) if call.has(number, began)]
        if talk.certain:
            row = replace(
                row,
                answered_s=int(sum(max(0.0, ended - began) for began, ended in talks)),
                outcome=_ending(row.outcome, bool(talks), call.was_answered(talk), talk, call.place),
            )
        if call.written and row != call.row:
            self._history.complete(row)
        call.row = row
        self._write(call)

    def _write(self, call: _Watched) -> None:
        if not call.written:
            call.written = True
            self._history.add(call.row)

    def stopService(self) -> None:
        """Pass on all calls that wait, with what is known of them."""
        super().stopService()
        self._timer.clear()
        self._taking_up.clear()
        watched, self._watched = self._watched, []
        for call in watched:
            if not self._settle(call):
                self._write(call)


def _ending(outcome: str, talked: bool, was_answered: bool, talk: ChannelTalk, place: tuple[str, str]) -> str:
    """The outcome of a call, by what AMI tells of its channel.

    Args:
        talked: whether two people talked.
        was_answered: whether a person answered.
        place: context and extension at which the dialplan handed the call over.
    """
    if outcome in ("ANSWER", "DONE"):
        if talked or (was_answered and outcome == "ANSWER"):
            return "ANSWER"
        if outcome == "ANSWER" and talk.handed_over:
            return GatewayOutcome.MOVED
        if outcome == "ANSWER" and not talk.connected:  # the called party heard an announcement, or the like, first
            return "CANCEL" if talk.hung_up_by is HungUpBy.FAR_END else outcome
        # By Dial's word a prompt or a queue behind a Local channel answers, too.
        gave_up = outcome == "ANSWER" and talk.hung_up_by is HungUpBy.FAR_END
        return GatewayOutcome.HUNG_UP if gave_up else "DONE"
    if outcome == GatewayOutcome.HUNG_UP and talked:  # from an application such as a queue
        return "ANSWER"
    if outcome not in _BY_THE_CALLER:
        return outcome
    extension = talk.place[1]
    was_elsewhere = extension and extension not in _AFTER_A_HANGUP and place[0] and talk.place != place
    if was_elsewhere or (talk.ended is None and talk.hung_up_by is HungUpBy.UNKNOWN):
        return GatewayOutcome.MOVED
    return GatewayOutcome.CUT if talk.hung_up_by is HungUpBy.PBX else outcome
