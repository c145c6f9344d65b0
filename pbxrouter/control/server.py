"""The gateway's own door for the command line: a unix socket that only its user may open.

One JSON object a line each way. A wish is ``{"NAME": {…}}``, one a connection; what
answers it is a stream of objects until either side closes.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
from collections.abc import Callable, Mapping
from typing import Any, Final
from typing import Protocol as Interface

from twisted.application.service import Service
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.interfaces import IAddress, IListeningPort, IPushProducer
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from pbxrouter.errors import PbxrouterError

PROBE_TIMEOUT_S: Final = 1.0
MAX_PATH: Final = 107
"""Bytes that the path of a unix socket may have on Linux."""


JsonObject = dict[str, Any]


class ControlCommand(Interface):
    """What can be asked for over the socket."""

    def __call__(
        self, asked: JsonObject, send: Callable[[JsonObject], None], end: Callable[[], None]
    ) -> Callable[[], None]:
        """Begin to answer.

        Args:
            asked: the wish's own values, from outside: anything may stand in it.
            send: gives one answer.
            end: nothing more comes.

        Returns:
            What is called when nobody listens any more.

        Raises:
            PbxrouterError: the wish cannot be granted; the line is answered.
        """
        ...


@implementer(IPushProducer)
class ControlProtocol(LineOnlyReceiver):
    """One command line that talks with the gateway."""

    delimiter = b"\n"
    MAX_LENGTH = 4096
    transport: Any  # ITransport and IConsumer in one

    def __init__(self, wishes: Mapping[str, ControlCommand]) -> None:
        self._wishes = wishes
        self._stop: Callable[[], None] = lambda: None
        self._asked = False
        self._paused = False
        self._skipped = 0

    def connectionMade(self) -> None:
        """Be told when the far end does not keep up."""
        self.transport.registerProducer(self, True)

    def lineReceived(self, line: bytes) -> None:
        """A wish."""
        if self._asked:
            return
        self._asked = True
        try:
            ((name, asked),) = json.loads(line).items()
            wish = self._wishes[name]
            if not isinstance(asked, dict):
                raise TypeError
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            accepted = ", ".join(self._wishes)
            self._refuse(f'accepted is {{"NAME": {{…}}}} with one of these names: {accepted}')
            return
        try:
            self._stop = wish(asked, self._send, self.transport.loseConnection)
        except PbxrouterError as error:
            self._refuse(str(error))

    def lineLengthExceeded(self, line: bytes) -> None:
        """A wish without end is refused in words, too."""
        if not self._asked:
            self._asked = True
            self._refuse(f"a wish may have {self.MAX_LENGTH} bytes")

    def _refuse(self, why: str) -> None:
        self._send({"error": why})
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Nobody listens here any more."""
        self._stop()

    def _send(self, answer: JsonObject) -> None:
        if self._paused:
            self._skipped += 1
        else:
            self.sendLine(json.dumps(answer).encode("ascii"))

    def pauseProducing(self) -> None:
        """The far end does not keep up: answers are counted instead of kept."""
        self._paused = True

    def resumeProducing(self) -> None:
        """It caught up; say what it missed."""
        self._paused = False
        if self._skipped:
            skipped, self._skipped = self._skipped, 0
            self._send({"skipped": skipped})

    def stopProducing(self) -> None:
        """The connection ends."""
        self._paused = True


class _ControlFactory(ServerFactory):
    noisy = False

    def __init__(self, wishes: Mapping[str, ControlCommand]) -> None:
        self._wishes = wishes

    def buildProtocol(self, addr: IAddress | None) -> ControlProtocol:
        return ControlProtocol(self._wishes)


def remove_stale(path: str) -> None:
    """Take away a socket at which nobody answers: a gateway that was killed has left it.

    A lock with a process number would not tell: that number may be another's by now.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.stat(path).st_mode):
                    os.unlink(path)
        except OSError:
            pass  # nothing is there, or listening will say what is wrong with it


class ControlService(Service):
    """Listens on the socket while the gateway runs.

    That it cannot is said in the log and stops nothing: calls do not depend on it.
    """

    log = Logger()

    def __init__(self, path: str, wishes: Mapping[str, ControlCommand], reactor: Any) -> None:
        self._path = path
        self._reactor = reactor
        self._wishes = wishes
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        """Open the door."""
        super().startService()
        if len(os.fsencode(self._path)) > MAX_PATH:
            self.log.warn(
                "control: {path} is too long for a unix socket; the command line cannot reach this gateway",
                path=self._path,
            )
            return
        remove_stale(self._path)
        factory = _ControlFactory(self._wishes)
        endpoint = UNIXServerEndpoint(self._reactor, self._path, mode=0o600, wantPID=False)
        endpoint.listen(factory).addCallbacks(self._listening, self._cannot_listen)

    def _listening(self, port: IListeningPort) -> None:
        self._port = port

    def _cannot_listen(self, failure: Failure) -> None:
        self.log.warn(
            "control: {path} cannot be opened; the command line cannot reach this gateway: {error}",
            path=self._path,
            error=failure.getErrorMessage(),
        )

    def stopService(self) -> Any:
        """Close the door."""
        super().stopService()
        port, self._port = self._port, None
        return port.stopListening() if port is not None else None
