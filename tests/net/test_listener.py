"""Listening ports and their errors."""

from __future__ import annotations

from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.errors import ConfigError
from pbxrouter.net.listener import Listener, with_backlog


class ListenerTests(SynchronousTestCase):
    """Listener, on a reactor in memory."""

    def listener(self, description: str) -> Listener:
        """Make a listener for the setting web.listen."""
        self.reactor = MemoryReactorClock()
        return Listener("web.listen", description, "tcp:8080", Factory(), self.reactor)

    def test_opened(self) -> None:
        """The port is opened where the setting says."""
        self.listener("tcp:8080:interface=127.0.0.1").privilegedStartService()
        ((port, _, _, interface),) = self.reactor.tcpServers
        self.assertEqual((port, interface), (8080, "127.0.0.1"))

    def test_no_endpoint(self) -> None:
        """The error names the setting and gives an example."""
        error = self.assertRaises(ConfigError, self.listener, "nonsense:1")
        self.assertIn("web.listen: 'nonsense:1' is no endpoint", str(error))
        self.assertIn("accepted is for example tcp:8080", str(error))

    def test_backlog(self) -> None:
        """TCP gets the backlog unless it has one; other endpoints stay as they are."""
        for description, expected in (
            ("tcp:4573:interface=127.0.0.1", "tcp:4573:interface=127.0.0.1:backlog=4096"),
            ("tcp:4573:backlog=5", "tcp:4573:backlog=5"),
            ("unix:/x", "unix:/x"),
        ):
            self.assertEqual(with_backlog(description), expected)

    def test_cannot_listen(self) -> None:
        """The error names the setting, the endpoint and the reason."""
        listener = self.listener("unix:/nonexistent/socket")
        BrokenReactor(self.reactor)
        error = self.assertRaises(ConfigError, listener.privilegedStartService)
        self.assertIn("web.listen: cannot listen at unix:/nonexistent/socket: ", str(error))


class BrokenReactor:
    """Makes a reactor refuse to open a unix socket, as the real one does where the folder is missing."""

    def __init__(self, reactor: MemoryReactorClock) -> None:
        vars(reactor)["listenUNIX"] = self.fails

    def fails(self, *arguments: object, **named: object) -> None:
        """Raise as the real reactor does."""
        raise FileNotFoundError(2, "No such file or directory")
