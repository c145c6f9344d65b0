"""The AMI protocol: one connection to Asterisk's manager interface.

Many actions may be in flight; responses are matched by ActionID, which begins with an unguessable
prefix, so that neither an event nor a forged line is taken for a response. Events are passed to the
handlers of their name; other events are not parsed.

Source: docs/asterisk.md B1 to B3.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbxrouter.agi import encode
from pbxrouter.ami.messages import AMIMessage, AMIReader, format_action
from pbxrouter.ami.watchdog import Watchdog
from pbxrouter.errors import (
    ActionFailed,
    ActionTimeout,
    LoginRefused,
    ManagerError,
    ManagerProtocolError,
    ManagerUnavailable,
)
from pbxrouter.net import Timer, keep_alive
from pbxrouter.text import Sentence, printable, sentence

ACTION_TIMEOUT_S: Final = 10.0
"""Seconds that a response may take."""
MAX_ITEMS: Final = 100_000
"""Maximum number of items in a list."""
SLICE: Final = 200
"""Messages that are handled in one go; calls are served before the next ones."""
SLICE_BYTES: Final = 1 << 16
"""Bytes of messages that are handled in one go, unless one message has more."""
MAX_TEXT: Final = 500
"""Characters that are kept of Asterisk's own message in an error."""
MAX_HEADERS: Final = 500
"""Headers of an event; one with more is none of Asterisk's, and is ignored."""
EventHandler = Callable[[AMIMessage], None]
Headers = Iterable[tuple[str, str]]


@dataclass(slots=True)
class _Pending:
    name: str
    answer: Deferred[Any]
    timer: Timer
    items: list[AMIMessage] | None = None
    """The items of a list received so far; None if the action is answered by one response."""
    begun: bool = False
    """Whether the list has started."""


class AMIProtocol(Protocol):
    """One AMI connection.

    Args:
        clock: for timeouts.
        handlers: event handlers by event name; looked up at each event, so the mapping may change.

    Attributes:
        banner: Asterisk's first line, such as ``Asterisk Call Manager/11.0.0``.
        logged_in: whether actions are accepted.
        lost: fires when the connection is gone.
        name: the Asterisk's name in the settings, for the log; "?" if it has none.
    """

    log = Logger()
    transport: ITCPTransport
    # From connectionMade on:
    _producer: Any  # the transport, as what can be paused
    _watchdog: Watchdog

    def __init__(self, clock: IReactorTime, handlers: dict[bytes, list[EventHandler]]) -> None:
        self._clock = clock
        self._handlers = handlers
        self._reader = AMIReader()
        self._pending: dict[str, _Pending] = {}
        self._id_prefix = secrets.token_hex(6)
        self._id_bytes = self._id_prefix.encode("ascii")
        self._sent = 0
        self._lists = 0
        self._backlog: deque[bytes] = deque()
        self._next_slice: IDelayedCall | None = None
        self._ignored = 0
        self._connected = False
        self._greeted: Deferred[str] | None = None
        self._why: Sentence | None = None
        self.name = "?"
        self.banner: str | None = None
        self.logged_in = False
        self.lost: Deferred[None] = Deferred()

    # --- the connection ---

    def connectionMade(self) -> None:
        """Wait for the banner, which should come at once."""
        self._connected = True
        self._producer = self.transport
        keep_alive(self.transport)
        self._watchdog = Watchdog(self._clock, lambda allowed_s: self.action("Ping", (), allowed_s), self._give_up)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail every action in flight."""
        self._connected = self.logged_in = False
        self._watchdog.stop()
        self._backlog.clear()
        if self._next_slice is not None:
            self._next_slice.cancel()
            self._next_slice = None
        error = ManagerUnavailable(
            self._why or sentence("the connection to Asterisk was lost: {why}", why=reason.getErrorMessage())
        )
        if self.banner is None and self._greeted is not None:
            self._greeted.errback(error)
        for action_id in tuple(self._pending):
            self._fail(action_id, error)
        self.lost.callback(None)

    def close(self) -> None:
        """Close the connection at once."""
        if self._connected:
            self.transport.abortConnection()

    def _give_up(self, why: Sentence) -> None:
        """Close the connection and fail all pending actions with the reason."""
        self._why = why
        if self.logged_in:
            self.log.warn("AMI {name}: {why}; closing the connection", name=self.name, why=why.english)
        self.close()

    def dataReceived(self, data: bytes) -> None:
        """Parse bytes, split anywhere."""
        self._watchdog.heard()
        try:
            messages = self._reader.cut(data)
        except ManagerProtocolError as error:
            self._give_up(error.sentence)
            return
        if self.banner is None and self._reader.banner is not None:
            self.banner = self._reader.banner
            self._watchdog.greeted = True
            if self._greeted is not None:
                self._greeted.callback(self.banner)
        self._backlog.extend(messages)
        if self._next_slice is None:
            self._take_slice()

    def _take_slice(self) -> None:
        """Handle the next messages; reads no more from Asterisk before all that came are handled."""
        was_paused, self._next_slice = self._next_slice is not None, None
        handlers, backlog = self._handlers, self._backlog
        everyone = handlers.get(b"*")
        count = size = 0
        while backlog and count < SLICE and size < SLICE_BYTES:
            raw = backlog.popleft()
            count += 1
            size += len(raw)
            if raw[:7] == b"Event: ":
                end = raw.find(b"\r", 7)
                wanted = handlers.get(raw[7:end] if end > 0 else raw[7:])
                if wanted or everyone or (self._lists and self._id_bytes in raw):
                    self._event_received(AMIMessage(raw))
            else:
                self._other_received(AMIMessage(raw))
        if was_paused:
            self._watchdog.heard()
        if not self._connected:
            backlog.clear()
        elif backlog:
            if not was_paused:
                self._producer.pauseProducing()
            self._next_slice = self._clock.callLater(0, self._take_slice)
        elif was_paused:
            self._producer.resumeProducing()

    # --- from Asterisk ---

    def _event_received(self, event: AMIMessage) -> None:
        if event.raw.count(b"\r\n") >= MAX_HEADERS:
            self._ignore(f"an event {printable(event.name, 60)} of more than {MAX_HEADERS} headers")
            return
        if self._lists and self._id_bytes in event.raw and self._item_received(event):
            return
        wanted = self._handlers.get(encode(event.name), ())
        for handler in (*wanted, *self._handlers.get(b"*", ())):
            try:
                handler(event)
            except Exception:
                self.log.failure(
                    "AMI {name}: a handler for the event {event} raised", name=self.name, event=printable(event.name)
                )

    def _item_received(self, event: AMIMessage) -> bool:
        """Take an item of a pending list; False if the message is an ordinary event."""
        action_id = event.action_id
        pending = self._pending.get(action_id)
        if pending is None or pending.items is None or not pending.begun:
            return False
        if event.get("EventList").lower() == "complete":
            self._answered(action_id).answer.callback(pending.items)
        elif len(pending.items) >= MAX_ITEMS:
            self._fail(
                action_id,
                ManagerProtocolError(
                    sentence("{action}: more than {most} items came", action=pending.name, most=MAX_ITEMS)
                ),
            )
        else:
            pending.items.append(event)
        return True

    def _other_received(self, message: AMIMessage) -> None:
        """Handle a response, or an event without a blank after ``Event:``."""
        if message.kind == "Event":
            self._event_received(message)
            return
        action_id = message.action_id if message.kind == "Response" else ""
        pending = self._pending.get(action_id)
        if pending is None:
            self._ignore(f"{printable(repr(message), 100)}, which matches no pending action")
        elif pending.begun:
            pass  # the start of the list was seen already
        elif not message.is_success:
            text = printable(message.get("Message") or message.name, MAX_TEXT)
            self._fail(action_id, ActionFailed(f"{pending.name}: {text}"))
        elif pending.items is None:
            self._answered(action_id).answer.callback(message)
        elif message.get("EventList").lower() == "start":
            pending.begun = True
        else:
            self._answered(action_id).answer.callback([])

    def _ignore(self, what: str) -> None:
        """Count a message that is ignored; the log has the 1st, 2nd, 4th, 8th … of a connection."""
        self._ignored += 1
        if not self._ignored & (self._ignored - 1):
            self.log.debug(
                "AMI {name}: ignored {what}; {count} until now", name=self.name, what=what, count=self._ignored
            )

    def _answered(self, action_id: str) -> _Pending:
        pending = self._pending.pop(action_id)
        self._lists -= pending.items is not None
        pending.timer.clear()
        return pending

    def _fail(self, action_id: str, error: ManagerError) -> None:
        self._answered(action_id).answer.errback(error)

    # --- to Asterisk ---

    def action(self, name: str, headers: Headers = (), timeout_s: float = ACTION_TIMEOUT_S) -> Deferred[AMIMessage]:
        """Send an action; fires with its response.

        The Deferred fails with InvalidAction (nothing was sent), ActionFailed (Asterisk's own
        message), ActionTimeout, or ManagerUnavailable.
        """
        return self._send(name, headers, timeout_s, None)

    def action_list(
        self, name: str, headers: Headers = (), timeout_s: float = ACTION_TIMEOUT_S
    ) -> Deferred[list[AMIMessage]]:
        """Send an action that is answered by a list; fires with its items. Fails as ``action`` does."""
        return self._send(name, headers, timeout_s, [])

    def new_action_id(self) -> str:
        """Make a unique, unguessable ActionID."""
        self._sent += 1
        return f"{self._id_prefix}-{self._sent}"

    def _send(self, name: str, headers: Headers, timeout_s: float, items: list[AMIMessage] | None) -> Deferred[Any]:
        if not self._connected:
            return fail(ManagerUnavailable(sentence("there is no connection to Asterisk")))
        action_id = self.new_action_id()
        try:
            data = format_action(name, headers, action_id)
        except ManagerError as error:
            return fail(error)
        answer: Deferred[Any] = Deferred(lambda _: self._cancelled(action_id))
        timer = Timer(self._clock)
        timer.set(timeout_s, lambda: self._timed_out(action_id))
        self._pending[action_id] = _Pending(name, answer, timer, items)
        self._lists += items is not None
        self.transport.write(data)
        return answer

    def _cancelled(self, action_id: str) -> None:
        self._answered(action_id)

    def _timed_out(self, action_id: str) -> None:
        name = self._pending[action_id].name
        self._fail(action_id, ActionTimeout(sentence("{action}: Asterisk did not answer in time", action=name)))

    # --- logging in ---

    async def log_in(self, username: str, secret: str, event_mask: str, plain: bool = False) -> None:
        """Log in; MD5 challenge unless ``plain``.

        Args:
            event_mask: event classes, such as ``system,call,agi``, or ``on`` or ``off``.

        Raises:
            LoginRefused: Asterisk refused user or secret.
            ManagerError: the connection failed meanwhile.
        """
        if self.banner is None:
            self._greeted = Deferred()
            await self._greeted
        try:
            if plain:
                proof = [("Secret", secret)]
            else:
                challenge = await self.action("Challenge", [("AuthType", "MD5")])
                digest = hashlib.md5(encode(challenge.get("Challenge") + secret), usedforsecurity=False)
                proof = [("AuthType", "MD5"), ("Key", digest.hexdigest())]
            await self.action("Login", [("Username", username), *proof, ("Events", event_mask)])
        except ActionFailed as error:
            raise LoginRefused(
                sentence("Asterisk refuses the login of {user}: {why}", user=ascii(username), why=error)
            ) from None
        self.logged_in = True
        self._watchdog.may_ask = True
