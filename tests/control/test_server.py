"""The control socket: commands, answers, and slow clients.

Of the commands (control.commands) only watching is here.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Callable
from typing import Any

from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.dialogue_watch import DialogueWatch
from pbxrouter.control.commands import WatchCommand
from pbxrouter.control.server import (
    MAX_PATH,
    ControlProtocol,
    ControlService,
    JsonObject,
    remove_stale,
)
from pbxrouter.errors import ControlRefused
from pbxrouter.simulator import SimulatedCall
from tests.fakes import loud, request_of

CALL = request_of(SimulatedCall("21", caller="33"))


class FakeCommand:
    """A command that records its calls, and refuses on request."""

    def __init__(self) -> None:
        self.asked: list[JsonObject] = []
        self.stopped = 0

    def __call__(
        self, arguments: JsonObject, send: Callable[[JsonObject], None], end: Callable[[], None]
    ) -> Callable[[], None]:
        """Keep the arguments, or refuse them."""
        if "refuse" in arguments:
            raise ControlRefused("not that")
        self.asked.append(arguments)
        self.send, self.end = send, end
        return self.stop

    def stop(self) -> None:
        """Note that the client has disconnected."""
        self.stopped += 1


class ProtocolCase(SynchronousTestCase):
    """Test case with a connection in memory."""

    def setUp(self) -> None:
        """Connect a client to the control socket's protocol."""
        self.command = FakeCommand()
        self.watch = DialogueWatch()
        self.protocol = ControlProtocol({"fake": self.command, "watch": WatchCommand(self.watch)})
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)

    def says(self, line: bytes) -> None:
        """Receive a line from the client."""
        self.protocol.dataReceived(line + b"\n")

    def hears(self) -> list[Any]:
        """The answers since the last call."""
        lines = self.transport.value().splitlines()
        self.transport.clear()
        return [json.loads(line) for line in lines]

    def goes(self) -> None:
        """Disconnect the client."""
        self.protocol.connectionLost(Failure(ConnectionDone()))


class CommandTests(ProtocolCase):
    """The control server takes one command on each connection."""

    def test_granted(self) -> None:
        """A command gets its values and sends answers, in lines of ASCII; it ends when it closes."""
        self.says('{"fake": {"a": "ñ"}}'.encode())
        self.assertEqual(self.command.asked, [{"a": "ñ"}])
        self.command.send({"b": "ñ\n\udcff"})
        self.assertTrue(self.transport.value().isascii())
        self.assertEqual(self.hears(), [{"b": "ñ\n\udcff"}])
        self.assertFalse(self.transport.disconnecting)
        self.command.end()
        self.assertTrue(self.transport.disconnecting)

    def test_byte_by_byte(self) -> None:
        """A line may come in pieces."""
        for byte in b'{"fake": {}}\n':
            self.assertEqual(self.command.asked, [])
            self.protocol.dataReceived(bytes([byte]))
        self.assertEqual(self.command.asked, [{}])

    def test_second_command(self) -> None:
        """A second command on a connection is ignored."""
        self.protocol.dataReceived(b'{"fake": {}}\n{"fake": {}}\n')
        self.assertEqual(len(self.command.asked), 1)

    def test_not_understood(self) -> None:
        """A line that is no command is answered with what is accepted, and the connection ends."""
        for line in (
            *(b"", b"x", b"null", b"1", b"[]", b"{}", b'{"fake": null}', b'{"fake": []}', b'{"no": {}}'),
            *(b'{"fake": {}, "watch": {}}', b"\xff", b'{"fake": {}', b'"fake"', b"[" * 4000),
        ):
            self.setUp()
            self.says(line)
            self.assertEqual(
                self.hears(),
                [{"error": 'accepted is {"NAME": {…}} with one of these names: fake, watch'}],
                line,
            )
            self.assertTrue(self.transport.disconnecting)
            self.assertEqual(self.command.asked, [])
            self.goes()

    def test_refused(self) -> None:
        """A refused command is answered with its reason."""
        self.says(b'{"fake": {"refuse": 1}}')
        self.assertEqual(self.hears(), [{"error": "not that"}])
        self.assertTrue(self.transport.disconnecting)

    def test_too_long(self) -> None:
        """A line without an end is refused once; what follows a command is ignored."""
        self.protocol.dataReceived(b"x" * 5000)
        self.assertTrue(self.transport.disconnecting)
        self.protocol.dataReceived(b"x" * 5000)
        self.assertEqual(self.hears(), [{"error": "a command may have 4096 bytes"}])
        self.setUp()
        self.says(b'{"fake": {}}')
        self.protocol.dataReceived(b"x" * 5000)
        self.assertEqual(self.hears(), [])

    def test_goes(self) -> None:
        """The running command is told once that the client has gone; without a command there is nothing to tell."""
        self.says(b'{"fake": {}}')
        self.goes()
        self.assertEqual(self.command.stopped, 1)
        self.setUp()
        self.goes()
        self.assertEqual(self.command.stopped, 0)


class KeepingUp(ProtocolCase):
    """Clients that read slowly."""

    def test_slow(self) -> None:
        """Answers that a slow client misses are counted, and the count is sent when it has caught up."""
        self.assertIs(self.transport.producer, self.protocol)
        self.says(b'{"fake": {}}')
        self.protocol.pauseProducing()
        for _ in range(3):
            self.command.send({})
        self.assertEqual(self.hears(), [])
        self.protocol.resumeProducing()
        self.command.send({"x": 1})
        self.assertEqual(self.hears(), [{"skipped": 3}, {"x": 1}])

    def test_nothing_missed(self) -> None:
        """A client that missed nothing gets no count."""
        self.protocol.pauseProducing()
        self.protocol.resumeProducing()
        self.assertEqual(self.hears(), [])

    def test_over(self) -> None:
        """After the end nothing is written."""
        self.says(b'{"fake": {}}')
        self.protocol.stopProducing()
        self.command.send({})
        self.assertEqual(self.hears(), [])


class WatchingCalls(ProtocolCase):
    """The command behind ``pbxrouter debug``."""

    def test_streams(self) -> None:
        """The lines of the calls asked for are sent until the client disconnects."""
        self.says(b'{"watch": {"caller": "33"}}')
        self.assertEqual(self.hears(), [{"watching": True}])
        self.watch.received(CALL, "GET DATA x", b"200 result=1234")
        self.watch.noted(request_of(SimulatedCall("21", caller="44")), "x")
        self.assertEqual(
            self.hears(),
            [
                {
                    "uniqueid": "1795409729.6",
                    "caller": "33",
                    "extension": "21",
                    "direction": "<",
                    "text": "200 result=***",
                }
            ],
        )
        self.goes()
        self.assertFalse(self.watch.active)

    def test_wrong_values(self) -> None:
        """A number that is not text is refused, since it would never match."""
        self.says(b'{"watch": {"caller": 33}}')
        self.assertEqual(self.hears(), [{"error": "caller: accepted is text"}])
        self.assertFalse(self.watch.active)


class Refusing(MemoryReactor):
    """A reactor that cannot open the socket."""

    def listenUNIX(self, *args: object, **arguments: object) -> Any:
        """Fail: another program uses the address."""
        raise CannotListenError(None, "/x.sock", OSError("in use"))


class Serving(SynchronousTestCase):
    """The service that listens on the socket."""

    def test_listens(self) -> None:
        """The socket exists from start to stop, for its own user only."""
        reactor = MemoryReactor()
        service = ControlService("/x.sock", {"fake": FakeCommand()}, reactor)
        service.startService()
        ((path, factory, _, mode, lock),) = reactor.unixServers
        self.assertEqual((path, mode, lock), ("/x.sock", 0o600, False))
        self.assertIsInstance(factory.buildProtocol(None), ControlProtocol)
        service.stopService()
        self.assertFalse(service.running)
        service.stopService()

    def test_cannot(self) -> None:
        """A path that is too long or in use is logged as a warning, and the gateway runs."""
        for path, reactor in (("/" + "x" * MAX_PATH, MemoryReactor()), ("/x.sock", Refusing())):
            service = ControlService(path, {}, reactor)
            with capturedLogs() as logs:
                service.startService()
            self.assertEqual([event["path"] for event in loud(logs)], [path])
            self.assertTrue(service.running)
            service.stopService()


class StaleSockets(SynchronousTestCase):
    """Sockets that an earlier gateway has left."""

    def setUp(self) -> None:
        """Make a directory with a short path, since a socket's path may not be long."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "s")

    def test_killed(self) -> None:
        """A socket without a listener is removed."""
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(self.path)
        remove_stale(self.path)
        self.assertFalse(os.path.exists(self.path))

    def test_alive(self) -> None:
        """A socket with a listener is kept."""
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(self.path)
            other.listen()
            remove_stale(self.path)
            self.assertTrue(os.path.exists(self.path))

    def test_no_socket(self) -> None:
        """A file that is no socket is left as it is."""
        remove_stale(self.path)
        with open(self.path, "w", encoding="utf-8"):
            pass
        remove_stale(self.path)
        self.assertTrue(os.path.exists(self.path))
