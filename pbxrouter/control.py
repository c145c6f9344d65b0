"""The gateway's own door for the command line: a unix socket that only its user may open.

One JSON object a line each way. ``{"watch": {"caller": "33", "extension": null}}``
starts a stream of what those calls say to Asterisk and it to them, PINs masked.
Not here: printing it (cli).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.interfaces import IAddress, IListeningPort, IPushProducer
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from pbxrouter.watch import DialogueLine, DialogueWatch

MAX_PATH: Final = 107
"""Bytes that the path of a unix socket may have on Linux."""


@implementer(IPushProducer)
class ControlProtocol(LineOnlyReceiver):
    """One command line that talks with the gateway."""

    delimiter = b"\n"
    MAX_LENGTH = 4096
    transport: Any  # ITransport and IConsumer in one

    def __init__(self, watch: DialogueWatch) -> None:
        self._watch = watch
        self._stop: Callable[[], None] = lambda: None
        self._paused = False
        self._skipped = 0

    def connectionMade(self) -> None:
        """Be told when the far end does not keep up."""
        self.transport.registerProducer(self, True)

    def lineReceived(self, line: bytes) -> None:
        """A wish."""
        try:
            asked = json.loads(line)["watch"]
            caller, extension = asked.get("caller"), asked.get("extension")
        except (ValueError, TypeError, KeyError, AttributeError):
            self._send({"error": 'accepted is {"watch": {"caller": …, "extension": …}}'})
            self.transport.loseConnection()
            return
        self._stop()
        self._stop = self._watch.add(self._tell, caller, extension)
        self._send({"watching": True})

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Nobody listens here any more."""
        self._stop()

    def _tell(self, line: DialogueLine) -> None:
        if self._paused:
            self._skipped += 1
            return
        self._send(
            {
                "uniqueid": line.uniqueid,
                "caller": line.caller,
                "extension": line.extension,
                "direction": line.direction,
                "text": line.text,
            }
        )

    def _send(self, message: dict[str, Any]) -> None:
        self.sendLine(json.dumps(message).encode("ascii"))

    def pauseProducing(self) -> None:
        """The far end does not keep up: lines are counted instead of kept."""
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

    def __init__(self, watch: DialogueWatch) -> None:
        self._watch = watch

    def buildProtocol(self, addr: IAddress | None) -> ControlProtocol:
        return ControlProtocol(self._watch)


class ControlService(Service):
    """Listens on the socket while the gateway runs.

    That it cannot is said in the log and stops nothing: calls do not depend on it.
    """

    log = Logger()

    def __init__(self, path: str, watch: DialogueWatch, reactor: Any) -> None:
        self._path = path
        self._reactor = reactor
        self._watch = watch
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        """Open the door."""
        super().startService()
        if len(os.fsencode(self._path)) > MAX_PATH:
            self.log.warn(
                "control: {path} is longer than a unix socket may be; pbxrouter debug will not work",
                path=self._path,
            )
            return
        factory = _ControlFactory(self._watch)
        endpoint = UNIXServerEndpoint(self._reactor, self._path, mode=0o600, wantPID=True)
        endpoint.listen(factory).addCallbacks(self._listening, self._cannot_listen)

    def _listening(self, port: IListeningPort) -> None:
        self._port = port

    def _cannot_listen(self, failure: Failure) -> None:
        self.log.warn(
            "control: {path} cannot be opened; pbxrouter debug will not work: {error}",
            path=self._path,
            error=failure.getErrorMessage(),
        )

    def stopService(self) -> Any:
        """Close the door."""
        super().stopService()
        port, self._port = self._port, None
        return port.stopListening() if port is not None else None
