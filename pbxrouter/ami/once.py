"""One connection to AMI for a program that ends: connect, log in, or say why not.

It tries once, and does not come back when the connection is lost; whoever runs for
long has a Manager (ami.connection).
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import ConnectingCancelledError

from pbxrouter.ami.account import Account
from pbxrouter.ami.connection import AMIFactory
from pbxrouter.ami.protocol import AMIProtocol, EventHandler
from pbxrouter.errors import ConfigError, ManagerUnavailable
from pbxrouter.text import printable, sentence

PATIENCE_S: Final = 10.0
"""How long connecting and logging in may take together."""


async def connect_once(
    description: str,
    account: Account,
    reactor: Any,
    handlers: dict[bytes, list[EventHandler]],
    event_mask: str,
) -> AMIProtocol:
    """A connection that is logged in.

    Args:
        description: a client endpoint string.
        account: how to log in.
        handlers: who wants which event; ``*`` is every one.
        event_mask: event classes to receive, or ``on`` or ``off``.

    Raises:
        ConfigError: the description is no client endpoint.
        ManagerUnavailable: nobody answers there, or not in time.
        LoginRefused: Asterisk does not accept user and secret.
        ManagerError: what answers is no Asterisk.
    """
    try:
        endpoint = clientFromString(reactor, description)
    except Exception as error:  # each kind of endpoint has its own, OpenSSL's among them
        raise ConfigError(
            sentence(
                "asterisk.ami: {endpoint} is no client endpoint ({why}); "
                "accepted is for example tcp:127.0.0.1:5038 or tls:pbx.example.org:5039",
                endpoint=repr(printable(description)),
                why=repr(error),
            )
        ) from None
    made: list[AMIProtocol] = []

    async def attempt() -> None:
        try:
            protocol: Any = await endpoint.connect(AMIFactory(reactor, handlers))
        except ConnectingCancelledError:
            raise CancelledError from None
        except Exception as error:  # each kind of endpoint has its own
            raise ManagerUnavailable(
                sentence(
                    "nobody answers at {endpoint}: {why}",
                    endpoint=description,
                    why=printable(str(error)).rstrip("."),
                )
            ) from None
        made.append(protocol)
        await protocol.log_in(account.username, account.secret(), event_mask, account.plain)

    try:
        await Deferred.fromCoroutine(attempt()).addTimeout(PATIENCE_S, reactor)
    except BaseException as error:
        for protocol in made:
            protocol.close()
        if isinstance(error, TimeoutError):
            raise ManagerUnavailable(
                sentence(
                    "{endpoint} did not answer within {count} s",
                    endpoint=description,
                    count=f"{PATIENCE_S:.0f}",
                )
            ) from None
        raise
    return made[0]
