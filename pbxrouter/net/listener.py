"""A listening port as a service, whose errors name the setting that it comes from."""

from __future__ import annotations

from typing import Any, Final

from twisted.application import strports
from twisted.application.service import IService, MultiService
from twisted.internet.error import CannotListenError

from pbxrouter.errors import ConfigError

BACKLOG: Final = 4096
"""Connections that the kernel queues; with Twisted's 50 a burst of calls waits a second (SYN retry)."""


def with_backlog(description: str) -> str:
    """Return an endpoint description; a TCP endpoint without a backlog gets BACKLOG."""
    if description.startswith("tcp:") and ":backlog=" not in description:
        return f"{description}:backlog={BACKLOG}"
    return description


class Listener(MultiService):
    """Listens at a server endpoint.

    Args:
        key: the setting that names the endpoint, for messages.
        description: the endpoint string.
        example: an endpoint string that is accepted.

    Raises:
        ConfigError: the description is no endpoint.
    """

    def __init__(self, key: str, description: str, example: str, factory: Any, reactor: Any) -> None:
        super().__init__()
        self._key = key
        self._description = description
        try:
            port: IService = strports.service(with_backlog(description), factory, reactor=reactor)
        except Exception as error:
            raise ConfigError(
                f"{key}: {description!r} is no endpoint ({error}); accepted is for example {example}"
            ) from None
        port.setServiceParent(self)

    def privilegedStartService(self) -> None:
        """Open the port.

        Raises:
            ConfigError: the port cannot be opened.
        """
        try:
            super().privilegedStartService()
        except (CannotListenError, OSError) as error:
            why = getattr(error, "socketError", error)
            raise ConfigError(f"{self._key}: cannot listen at {self._description}: {why}") from None
