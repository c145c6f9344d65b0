"""The two ways in which an alarm is delivered: a command, and a webhook."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from io import BytesIO
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from twisted.web.client import Agent, FileBodyProducer, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from pbxrouter import __version__
from pbxrouter.alarms.message import SIGNATURE, TIMESTAMP, Notice, sign
from pbxrouter.errors import AlarmFailed
from pbxrouter.text import printable, sentence

TIMEOUT_S: Final = 30.0
"""Seconds that a command, or a webhook request, may take."""
CONNECT_S: Final = 10.0
_KILL_S: Final = 5.0
_CLOSE_S: Final = 1.0
_SHOWN: Final = 200


class Target(Protocol):
    """Where alarms are delivered.

    Attributes:
        name: its name in the log.
    """

    name: str

    def deliver(self, notice: Notice) -> Deferred[None]:
        """Try once; fails with AlarmFailed. May be cancelled."""
        ...


class CommandTarget:
    """Runs a command with the alarm as JSON on its standard input.

    It gets a small environment of its own: PATH, LANG, and the alarm's kind and text.

    Args:
        command: program and arguments; no shell is involved.
    """

    def __init__(self, command: tuple[str, ...], reactor: Any) -> None:
        self._command = command
        self._reactor = reactor
        self.name = f"command {printable(command[0])}"

    def deliver(self, notice: Notice) -> Deferred[None]:
        """Run the command; it fails unless its exit status is 0."""
        process = _Process(notice.body(), self._reactor)
        process.done.addErrback(process.after_end)
        environment = {
            "PATH": os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "ALARM_KIND": notice.alarm.kind,
            "ALARM_TEXT": notice.alarm.text,
        }
        try:
            self._reactor.spawnProcess(process, self._command[0], self._command, environment, "/")
        except OSError as error:
            process.ended(AlarmFailed(sentence("it cannot be started: {why}", why=error.strerror or str(error))))
        return process.done


class _Process(ProcessProtocol):
    """A run of the command."""

    def __init__(self, body: bytes, reactor: Any) -> None:
        self._body = body
        self._reactor = reactor
        self._said = b""
        self._why: AlarmFailed | None = None
        self._timers: list[Any] = []
        self._over = self._cancelled = False
        self.transport: Any = None
        self.done: Deferred[None] = Deferred(lambda _: self._stop(AlarmFailed(sentence("the gateway stops"))))
        self._gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Give it the alarm."""
        late = AlarmFailed(sentence("it took longer than {seconds} s", seconds=int(TIMEOUT_S)))
        self._timers.append(self._reactor.callLater(TIMEOUT_S, self._stop, late))
        self.transport.write(self._body)
        self.transport.closeStdin()

    def errReceived(self, data: bytes) -> None:
        """Keep the beginning of what it complains of."""
        self._said = (self._said + data)[:_SHOWN]

    def _stop(self, why: AlarmFailed) -> None:
        """Terminate it, and kill it if that does not help."""
        self._why = self._why or why
        self._signal("TERM")
        self._timers.append(self._reactor.callLater(_KILL_S, self._signal, "KILL"))

    def _signal(self, name: str) -> None:
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess(name)

    def processExited(self, reason: Failure) -> None:
        """It has ended; a process that it left in the background may hold its outputs open, which are closed soon."""
        self._timers.append(self._reactor.callLater(_CLOSE_S, self.transport.loseConnection))

    def processEnded(self, reason: Failure) -> None:
        """It has ended, and its outputs are closed."""
        self._finish(reason)

    def _finish(self, reason: Failure) -> None:
        if self._why is None and not reason.check(ProcessDone):
            said = printable(self._said.decode("utf-8", "replace").strip())
            exit_code, signal = getattr(reason.value, "exitCode", None), getattr(reason.value, "signal", None)
            status = f"signal {signal}" if exit_code is None else str(exit_code)
            self._why = AlarmFailed(
                sentence("it ended with status {status}: {said}", status=status, said=said)
                if said
                else sentence("it ended with status {status}", status=status)
            )
        self.ended(self._why)

    def ended(self, why: AlarmFailed | None) -> None:
        """Fire the result, once."""
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        if self._over:
            return
        self._over = True
        if self._cancelled:
            self._gone.callback(None)
        elif why is None:
            self.done.callback(None)
        else:
            self.done.errback(why)

    def after_end(self, failure: Failure) -> Any:
        """A failure, when the process has ended: to cancel an attempt only asks it to end."""
        if not failure.check(CancelledError):
            return failure
        self._cancelled = True
        return self._gone.addCallback(lambda _: Failure(self._why or failure.value))


class WebhookTarget:
    """Posts the alarm as JSON to a URL, with a timestamp and a signature in the headers.

    Args:
        url: ``https``, or ``http`` on loopback.
        secret: the key of the signature.
        now: epoch seconds.
        agent: sends requests; by default Twisted's, which checks certificates and follows no redirect.
    """

    def __init__(self, url: str, secret: bytes, reactor: Any, now: Callable[[], float], agent: Any = None) -> None:
        self._url = url
        self._secret = secret
        self._reactor = reactor
        self._now = now
        self._agent = agent or Agent(reactor, connectTimeout=CONNECT_S)
        # A path may be a secret itself.
        self.name = f"webhook {printable(urlsplit(url).hostname or '?')}"

    def deliver(self, notice: Notice) -> Deferred[None]:
        """Post it; it fails unless the status is 2xx."""
        body = notice.body()
        timestamp = str(int(self._now()))
        headers = Headers(
            {
                "Content-Type": ["application/json"],
                "User-Agent": [f"pbxrouter/{__version__}"],
                TIMESTAMP: [timestamp],
                SIGNATURE: [sign(self._secret, timestamp, body)],
            }
        )
        sent: Deferred[Any] = self._agent.request(
            b"POST", self._url.encode("ascii"), headers, FileBodyProducer(BytesIO(body))
        )
        sent.addCallback(_check_status)
        sent.addTimeout(TIMEOUT_S, self._reactor)
        return sent.addErrback(_as_failure)


def _check_status(response: Any) -> Deferred[None]:
    """Wait for the end of the response, without its body, and check the status."""
    discard = _Discard(int(response.code))
    response.deliverBody(discard)
    return discard.done


class _Discard(TwistedProtocol):
    """Drops a response's body; closes the connection if there is much of it."""

    MOST = 65_536

    def __init__(self, status: int) -> None:
        self._status = status
        self._left = self.MOST
        self.done: Deferred[None] = Deferred(lambda _: self._abort())

    def dataReceived(self, data: bytes) -> None:
        """Count the bytes of the body; close the connection if there are more than MOST."""
        self._left -= len(data)
        if self._left < 0:
            self._abort()

    def _abort(self) -> None:
        abort = getattr(self.transport, "abortConnection", None) or getattr(self.transport, "loseConnection", None)
        if abort is not None:
            abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The response is over; what counts is its status."""
        if self.done.called:
            return
        if 200 <= self._status < 300:
            self.done.callback(None)
        elif reason.check(ResponseDone, PotentialDataLoss) or self._left < 0:
            self.done.errback(AlarmFailed(sentence("it answered with status {status}", status=self._status)))
        else:
            self.done.errback(reason)


def _as_failure(failure: Failure) -> Failure:
    """Turn what went wrong into an AlarmFailed, in one line without the URL."""
    error: Any = failure.value
    if isinstance(error, AlarmFailed):
        return failure
    reasons = getattr(error, "reasons", None)  # of a request whose connection was lost
    if reasons:
        error = reasons[0].value
    if isinstance(error, CancelledError | TimeoutError):
        return Failure(AlarmFailed(sentence("no answer within {seconds} s", seconds=int(TIMEOUT_S))))
    why = printable(str(error))[:_SHOWN] or type(error).__name__
    return Failure(AlarmFailed(sentence("it cannot be reached: {why}", why=why)))
