"""AMIProtocol: responses reach their actions, events their handlers, and a dead peer is noticed."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.ami.messages import MAX_MESSAGE, AMIMessage
from pbxrouter.ami.protocol import ACTION_TIMEOUT_S, MAX_HEADERS, SLICE, SLICE_BYTES, AMIProtocol, EventHandler
from pbxrouter.ami.watchdog import (
    BANNER_TIMEOUT_S,
    DEAD_AFTER_S,
    DEAF_AFTER_S,
    PING_AFTER_S,
)
from pbxrouter.errors import (
    ActionFailed,
    ActionTimeout,
    InvalidAction,
    LoginRefused,
    ManagerError,
    ManagerProtocolError,
    ManagerUnavailable,
)
from pbxrouter.net import GRACE_S
from tests.ami_fakes import lines, new_protocol


class ManagerTest(SynchronousTestCase):
    """Has a connection that is logged in."""

    def setUp(self) -> None:
        """Connect a protocol and log in."""
        self.events: list[AMIMessage] = []
        self.handlers: dict[bytes, list[EventHandler]] = {b"Hangup": [self.events.append]}
        self.protocol, self.end, self.clock = new_protocol(self.handlers)
        done = self.log_in()
        self.end.logs_in()
        self.successResultOf(done)

    def log_in(self, plain: bool = False) -> Deferred[None]:
        """Begin to log in."""
        return Deferred.fromCoroutine(self.protocol.log_in("gateway", "s3cret", "system,call", plain))

    def send(self, name: str = "Ping", **headers: str) -> tuple[Deferred[AMIMessage], str]:
        """Send an action; returns its Deferred and its ActionID."""
        answer = self.protocol.action(name, headers.items())
        (action,) = self.end.hears()
        return answer, action["ActionID"]

    def ask_for_list(self, name: str = "CoreShowChannels") -> tuple[Deferred[list[AMIMessage]], str]:
        """Send an action that a list answers; returns its Deferred and its ActionID."""
        answer = self.protocol.action_list(name)
        (action,) = self.end.hears()
        return answer, action["ActionID"]


class LoginTests(SynchronousTestCase):
    """Logging in by MD5 challenge or plain text."""

    def setUp(self) -> None:
        """Connect a protocol without logging in."""
        self.protocol, self.end, self.clock = new_protocol()

    def log_in(self, plain: bool = False) -> Deferred[None]:
        """Begin to log in."""
        return Deferred.fromCoroutine(self.protocol.log_in("gateway", "s3cret", "system,call", plain))

    def test_challenge(self) -> None:
        """After the banner the challenge is asked for and its digest sent; the secret is never sent."""
        done = self.log_in()
        self.assertEqual(self.end.hears(), [])
        self.end.greets()
        self.end.answers("Challenge: 115944560", to="Challenge")
        action = self.end.answers(to="Login")
        self.assertEqual(action["Key"], hashlib.md5(b"115944560s3cret").hexdigest())
        self.assertEqual((action["Username"], action["Events"]), ("gateway", "system,call"))
        self.assertNotIn("Secret", action)
        self.assertIsNone(self.successResultOf(done))
        self.assertTrue(self.protocol.logged_in)

    def test_what_is_sent(self) -> None:
        """Challenge and login name MD5, and the banner is kept."""
        self.log_in()
        self.end.greets()
        challenge = self.end.answers("Challenge: 1", to="Challenge")
        login = self.end.answers(to="Login")
        self.assertEqual((challenge["AuthType"], login["AuthType"]), ("MD5", "MD5"))
        self.assertEqual(self.protocol.banner, "Asterisk Call Manager/11.0.0")

    def test_plain_says_nothing_else(self) -> None:
        """A login in the clear has neither challenge nor digest."""
        self.log_in(plain=True)
        self.end.greets()
        login = self.end.answers(to="Login")
        self.assertEqual(set(login), {"Action", "ActionID", "Username", "Secret", "Events"})

    def test_challenge_refused(self) -> None:
        """A refused challenge is a refused login."""
        done = self.log_in()
        self.end.greets()
        (action,) = self.end.hears()
        self.end.says("Response: Error", f"ActionID: {action['ActionID']}", "Message: no")
        self.assertEqual(
            str(self.failureResultOf(done, LoginRefused).value),
            "Asterisk refuses the login of 'gateway': Challenge: no",
        )

    def test_banner_time_out(self) -> None:
        """The banner may take 5 s; once it has come, it is not waited for again."""
        done = self.log_in()
        self.clock.advance(4.875)
        self.assertFalse(self.end.gone)
        self.clock.advance(0.125)
        self.assertEqual(str(self.failureResultOf(done, ManagerUnavailable).value), "no banner came in 5 s")
        self.setUp()
        self.clock.advance(4.875)
        self.end.greets()
        self.clock.advance(5)
        self.assertFalse(self.end.gone)

    def test_given_up_before_the_login(self) -> None:
        """A connection that is given up during the login is not logged: the login's failure tells it."""
        with capturedLogs() as logs:
            self.log_in().addErrback(lambda _: None)
            self.clock.advance(BANNER_TIMEOUT_S)
        self.assertTrue(self.end.gone)
        self.assertEqual([log for log in logs if log["log_level"] >= LogLevel.warn], [])

    def test_close(self) -> None:
        """close() aborts a connection once; before it is made and after it is lost it does nothing."""
        closed: list[int] = []
        protocol = AMIProtocol(Clock(), {})
        protocol.close()
        transport = StringTransport()
        transport.abortConnection = lambda: closed.append(1)  # type: ignore[method-assign]
        protocol.makeConnection(transport)
        protocol.close()
        self.assertEqual(closed, [1])
        protocol.connectionLost(Failure(ConnectionLost()))
        protocol.close()
        self.assertEqual(closed, [1])

    def test_challenge_that_is_no_text(self) -> None:
        """A challenge with bytes that are not UTF-8 is digested as it came."""
        self.log_in().addErrback(lambda _: None)
        self.end.greets()
        self.end.answers("Challenge: \udcff\udcfe", to="Challenge")
        action = self.end.answers(to="Login")
        self.assertEqual(action["Key"], hashlib.md5(b"\xff\xfes3cret").hexdigest())

    def test_plain(self) -> None:
        """With plain=True the secret is sent in the clear."""
        done = self.log_in(plain=True)
        self.end.greets()
        self.assertEqual(self.end.answers(to="Login")["Secret"], "s3cret")
        self.successResultOf(done)

    def test_banner_first(self) -> None:
        """A banner that came before the login began is used."""
        self.end.greets()
        done = self.log_in(plain=True)
        self.end.answers(to="Login")
        self.successResultOf(done)

    def test_refused(self) -> None:
        """A wrong secret raises LoginRefused in one line, without the secret."""
        done = self.log_in(plain=True)
        self.end.greets()
        (action,) = self.end.hears()
        self.end.says("Response: Error", f"ActionID: {action['ActionID']}", "Message: Authentication failed\nHa\x1b[2J")
        line = str(self.failureResultOf(done, LoginRefused).value)
        self.assertIn("Authentication failed", line)
        self.assertTrue(line.isprintable(), line)
        self.assertNotIn("s3cret", line)
        self.assertFalse(self.protocol.logged_in)

    def test_no_banner(self) -> None:
        """A peer without a banner is disconnected, and the login fails with the reason."""
        done = self.log_in()
        self.clock.advance(BANNER_TIMEOUT_S)
        self.assertTrue(self.end.gone)
        self.assertIn("no banner", str(self.failureResultOf(done, ManagerUnavailable).value))

    def test_no_answer(self) -> None:
        """A peer that sends a banner only makes the login time out."""
        done = self.log_in()
        self.end.greets()
        self.clock.advance(ACTION_TIMEOUT_S)
        self.failureResultOf(done, ActionTimeout)

    def test_another_protocol(self) -> None:
        """A peer that does not speak AMI is disconnected at once, and its line is quoted."""
        done = self.log_in()
        self.protocol.dataReceived(b"HTTP/1.1 400 Bad Request\r\n")
        self.assertTrue(self.end.gone)
        self.assertIn("HTTP/1.1", str(self.failureResultOf(done, ManagerUnavailable).value))

    def test_lost_meanwhile(self) -> None:
        """A connection that is lost at any moment of the login raises ManagerUnavailable."""
        for steps in range(3):
            self.setUp()
            done = self.log_in()
            if steps > 0:
                self.end.greets()
            if steps > 1:
                self.end.answers("Challenge: 1", to="Challenge")
            self.end.goes(ConnectionLost())
            self.failureResultOf(done, ManagerUnavailable)

    def test_lost_before(self) -> None:
        """A connection that is lost before the login leaves no unhandled error."""
        self.end.goes(ConnectionLost())
        self.successResultOf(self.protocol.lost)


class AnswerTests(ManagerTest):
    """Actions and their responses."""

    def test_answer(self) -> None:
        """A response reaches its action by the ActionID."""
        answer, action_id = self.send()
        self.assertNoResult(answer)
        self.end.says("Response: Success", f"ActionID: {action_id}", "Ping: Pong")
        self.assertEqual(self.successResultOf(answer).get("Ping"), "Pong")

    def test_error(self) -> None:
        """A refused action fails with Asterisk's message in one line."""
        answer, action_id = self.send("Originate")
        self.end.says("Response: Error", f"ActionID: {action_id}", "Message: Permission\n denied")
        self.assertEqual(str(self.failureResultOf(answer, ActionFailed).value), "Originate: Permission\\n denied")

    def test_error_without_a_message(self) -> None:
        """A refusal without a message fails with the word of the response."""
        answer, action_id = self.send("Originate")
        self.end.says("Response: Error", f"ActionID: {action_id}")
        self.assertEqual(str(self.failureResultOf(answer, ActionFailed).value), "Originate: Error")

    def test_action_ids(self) -> None:
        """ActionIDs count up behind a random prefix of 48 bits that differs for each connection."""
        ids = [self.send()[1] for _ in range(3)]
        prefix, _, first = ids[0].partition("-")
        self.assertRegex(prefix, r"\A[0-9a-f]{12}\Z")
        self.assertEqual(ids, [f"{prefix}-{int(first) + place}" for place in range(3)])
        other, _, _ = new_protocol()
        self.assertNotEqual(other.new_action_id().partition("-")[0], prefix)

    def test_ten_seconds(self) -> None:
        """An action or a list times out after 10 s, or after the time given; the error names the action."""
        for timeout_s, more in ((10.0, ()), (3.0, ((), 3.0))):
            waiting: list[Deferred[Any]] = [
                self.protocol.action("Ping", *more),
                self.protocol.action_list("Status", *more),
            ]
            self.clock.advance(timeout_s - 0.125)
            self.end.says("Event: Newexten")
            for answer in waiting:
                self.assertNoResult(answer)
            self.clock.advance(0.125)
            self.assertEqual(
                [str(self.failureResultOf(answer, ActionTimeout).value) for answer in waiting],
                ["Ping: Asterisk did not answer in time", "Status: Asterisk did not answer in time"],
            )

    def test_no_timer_is_left(self) -> None:
        """A response, a refusal, or an action that was not sent leaves no timer."""
        timers = len(self.clock.getDelayedCalls())
        for word in ("Success", "Error"):
            answer, action_id = self.send()
            self.end.says(f"Response: {word}", f"ActionID: {action_id}")
            answer.addErrback(lambda _: None)
        self.protocol.action("Ping", [("Channel", "\n")]).addErrback(lambda _: None)
        self.assertEqual(len(self.clock.getDelayedCalls()), timers)

    def test_why_it_was_lost(self) -> None:
        """Pending actions fail with the transport's reason; later ones say that there is no connection."""
        answer, _ = self.send()
        self.end.goes(ConnectionLost("gone fishing"))
        self.assertIn(
            "the connection to Asterisk was lost: Connection to the other side was lost",
            str(self.failureResultOf(answer, ManagerUnavailable).value),
        )
        later = self.protocol.action_list("Status")
        self.assertEqual(
            str(self.failureResultOf(later, ManagerUnavailable).value), "there is no connection to Asterisk"
        )
        self.assertEqual(self.end.hears(), [])

    def test_unmatched_response_is_logged_at_debug(self) -> None:
        """A response without an action is logged at debug level; an event without a blank is not logged."""
        with capturedLogs() as logs:
            self.end.says("Event:Hangup")
            self.end.says("Event:Other")
            self.assertEqual(logs, [])
            self.end.says("Response: Success", "ActionID: 1")
            self.end.says("Nonsense: 1")
        self.assertEqual([log["log_level"] for log in logs], [LogLevel.debug] * 2)

    def test_out_of_order(self) -> None:
        """Three hundred actions in flight, answered in reverse order, get their own responses."""
        sent = [self.send() for _ in range(300)]
        for _, action_id in reversed(sent):
            self.end.says("Response: Success", f"ActionID: {action_id}", f"Mine: {action_id}")
        self.assertEqual(
            [self.successResultOf(answer).get("Mine") for answer, _ in sent], [action_id for _, action_id in sent]
        )

    def test_unknown_action_id(self) -> None:
        """Responses without an ActionID, with another one, or repeated, are ignored."""
        answer, action_id = self.send()
        for forged in ("", "1", action_id + "0", action_id[:-1], action_id.upper() + "x"):
            self.end.says("Response: Success", f"ActionID: {forged}")
        self.end.says("Response: Error", "Message: Missing action in request")
        self.assertNoResult(answer)
        for _ in range(2):
            self.end.says("Response: Success", f"ActionID: {action_id}")
        self.successResultOf(answer)

    def test_never_from_an_event(self) -> None:
        """An event with our ActionID and a header Response is no response; it reaches its handlers."""
        answer, action_id = self.send("Originate")
        self.end.says("Event: Hangup", f"ActionID: {action_id}", "Response: Success", "EventList: Complete")
        self.assertNoResult(answer)
        self.assertEqual(len(self.events), 1)

    def test_rubbish(self) -> None:
        """A message that is neither event nor response is ignored."""
        answer, action_id = self.send()
        self.protocol.dataReceived(lines("Nonsense: 1", f"ActionID: {action_id}") + b"\r\n\r\n\xff\r\n\r\n")
        self.assertNoResult(answer)

    def test_unsendable(self) -> None:
        """Text that would become a second action is not sent."""
        answer = self.protocol.action("Ping", [("Channel", "x\r\n\r\nAction: Logoff")])
        self.failureResultOf(answer, InvalidAction)
        self.assertEqual(self.end.hears(), [])

    def test_timeout(self) -> None:
        """Without a response in time the action fails; a later response is ignored."""
        answer, action_id = self.send()
        self.clock.advance(ACTION_TIMEOUT_S)
        self.failureResultOf(answer, ActionTimeout)
        self.end.says("Response: Success", f"ActionID: {action_id}")

    def test_cancelled(self) -> None:
        """A cancelled action leaves no timer."""
        answer, action_id = self.send()
        answer.addErrback(lambda _: None)
        answer.cancel()
        self.end.says("Response: Success", f"ActionID: {action_id}")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)  # the watchdog

    def test_lost(self) -> None:
        """Every action and list in flight fails with ManagerUnavailable, and later ones at once."""
        sent = [self.send()[0] for _ in range(5)] + [self.ask_for_list()[0]]
        self.end.goes(ConnectionLost())
        for message in sent:
            self.failureResultOf(message, ManagerUnavailable)
        self.failureResultOf(self.protocol.action("Ping"), ManagerUnavailable)
        self.assertFalse(self.protocol.logged_in)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_message_without_end(self) -> None:
        """A message without an end closes the connection, and is logged once."""
        answer, _ = self.send()
        with capturedLogs() as logs:
            for _ in range(MAX_MESSAGE // 60_000 + 2):
                if not self.end.gone:
                    self.protocol.dataReceived(b"x" * 60_000)
        self.assertTrue(self.end.gone)
        (said,) = [log["why"] for log in logs if log["log_level"] >= LogLevel.warn]
        self.assertIn("without an end", said)
        self.assertIn("without an end", str(self.failureResultOf(answer, ManagerUnavailable).value))


class ListTests(ManagerTest):
    """Actions that a list answers."""

    def item(self, action_id: str, channel: str) -> None:
        """Receive one item of a list."""
        self.end.says("Event: CoreShowChannel", f"ActionID: {action_id}", f"Channel: {channel}")

    def complete(self, action_id: str) -> None:
        """Receive the end of a list."""
        self.end.says("Event: CoreShowChannelsComplete", f"ActionID: {action_id}", "EventList: Complete")

    def start(self, action_id: str) -> None:
        """Receive the response that begins a list."""
        self.end.says("Response: Success", f"ActionID: {action_id}", "EventList: start")

    def test_list(self) -> None:
        """A list has its items in order, without the event that ends it."""
        answer, action_id = self.ask_for_list()
        self.start(action_id)
        self.item(action_id, "a")
        self.item(action_id, "b")
        self.assertNoResult(answer)
        self.complete(action_id)
        self.assertEqual([row.get("Channel") for row in self.successResultOf(answer)], ["a", "b"])

    def test_any_number(self) -> None:
        """Lists after lists, and two at the same time among other actions, each get their own items."""
        for _ in range(4):
            self.test_list()
        answers = [self.ask_for_list() for _ in range(2)]
        self.send()
        for number, (_, action_id) in enumerate(answers):
            self.start(action_id)
            self.item(action_id, str(number))
        for number, (answer, action_id) in enumerate(answers):
            self.complete(action_id)
            self.assertEqual([row.get("Channel") for row in self.successResultOf(answer)], [str(number)])

    def test_empty(self) -> None:
        """A list may have no items; a response without a list is an empty one, too."""
        answer, action_id = self.ask_for_list()
        self.start(action_id)
        self.complete(action_id)
        self.assertEqual(self.successResultOf(answer), [])
        answer, action_id = self.ask_for_list()
        self.end.says("Response: Success", f"ActionID: {action_id}", "Message: none")
        self.assertEqual(self.successResultOf(answer), [])

    def test_items_are_no_events(self) -> None:
        """Items and ends of lists reach no event handler, not even one for all events; other events do."""
        seen: list[str] = []
        self.handlers[b"*"] = [lambda event: seen.append(event.name)]
        self.handlers[b"CoreShowChannel"] = [lambda event: seen.append(event.name)]
        answer, action_id = self.ask_for_list()
        self.start(action_id)
        self.item(action_id, "a")
        self.end.says("Event:CoreShowChannel", f"ActionID: {action_id}", "Channel: b")
        self.item("x" + action_id, "other")
        self.complete(action_id)
        self.assertEqual([row.get("Channel") for row in self.successResultOf(answer)], ["a", "b"])
        self.assertEqual(seen, ["CoreShowChannel", "CoreShowChannel"])
        self.item(action_id, "after the end")
        self.assertEqual(len(seen), 4)

    def test_any_spelling_of_begin_and_end(self) -> None:
        """The words of EventList that begin and end a list are read in any case; an item may have another word."""
        answer, action_id = self.ask_for_list()
        self.end.says("Response: Success", f"ActionID: {action_id}", "EventList: Start")
        self.end.says("Event: X", f"ActionID: {action_id}", "EventList: item")
        self.assertNoResult(answer)
        self.end.says("Event: X", f"ActionID: {action_id}", "EventList: COMPLETE")
        self.assertEqual(len(self.successResultOf(answer)), 1)

    def test_action_is_no_list(self) -> None:
        """Events with the ActionID of an action without a list are events."""
        self.ask_for_list()
        answer, action_id = self.send("Originate")
        self.end.says("Event: Hangup", f"ActionID: {action_id}", "EventList: Complete")
        self.assertEqual(len(self.events), 1)
        self.assertNoResult(answer)
        self.end.says("Response: Success", f"ActionID: {action_id}", "EventList: start")
        self.successResultOf(answer)

    def test_hundred_thousand(self) -> None:
        """A list may have 100 000 items."""
        answer, action_id = self.ask_for_list()
        self.start(action_id)
        thousand = lines("Event: X", f"ActionID: {action_id}") * 1000
        for _ in range(100):
            self.protocol.dataReceived(thousand)
        self.complete(action_id)
        self.clock.advance(0)
        self.assertEqual(len(self.successResultOf(answer)), 100_000)

    def test_interleaved(self) -> None:
        """Two lists at once, with events and responses between their items, each get their own items."""
        first, one = self.ask_for_list()
        second, two = self.ask_for_list()
        ping, three = self.send()
        self.start(one)
        self.start(two)
        self.item(two, "2a")
        self.item(one, "1a")
        self.end.says("Event: Hangup", "Channel: other")
        self.end.says("Response: Success", f"ActionID: {three}")
        self.item(two, "2b")
        self.complete(two)
        self.item(one, "1b")
        self.complete(one)
        self.assertEqual([row.get("Channel") for row in self.successResultOf(first)], ["1a", "1b"])
        self.assertEqual([row.get("Channel") for row in self.successResultOf(second)], ["2a", "2b"])
        self.successResultOf(ping)
        self.assertEqual(len(self.events), 1)

    def test_forged_items(self) -> None:
        """List items and ends without the right ActionID, as a caller can forge, are not taken into a list."""
        answer, action_id = self.ask_for_list()
        self.start(action_id)
        self.item("", "forged")
        self.item("1-1", "forged")
        self.complete("")
        self.item(action_id, "true")
        self.complete(action_id)
        self.assertEqual([row.get("Channel") for row in self.successResultOf(answer)], ["true"])

    def test_refused(self) -> None:
        """A list that is refused fails."""
        answer, action_id = self.ask_for_list()
        self.end.says("Response: Error", f"ActionID: {action_id}", "Message: Permission denied")
        self.failureResultOf(answer, ActionFailed)

    def test_before_the_response(self) -> None:
        """Items before the response are not part of the list."""
        answer, action_id = self.ask_for_list()
        self.item(action_id, "early")
        self.complete(action_id)
        self.assertNoResult(answer)
        self.start(action_id)
        self.end.says("Response: Error", f"ActionID: {action_id}")  # a second response to it
        self.complete(action_id)
        self.assertEqual(self.successResultOf(answer), [])

    def test_never_complete(self) -> None:
        """A list without an end times out."""
        answer, action_id = self.ask_for_list()
        self.start(action_id)
        self.clock.advance(ACTION_TIMEOUT_S)
        self.failureResultOf(answer, ActionTimeout)
        self.item(action_id, "late")

    def test_too_long(self) -> None:
        """A list of more than 100 000 items fails."""
        answer, action_id = self.ask_for_list()
        self.start(action_id)
        thousand = lines("Event: CoreShowChannel", f"ActionID: {action_id}") * 1000
        for _ in range(100):
            self.protocol.dataReceived(thousand)
        self.clock.advance(0)
        self.assertNoResult(answer)
        self.item(action_id, "one more")
        self.assertEqual(
            str(self.failureResultOf(answer, ManagerProtocolError).value),
            "CoreShowChannels: more than 100000 items came",
        )


class SliceTests(ManagerTest):
    """Much at once is handled in slices, so that calls are served between them."""

    def test_many(self) -> None:
        """Of many messages a bounded number is handled in one go, in order; nothing is read before all are handled."""
        numbers = range(2 * SLICE + 1)
        self.protocol.dataReceived(b"".join(lines("Event: Hangup", f"Cause: {number}") for number in numbers))
        self.assertEqual(len(self.events), SLICE)
        self.assertEqual(self.end.transport.producerState, "paused")
        self.protocol.dataReceived(lines("Event: Hangup", "Cause: last"))  # TLS may hand on what it had read before
        self.assertEqual(len(self.events), SLICE)
        self.clock.advance(0)
        self.assertEqual(self.end.transport.producerState, "producing")
        self.assertEqual([event.get("Cause") for event in self.events], [*map(str, numbers), "last"])

    def test_large(self) -> None:
        """A slice is bounded in bytes, too; one message may be larger than that."""
        large = lines("Event: Hangup", "Cause: " + "x" * SLICE_BYTES)
        self.protocol.dataReceived(large * 3)
        self.assertEqual(len(self.events), 1)
        self.clock.advance(0)
        self.assertEqual(len(self.events), 3)

    def test_closed_between(self) -> None:
        """When the connection is closed, what was not handled is dropped."""
        self.protocol.dataReceived(lines("Event: Hangup") * (2 * SLICE))
        self.protocol.connectionLost(Failure(ConnectionLost()))
        self.clock.advance(0)
        self.assertEqual(len(self.events), SLICE)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closed_by_a_handler(self) -> None:
        """So it is when a handler closes it."""
        self.handlers[b"Bye"] = [lambda _: self.protocol.connectionLost(Failure(ConnectionLost()))]
        self.protocol.dataReceived(lines("Event: Bye") + lines("Event: Hangup") * (2 * SLICE))
        self.clock.advance(0)
        self.assertLess(len(self.events), SLICE)

    def test_many_headers(self) -> None:
        """An event of more headers than any of Asterisk's is ignored, and does not cost what its headers would."""
        with capturedLogs() as logs:
            for count in (MAX_HEADERS - 1, MAX_HEADERS, 10_000):
                self.end.says("Event: Hangup", *("X: y" for _ in range(count)))
        self.assertEqual(len(self.events), 1)
        self.assertEqual([line["log_format"] for line in logs], ["AMI {name}: ignored {what}; {count} until now"] * 2)

    def test_garbage(self) -> None:
        """Thousands of messages that are none are a few lines in the log."""
        with capturedLogs() as logs:
            for _ in range(10):
                self.protocol.dataReceived(b"x\r\n\r\n" * 1000)
                self.clock.advance(0)
        self.assertEqual([line["count"] for line in logs], [2**power for power in range(14)])


class EventTests(ManagerTest):
    """Events and their handlers."""

    def test_wanted(self) -> None:
        """A handler gets the events of its name, and no others."""
        self.end.says("Event: Hangup", "Cause: 16")
        self.end.says("Event: VarSet", "Variable: X")
        self.end.says("Event: HangupRequest")
        self.assertEqual([event.get("Cause") for event in self.events], ["16"])

    def test_any_spelling_of_the_colon(self) -> None:
        """An event without a blank, without further headers, or in lower case is the same event."""
        self.end.says("Event:Hangup", "Cause: 16")
        self.end.says("Event: Hangup")
        self.end.says("event: Hangup", "Cause: 17")
        self.assertEqual([event.get("Cause") for event in self.events], ["16", "", "17"])

    def test_every_event(self) -> None:
        """Handlers for ``*`` get every event, beside the handlers for one name."""
        everything: list[str] = []
        self.handlers[b"*"] = [lambda event: everything.append(event.name)]
        self.end.says("Event: Hangup")
        self.end.says("Event: VarSet")
        self.end.says("Event:DTMFEnd")
        self.assertEqual((everything, len(self.events)), (["Hangup", "VarSet", "DTMFEnd"], 1))

    def test_faulty_listener(self) -> None:
        """A handler that raises is logged, and the next one is called."""
        self.handlers[b"Hangup"].insert(0, lambda _: 1 // 0)  # type: ignore[arg-type]
        self.end.says("Event: Hangup")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.events), 1)

    def test_listener_changes_the_table(self) -> None:
        """A handler that unsubscribes while it runs does not disturb the others."""
        self.handlers[b"Hangup"].insert(0, lambda _: self.handlers[b"Hangup"].clear())
        self.end.says("Event: Hangup")
        self.end.says("Event: Hangup")
        self.assertEqual(len(self.events), 1)

    def test_one_ends_all(self) -> None:
        """A handler may close the connection while further events of the segment wait."""
        self.handlers[b"Hangup"].append(lambda _: self.protocol.close())
        self.protocol.dataReceived(lines("Event: Hangup") * 3)
        self.assertTrue(self.end.gone)

    @given(st.lists(st.binary(max_size=50), max_size=10))
    def test_any_bytes(self, pieces: list[bytes]) -> None:
        """No input raises or logs a failure."""
        clock_events: list[AMIMessage] = []
        protocol, end, _ = new_protocol({b"Hangup": [clock_events.append], b"*": [clock_events.append]})
        end.greets()
        answer = protocol.action("Ping")
        listed = protocol.action_list("Foo")
        one = end.hears()[0]
        seeds = [
            b"Event: ",
            b"Response: ",
            b"ActionID: %s\r\n" % one["ActionID"].encode(),
            b"EventList: start",
        ]
        for number, piece in enumerate(pieces):
            protocol.dataReceived(seeds[number % 4] + piece + (b"\r\n\r\n" if number % 2 else b"\r\n"))
        end.goes(ConnectionLost())
        for value in (answer, listed):
            value.addErrback(lambda failure: failure.trap(ManagerError) and None)
        self.assertEqual(self.flushLoggedErrors(), [])


class LifeTests(ManagerTest):
    """Noticing a peer that has stopped responding."""

    def pings(self) -> list[dict[str, str]]:
        """The Pings sent since the last call."""
        return [action for action in self.end.hears() if action["Action"] == "Ping"]

    def pass_time(self, seconds: float, answering: bool = True) -> list[float]:
        """Let time pass by the second; returns when Pings came."""
        asked = []
        for _ in range(int(seconds)):
            self.clock.advance(1)
            for ping in self.pings():
                asked.append(self.clock.seconds())
                if answering:
                    self.end.says("Response: Success", f"ActionID: {ping['ActionID']}")
        return asked

    def test_asked(self) -> None:
        """An idle peer gets a Ping every few seconds, and stays connected while it answers."""
        asked = self.pass_time(600)
        self.assertFalse(self.end.gone)
        gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
        self.assertTrue(all(PING_AFTER_S <= gap < 2 * PING_AFTER_S for gap in gaps), gaps)

    def test_when_it_is_asked(self) -> None:
        """The first Ping is sent 9 s after the connection was made, then one every 8 s."""
        self.assertEqual(self.pass_time(50), [9, 17, 25, 33, 41, 49])

    def test_not_asked_twice(self) -> None:
        """While a Ping is unanswered no other is sent."""
        for _ in range(24):
            self.clock.advance(1)
            self.end.says("Event: Newexten")
        self.assertEqual(len(self.pings()), 1)

    def test_how_long_it_may_be_silent(self) -> None:
        """A peer may be silent for 20 s, checked every 4 s; the log line counts from its last byte."""
        for heard_at, given_up_at in ((1, 21), (2, 25)):
            self.setUp()
            waiting, _ = self.send()
            self.clock.advance(heard_at)
            self.protocol.dataReceived(b"E")
            with capturedLogs() as logs:
                while not self.end.gone:
                    self.clock.advance(1)
            self.assertEqual(self.clock.seconds(), given_up_at)
            self.failureResultOf(waiting, ActionTimeout)
            said = [log["why"] for log in logs if log["log_level"] is LogLevel.warn]
            self.assertEqual(said, [f"Asterisk has been silent for {given_up_at - heard_at} s"])

    def test_what_fails_when_it_is_silent(self) -> None:
        """Pending actions fail with the reason for which the connection was given up."""
        self.clock.pump([1] * 15)
        waiting = self.protocol.action("Getvar")
        self.clock.pump([1] * 6)
        self.assertEqual(
            str(self.failureResultOf(waiting, ManagerUnavailable).value), "Asterisk has been silent for 21 s"
        )

    def test_stood_still(self) -> None:
        """Time in which this process stood still is not the peer's: an idle connection is kept, and asked as before."""
        for before in range(1, 20):
            self.setUp()
            self.pass_time(before)
            self.clock.advance(30)
            self.assertFalse(self.end.gone, before)
            self.assertTrue(self.pass_time(15), before)
            self.assertFalse(self.end.gone, before)

    def test_stood_still_while_it_answered(self) -> None:
        """Answers that came meanwhile are read before their time is looked at."""
        self.clock.pump([1] * 9)
        (ping,) = self.pings()
        waiting, action_id = self.send("Getvar")
        self.clock.advance(30)
        self.end.says("Response: Success", f"ActionID: {ping['ActionID']}")
        self.end.says("Response: Success", f"ActionID: {action_id}", "Value: 1")
        self.assertEqual(self.successResultOf(waiting).get("Value"), "1")
        self.pass_time(30)
        self.assertFalse(self.end.gone)

    def test_stood_still_while_it_was_asked(self) -> None:
        """Time in which this process stood still does not count for how long a Ping is unanswered."""
        self.clock.pump([1] * 9)
        (ping,) = self.pings()
        self.clock.advance(30)
        self.clock.pump([1] * 4)
        self.end.says("Event: Newexten")
        self.clock.pump([1] * 4)
        self.assertFalse(self.end.gone)
        self.end.says("Response: Success", f"ActionID: {ping['ActionID']}")
        self.pass_time(30)
        self.assertFalse(self.end.gone)

    def test_stood_still_while_it_did_not_answer(self) -> None:
        """A peer that is dead all the same is found out in the usual time after that."""
        self.clock.pump([1] * 8)
        waiting, _ = self.send("Getvar")
        self.clock.advance(30)
        self.clock.advance(GRACE_S)
        self.failureResultOf(waiting, ActionTimeout)
        self.assertFalse(self.end.gone)
        self.clock.pump([1] * int(DEAD_AFTER_S + 4))
        self.assertTrue(self.end.gone)

    def test_stood_still_before_the_banner(self) -> None:
        """A banner that came meanwhile is read."""
        self.protocol, self.end, self.clock = new_protocol(self.handlers)
        self.clock.advance(30)
        done = self.log_in()
        self.end.logs_in()
        self.successResultOf(done)
        self.clock.advance(5)
        self.assertFalse(self.end.gone)

    def test_how_long_it_may_leave_a_question(self) -> None:
        """A Ping may be unanswered for 16 s although events come; the log line says so."""
        with capturedLogs() as logs:
            while not self.end.gone:
                self.clock.advance(1)
                self.end.says("Event: Newexten")
        self.assertEqual(self.clock.seconds(), 9 + 16)
        said = [log["why"] for log in logs if log["log_level"] is LogLevel.warn]
        self.assertEqual(said, ["Asterisk has not answered for 16 s"])

    def test_refusal_is_an_answer(self) -> None:
        """A refused Ping counts as an answer."""
        for _ in range(100):
            self.clock.advance(1)
            for ping in self.pings():
                self.end.says("Response: Error", f"ActionID: {ping['ActionID']}", "Message: Permission denied")
        self.assertFalse(self.end.gone)

    def test_silent(self) -> None:
        """A silent peer is disconnected within 30 s, and pending actions fail."""
        self.pass_time(100)
        waiting, _ = self.send()
        self.pass_time(DEAD_AFTER_S + 4, answering=False)
        self.assertTrue(self.end.gone)
        self.failureResultOf(waiting, ActionTimeout)
        self.assertLess(DEAD_AFTER_S + 4, 30)

    def test_deaf(self) -> None:
        """A peer that sends events but answers nothing is disconnected after DEAF_AFTER_S."""
        for second in range(int(DEAF_AFTER_S + 30)):
            if self.end.gone:
                break
            self.clock.advance(1)
            self.end.says("Event: Newexten", f"Second: {second}")
        self.assertTrue(self.end.gone)
        self.assertGreater(second, DEAF_AFTER_S)

    def test_busy(self) -> None:
        """A peer that sends many events and answers Pings stays connected."""
        asked = []
        for _ in range(120):
            self.clock.advance(1)
            self.end.says("Event: Newexten")
            for ping in self.pings():
                asked.append(ping)
                self.end.says("Response: Success", f"ActionID: {ping['ActionID']}")
        self.assertFalse(self.end.gone)
        self.assertGreater(len(asked), 8)

    def test_not_before_the_login(self) -> None:
        """Before the login nothing is sent, and a peer that waits for too long is disconnected."""
        protocol, end, clock = new_protocol()
        end.greets()
        clock.pump([1] * 15)
        self.assertEqual(end.hears(), [])
        clock.pump([1] * 15)
        self.assertTrue(end.gone)
        self.assertIsNone(self.successResultOf(protocol.lost))
