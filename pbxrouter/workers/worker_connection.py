"""One worker, as the main process sees it: what it reports goes to the main process's parts, and they answer it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

from pbxrouter.agi import AGIRequest, DialogueLine
from pbxrouter.alarms import Alarm
from pbxrouter.ami import has_variable
from pbxrouter.call import (
    ActiveCalls,
    CallProofs,
    GatewayCall,
    HistoryWriter,
    PinAttempt,
    PinCalls,
    PinGuard,
    PinSource,
    Refusals,
    Reports,
)
from pbxrouter.counter import TalkOfCalls
from pbxrouter.errors import ProtocolViolation
from pbxrouter.security import Standing
from pbxrouter.text import Sentence
from pbxrouter.workers.codec import (
    packed_ruling,
    unpacked_record,
    unpacked_row,
    unpacked_sentence,
    update_call,
)
from pbxrouter.workers.link import Handler, Link
from pbxrouter.workers.main_journal import MainJournal
from pbxrouter.workers.shared_watch import SharedWatch

MAX_BEGUN: Final = 20_000
"""Calls of a worker whose beginning is remembered."""
OWN_LINES: Final = ("pbxrouter.fastagi.", "pbxrouter.call.pin_guard", "pbxrouter.call.flow", "pbxrouter.drivers.")
"""Where log lines come from that are about calls, and the same whichever process has the call; programs read them."""


@dataclass(frozen=True, slots=True)
class MainParts:
    """The parts of the main process that the workers' calls need.

    Attributes:
        reports: are told of each finished call.
        load_rules: loads the rules in all processes.
    """

    reports: Reports
    refusals: Refusals
    guard: PinGuard
    pin_calls: PinCalls
    proofs: CallProofs
    talk: TalkOfCalls
    journal: MainJournal
    history: HistoryWriter
    active_calls: ActiveCalls
    watch: SharedWatch
    raise_alarm: Callable[[Alarm], object]
    load_rules: Callable[[], Awaitable[object]]


@dataclass(slots=True)
class WorkerFigures:
    """What a worker last said of itself.

    Attributes:
        served: calls since its start.
        open_calls: FastAGI connections that it has open.
        last_call: epoch second of its last call; None before the first.
        refused: connections that it has refused, by reason.
        in_progress: calls that it serves; ``talking`` of them are in a conversation.
        trouble: why it cannot serve calls as it should; None if it can.
    """

    served: int = 0
    open_calls: int = 0
    last_call: float | None = None
    refused: Mapping[str, int] = field(default_factory=dict)
    in_progress: int = 0
    talking: int = 0
    trouble: Sentence | None = None


class WorkerConnection:
    """The connection to one worker, from its start to its end.

    Args:
        number: of the worker, from 2; the main process is the first.
        ready: called when the worker takes calls.
        lost: called when the connection is gone.

    Attributes:
        figures: what it last said of itself.
        link: the connection.
        is_ready: whether it takes calls.
    """

    log = Logger(namespace="pbxrouter.workers")

    def __init__(
        self,
        number: int,
        parts: MainParts,
        clock: IReactorTime,
        ready: Callable[[], object] = lambda: None,
        lost: Callable[[], object] = lambda: None,
    ) -> None:
        self.number = number
        self._parts = parts
        self._tell_ready = ready
        self._tell_lost = lost
        self.figures = WorkerFigures()
        self.is_ready = False
        self._begun: dict[str, int] = {}  # talks that the channel had had, by the key of the call
        self._calls: dict[int, GatewayCall] = {}
        self._written: list[str] = []
        self._attempts: dict[int, PinAttempt | None] = {}  # None: it is being admitted
        self._given_up: set[int] = set()  # while they are being admitted
        self._pin_calls: dict[int, str | None] = {}  # the user by the call's number; None: it is being counted
        handlers: dict[str, Handler] = {
            "ready": self._ready,
            "figures": self._figures,
            "log": self._log,
            "begun": self._call_begun,
            "ended": self._ended,
            "rows": self._rows,
            "take_over": self._take_over,
            "refused": self._refused,
            "calls": self._changed_calls,
            "line": self._line,
            "alarm": self._alarm,
            "admit": self._admit,
            "right": self._right,
            "wrong": self._wrong,
            "give_up": self._give_up,
            "begin_pin_call": self._begin_pin_call,
            "end_pin_call": self._end_pin_call,
            "has_variable": self._has_variable,
            "load_rules": self._load_rules,
        }
        self.link = Link(clock, handlers, self._lost)

    def _ready(self) -> None:
        self.is_ready = True
        self._tell_ready()

    def _lost(self) -> None:
        """The worker has ended: what only it knew is over."""
        self.is_ready = False
        self.figures.open_calls = self.figures.in_progress = self.figures.talking = 0
        for call in self._calls.values():
            self._parts.active_calls.remove(call)
        self._calls.clear()
        for number in tuple(self._attempts):
            self._give_up(number)
        for number in tuple(self._pin_calls):
            self._end_pin_call(number)
        self._tell_lost()

    # --- what it reports ---

    def _figures(
        self,
        served: int,
        open_calls: int,
        last_call: float | None,
        refused: Mapping[str, int],
        in_progress: int,
        talking: int,
        trouble: list[Any] | None,
    ) -> None:
        sentence = None if trouble is None else unpacked_sentence(trouble)
        self.figures = WorkerFigures(served, open_calls, last_call, refused, in_progress, talking, sentence)

    def _log(self, level: str, namespace: str, system: str | None, text: str) -> None:
        """Write a log line of the worker's to the gateway's log."""
        if not namespace.startswith(OWN_LINES):
            text = f"{text} [worker {self.number}]"
        more = {} if system is None else {"log_system": system}
        Logger(namespace=namespace).emit(LogLevel.lookupByName(level), "{log_text}", log_text=text, **more)

    def _call_begun(self, key: str, uniqueid: str, asterisk: str) -> None:
        talks = self._parts.talk.talks_so_far(uniqueid, asterisk)
        if talks is not None:
            self._begun[key] = talks
            if len(self._begun) > MAX_BEGUN:
                del self._begun[next(iter(self._begun))]

    def _ended(self, packed: list[Any]) -> None:
        """A call is over; it has a key in the worker's journal."""
        record = unpacked_record(packed)
        if record.key in self._begun:
            record = replace(record, talks_before=self._begun.pop(record.key))
        self._parts.journal.leave_to(record.key, self._is_written)
        self._parts.reports(record)

    def _rows(self, rows: Sequence[list[Any]]) -> None:
        """Take calls that a killed worker left in its journal."""
        for packed in rows:
            row = unpacked_row(packed)
            if not self._parts.journal.leave_to(row.call_key, self._is_written):
                self._parts.history.add(row)
                self._parts.talk.watch_left(row)

    def _take_over(self, rows: Sequence[list[Any]]) -> None:
        """Answer for the calls of a worker that ends."""
        for packed in rows:
            self._parts.journal.take_over(unpacked_row(packed))

    def _is_written(self, key: str) -> None:
        self._written.append(key)

    def tell_written(self) -> None:
        """Tell the worker which calls the history has, so that it need not keep them."""
        if self._written:
            written, self._written = self._written, []
            self.link.tell("written", written)

    def _refused(self, variables: Mapping[str, str], why: list[Any], peer: str, asterisk: str) -> None:
        violation = ProtocolViolation(unpacked_sentence(why))
        violation.peer, violation.asterisk = peer, asterisk
        self._parts.refusals.refused(AGIRequest(variables), violation)

    def _changed_calls(self, changed: Sequence[list[Any]], over: Sequence[int]) -> None:
        active = self._parts.active_calls
        for packed in changed:
            serial = packed[0]
            call = self._calls.get(serial)
            if call is None:
                call = self._calls[serial] = GatewayCall(0, "", "", "", "", 0.0)
                update_call(call, packed)
                active.insert(call)
            else:
                update_call(call, packed)
                active.changed()
        for serial in over:
            gone = self._calls.pop(serial, None)
            if gone is not None:
                active.remove(gone)

    def _line(self, watcher: int, line: Sequence[str]) -> None:
        self._parts.watch.show(watcher, DialogueLine(*line))

    def _alarm(self, kind: str, text: str, details: Mapping[str, str]) -> None:
        self._parts.raise_alarm(Alarm(kind, text, details))

    # --- PINs ---

    async def _admission(
        self, number: int, channel: str, caller: str | None, map_id: int, source: Sequence[Any]
    ) -> list[Any]:
        endpoint, peer, standing, is_phone, asterisk = source
        self._attempts[number] = None
        attempt = await self._parts.guard.admit(
            caller_request(channel, caller), map_id, PinSource(endpoint, peer, Standing(standing), is_phone, asterisk)
        )
        if number in self._given_up:
            self._given_up.discard(number)
            self._attempts.pop(number, None)
            self._parts.guard.give_up(attempt)
        else:
            self._attempts[number] = attempt
        return [packed_ruling(attempt.ruling), attempt.is_known]

    def _admit(self, *values: Any) -> Deferred[list[Any]]:
        return Deferred.fromCoroutine(self._admission(*values))

    def _right(self, number: int, user: str) -> Deferred[None] | None:
        attempt = self._attempts.pop(number, None)
        return None if attempt is None else Deferred.fromCoroutine(self._parts.guard.right(attempt, user))

    def _wrong(self, number: int, channel: str, caller: str | None, peer: str, dialled: str) -> None:
        attempt = self._attempts.pop(number, None)
        if attempt is not None:
            self._parts.guard.wrong(attempt, caller_request(channel, caller), peer, dialled)

    def _give_up(self, number: int) -> None:
        if number not in self._attempts:
            return
        attempt = self._attempts[number]
        if attempt is None:
            self._given_up.add(number)
        else:
            del self._attempts[number]
            self._parts.guard.give_up(attempt)

    def _begin_pin_call(self, number: int, user: str, limit: int) -> Deferred[bool]:
        return Deferred.fromCoroutine(self._pin_call(number, user, limit))

    async def _pin_call(self, number: int, user: str, limit: int) -> bool:
        self._pin_calls[number] = None
        begun = False
        try:
            begun = await self._parts.pin_calls.begin(user, limit)
        finally:
            was_ended = self._pin_calls.pop(number, "") == "" or not self.link.is_open
        if begun and was_ended:  # the worker did not wait for it
            self._parts.pin_calls.end(user)
        elif begun:
            self._pin_calls[number] = user
        return begun

    def _end_pin_call(self, number: int) -> None:
        user = self._pin_calls.pop(number, None)
        if user is not None:
            self._parts.pin_calls.end(user)

    # --- Asterisk ---

    @property
    def asterisks(self) -> list[Any]:
        """Name and address of each Asterisk with AMI, and whether each Asterisk of the settings has a connection."""
        proofs = self._parts.proofs
        return [[[str(manager.name), manager.peer] for manager in proofs.managers], proofs.is_complete]

    def _has_variable(self, place: int, uniqueid: str, name: str, value: str) -> Deferred[bool | None] | None:
        managers: Sequence[Any] = self._parts.proofs.managers
        if not 0 <= place < len(managers):
            return None
        return Deferred.fromCoroutine(has_variable(managers[place], uniqueid, name, value))

    def _load_rules(self) -> Deferred[object]:
        async def load() -> object:
            return await self._parts.load_rules()

        return Deferred.fromCoroutine(load()).addCallback(lambda _: None)


def caller_request(channel: str, caller: str | None) -> AGIRequest:
    """What the PIN guard needs of a call's request."""
    return AGIRequest({"channel": channel, "callerid": caller or ""})
