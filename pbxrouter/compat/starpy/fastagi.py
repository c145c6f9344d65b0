"""StarPy's FastAGIProtocol and FastAGIFactory, over pbxrouter's Channel and server.

A handler gets an ``agi`` and calls its methods, waiting for each or not: commands that
were not waited for are sent one after the other, as AGI needs it (docs/asterisk.md A6). The call is
the handler's until ``finish()``, even after the handler has returned; a handler that fails ends it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.python.failure import Failure

from pbxrouter.agi import AGIReply, Channel, DialogueWatch, masked_reply
from pbxrouter.compat.starpy import error, replies
from pbxrouter.compat.starpy.commands import Commands
from pbxrouter.compat.starpy.error import AGICommandFailure
from pbxrouter.compat.starpy.replies import FAILURE_CODE
from pbxrouter.compat.starpy.sequence import InSequence
from pbxrouter.errors import AGIError, ChannelHungUp, ConnectionClosed
from pbxrouter.fastagi import protocol as fastagi
from pbxrouter.fastagi import server as fastagi_factory

__all__ = ["FAILURE_CODE", "FastAGIFactory", "FastAGIProtocol", "InSequence", "error", "log"]

log = logging.getLogger("FastAGI")
"""A logger of Python's own, under StarPy's name: programs set its level."""

_GONE = "the FastAGI connection is closed"


class FastAGIProtocol(Commands):
    """One call, as StarPy's handlers know it.

    Attributes:
        factory: the factory that made it.
        variables: the ``agi_*`` variables, under their whole names.
        transport: the connection; None where the call has none of its own.
        lostConnectionDeferred: what onClose returned; None if it was not called.
    """

    factory: FastAGIFactory
    transport: Any = None
    lostConnectionDeferred: Deferred[Any] | None = None

    def __init__(self, *args: Any, **named: Any) -> None:
        self.variables: dict[str, str] = {}
        self._channel: Channel | None = None
        self._unsent: deque[tuple[str, Deferred[str]]] = deque()
        self._busy = False
        self._finishing = False
        self._finished: Deferred[None] = Deferred()
        self._lost: Failure | None = None

    def begin(self, channel: Channel) -> None:
        """Take over a call."""
        request = channel.request
        self._channel = channel
        self.transport = getattr(channel, "transport", None)
        self.variables = {f"agi_{name}": value for name, value in request.variables.items()}
        self.variables.update({f"agi_arg_{number}": value for number, value in enumerate(request.arguments, 1)})
        self.connectionMade()

    def connectionMade(self) -> None:
        """Called when the call begins; for subclasses."""
        log.info("New Connection")

    def connectionLost(self, reason: Failure) -> None:
        """Called when the connection is lost; a subclass that overrides it calls this method too."""
        log.info("Connection terminated")
        self._lost = reason
        self._end()
        if self.lostConnectionDeferred is not None:
            self.lostConnectionDeferred.errback(reason)

    def onClose(self) -> Deferred[Any]:
        """Return a Deferred that fails with ConnectionDone when the connection is lost."""
        if self.lostConnectionDeferred is None:
            self.lostConnectionDeferred = Deferred()
            if self._lost is not None:
                self.lostConnectionDeferred.errback(self._lost)
        return self.lostConnectionDeferred

    def finish(self) -> None:
        """Give the call back to the dialplan, after all commands queued before."""
        self._finishing = True
        if not self._unsent:
            self._end()

    @property
    def finished(self) -> Deferred[None]:
        """Fires when the handler has finished the call, or the connection is lost."""
        return self._finished

    def _end(self) -> None:
        if not self._finished.called:
            self._finished.callback(None)

    # --- commands ---

    def sendCommand(self, commandString: str) -> Deferred[str]:
        """Send a line after the replies to those before it; fires with the text behind ``200 result=``.

        It fails with AGICommandFailure (AGI's code and words) where Asterisk refuses, and
        with ConnectionDone where the connection is gone, before or meanwhile.
        """
        waiting: Deferred[str] = Deferred()
        if self._finishing or self._lost or self._channel is None:
            waiting.errback(ConnectionDone(_GONE))
        else:
            self._unsent.append((commandString.rstrip("\r\n"), waiting))
            self._send_next()
        return waiting

    def _send_next(self) -> None:
        if self._busy or not self._unsent or self._channel is None:
            return
        self._busy = True
        line, waiting = self._unsent.popleft()
        log.debug("Send Command: %r", line)
        self._channel.execute(line).addBoth(self._answered, line, waiting)
        if self._finishing and not self._unsent:
            self._end()

    def _answered(self, result: AGIReply | Failure, line: str, waiting: Deferred[str]) -> None:
        self._busy = False
        reply: AGIReply | None
        if isinstance(result, Failure):
            reply = getattr(self._channel, "last_reply", None)
            failure = _as_starpy(result.value)
        else:
            reply = result
        if reply is None:
            waiting.errback(failure)
        else:
            log.debug("Reply: %s", masked_reply(line, f"{reply.code} {reply.text}"))
            if reply.code == 200:
                waiting.callback(reply.text.removeprefix("result="))
            else:
                waiting.errback(AGICommandFailure(reply.code, reply.text))
        self._send_next()

    # --- what StarPy's handlers and subclasses also use ---

    checkFailure = staticmethod(replies.check_failure)
    resultAsInt = staticmethod(replies.as_int)
    dateAsSeconds = staticmethod(replies.seconds)

    def wait(self, duration: float) -> Deferred[int]:
        """Fires with 0 after a number of seconds; nothing is sent to Asterisk."""
        waited: Deferred[int] = Deferred()
        self.factory.clock.callLater(max(0, duration), waited.callback, 0)
        return waited

    def jumpOnError(self, reason: Failure, difference: int = 100, forErrors: Any = None) -> Deferred[list[Any]]:
        """An errback that makes the dialplan go on ``difference`` priorities further, and finishes the call.

        Args:
            forErrors: the exception, or exceptions, that are handled; others pass.
        """
        if forErrors:
            reason.trap(*(forErrors if isinstance(forErrors, tuple | list) else (forErrors,)))
        sequence = InSequence()
        sequence.append(self.setContext, self.variables["agi_context"])
        sequence.append(self.setExtension, self.variables["agi_extension"])
        sequence.append(self.setPriority, int(self.variables["agi_priority"]) + difference)
        sequence.append(self.finish)
        return sequence()


def _as_starpy(why: BaseException | None) -> BaseException | None:
    """Convert a command's exception to the one that StarPy's handlers expect."""
    if isinstance(why, ConnectionClosed):
        return ConnectionDone(_GONE)
    if isinstance(why, ChannelHungUp):
        return AGICommandFailure(511, str(why))
    if isinstance(why, AGIError):
        return AGICommandFailure(getattr(why, "code", FAILURE_CODE), str(why))
    return why


class _Call(fastagi.FastAGIProtocol):
    """Keeps the last reply: for StarPy's handlers a -1 is a result even if the caller has hung up."""

    last_reply: AGIReply | None = None

    def execute(self, command: str) -> Deferred[AGIReply]:
        self.last_reply = None
        return super().execute(command)

    def _reply_received(self, reply: AGIReply) -> None:
        self.last_reply = reply
        super()._reply_received(reply)


class FastAGIFactory(fastagi_factory.FastAGIFactory):
    """pbxrouter's FastAGI server with StarPy's signature.

    Args:
        mainFunction: called with the ``agi`` of each call; may return a Deferred, or be async.
        clock: for time-outs; the running reactor if left out.

    Attributes:
        protocol: the class that is instantiated for each call: FastAGIProtocol or a subclass.
    """

    protocol: Any = FastAGIProtocol

    def __init__(self, mainFunction: Callable[[Any], Any], clock: IReactorTime | None = None) -> None:
        if clock is None:
            # StarPy's programs name no reactor: theirs is the process's.
            from twisted.internet import reactor

            clock = IReactorTime(reactor)
        super().__init__(self._serve_starpy, clock, DialogueWatch())
        self.mainFunction = mainFunction
        self._handled: dict[Channel, FastAGIProtocol] = {}

    def buildProtocol(self, addr: IAddress | None) -> fastagi.FastAGIProtocol | None:
        """Make the protocol of a new connection."""
        return None if self.draining else _Call(self)

    def closed(self, call: fastagi.FastAGIProtocol) -> None:
        """Notify the handler that the connection is lost."""
        super().closed(call)
        agi = self._handled.pop(call, None)
        if agi is not None:
            agi.connectionLost(Failure(ConnectionDone(_GONE)))

    async def _serve_starpy(self, channel: Channel) -> None:
        agi: FastAGIProtocol = self.protocol()
        agi.factory = self
        self._handled[channel] = agi
        agi.begin(channel)
        maybeDeferred(self.mainFunction, agi).addErrback(self._handler_failed, agi)
        await agi.finished

    def _handler_failed(self, failure: Failure, agi: FastAGIProtocol) -> None:
        if failure.check(AGICommandFailure, ConnectionDone):
            log.warning("a handler ended: %s", failure.getErrorMessage())
        else:
            log.error("a handler failed: %s", failure.getTraceback())
        agi.finish()
