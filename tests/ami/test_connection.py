"""AMIConnection: reconnecting, back-off, log lines, and subscriptions that outlive connections."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.ami.account import Account
from pbxrouter.ami.connection import (
    LEAVING_S,
    REFUSED_RETRY_S,
    SAY_AFTER,
    SLOWEST_RETRY_S,
    STEADY_S,
    AMIConnection,
    AMIFactory,
)
from pbxrouter.ami.messages import AMIMessage
from pbxrouter.ami.protocol import AMIProtocol
from pbxrouter.errors import ActionTimeout, ConfigError, ManagerUnavailable
from tests.ami_fakes import AmiEnd

SECRET = "s3cret-of-the-test"


class RecordingFactory(Factory):
    """Makes our protocol, and keeps it so that the test can act as Asterisk."""

    noisy = False

    def __init__(self, clock: Any, handlers: Any) -> None:
        self.clock, self.handlers = clock, handlers
        self.made: list[AMIProtocol] = []

    def buildProtocol(self, addr: IAddress | None) -> AMIProtocol:
        """Make a protocol, and keep it."""
        self.made.append(AMIProtocol(self.clock, self.handlers))
        return self.made[-1]


class ManagerServiceTest(SynchronousTestCase):
    """An AMIConnection on a reactor in memory."""

    def setUp(self) -> None:
        """Make the connection and start it."""
        self.reactor = MemoryReactorClock()
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.factories: list[RecordingFactory] = []
        self.secret: str | Exception = SECRET

        def make_factory(clock: Any, handlers: Any) -> Factory:
            self.factories.append(RecordingFactory(clock, handlers))
            return self.factories[-1]

        def secret() -> str:
            if isinstance(self.secret, Exception):
                raise self.secret
            return self.secret

        self.manager = AMIConnection(
            "lab",
            "tcp:pbx.test:5038",
            Account("gateway", secret),
            self.reactor,
            factory=make_factory,
            now=self.reactor.seconds,
        )
        self.told: list[str] = []
        self.manager.on_connect(lambda: self.told.append("up"))
        self.manager.on_disconnect(lambda: self.told.append("down"))
        self.manager.startService()

    def attempts(self) -> int:
        """The number of connection attempts so far."""
        return len(self.reactor.tcpClients)

    def connects(self) -> AmiEnd:
        """Let the last attempt succeed."""
        factory = self.reactor.tcpClients[-1][2]
        wrapper: Any = factory.buildProtocol(None)
        self.end = AmiEnd(wrapper)
        self.end.protocol = self.factories[0].made[-1]
        return self.end

    def fails(self) -> None:
        """Let the last attempt be refused."""
        factory: Any = self.reactor.tcpClients[-1][2]
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))

    def until_next_attempt(self, at_most: float = 100) -> float:
        """Let time pass until another connection is tried; returns how long that took."""
        before, began = self.attempts(), self.reactor.seconds()
        while self.attempts() == before and self.reactor.seconds() - began < at_most:
            self.reactor.advance(0.05)
        return self.reactor.seconds() - began

    def said(self, *levels: LogLevel) -> list[str]:
        """The log lines of these levels."""
        return [formatEvent(event) for event in self.events if event["log_level"] in levels]

    def refuse(self) -> None:
        """Refuse the login as Asterisk does: an error, and the end of the connection."""
        self.connects().greets()
        self.end.answers("Challenge: 1", to="Challenge")
        (login,) = self.end.hears()
        self.end.says("Response: Error", f"ActionID: {login['ActionID']}", "Message: Authentication failed")
        self.end.goes(ConnectionLost())


class ConnectionTests(ManagerServiceTest):
    """Connecting and reconnecting."""

    def test_up(self) -> None:
        """After the login every connection listener is called, also one that is added later."""
        self.assertFalse(self.manager.is_up)
        self.connects().logs_in()
        self.assertTrue(self.manager.is_up)
        self.manager.on_connect(lambda: self.told.append("late"))
        self.assertEqual(self.told, ["up", "late"])
        self.assertEqual(self.manager.forged_events, 0)
        self.assertEqual(self.said(LogLevel.warn, LogLevel.error), [])

    def test_for_ever(self) -> None:
        """While nothing listens, attempts go on at growing, varied intervals up to a bound; it is logged once."""
        waits = []
        for _ in range(200):
            self.fails()
            waits.append(self.until_next_attempt())
        self.assertLess(waits[0], 1)
        self.assertTrue(all(wait <= SLOWEST_RETRY_S + 0.1 for wait in waits))
        self.assertTrue(all(wait >= SLOWEST_RETRY_S / 2 for wait in waits[20:]))
        self.assertGreater(len({round(wait, 2) for wait in waits[20:]}), 10)
        (line,) = self.said(LogLevel.warn, LogLevel.error)
        self.assertIn("no answer", line)
        self.assertIn("refused", line)

    def test_short_restart(self) -> None:
        """A restart of Asterisk that is over after two attempts logs one line, that the connection is lost."""
        self.connects().logs_in()
        self.reactor.advance(STEADY_S)
        self.end.goes(ConnectionLost())
        for _ in range(SAY_AFTER - 1):
            self.until_next_attempt()
            self.fails()
        self.until_next_attempt()
        self.connects().logs_in()
        self.assertEqual(self.said(LogLevel.warn, LogLevel.error), ["AMI lab: the connection is lost"])
        self.assertEqual(self.told, ["up", "down", "up"])

    def trouble(self) -> str:
        """The trouble in English; "" without one."""
        return self.manager.trouble.english if self.manager.trouble else ""

    def test_since_and_trouble(self) -> None:
        """``since`` and ``trouble`` change with each failure, also before it is logged."""
        began = self.reactor.seconds()
        self.assertEqual((self.manager.since, self.trouble()), (began, ""))
        self.fails()
        self.assertIn("no answer", self.trouble())
        self.until_next_attempt()
        self.assertEqual(self.manager.since, began)
        self.refuse()
        self.assertIn("check username and secret_file", self.trouble())
        self.until_next_attempt()
        self.connects().logs_in()
        up = self.reactor.seconds()
        self.assertEqual((self.manager.since, self.trouble()), (up, ""))
        self.reactor.advance(7)
        self.end.goes(ConnectionLost())
        self.assertEqual((self.manager.since, self.trouble()), (up + 7, "the connection to AMI is lost"))

    def test_refused(self) -> None:
        """A wrong secret is logged once, with the settings to check and without the secret; attempts are rare."""
        for _ in range(5):
            self.refuse()
            self.assertGreaterEqual(self.until_next_attempt(), REFUSED_RETRY_S - 1)
        (line,) = self.said(LogLevel.warn, LogLevel.error, LogLevel.critical)
        self.assertIn("'gateway'", line)
        self.assertIn("secret_file", line)
        self.assertNotIn(SECRET, "\n".join(self.said(*LogLevel.iterconstants())))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_refused_then_no_listener(self) -> None:
        """Each change of the trouble is logged, also back to an earlier one."""
        self.refuse()
        self.until_next_attempt()
        for _ in range(6):
            self.fails()
            self.until_next_attempt()
        self.refuse()
        self.assertEqual(len(self.said(LogLevel.error)), 3)

    def test_accepted_and_dropped(self) -> None:
        """Waits also grow if each connection is lost right after the login."""
        waits = []
        for _ in range(30):
            self.connects().logs_in()
            self.end.goes(ConnectionLost())
            waits.append(self.until_next_attempt())
        self.assertGreaterEqual(min(waits[10:]), SLOWEST_RETRY_S / 2)

    def test_steady_connection_is_missed_at_once(self) -> None:
        """After a connection of STEADY_S the next attempt comes within a second."""
        for _ in range(3):
            self.connects().logs_in()
            self.reactor.advance(STEADY_S)
            self.end.goes(ConnectionLost())
            self.assertLess(self.until_next_attempt(), 1)

    def test_lost_at_each_step_of_the_login(self) -> None:
        """If the connection is lost at any step of the login, it is tried again, without a traceback."""
        for steps in range(4):
            self.connects()
            if steps > 0:
                self.end.greets()
            if steps > 1:
                self.end.answers("Challenge: 1", to="Challenge")
            self.end.goes(ConnectionLost())
            self.assertLess(self.until_next_attempt(), SLOWEST_RETRY_S)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.said(LogLevel.critical), [])

    def test_accepted_and_silent(self) -> None:
        """A connection without a banner is closed and tried again; this is logged once."""
        for _ in range(SAY_AFTER):
            self.connects()
            self.assertLess(self.until_next_attempt(), 30)
            self.assertTrue(self.end.gone)
        (line,) = self.said(LogLevel.warn, LogLevel.error)
        self.assertIn("no banner", line)

    def test_not_ami(self) -> None:
        """A connection with another protocol is closed at once, and logged once with what it sent."""
        for _ in range(SAY_AFTER + 2):
            self.connects().protocol.dataReceived(b"SSH-2.0-OpenSSH\r\n")
            self.assertTrue(self.end.gone)
            self.assertLess(self.until_next_attempt(), SLOWEST_RETRY_S + 0.1)
        (line,) = self.said(LogLevel.warn, LogLevel.error)
        self.assertIn("SSH-2.0", line)

    def test_secret_gone(self) -> None:
        """A secret file that has gone is logged with its own error; attempts go on, and succeed when it is back."""
        self.secret = ConfigError("asterisk.secret_file: /x: cannot be read: No such file")
        for _ in range(SAY_AFTER):
            self.connects().greets()
            self.until_next_attempt()
        (line,) = self.said(LogLevel.warn, LogLevel.error)
        self.assertIn("/x", line)
        self.secret = SECRET
        self.connects().logs_in()
        self.assertTrue(self.manager.is_up)

    def test_faulty_listener(self) -> None:
        """A connect listener that raises disturbs neither the others nor the connection."""
        self.manager.on_connect(lambda: 1 // 0)
        self.manager.on_connect(lambda: self.told.append("after"))
        self.connects().logs_in()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.told, ["up", "after"])
        self.assertTrue(self.manager.is_up)

    def test_peer(self) -> None:
        """The peer is the address of the connected Asterisk, while it is connected and has an IP address."""
        self.assertEqual(self.manager.peer, "")
        self.connects().logs_in()
        self.assertEqual(self.manager.peer, "192.168.1.1")
        self.end.transport.peerAddr = UNIXAddress("/run/asterisk")
        self.assertEqual(self.manager.peer, "")
        self.end.goes(ConnectionLost())
        self.assertEqual(self.manager.peer, "")


class ReconfigureTests(ManagerServiceTest):
    """Another endpoint and another account, while the gateway runs."""

    def reconfigure(self, secret: str = "another secret") -> None:
        """Use another endpoint and account."""
        self.manager.reconfigure(self.manager.endpoint("tcp:other.test:5039"), Account("other", lambda: secret, True))

    def last_attempt(self) -> tuple[str, int]:
        """Where the last attempt went."""
        host, port, *_ = self.reactor.tcpClients[-1]
        return str(host), int(port)

    def test_at_once(self) -> None:
        """Without a connection the wait for the next attempt is over at once; waits grow anew."""
        for _ in range(8):
            self.fails()
            self.until_next_attempt()
        self.fails()
        attempts = self.attempts()
        self.reconfigure()
        self.assertEqual((self.attempts(), self.last_attempt()), (attempts + 1, ("other.test", 5039)))
        self.fails()
        self.assertLess(self.until_next_attempt(), 1)
        self.connects().greets()
        login = self.end.answers(to="Login")
        self.assertEqual((login["Username"], login["Secret"]), ("other", "another secret"))
        self.assertTrue(self.manager.is_up)

    def test_refused_again(self) -> None:
        """After a refused login the minute's wait is over at once; a refusal of the new account is logged, too."""
        for count in (1, 2):
            self.refuse()
            self.assertEqual(len(self.said(LogLevel.error)), count)
            attempts = self.attempts()
            self.manager.reconfigure(self.manager.endpoint("tcp:other.test:5039"), Account("gateway", lambda: "x"))
            self.assertEqual(self.attempts(), attempts + 1)

    def test_connected(self) -> None:
        """A connection stays; the next one is to the new endpoint with the new account."""
        self.connects().logs_in()
        self.reconfigure()
        self.assertFalse(self.end.gone)
        self.assertEqual((self.attempts(), self.last_attempt()), (1, ("pbx.test", 5038)))
        self.end.goes(ConnectionLost())
        self.until_next_attempt()
        self.assertEqual(self.last_attempt(), ("other.test", 5039))
        self.connects().greets()
        self.assertEqual(self.end.answers(to="Login")["Username"], "other")

    def test_while_it_connects(self) -> None:
        """An attempt under way goes on, with the new account if it gets so far; a stop in the wait ends all."""
        self.reconfigure()
        self.assertEqual((self.attempts(), self.last_attempt()), (1, ("pbx.test", 5038)))
        self.fails()
        self.reconfigure()
        self.assertEqual(self.last_attempt(), ("other.test", 5039))
        self.fails()
        self.successResultOf(self.manager.stopService())
        self.reconfigure()
        self.assertEqual((self.attempts(), self.reactor.getDelayedCalls()), (2, []))

    def test_while_it_connects_after_many(self) -> None:
        """An attempt under way that fails counts with those before it: the next wait is as long as before."""
        for _ in range(8):
            self.fails()
            self.until_next_attempt()
        self.reconfigure()
        self.fails()
        self.assertGreater(self.until_next_attempt(), SLOWEST_RETRY_S / 2 - 0.1)
        self.assertEqual(self.last_attempt(), ("other.test", 5039))


class BackOffTests(ManagerServiceTest):
    """The length of the wait before the next attempt."""

    def wait_for_attempt(self) -> float:
        """Let time pass until the next attempt; returns how long, to the hundredth of a second."""
        before, began = self.attempts(), self.reactor.seconds()
        while self.attempts() == before:
            self.reactor.advance(1 / 128)
        return self.reactor.seconds() - began

    def assert_between(self, wait_s: float, least: float, most: float) -> None:
        """Check that the wait was within these bounds."""
        self.assertGreaterEqual(wait_s, least)
        self.assertLessEqual(wait_s, most + 1 / 64)

    def test_doubled(self) -> None:
        """Each wait is twice the previous one, up to 15 s, less a random part of up to half of it."""
        for most in (0.5, 1, 2, 4, 8, 15, 15, 15):
            self.fails()
            self.assert_between(self.wait_for_attempt(), most / 2, most)

    def test_random_part(self) -> None:
        """The random part is spread over the whole half, so that many gateways do not connect at once."""
        waits = []
        for _ in range(150):
            self.fails()
            waits.append(self.wait_for_attempt())
        self.assert_between(min(waits[10:]), 7.5, 8.25)
        self.assert_between(max(waits[10:]), 14.25, 15)

    def test_reset_by_a_steady_connection(self) -> None:
        """After a connection of 10 s the waits start again from the shortest."""
        for _ in range(8):
            self.fails()
            self.wait_for_attempt()
        self.connects().logs_in()
        self.reactor.advance(10)
        self.end.goes(ConnectionLost())
        self.assert_between(self.wait_for_attempt(), 0.125, 0.25)
        self.fails()
        self.assert_between(self.wait_for_attempt(), 0.25, 0.5)

    def test_not_reset_by_a_short_connection(self) -> None:
        """A connection of less than 10 s counts as a failed attempt."""
        for _ in range(2):
            self.fails()
            self.wait_for_attempt()
        self.connects().logs_in()
        self.reactor.advance(9.875)
        self.end.goes(ConnectionLost())
        self.assert_between(self.wait_for_attempt(), 1, 2)

    def test_attempts_that_end_in_the_login(self) -> None:
        """Attempts that fail during the login make the waits grow too."""
        for most in (0.5, 1, 2, 4):
            self.connects()
            self.end.goes(ConnectionLost())
            self.assert_between(self.wait_for_attempt(), most / 2, most)

    def test_refused(self) -> None:
        """After a refused login the wait is 60 s, without a random part, and the other waits have not grown."""
        for _ in range(5):
            self.refuse()
            self.assert_between(self.wait_for_attempt(), 60, 60)
        self.fails()
        self.assert_between(self.wait_for_attempt(), 0.25, 0.5)

    def test_after_a_day_without_asterisk(self) -> None:
        """After 6000 failures the wait is still within its bounds."""
        for _ in range(6000):
            self.fails()
            self.reactor.advance(15)
        self.fails()
        self.assert_between(self.wait_for_attempt(), 7.5, 15)


class LogTests(ManagerServiceTest):
    """Which events are logged, and when."""

    def lines(self) -> list[str]:
        """The log lines above info."""
        return self.said(LogLevel.warn, LogLevel.error, LogLevel.critical)

    def test_third_failure(self) -> None:
        """The third failed attempt is logged; the first two are not."""
        for expected in (0, 0, 1, 1):
            self.fails()
            self.assertEqual(len(self.lines()), expected)
            self.until_next_attempt()
        self.assertEqual(self.lines(), ["AMI lab: no connection: no answer: Connection was refused by other side."])

    def test_connected(self) -> None:
        """Each connection is logged with Asterisk's banner, and each loss."""
        for count in (1, 2):
            self.connects().logs_in()
            connected = [line for line in self.said(LogLevel.info) if "connected" in line]
            self.assertEqual(connected, ["AMI lab: connected (Asterisk Call Manager/11.0.0)"] * count)
            self.end.goes(ConnectionLost())
            self.assertEqual(self.lines(), ["AMI lab: the connection is lost"] * count)
            self.until_next_attempt()

    def test_the_same_trouble_after_a_connection(self) -> None:
        """A trouble that was logged before a connection is logged again after it."""
        for count in (1, 2):
            for _ in range(3):
                self.fails()
                self.until_next_attempt()
            self.assertEqual(len(self.said(LogLevel.error)), count)
            self.connects().logs_in()
            self.reactor.advance(STEADY_S)
            self.end.goes(ConnectionLost())
            self.until_next_attempt()

    def test_trouble_of_a_login(self) -> None:
        """A login that is cut off sets ``trouble`` at the first failure, without a log line."""
        self.connects().greets()
        self.end.goes(ConnectionLost())
        assert self.manager.trouble is not None
        self.assertIn("the connection to Asterisk was lost", self.manager.trouble.english)
        self.assertEqual(self.lines(), [])

    def test_login_that_breaks(self) -> None:
        """An unexpected exception in the login is logged with its traceback, and attempts go on."""
        self.secret = ZeroDivisionError("on purpose")
        for count in (1, 2, 3):
            self.connects().greets()
            self.assertTrue(self.end.gone)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertEqual(self.manager.trouble and self.manager.trouble.english, "the login failed")
            self.assertLess(self.until_next_attempt(), SLOWEST_RETRY_S, count)

    def test_closed_after_each_failure(self) -> None:
        """A connection whose login was refused or timed out is closed."""
        self.connects().greets()
        self.end.answers("Challenge: 1", to="Challenge")
        (login,) = self.end.hears()
        self.end.says("Response: Error", f"ActionID: {login['ActionID']}", "Message: Authentication failed")
        self.assertTrue(self.end.gone)
        self.until_next_attempt()
        self.connects().greets()
        self.reactor.advance(10)
        self.assertTrue(self.end.gone)


class ListenerTests(ManagerServiceTest):
    """Listeners for connections and losses."""

    def test_told_of_each(self) -> None:
        """Listeners are called at each login and loss, in order, after ``is_up`` has changed."""
        self.manager.on_connect(lambda: self.told.append(f"second up {self.manager.is_up}"))
        self.manager.on_disconnect(lambda: self.told.append(f"second down {self.manager.is_up}"))
        once = ["up", "second up True", "down", "second down False"]
        for count in (1, 2):
            self.connects().greets()
            self.assertEqual(self.told, once * (count - 1))
            self.end.answers("Challenge: 1234", to="Challenge")
            self.end.answers(to="Login")
            self.end.goes(ConnectionLost())
            self.assertEqual(self.told, once * count)
            self.until_next_attempt()

    def test_not_told_of_attempts(self) -> None:
        """A failed attempt or login calls no listener for losses."""
        self.fails()
        self.until_next_attempt()
        self.connects().greets()
        self.end.goes(ConnectionLost())
        self.assertEqual(self.told, [])

    def test_late_listener(self) -> None:
        """A listener that is added without a connection is called at the next login."""
        told: list[str] = []
        self.manager.on_connect(lambda: told.append("up"))
        self.assertEqual(told, [])
        self.connects().logs_in()
        self.assertEqual(told, ["up"])

    def test_faulty_listener_of_losses(self) -> None:
        """A disconnect listener that raises stops neither the others nor the next attempt."""
        told: list[str] = []
        self.manager.on_disconnect(lambda: 1 // 0)
        self.manager.on_disconnect(lambda: told.append("after"))
        self.connects().logs_in()
        self.end.goes(ConnectionLost())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(told, ["after"])
        self.assertLess(self.until_next_attempt(), 1)

    def test_listener_that_adds_another(self) -> None:
        """A listener that another one adds while it runs is called once for this connection."""
        told: list[str] = []

        def add_another() -> None:
            self.manager.on_connect(lambda: told.append("added"))

        self.manager.on_connect(add_another)
        self.connects().logs_in()
        self.assertEqual(told, ["added"])


class SettingsTests(SynchronousTestCase):
    """How the account and the settings shape the login."""

    def logged_in(self, account: Account, **settings: Any) -> dict[str, str]:
        """The headers of the Login that a connection with its default factory sends."""
        reactor = MemoryReactorClock()
        manager = AMIConnection("lab", "tcp:pbx.test:5038", account, reactor, **settings)
        manager.startService()
        (host, port, factory, _, _) = reactor.tcpClients[0]
        self.assertEqual((host, port), ("pbx.test", 5038))
        wrapper: Any = factory.buildProtocol(None)
        end = AmiEnd(wrapper)
        end.protocol = wrapper._wrappedProtocol
        self.assertFalse(wrapper._wrappedProtocol.logged_in)
        end.greets()
        if not account.plain:
            end.answers("Challenge: 1234", to="Challenge")
        self.assertFalse(manager.is_up)
        login = end.answers(to="Login")
        self.assertTrue(manager.is_up)
        return login

    def test_events(self) -> None:
        """The event classes are those that the counter and MAGI need, or the event_mask given."""
        account = Account("gateway", lambda: SECRET)
        self.assertEqual(self.logged_in(account)["Events"], "system,call,agi")
        self.assertEqual(self.logged_in(account, event_mask="off")["Events"], "off")

    def test_plain(self) -> None:
        """The secret is sent in the clear only with plain=True."""
        login = self.logged_in(Account("gateway", lambda: SECRET, plain=True))
        self.assertEqual((login["Username"], login["Secret"]), ("gateway", SECRET))
        self.assertNotIn("Secret", self.logged_in(Account("gateway", lambda: SECRET)))

    def test_protocol_of_another_library(self) -> None:
        """A protocol without ``logged_in`` counts as connected from its login until it is lost."""

        class Plain(Protocol):
            banner = "Asterisk Call Manager/11.0.0"

            def __init__(self) -> None:
                self.lost: Deferred[None] = Deferred()

            async def log_in(self, *account: object) -> None:
                """Accept any account."""

        made = Plain()
        reactor = MemoryReactorClock()
        manager = AMIConnection(
            "lab",
            "tcp:pbx.test:5038",
            Account("gateway", lambda: SECRET),
            reactor,
            factory=lambda clock, handlers: Factory.forProtocol(lambda: made),
        )
        manager.startService()
        self.assertFalse(manager.is_up)
        wrapper: Any = reactor.tcpClients[0][2].buildProtocol(None)
        wrapper.makeConnection(StringTransport())
        self.assertTrue(manager.is_up)
        made.lost.callback(None)
        self.assertFalse(manager.is_up)

    def test_quiet_factory(self) -> None:
        """The factory turns Twisted's own log lines off."""
        self.assertFalse(AMIFactory(MemoryReactorClock(), {}).noisy)


class UseTests(ManagerServiceTest):
    """Actions, lists and subscriptions."""

    def test_down(self) -> None:
        """Without a login, actions and lists fail at once, and the error names the Asterisk."""
        self.connects().greets()
        for answer in (self.manager.action("Ping"), self.manager.action_list("CoreShowChannels")):
            line = str(self.failureResultOf(answer, ManagerUnavailable).value)
            self.assertIn("lab", line)

    def test_action(self) -> None:
        """On a loss, pending actions fail before the listeners are called, and ``is_up`` is false by then."""
        self.connects().logs_in()
        order: list[str] = []
        self.manager.on_disconnect(lambda: order.append("down"))
        answer: Any = self.manager.action("Ping")
        answer.addErrback(lambda failure: order.append(f"{failure.type.__name__} {self.manager.is_up}"))
        self.end.goes(ConnectionLost())
        self.assertEqual(order, ["ManagerUnavailable False", "down"])
        self.assertFalse(self.manager.is_up)

    def test_timeouts(self) -> None:
        """An action or a list times out after 10 s, or after the time given."""
        self.connects().logs_in()
        for timeout_s in (None, 2.0):
            more: dict[str, Any] = {} if timeout_s is None else {"timeout_s": timeout_s}
            waiting: list[Any] = [
                self.manager.action("Ping", **more),
                self.manager.action_list("CoreShowChannels", **more),
            ]
            self.reactor.advance((timeout_s or 10) - 0.5)
            for answer in waiting:
                self.assertNoResult(answer)
            self.reactor.advance(0.5)
            for answer in waiting:
                self.failureResultOf(answer, ActionTimeout)

    def test_headers(self) -> None:
        """The headers given are sent with an action and with a list."""
        self.connects().logs_in()
        self.manager.action("Getvar", [("Variable", "X")]).addErrback(lambda _: None)
        self.manager.action_list("Status", [("Channel", "Y")]).addErrback(lambda _: None)
        getvar, status = self.end.hears()
        self.assertEqual((getvar["Action"], getvar["Variable"]), ("Getvar", "X"))
        self.assertEqual((status["Action"], status["Channel"]), ("Status", "Y"))

    def test_unsubscribed_alone(self) -> None:
        """Unsubscribing removes one subscription: no other handler's, and not a second one of the same handler."""
        seen: list[str] = []
        both = [self.manager.subscribe("Hangup", lambda _, name=name: seen.append(name)) for name in "ab"]  # type: ignore[misc]
        self.connects().logs_in()
        both[0]()
        self.end.says("Event: Hangup")
        self.assertEqual(seen, ["b"])

        def saw(_: AMIMessage) -> None:
            seen.append("twice")

        first, second = self.manager.subscribe("Hangup", saw), self.manager.subscribe("Hangup", saw)
        for _ in range(2):
            first()
            self.end.says("Event: Hangup")
        self.assertEqual(seen, ["b", "b", "twice", "b", "twice"])
        second()
        self.end.says("Event: Hangup")
        self.assertEqual(seen[5:], ["b"])

    def test_action_list(self) -> None:
        """action_list returns the items of the list."""
        self.connects().logs_in()
        answer = self.manager.action_list("CoreShowChannels")
        action = self.end.answers("EventList: start", to="CoreShowChannels")
        self.end.says("Event: X", f"ActionID: {action['ActionID']}", "EventList: Complete")
        self.assertEqual(self.successResultOf(answer), [])

    def test_subscriptions_outlive_connections(self) -> None:
        """A subscription gets the events of every connection until it is ended; it may be ended twice."""
        seen: list[AMIMessage] = []
        end_it = self.manager.subscribe("Hangup", seen.append)
        for expected in (1, 2):
            self.connects().logs_in()
            self.end.says("Event: Hangup")
            self.assertEqual(len(seen), expected)
            self.end.goes(ConnectionLost())
            self.until_next_attempt()
        end_it()
        end_it()
        self.connects().logs_in()
        self.end.says("Event: Hangup")
        self.assertEqual(len(seen), 2)

    def test_ids(self) -> None:
        """Ids have one length and are unique; another connection's differ (docs/asterisk.md B3)."""
        ids = [self.manager.new_id() for _ in range(1000)]
        self.assertEqual(len(set(ids)), 1000)
        self.assertEqual({len(number) for number in ids}, {len(ids[0])})
        self.assertRegex(ids[0], r"\A[0-9a-f]{12}-0000000001\Z")
        other = AMIConnection("b", "tcp:b:1", Account("x", lambda: ""), self.reactor)
        self.assertNotEqual(other.new_id(), ids[0])


class StopTests(ManagerServiceTest):
    """Stopping the service."""

    def test_connected(self) -> None:
        """Stopping closes the connection after what was sent, and ends when the connection is gone."""
        self.connects().logs_in()
        stopped = self.manager.stopService()
        self.assertTrue(self.end.transport.disconnecting)
        self.assertNoResult(stopped)
        self.end.goes()
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.told, ["up", "down"])
        self.assertEqual(self.said(LogLevel.warn, LogLevel.error), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_far_end_does_not_read(self) -> None:
        """Stopping ends after LEAVING_S though Asterisk does not close its side."""
        self.connects().logs_in()
        stopped = self.manager.stopService()
        self.reactor.advance(LEAVING_S)
        self.successResultOf(stopped)

    def test_far_end_gets_three_seconds(self) -> None:
        """Asterisk has 3 s to read what was sent; no timer is left afterwards."""
        self.connects().logs_in()
        stopped = self.manager.stopService()
        self.reactor.advance(2.9)
        self.assertNoResult(stopped)
        self.assertFalse(self.end.gone)
        self.reactor.advance(0.125)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_not_connected_again(self) -> None:
        """After a stop there is no further attempt."""
        self.connects().logs_in()
        stopped = self.manager.stopService()
        self.end.goes(ConnectionLost())
        self.successResultOf(stopped)
        attempts = self.attempts()
        self.reactor.pump([1] * 100)
        self.assertEqual((self.attempts(), self.manager.is_up), (attempts, False))
        self.assertEqual(self.said(LogLevel.warn, LogLevel.error, LogLevel.critical), [])

    def test_stopped_twice(self) -> None:
        """A second stop ends at once."""
        self.connects().logs_in()
        first = self.manager.stopService()
        self.assertIsNone(self.successResultOf(self.manager.stopService()))
        self.end.goes()
        self.assertIsNone(self.successResultOf(first))

    def test_connecting(self) -> None:
        """Stopping during an attempt leaves no timer."""
        self.successResultOf(self.manager.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_connecting_for_the_third_time(self) -> None:
        """An attempt that a stop breaks off is not logged as a failure."""
        for _ in range(SAY_AFTER - 1):
            self.fails()
            self.until_next_attempt()
        self.successResultOf(self.manager.stopService())
        self.assertEqual(self.said(LogLevel.warn, LogLevel.error), [])

    def test_logging_in(self) -> None:
        """Stopping during the login closes the connection; nothing is logged, and no listener is called."""
        self.connects().greets()
        self.successResultOf(self.manager.stopService())
        self.assertTrue(self.end.gone)
        self.assertEqual((self.told, self.said(LogLevel.info)), ([], []))
        self.assertEqual(self.said(LogLevel.warn, LogLevel.error), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_waiting(self) -> None:
        """Stopping between two attempts cancels the next one."""
        self.fails()
        self.assertIsNone(self.successResultOf(self.manager.stopService()))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertGreaterEqual(self.until_next_attempt(40), 40)

    def test_again(self) -> None:
        """A stopped service can be started again; a second start makes no second connection."""
        self.successResultOf(self.manager.stopService())
        self.manager.startService()
        self.manager.startService()
        self.assertEqual(self.attempts(), 2)
        self.connects().logs_in()
        self.assertTrue(self.manager.is_up)
        stopped = self.manager.stopService()
        self.end.goes()
        self.successResultOf(stopped)
        self.reactor.advance(5)
        self.manager.startService()
        self.assertEqual((self.attempts(), self.manager.since), (3, self.reactor.seconds()))

    def test_never_started(self) -> None:
        """A service that was never started stops at once."""
        manager = AMIConnection("b", "tcp:b:1", Account("x", lambda: ""), self.reactor)
        self.successResultOf(manager.stopService())
