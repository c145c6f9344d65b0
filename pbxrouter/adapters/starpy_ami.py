"""The gateway's AMI connection on StarPy 1.1.1: its AMIProtocol with our AMIProtocol's interface.

StarPy frames, parses, sends and dispatches. Mended here, because the gateway could not
run on it otherwise: its MD5 login (which fails on Python 3), the loss of a connection
with actions in flight, bytes that are not UTF-8, repeated headers, and responses that
a caller could forge. docs/starpy.md lists the remaining differences and their tests.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starpy import error, manager
from twisted.internet import defer
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbxrouter.ami import ACTION_TIMEOUT_S, MAX_MESSAGE, PING_AFTER_S, AMIMessage, EventHandler, Headers, format_action
from pbxrouter.errors import (
    ActionFailed,
    ActionTimeout,
    InvalidAction,
    LoginRefused,
    ManagerError,
    ManagerUnavailable,
)
from pbxrouter.net import keep_alive


@dataclass(slots=True)
class _Pending:
    name: str
    answer: Deferred[Any]
    timer: IDelayedCall
    items: list[AMIMessage] | None
    listing: bool = False


class StarpyAMIProtocol(manager.AMIProtocol):  # type: ignore[misc]
    """One AMI connection, with the interface of ami.AMIProtocol."""

    MAX_LENGTH = MAX_MESSAGE
    log = Logger()

    def __init__(self, clock: IReactorTime, handlers: dict[bytes, list[EventHandler]]) -> None:
        super().__init__()
        self._clock = clock
        self._handlers = handlers
        self._lines: list[bytes] = []
        self._message = AMIMessage(b"")
        self._pending: dict[str, _Pending] = {}
        self._id_prefix = secrets.token_hex(6)
        self._mask = "on"
        self._alive = LoopingCall(self._ping)
        self._alive.clock = clock
        self.lost: Deferred[None] = Deferred()

    @property
    def banner(self) -> str:
        """The first line that Asterisk sent on this connection, as StarPy keeps it."""
        return f"{self.VERSION_PREFIX}/{self.amiVersion}"

    def close(self) -> None:
        """Close the connection at once."""
        self.transport.abortConnection()

    def connectionMade(self) -> None:
        """Wait for ``log_in``; StarPy's own method would log in now."""
        keep_alive(self.transport)
        self.registerEvent(None, self._event)

    def connectionLost(self, reason: Failure) -> None:
        """Fail every action in flight."""
        if self._alive.running:
            self._alive.stop()
        # StarPy walks this dictionary while its own callbacks take from it.
        waiting = dict(self.actionIDCallbacks)
        self.actionIDCallbacks.clear()
        for tell in waiting.values():
            tell(reason.value)
        super().connectionLost(reason)
        lost = ManagerUnavailable(f"the connection to Asterisk was lost: {reason.getErrorMessage()}")
        for action_id in tuple(self._pending):
            self._settled(action_id).answer.errback(lost)
        self.lost.callback(None)

    # --- logging in ---

    async def log_in(self, username: str, secret: str, event_mask: str, plain: bool = False) -> None:
        """Log in by StarPy's own methods, which its connectionMade starts."""
        factory = self.factory
        factory.username, factory.secret, factory.plaintext_login = username, secret, plain
        self._mask = event_mask
        logged_in = factory.loginDefer = Deferred()
        logged_in.addTimeout(ACTION_TIMEOUT_S, self._clock)
        super().connectionMade()
        try:
            await logged_in
        except error.AMICommandFailure as refused:
            message_text = refused.args[0].get("message", "no reason given")
            raise LoginRefused(f"Asterisk refuses the login of {username!a}: Login: {message_text}") from None
        except defer.TimeoutError:
            raise ManagerUnavailable("Asterisk did not answer the login in time") from None
        self._alive.start(PING_AFTER_S, now=False)

    def login(self) -> Deferred[Any]:
        """Send the login with the secret in clear."""
        return self._login({"secret": self.factory.secret})

    def loginChallengeResponse(self) -> Deferred[Any]:
        """Send the login with an MD5 digest; StarPy's own method hashes text, which Python 3 refuses."""

        def answer(challenge: dict[str, str]) -> Deferred[Any]:
            text = challenge.get("challenge", "") + self.factory.secret
            digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
            return self._login({"authtype": "MD5", "key": digest})

        asked = self.sendDeferred({"action": "Challenge", "authtype": "MD5"})
        return asked.addCallback(_demand_success).addCallback(answer)  # type: ignore[no-any-return]

    def _login(self, proof: dict[str, str]) -> Deferred[Any]:
        message = {"action": "Login", "username": self.factory.username, **proof, "events": self._mask}
        return self.sendDeferred(message).addCallback(_demand_success)  # type: ignore[no-any-return]

    # --- from Asterisk ---

    def lineReceived(self, line: bytes) -> None:
        """Keep the raw line, and pass StarPy one that it can decode."""
        if line:
            self._lines.append(line)
        super().lineReceived(line.decode("utf-8", "replace").encode())

    def dispatchIncoming(self) -> None:
        """Dispatch a complete message; the callbacks find all of it in ``_message``."""
        lines, self._lines = self._lines, []
        if lines and lines[0].startswith(self.VERSION_PREFIX.encode()):
            del lines[0]
        self._message = AMIMessage(b"\r\n".join(lines))
        super().dispatchIncoming()

    def _event(self, _: Any, event: dict[str, str]) -> None:
        message = self._message
        if message.kind != "Event" or message.action_id in self._pending:
            return
        name = message.name.encode("utf-8", "surrogateescape")
        for handler in (*self._handlers.get(name, ()), *self._handlers.get(b"*", ())):
            try:
                handler(message)
            except Exception:
                self.log.failure("AMI: a handler for the event {name} raised", name=message.name)

    def _answer_received(self, action_id: str) -> None:
        """Take a message that StarPy has for this ActionID: a response, or an item of a list."""
        message, pending = self._message, self._pending.get(action_id)
        if pending is None or message.action_id != action_id:
            return
        if message.kind == "Event":
            if pending.items is None or not pending.listing:
                return
            if message.get("EventList").lower() == "complete":
                self._settled(action_id).answer.callback(pending.items)
            else:
                pending.items.append(message)
        elif not message.is_success:
            message_text = message.get("Message") or message.name
            self._settled(action_id).answer.errback(ActionFailed(f"{pending.name}: {message_text}"))
        elif pending.items is None:
            self._settled(action_id).answer.callback(message)
        elif message.get("EventList").lower() == "start":
            pending.listing = True
        else:
            self._settled(action_id).answer.callback([])

    def _settled(self, action_id: str) -> _Pending:
        self.actionIDCallbacks.pop(action_id, None)
        pending = self._pending.pop(action_id)
        if pending.timer.active():
            pending.timer.cancel()
        return pending

    # --- to Asterisk ---

    def action(  # the interface of ami.AMIProtocol, not of StarPy's method of this name
        self, name: str, headers: Headers = (), timeout_s: float = ACTION_TIMEOUT_S
    ) -> Deferred[AMIMessage]:
        """Send an action; fires with its response."""
        return self._send(name, list(headers), timeout_s, None)

    def action_list(
        self, name: str, headers: Headers = (), timeout_s: float = ACTION_TIMEOUT_S
    ) -> Deferred[list[AMIMessage]]:
        """Send an action that is answered by a list; fires with its items."""
        return self._send(name, list(headers), timeout_s, [])

    def _send(
        self, name: str, headers: list[tuple[str, str]], timeout_s: float, items: list[AMIMessage] | None
    ) -> Deferred[Any]:
        if self.lost.called:
            return fail(ManagerUnavailable("there is no connection to Asterisk"))
        self.count += 1
        action_id = f"{self._id_prefix}-{self.count}"
        try:
            format_action(name, headers, action_id).decode("utf-8")
        except UnicodeDecodeError:
            return fail(InvalidAction(f"StarPy sends no bytes that are not UTF-8, as in this {name}"))
        except ManagerError as refused:
            return fail(refused)
        answer: Deferred[Any] = Deferred(lambda _: self._forget(action_id))
        timer = self._clock.callLater(timeout_s, self._timed_out, action_id)
        self._pending[action_id] = _Pending(name, answer, timer, items)
        lines = [["Action", name], ["ActionID", action_id], *([header, value] for header, value in headers)]
        self.sendMessage(lines, lambda _: self._answer_received(action_id))
        return answer

    def _forget(self, action_id: str) -> None:
        if action_id in self._pending:
            self._settled(action_id)

    def _timed_out(self, action_id: str) -> None:
        pending = self._settled(action_id)
        pending.answer.errback(ActionTimeout(f"{pending.name}: Asterisk did not answer in time"))

    def _ping(self) -> None:
        self.action("Ping").addErrback(self._no_pong)

    def _no_pong(self, failure: Failure) -> None:
        if failure.check(ActionTimeout):
            self.close()


def _demand_success(message: Any) -> Any:
    """Return a successful response; raise for a refusal, or for what StarPy passes when the connection is lost."""
    if not isinstance(message, dict):
        raise ManagerUnavailable("the connection to Asterisk was lost during the login")
    if message.get("response") != "Success":
        raise error.AMICommandFailure(message)
    return message


class StarpyAMIFactory(manager.AMIFactory):  # type: ignore[misc]
    """StarPy's factory, for an AMIConnection."""

    noisy = False

    def __init__(self, clock: IReactorTime, handlers: dict[bytes, list[EventHandler]]) -> None:
        super().__init__("", "")
        self._make: Callable[[], StarpyAMIProtocol] = lambda: StarpyAMIProtocol(clock, handlers)

    def buildProtocol(self, addr: IAddress | None) -> StarpyAMIProtocol:
        """Make the protocol of a new connection."""
        protocol = self._make()
        protocol.factory = self
        return protocol
