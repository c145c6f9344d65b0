"""Claims the calls of a dialplan context in AGI(agi:async), so that one of several gateways serves them.

All gateways that are logged in to an Asterisk receive its AsyncAGIStart events, and any may send commands. So the
gateway that serves a context holds a global variable of that Asterisk, ``PBXROUTER_MAGI_`` and the context, and writes
it anew every second. The others stand by: they read it, and take it over when it is free, when its holder's process
has ended (on the same machine), or when it has not changed for DEAD_S.

A holder takes calls without asking for LEASE_S after it sent the value that Asterisk has confirmed. DEAD_S is longer,
so no other takes the variable in that time, also if a process stands still. After that, as when a frozen process goes
on, it asks first. A gateway that takes the variable reads it again SETTLE_S later: of two that took it at the same
moment the one that wrote last has it. One whose exchange took longer than SETTLE_S may have overwritten a gateway that
has read its own value already; it waits until that one has looked again. No clocks of two machines are compared.
"""

from __future__ import annotations

import contextlib
import enum
import os
import re
import secrets
import socket
import time
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pbxrouter.ami import AMIConnection
from pbxrouter.errors import ActionFailed, ManagerError
from pbxrouter.net import every
from pbxrouter.text import Sentence, printable, sentence

CLAIM_VARIABLE: Final = "PBXROUTER_MAGI_"
"""With the context: who serves its calls."""
STANDBY_VARIABLE: Final = "PBXROUTER_STANDBY_"
"""With the context: the gateway that has looked last while it stood by."""
FREE: Final = "-"
"""What stands before a gateway that has left the calls, and may still have some."""
LOOK_S: Final = 0.5
"""Seconds between two looks at the variable."""
LEASE_S: Final = 2.0
"""Seconds for which a holder need not look before it takes a call."""
DEAD_S: Final = 2.5
"""Seconds without a change after which a holder counts as gone."""
SETTLE_S: Final = 0.25
"""Seconds after which a gateway reads what it has written, to see whether another has written too."""
SLOW_SETTLE_S: Final = 1.5
"""The same for a gateway whose exchange with Asterisk took longer than SETTLE_S."""
ANSWER_S: Final = 1.0
"""Seconds after which an answer says nothing of the present."""
TIMEOUT_S: Final = 4.0
PROC: Final = Path("/proc")


def claim_variable(context: str, prefix: str = CLAIM_VARIABLE) -> str:
    """The name of the variable for a context; signs that no variable's name can have are replaced."""
    clean = re.sub(r"[^\w-]", "_", context, flags=re.ASCII)
    if clean != context:
        clean += f"_{zlib.crc32(context.encode('utf-8', 'surrogateescape')):08x}"
    return prefix + clean


def uptime_s() -> float:
    """Seconds since the machine started: they pass while the process is stopped, and while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def is_gone(process: int, proc: Path = PROC) -> bool:
    """Whether a process of this machine has ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    with contextlib.suppress(OSError, IndexError):
        return (proc / f"{process}/stat").read_bytes().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    return False


def place_of_processes(proc: Path = PROC) -> str:
    """What two processes have in common that see each other by their number; ``""`` if that cannot be told."""
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_bytes()
        return sha256(boot + os.readlink(proc / "self/ns/pid").encode()).hexdigest()[:8]
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Holder:
    """A run of a gateway, as the variable names it.

    Attributes:
        gateway: the gateway's id.
        run: another one at each start.
        place: within which its process number counts; ``""``: unknown.
        process: its number.
        beat: changes with each writing.
        host: its machine's name.
    """

    gateway: str
    run: str
    place: str
    process: int
    beat: int
    host: str

    def __str__(self) -> str:
        return f"{self.gateway}/{self.run}/{self.place}/{self.process}/{self.beat}/{self.host}"

    @classmethod
    def of_this_process(cls, gateway: str) -> Holder:
        """This run."""
        host = re.sub(r"[^\w.-]", "_", socket.gethostname(), flags=re.ASCII)[:64]
        return cls(gateway, secrets.token_hex(4), place_of_processes(), os.getpid(), 0, host)

    @classmethod
    def parse(cls, value: str) -> Holder | None:
        """The holder that a value names; None if it names none."""
        found = re.fullmatch(r"(\w*)/(\w+)/(\w*)/(\d{1,9})/(\d{1,18})/([\w.-]*)", value, re.ASCII)
        return None if found is None else cls(found[1], found[2], found[3], int(found[4]), int(found[5]), found[6])


class State(enum.Enum):
    """What a gateway knows of a claim."""

    UNKNOWN = "not asked yet"
    SETTLING = "written, not read again yet"
    HELD = "this gateway serves the calls"
    STANDBY = "another gateway serves them"
    UNGUARDED = "Asterisk refuses to tell; the calls are served"


class Taken(enum.Enum):
    """How a claim came to this gateway, which says what calls of before may be touched."""

    WAS_FREE = "no gateway has them, or it has ended"
    AGAIN = "this gateway had them itself"
    SHARED = "another gateway may go on with those that it has: it stops, or gives no sign of life"


OnTaken = Callable[[str, Taken], object]


class Claim:
    """The claim on the calls of one context.

    Args:
        me: this run of the gateway.
        seconds: returns seconds that pass while the process is stopped, too.
        is_gone: tells whether a process has ended.

    Attributes:
        state: what is known.
        holder: the other gateway that serves the calls.
        trouble: why it cannot be told which gateway serves the calls.
    """

    log = Logger()

    def __init__(
        self,
        manager: AMIConnection,
        context: str,
        me: Holder,
        clock: IReactorTime,
        on_taken: OnTaken,
        seconds: Callable[[], float] = uptime_s,
        is_gone: Callable[[int], bool] = is_gone,
    ) -> None:
        self.context = context
        self.state = State.UNKNOWN
        self.holder: Holder | None = None
        self.trouble: Sentence | None = None
        self._variable = claim_variable(context)
        self._standby_variable = claim_variable(context, STANDBY_VARIABLE)
        self._manager = manager
        self._me = me
        self._clock = clock
        self._on_taken = on_taken
        self._seconds = seconds
        self._is_gone = is_gone
        self._lease_until = 0.0
        self._looking = False
        self._confirming: list[Deferred[bool]] = []
        self._leaving = False
        self._seen: tuple[str, float] = ("", 0.0)  # the other gateway's value, and since when
        self._standby: tuple[str, float] = ("", -LEASE_S)

    @property
    def is_served(self) -> bool:
        """Whether this gateway serves the calls, as far as it knows."""
        return self.state in (State.HELD, State.UNGUARDED)

    @property
    def standby(self) -> Holder | None:
        """A gateway that stands by for this one."""
        value, seen = self._standby
        return Holder.parse(value) if self.state is State.HELD and self._seconds() - seen < DEAD_S else None

    @property
    def is_sure(self) -> bool:
        """Whether no other gateway can have taken the calls meanwhile."""
        return self.state is State.HELD and self._seconds() < self._lease_until

    async def confirm(self) -> bool:
        """Whether this gateway may take a call now; Asterisk is asked if need be. Never fails."""
        if self.state is State.HELD and not self.is_sure:
            answer: Deferred[bool] = Deferred()
            self._confirming.append(answer)
            if len(self._confirming) == 1:
                Deferred.fromCoroutine(self._confirm_all())
            return await answer
        return self.is_served

    async def _confirm_all(self) -> None:
        """Ask Asterisk once for all calls that come meanwhile: in a flood each answer takes long."""
        is_mine = await self._is_still_mine()
        answers, self._confirming = self._confirming, []
        for answer in answers:
            answer.callback(is_mine)

    async def _is_still_mine(self) -> bool:
        asked = self._seconds()
        try:
            value = await self._get(self._variable)
        except ManagerError:
            return False
        holder = Holder.parse(value)
        if holder is not None and holder.run != self._me.run:
            self._stand_by(holder, value)
        return self.state is State.HELD and holder is not None and self._seconds() - asked <= ANSWER_S

    async def look(self) -> None:
        """Look at the variable once, and write it if it is this gateway's to write. Never fails."""
        if self._looking or self._leaving or not self._manager.is_up:
            return
        self._looking = True
        try:
            await self._look()
        except ActionFailed as error:
            self._refused(error)
        except ManagerError:
            if self.state is State.SETTLING:
                self.state = State.UNKNOWN
        finally:
            self._looking = False

    def connection_lost(self) -> None:
        """Forget what was known of the variable; whose it is is asked at the next connection."""
        self.state, self.trouble = State.UNKNOWN, None

    async def release(self) -> None:
        """Leave the calls to another gateway, if this one has them. Never fails."""
        self._leaving = True
        held, self.state = self.state in (State.HELD, State.SETTLING), State.UNKNOWN
        if not held:
            return
        with contextlib.suppress(ManagerError):
            holder = Holder.parse(await self._get(self._variable))
            if holder is not None and holder.run == self._me.run:
                await self._set(self._variable, FREE + str(holder))

    async def _look(self) -> None:
        asked = self._seconds()
        value = await self._get(self._variable)
        now, holder = self._seconds(), Holder.parse(value)
        if self._leaving:
            return
        is_other = holder is not None and holder.run != self._me.run
        has_ended = holder is not None and is_other and self._has_ended(holder)
        if holder is not None and is_other and not has_ended:
            is_silent = now - asked <= ANSWER_S and value == self._seen[0] and asked - self._seen[1] >= DEAD_S
            if not is_silent:
                await self._stay_by(holder, value)
                return
        if now - asked > ANSWER_S:
            return  # it says what was: an answer that waited while this process stood still
        if holder is None:
            left = Holder.parse(value.removeprefix(FREE)) if value.startswith(FREE) else None
            is_shared = left is not None and left.gateway != self._me.gateway and not self._has_ended(left)
            await self._claim(asked, Taken.SHARED if is_shared else Taken.WAS_FREE)
        elif is_other:
            self._say_take_over(holder)
            await self._claim(asked, Taken.WAS_FREE if has_ended else Taken.SHARED)
        elif now < self._lease_until:
            await self._renew()
        else:
            await self._claim(asked, Taken.AGAIN if self.state is State.HELD else Taken.WAS_FREE)

    def _has_ended(self, holder: Holder) -> bool:
        return bool(holder.place) and holder.place == self._me.place and self._is_gone(holder.process)

    async def _claim(self, asked: float, how: Taken) -> None:
        """Write the variable, and read it again when every other gateway that wrote it meanwhile has done so, too.

        Args:
            asked: when the value was asked for that made it this gateway's to write.
        """
        until_known = State.HELD if how is Taken.AGAIN else State.SETTLING
        if self.state is not State.UNGUARDED:
            self.state = until_known
        sent = self._seconds()
        await self._write()
        if self._leaving:
            return
        self.state = until_known
        is_quick = self._seconds() - asked <= SETTLE_S
        await deferLater(self._clock, SETTLE_S if is_quick else SLOW_SETTLE_S)
        if self.state is not until_known:
            return  # the connection was lost, the gateway stops, or another gateway was found to have it
        asked = self._seconds()
        value = await self._get(self._variable)
        if self.state is not until_known:
            return
        holder = Holder.parse(value)
        if holder is not None and holder.run != self._me.run:
            self._stand_by(holder, value)
        elif holder is None or self._seconds() - asked > ANSWER_S:
            self.state = State.UNKNOWN
        else:
            self._lease_until = sent + LEASE_S
            if how is not Taken.AGAIN:
                self._hold(how)

    async def _renew(self) -> None:
        """Write the variable anew while no other gateway can take it."""
        sent = self._seconds()
        if self._lease_until - sent < LEASE_S - LOOK_S:
            Deferred.fromCoroutine(self._look_for_standby())
            await self._write()
            if self._seconds() - sent <= ANSWER_S:
                self._lease_until = sent + LEASE_S
        if self.state is State.UNKNOWN and not self._leaving:
            self._hold(Taken.WAS_FREE)  # the connection was lost and is back: its calls are looked for

    async def _look_for_standby(self) -> None:
        with contextlib.suppress(ManagerError):
            value = await self._get(self._standby_variable)
            if value != self._standby[0]:
                self._standby = (value, self._seconds())

    def _hold(self, how: Taken) -> None:
        self.state, self.holder, self.trouble = State.HELD, None, None
        self._seen = ("", 0.0)
        self._on_taken(self.context, how)

    async def _stay_by(self, holder: Holder, value: str) -> None:
        self._stand_by(holder, value)
        self._me = replace(self._me, beat=self._me.beat + 1)
        with contextlib.suppress(ActionFailed):  # it tells the other gateway's owner, no more
            await self._set(self._standby_variable, str(self._me))

    def _stand_by(self, holder: Holder, value: str) -> None:
        if value != self._seen[0]:
            self._seen = (value, self._seconds())
        if self.holder is None or self.holder.run != holder.run:
            self.log.warn(
                "MAGI {name}: gateway {gateway} on {host} serves the calls in {context}; this one stands by",
                name=self._manager.name,
                gateway=holder.gateway,
                host=holder.host,
                context=printable(self.context),
            )
        self.state, self.holder, self.trouble = State.STANDBY, holder, None

    def _say_take_over(self, holder: Holder) -> None:
        if holder.gateway != self._me.gateway:
            self.log.warn(
                "MAGI {name}: gateway {gateway} on {host} is gone; this one takes over the calls in {context}",
                name=self._manager.name,
                gateway=holder.gateway,
                host=holder.host,
                context=printable(self.context),
            )

    def _refused(self, error: ActionFailed) -> None:
        if self.state is not State.UNGUARDED:
            self.trouble = sentence(
                "whether another gateway serves the same calls cannot be told: {why}; is call among the user's "
                "write classes?",
                why=error.sentence,
            )
            self.log.warn(
                "MAGI {name}: whether another gateway serves the same calls cannot be told: {error}; is call among the "
                "user's write classes?",
                name=self._manager.name,
                error=str(error),
            )
            self.state, self.holder = State.UNGUARDED, None
            self._on_taken(self.context, Taken.WAS_FREE)

    async def _write(self) -> None:
        self._me = replace(self._me, beat=self._me.beat + 1)
        await self._set(self._variable, str(self._me))

    async def _get(self, variable: str) -> str:
        return (await self._manager.action("Getvar", [("Variable", variable)], TIMEOUT_S)).get("Value")

    async def _set(self, variable: str, value: str) -> None:
        await self._manager.action("Setvar", [("Variable", variable), ("Value", value)], TIMEOUT_S)


class Claims(MultiService):
    """The claims of one gateway on the calls of one Asterisk, a claim for each context.

    Args:
        contexts: those whose calls the gateway serves.
        me: see Claim, as the last two.

    Attributes:
        me: as passed.
    """

    def __init__(
        self,
        manager: AMIConnection,
        contexts: Collection[str],
        me: Holder,
        clock: IReactorTime,
        seconds: Callable[[], float] = uptime_s,
        is_gone: Callable[[int], bool] = is_gone,
    ) -> None:
        super().__init__()
        self._manager = manager
        self.me = me
        self._clock = clock
        self._seconds = seconds
        self._is_gone = is_gone
        self._listeners: list[OnTaken] = []
        self._claims: dict[str, Claim] = {}
        self.set_contexts(contexts)
        every(LOOK_S, self.look, clock, self)
        manager.on_connect(lambda: Deferred.fromCoroutine(self.look()))
        manager.on_disconnect(self._down)

    def on_taken(self, tell: OnTaken) -> None:
        """Call a function with each context whose calls this gateway begins to serve, and how they came to it."""
        self._listeners.append(tell)

    def is_served(self, context: str) -> bool:
        """Whether this gateway serves the calls of a context, as far as it knows."""
        return context in self._claims and self._claims[context].is_served

    def is_sure(self, context: str) -> bool:
        """Whether no other gateway can have taken the calls of a context from this one meanwhile."""
        return context in self._claims and self._claims[context].is_sure

    async def confirm(self, context: str) -> bool:
        """Whether this gateway may take a call in a context now. Never fails."""
        return context in self._claims and await self._claims[context].confirm()

    @property
    def is_settled(self) -> bool:
        """Whether it is known of all contexts which gateway serves their calls."""
        return not any(claim.state in (State.UNKNOWN, State.SETTLING) for claim in self._claims.values())

    @property
    def others(self) -> dict[str, Holder]:
        """The gateways that live and have to do with the same calls, by context."""
        found = {context: claim.holder or claim.standby for context, claim in self._claims.items()}
        return {context: holder for context, holder in found.items() if holder is not None}

    @property
    def has_standby(self) -> bool:
        """Whether another gateway stands by, or this one does."""
        return bool(self.others)

    @property
    def notes(self) -> list[Sentence]:
        """What an owner should know, a sentence for each context that has something."""
        notes = []
        for context, claim in self._claims.items():
            if claim.trouble is not None:
                notes.append(claim.trouble)
            elif claim.state is State.STANDBY and claim.holder is not None:
                notes.append(
                    sentence(
                        "stands by: gateway {gateway} on {host} serves the calls in {context}",
                        gateway=claim.holder.gateway,
                        host=claim.holder.host,
                        context=printable(context),
                    )
                )
            elif (standby := claim.standby) is not None:
                notes.append(
                    sentence(
                        "serves the calls in {context}; gateway {gateway} on {host} stands by",
                        gateway=standby.gateway,
                        host=standby.host,
                        context=printable(context),
                    )
                )
        return notes

    @property
    def standing_by(self) -> int:
        """The number of contexts whose calls another gateway serves."""
        return sum(claim.state is State.STANDBY for claim in self._claims.values())

    def set_contexts(self, contexts: Collection[str]) -> None:
        """Claim the calls of other contexts; those that are no longer named are left to other gateways."""
        for context in [context for context in self._claims if context not in contexts]:
            Deferred.fromCoroutine(self._claims.pop(context).release())
        for context in contexts:
            if context not in self._claims:
                self._claims[context] = self._new_claim(context)

    async def look(self) -> None:
        """Look at all claims once. Never fails."""
        if self.running:
            await DeferredList([Deferred.fromCoroutine(claim.look()) for claim in tuple(self._claims.values())])

    async def release(self) -> None:
        """Leave all calls to another gateway; claim none any more until the next start. Never fails."""
        claims, self._claims = self._claims, {}
        await DeferredList([Deferred.fromCoroutine(claim.release()) for claim in claims.values()])

    def stopService(self) -> Deferred[Any]:
        """Leave all calls to another gateway, and look no more."""
        released = Deferred.fromCoroutine(self.release())
        return DeferredList([released, super().stopService()], consumeErrors=True)

    def _new_claim(self, context: str) -> Claim:
        return Claim(self._manager, context, self.me, self._clock, self._tell, self._seconds, self._is_gone)

    def _tell(self, context: str, how: Taken) -> None:
        for tell in self._listeners:
            tell(context, how)

    def _down(self) -> None:
        for claim in self._claims.values():
            claim.connection_lost()
