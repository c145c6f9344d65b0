"""The FastAGI server: every call that Asterisk brings, from opening to close."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger

from pbxrouter.agi import AGIRequest, Channel, DialogueWatch
from pbxrouter.errors import ProtocolViolation
from pbxrouter.fastagi.protocol import FastAGIProtocol

DRAIN_TIMEOUT_S: Final = 3.0
"""How long a stop waits for commands in progress; a Dial goes on in Asterisk without us.

Source: docs/asterisk.md A8.
"""


OnRefused = Callable[[AGIRequest, ProtocolViolation], object]
"""Told what is known of a refused call, and why it was refused."""


class FastAGIFactory(ServerFactory):
    """Makes a protocol for each call and hands the call on.

    Args:
        serve: has the conversation of one call; what it raises is logged. The
            connection is closed when it returns, whatever happened.
        clock: for time-outs.
        watch: who watches the dialogues.
        on_refused: told of each call that was refused before it was served.

    Attributes:
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
        on_refused: OnRefused = lambda request, violation: None,
    ) -> None:
        self.clock = clock
        self.watch = watch
        self._serve = serve
        self._on_refused = on_refused
        self._calls: set[FastAGIProtocol] = set()
        self.served = 0
        self.last_call: float | None = None
        self.draining = False
        self._drained: Deferred[None] = Deferred()

    @property
    def open_calls(self) -> int:
        """How many connections are open."""
        return len(self._calls)

    def buildProtocol(self, addr: IAddress | None) -> FastAGIProtocol | None:
        """A connection of Asterisk's; none while we stop."""
        if self.draining:
            return None
        return FastAGIProtocol(self)

    def opened(self, call: FastAGIProtocol) -> None:
        """A connection was made."""
        self._calls.add(call)

    def closed(self, call: FastAGIProtocol) -> None:
        """A connection is gone."""
        self._calls.discard(call)
        if self.draining and not self._calls and not self._drained.called:
            self._drained.callback(None)

    def refused(self, request: AGIRequest, violation: ProtocolViolation) -> None:
        """A call was refused before it was served."""
        self._on_refused(request, violation)

    def begin(self, call: FastAGIProtocol) -> None:
        """A call has opened: have the conversation, then close, whatever happened."""
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
