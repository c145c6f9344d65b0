"""Which gateway serves the calls in AGI(agi:async) of an Asterisk, if several are connected to it.

Asterisk tells every connection to AMI of each call, so two gateways would serve each call twice. The one that serves
them has its name in a global variable, with Asterisk's own time, and renews it each second. Another gateway stands by:
it looks at the variable, and takes it over when it has not been renewed for STALE_S or its owner has stopped.

A gateway that stood still (SIGSTOP, a paused machine) may have been replaced meanwhile. So it believes its own claim
for LEASE_S only, and then asks Asterisk before it takes a call.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pbxrouter.ami import AMIConnection
from pbxrouter.errors import ActionFailed, ManagerError
from pbxrouter.net import every
from pbxrouter.text import printable

CLAIM_VARIABLE: Final = "PBXROUTER_MAGI"
EVERY_S: Final = 0.5
"""Seconds between two looks."""
RENEW_S: Final = 1.0
"""Seconds between two renewals of the own claim."""
STALE_S: Final = 3.0
"""Age from which another gateway's claim counts no more."""
LEASE_S: Final = 2.5
"""Seconds for which the own claim is believed without asking; less than STALE_S."""
SETTLE_S: Final = 0.3
"""Seconds after which a new claim is read back: of two gateways that claim at the same time the last one has it."""
TIMEOUT_S: Final = 4.0
MAX_HOST: Final = 64
"""Characters of a host's name that are shown."""


@dataclass(frozen=True, slots=True)
class ClaimText:
    """What the variable holds.

    Attributes:
        gateway: the id of the gateway that serves the calls; ``""``: none does.
        run: tells two runs of that gateway apart.
        host: its machine.
        at_ms: Asterisk's time of the last renewal, in milliseconds.
    """

    gateway: str = ""
    run: str = ""
    host: str = ""
    at_ms: int = 0

    @classmethod
    def parse(cls, text: str) -> ClaimText:
        """Parse the variable; another program's value counts as none."""
        parts = text.split(" ")
        if len(parts) != 4 or not (parts[3].isascii() and parts[3].isdecimal() and len(parts[3]) < 20):
            return cls()
        return cls(parts[0], parts[1], printable(parts[2], MAX_HOST), int(parts[3]))

    @property
    def text(self) -> str:
        """The variable's value."""
        return f"{self.gateway} {self.run} {self.host} {self.at_ms}" if self.gateway else ""


class MagiClaim(MultiService):
    """The claim of one gateway to the agi:async calls of one Asterisk.

    Args:
        gateway: the gateway's id.
        host: its machine's name.

    Attributes:
        other: the gateway that serves the calls instead, as ``id on host``; ``""`` if none is known.
        gained: called when the calls are this gateway's from now on, with whether their last gateway is known to go on
            with those that it has: it has stopped taking new ones.
        lost: called when another gateway has taken them.
    """

    log = Logger()

    def __init__(self, manager: AMIConnection, clock: IReactorTime, gateway: str, host: str) -> None:
        super().__init__()
        self._manager = manager
        self._clock = clock
        self._own = ClaimText(gateway, secrets.token_hex(2), host.replace(" ", "_")[:MAX_HOST] or "-")
        self._held = False
        self._is_first = True  # look since the connection came up
        self._is_refused = False
        self._looking = False
        self._has_seen_other = False
        self._until = 0.0
        self._asking: list[Deferred[bool]] | None = None
        self.other = ""
        self.gained: Callable[[bool], object] = lambda goes_on: None
        self.lost: Callable[[], object] = lambda: None
        every(EVERY_S, self.look, clock, self)
        manager.on_connect(lambda: Deferred.fromCoroutine(self.look()))
        manager.on_disconnect(self._down)

    @property
    def is_held(self) -> bool:
        """Whether the calls are this gateway's, as far as it knows."""
        return self._held

    def confirm(self) -> Deferred[bool]:
        """Whether the calls are this gateway's; Asterisk is asked if the claim was not renewed lately. Never fails."""
        answer: Deferred[bool] = Deferred()
        if not self._held or self._is_refused or self._clock.seconds() < self._until:
            answer.callback(self._held)
        elif self._asking is not None:
            self._asking.append(answer)
        else:
            self._asking = [answer]
            Deferred.fromCoroutine(self._ask())
        return answer

    async def _ask(self) -> None:
        """Ask Asterisk once for all that wait."""
        try:
            mine = self._is_mine(await self._read())
        except ManagerError:
            mine = False  # the call waits for the dialplan's limit, or is found when the connection is up again
        asking, self._asking = self._asking or [], None
        for answer in asking:
            answer.callback(mine and self._held)

    async def look(self) -> None:
        """Look at the variable once, and renew or take the claim. Never fails."""
        if not self.running or self._looking or not self._manager.is_up:
            return
        if self._held and self._clock.seconds() < self._until - LEASE_S + RENEW_S:
            return
        self._looking = True
        try:
            await self._look()
            self._is_refused = False
        except ActionFailed as error:
            # Without the right to variables it cannot be known; it is as with a single gateway.
            if not self._is_refused:
                self._is_refused = True
                self.log.warn(
                    "MAGI {name}: it cannot be seen whether another gateway serves the calls in agi:async: {error}",
                    name=self._manager.name,
                    error=str(error),
                )
            self._gain(goes_on=False)
        except ManagerError:
            pass  # the connection is lost, or answers late; the lease runs out meanwhile
        finally:
            self._looking = False

    async def _look(self) -> None:
        asked = self._clock.seconds()
        now_ms = round(float((await self._manager.action("Ping", timeout_s=TIMEOUT_S)).get("Timestamp") or 0) * 1000)
        found = await self._read()
        if self._is_mine(found):
            await self._renew(now_ms, asked)
            self._gain(goes_on=False)
        elif found.gateway == self._own.gateway and self._is_first:
            await self._renew(now_ms, asked)  # the run before this one; there is one on an address
            self._gain(goes_on=False)
        elif found.gateway and now_ms - found.at_ms < STALE_S * 1000:
            self._lose(found)
        else:
            await self._renew(now_ms, asked)
            await deferLater(self._clock, SETTLE_S)
            found_now = await self._read()
            if self._is_mine(found_now):
                self._gain(goes_on=self._has_seen_other and not found.gateway)
            elif found_now.gateway:
                self._lose(found_now)
        self._is_first = False

    def _is_mine(self, found: ClaimText) -> bool:
        return (found.gateway, found.run) == (self._own.gateway, self._own.run)

    async def _read(self) -> ClaimText:
        headers = [("Variable", CLAIM_VARIABLE)]
        return ClaimText.parse((await self._manager.action("Getvar", headers, TIMEOUT_S)).get("Value"))

    async def _renew(self, now_ms: int, asked: float) -> None:
        if not self.running:
            return
        claim = ClaimText(self._own.gateway, self._own.run, self._own.host, now_ms)
        await self._manager.action("Setvar", [("Variable", CLAIM_VARIABLE), ("Value", claim.text)], TIMEOUT_S)
        self._until = asked + LEASE_S

    def _gain(self, goes_on: bool) -> None:
        if self._held or not self.running:
            return
        self._held, self.other = True, ""
        if self._has_seen_other:
            self.log.info("MAGI {name}: serves the calls in agi:async from now on", name=self._manager.name)
        self.gained(goes_on)

    def _lose(self, found: ClaimText) -> None:
        other = f"{printable(found.gateway, MAX_HOST)} on {found.host}"
        if other != self.other:
            self.other, self._has_seen_other = other, True
            self.log.warn(
                "MAGI {name}: gateway {other} serves the calls in agi:async of this Asterisk; this one stands by",
                name=self._manager.name,
                other=other,
            )
        if self._held:
            self._held = False
            self.lost()

    def _down(self) -> None:
        self._held, self._is_first, self._until = False, True, 0.0

    def release(self) -> Deferred[Any]:
        """Let another gateway take new calls from now on. Never fails."""
        held, self._held = self._held, False
        stopped: Deferred[Any] = super().stopService() if self.running else succeed(None)
        if held and not self._is_refused:
            empty = self._manager.action("Setvar", [("Variable", CLAIM_VARIABLE), ("Value", "")], TIMEOUT_S)
            empty.addErrback(lambda failure: failure.trap(ManagerError) and None)
            return empty.addCallback(lambda _: stopped)
        return stopped

    def stopService(self) -> Deferred[Any]:
        """Stop looking, and release the claim."""
        return self.release()
