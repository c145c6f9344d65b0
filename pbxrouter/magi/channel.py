"""The channel of one call in AGI(agi:async), driven over AMI.

Provides agi.Channel over AMI actions, so the same conversation runs as over FastAGI. AsyncAGI differs
(docs/asterisk.md C):

* AsyncAGIEnd comes when the caller hangs up; after it no command works, not even reading a variable,
  and queued commands are not answered. DIALSTATUS is then taken from the DialEnd event and returned
  as if it had been read.
* A long reply is cut, and its rest precedes the next one; it is fetched with a further command.
* The call is given back with ``ASYNCAGI BREAK``; otherwise it waits for ever.

So that it does not wait for a gateway that is gone, the dialplan may let TIMEOUT(absolute) run and leave it to the
gateway (``keep_time_limit``): the limit is SILENT_S, renewed while the gateway lives, also while a prompt plays, as
long as Asterisk's answers come: where they are held up, so would be the reply. Around an application two commands are
queued: one that lifts the limit, and behind it one that sets SILENT_S again, which Asterisk runs whether the gateway is
still there or not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbxrouter.agi import (
    AGIReply,
    AGIRequest,
    DialogueWatch,
    encode_command,
    is_application,
    may_mean_hangup,
    outlives_caller,
    parse_reply,
    refused,
    reply_timeout_s,
    takes_time,
)
from pbxrouter.agi import command as format_command
from pbxrouter.ami import AMIMessage
from pbxrouter.errors import (
    ActionFailed,
    AGIError,
    ChannelHungUp,
    ConnectionClosed,
    GatewayStopping,
    InvalidAction,
    InvalidArgument,
    ManagerError,
    ProtocolViolation,
    ReplyTimeout,
)
from pbxrouter.magi.wire import (
    FLUSH,
    FLUSHED,
    as_reply_to,
    piece,
    without_break_on_error,
    without_progress,
)
from pbxrouter.net import Timer
from pbxrouter.text import printable

END_GRACE_S: Final = 0.25
"""Seconds after a ``-1`` in which AsyncAGIEnd may come."""
MAX_ANSWER: Final = 1 << 16
"""Maximum bytes of a reply that is put together; more than Asterisk's pipe holds."""
BREAK: Final = "ASYNCAGI BREAK"

SILENT_S: Final = 3
"""Seconds for which Asterisk waits for the next command; then the dialplan goes on without the gateway."""
KEYED_S: Final = 2
"""Seconds for the next command behind a prompt: with those until the prompt ends they are five at most."""
RENEW_S: Final = 1.0
"""Seconds between two renewals of that limit while no command runs."""
_LIMIT: Final = "TIMEOUT(absolute)"
_PAUSE: Final = re.compile(r"exec wait\b", re.IGNORECASE)

_DIAL_STATUS: Final = "GET VARIABLE DIALSTATUS"
_GONE: Final = ("does not exist", "Failed to add AGI command")

SendCommand = Callable[[str, str, str], Deferred[Any]]
"""Sends (Uniqueid, command, CommandID); fires when Asterisk has queued the command."""
SetLimit = Callable[[str, int], Deferred[Any]]
"""Sets TIMEOUT(absolute) of (Uniqueid) to (seconds) at once, past the queue; fires when Asterisk has done it."""


class MagiChannel:
    """A call in AGI(agi:async).

    Args:
        request: the known facts of the call.
        address: the channel for Action AGI: its Uniqueid, since names change.
        send: queues a command in Asterisk.
        new_id: makes CommandIDs.
        unread: whether the call was adopted: an earlier reply may precede the first one (``rest``
            holds it then), and a command may still be running.
        set_limit: sets the time limit while a command runs; None: it cannot be set then.
        asterisk: the Asterisk's name in the settings.

    Attributes:
        wait_forever: whether replies have no timeout, since an application may still be running.
        rest: the rest of an earlier reply that preceded this one; None if it was lost.
        is_proven: the channel is Asterisk's: its commands go there over AMI.
        has_run_application: whether a dialplan application was asked for that may have dialled.
        asterisk: as above; it is certain.
    """

    log = Logger()
    is_proven = True

    def __init__(
        self,
        request: AGIRequest,
        address: str,
        send: SendCommand,
        new_id: Callable[[], str],
        clock: IReactorTime,
        watch: DialogueWatch,
        unread: bool = False,
        set_limit: SetLimit | None = None,
        asterisk: str = "",
    ) -> None:
        self.asterisk = asterisk
        self._set_limit = set_limit
        self.request = request
        self.address = address
        self.rest: bytes | None = b""
        self._send = send
        self._new_id = new_id
        self._watch = watch
        self.wait_forever = self._unread = unread
        self._end: ChannelHungUp | None = None
        self._dial_status = ""
        self._command = self._sent = self._command_id = ""
        self._waiting: Deferred[AGIReply] | None = None
        self._fetched = b""
        self._flushes = 0
        self._clearing = self._lost = False
        self._timer = Timer(clock)
        self._clock = clock
        self.has_run_application = False
        self._talk_until: float | None = None  # None: the time limit is not ours
        self._renewal = Timer(clock)
        self._renewing = False

    @property
    def ended(self) -> bool:
        """Whether control of the call has ended."""
        return self._end is not None

    @property
    def is_released(self) -> bool:
        """Whether it was given back to the dialplan, or is about to be."""
        return self._end is not None or self._command == BREAK

    @property
    def in_application(self) -> bool:
        """Whether Asterisk runs a dialplan application for the gateway now."""
        return self._waiting is not None and is_application(self._command)

    @property
    def is_in_bounded_prompt(self) -> bool:
        """Whether a prompt or the caller's keys are waited for, under a time limit that can be set meanwhile."""
        is_waiting = self._waiting is not None and self._is_talking
        return is_waiting and self._talk_until is not None and self._set_limit is not None

    def is_driven_by(self, status: AMIMessage) -> bool:
        """Whether by Asterisk's word the channel is in AGI(agi:async), or runs an application that we asked for."""
        application = status.get("Application").lower()
        if application == "agi":
            return (status.get("Data") or status.get("ApplicationData")).partition(",")[0] == "agi:async"
        verb, _, rest = self._command.partition(" ")
        return (
            self._waiting is not None
            and verb.upper() == "EXEC"
            and application == rest.partition(" ")[0].strip('"').lower()
        )

    def keep_time_limit(self, variables: Mapping[str, str] = MappingProxyType({})) -> None:
        """Keep TIMEOUT(absolute) from now on, if the dialplan leaves it to the gateway.

        Args:
            variables: channel variables to set along with it, without waiting.
        """
        talk_s = self.request.talk_s
        if talk_s is None or self._talk_until is not None or self._end is not None:
            return
        self._talk_until = self._clock.seconds() + talk_s
        self._renew()
        for name, value in variables.items():
            self.tell(name, value)

    def tell(self, name: str, value: str) -> None:
        """Set a channel variable for the dialplan, without waiting."""
        self._queue(format_command("SET VARIABLE", name, value))

    def _renew(self) -> None:
        """Set the limit anew: by a command, or past the queue while one runs, whose reply is not to be mixed up."""
        if self.is_released:
            return
        if self._waiting is None:
            self._limit(SILENT_S)
        elif self._is_talking and self._set_limit is not None and not self._renewing:
            left_s = self._left_s()
            if left_s > 0:
                self._renewing = True
                renewed = self._set_limit(self.address, max(1, round(min(SILENT_S, left_s))))
                renewed.addErrback(self._cannot_renew).addBoth(self._renewed)
        self._renewal.set(RENEW_S, self._renew)

    def _renewed(self, _: object) -> None:
        """Asterisk has answered; while it does not, no reply would come in time either, and the limit ends the wait."""
        self._renewing = False

    def _cannot_renew(self, failure: Failure) -> None:
        """Asterisk refuses to set the limit past the queue: from now on a command that takes time has its own."""
        if isinstance(failure.value, ActionFailed):
            self._set_limit = None

    @property
    def _is_talking(self) -> bool:
        """Whether a prompt, the caller's keys or a pause is waited for; not the call's application."""
        return takes_time(self._sent) and (not is_application(self._sent) or bool(_PAUSE.match(self._sent)))

    def _left_s(self) -> float:
        """Seconds that are left of the talk."""
        return (self._talk_until or 0.0) - self._clock.seconds()

    def _limit(self, seconds: float) -> None:
        self._queue(format_command("SET VARIABLE", _LIMIT, round(seconds)))

    def _queue(self, line: str) -> None:
        """Queue a command whose reply is not waited for."""
        self._send(self.address, line, self._new_id()).addErrback(lambda _: None)

    def execute(self, command: str) -> Deferred[AGIReply]:
        """Send a command by AMI's action AGI and wait for its reply; as agi.Channel.execute."""
        if self._waiting is not None:
            return fail(AGIError(f"a command is still being answered; {command.split(' ', 1)[0]} was not sent"))
        try:
            encode_command(command)
        except AGIError as error:
            return fail(error)
        if self._end is not None:
            known = self._known_at_the_end(command)
            return succeed(known) if known else fail(self._end)
        if outlives_caller(command):
            self._dial_status = ""
        self._command, self._sent = command, without_break_on_error(command)
        self.has_run_application |= is_application(command) and not _PAUSE.match(command)
        waiting: Deferred[AGIReply] = Deferred(self._set_aside)
        self._waiting = waiting
        allowed_s = reply_timeout_s(command)
        if allowed_s is not None and not self.wait_forever:
            self._timer.set(allowed_s, self._reply_took_too_long)
        self._clearing = self._unread
        self._ask(FLUSH if self._clearing else self._sent)
        return waiting

    def _ask(self, line: str) -> None:
        self._fetched, self._flushes, self._lost = b"", 0, False
        if self._talk_until is None or line is not self._sent or not takes_time(line):
            self._put(line)
            return
        left_s = max(1.0, self._left_s())
        if not self._is_talking:
            self._limit(0)  # an application may run for hours
        elif self._set_limit is not None:
            self._limit(min(SILENT_S, left_s))
        else:
            self._limit(left_s if math.isfinite(left_s) else 0)
        self._put(line)
        self._limit(KEYED_S if self._is_talking and self._set_limit is not None else SILENT_S)

    def _put(self, line: str) -> None:
        command_id = self._command_id = self._new_id()
        if self._watch.active:
            self._watch.sent(self.request, line)
        self._send(self.address, line, command_id).addErrback(self._not_queued, command_id)

    # --- from Asterisk ---

    def result_received(self, event: AMIMessage) -> None:
        """Handle an AsyncAGIExec of this call."""
        came = piece(event.get("Result"))
        self._unread = came.more
        if not self._command_id or event.get("CommandId") != self._command_id:
            return  # another controller's, one that was given up, or one more after the reply
        self._command_id = ""
        self._fetched += came.data
        self._lost = self._lost or came.lost
        if came.more and len(self._fetched) < MAX_ANSWER:
            self._flushes += 1
            self._put(FLUSH)
            return
        self._answer_received(self._fetched, self._lost or came.more)

    def _answer_received(self, answer: bytes, lost: bool) -> None:
        """Handle a complete reply, with the replies of the flush commands at its end."""
        flushed = FLUSHED * (self._flushes + self._clearing)
        lost = lost or not answer.endswith(flushed)
        answer = answer.removesuffix(flushed)
        if self._watch.active:
            for line in answer.rstrip(b"\n").split(b"\n"):
                self._watch.received(self.request, self._sent, line)
        if self._clearing:
            self._clearing = False
            self.rest = None if lost else answer
            self._ask(self._sent)
        elif lost:
            name = self._command.split(" ", 1)[0]
            self._fail(AGIError(f"the answer to {name} is longer than AMI carries"))
        else:
            self._reply_received(without_progress(answer))

    def _reply_received(self, answer: bytes) -> None:
        try:
            reply = parse_reply(answer.removesuffix(b"\n"))
        except ProtocolViolation as error:
            self.log.warn(
                "MAGI {asterisk}: call {uniqueid}: {error}",
                asterisk=self.asterisk,
                uniqueid=printable(self.request.uniqueid),
                error=str(error),
            )
            self._fail(error)
            return
        if reply.code == 511:
            self.end_received()
        elif reply.code != 200:
            self._fail(refused(reply, self._command))
        elif reply.result == "-1" and may_mean_hangup(self._command) and not outlives_caller(self._command):
            self._timer.set(END_GRACE_S, lambda: self._succeed(reply))
        else:
            self._succeed(as_reply_to(reply, self._command, self._sent))

    def dial_ended(self, status: str) -> None:
        """Handle a DialEnd of this call; of several phones that rang together one may have answered."""
        if self._dial_status != "ANSWER":
            self._dial_status = status

    def end_received(self) -> None:
        """Handle AsyncAGIEnd: control of the call has ended."""
        self._finish(ChannelHungUp())

    def connection_lost(self, why: str = "the connection to AMI was lost") -> None:
        """Handle the loss of the AMI connection, and with it of the call."""
        self._finish(ConnectionClosed(why))

    def give_back(self) -> None:
        """End the conversation, since the gateway stops."""
        self._finish(GatewayStopping(self.in_application))

    def _finish(self, error: ChannelHungUp) -> None:
        if self._end is not None:
            return
        self._end = error
        self._renewal.clear()
        if self._watch.active:
            self._watch.noted(self.request, "the call is ours no more")
        known = self._known_at_the_end(self._command)
        if known is not None:
            self._succeed(known)
        else:
            self._fail(error)

    def _known_at_the_end(self, command: str) -> AGIReply | None:
        """Answer a query for DIALSTATUS from the DialEnd event, since the channel can no longer be asked."""
        if command != _DIAL_STATUS or not self._dial_status or isinstance(self._end, ConnectionClosed):
            return None
        return AGIReply(200, "1", self._dial_status, text=f"result=1 ({self._dial_status})")

    def _not_queued(self, failure: Failure, command_id: str) -> None:
        error = failure.value
        if command_id != self._command_id:
            return
        if isinstance(error, ActionFailed) and any(words in str(error) for words in _GONE):
            self.end_received()
        elif isinstance(error, InvalidAction):
            self._fail(InvalidArgument(str(error)))
        elif isinstance(error, ManagerError) and not isinstance(error, ActionFailed):
            self.connection_lost()
        else:
            self._fail(AGIError(str(error)))

    def _reply_took_too_long(self) -> None:
        name = self._command.split(" ", 1)[0]
        self._fail(ReplyTimeout(f"Asterisk did not reply to {name}"))

    # --- firing the pending Deferred ---

    def _succeed(self, reply: AGIReply) -> None:
        waiting = self._forget()
        if waiting is not None:
            waiting.callback(reply)

    def _fail(self, error: AGIError) -> None:
        waiting = self._forget()
        if waiting is not None:
            waiting.errback(error)

    def _set_aside(self, _: object) -> None:
        self._forget()

    def _forget(self) -> Deferred[AGIReply] | None:
        waiting, self._waiting = self._waiting, None
        self._command_id = ""
        self._timer.clear()
        return waiting
