"""The PIN guard: delays and lock-outs after wrong PINs, across calls, ways in, restarts and gateways.

``admit`` charges a guess before the PIN is checked, so that calls at the same time cannot share one; ``right``
takes the charge back. A PIN for which there is no guess left while others are being checked waits for those: they may
prove right. State is in the database, which all gateways on it share; while the database is away the
guard goes on in memory. A right PIN makes its caller known; such a caller is not held back by what others have done
under other names. What a caller hears, and after what time, is the same for a right and a wrong PIN while
locked out.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pbxrouter.agi import AGIRequest
from pbxrouter.alarms import Alarm
from pbxrouter.database import (
    Connection,
    Database,
    admit_guess,
    forget_guesses,
    is_known,
    lift_guesses,
    note_known,
    refund_guess,
)
from pbxrouter.security import (
    GuessKey,
    RateLimit,
    Ruling,
    Standing,
    bounded,
    charged,
    charges,
    keys_of,
    of_known,
    refunded,
    rule,
)
from pbxrouter.text import log_field, printable

_WRONG: Final = "PIN guard: wrong PIN from {peer}, channel {channel}, caller {caller}, number {number}"
_LOCKED_OUT: Final = (
    "PIN guard: locked out {scope} {name} after wrong PINs from {peer}, channel {channel}, caller {caller}, "
    "number {number}"
)
MAX_SHOWN: Final = 200
"""Characters of each text in a log line or an alarm."""
MAX_IN_MEMORY: Final = 10_000
"""Keys remembered while the database is away, and known callers."""
NEW_KNOWN_A_DAY: Final = 10
"""Callers that the right PINs of one user make known, and as many a day after those."""
FORGET_EVERY: Final = 500
"""PINs after which the gateway bounds the rows in the database, besides once an hour."""


@dataclass(frozen=True, slots=True)
class PinSource:
    """Where a call that keys a PIN came from.

    Attributes:
        endpoint: by which the call came, if it is known better than by the channel's name; else ``""``.
        peer: the address that the call came from; ``""`` over AMI.
        standing: whether the channel's name can be relied on.
        is_phone: whether the rules name the endpoint as an extension's, so that no right PIN need make it known.
        asterisk: the Asterisk that it came from, by its name in the settings; ``""`` if that is not known.
    """

    endpoint: str = ""
    peer: str = ""
    standing: Standing = Standing.PROVEN
    is_phone: bool = False
    asterisk: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class PinAttempt:
    """One PIN that a caller keyed; to be told to the guard as right or wrong, or else to be given up.

    Attributes:
        keys: what its guess is counted by, the caller's first.
        ruling: whether it is checked, and after what delay.
        is_known: whether the caller was known before.
        asterisk: the Asterisk that it came from, if it is known and there are several; else ``""``.
    """

    keys: tuple[GuessKey, ...]
    ruling: Ruling
    is_known: bool = False
    asterisk: str = ""

    @property
    def is_checked(self) -> bool:
        """Whether the PIN counts; if not, it is treated as wrong."""
        return self.ruling.locked_by is None

    @property
    def charged(self) -> tuple[GuessKey, ...]:
        """The keys that its guess is charged to and that may be locked."""
        return tuple(key for key in charges(self.keys, self.ruling) if key.may_lock)


@dataclass(slots=True)
class PinStatistics:
    """What the guard has seen since the gateway started.

    Attributes:
        wrong: PINs that were wrong.
        unchecked: PINs that were not checked, since the caller was locked out.
        lockouts: keys that became locked.
        alarms: times at which a mapping or the gateway came under attack.
        alarmed_until: epoch second until which the latest alarm holds; 0 if there was none.
    """

    wrong: int = 0
    unchecked: int = 0
    lockouts: int = 0
    alarms: int = 0
    alarmed_until: float = 0.0


class PinGuard:
    """Rules on each PIN before it is checked.

    Args:
        store: the database.
        trunks: endpoints that stand for many callers, such as ``PJSIP/provider``.
        now: returns epoch seconds.
        seconds: returns monotonic seconds, by which this process remembers guesses.
        alarm: tells the owner of a lock-out or an attack.
        has_several: whether the settings have several Asterisks, so that ``PJSIP/33`` of each is a phone of its own.

    Attributes:
        statistics: what it has seen since the gateway started.
    """

    log = Logger()

    def __init__(
        self,
        store: Database | None,
        trunks: Iterable[str],
        now: Callable[[], float],
        alarm: Callable[[Alarm], object] = lambda alarm: None,
        seconds: Callable[[], float] = time.monotonic,
        has_several: bool = False,
    ) -> None:
        self._has_several = has_several
        self._raise_alarm = alarm
        self._store = store
        self._trunks = frozenset(trunks)
        self._now = now
        self._seconds = seconds
        self._memory: dict[GuessKey, float] = {}
        self._locked: dict[GuessKey, float] = {}
        self._known: dict[GuessKey, None] = {}
        self._attempts: set[PinAttempt] = set()  # that are being checked
        self._unfinished: Counter[GuessKey] = Counter()  # how many of them each key was charged for
        self._ruled_on: Counter[GuessKey] = Counter()  # how many PINs of each key are being ruled on
        self._waiting: dict[GuessKey, deque[Deferred[bool]]] = {}  # for one of those
        self._new_known = RateLimit(NEW_KNOWN_A_DAY / 1440, NEW_KNOWN_A_DAY)
        self._admitted = 0
        self.statistics = PinStatistics()

    def set_trunks(self, trunks: Iterable[str]) -> None:
        """Use other endpoints as those that stand for many callers."""
        self._trunks = frozenset(trunks)

    async def admit(self, request: AGIRequest, map_id: int, source: PinSource | None = None) -> PinAttempt:
        """Charge a guess, and rule whether the caller's next PIN is checked. Never fails.

        Args:
            source: where the call came from; by default what the channel's name tells is relied on.
        """
        source = source or PinSource()
        asterisk = source.asterisk if self._has_several else ""
        keys = keys_of(
            request.channel,
            request.caller,
            map_id,
            self._trunks,
            endpoint=source.endpoint,
            peer=source.peer,
            standing=source.standing,
            asterisk=asterisk,
        )
        attempt = await self._rule(keys, source.is_phone, asterisk)
        while (locked := attempt.ruling.locked_by) is not None and self._unfinished[locked] > attempt.ruling.excess:
            waiting: Deferred[bool] = Deferred()
            self._waiting.setdefault(locked, deque()).append(waiting)
            if not await waiting:
                break
            try:
                attempt = await self._rule(keys, source.is_phone, asterisk, again=True)
            finally:
                self._finish([locked])
        self._admitted += 1
        if self._admitted % FORGET_EVERY == 0:
            await self.forget()
        return attempt

    async def _rule(
        self, keys: tuple[GuessKey, ...], is_phone: bool, asterisk: str, *, again: bool = False
    ) -> PinAttempt:
        """Rule on a PIN, and charge its guess.

        Args:
            asterisk: see PinAttempt.
            again: whether it was ruled on before, and not checked.
        """
        now = self._now()
        unfinished = self._unfinished + self._ruled_on
        ruling: Ruling | None = None
        known = is_phone
        if self._store is not None:
            self._ruled_on.update(keys)
            try:
                used, ruling, known = await self._store.run(
                    lambda connection: _admit(connection, keys, now, is_phone, unfinished, again)
                )
            except Exception as error:
                self.log.warn("PIN guard: the database cannot be used, counting in memory: {error}", error=str(error))
            finally:
                self._ruled_on.subtract(keys)
                self._ruled_on = +self._ruled_on
        moment = self._seconds()
        if ruling is None:
            known = is_phone or keys[0] in self._known
            used = of_known(keys) if known else keys
            for key in used:
                self._remember(key, bounded(key, self._memory.get(key, 0.0), moment))
            ruling = rule(used, self._memory, moment, known, unfinished)
            if ruling.locked_by is not None:
                ruling = replace(ruling, locked_until=ruling.locked_until - moment + now)
        for key in charges(used, ruling):
            self._remember(key, charged(key, self._memory.get(key, 0.0), moment))
        attempt = PinAttempt(used, ruling, known, asterisk)
        if attempt.is_checked:
            self._attempts.add(attempt)
            self._unfinished.update(attempt.charged)
        return attempt

    def give_up(self, attempt: PinAttempt) -> None:
        """Note that a PIN is no longer being checked; its guess stays charged. Does nothing if that is known."""
        self._settle(attempt, is_right=False)

    def _settle(self, attempt: PinAttempt, *, is_right: bool) -> None:
        if attempt in self._attempts:
            self._attempts.discard(attempt)
            self._finish(attempt.charged, is_right=is_right)

    def _finish(self, keys: Iterable[GuessKey], *, is_right: bool = False) -> None:
        """One PIN of each key is no longer being checked: a PIN that waits may have its guess if it was right."""
        for key in keys:
            self._unfinished[key] -= 1
            waiting = self._waiting.get(key)
            if waiting and is_right:
                self._unfinished[key] += 1  # until it is ruled on
                waiting.popleft().callback(True)
            while waiting and not self._unfinished[key]:
                waiting.popleft().callback(False)
            if not waiting:
                self._waiting.pop(key, None)
            if not self._unfinished[key]:
                del self._unfinished[key]

    async def right(self, attempt: PinAttempt, user: str) -> None:
        """Take back the charge of a right PIN, and remember its caller. Never fails.

        Args:
            user: whose PIN it is. One who has it could else claim ever new names, and guess for others as each.
        """
        now, moment = self._now(), self._seconds()
        for key in attempt.keys:
            if key.scope != "queue":
                self._remember(key, refunded(key, self._memory.get(key, 0.0), moment))
        becomes_known = attempt.is_known or not self._new_known.wait_s(user, moment)
        if becomes_known:
            self._known.pop(attempt.keys[0], None)
            self._known[attempt.keys[0]] = None
            while len(self._known) > MAX_IN_MEMORY:
                del self._known[next(iter(self._known))]
        if self._store is not None:
            try:
                await self._store.run(lambda connection: _right(connection, attempt.keys, now, becomes_known))
            except Exception as error:
                self.log.warn("PIN guard: a right PIN could not be noted: {error}", error=str(error))
        self._settle(attempt, is_right=True)

    def wrong(self, attempt: PinAttempt, request: AGIRequest, peer: str, number: str) -> None:
        """Count and log a wrong PIN, or one that was not checked.

        Args:
            peer: the address that the call came from.
            number: the dialled number.
        """
        self.give_up(attempt)
        now = self._now()
        ruling = attempt.ruling
        told = {
            "peer": peer or "?",
            "channel": request.channel,
            "caller": request.caller or "unknown",
            "number": number,
        }
        if attempt.asterisk:
            told["asterisk"] = attempt.asterisk
        fields = {name: log_field(value) if value != "?" else value for name, value in told.items()}
        told = {name: printable(value, MAX_SHOWN) for name, value in told.items()}
        which = ", asterisk {asterisk}" if attempt.asterisk else ""
        if ruling.alarmed is not None:
            self._alarm(ruling.alarmed, now, told)
        if ruling.locked_by is None:
            self.statistics.wrong += 1
            self.log.info(_WRONG + which, **fields)
            return
        self.statistics.unchecked += 1
        key = ruling.locked_by
        if self._locked.get(key, 0.0) <= now:
            self.statistics.lockouts += 1
            self.log.warn(
                _LOCKED_OUT + which,
                scope=key.scope,
                name=log_field(key.name),
                **fields,
            )
            who = f"{key.scope} {printable(key.name, MAX_SHOWN)}".strip()
            self._raise_alarm(Alarm("pin-lockout", f"locked out after wrong PINs: {who}", told))
        self._locked = {known: until for known, until in self._locked.items() if until > now}
        self._locked[key] = max(ruling.locked_until, now)

    async def lift(self, keys: Iterable[GuessKey]) -> int:
        """Forgive the wrong guesses of keys; returns how many had any.

        Raises:
            StoreError: the database cannot be written now.
        """
        wanted = tuple(keys)
        self.lifted(wanted)
        if self._store is None:
            return 0
        return await self._store.run(lambda connection: lift_guesses(connection, wanted))

    def lifted(self, keys: Iterable[GuessKey]) -> None:
        """Forget what this process remembers of keys whose wrong guesses were forgiven in the database."""
        for key in keys:
            self._memory.pop(key, None)
            self._locked.pop(key, None)
            if not key.may_lock:
                self.statistics.alarmed_until = 0.0

    async def forget(self) -> None:
        """Delete from the database what was forgiven long ago, and what exceeds its bounds. Never fails."""
        if self._store is not None:
            now = self._now()
            try:
                await self._store.run(lambda connection: forget_guesses(connection, now))
            except Exception as error:
                self.log.debug("PIN guard: old wrong PINs cannot be deleted now: {error}", error=str(error))

    def _alarm(self, key: GuessKey, now: float, told: dict[str, str]) -> None:
        if not 0 < self.statistics.alarmed_until - now <= key.interval_s:  # more if the clock was set back
            self.statistics.alarms += 1
            where = "the gateway" if key.scope == "gateway" else f"mapping {key.name}"
            self.log.critical("PIN guard: ALARM: wrong PINs from many places at {where}", where=where)
            self._raise_alarm(Alarm("pin-attack", f"wrong PINs from many places at {where}", told))
        self.statistics.alarmed_until = now + key.interval_s

    def _remember(self, key: GuessKey, forgiven_at: float) -> None:
        self._memory.pop(key, None)
        self._memory[key] = forgiven_at
        if len(self._memory) > MAX_IN_MEMORY:  # those that are forgiven first go: no flood takes a lock-out away
            kept = sorted(self._memory.items(), key=lambda item: item[1])[-(MAX_IN_MEMORY * 9 // 10) :]
            self._memory = dict(kept)


def _admit(
    connection: Connection,
    keys: tuple[GuessKey, ...],
    now: float,
    is_phone: bool,
    unfinished: Mapping[GuessKey, int],
    again: bool,
) -> tuple[tuple[GuessKey, ...], Ruling, bool]:
    """The keys that count for a caller, the ruling, and whether the caller is known."""
    known = is_phone or is_known(connection, keys[0], now)
    used = of_known(keys) if known else keys
    return used, admit_guess(connection, used, now, known, unfinished, again), known


def _right(connection: Connection, keys: tuple[GuessKey, ...], now: float, becomes_known: bool) -> None:
    refund_guess(connection, keys, now)
    if becomes_known:
        note_known(connection, keys[0], now)
