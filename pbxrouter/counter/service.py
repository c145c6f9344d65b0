"""The call counter of one Asterisk: counts AMI events and writes the counts to the database.

Counts are written about once a second, in one transaction with the calls in progress; while the
database is away they are kept in memory and written later. After each log-in and every few minutes
Asterisk is asked for its channels (docs/asterisk.md B6, rule 6). A time without a connection is recorded as a
gap: unknown, not zero.

A Hangup counts when Asterisk, asked a moment later, knows the channel no more, since a caller can forge one
(docs/asterisk.md B8); it counts at its own time.

All times are by the gateway's clock. If that is set while calls are in progress, their times are moved with it, so
that no call lasts longer or shorter for it.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pbxrouter.ami import AMIConnection, AMIMessage, ChannelCheck, is_whole, with_reporting_hint
from pbxrouter.call import CallRecord
from pbxrouter.counter.call_table import DOCTOR_PREFIX, CallTable, ChannelSeen, ChannelTalk, LiveCall
from pbxrouter.counter.clock import AsteriskClock
from pbxrouter.counter.counts import CallCounts
from pbxrouter.counter.turn import Turn
from pbxrouter.counter.withheld import SURE_S, EventWatch
from pbxrouter.counter.writer import CounterWriter
from pbxrouter.database import Database
from pbxrouter.errors import ManagerError, ManagerUnavailable, StoreError
from pbxrouter.net import STEP_S, ClockSteps, QueueFigures, Timer, every, in_slices
from pbxrouter.text import Sentence, sentence

WRITE_S: Final = 1.0
POLL_S: Final = 2.0
"""Seconds between two checks that Asterisk answers, which ``last_seen`` is based on."""
RESYNC_S: Final = 180.0
UNPROVEN_S: Final = 15.0
"""Seconds between two questions for Asterisk's count of calls until their events have come on this connection."""
FORGET_S: Final = 3600.0
SLICE: Final = 100
"""Channels of a list that are read in one go."""
EARLY_S: Final = 30.0
CONFIRM_S: Final = 0.1
"""Seconds for which Hangups are gathered before Asterisk is asked whether their channels are gone."""
MAX_TAKEN_BACK_S: Final = 3600.0
"""Seconds of counting that are unknown, too, when events turn out to be withheld."""
EARLY_RECORDS: Final = 1000
"""Reports of the gateway that are kept because they came before the call's first event."""

EVENTS: Final = (
    "Newchannel",
    "BridgeEnter",
    "BridgeLeave",
    "Hangup",
    "DialBegin",
    "DialEnd",
    "HangupRequest",
    "SoftHangupRequest",
    "Rename",
    "LocalOptimizationBegin",
)
UNCHANGING: Final = ("DialBegin", "DialEnd", "HangupRequest", "SoftHangupRequest", "LocalOptimizationBegin")
"""Events after which the calls in progress are shown as before."""
TELL_TALK: Final = frozenset({"Newchannel", "BridgeEnter", "BridgeLeave", "Hangup"})
"""Events without which talk is not known."""
NOT_WHOLE: Final = ("DialBegin", "DialEnd", "Rename", "LocalOptimizationBegin")
"""Events without the headers of one channel. They count nothing."""

_DURATION: Final = re.compile(r"(\d{1,6}):(\d\d):(\d\d)")


class CallCounter(MultiService):
    """Counts the calls of one Asterisk while the gateway runs.

    Args:
        keep_days: days after which counts are deleted.
        now: returns epoch seconds.
        monotonic: returns monotonic seconds.
        turn: says which of several gateways writes the counts; None: this one.

    Attributes:
        asterisk: its name in the configuration.
        counting: the counts since the process started.
        changes: a number that changes whenever the calls in progress may have changed.
        in_sync: whether all calls in progress are known now.
        trouble: why the calls are not known; None while they are.
        restarts: how often Asterisk was found restarted.
        gaps: number of times in which calls were not counted.
    """

    log = Logger()

    def __init__(
        self,
        manager: AMIConnection,
        store: Database,
        clock: IReactorTime,
        keep_days: int,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        turn: Turn | None = None,
    ) -> None:
        super().__init__()
        self.asterisk = str(manager.name)
        self.counting = CallCounts()
        self.in_sync = False
        self.restarts = self.gaps = self.changes = 0
        self._manager = manager
        self._clock = clock
        self._now = now
        self._monotonic = monotonic
        self._steps = ClockSteps(now, monotonic)
        self.keep_days = keep_days
        self._time = AsteriskClock()
        self._table = CallTable(self.counting)
        self._writer = CounterWriter(self.asterisk, self._table, self.counting, store, now, turn)
        self._restored = self._listening = self._looking = self._is_followed = False
        self._connections_lost = 0
        self._unknown_s = 0.0
        self._resynced: float | None = None  # monotonic
        self._synced = 0.0  # monotonic; since when it is in sync, if it is
        self._withheld = EventWatch()
        self._phones_hang_up = False  # by the events of this connection and those before
        self._asked = clock.seconds()  # for Asterisk's count of calls
        self._gone: dict[str, float] = {}  # channels that a list lacked, monotonic
        self._processed: int | None = None  # calls since Asterisk's start, by its own count
        self._events_since = 0  # the last list
        self._early: dict[str, tuple[float, CallRecord]] = {}
        self._check = ChannelCheck(manager, clock)
        self._hangups: dict[str, tuple[float, AMIMessage]] = {}  # by Uniqueid, not confirmed yet
        self._gathered: list[str] = []
        self._confirming = Timer(clock)
        self.trouble: Sentence | None = None
        for name in EVENTS:
            manager.subscribe(name, functools.partial(self._event, name))
        # Its Hangups have come; if a caller has forged it, asking shows that nothing has ended.
        manager.subscribe("Shutdown", lambda _: self._ask_again())
        manager.on_connect(self._up)
        manager.on_disconnect(self._down)
        every(POLL_S, self.poll, clock, self)
        every(WRITE_S, self.write, clock, self)
        every(FORGET_S, self._forget, clock, self)

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to AMI."""
        return self._manager.is_up

    @property
    def forged_events(self) -> int:
        """Number of events that Asterisk, when asked, contradicted."""
        return self._manager.forged_events

    @property
    def writes_elsewhere(self) -> bool:
        """Whether another gateway on the database writes the counts of all calls."""
        return self._restored and not self._writer.writes_all

    @property
    def database_up(self) -> bool:
        """Whether the last write succeeded."""
        return self._writer.outage.away_since is None

    @property
    def queue(self) -> QueueFigures:
        """The figures of what waits to be written."""
        return self._writer.figures

    @property
    def active(self) -> int | None:
        """Number of calls in progress; None while unknown."""
        return self.counting.active if self.in_sync else None

    @property
    def live(self) -> Collection[LiveCall]:
        """The known calls in progress; while not ``in_sync`` some may have ended."""
        return self._table.live.values()

    def call_of(self, uniqueid: str) -> LiveCall | None:
        """The call of a channel; None if the channel is not known."""
        return self._table.call_of(uniqueid)

    @property
    def sees_talk(self) -> bool:
        """Whether Asterisk sends the events that tell of talk."""
        return not TELL_TALK.intersection(self._withheld.withheld)

    @property
    def sees_who_hangs_up(self) -> bool:
        """Whether Asterisk sends the events that tell which side ends a call; False until the first has come."""
        return self._phones_hang_up and "HangupRequest" not in self._withheld.withheld

    @property
    def follows_talk(self) -> bool:
        """Whether the talk of all calls in progress is known now, though not all of them may be counted."""
        return self._is_followed and self.sees_talk

    @property
    def withheld(self) -> tuple[str, ...]:
        """Names of the events that Asterisk withholds."""
        return self._withheld.withheld

    def talk_of(self, uniqueid: str) -> ChannelTalk | None:
        """The talk of a channel; None if the channel is not known, or has ended a minute ago."""
        return self._table.talk_of(uniqueid)

    @property
    def unknown_s(self) -> float:
        """Seconds since the process started in which calls were not counted, a present gap included."""
        lasting = 0.0
        if not self.in_sync and self._writer.seen is not None:
            lasting = max(0.0, self._now() - self._writer.seen)
        return self._unknown_s + lasting

    def report(self, record: CallRecord) -> None:
        """Receive the record of a call that the gateway has served, on this Asterisk as far as that is known."""
        uniqueid = record.request.uniqueid
        call = self._table.call_of(uniqueid)
        if call is not None:
            self.counting.label(call, record.decision, record.outcome.status)
            return
        now = self._clock.seconds()
        for old in [channel for channel, (when, _) in self._early.items() if now - when > EARLY_S]:
            del self._early[old]
        if len(self._early) < EARLY_RECORDS:
            self._early[uniqueid] = (now, record)

    # --- events ---

    def _event(self, name: str, message: AMIMessage) -> None:
        if not self._listening:
            return
        # An event that a caller has merged with another is ignored.
        if name not in NOT_WHOLE and not is_whole(message):
            self._withheld.garbled()
            return
        self._notice_step()
        self._look_for_withheld(name, message)
        when = self._time.to_local(message.get("Timestamp"), self._now())
        if name == "Hangup":
            self._hangup_received(message, when)
            return
        self._table.event(name, message.get, when)
        self.changes += name not in UNCHANGING
        if self._early and name == "Newchannel":
            self._take_early(message.get("Uniqueid"))

    def _look_for_withheld(self, name: str, message: AMIMessage) -> None:
        """Note what an event shows of those that have not come."""
        uniqueid = message.get("Uniqueid")
        if uniqueid.startswith(DOCTOR_PREFIX):
            return
        self._withheld.came(name)
        self._phones_hang_up = self._phones_hang_up or name == "HangupRequest"
        self._events_since += 1
        self._gone.pop(uniqueid, None)
        if name in ("DialBegin", "DialEnd") and uniqueid:
            self._withheld.dialled(name, message.get("DestUniqueid"), message.get("DialStatus"))
        if not self.in_sync or name in ("Newchannel", *NOT_WHOLE):
            return
        if self._table.call_of(uniqueid) is None:
            if not self._table.has_hung_up(uniqueid):
                self._withheld.mentioned("Newchannel", uniqueid)
        elif name == "Hangup":
            self._withheld.hung_up(uniqueid, self._table.is_bridged(uniqueid))
            if self._table.has_ended_unasked(uniqueid, self._hangups.keys()):
                self._withheld.mentioned("HangupRequest", uniqueid)
        elif name == "BridgeLeave" and not (
            self._table.is_bridged(uniqueid) or self._table.is_waiting(message.get("BridgeUniqueid"))
        ):
            self._withheld.mentioned("BridgeEnter", uniqueid)

    def _compare_with_list(self, status: AMIMessage, listed: Sequence[ChannelSeen]) -> None:
        """Note what Asterisk's list and its count of calls show of events that have not come."""
        now = self._clock.seconds()
        count = _count(status, "CoreProcessedCalls")
        for uniqueid, since in list(self._gone.items()):
            if now - since >= SURE_S:
                del self._gone[uniqueid]
                self._withheld.listed("Hangup")
        if self.in_sync:
            for channel in listed:
                known = self._table.call_of(channel.uniqueid) is not None or self._table.has_hung_up(channel.uniqueid)
                is_new = SURE_S <= channel.duration_s < now - self._synced - SURE_S
                if is_new and not known and not channel.uniqueid.startswith(DOCTOR_PREFIX):
                    self._withheld.listed("Newchannel")
            missing = self._table.channels - {channel.uniqueid for channel in listed} - self._hangups.keys()
            self._gone |= dict.fromkeys(missing, now)
            if count is not None and self._has_more_calls(count) and not self._events_since:
                self._withheld.listed("Newchannel")
        self._processed, self._events_since = count, 0

    def _has_more_calls(self, count: int) -> bool:
        """Whether Asterisk has had more calls since the last list; one may have been under way."""
        return self._processed is not None and count > self._processed + 1

    async def _seems_withheld(self) -> bool:
        """Whether Asterisk has calls of which no event came, or fewer than have ended: ask for its list sooner then."""
        status = await self._manager.action("CoreStatus")
        current, processed = _count(status, "CoreCurrentCalls"), _count(status, "CoreProcessedCalls")
        if current and not self._table.channels:
            return True
        if self._gone or (current is not None and current < len(self._table.live)):  # some have ended, it seems
            return True
        return processed is not None and self._has_more_calls(processed) and not self._events_since

    def _note_withheld(self) -> bool:
        """Stop counting if events are withheld: what was counted on this connection is not known, either."""
        if not self._withheld.withheld:
            return False
        if self.in_sync:
            self.in_sync = False
            self.changes += 1
            assert self._writer.seen is not None  # it was, by the list that brought it into sync
            self._writer.seen -= min(self._clock.seconds() - self._synced, MAX_TAKEN_BACK_S)
        self._complain(self._withheld.sentence)
        return True

    def _hangup_received(self, message: AMIMessage, when: float) -> None:
        uniqueid = message.get("Uniqueid")
        if self._table.call_of(uniqueid) is None:
            return
        if uniqueid not in self._hangups:
            if not self._gathered:
                self._confirming.set(CONFIRM_S, self._confirm_hangups)
            self._gathered.append(uniqueid)
        self._hangups[uniqueid] = (when, message)

    def _confirm_hangups(self) -> None:
        gathered, self._gathered = self._gathered, []
        for uniqueid in gathered:
            Deferred.fromCoroutine(self._confirm_hangup(uniqueid)).addErrback(
                lambda failure: self.log.failure(
                    "counter {name}: confirming a hang-up failed", failure, name=self.asterisk
                )
            )

    async def _confirm_hangup(self, uniqueid: str) -> None:
        if uniqueid not in self._hangups:
            return  # confirmed by a list of channels meanwhile
        try:
            has_ended = await self._check.has_ended(
                self._hangups[uniqueid][1], uniqueid, is_wanted=lambda: uniqueid in self._hangups
            )
        except ManagerUnavailable:
            return  # the list of channels at the next connection decides
        if has_ended:
            self._count_hangup(uniqueid)
        else:
            self._hangups.pop(uniqueid, None)

    def _count_hangup(self, uniqueid: str) -> None:
        if uniqueid in self._hangups:
            when, message = self._hangups.pop(uniqueid)
            self._table.event("Hangup", message.get, when)
            self.changes += 1

    def _take_early(self, uniqueid: str) -> None:
        if uniqueid in self._early:
            self.report(self._early.pop(uniqueid)[1])

    # --- the connection ---

    def _up(self) -> None:
        self._withheld.connected()
        self._gone.clear()
        self._processed = None
        self._listening = self._restored
        if self.running:
            Deferred.fromCoroutine(self.poll())

    def _down(self) -> None:
        self._listening = self.in_sync = self._is_followed = False
        self._connections_lost += 1

    def _ask_again(self) -> None:
        self._resynced = None

    async def poll(self) -> None:
        """Check that Asterisk answers, and reconcile when needed. Never fails."""
        if self._looking:
            return
        self._looking = True
        try:
            if not self._restored:
                await self._writer.restore()
                self._restored = True
                self._listening = self._manager.is_up
            if not self._manager.is_up:
                return
            self._notice_step()
            began = self._clock.seconds()
            await self._compare_clocks()
            if self._note_withheld():
                return
            is_due = self._resynced is None or began - self._resynced >= RESYNC_S
            if self.in_sync and not is_due and not self._withheld.has_proof and began - self._asked >= UNPROVEN_S:
                self._asked = began
                is_due = await self._seems_withheld()
            if self.in_sync and not is_due:
                self._writer.seen = self._now()
            else:
                await self._resync()
                self._note_withheld()
        except StoreError as error:
            self._complain(sentence("calls are not counted: {why}", why=error.sentence))
        except ManagerError as error:
            if self._manager.is_up and not self.in_sync:
                self._complain(sentence("calls are not counted: {why}", why=with_reporting_hint(error)))
        except Exception:
            self.log.failure("counter {name}: reconciling calls with Asterisk failed", name=self.asterisk)
        finally:
            self._looking = False

    def _notice_step(self) -> None:
        """Move the times of what is in progress if the clock was set."""
        step_s = self._steps.step_s()
        if not step_s:
            return
        self._time.was_set()
        self._table.clock_set(step_s)
        self._hangups = {uniqueid: (when + step_s, event) for uniqueid, (when, event) in self._hangups.items()}
        if self._writer.seen is not None:
            self._writer.seen += step_s
        self._writer.rewrite = True

    async def _compare_clocks(self) -> None:
        sent, asked = self._now(), self._monotonic()
        answer = await self._manager.action("Ping")
        answered = self._now()
        self._notice_step()
        agreed = not self._time.ahead_s
        if abs(answered - sent - (self._monotonic() - asked)) < STEP_S:  # else the clock was set in between
            self._time.compare(answer.get("Timestamp"), sent, answered)
        if agreed and self._time.ahead_s:
            self.log.warn(
                "counter {name}: Asterisk's clock is {ahead:.0f} s ahead; calls are counted by the gateway's clock",
                name=self.asterisk,
                ahead=self._time.ahead_s,
            )

    async def _resync(self) -> None:
        connections_lost = self._connections_lost
        status = await self._manager.action("CoreStatus")
        known = self._table.channels
        listed = await self._manager.action_list("CoreShowChannels")
        if connections_lost != self._connections_lost:
            return  # It is the list of a connection that was lost meanwhile; events since then are not known.
        seen = [_channel_seen(item) async for item in in_slices(listed, SLICE, self._clock) if is_whole(item)]
        if connections_lost != self._connections_lost:
            return
        self._notice_step()
        now = self._now()
        gap_began = None if self.in_sync else self._writer.seen
        self._compare_with_list(status, seen)
        listed_ids = {channel.uniqueid for channel in seen}
        for uniqueid in self._hangups.keys() - listed_ids:
            self._count_hangup(uniqueid)
        self._table.resync(known, seen, now, now if gap_began is None else min(gap_began, now))
        self.changes += 1
        for channel in seen:
            self._take_early(channel.uniqueid)
        if gap_began is not None and gap_began < now:
            self._writer.gaps.append((gap_began, now))
            self.gaps += 1
            self._unknown_s += now - gap_began
            self.log.info(
                "counter {name}: calls are counted again, after {seconds:.1f} s unseen",
                name=self.asterisk,
                seconds=now - gap_began,
            )
        started_up = f"{status.get('CoreStartupDate')} {status.get('CoreStartupTime')}".strip()
        if self._writer.started_up and started_up != self._writer.started_up:
            self.restarts += 1
            self.log.info("counter {name}: Asterisk was restarted at {when}", name=self.asterisk, when=started_up)
        self._writer.started_up = started_up
        self._writer.seen, self._resynced = now, self._clock.seconds()
        if not self.in_sync:
            self._synced = self._clock.seconds()
        self.in_sync = self._is_followed = self._writer.rewrite = True
        self.trouble = None

    def _complain(self, why: Sentence) -> None:
        """Log a problem once."""
        if why != self.trouble:
            self.trouble = why
            self.log.warn("counter {name}: {why}", name=self.asterisk, why=why.english)

    # --- the database ---

    async def write(self, last: bool = False) -> None:
        """Write the changes. Never fails."""
        if self._restored:
            if not last and await self._writer.take_over():
                self._ask_again()
            if self.in_sync:
                self._notice_step()
                self.counting.tick(self._now())
            await self._writer.write(last)

    async def _forget(self) -> None:
        await self._writer.forget(self._now() - self.keep_days * 86400)

    def stopService(self) -> Deferred[Any]:
        """Write the last changes and stop; Hangups that are not confirmed yet are counted."""
        self._confirming.clear()
        for uniqueid in tuple(self._hangups):
            self._count_hangup(uniqueid)
        stopped = super().stopService()
        written = Deferred.fromCoroutine(self.write(last=True))
        return DeferredList([stopped, written]).addCallback(lambda _: self._writer.leave())


def _count(status: AMIMessage, header: str) -> int | None:
    """A number in a response; None if it has none."""
    value = status.get(header)
    return int(value) if re.fullmatch(r"[0-9]{1,15}", value) else None


def _channel_seen(item: AMIMessage) -> ChannelSeen:
    """Convert an item of CoreShowChannels; an implausible duration counts as 0."""
    duration = _DURATION.fullmatch(item.get("Duration"))
    hours, minutes, seconds = map(int, duration.groups()) if duration else (0, 0, 0)
    return ChannelSeen(
        item.get("Uniqueid"),
        item.get("Linkedid"),
        hours * 3600 + minutes * 60 + seconds,
        item.get("BridgeId"),
        item.get("CallerIDNum"),
        item.get("Exten"),
        item.get("Channel"),
        item.get("Application"),
    )
