"""Fakes for AMI: Asterisk's end of a connection in memory, and an AMIConnection."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from pbxrouter.ami.messages import AMIMessage
from pbxrouter.ami.protocol import AMIProtocol, EventHandler
from pbxrouter.errors import ActionFailed, ManagerError, ManagerUnavailable

BANNER = b"Asterisk Call Manager/11.0.0\r\n"


def lines(*headers: str) -> bytes:
    """A message of these lines."""
    return "".join(f"{header}\r\n" for header in headers).encode("utf-8", "surrogateescape") + b"\r\n"


class AmiEnd:
    """Asterisk's end of one AMI connection, in memory."""

    def __init__(self, protocol: AMIProtocol) -> None:
        self.protocol = protocol
        self.transport = StringTransport()
        self.transport.abortConnection = self.goes  # type: ignore[method-assign]
        self.gone = False
        protocol.makeConnection(self.transport)

    def says(self, *headers: str) -> None:
        """Send a message to the protocol."""
        self.protocol.dataReceived(lines(*headers))

    def greets(self) -> None:
        """Send Asterisk's banner to the protocol."""
        self.protocol.dataReceived(BANNER)

    def hears(self) -> list[dict[str, str]]:
        """The actions sent since the last call."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return [dict(AMIMessage(raw).headers) for raw in data.split(b"\r\n\r\n")[:-1]]

    def answers(self, *headers: str, to: str = "") -> dict[str, str]:
        """Answer the one action sent since the last call; returns it."""
        (action,) = self.hears()
        if to:
            assert action["Action"] == to, action
        self.says("Response: Success", f"ActionID: {action['ActionID']}", *headers)
        return action

    def logs_in(self) -> None:
        """Accept the login by challenge."""
        self.greets()
        self.answers("Challenge: 1234", to="Challenge")
        self.answers(to="Login")

    def goes(self, reason: Exception | None = None) -> None:
        """End the connection."""
        if not self.gone:
            self.gone = True
            self.protocol.connectionLost(Failure(reason or ConnectionDone()))


class FakeAMIConnection:
    """A fake AMIConnection; the test acts as Asterisk.

    Attributes:
        sent: actions, name and headers, in order.
        answers: by action name, what comes of it: headers of a response, an error, or
            None for no answer yet.
        timeouts: by action name, the time-outs of the actions sent.
        alive: by Uniqueid or name, what Action Status tells of the channels that exist.
    """

    name = "lab"

    def __init__(self) -> None:
        self.is_up = False
        self.peer = ""
        self.forged_events = 0
        self.sent: list[tuple[str, dict[str, str]]] = []
        self.answers: dict[str, dict[str, str] | ManagerError | None] = {}
        self.timeouts: dict[str, list[float]] = {}
        self.alive: dict[str, AMIMessage] = {}
        self.lists: dict[str, list[AMIMessage] | ManagerError | None] = {}
        self.waiting: list[Deferred[AMIMessage]] = []
        self._handlers: dict[str, list[EventHandler]] = {}
        self._up: list[Callable[[], object]] = []
        self._down: list[Callable[[], object]] = []
        self._ids = itertools.count(1)

    def on_connect(self, tell: Callable[[], object]) -> None:
        """Keep a callback for comes_up; call it at once if connected."""
        self._up.append(tell)
        if self.is_up:
            tell()

    def on_disconnect(self, tell: Callable[[], object]) -> None:
        """Keep a callback for goes_down."""
        self._down.append(tell)

    def subscribe(self, event: str, handler: EventHandler) -> Callable[[], None]:
        """Keep a handler for event."""
        self._handlers.setdefault(event, []).append(handler)
        return lambda: self._handlers[event].remove(handler)

    def new_id(self) -> str:
        """Return the next ActionID."""
        return f"id-{next(self._ids)}"

    def action(self, name: str, headers: Iterable[tuple[str, str]] = (), timeout_s: float = 10) -> Deferred[AMIMessage]:
        """Keep an action, and answer it as the test has set up."""
        if not self.is_up:
            return fail(ManagerUnavailable("there is no connection to lab now"))
        self.sent.append((name, dict(headers)))
        self.timeouts.setdefault(name, []).append(timeout_s)
        answer = self.answers.get(name, {})
        if answer is None:
            self.waiting.append(Deferred())
            return self.waiting[-1]
        if isinstance(answer, ManagerError):
            return fail(answer)
        return succeed(
            AMIMessage(b"\r\n".join([b"Response: Success", *(f"{k}: {v}".encode() for k, v in answer.items())]))
        )

    def action_list(
        self, name: str, headers: Iterable[tuple[str, str]] = (), timeout_s: float = 10
    ) -> Deferred[list[AMIMessage]]:
        """Keep an action that is answered by a list, and answer it as the test has set up."""
        if not self.is_up:
            return fail(ManagerUnavailable("there is no connection to lab now"))
        self.sent.append((name, dict(headers)))
        self.timeouts.setdefault(name, []).append(timeout_s)
        answer = self.lists.get(name, [])
        if name == "Status" and isinstance(answer, list):
            channel = dict(headers)["Channel"]
            answer = [self.alive[channel]] if channel in self.alive else ActionFailed("Status: No such channel")
        if answer is None:
            return Deferred()
        return fail(answer) if isinstance(answer, ManagerError) else succeed(answer)

    def comes_up(self) -> None:
        """Connect and log in."""
        self.is_up = True
        for tell in self._up:
            tell()

    def goes_down(self) -> None:
        """Lose the connection: pending actions fail, then the listeners are called."""
        self.is_up = False
        waiting, self.waiting = self.waiting, []
        for deferred in waiting:
            deferred.errback(ManagerUnavailable("the connection to Asterisk was lost"))
        for tell in self._down:
            tell()

    def event(self, *headers: str) -> None:
        """Send an event to its handlers."""
        message = AMIMessage(lines(*headers)[:-4])
        for handler in tuple(self._handlers.get(message.name, ())):
            handler(message)

    def heard(self, name: str) -> list[dict[str, str]]:
        """The actions of a name sent since the last call with that name."""
        found = [headers for action, headers in self.sent if action == name]
        self.sent = [message for message in self.sent if message[0] != name]
        return found


def refused(text: str) -> ActionFailed:
    """The failure of an action that Asterisk answers with Response: Error."""
    return ActionFailed(f"AGI: {text}")


def new_protocol(
    handlers: dict[bytes, list[EventHandler]] | None = None,
) -> tuple[AMIProtocol, AmiEnd, Clock]:
    """A protocol with a new connection."""
    clock = Clock()
    time: IReactorTime = clock
    protocol = AMIProtocol(time, {} if handlers is None else handlers)
    return protocol, AmiEnd(protocol), clock
