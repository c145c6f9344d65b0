"""connect_once: one attempt that gives a logged-in connection, or an error of one line."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.ami.account import Account
from pbxrouter.ami.messages import AMIMessage
from pbxrouter.ami.once import PATIENCE_S, connect_once
from pbxrouter.ami.protocol import AMIProtocol, EventHandler
from pbxrouter.errors import ConfigError, LoginRefused, ManagerUnavailable
from tests.ami_fakes import AmiEnd

SECRET = "s3cret-of-the-test"


class OnceTests(SynchronousTestCase):
    """connect_once on a reactor in memory."""

    def setUp(self) -> None:
        """Create a reactor in memory, and a list for events."""
        self.reactor = MemoryReactorClock()
        self.events: list[AMIMessage] = []

    def ask(self, description: str = "tcp:127.0.0.1:5038", plain: bool = False) -> Deferred[AMIProtocol]:
        """Connect to an address and log in, once."""
        handlers: dict[bytes, list[EventHandler]] = {b"*": [self.events.append]}
        account = Account("gateway", lambda: SECRET, plain)
        return Deferred.fromCoroutine(connect_once(description, account, self.reactor, handlers, "on"))

    def connected(self) -> AmiEnd:
        """Asterisk accepts the connection."""
        factory: Any = self.reactor.tcpClients[-1][2]
        protocol: Any = factory.buildProtocol(None)
        made: AMIProtocol = protocol._wrappedProtocol
        end = AmiEnd(made)
        factory._onConnection.callback(made)
        return end

    def line_of(self, asked: Deferred[AMIProtocol], kind: type[Exception]) -> str:
        """Check that the attempt failed so; returns the error's one line, which has no secret."""
        line = str(self.failureResultOf(asked, kind).value)
        self.assertNotIn("\n", line)
        self.assertNotIn(SECRET, line)
        return line

    def assert_quiet(self) -> None:
        """Check that no timer is left."""
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_good(self) -> None:
        """The connection is logged in and gets every event; the caller closes it."""
        asked = self.ask()
        end = self.connected()
        end.greets()
        end.answers("Challenge: 1", to="Challenge")
        self.assertNoResult(asked)
        login = end.answers(to="Login")
        self.assertEqual((login["Events"], login["Username"]), ("on", "gateway"))
        protocol = self.successResultOf(asked)
        end.says("Event: AnythingAtAll", "X: 1")
        self.assertEqual([event.name for event in self.events], ["AnythingAtAll"])
        protocol.close()
        self.assertTrue(end.gone)
        self.assert_quiet()

    def test_plain(self) -> None:
        """With plain=True the secret is sent in the clear."""
        self.ask(plain=True)
        end = self.connected()
        end.greets()
        self.assertEqual(end.answers(to="Login")["Secret"], SECRET)

    def test_refused_login(self) -> None:
        """A refused login fails with Asterisk's message and closes the connection."""
        asked = self.ask()
        end = self.connected()
        end.greets()
        end.answers("Challenge: 1", to="Challenge")
        (login,) = end.hears()
        end.says("Response: Error", f"ActionID: {login['ActionID']}", "Message: Authentication failed")
        self.assertIn("Authentication failed", self.line_of(asked, LoginRefused))
        self.assertTrue(end.gone)
        self.assert_quiet()

    def test_no_listener(self) -> None:
        """Without a listener the error names the address, and is printable."""
        asked = self.ask()
        factory: Any = self.reactor.tcpClients[-1][2]
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        line = self.line_of(asked, ManagerUnavailable)
        self.assertEqual(line, "no answer at tcp:127.0.0.1:5038: Connection was refused by other side")
        self.assert_quiet()
        self.setUp()
        asked = self.ask()
        factory = self.reactor.tcpClients[-1][2]
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError("x\x1b[2J")))
        self.assertTrue(self.line_of(asked, ManagerUnavailable).isprintable())

    def test_no_asterisk(self) -> None:
        """Another protocol fails the attempt and closes the connection."""
        asked = self.ask()
        end = self.connected()
        end.protocol.dataReceived(b"220 mail.example.org ESMTP\r\n")
        self.assertIn("Asterisk Call Manager", self.line_of(asked, ManagerUnavailable))
        self.assertTrue(end.gone)
        self.assert_quiet()

    def test_silence(self) -> None:
        """A connection or a login that is never answered fails after PATIENCE_S."""
        asked = self.ask()
        self.reactor.advance(PATIENCE_S)
        self.assertIn("did not answer within", self.line_of(asked, ManagerUnavailable))
        self.setUp()
        asked = self.ask()
        end = self.connected()
        end.greets()
        self.reactor.advance(PATIENCE_S)
        self.line_of(asked, ManagerUnavailable)
        self.assertTrue(end.gone)

    def test_ten_seconds(self) -> None:
        """Connecting and logging in may take 10 s together."""
        asked = self.ask()
        self.reactor.advance(6)
        end = self.connected()
        end.greets()
        self.reactor.advance(3.875)
        self.assertNoResult(asked)
        self.assertFalse(end.gone)
        self.reactor.advance(0.125)
        self.assertEqual(self.line_of(asked, ManagerUnavailable), "tcp:127.0.0.1:5038 did not answer within 10 s")
        self.assertTrue(end.gone)
        self.assert_quiet()

    def test_no_endpoint_in_words(self) -> None:
        """The error for an invalid endpoint names and quotes the setting and says what is accepted."""
        line = self.line_of(self.ask("bo\x1bgus:1"), ConfigError)
        self.assertTrue(line.startswith(r"asterisk.ami: 'bo\x1bgus:1' is not a client endpoint ("), line)
        self.assertTrue(line.endswith("tcp:127.0.0.1:5038 or tls:pbx.example.org:5039"))

    def test_no_endpoint(self) -> None:
        """Strings that are no client endpoint are refused."""
        for description in "", "nonsense", "tcp", "tcp:x:y", "bogus:1:2":
            self.setUp()
            self.assertIn("not a client endpoint", self.line_of(self.ask(description), ConfigError))

    def test_closes_meanwhile(self) -> None:
        """A connection that is lost during the login fails the attempt."""
        asked = self.ask()
        end = self.connected()
        end.goes()
        self.line_of(asked, ManagerUnavailable)
        self.assert_quiet()
