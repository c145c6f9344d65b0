"""The FastAGI server: every call that Asterisk brings, from opening to close."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger

from pbxrouter.agi import Channel, DialogueWatch
from pbxrouter.fastagi.admission import Admission
from pbxrouter.fastagi.protocol import FastAGIProtocol
from pbxrouter.net import Place

DRAIN_TIMEOUT_S: Final = 3.0
"""How long a stop waits for commands in progress; a Dial goes on in Asterisk without us.

Source: docs/asterisk.md A8.
"""


class FastAGIFactory(ServerFactory):
    """Makes a protocol for each call and hands the call on.

    Args:
        serve: has the conversation of one call; what it raises is logged. The
            connection is closed when it returns, whatever happened.
        clock: for time-outs.
        watch: who watches the dialogues.
        admission: decides which peers may connect; None: all may.

    Attributes:
        admission: the same, with the number of refused connections.
        served: how many calls have come.
        last_call: when the last one came, epoch seconds; None before the first.
    """

    log = Logger()
    noisy = False

    def __init__(
        self,
        serve: Callable[[Channel], Coroutine[Deferred[Any], Any, object]],
        clock: IReactorTime,
        watch: DialogueWatch,
        admission: Admission | None = None,
    ) -> None:
        self.clock = clock
        self.admission = Admission(clock) if admission is None else admission
        self.watch = watch
        self._serve = serve
        self._calls: set[FastAGIProtocol] = set()
        self._places: dict[FastAGIProtocol, Place] = {}
        self.served = 0
        self.last_call: float | None = None
        self.draining = False
        self._drained: Deferred[None] = Deferred()

    @property
    def open_calls(self) -> int:
        """How many connections are open."""
        return len(self._calls)

    def buildProtocol(self, addr: IAddress | None) -> FastAGIProtocol | None:
        """Accept a connection; None, which closes it, while we stop or if its peer may not connect."""
        place = None if self.draining else self.admission.enter(addr)
        if place is None:
            return None
        call = FastAGIProtocol(self)
        place.close = lambda: call.transport.abortConnection()
        self._places[call] = place
        return call

    def opened(self, call: FastAGIProtocol) -> None:
        """A connection was made."""
        self._calls.add(call)

    def closed(self, call: FastAGIProtocol) -> None:
        """A connection is gone."""
        self._calls.discard(call)
        if call in self._places:
            self._places.pop(call).leave()
        if self.draining and not self._calls and not self._drained.called:
            self._drained.callback(None)

    def begin(self, call: FastAGIProtocol) -> None:
        """A call has opened: have the conversation, then close, whatever happened; one without the secret is closed."""
        if call in self._places:
            self._places[call].busy()
        if not self.admission.knows_secret(call.request, call.peer):
            call.close()
            return
        self.served += 1
        self.last_call = self.clock.seconds()
        conversation = Deferred.fromCoroutine(self._serve(call))
        conversation.addErrback(lambda failure: self.log.failure("a call's conversation broke", failure))
        conversation.addBoth(lambda _: call.close())

    def drain(self) -> Deferred[None]:
        """Let commands in progress finish for a moment, then close every call.

        Returns:
            Fires when no connection is left.
        """
        self.draining = True
        if not self._calls:
            return succeed(None)
        for call in tuple(self._calls):
            if not call.is_busy:
                call.close()
        timer = self.clock.callLater(DRAIN_TIMEOUT_S, self._close_all)
        self._drained.addCallback(lambda _: timer.cancel() if timer.active() else None)
        return self._drained

    def _close_all(self) -> None:
        for call in tuple(self._calls):
            call.close()
