"""FastAGI: Asterisk connects, tells of a call, and does what we answer.

One connection is one run of the dialplan's AGI() (docs/asterisk.md A). What matters here:

* The channel lives until *we* close the connection, so it is closed in every case.
* A bare ``HANGUP`` line may come at any moment and is never a reply.
* A command sent while another runs would cancel that one or be left unread, so
  there is never more than one.
* A reply ``-1`` may mean that the caller went; its HANGUP line follows at once.
* What a caller forged shows by standing where nothing should; such a call is refused.
"""

from __future__ import annotations

import enum
from typing import Final
from typing import Protocol as Interface

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbxrouter.agi import (
    AGIReader,
    AGIReply,
    AGIRequest,
    DialogueWatch,
    allowed_when_hung_up,
    encode_command,
    may_mean_hangup,
    outlives_caller,
    refused,
    reply_timeout_s,
)
from pbxrouter.errors import (
    AGIError,
    ChannelHungUp,
    ConnectionClosed,
    ProtocolViolation,
    ReplyTimeout,
)
from pbxrouter.fastagi.refusal import ForgedCallEnding
from pbxrouter.fastagi.sender import DirectWriter
from pbxrouter.net import Deadline
from pbxrouter.text import printable

OPENING_TIMEOUT_S: Final = 10.0
"""Asterisk writes the opening block at once; whoever does not is not Asterisk."""
HANGUP_GRACE_S: Final = 0.25
"""How long after a ``-1`` its HANGUP line may take."""
ENDING_TIMEOUT_S: Final = 5.0
"""How long a dead channel's last reply, or the far end's reading, may take."""
SETTLE_S: Final = 0.005
"""How long the first reply is held: what a caller forged came before it, or comes right behind."""


class _State(enum.Enum):
    OPENING = "reading the opening block"
    OURS = "ours; nothing asked"
    ASKED = "waiting for a reply"
    HELD = "a reply came; what may follow it is waited for"
    REFUSING = "saying no to a forged call"
    CLOSING = "closing"
    CLOSED = "closed"


class CallOwner(Interface):
    """Whom a call's protocol tells of its life (fastagi.server)."""

    clock: IReactorTime
    watch: DialogueWatch
    draining: bool

    def opened(self, call: FastAGIProtocol) -> None:
        """A connection was made."""

    def begin(self, call: FastAGIProtocol) -> None:
        """The opening block is read: the call may be served."""

    def closed(self, call: FastAGIProtocol) -> None:
        """The connection is gone."""


class FastAGIProtocol(Protocol):
    """One call over one connection; provides channel.Channel once it has opened."""

    log = Logger()
    transport: ITCPTransport

    def __init__(self, owner: CallOwner) -> None:
        self._owner = owner
        self.request = AGIRequest({})
        self.hung_up = False
        self._state = _State.OPENING
        self._reader = AGIReader(self._line_received)
        self._command = ""
        self._waiting: Deferred[AGIReply] | None = None
        self._settled = False
        self._refusal: ForgedCallEnding | None = None
        self._timer = Deadline(owner.clock)

    # --- the connection ---

    def connectionMade(self) -> None:
        """Asterisk runs AGI()."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpKeepAlive(True)  # a Dial may last hours; find a peer that vanished
        self._send = DirectWriter(self.transport).send
        self._owner.opened(self)
        self._timer.set(OPENING_TIMEOUT_S, self._opening_took_too_long)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The call is over for us, whichever side closed."""
        if self._state is _State.OPENING:
            self.log.debug("a connection ended before it told of a call")
        self._state = _State.CLOSED
        self.hung_up = True
        self._timer.stop()
        if self._refusal is not None:
            self._refusal.stop()
        if self._owner.watch.active:
            self._owner.watch.noted(self.request, "the connection is closed")
        self._fail(ConnectionClosed())
        self._owner.closed(self)

    def close(self) -> None:
        """Give the call back to the dialplan; harmless if it is closed or about to be."""
        if self._state in (_State.REFUSING, _State.CLOSING, _State.CLOSED):
            return
        self._close()

    def _close(self) -> None:
        self._state = _State.CLOSING
        self._timer.set(ENDING_TIMEOUT_S, self.transport.abortConnection)
        self._fail(ConnectionClosed())
        self.transport.loseConnection()

    @property
    def is_busy(self) -> bool:
        """Whether a command is being carried out."""
        return self._state in (_State.ASKED, _State.HELD)

    # --- what comes from Asterisk ---

    def dataReceived(self, data: bytes) -> None:
        """Bytes, cut anywhere."""
        if self._state is _State.REFUSING and self._refusal is not None:
            self._refusal.data_received(data)
        if self._state in (_State.REFUSING, _State.CLOSING, _State.CLOSED):
            return
        reader = self._reader
        reader.feed(data)
        try:
            while (event := reader.next_event()) is not None:
                if isinstance(event, AGIReply):
                    self._reply_received(event)
                elif isinstance(event, AGIRequest):
                    self._opening_received(event)
                else:
                    self._hangup_received()
                if self._state in (_State.CLOSING, _State.CLOSED):
                    return
        except ProtocolViolation as error:
            self._refuse(error)

    def _line_received(self, command: str, line: bytes) -> None:
        if self._owner.watch.active:
            self._owner.watch.received(self.request, command, line)

    def _opening_received(self, request: AGIRequest) -> None:
        self._timer.clear()
        self.request = request
        self._state = _State.OURS
        if self._owner.watch.active:
            self._owner.watch.opened(request)
        self._owner.begin(self)

    def _reply_received(self, reply: AGIReply) -> None:
        if self._waiting is None:
            return  # its command was given up when the caller went
        if self._settled:
            self._deliver(reply)
        else:
            self._settled = True
            self._state = _State.HELD
            self._timer.set(SETTLE_S, lambda: self._deliver(reply))

    def _deliver(self, reply: AGIReply) -> None:
        if reply.code == 511:
            self.hung_up = True
            self._fail(ChannelHungUp())
        elif reply.code != 200:
            self._fail(refused(reply, self._command))
        elif reply.result != "-1" or not may_mean_hangup(self._command) or outlives_caller(self._command):
            self._succeed(reply)
        elif self.hung_up:
            self._fail(ChannelHungUp())
        else:
            self._state = _State.HELD
            self._timer.set(HANGUP_GRACE_S, lambda: self._succeed(reply))

    def _hangup_received(self) -> None:
        self.hung_up = True
        if self._state is _State.ASKED and allowed_when_hung_up(self._command):
            # An application's answer tells how it went; such answers are on their way.
            self._timer.set(ENDING_TIMEOUT_S, lambda: self._fail(ChannelHungUp()))
        else:
            self._fail(ChannelHungUp())

    def _refuse(self, error: ProtocolViolation) -> None:
        """End a call whose lines are not all Asterisk's: mark it, hang it up, heed no reply."""
        request = self.request
        self.log.warn(
            "call {uniqueid} from {peer} refused: {error}",
            uniqueid=printable(request.uniqueid) or "(unknown)",
            peer=self.peer,
            error=str(error),
        )
        asked = self._state is _State.ASKED
        self._state = _State.REFUSING
        self._fail(error)
        self._timer.clear()
        self._refusal = ForgedCallEnding(self._send, self._close, self._owner.clock, asked)

    # --- what goes to Asterisk ---

    def execute(self, command: str) -> Deferred[AGIReply]:
        """See channel.Channel."""
        try:
            self._demand_ready(command)
            line = encode_command(command)
        except AGIError as error:
            return fail(error)
        self._state = _State.ASKED
        self._command = self._reader.command = command
        waiting: Deferred[AGIReply] = Deferred(lambda _: self.close())
        self._waiting = waiting
        if self._owner.watch.active:
            self._owner.watch.sent(self.request, command)
        allowed_s = reply_timeout_s(command)
        if allowed_s is not None:
            self._timer.set(allowed_s, self._reply_took_too_long)
        self._send(line)
        return waiting

    def _demand_ready(self, command: str) -> None:
        if self.is_busy:
            raise AGIError(f"a command is still being answered; {command.split(' ', 1)[0]} was not sent")
        if self._owner.draining:
            self.close()
        if self._state is not _State.OURS:
            raise ConnectionClosed()
        if self.hung_up and (self._reader.command or not allowed_when_hung_up(command)):
            raise ChannelHungUp()

    def _succeed(self, reply: AGIReply) -> None:
        self._answered().callback(reply)

    def _fail(self, error: AGIError) -> None:
        if self._waiting is not None:
            self._answered().errback(error)

    def _answered(self) -> Deferred[AGIReply]:
        waiting, self._waiting = self._waiting, None
        assert waiting is not None
        if self.is_busy:
            self._state = _State.OURS
            self._timer.clear()
        return waiting

    # --- time ---

    def _opening_took_too_long(self) -> None:
        self.log.info(
            "a connection from {peer} told of no call in {seconds} s",
            peer=self.peer,
            seconds=OPENING_TIMEOUT_S,
        )
        self._close()

    def _reply_took_too_long(self) -> None:
        name = self._command.split(" ", 1)[0]
        self.log.warn("call {uniqueid}: no reply to {name}", uniqueid=printable(self.request.uniqueid), name=name)
        self._fail(ReplyTimeout(f"Asterisk did not reply to {name}"))
        self._close()

    @property
    def peer(self) -> str:
        """The address of the other end."""
        peer = self.transport.getPeer()
        return str(getattr(peer, "host", None) or getattr(peer, "name", None) or peer)
