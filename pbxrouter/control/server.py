"""The control socket: a unix socket for the command line, open to the gateway's user only.

One JSON object a line each way. A command is ``{"NAME": {…}}``, one for each connection; the answer is
a stream of objects until either side closes.
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
"""Maximum bytes of the path of a unix socket on Linux."""


JsonObject = dict[str, Any]


class ControlCommand(Interface):
    """A command of the control socket."""

    def __call__(
        self, arguments: JsonObject, send: Callable[[JsonObject], None], end: Callable[[], None]
    ) -> Callable[[], None]:
        """Run the command.

        Args:
            arguments: the command's arguments, unvalidated.
            send: sends one object.
            end: closes the stream.

        Returns:
            A function to call when the client has disconnected.

        Raises:
            PbxrouterError: the command is refused; its message is sent as the answer.
        """
        ...


@implementer(IPushProducer)
class ControlProtocol(LineOnlyReceiver):
    """A connection of the command line."""

    delimiter = b"\n"
    MAX_LENGTH = 4096
    transport: Any  # ITransport and IConsumer in one

    def __init__(self, commands: Mapping[str, ControlCommand]) -> None:
        self._commands = commands
        self._stop: Callable[[], None] = lambda: None
        self._asked = False
        self._paused = False
        self._skipped = 0

    def connectionMade(self) -> None:
        """Register for flow control."""
        self.transport.registerProducer(self, True)

    def lineReceived(self, line: bytes) -> None:
        """Parse and run a command."""
        if self._asked:
            return
        self._asked = True
        try:
            ((name, arguments),) = json.loads(line).items()
            command = self._commands[name]
            if not isinstance(arguments, dict):
                raise TypeError
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            accepted = ", ".join(self._commands)
            self._refuse(f'accepted is {{"NAME": {{…}}}} with one of these names: {accepted}')
            return
        try:
            self._stop = command(arguments, self._send, self.transport.loseConnection)
        except PbxrouterError as error:
            self._refuse(str(error))

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a command that is too long."""
        if not self._asked:
            self._asked = True
            self._refuse(f"a command may have {self.MAX_LENGTH} bytes")

    def _refuse(self, why: str) -> None:
        self._send({"error": why})
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Stop the running command."""
        self._stop()

    def _send(self, answer: JsonObject) -> None:
        if self._paused:
            self._skipped += 1
        else:
            self.sendLine(json.dumps(answer).encode("ascii"))

    def pauseProducing(self) -> None:
        """The client does not keep up: count the objects it misses instead of buffering them."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The client has caught up: tell how many objects it missed."""
        self._paused = False
        if self._skipped:
            skipped, self._skipped = self._skipped, 0
            self._send({"skipped": skipped})

    def stopProducing(self) -> None:
        """Stop sending: the connection is closing."""
        self._paused = True


class _ControlFactory(ServerFactory):
    noisy = False

    def __init__(self, commands: Mapping[str, ControlCommand]) -> None:
        self._commands = commands

    def buildProtocol(self, addr: IAddress | None) -> ControlProtocol:
        return ControlProtocol(self._commands)


def remove_stale(path: str) -> None:
    """Remove a socket that a killed gateway has left, if no process answers at it.

    A lock file with a process id would not do: that id may belong to another process by now.
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

    A failure to listen is logged and stops nothing else: calls do not depend on the socket.
    """

    log = Logger()

    def __init__(self, path: str, commands: Mapping[str, ControlCommand], reactor: Any) -> None:
        self._path = path
        self._reactor = reactor
        self._commands = commands
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        """Open the socket, for the gateway's own user only."""
        super().startService()
        if len(os.fsencode(self._path)) > MAX_PATH:
            self.log.warn(
                "control: {path} is too long for a unix socket; the command line cannot reach this gateway",
                path=self._path,
            )
            return
        remove_stale(self._path)
        factory = _ControlFactory(self._commands)
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
        """Close and remove the socket."""
        super().stopService()
        port, self._port = self._port, None
        return port.stopListening() if port is not None else None
