"""The stand-in's AMI: messages are dictionaries, and each that bears an action's ActionID answers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ReconnectingClientFactory
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure


class AMIProtocol(LineOnlyReceiver):
    """One connection.

    Attributes:
        VERSION_PREFIX: how the banner begins.
        amiVersion: the rest of the banner.
        actionIDCallbacks: who is called with each message that bears an ActionID.
        count: how many ActionIDs were made.
    """

    VERSION_PREFIX = "Asterisk Call Manager"
    factory: Any
    transport: Any
    amiVersion: str | None = None
    count = 0

    def __init__(self, *args: Any, **named: Any) -> None:
        self.actionIDCallbacks: dict[str, Callable[[Any], Any]] = {}
        self.__lines: list[str] = []
        self.__handlers: dict[str | None, list[Callable[[Any, dict[str, str]], Any]]] = {}

    def connectionMade(self) -> None:
        """Log in as the factory says; its loginDefer tells how that went."""
        self.factory.resetDelay()
        attempt = self.login() if self.factory.plaintext_login else self.loginChallengeResponse()
        attempt.addCallbacks(lambda _: self.factory.loginDefer.callback(self), self.__login_failed)

    def __login_failed(self, failure: Failure) -> None:
        self.transport.loseConnection()
        self.factory.loginDefer.errback(failure)

    def login(self) -> Deferred[Any]:
        """Log in with the secret in the clear."""
        secret = self.factory.secret
        return self.sendDeferred({"action": "login", "username": self.factory.username, "secret": secret})

    def loginChallengeResponse(self) -> Deferred[Any]:
        """Ask for a challenge; the digest is not made here, and StarPy's fails on Python 3."""
        return self.sendDeferred({"action": "Challenge", "authtype": "MD5"})

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Call each sender in flight with an exception; raises where one of them unregisters itself."""
        for tell in self.actionIDCallbacks.values():
            tell(ConnectionDone())
        self.actionIDCallbacks.clear()
        self.__handlers.clear()

    def registerEvent(self, event: str | None, function: Callable[[Any, dict[str, str]], Any]) -> None:
        """Call a function with this protocol and each event of that name; None: with every event."""
        self.__handlers.setdefault(event, []).append(function)

    def lineReceived(self, line: bytes) -> None:
        """Keep a line until its message is whole; a byte that is not UTF-8 raises."""
        text = line.decode("utf-8").strip()
        if text:
            self.__lines.append(text)
        else:
            self.dispatchIncoming()

    def dispatchIncoming(self) -> None:
        """Read the message that is whole now; of a header that stands twice, the last one counts.

        Where a function that is called here raises, StarPy is silent; the stand-in lets tests see it.
        """
        lines, self.__lines = self.__lines, []
        message: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if line.startswith(self.VERSION_PREFIX):
                self.amiVersion = line.removeprefix(f"{self.VERSION_PREFIX}/")
            elif colon:
                message[name.strip().lower()] = value.strip()
        tell = self.actionIDCallbacks.get(message.get("actionid", ""))
        if tell is not None:
            tell(message)
        if "event" in message:
            self.dispatchEvent(message)

    def dispatchEvent(self, event: dict[str, str]) -> None:
        """Call the functions registered for its name, then those for every event."""
        for name in (event["event"], None):
            for function in self.__handlers.get(name, ()):
                function(self, event)

    def sendMessage(self, message: Any, responseCallback: Callable[[Any], Any] | None = None) -> Any:
        """Send an action, a dictionary or a list of headers; returns its ActionID, made where it has none."""
        headers = [(name.lower(), value) for name, value in (message.items() if isinstance(message, dict) else message)]
        action_id = next((value for name, value in headers if name == "actionid"), None)
        if action_id is None:
            self.count += 1
            action_id = f"stand-in-{self.count}"
            headers.append(("actionid", action_id))
        if responseCallback is not None:
            self.actionIDCallbacks[action_id] = responseCallback
        for name, value in headers:
            self.sendLine(f"{name}: {value}".encode())
        self.sendLine(b"")
        return action_id

    def sendDeferred(self, message: Any) -> Deferred[Any]:
        """Send an action; fires with the first message that bears its ActionID, even if that is an event."""
        answer: Deferred[Any] = Deferred()
        action_id = self.sendMessage(message, answer.callback)

        def forget(result: Any) -> Any:
            self.actionIDCallbacks.pop(action_id, None)
            return result

        return answer.addBoth(forget)


class AMIFactory(ReconnectingClientFactory):
    """Makes connections that log in.

    Attributes:
        loginDefer: fires with the protocol when it is logged in.
    """

    protocol = AMIProtocol
    loginDefer: Deferred[Any]

    def __init__(
        self,
        username: str,
        secret: str,
        id: str | None = None,
        plaintext_login: bool = True,
        on_reconnect: Callable[[Any], Any] | None = None,
    ) -> None:
        self.username = username
        self.secret = secret
        self.plaintext_login = plaintext_login
