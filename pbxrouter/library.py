"""The library for scripts: FastAGI and AMI without the gateway, its rules or its database.

``serve`` answers FastAGI calls, ``run`` works over AMI; each is a program's last line. Asterisk's
address and the account come from the environment, so that no secret is in a program or in the list
of processes. See examples/.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString

from pbxrouter.agi import AGIRequest, Channel, DialogueWatch, verbs
from pbxrouter.ami import ACTION_TIMEOUT_S, AMIFactory, AMIMessage, AMIProtocol, EventHandler, Headers
from pbxrouter.errors import AGIError, ChannelHungUp, ManagerError, ManagerUnavailable, PbxrouterError
from pbxrouter.fastagi import FastAGIFactory
from pbxrouter.rules import Pattern
from pbxrouter.text import printable

__all__ = [
    "AGIError",
    "AGIRequest",
    "AMIMessage",
    "Channel",
    "ChannelHungUp",
    "ManagerError",
    "Pattern",
    "PbxrouterError",
    "Session",
    "connect",
    "printable",
    "run",
    "serve",
    "verbs",
]

LISTEN: Final = "tcp:4573:interface=127.0.0.1"
AMI: Final = "tcp:127.0.0.1:5038"

Handler = Callable[[Channel], Coroutine[Deferred[Any], Any, object]]
"""Serves one call; the connection is closed when it returns."""


def serve(handler: Handler, listen: str | None = None) -> NoReturn:
    """Answer FastAGI calls until the program is stopped; does not return.

    Args:
        handler: serves each call. A hang-up ends it silently; other exceptions are printed.
        listen: a server endpoint; by default $AGI_LISTEN, or port 4573 on loopback.
    """
    _react(_serve, handler, listen or os.environ.get("AGI_LISTEN", LISTEN))


async def _serve(reactor: Any, handler: Handler, listen: str) -> None:
    async def until_hung_up(channel: Channel) -> None:
        try:
            await handler(channel)
        except ChannelHungUp:
            pass
        except AGIError as error:
            print(f"call {printable(channel.request.uniqueid)}: {error}", file=sys.stderr)

    factory = FastAGIFactory(until_hung_up, reactor, DialogueWatch())
    reactor.addSystemEventTrigger("before", "shutdown", factory.drain)
    await serverFromString(reactor, listen).listen(factory)
    print(f"waiting for calls at {listen}", flush=True)
    await Deferred()


class Session:
    """An AMI connection that is logged in.

    Attributes:
        banner: Asterisk's first line.
        lost: fires when the connection is gone.
    """

    def __init__(self, protocol: AMIProtocol, handlers: dict[bytes, list[EventHandler]]) -> None:
        self._protocol = protocol
        self._handlers = handlers
        self.banner = protocol.banner or ""
        self.lost = protocol.lost

    def action(self, name: str, headers: Headers = (), timeout_s: float = ACTION_TIMEOUT_S) -> Deferred[AMIMessage]:
        """Send an action; fires with its response. Fails as AMIProtocol.action does."""
        return self._protocol.action(name, headers, timeout_s)

    def listing(
        self, name: str, headers: Headers = (), timeout_s: float = ACTION_TIMEOUT_S
    ) -> Deferred[list[AMIMessage]]:
        """Send an action that is answered by a list; fires with its items."""
        return self._protocol.action_list(name, headers, timeout_s)

    def subscribe(self, event: str, handler: EventHandler) -> None:
        """Subscribe to the events of a name, or to all (``*``)."""
        self._handlers.setdefault(event.encode("ascii"), []).append(handler)

    async def leave(self) -> None:
        """Log off; Asterisk closes the connection."""
        with contextlib.suppress(ManagerError):  # it may have closed already
            await self.action("Logoff")
        self._protocol.close()


async def connect(
    reactor: Any,
    ami: str | None = None,
    username: str | None = None,
    secret: str | None = None,
    events: str = "on",
) -> Session:
    """Connect to AMI and log in.

    Args:
        ami: a client endpoint, such as ``tcp:127.0.0.1:5038`` or ``tls:pbx.example.org:5039``; by
            default $AMI. The account is $AMI_USERNAME and $AMI_SECRET.
        events: the event classes to receive, such as ``call,agi``, or ``on`` or ``off``.

    Raises:
        LoginRefused: Asterisk refused user or secret.
        ManagerUnavailable: there is no connection.
    """
    ami = ami or os.environ.get("AMI", AMI)
    handlers: dict[bytes, list[EventHandler]] = {}
    try:
        protocol: Any = await clientFromString(reactor, ami).connect(AMIFactory(reactor, handlers))
    except Exception as error:
        raise ManagerUnavailable(f"no connection to {ami}: {printable(str(error))}") from None
    try:
        await protocol.log_in(
            username or os.environ.get("AMI_USERNAME", "pbxrouter"),
            secret if secret is not None else os.environ.get("AMI_SECRET", ""),
            events,
        )
    except ManagerError:
        protocol.close()
        raise
    return Session(protocol, handlers)


def run(program: Callable[[Session], Coroutine[Deferred[Any], Any, object]], events: str = "on") -> NoReturn:
    """Connect to AMI, log in, run the program, log off; does not return.

    The process ends with status 0, or with one line on standard error and status 1 if the
    program fails with a PbxrouterError.

    Args:
        program: called with the session; to run until the connection is lost it awaits ``session.lost``.
        events: as connect.
    """
    _react(_run, program, events)


async def _run(reactor: Any, program: Callable[[Session], Coroutine[Any, Any, object]], events: str) -> None:
    session = await connect(reactor, events=events)
    try:
        await program(session)
    finally:
        await session.leave()


def _react(main: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> NoReturn:
    async def one_line(reactor: Any) -> None:
        try:
            await main(reactor, *arguments)
        except (PbxrouterError, OSError, ValueError) as error:
            raise SystemExit(str(error)) from None

    task.react(one_line)
