"""One call that Asterisk hands over by AMI: AGI(agi:async), what the workshop calls MAGI.

Provides channel.Channel over AMI actions, so the same conversation runs as over
FastAGI. What makes AsyncAGI different (facts C):

* The end (AsyncAGIEnd) comes when the caller hangs up, and then no command works any
  more, not even a look at a variable; nothing queued is answered.
* A block or a result longer than 1024 bytes is cut, and its rest stands before the next result.
* The call is given back with ``ASYNCAGI BREAK``; otherwise it waits for ever.

Not here: which calls are ours, and finding them (magi).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbxrouter.agi import AGIReply, AGIRequest, parse_reply
from pbxrouter.agi_commands import encode_command, may_mean_hangup, refused, reply_timeout_s
from pbxrouter.ami import Message
from pbxrouter.errors import (
    ActionFailed,
    AGIError,
    ChannelHungUp,
    ConnectionClosed,
    InvalidAction,
    InvalidArgument,
    ManagerError,
    ProtocolViolation,
    ReplyTimeout,
)
from pbxrouter.oneshot import OneShot
from pbxrouter.watch import DialogueWatch

END_GRACE_S: Final = 0.5
"""How long after a ``-1`` the event of the end may take."""
_RESULT: Final = re.compile(rb"^(?:[1-5]\d\d result=|5\d\d[ -])", re.MULTILINE)
BREAK: Final = "ASYNCAGI BREAK"

SendCommand = Callable[[str, str, str], Deferred[Any]]
"""Sends (Uniqueid, command, CommandID) and fires when Asterisk has queued it."""


class MagiChannel:
    """A call in AGI(agi:async).

    Args:
        request: what is known of the call.
        address: the channel for Action AGI: its Uniqueid, since names change.
        rest: what stood before the last result, cut off from something longer.
        send: puts a command into Asterisk's queue.
        new_id: makes CommandIDs.
    """

    log = Logger()

    def __init__(
        self,
        request: AGIRequest,
        address: str,
        send: SendCommand,
        new_id: Callable[[], str],
        clock: IReactorTime,
        watch: DialogueWatch,
    ) -> None:
        self.request = request
        self.address = address
        self.ended = False
        self.rest = b""
        self._send = send
        self._new_id = new_id
        self._watch = watch
        self._command = ""
        self._command_id = ""
        self._waiting: Deferred[AGIReply] | None = None
        self._held = False
        self._timer = OneShot(clock)

    def execute(self, command: str) -> Deferred[AGIReply]:
        """See channel.Channel."""
        if self.ended:
            return fail(ChannelHungUp())
        if self._waiting is not None:
            return fail(
                AGIError(f"a command is still being answered; {command.split(' ', 1)[0]} was not sent")
            )
        try:
            encode_command(command)
        except AGIError as error:
            return fail(error)
        self._command, self._command_id = command, self._new_id()
        waiting: Deferred[AGIReply] = Deferred(lambda _: self._set_aside())
        self._waiting = waiting
        if self._watch.active:
            self._watch.sent(self.request, command)
        allowed_s = reply_timeout_s(command)
        if allowed_s is not None:
            self._timer.set(allowed_s, self._reply_took_too_long)
        command_id = self._command_id
        queued = self._send(self.address, command, command_id)
        queued.addErrback(self._not_queued, command_id)
        return waiting

    # --- what comes ---

    def result_received(self, message: Message) -> None:
        """An AsyncAGIExec for this call."""
        if self._waiting is None or self._held or message.get("CommandId") != self._command_id:
            return  # another controller's, or one that was given up
        raw = unquote_to_bytes(message.get("Result"))
        if self._watch.active:
            for line in raw.rstrip(b"\n").split(b"\n"):
                self._watch.received(self.request, self._command, line)
        try:
            self.rest, result = split_rest(raw)
            reply = parse_reply(result.removesuffix(b"\n"))
        except ProtocolViolation as error:
            self._fail(error)
            return
        if reply.code == 511:
            self._fail(ChannelHungUp())
        elif reply.code != 200:
            self._fail(refused(reply, self._command))
        elif reply.result == "-1" and may_mean_hangup(self._command):
            self._held = True
            self._timer.set(END_GRACE_S, lambda: self._succeed(reply))
        else:
            self._succeed(reply)

    def end_received(self) -> None:
        """Asterisk says that the call is ours no more."""
        self.ended = True
        self._fail(ChannelHungUp())

    def connection_lost(self) -> None:
        """AMI is gone, and with it our hold on the call."""
        self.ended = True
        self._fail(ConnectionClosed("the connection to AMI was lost"))

    def _not_queued(self, failure: Failure, command_id: str) -> None:
        error = failure.value
        if command_id != self._command_id:
            return
        if isinstance(error, ActionFailed):  # no such channel, or no longer in AsyncAGI
            self.end_received()
        elif isinstance(error, InvalidAction):
            self._fail(InvalidArgument(str(error)))
        elif isinstance(error, ManagerError):
            self.connection_lost()
        else:
            self._fail(AGIError(str(error)))

    def _reply_took_too_long(self) -> None:
        name = self._command.split(" ", 1)[0]
        self._fail(ReplyTimeout(f"Asterisk did not reply to {name}"))

    # --- answering whoever waits ---

    def _succeed(self, reply: AGIReply) -> None:
        waiting = self._forget()
        if waiting is not None:
            waiting.callback(reply)

    def _fail(self, error: AGIError) -> None:
        waiting = self._forget()
        if waiting is not None:
            waiting.errback(error)

    def _set_aside(self) -> None:
        self._forget()

    def _forget(self) -> Deferred[AGIReply] | None:
        waiting, self._waiting = self._waiting, None
        self._held = False
        self._timer.clear()
        return waiting


def split_rest(raw: bytes) -> tuple[bytes, bytes]:
    """Part what was cut off something before and glued to a result's front from the result (facts C).

    A result begins with three digits at the beginning of a line; the last such line
    but for a 520's is where it begins.
    """
    found = list(_RESULT.finditer(raw))
    if not found:
        return b"", raw
    place = found[-1].start()
    if raw.startswith(b"520-", found[0].start()):
        place = found[0].start()
    return raw[:place], raw[place:]
