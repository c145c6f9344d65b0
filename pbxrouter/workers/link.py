"""The connection between the gateway's main process and one of its workers: told and asked, in frames of MessagePack.

It is a socket pair that the worker inherits, so nobody else can connect. A frame has a length of four bytes and a list
of messages; a message is a list of its kind, a number and values. What is told waits a few milliseconds for more to go
with it; a question goes at once, with all that was told before. Messages arrive in the order in which they were sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from pbxrouter.errors import ProcessAway
from pbxrouter.net import Timer

GATHER_S: Final = 0.02
"""Seconds for which what is told waits for more."""
MAX_FRAME: Final = 64 << 20
"""Bytes of a frame; the settings and a batch of records have far fewer."""
MAX_GATHERED: Final = 500
"""Messages that are sent together."""

Handler = Callable[..., Any]
"""Takes the values of a message. What it returns, or its Deferred fires with, answers a question."""

_ANSWER: Final = "answer"
_FAILED: Final = "failed"


_SURROGATES: Final = 1
"""The extension type of text with bytes that are no UTF-8, as Asterisk may send them (``agi.decode``)."""


def _with_surrogates_packed(value: Any) -> Any:
    """The same values; text that MessagePack cannot hold is an extension, and escaped where it is a name."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return msgspec.msgpack.Ext(_SURROGATES, value.encode("utf-8", "surrogatepass"))
        return value
    if isinstance(value, Mapping):
        return {
            name.encode("utf-8", "backslashreplace").decode(): _with_surrogates_packed(item)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_with_surrogates_packed(item) for item in value]
    return value


def _unpacked(kind: int, data: memoryview) -> str:
    return bytes(data).decode("utf-8", "surrogatepass")


@implementer(IPushProducer)
class Link(Int32StringReceiver):
    """One end of the connection.

    Args:
        clock: for gathering.
        handlers: by the kind of message.
        lost: called when the connection is gone.

    Attributes:
        is_open: whether messages can be sent.
        is_slow: whether the other end does not read as fast as this one writes.
    """

    log = Logger()
    MAX_LENGTH = MAX_FRAME
    transport: Any  # ITransport and IConsumer in one

    def __init__(self, clock: IReactorTime, handlers: Mapping[str, Handler], lost: Callable[[], object]) -> None:
        self._handlers = handlers
        self._lost = lost
        self._gathered: list[list[Any]] = []
        self._flush_soon = Timer(clock)
        self._asked: dict[int, Deferred[Any]] = {}
        self._number = 0
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(ext_hook=_unpacked).decode
        self.is_open = False
        self.is_slow = False

    # --- sending ---

    def tell(self, kind: str, *values: Any) -> None:
        """Send a message that has no answer; lost if the connection is."""
        self._send([kind, 0, *values])

    def ask(self, kind: str, *values: Any) -> Deferred[Any]:
        """Send a question; fires with the answer.

        The Deferred fails with ProcessAway: the connection is lost, the other process could not answer, or
        ``give_up`` was called.
        """
        if not self.is_open:
            return fail(ProcessAway("the other process of the gateway is gone"))
        self._number += 1
        number = self._number
        answer = self._asked[number] = Deferred()
        self._send([kind, number, *values])
        self.flush()
        return answer

    def give_up(self, why: str) -> None:
        """Have all questions that wait for an answer fail; an answer that comes later is ignored."""
        asked, self._asked = self._asked, {}
        for answer in asked.values():
            answer.errback(ProcessAway(why))

    def _send(self, message: list[Any]) -> None:
        if not self.is_open:
            return
        self._gathered.append(message)
        if len(self._gathered) >= MAX_GATHERED:
            self.flush()
        elif len(self._gathered) == 1:
            self._flush_soon.set(GATHER_S, self.flush)

    def flush(self) -> None:
        """Send what has been gathered."""
        self._flush_soon.clear()
        gathered, self._gathered = self._gathered, []
        if gathered and self.is_open:
            try:
                frame = self._encode(gathered)
            except UnicodeEncodeError:
                frame = self._encode(_with_surrogates_packed(gathered))
            self.sendString(frame)

    # --- Twisted ---

    def connectionMade(self) -> None:
        """Messages can be sent from now on."""
        self.is_open = True
        self.transport.registerProducer(self, True)

    def stringReceived(self, string: bytes) -> None:
        """Handle the messages of a frame."""
        for kind, number, *values in self._decode(string):
            if kind in (_ANSWER, _FAILED):
                self._answered(kind, number, values)
            else:
                self._handle(kind, number, values)

    def lengthLimitExceeded(self, length: int) -> None:
        """Close the connection: the other end is not one of ours."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Have all questions fail, and tell the owner."""
        self.is_open = False
        self._flush_soon.clear()
        self._gathered.clear()
        self.give_up("the other process of the gateway is gone")
        self._lost()

    def close(self) -> None:
        """Send what has been gathered, and close the connection."""
        self.flush()
        self.transport.loseConnection()

    def pauseProducing(self) -> None:
        """The other end does not keep up."""
        self.is_slow = True

    def resumeProducing(self) -> None:
        """The other end has caught up."""
        self.is_slow = False

    def stopProducing(self) -> None:
        """The connection is closing."""
        self.is_slow = True

    # --- messages ---

    def _answered(self, kind: str, number: int, values: list[Any]) -> None:
        waiting = self._asked.pop(number, None)
        if waiting is None:  # it was given up
            return
        if kind == _ANSWER:
            waiting.callback(values[0])
        else:
            waiting.errback(ProcessAway(values[0]))

    def _handle(self, kind: str, number: int, values: list[Any]) -> None:
        handler = self._handlers.get(kind)
        if handler is None:
            self.log.error("workers: a message of an unknown kind, {kind}", kind=kind)
            return
        done = maybeDeferred(handler, *values)
        if number:
            done.addCallbacks(self._answer, self._fail, (number,), errbackArgs=(kind, number))
        else:
            done.addErrback(lambda failure: self.log.failure("workers: handling {kind} failed", failure, kind=kind))

    def _answer(self, value: Any, number: int) -> None:
        self._send([_ANSWER, number, value])
        self.flush()

    def _fail(self, failure: Failure, kind: str, number: int) -> None:
        self.log.failure("workers: answering {kind} failed", failure, kind=kind)
        self._send([_FAILED, number, f"the other process failed: {type(failure.value).__name__}"])
        self.flush()
