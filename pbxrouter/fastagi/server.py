"""The FastAGI server: accepts a connection for each call, serves the call and closes the connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IReactorTime, ITransport
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger

from pbxrouter.agi import GATEWAY_VARIABLE, KEY_VARIABLE, AGIRequest, Channel, DialogueWatch, command
from pbxrouter.errors import ProtocolViolation
from pbxrouter.fastagi.admission import Admission
from pbxrouter.fastagi.protocol import FastAGIProtocol
from pbxrouter.fastagi.standstill import StandstillGuard
from pbxrouter.net import ConnectionSlot

MAX_OPENINGS: Final = 32 << 20
"""Bytes that all long opening blocks together may have while they are not complete."""
DRAIN_TIMEOUT_S: Final = 3.0
"""Seconds for which a stop waits for commands in progress; a Dial goes on in Asterisk without us.

Source: docs/asterisk.md A8.
"""

UNNAMED: Final = "00000000"
"""The id of a gateway that has none."""

OnRefused = Callable[[AGIRequest, ProtocolViolation], object]
"""Told what is known of a refused call, and why it was refused."""


class FastAGIFactory(ServerFactory):
    """Makes a protocol for each connection and serves its call.

    Args:
        serve: a coroutine function that serves one call. What it raises is logged. The connection is closed when
            it has returned or raised.
        clock: for timeouts.
        watch: the watchers of AGI dialogues.
        admission: decides which peers may connect; None: all may.
        on_refused: called for each call that was refused as forged before it was served.
        gateway: the gateway's id, which a dialplan gets that asks whether the gateway is alive.
        guard: has the calls' connections closed while the gateway stands still; None: they stay open.
        now: returns epoch seconds.

    Attributes:
        admission: the same, with the number of refused connections.
        served: number of calls since the start.
        last_call: when the last one came, epoch seconds; None before the first.
        draining: whether the server is stopping.
    """

    log = Logger()
    noisy = False

    def __init__(
        self,
        serve: Callable[[Channel], Coroutine[Deferred[Any], Any, object]],
        clock: IReactorTime,
        watch: DialogueWatch,
        admission: Admission | None = None,
        on_refused: OnRefused = lambda request, violation: None,
        gateway: str = "",
        guard: StandstillGuard | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._gateway = gateway
        self.new_key: Callable[[], str] = str
        self._guard = guard
        self.clock = clock
        self._now = now
        self.admission = Admission(clock) if admission is None else admission
        self.watch = watch
        self._serve = serve
        self._on_refused = on_refused
        self._calls: set[FastAGIProtocol] = set()
        self._slots: dict[FastAGIProtocol, ConnectionSlot] = {}
        self._turned_away: dict[FastAGIProtocol, None] = {}  # the oldest first
        self._openings: dict[FastAGIProtocol, int] = {}  # the bytes of long opening blocks that are not complete
        self.served = 0
        self.last_call: float | None = None
        self.draining = False
        self._drained: Deferred[None] = Deferred()

    @property
    def open_calls(self) -> int:
        """Number of open connections that have a slot."""
        return len(self._calls)

    @property
    def refused_connections(self) -> Mapping[str, int]:
        """Number of refused connections by reason; see Admission."""
        return self.admission.refused

    def buildProtocol(self, addr: IAddress | None) -> FastAGIProtocol | None:
        """Make the protocol for a connection; None while stopping, or if its peer may not connect.

        A connection without a slot is answered from a reserve (Admission.reserve) that the gateway is busy.
        """
        if self.draining or not self.admission.allows(addr):
            return None
        slot = self.admission.enter(addr)
        if slot is None:
            return self.without_slot()
        call = FastAGIProtocol(self)
        slot.close = call.turn_away
        self._slots[call] = slot
        return call

    def without_slot(self) -> FastAGIProtocol:
        """Make the protocol that tells the dialplan that there is no slot."""
        return FastAGIProtocol(self, has_slot=False)

    def turned_away(self, call: FastAGIProtocol) -> None:
        """Note a connection without a slot; Asterisk needs milliseconds for it, so the oldest gives way."""
        self._calls.discard(call)
        self._turned_away[call] = None
        if len(self._turned_away) > self.admission.reserve:
            self._abort(next(iter(self._turned_away)))

    def _abort(self, call: FastAGIProtocol) -> None:
        del self._turned_away[call]
        call.transport.abortConnection()

    def opened(self, call: FastAGIProtocol) -> None:
        """Note a new connection."""
        self._calls.add(call)
        if self._guard is not None:
            self._guard.hold(call, call.transport)

    def has_waited_too_long(self, transport: ITransport) -> bool:
        """Whether a new connection has waited so long that it gets no slot; it is counted. See Admission."""
        return self.admission.has_waited_too_long(transport)

    def may_keep(self, call: FastAGIProtocol, size: int) -> bool:
        """Whether there is room for so many bytes of an incomplete opening block; they are counted until it is over."""
        self._openings[call] = size
        return sum(self._openings.values()) <= MAX_OPENINGS

    def may_log(self, matter: str, peer: str) -> bool:
        """Whether a line about a connection without a call may be logged; see Admission."""
        return self.admission.may_log(matter, peer)

    def may_log_forged(self, request: AGIRequest, peer: str) -> bool:
        """Whether a line about a connection that was refused as forged may be logged; see Admission."""
        return self.admission.may_log_forged(peer) if request.uniqueid else self.may_log("unknown", peer)

    def closed(self, call: FastAGIProtocol) -> None:
        """Note that a connection is gone."""
        self._calls.discard(call)
        self._openings.pop(call, None)
        self._turned_away.pop(call, None)
        if self._guard is not None:
            self._guard.drop(call)
        if call in self._slots:
            self._slots.pop(call).release()
        if self.draining and not self._calls and not self._drained.called:
            self._drained.callback(None)

    def refused(self, request: AGIRequest, violation: ProtocolViolation) -> None:
        """A call was refused before it was served."""
        self._on_refused(request, violation)

    def begin(self, call: FastAGIProtocol) -> None:
        """Serve a call whose opening block is complete, then close its connection in every case.

        A call without the secret is not served.
        """
        if call in self._slots:
            self._slots[call].busy()
        self._openings.pop(call, None)
        if not self.admission.knows_secret(call.request, call.peer):
            call.close()
            return
        if call.request.is_probe:
            self._answer_probe(call)
            return
        self.served += 1
        self.last_call = self._now()
        conversation = Deferred.fromCoroutine(self._serve(call))
        conversation.addErrback(
            lambda failure: self.log.failure("FastAGI: unhandled error while serving a call", failure)
        )
        conversation.addBoth(lambda _: call.close())

    def _answer_probe(self, call: FastAGIProtocol) -> None:
        """Tell the dialplan that the gateway is alive, which one it is, and a key for the call if it asks for one."""
        gateway = self._gateway or UNNAMED
        key = self.new_key() if call.request.wants_key else ""
        if key:  # both in one command
            told = call.execute(f"EXEC MSet {GATEWAY_VARIABLE}={gateway},{KEY_VARIABLE}={key}")
        else:
            told = call.execute(command("SET VARIABLE", GATEWAY_VARIABLE, gateway))
        told.addBoth(lambda _: call.close())  # a dialplan that does not wait for it has gone on

    def drain(self, timeout_s: float = DRAIN_TIMEOUT_S) -> Deferred[None]:
        """Stop: accept no call, let commands in progress finish, then close every call.

        The conversation of a call that is closed ends with GatewayStopping.

        Args:
            timeout_s: seconds that the commands may take.

        Returns:
            Fires when no connection is left.
        """
        self.draining = True
        for call in tuple(self._turned_away):
            self._abort(call)
        if not self._calls:
            return succeed(None)
        for call in tuple(self._calls):
            if not call.is_busy:
                call.close()
        timer = self.clock.callLater(timeout_s, self._close_all)
        self._drained.addCallback(lambda _: timer.cancel() if timer.active() else None)
        return self._drained

    def _close_all(self) -> None:
        for call in tuple(self._calls):
            call.close()
