"""A single AMI connection for a short-lived program: connect and log in, without reconnecting.

A long-running program uses AMIConnection.
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
"""Seconds that connecting and logging in may take together."""


async def connect_once(
    description: str,
    account: Account,
    reactor: Any,
    handlers: dict[bytes, list[EventHandler]],
    event_mask: str,
) -> AMIProtocol:
    """Connect and log in.

    Args:
        description: a client endpoint string.
        account: how to log in.
        handlers: event handlers by event name; ``*`` receives all events.
        event_mask: event classes to receive, or ``on`` or ``off``.

    Raises:
        ConfigError: the description is no client endpoint.
        ManagerUnavailable: no connection, or no answer in time.
        LoginRefused: Asterisk refused user or secret.
        ManagerError: the peer is not an Asterisk.
    """
    try:
        endpoint = clientFromString(reactor, description)
    except Exception as error:  # each kind of endpoint has its own, OpenSSL's among them
        raise ConfigError(
            sentence(
                "asterisk.ami: {endpoint} is not a client endpoint ({why}); accepted is for example "
                "tcp:127.0.0.1:5038 or tls:pbx.example.org:5039",
                endpoint=repr(description),
                why=repr(error),
            )
        ) from None
    protocols: list[AMIProtocol] = []

    async def attempt() -> None:
        try:
            protocol: Any = await endpoint.connect(AMIFactory(reactor, handlers))
        except ConnectingCancelledError:
            raise CancelledError from None
        except Exception as error:  # each kind of endpoint has its own
            raise ManagerUnavailable(
                sentence(
                    "no answer at {endpoint}: {why}",
                    endpoint=description,
                    why=printable(str(error)).rstrip("."),
                )
            ) from None
        protocols.append(protocol)
        await protocol.log_in(account.username, account.secret(), event_mask, account.plain)

    try:
        await Deferred.fromCoroutine(attempt()).addTimeout(PATIENCE_S, reactor)
    except BaseException as error:
        for protocol in protocols:
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
    return protocols[0]
