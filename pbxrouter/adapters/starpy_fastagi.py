"""The gateway's FastAGI server on StarPy 1.1.1: its FastAGIProtocol as our agi.Channel.

Our AGIReader reads the bytes first, with the bounds and the time limits of our own server, and StarPy is
given the opening block and the replies that the reader accepts. A call whose bytes are not all
Asterisk's is refused as on our own server (fastagi.refusal), and StarPy sees nothing of them. HANGUP
lines are kept from StarPy, which takes them for replies; so are the further lines of a reply. docs/starpy.md
lists the remaining differences from pbxrouter's own server, and their tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starpy import error, fastagi
from twisted.internet import defer
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbxrouter.agi import (
    AGIReader,
    AGIReply,
    AGIRequest,
    allowed_when_hung_up,
    encode,
    encode_command,
    format_request,
    is_application,
    may_mean_hangup,
    outlives_caller,
    parse_reply,
    refused,
    reply_timeout_s,
)
from pbxrouter.errors import (
    AGIError,
    ChannelHungUp,
    ConnectionClosed,
    GatewayStopping,
    InvalidArgument,
    ProtocolViolation,
    ReplyTimeout,
)
from pbxrouter.fastagi import (
    BUSY,
    ENDING_TIMEOUT_S,
    HANGUP_GRACE_S,
    OPENING_TIMEOUT_S,
    SETTLE_S,
    DirectWriter,
    FastAGIFactory,
    ForgedCallEnding,
    host_of,
)
from pbxrouter.net import ConnectionSlot, Deadline, keep_alive
from pbxrouter.text import log_field


class _Protocol(fastagi.FastAGIProtocol):  # type: ignore[misc]
    """StarPy's protocol behind our reader, which passes on only what Asterisk writes.

    Attributes:
        channel: the call, from the connection on.
        hung_up: whether HANGUP has come.
        violation: why the call is being refused; None if it is not.
    """

    MAX_LENGTH = 1 << 22  # the reader bounds what comes; each byte that is not UTF-8 becomes three

    def __init__(self, owner: StarpyFactory) -> None:
        super().__init__()
        self.channel: StarpyChannel
        self.hung_up = False
        self._owner = owner
        self.slot: ConnectionSlot | None = None
        self._reader = AGIReader(self._line_read)
        self._refusal: ForgedCallEnding | None = None
        self.violation: ProtocolViolation | None = None
        self._settled = self._held = self._closing = False
        self._timer = Deadline(owner.clock)

    @property
    def refused(self) -> bool:
        """Whether the call is being refused, as forged or since the gateway is busy."""
        return self._refusal is not None

    # --- the connection ---

    def connectionMade(self) -> None:
        """Wait for the opening block."""
        keep_alive(self.transport)
        super().connectionMade()
        self.channel = StarpyChannel(self, self._owner)
        call: Any = self.channel  # a FastAGIProtocol, as far as the factory cares
        self._owner.opened(call)
        if self._owner.has_waited_too_long(self.transport):
            self.turn_away()
        else:
            self._timer.set(OPENING_TIMEOUT_S, self._opening_took_too_long)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End the call, whichever side closed the connection."""
        self._closing = True
        self._timer.stop()
        if self.slot is not None:
            self.slot.release()
        if self._refusal is not None:
            self._refusal.stop()
        super().connectionLost(reason)

    def close(self) -> None:
        """Give the call back to the dialplan; harmless if it is closed, closing or being refused."""
        if not self.refused and not self._closing:
            self._close()

    def turn_away(self) -> None:
        """Give the slot to another connection; the call is marked as one for which the gateway has none."""
        # At once, since the next one that is turned away may end this connection; nothing was written to it before.
        self._tell_busy(DirectWriter(self.transport).send)
        call: Any = self.channel
        self._owner.turned_away(call)

    def tell_busy(self) -> None:
        """Mark the call as one for which the gateway is too busy, and close."""
        self._tell_busy(self.transport.write)

    def _tell_busy(self, write: Callable[[bytes], object]) -> None:
        """Mark the call as one for which the gateway is too busy, and close, unless it ends already."""
        if self._refusal is not None:
            self._refusal.hurry()
        if self.refused or self._closing:
            return
        self._timer.clear()
        self._refusal = ForgedCallEnding(write, self._close, self._owner.clock, False, BUSY, 0.0)

    def _close(self) -> None:
        self._closing = True
        self._timer.set(ENDING_TIMEOUT_S, self.transport.abortConnection)
        self.finish()

    def _opening_took_too_long(self) -> None:
        if self._owner.may_log("silent", self._peer()):
            self._owner.log.info(
                "FastAGI: a connection from {peer} sent no opening block in {seconds} s; closed",
                peer=self._peer(),
                seconds=OPENING_TIMEOUT_S,
            )
        self._close()

    def _peer(self) -> str:
        peer = self.transport.getPeer()
        return str(getattr(peer, "host", None) or getattr(peer, "name", None) or peer)

    # --- from Asterisk ---

    def dataReceived(self, data: bytes) -> None:
        """Parse bytes, split anywhere."""
        if self._closing:
            return
        if self._refusal is not None:
            self._refusal.data_received(data)
            return
        self._reader.feed(data)
        try:
            while not self._closing and (event := self._reader.next_event()) is not None:
                if isinstance(event, AGIReply):
                    self._reply_received(event)
                elif isinstance(event, AGIRequest):
                    self._opening_received(event)
                else:
                    self.hung_up = True
        except ProtocolViolation as violation:
            self._refuse(violation)

    def _line_read(self, command: str, line: bytes) -> None:
        if self._owner.watch.active:
            self._owner.watch.received(self.channel.request, command, line)

    def _opening_received(self, request: AGIRequest) -> None:
        self._timer.clear()
        self.channel.request = request
        if self._owner.watch.active:
            self._owner.watch.opened(request)
        self._pass_on(format_request(request.variables, request.arguments))

    def _reply_received(self, reply: AGIReply) -> None:
        """Pass a reply on; the first is held, since lines that a caller forged come right behind it."""
        if self._settled:
            self._reply_accepted(reply)
        else:
            self._settled = self._held = True
            self._timer.set(SETTLE_S, lambda: self._reply_accepted(reply))

    def _reply_accepted(self, reply: AGIReply) -> None:
        self._held = False
        first_line = reply.text.partition("\n")[0]
        self._pass_on(encode(f"{reply.code} {first_line}\n"))

    def _pass_on(self, lines: bytes) -> None:
        """Give StarPy whole lines in UTF-8; it fails on other bytes."""
        super().dataReceived(lines.decode("utf-8", "replace").encode())

    def _refuse(self, violation: ProtocolViolation) -> None:
        """End a forged call: mark it and hang it up, without trusting any reply."""
        request = self._reader.request
        violation.peer = self._peer()
        if self._owner.may_log_forged(request, violation.peer):
            self._owner.log.warn(
                "call {uniqueid} from {peer} refused: {error}",
                uniqueid=log_field(request.uniqueid) if request.uniqueid else "(unknown)",
                peer=violation.peer,
                error=str(violation),
            )
        write: Callable[[bytes], object] = self.transport.write
        if self.readingVariables:
            self._owner.refused(request, violation)
            write = DirectWriter(self.transport).send  # nothing was written yet
        self.violation = violation
        asked = self.channel.is_busy and not self._held
        self._timer.clear()
        self._refusal = ForgedCallEnding(write, self._close, self._owner.clock, asked)
        self.channel.refuse(violation)

    # --- to Asterisk ---

    def ask(self, command: str) -> Deferred[str]:
        """Send a command; fires with what stands behind ``200 result=`` in its reply."""
        self._reader.command = command
        answer: Deferred[str] = self.sendCommand(command)
        return answer


class StarpyChannel:
    """One call; provides agi.Channel once it has opened."""

    def __init__(self, agi: _Protocol, owner: StarpyFactory) -> None:
        self.request = AGIRequest({})
        self.agi = agi
        self.is_busy = False
        self._owner = owner
        self._closed = False
        self._command = ""
        self._waiting: Deferred[str] | None = None
        agi.onClose().addErrback(self._lost)

    def _lost(self, _: object) -> None:
        self._closed = True
        if self._owner.watch.active:
            self._owner.watch.noted(self.request, "the connection is closed")
        call: Any = self  # a FastAGIProtocol, as far as the factory cares
        self._owner.closed(call)

    @property
    def transport(self) -> ITCPTransport:
        """The connection's transport."""
        transport: ITCPTransport = self.agi.transport
        return transport

    @property
    def peer(self) -> str:
        """The address of the other end."""
        return host_of(self.agi.transport.getPeer())

    @property
    def in_application(self) -> bool:
        """Whether Asterisk runs a dialplan application for the gateway now."""
        return self.is_busy and is_application(self._command)

    def close(self) -> None:
        """Give the call back to the dialplan."""
        self.agi.close()

    def refuse(self, violation: ProtocolViolation) -> None:
        """Fail the command in progress, since the call is forged."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.errback(violation)

    def execute(self, command: str) -> Deferred[AGIReply]:
        """Send a command by StarPy and wait for its reply; as agi.Channel.execute."""
        if self.is_busy:
            return fail(AGIError(f"a command is still being answered; {command.split(' ')[0]} was not sent"))
        if self._owner.draining:
            self.close()
        if self.agi.violation is not None and not self._closed:
            return fail(self.agi.violation)
        if self._closed or self.agi.refused or self._owner.draining:
            return fail(GatewayStopping() if self._owner.draining else ConnectionClosed())
        if self.agi.hung_up and not allowed_when_hung_up(command):
            return fail(ChannelHungUp())
        try:
            encode_command(command).decode("utf-8")
        except UnicodeDecodeError:
            return fail(InvalidArgument(f"StarPy sends no bytes that are not UTF-8: {command[:60]!a}"))
        except AGIError as unsendable:
            return fail(unsendable)
        return Deferred.fromCoroutine(self._ask(command))

    async def _ask(self, command: str) -> AGIReply:
        if self._owner.watch.active:
            self._owner.watch.sent(self.request, command)
        self.is_busy, self._command = True, command
        try:
            reply = await self._reply(command)
            if reply.result == "-1" and may_mean_hangup(command) and not outlives_caller(command):
                if not self.agi.hung_up:
                    await deferLater(self._owner.clock, HANGUP_GRACE_S)
                if self.agi.hung_up:
                    raise ConnectionClosed() if self._closed else ChannelHungUp()
            return reply
        finally:
            self.is_busy = False

    async def _reply(self, command: str) -> AGIReply:
        # Not StarPy's Deferred: that one fires again when the connection of a refused call ends.
        waiting = self._waiting = Deferred(self._set_aside)
        self.agi.ask(command).addCallbacks(self._answered, self._failed)
        allowed_s = reply_timeout_s(command)
        if allowed_s is not None:
            waiting.addTimeout(allowed_s, self._owner.clock)
        try:
            line = await waiting
        except defer.TimeoutError:
            if self.agi.hung_up:
                self.close()
            else:
                self.agi.tell_busy()
            raise ReplyTimeout(f"Asterisk did not reply to {command.split(' ')[0]}") from None
        except defer.CancelledError:  # given up by its caller; the reply would answer the next command
            self.close()
            raise
        except ConnectionDone:
            raise (GatewayStopping(self.in_application) if self._owner.draining else ConnectionClosed()) from None
        except error.AGICommandFailure as failure:
            code, words = failure.args
            if code == 511:
                self.agi.hung_up = True
                raise ChannelHungUp() from None
            raise refused(AGIReply(code, text=words), command) from None
        return parse_reply(f"200 result={line}".encode())

    def _answered(self, line: str) -> None:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(line)

    def _failed(self, failure: Failure) -> None:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.errback(failure)

    def _set_aside(self, _: object) -> None:
        self._waiting = None


class StarpyFactory(FastAGIFactory):
    """Our server with StarPy's FastAGIFactory making the protocols."""

    log = Logger()

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._starpy = fastagi.FastAGIFactory(self._opened)
        self._starpy.protocol = lambda: _Protocol(self)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Make the protocol for a connection; None, which closes it, as in FastAGIFactory."""
        if self.draining or not self.admission.allows(addr):
            return None
        slot = self.admission.enter(addr)
        if slot is None:
            return self.without_slot()
        agi = self._starpy.buildProtocol(addr)
        agi.slot = slot
        slot.close = agi.turn_away
        return agi

    def _opened(self, agi: _Protocol) -> None:
        """Serve a call; StarPy has read its variables."""
        if agi.slot is not None:
            agi.slot.busy()
        call: Any = agi.channel
        self.begin(call)
