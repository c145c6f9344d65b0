"""A worker's parts that work with the main process: what is asked there, and what is reported there.

What cannot be asked, since the main process is gone or stands still, is done here: wrong PINs and the calls of a PIN
are then counted by the database alone, as by another gateway on it; finished calls are written by the worker itself;
and Asterisk counts as out of reach.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from twisted.python.threadable import isInIOThread
from zope.interface import implementer

from pbxrouter.agi import AGIRequest, DialogueLine
from pbxrouter.alarms import Alarm
from pbxrouter.call import (
    ActiveCalls,
    CallJournal,
    CallRecord,
    GatewayCall,
    GatewayOutcome,
    HistoryWriter,
    JournalEntry,
    Phase,
    PinAttempt,
    PinCalls,
    PinGuard,
    PinSource,
    row_of,
)
from pbxrouter.database import Database
from pbxrouter.database.calls import CallRow
from pbxrouter.errors import ProcessAway, ProtocolViolation, sentence_of
from pbxrouter.net import SharedBoard, every
from pbxrouter.rules import Decision
from pbxrouter.workers.codec import (
    packed_call,
    packed_record,
    packed_request,
    packed_row,
    packed_sentence,
    unpacked_ruling,
)
from pbxrouter.workers.link import Link

STILL_S: Final = 3.0
"""Seconds without a sign of life after which the main process is not waited for."""
LOOK_EVERY_S: Final = 0.5
TELL_CALLS_EVERY_S: Final = 0.25
MAX_KEPT: Final = 20_000
"""Finished calls that wait for the main process to write them; further ones the worker writes itself."""
MAX_LINES: Final = 2000
"""Log lines and lines of dialogues that may wait while the main process does not read; further ones are dropped."""


class MainProcess(MultiService):
    """The main process, as a worker sees it.

    Args:
        link: the connection.
        board: has the main process's signs of life.
        now: returns monotonic seconds, those of the board.
    """

    def __init__(self, link: Link, board: SharedBoard, clock: IReactorTime, now: Callable[[], float]) -> None:
        super().__init__()
        self.link = link
        self._board = board
        self._now = now
        self.peers: list[str] = []
        every(LOOK_EVERY_S, self._look, clock, self)

    @property
    def is_there(self) -> bool:
        """Whether it can be asked: it is connected, and has given a sign of life."""
        return self.link.is_open and self._now() - self._board.last_beat(0) <= STILL_S

    async def ask(self, kind: str, *values: Any) -> Any:
        """Ask the main process.

        Raises:
            ProcessAway: it is gone, stands still, or could not answer.
        """
        if not self.is_there:
            raise ProcessAway("the main process of the gateway gives no sign of life")
        return await self.link.ask(kind, *values)

    async def _look(self) -> None:
        """Give up what is asked of a process that stands still."""
        if not self.is_there:
            self.link.give_up("the main process of the gateway gives no sign of life")


class RemotePinGuard(PinGuard):
    """The PIN guard of the main process; the worker's own, on the database, while that is away.

    Takes the arguments of PinGuard, and the main process.
    """

    def __init__(self, main: MainProcess, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.log = Logger("pbxrouter.call.pin_guard.PinGuard")  # by which programs find wrong PINs in the log
        self._main = main
        self._numbers = itertools.count(1)
        self._asked: dict[PinAttempt, int] = {}

    async def admit(self, request: AGIRequest, map_id: int, source: PinSource | None = None) -> PinAttempt:
        """Charge a guess, and rule whether the caller's next PIN is checked. Never fails."""
        told = source or PinSource()
        number = next(self._numbers)
        try:
            ruling, known = await self._main.ask(
                "admit",
                number,
                request.channel,
                request.caller,
                map_id,
                [told.endpoint, told.peer, told.standing.value, told.is_phone, told.asterisk],
            )
        except ProcessAway as error:
            self.log.warn("PIN guard: counting in the worker alone: {error}", error=str(error))
            self._main.link.tell("give_up", number)
            return await super().admit(request, map_id, source)
        except BaseException:
            self._main.link.tell("give_up", number)
            raise
        attempt = PinAttempt((), unpacked_ruling(ruling), known)
        self._asked[attempt] = number
        return attempt

    def give_up(self, attempt: PinAttempt) -> None:
        """Note that a PIN is no longer being checked; its guess stays charged."""
        number = self._asked.pop(attempt, None)
        if number is None:
            super().give_up(attempt)
        else:
            self._main.link.tell("give_up", number)

    async def right(self, attempt: PinAttempt, user: str) -> None:
        """Take back the charge of a right PIN, and remember its caller. Never fails."""
        number = self._asked.pop(attempt, None)
        if number is None:
            if attempt.keys:
                await super().right(attempt, user)
            return
        try:
            await self._main.ask("right", number, user)
        except ProcessAway as error:
            self.log.warn("PIN guard: a right PIN could not be noted: {error}", error=str(error))

    def wrong(self, attempt: PinAttempt, request: AGIRequest, peer: str, number: str) -> None:
        """Count and log a wrong PIN, or one that was not checked."""
        asked = self._asked.pop(attempt, None)
        if asked is None or not self._main.link.is_open:
            super().wrong(attempt, request, peer, number)
        else:
            self._main.link.tell("wrong", asked, request.channel, request.caller, peer, number)


class RemotePinCalls(PinCalls):
    """The calls of PINs, counted in the main process; by the worker's own count and the database while that is away."""

    def __init__(self, main: MainProcess, store: Database | None, now: Callable[[], float]) -> None:
        super().__init__(store, now)
        self._main = main
        self._numbers = itertools.count(1)
        self._asked: dict[str, list[int]] = {}
        self._own = 0

    async def begin(self, user: str, limit: int) -> bool:
        """Count a call that a user's PIN has opened; False if the user has as many as allowed."""
        number = next(self._numbers)
        try:
            begun: bool = await self._main.ask("begin_pin_call", number, user, limit)
        except ProcessAway as error:
            self.log.warn("PIN calls: counting in the worker alone: {error}", error=str(error))
            self._main.link.tell("end_pin_call", number)
            own = await super().begin(user, limit)
            self._own += own
            return own
        except BaseException:
            self._main.link.tell("end_pin_call", number)
            raise
        if begun:
            self._asked.setdefault(user, []).append(number)
        return begun

    def end(self, user: str) -> None:
        """Count the end of such a call."""
        numbers = self._asked.get(user)
        if not numbers:
            self._own -= 1
            super().end(user)
            return
        self._main.link.tell("end_pin_call", numbers.pop())
        if not numbers:
            del self._asked[user]

    async def write(self) -> None:
        """Write the calls that the worker counts itself, if there are any. Never fails."""
        if self._own:
            await super().write()


class RemoteManager:
    """The connection to one Asterisk's AMI, which the main process has.

    Args:
        place: among those of the main process.
        name: of the Asterisk.
        peer: the address that it is connected to.
    """

    def __init__(self, main: MainProcess, place: int, name: str = "", peer: str = "") -> None:
        self._main = main
        self._place = place
        self.name = name
        self.peer = peer

    @staticmethod
    async def has_variable(manager: RemoteManager, uniqueid: str, name: str, value: str) -> bool | None:
        """As ``ami.has_variable``; None while the main process cannot be asked."""
        try:
            answer: bool | None = await manager._main.ask("has_variable", manager._place, uniqueid, name, value)
        except ProcessAway:
            return None
        return answer


class ReportedCalls(ActiveCalls):
    """The calls that the worker serves; the main process is told of those that last."""

    def __init__(self) -> None:
        super().__init__()
        self._changed: dict[GatewayCall, None] = {}
        self._told: set[int] = set()
        self._over: list[int] = []

    def add(self, request: AGIRequest, now: float, asterisk: str = "") -> GatewayCall:
        """Add a call that has come; as in ActiveCalls."""
        call = super().add(request, now, asterisk)
        self._changed[call] = None
        return call

    def set_asterisk(self, call: GatewayCall, asterisk: str) -> None:
        """Set the Asterisk that a call came from; as in ActiveCalls."""
        super().set_asterisk(call, asterisk)
        self._changed[call] = None

    def set_decision(self, call: GatewayCall, decision: Decision) -> None:
        """Set what was decided for a call; as in ActiveCalls."""
        super().set_decision(call, decision)
        self._changed[call] = None

    def set_phase(self, call: GatewayCall, phase: Phase) -> None:
        """Set the phase that a call has entered; as in ActiveCalls."""
        super().set_phase(call, phase)
        self._changed[call] = None

    def remove(self, call: GatewayCall) -> None:
        """Remove a call; as in ActiveCalls."""
        super().remove(call)
        self._changed.pop(call, None)
        if call.serial in self._told:
            self._told.discard(call.serial)
            self._over.append(call.serial)

    def news(self) -> tuple[list[list[Any]], list[int]]:
        """The calls that have changed since the last time, and the numbers of those that are over."""
        changed, self._changed = self._changed, {}
        over, self._over = self._over, []
        self._told.update(call.serial for call in changed)
        return [packed_call(call) for call in changed], over


class WorkerJournal(CallJournal):
    """The journal of the worker's calls; the main process is told of each that begins, if it knows of their talk."""

    tell_of: Callable[[str, str, str], object] | None = None
    """Takes key, Uniqueid and Asterisk of a call that begins; None: the main process has no AMI."""

    def begin(self, call: GatewayCall, request: AGIRequest) -> JournalEntry:
        """Write a call that begins; as in CallJournal."""
        entry = super().begin(call, request)
        if self.tell_of is not None:
            self.tell_of(entry.key, request.uniqueid, call.asterisk)
        return entry


class WorkerHistory(HistoryWriter):
    """Writes the calls that the main process cannot take; at the start, sends it those that a killed worker left.

    Attributes:
        found: of the journals that no process had any more.
    """

    found: Callable[[Sequence[CallRow]], object] = staticmethod(lambda rows: None)

    async def forget(self) -> None:
        """Leave the deletion of old calls to the main process."""

    def take_up(self, rows: Sequence[CallRow]) -> None:
        """Hand on what was left."""
        if rows:
            self.found(rows)


class FinishedCalls(Service):
    """Reports finished calls, and keeps each in the worker's journal until the main process has written it.

    Args:
        log_call: writes the log line of a call of which the main process will not.
    """

    def __init__(
        self,
        main: MainProcess,
        journal: CallJournal,
        history: HistoryWriter,
        log_call: Callable[[CallRecord], object],
    ) -> None:
        super().__init__()
        self._main = main
        self._journal = journal
        self._history = history
        self._log_call = log_call
        self._kept: dict[str, CallRow] = {}
        self._is_alone = False

    @property
    def kept(self) -> int:
        """Number of calls that the main process has not written to the history yet."""
        return len(self._kept)

    def report(self, record: CallRecord) -> None:
        """Report a call that is over."""
        row = self._journal.finish(row_of(record))
        if self._is_alone or len(self._kept) >= MAX_KEPT:
            self._log_call(record)
            self._write(row)
            return
        self._kept[row.call_key] = row
        self._main.link.tell("ended", packed_record(replace(record, key=row.call_key)))

    def send(self, rows: Iterable[CallRow]) -> None:
        """Send the rows of calls that were found in a journal."""
        found = {row.call_key: row for row in rows}
        self._kept.update(found)
        if self._is_alone:
            self.be_alone()
        else:
            self._main.link.tell("rows", [packed_row(row) for row in found.values()])

    def written(self, keys: Iterable[str]) -> None:
        """The history has calls."""
        self._journal.written([row for key in keys if (row := self._kept.pop(key, None)) is not None])

    def be_alone(self) -> None:
        """The main process is gone: write all that it has not, and what comes."""
        self._is_alone = True
        kept, self._kept = self._kept, {}
        for row in kept.values():
            self._write(row)

    def _write(self, row: CallRow) -> None:
        if row.outcome == GatewayOutcome.NO_CALL:
            self._journal.written([row])
        else:
            self._history.add(row)

    def refused(self, request: AGIRequest, violation: ProtocolViolation) -> None:
        """Report a call that was refused before it was served."""
        why = packed_sentence(sentence_of(violation))
        self._main.link.tell("refused", packed_request(request), why, violation.peer, violation.asterisk)

    def stopService(self) -> Deferred[None]:
        """Have the main process keep what it has not written yet; what it cannot is written here."""
        super().stopService()
        return Deferred.fromCoroutine(self._hand_over())

    async def _hand_over(self) -> None:
        try:
            if self._kept:
                await self._main.ask("take_over", [packed_row(row) for row in self._kept.values()])
            self.written(list(self._kept))
        except ProcessAway:
            self.be_alone()


@implementer(ILogObserver)
class LogToMain:
    """A log observer that has the main process write the worker's lines; itself where that cannot.

    Args:
        otherwise: writes an event here.
        reactor: for lines of other threads.
    """

    def __init__(self, link: Link, otherwise: ILogObserver, reactor: Any) -> None:
        self._reactor = reactor
        self._link = link
        self._otherwise = otherwise
        self._waiting = 0
        self._inside = False

    def __call__(self, event: LogEvent) -> None:
        """Send an event."""
        if not isInIOThread():
            self._reactor.callFromThread(self, event)
            return
        level = event.get("log_level", LogLevel.info)
        if not self._link.is_open:
            self._otherwise(event)
            return
        if self._link.is_slow:
            self._waiting += 1
            if self._waiting > MAX_LINES:
                return
        else:
            self._waiting = 0
        if self._inside:  # of the link itself, while it sends a line
            return
        self._inside = True
        try:
            text = formatEvent(event)
            failure = event.get("log_failure")
            if failure is not None:
                text = f"{text}\n{failure.getTraceback()}"
            self._link.tell("log", level.name, event.get("log_namespace", "-"), event.get("log_system"), text)
        finally:
            self._inside = False


class Reporter(MultiService):
    """Tells the main process of the calls in progress, and of the worker's own figures."""

    log = Logger()

    def __init__(
        self,
        link: Link,
        calls: ReportedCalls,
        figures: Callable[[], Sequence[Any]],
        clock: IReactorTime,
    ) -> None:
        super().__init__()
        self._link = link
        self._calls = calls
        self._figures = figures
        self._last: Sequence[Any] = ()
        every(TELL_CALLS_EVERY_S, self.tell, clock, self)

    async def tell(self) -> None:
        """Tell what is new. Never fails."""
        if self._link.is_slow:
            return
        changed, over = self._calls.news()
        if changed or over:
            self._link.tell("calls", changed, over)
        figures = list(self._figures())
        if figures != self._last:
            self._last = figures
            self._link.tell("figures", *figures)


def send_line(link: Link, watcher: int, line: DialogueLine) -> None:
    """Send a line of a call's dialogue to a watcher of the main process, unless that does not keep up."""
    if not link.is_slow:
        link.tell("line", watcher, [line.uniqueid, line.caller, line.extension, line.direction, line.text])


def send_alarm(link: Link, alarm: Alarm) -> None:
    """Have the main process raise an alarm."""
    link.tell("alarm", alarm.kind, alarm.text, dict(alarm.details))
