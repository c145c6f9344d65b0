"""The gateway's FastAGI server on StarPy 1.1.1: its FastAGIProtocol as our channel.Channel.

StarPy frames, decodes and matches replies to commands. Lines that it would take for
something else are kept from it: HANGUP, the many lines of a 520, bytes that are not
UTF-8. The opening block is read from the raw lines, since a key that a caller added
(docs/asterisk.md A7) would overwrite the true one in StarPy's dictionary. What still differs from
our own server is told, and tested, in docs/starpy.md.
"""

from __future__ import annotations

from typing import Any

from starpy import error, fastagi
from twisted.internet import defer
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pbxrouter.agi import (
    AGIReply,
    AGIRequest,
    allowed_when_hung_up,
    encode_command,
    may_mean_hangup,
    outlives_caller,
    parse_reply,
    parse_request,
    refused,
    reply_timeout_s,
)
from pbxrouter.errors import (
    AGIError,
    ChannelHungUp,
    ConnectionClosed,
    InvalidArgument,
    ProtocolViolation,
    ReplyTimeout,
)
from pbxrouter.fastagi import HANGUP_GRACE_S, FastAGIFactory, ForgedCallEnding, host_of
from pbxrouter.net import Place
from pbxrouter.text import printable


class _Protocol(fastagi.FastAGIProtocol):  # type: ignore[misc]
    """StarPy's, which sees only lines that it understands."""

    MAX_LENGTH = 1 << 20

    def __init__(self) -> None:
        super().__init__()
        self.opening: list[bytes] = []
        self.hung_up = False
        self.refusal: ForgedCallEnding | None = None
        self.place: Place | None = None
        self._usage: list[bytes] = []

    def connectionLost(self, reason: Any = connectionDone) -> None:
        """Leave the connection's place."""
        if self.place is not None:
            self.place.leave()
        super().connectionLost(reason)

    def lineReceived(self, line: bytes) -> None:
        if self.refusal is not None:
            self.refusal.data_received(line)
            return
        if self.readingVariables:
            if line.strip():
                self.opening.append(line)
        elif line == b"HANGUP":
            self.hung_up = True
            return
        elif line.startswith(b"100"):
            return  # still at it; the answer follows
        elif self._usage or line.startswith(b"520-"):
            self._usage.append(line)
            if not line.startswith(b"520 "):
                return
            line = b"520 " + self._usage[0][4:]
            self._usage.clear()
        super().lineReceived(line.decode("utf-8", "replace").encode())


class StarpyChannel:
    """One call; provides channel.Channel."""

    def __init__(self, agi: _Protocol, owner: StarpyFactory) -> None:
        self.request = AGIRequest({})
        self.agi = agi
        self.is_busy = False
        self._owner = owner
        self._closed = False
        agi.onClose().addErrback(self._lost)

    def _lost(self, _: object) -> None:
        self._closed = True
        if self._owner.watch.active:
            self._owner.watch.noted(self.request, "the connection is closed")
        call: Any = self  # a FastAGIProtocol, as far as the factory cares
        self._owner.closed(call)

    @property
    def peer(self) -> str:
        """The address of the other end."""
        return host_of(self.agi.transport.getPeer())

    def close(self) -> None:
        """Give the call back to the dialplan."""
        self.agi.finish()

    def execute(self, command: str) -> Deferred[AGIReply]:
        """See channel.Channel."""
        if self.is_busy:
            return fail(AGIError(f"a command is still being answered; {command.split(' ')[0]} was not sent"))
        if self._owner.draining:
            self.close()
        if self._closed or self._owner.draining:
            return fail(ConnectionClosed())
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
        watch = self._owner.watch
        if watch.active:
            watch.sent(self.request, command)
        self.is_busy = True
        try:
            reply = await self._reply(command)
            if watch.active:
                watch.received(self.request, command, f"200 {reply.text}".encode("utf-8", "replace"))
            if reply.result == "-1" and may_mean_hangup(command) and not outlives_caller(command):
                if not self.agi.hung_up:
                    await deferLater(self._owner.clock, HANGUP_GRACE_S)
                if self.agi.hung_up:
                    raise ConnectionClosed() if self._closed else ChannelHungUp()
            return reply
        finally:
            self.is_busy = False

    async def _reply(self, command: str) -> AGIReply:
        waiting = self.agi.sendCommand(command)
        allowed_s = reply_timeout_s(command)
        if allowed_s is not None:
            waiting.addTimeout(allowed_s, self._owner.clock)
        try:
            line = await waiting
        except defer.TimeoutError:
            self.close()
            raise ReplyTimeout(f"Asterisk did not reply to {command.split(' ')[0]}") from None
        except ConnectionDone:
            raise ConnectionClosed() from None
        except error.AGICommandFailure as failure:
            code, words = failure.args
            if code == 511:
                self.agi.hung_up = True
                raise ChannelHungUp() from None
            if code in (510, 520):
                raise refused(AGIReply(code, text=words), command) from None
            name = command.split(" ")[0]
            raise ProtocolViolation(f"what came in answer to {name} is no reply of Asterisk's") from None
        return parse_reply(f"200 result={line}".encode())


class StarpyFactory(FastAGIFactory):
    """Our server with StarPy's FastAGIFactory making the protocols."""

    log = Logger()

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._starpy = fastagi.FastAGIFactory(self._opened)
        self._starpy.protocol = _Protocol

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Accept a connection of Asterisk's; None, which closes it, as in FastAGIFactory."""
        place = None if self.draining else self.admission.enter(addr)
        if place is None:
            return None
        agi = self._starpy.buildProtocol(addr)
        agi.place = place
        place.close = lambda: agi.transport.abortConnection()
        return agi

    def _opened(self, agi: _Protocol) -> None:
        """StarPy has read the variables: ours from here."""
        if agi.place is not None:
            agi.place.busy()
        channel: Any = StarpyChannel(agi, self)
        self.opened(channel)
        try:
            channel.request = parse_request(b"\n".join(agi.opening))
        except ProtocolViolation as forged:
            self.log.warn(
                "call {uniqueid} refused: {error}",
                uniqueid=printable(agi.variables.get("agi_uniqueid", "(unknown)")),
                error=str(forged),
            )
            refusal = agi.refusal = ForgedCallEnding(agi.transport.write, agi.finish, self.clock, False)
            agi.onClose().addBoth(lambda _: refusal.stop())
            return
        if self.watch.active:
            self.watch.opened(channel.request)
        self.begin(channel)
