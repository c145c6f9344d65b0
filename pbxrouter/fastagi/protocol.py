r"""The FastAGI protocol: Asterisk connects, describes a call and carries out the gateway's commands.

One connection is one run of AGI() in the dialplan. What the two sides send, in ABNF (RFC 5234)::

    from-asterisk = opening *( reply / trying / hangup )
    to-asterisk   = *command                        ; one at a time: see below

    opening   = 20*22variable *argument LF          ; in Asterisk's order: agi.messages
    variable  = "agi_" 1*( ALPHA / "_" / DIGIT ) ": " *octet LF
    argument  = "agi_arg_" number ": " *octet LF    ; what the dialplan passes to AGI()
    command   = name *( SP word ) LF                ; at most 8190 octets: agi.commands
    word      = plain / DQUOTE *( octet / "\" octet ) DQUOTE
    reply     = success / failure / usage
    success   = "200 result=" *octet [ " (" *octet ")" / " endpos=" number ] LF
    failure   = ( "510" / "511" / "520" ) SP *octet LF
    usage     = "520-" *octet LF *( *octet LF ) "520 " *octet LF
    trying    = "100" *octet LF                     ; the command runs, its reply follows
    hangup    = "HANGUP" LF                         ; the caller hung up; answers no command

    octet     = %x01-09 / %x0B-FF                   ; anything but NUL and LF
    number    = 1*DIGIT
    plain     = 1*( ALPHA / DIGIT / %x23 / %x26 / %x2A-2F / ":" / "=" / "@" / "_" )

The value of a variable within ``success`` may hold LF, too. The rules that the grammar cannot say:

* The gateway sends a command only when the last one is answered: Asterisk would cancel the running one or leave the
  new one unread.
* A hangup may stand anywhere between two lines, even between those of a usage.
* A reply ``-1`` may mean that the caller hung up; the hangup line follows at once.
* The channel lives until the gateway closes the connection, so it is closed in every case.
* Anything else from Asterisk's side was forged by a caller, and the call is refused.

The states are in ``pbxrouter.fastagi.states``. Source: docs/asterisk.md A.
"""

from __future__ import annotations

import os
from typing import Final
from typing import Protocol as Interface

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime, ITCPTransport, ITransport
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
    is_application,
    may_mean_hangup,
    outlives_caller,
    refused,
    reply_timeout_s,
)
from pbxrouter.errors import (
    AGIError,
    ChannelHungUp,
    ConnectionClosed,
    GatewayStopping,
    ProtocolViolation,
    ReplyTimeout,
)
from pbxrouter.fastagi.admission import UNIX_SOCKET, host_of
from pbxrouter.fastagi.refusal import BUSY as TELL_BUSY
from pbxrouter.fastagi.refusal import ForgedCallEnding
from pbxrouter.fastagi.sender import DirectWriter
from pbxrouter.fastagi.states import BUSY, HUNG_UP, OVER, Event, IllegalTransition, State, next_state
from pbxrouter.net import Deadline, keep_alive
from pbxrouter.text import log_field, printable

OPENING_TIMEOUT_S: Final = 10.0
"""Seconds for the opening block. Asterisk writes it at once; a slower peer is not Asterisk."""
HANGUP_GRACE_S: Final = 0.25
"""Seconds for the HANGUP line that follows a ``-1``."""
ENDING_TIMEOUT_S: Final = 5.0
"""Seconds for the last reply on a dead channel, and for the peer to read the last bytes."""
LONG_OPENING: Final = 1 << 16
"""Bytes of an incomplete opening block from which on all of them share a bound; Asterisk's have a few thousand."""
SETTLE_S: Final = 0.005
"""Seconds for which the first reply is held: forged lines came before it or come right behind it."""


class CallOwner(Interface):
    """What a call's protocol needs of its factory (``pbxrouter.fastagi.server``)."""

    clock: IReactorTime
    watch: DialogueWatch
    draining: bool

    def opened(self, call: FastAGIProtocol) -> None:
        """Note a new connection."""

    def begin(self, call: FastAGIProtocol) -> None:
        """Serve a call whose opening block is complete."""

    def refused(self, request: AGIRequest, violation: ProtocolViolation) -> None:
        """A call was refused before it was served."""

    def turned_away(self, call: FastAGIProtocol) -> None:
        """Record a connection without a slot, which gets a reply that says so before it is closed."""

    def has_waited_too_long(self, transport: ITransport) -> bool:
        """Whether a new connection has waited so long that it gets no slot; it is counted."""

    def may_keep(self, call: FastAGIProtocol, size: int) -> bool:
        """Whether there is room for so many bytes of an incomplete opening block; they are counted until it is over."""

    def may_log(self, matter: str, peer: str) -> bool:
        """Whether a line about a connection without a call may be logged: peers can open thousands a second."""

    def may_log_forged(self, request: AGIRequest, peer: str) -> bool:
        """Whether a line about a connection that was refused as forged may be logged."""

    def closed(self, call: FastAGIProtocol) -> None:
        """Note that a connection is gone."""


class FastAGIProtocol(Protocol):
    """One call over one connection. It is an ``agi.Channel`` from the opening block on.

    Args:
        has_slot: whether the call is served; if not, the dialplan is told that the gateway is busy.

    Attributes:
        request: the opening block; empty until it is complete.
        state: changed by ``_move`` only.
        saw_hangup: whether Asterisk has told that the caller is gone.
    """

    log = Logger()
    transport: ITCPTransport

    def __init__(self, owner: CallOwner, has_slot: bool = True) -> None:
        self._owner = owner
        self._has_slot = has_slot
        self.request = AGIRequest({})
        self.state = State.OPENING
        self.saw_hangup = False
        self._reader = AGIReader(self._line_received)
        self._command = ""
        self._waiting: Deferred[AGIReply] | None = None
        self._settled = False  # whether the first reply has been held
        self._ending: ForgedCallEnding | None = None
        self._violation: ProtocolViolation | None = None
        self._stopped: GatewayStopping | None = None  # why the gateway closed the connection, if it was stopping
        self._timer = Deadline(owner.clock)

    @property
    def is_busy(self) -> bool:
        """Whether a command waits for its reply."""
        return self.state in BUSY

    @property
    def in_application(self) -> bool:
        """Whether Asterisk runs a dialplan application for the gateway now."""
        return self._waiting is not None and is_application(self._command)

    @property
    def hung_up(self) -> bool:
        """Whether the caller has hung up or the connection is gone."""
        return self.state in HUNG_UP

    def _move(self, event: Event) -> State:
        """Enter the state that follows; an event that the table does not allow ends the call at once."""
        try:
            self.state = state = next_state(self.state, event)
        except IllegalTransition:
            self.log.failure(
                "call {uniqueid}: the connection is aborted, since the gateway lost track of it",
                uniqueid=printable(self.request.uniqueid),
            )
            return self._abort()
        return state

    def _abort(self) -> State:
        if self.state is not State.CLOSED:
            self.state = State.CLOSING
            self._timer.stop()
            if self._ending is not None:
                self._ending.stop()
            self._finish(ConnectionClosed())
            self.transport.abortConnection()
        return self.state

    # --- the connection ---

    def connectionMade(self) -> None:
        """Wait for the opening block."""
        keep_alive(self.transport)  # a Dial may last hours
        self._send = DirectWriter(self.transport).send
        self._owner.opened(self)
        if self._has_slot and self._owner.has_waited_too_long(self.transport):
            self.turn_away()
        elif self._has_slot:
            self._timer.set(OPENING_TIMEOUT_S, self._opening_took_too_long)
        else:
            self.turn_away()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail the command that waits; the call is over, whichever side closed."""
        if self.state is State.OPENING and self._owner.may_log("ended", self.peer):
            self.log.debug("FastAGI: a connection ended before its opening block was complete")
        self._move(Event.LOST)
        self._timer.stop()
        if self._ending is not None:
            self._ending.stop()
        if self._owner.watch.active:
            self._owner.watch.noted(self.request, "the connection is closed")
        self._finish(ConnectionClosed)
        self._owner.closed(self)

    def turn_away(self) -> None:
        """Mark the call as one for which the gateway has no slot, and close; for one that has told of no call yet.

        One that is being refused already, or closed, ends as it would have with its slot; its mark is sent at once.
        """
        if self.state in OVER:
            if self._ending is not None:
                self._ending.hurry()
            self._owner.turned_away(self)
            return
        self._timer.clear()
        if self._move(Event.TURNED_AWAY) is State.REFUSING:
            self._owner.turned_away(self)
            self._tell_busy()

    def _tell_busy(self) -> None:
        self._ending = ForgedCallEnding(
            self._send, lambda: self._close(Event.REFUSED), self._owner.clock, False, TELL_BUSY, 0.0
        )

    def close(self) -> None:
        """Give the call back to the dialplan; does nothing if it is closed or being refused."""
        if self._owner.draining and self.state not in OVER:
            self._stopped = GatewayStopping(self.in_application)
            self._close(Event.CLOSE, self._stopped)
        else:
            self._close(Event.CLOSE)

    def _close(self, event: Event, error: AGIError | type[AGIError] = ConnectionClosed) -> None:
        before = self.state
        if self._move(event) is not before:
            self._timer.set(ENDING_TIMEOUT_S, self.transport.abortConnection)
            self._finish(error)
            self.transport.loseConnection()

    # --- from Asterisk ---

    def dataReceived(self, data: bytes) -> None:
        """Take bytes as they come."""
        if self.state in OVER:
            if self.state is State.REFUSING and self._ending is not None:
                self._ending.data_received(data)
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
                if self.state in OVER:
                    return
        except ProtocolViolation as error:
            self._refuse(error)
        else:
            if self.state is State.OPENING and reader.waiting > LONG_OPENING:
                self._long_opening(reader.waiting)

    def _long_opening(self, size: int) -> None:
        """Turn the connection away if there is no room for its opening block."""
        if self._owner.may_keep(self, size):
            return
        if self._owner.may_log("openings", self.peer):
            self.log.warn(
                "FastAGI: a connection from {peer} is turned away: it has sent {size} bytes of an opening block, "
                "and others as much",
                peer=self.peer,
                size=size,
            )
        self.turn_away()

    def _line_received(self, command: str, line: bytes) -> None:
        if self._owner.watch.active:
            self._owner.watch.received(self.request, command, line)

    def _opening_received(self, request: AGIRequest) -> None:
        self._timer.clear()
        self.request = request
        self._move(Event.OPENED)
        if self._owner.watch.active:
            self._owner.watch.opened(request)
        self._owner.begin(self)

    def _reply_received(self, reply: AGIReply) -> None:
        if self.state is State.DEAD_OWED:
            self._move(Event.REPLY)
        elif self._settled:
            self._accept(reply)
        else:
            self._settled = True
            self._move(Event.FIRST_REPLY)
            self._timer.set(SETTLE_S, lambda: self._accept(reply))

    def _accept(self, reply: AGIReply) -> None:
        """Pass a reply to the command that waits, unless it is a -1 that a HANGUP line may explain."""
        command = self._command
        if reply.code == 511:
            self.saw_hangup = True
            event = Event.DEAD_REPLY
        elif reply.result == "-1" and may_mean_hangup(command) and not outlives_caller(command):
            event = Event.MINUS_ONE
        else:
            event = Event.REPLY
        if self._move(event) is State.DOUBTFUL:
            self._timer.set(HANGUP_GRACE_S, lambda: self._accept_minus_one(reply))
            return
        self._timer.clear()
        if event is not Event.REPLY:
            self._finish(ChannelHungUp)
        elif reply.code != 200:
            self._finish(refused(reply, command))
        else:
            self._finish(reply)

    def _accept_minus_one(self, reply: AGIReply) -> None:
        self._move(Event.REPLY)
        self._finish(reply)

    def _hangup_received(self) -> None:
        self.saw_hangup = True
        if self._move(Event.HANGUP) is State.DEAD_ASKED:
            if allowed_when_hung_up(self._command):
                # The reply has the result of the application, and will come soon.
                self._timer.set(ENDING_TIMEOUT_S, self._give_up)
            else:
                self._give_up()
        else:
            self._timer.clear()
            self._finish(ChannelHungUp)

    def _give_up(self) -> None:
        self._move(Event.GIVE_UP)
        self._timer.clear()
        self._finish(ChannelHungUp)

    def _refuse(self, error: ProtocolViolation) -> None:
        """End a forged call: mark it and hang it up, without trusting any reply."""
        request = self._reader.request
        error.peer = self.peer
        if self._owner.may_log_forged(request, error.peer):
            self.log.warn(
                "call {uniqueid} from {peer} refused: {error}",
                uniqueid=log_field(request.uniqueid) if request.uniqueid else "(unknown)",
                peer=error.peer,
                error=str(error),
            )
        if self.state is State.OPENING:
            self._owner.refused(request, error)
        self._violation = error
        asked = self.state in (State.ASKED, State.DEAD_ASKED)
        self._move(Event.VIOLATION)
        self._timer.clear()
        self._finish(error)
        self._ending = ForgedCallEnding(self._send, lambda: self._close(Event.REFUSED), self._owner.clock, asked)

    # --- to Asterisk ---

    def execute(self, command: str) -> Deferred[AGIReply]:
        """Send one AGI command and wait for its reply; see ``agi.Channel``."""
        try:
            self._demand_ready(command)
            line = encode_command(command)
        except AGIError as error:
            return fail(error)
        self._move(Event.COMMAND)
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
        if self.state in BUSY:
            raise AGIError(f"a command is still being answered; {command.split(' ', 1)[0]} was not sent")
        if self._owner.draining:
            self.close()
        state = self.state
        if state is State.IDLE:
            return
        if state is State.REFUSING and self._violation is not None:
            raise self._violation
        if state is State.DEAD_OWED or (state is State.DEAD_IDLE and not allowed_when_hung_up(command)):
            raise ChannelHungUp()
        if state is not State.DEAD_IDLE:
            raise self._stopped or ConnectionClosed()

    def _finish(self, result: AGIReply | AGIError | type[AGIError]) -> None:
        """Fire the Deferred of the command that waits, if one does."""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        if isinstance(result, AGIReply):
            waiting.callback(result)
        else:
            waiting.errback(result() if isinstance(result, type) else result)

    # --- timeouts ---

    def _opening_took_too_long(self) -> None:
        if self._owner.may_log("silent", self.peer):
            self.log.info(
                "FastAGI: a connection from {peer} sent no opening block in {seconds} s; closed",
                peer=self.peer,
                seconds=OPENING_TIMEOUT_S,
            )
        self._close(Event.TIMEOUT)

    def _reply_took_too_long(self) -> None:
        name = self._command.split(" ", 1)[0]
        self.log.warn("call {uniqueid}: no reply to {name}", uniqueid=printable(self.request.uniqueid), name=name)
        error = ReplyTimeout(f"Asterisk did not reply to {name}")
        if self.state is not State.ASKED:
            self._close(Event.TIMEOUT, error)
            return
        self._move(Event.TIMEOUT)
        self._finish(error)
        self._tell_busy()

    @property
    def peer(self) -> str:
        """The address that the connection comes from: an IP address, the path of a Unix socket, or UNIX_SOCKET."""
        address = self.transport.getPeer()
        path = getattr(address, "name", None)  # a client's socket has none, as a rule
        return host_of(address) or (printable(os.fsdecode(path)) if path else UNIX_SOCKET)
