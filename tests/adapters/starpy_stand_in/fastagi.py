"""The stand-in's FastAGI: each line after the opening block answers the oldest command in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from tests.adapters.starpy_stand_in.error import AGICommandFailure


class FastAGIProtocol(LineOnlyReceiver):
    """One call.

    Attributes:
        readingVariables: whether the opening block is still being read.
        variables: the opening block; of a name that stands twice, the last value.
        lostConnectionDeferred: what onClose returned, once it was called.
    """

    delimiter = b"\n"
    factory: Any
    transport: Any
    readingVariables = False
    lostConnectionDeferred: Deferred[Any] | None = None

    def __init__(self, *args: Any, **named: Any) -> None:
        self.variables: dict[str, str] = {}
        self.__in_flight: deque[Deferred[str]] = deque()

    def connectionMade(self) -> None:
        """Wait for the opening block."""
        self.readingVariables = True

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Fail the commands in flight, and what onClose returned."""
        while self.__in_flight:
            self.__in_flight.popleft().errback(ConnectionDone())
        if self.lostConnectionDeferred is not None:
            self.lostConnectionDeferred.errback(reason)

    def onClose(self) -> Deferred[Any]:
        """A Deferred that fails when the connection is lost; the same one for all who ask."""
        if self.lostConnectionDeferred is None:
            self.lostConnectionDeferred = Deferred()
        return self.lostConnectionDeferred

    def finish(self) -> None:
        """Close the connection."""
        self.transport.loseConnection()

    def sendCommand(self, commandString: str) -> Deferred[str]:
        """Write a command at once; fires with what stands behind ``200 result=`` in its reply."""
        self.sendLine(commandString.rstrip("\n").rstrip("\r").encode())
        waiting: Deferred[str] = Deferred()
        self.__in_flight.append(waiting)
        return waiting

    def lineReceived(self, line: bytes) -> None:
        """Take a line of the opening block, or a reply; a byte that is not UTF-8 raises."""
        text = line.decode("utf-8")
        if not self.readingVariables:
            self.__reply_received(text)
        elif text.strip():
            name, colon, value = text.partition(":")
            if colon:
                self.variables[name.lower()] = value[1:].rstrip("\r")
        else:
            self.readingVariables = False
            self.factory.mainFunction(self)

    def __reply_received(self, text: str) -> None:
        if not self.__in_flight:
            return
        waiting = self.__in_flight.popleft()
        if text.startswith("200"):
            result = text[4:]
            waiting.callback(result[7:] if result.lower().startswith("result=") else result)
            return
        first, blank, rest = text.partition(" ")
        words = rest if blank else text
        try:
            failure = AGICommandFailure(int(first) if blank else 500, words)
        except ValueError:
            failure = AGICommandFailure(500, words)
        waiting.errback(failure)


class FastAGIFactory(Factory):
    """The server; mainFunction is called with the protocol of each call when its opening block is read."""

    protocol: Any = FastAGIProtocol

    def __init__(self, mainFunction: Callable[[Any], Any]) -> None:
        self.mainFunction = mainFunction
