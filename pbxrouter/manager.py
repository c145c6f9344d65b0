"""AMI: one connection to Asterisk's manager interface, logged in.

Many actions may be in flight; each is answered by its ActionID, which begins with
letters that nobody can guess, so that neither an event nor a forged line is taken for
an answer. Events go to those who asked for them by name; the others are not even
read. A peer that says nothing for too long is asked (Ping), and given up.

Source: facts B1 to B3. Not here: staying connected (manager_service), bytes (ami).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbxrouter.ami import Message, MessageReader, format_action
from pbxrouter.errors import (
    ActionFailed,
    ActionTimeout,
    LoginRefused,
    ManagerError,
    ManagerProtocolError,
    ManagerUnavailable,
)

ACTION_TIMEOUT_S: Final = 10.0
"""How long an answer may take."""
BANNER_TIMEOUT_S: Final = 5.0
"""A connect may succeed during a restart and no banner ever come (facts B1)."""
PING_AFTER_S: Final = 8.0
"""Silence after which the peer is asked whether it lives."""
DEAD_AFTER_S: Final = 20.0
"""Silence after which it is given up."""

EventHandler = Callable[[Message], None]
Headers = Iterable[tuple[str, str]]


@dataclass(slots=True)
class _Pending:
    name: str
    answer: Deferred[Any]
    timer: IDelayedCall
    items: list[Message] | None = None
    """The items of a list so far; None if the action is answered by one response."""
    listing: bool = field(default=False)
    """Whether the list has begun."""


class ManagerProtocol(Protocol):
    """One connection.

    Args:
        clock: for time-outs.
        handlers: who wants which event; looked up at each event, so it may change.

    Attributes:
        banner: Asterisk's first line, such as ``Asterisk Call Manager/11.0.0``.
        logged_in: whether actions are accepted.
        lost: fires when the connection is gone.
    """

    log = Logger()
    transport: ITCPTransport

    def __init__(self, clock: IReactorTime, handlers: dict[bytes, list[EventHandler]]) -> None:
        self._clock = clock
        self._handlers = handlers
        self._reader = MessageReader()
        self._pending: dict[str, _Pending] = {}
        self._id_prefix = secrets.token_hex(6)
        self._id_bytes = self._id_prefix.encode("ascii")
        self._sent = 0
        self._connected = False
        self._heard = 0.0
        self._watchdog: IDelayedCall | None = None
        self._greeted: Deferred[str] = Deferred()
        self.banner: str | None = None
        self.logged_in = False
        self.lost: Deferred[None] = Deferred()

    # --- the connection ---

    def connectionMade(self) -> None:
        """Connected; the banner should come at once."""
        self._connected = True
        self._heard = self._clock.seconds()
        self._watchdog = self._clock.callLater(BANNER_TIMEOUT_S, self._no_banner)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Every action in flight fails."""
        self._connected = self.logged_in = False
        if self._watchdog is not None and self._watchdog.active():
            self._watchdog.cancel()
        error = ManagerUnavailable(f"the connection to Asterisk was lost: {reason.getErrorMessage()}")
        if self.banner is None:
            self._greeted.errback(error)
        pending, self._pending = self._pending, {}
        for each in pending.values():
            each.timer.cancel()
            each.answer.errback(error)
        self.lost.callback(None)

    def close(self) -> None:
        """Give the connection up at once."""
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Bytes, cut anywhere."""
        self._heard = self._clock.seconds()
        try:
            messages = self._reader.feed(data)
        except ManagerProtocolError as error:
            self.log.error("AMI: {error}; the connection is given up", error=str(error))
            self.close()
            return
        if self.banner is None and self._reader.banner is not None:
            self.banner = self._reader.banner
            self._greeted.callback(self.banner)
        handlers = self._handlers
        for message in messages:
            raw = message.raw
            if raw.startswith(b"Event: "):
                wanted = handlers.get(raw[7 : raw.find(b"\r", 7)] if b"\r" in raw else raw[7:])
                if wanted or self._pending:
                    self._event_received(message, wanted or ())
            else:
                self._response_received(message)

    # --- what comes ---

    def _event_received(self, message: Message, wanted: Iterable[EventHandler]) -> None:
        if self._pending and self._id_bytes in message.raw:
            pending = self._pending.get(message.action_id)
            if pending is not None and pending.listing and pending.items is not None:
                if message.get("EventList").lower() == "complete":
                    self._answered(message.action_id).answer.callback(pending.items)
                else:
                    pending.items.append(message)
                return
        for handler in tuple(wanted):
            try:
                handler(message)
            except Exception:
                self.log.failure("AMI: whoever wants {name} failed on it", name=message.name)

    def _response_received(self, message: Message) -> None:
        pending = self._pending.get(message.action_id) if message.kind == "Response" else None
        if pending is None:
            self.log.debug("AMI: {message} answers nothing of ours", message=repr(message))
        elif not message.is_success:
            said = message.get("Message") or message.name
            self._answered(message.action_id).answer.errback(ActionFailed(f"{pending.name}: {said}"))
        elif pending.items is None:
            self._answered(message.action_id).answer.callback(message)
        elif message.get("EventList").lower() == "start":
            pending.listing = True
        else:
            self._answered(message.action_id).answer.callback([])

    def _answered(self, action_id: str) -> _Pending:
        pending = self._pending.pop(action_id)
        if pending.timer.active():
            pending.timer.cancel()
        return pending

    # --- what goes ---

    def action(
        self, name: str, headers: Headers = (), timeout_s: float = ACTION_TIMEOUT_S
    ) -> Deferred[Message]:
        """Send an action; fires with its response.

        The Deferred fails with InvalidAction (nothing was sent), ActionFailed (Asterisk's own
        message), ActionTimeout, or ManagerUnavailable.
        """
        return self._send(name, headers, timeout_s, None)

    def listing(
        self, name: str, headers: Headers = (), timeout_s: float = ACTION_TIMEOUT_S
    ) -> Deferred[list[Message]]:
        """Send an action that a list answers; fires with its items. Fails as ``action`` does."""
        return self._send(name, headers, timeout_s, [])

    def new_action_id(self) -> str:
        """An ActionID that nobody else has or guesses."""
        self._sent += 1
        return f"{self._id_prefix}-{self._sent}"

    def _send(
        self, name: str, headers: Headers, timeout_s: float, items: list[Message] | None
    ) -> Deferred[Any]:
        if not self._connected:
            return fail(ManagerUnavailable("there is no connection to Asterisk"))
        action_id = self.new_action_id()
        try:
            data = format_action(name, headers, action_id)
        except ManagerError as error:
            return fail(error)
        answer: Deferred[Any] = Deferred(lambda _: self._forget(action_id))
        timer = self._clock.callLater(timeout_s, self._timed_out, action_id)
        self._pending[action_id] = _Pending(name, answer, timer, items)
        self.transport.write(data)
        return answer

    def _forget(self, action_id: str) -> None:
        if action_id in self._pending:
            self._answered(action_id)

    def _timed_out(self, action_id: str) -> None:
        pending = self._answered(action_id)
        pending.answer.errback(ActionTimeout(f"{pending.name}: Asterisk did not answer in time"))

    # --- logging in ---

    async def log_in(self, username: str, secret: str, event_mask: str, plain: bool = False) -> None:
        """Log in; MD5 challenge unless ``plain``.

        Args:
            event_mask: event classes, such as ``system,call,agi``, or ``on`` or ``off``.

        Raises:
            LoginRefused: Asterisk does not accept user and secret.
            ManagerError: the connection failed meanwhile.
        """
        await self._greeted
        try:
            if plain:
                proof = [("Secret", secret)]
            else:
                challenge = await self.action("Challenge", [("AuthType", "MD5")])
                digest = hashlib.md5((challenge.get("Challenge") + secret).encode(), usedforsecurity=False)
                proof = [("AuthType", "MD5"), ("Key", digest.hexdigest())]
            await self.action("Login", [("Username", username), *proof, ("Events", event_mask)])
        except ActionFailed as error:
            raise LoginRefused(f"Asterisk refuses the login of {username!a}: {error}") from None
        self.logged_in = True

    # --- silence ---

    def _no_banner(self) -> None:
        if self.banner is None:
            self.log.warn(
                "AMI: no banner came in {seconds} s; the connection is given up", seconds=BANNER_TIMEOUT_S
            )
            self.close()
        else:
            self._look_for_life()

    def _look_for_life(self) -> None:
        silent_s = self._clock.seconds() - self._heard
        if silent_s >= DEAD_AFTER_S:
            self.log.warn(
                "AMI: Asterisk has been silent for {seconds:.0f} s; the connection is given up",
                seconds=silent_s,
            )
            self.close()
            return
        if silent_s >= PING_AFTER_S and self.logged_in:
            self.action("Ping", timeout_s=DEAD_AFTER_S).addErrback(lambda _: None)
        self._watchdog = self._clock.callLater(PING_AFTER_S / 2, self._look_for_life)
