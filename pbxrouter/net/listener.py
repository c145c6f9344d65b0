"""A listening port as a service, whose errors name the setting that it comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.application import strports
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IOpenSSLContextFactory
from zope.interface import implementer

from pbxrouter.errors import ConfigError
from pbxrouter.text import sentence

BACKLOG: Final = 4096
"""Connections that the kernel queues; with Twisted's 50 a burst of calls waits a second (SYN retry)."""


def with_backlog(description: str) -> str:
    """Return an endpoint description; a TCP endpoint without a backlog gets BACKLOG."""
    if description.startswith("tcp:") and ":backlog=" not in description:
        return f"{description}:backlog={BACKLOG}"
    return description


@implementer(IOpenSSLContextFactory)
class _Context:
    """The TLS context of an ``ssl:`` endpoint, which may be replaced while it listens."""

    def __init__(self, factory: Any) -> None:
        self._factory = factory

    @classmethod
    def within(cls, endpoint: Any) -> _Context | None:
        """Put one into an endpoint; None if it has no context of its own. Twisted has no public way to it."""
        factory = getattr(endpoint, "_sslContextFactory", None)
        if factory is None:
            return None
        endpoint._sslContextFactory = context = cls(factory)
        return context

    def use(self, factory: Any) -> None:
        """Use another context for new connections."""
        self._factory = factory

    def getContext(self) -> Any:
        """The context of a connection; see twisted.internet.interfaces.IOpenSSLContextFactory."""
        return self._factory.getContext()


def _why(error: Exception) -> str:
    """An error of OpenSSL or the system, in one line."""
    told = error.args[0] if error.args else None
    if isinstance(told, list) and told:  # OpenSSL's: a list of (library, function, reason)
        return ", ".join(str(entry[-1]) for entry in told)
    return str(error) or type(error).__name__


class _Told:
    """An endpoint that tells of its port.

    Args:
        told: called with the port when it listens.
    """

    def __init__(self, endpoint: Any, told: Callable[[Any], object]) -> None:
        self._endpoint = endpoint
        self._told = told

    def listen(self, factory: Any) -> Deferred[Any]:
        """Listen; see twisted.internet.interfaces.IStreamServerEndpoint."""
        listening: Deferred[Any] = self._endpoint.listen(factory)
        return listening.addCallback(self._listens)

    def _listens(self, port: Any) -> Any:
        self._told(port)
        return port


class Listener(MultiService):
    """Listens at a server endpoint.

    Args:
        key: the setting that names the endpoint, for messages.
        description: the endpoint string.
        example: an endpoint string that is accepted.
        told: called with the port when it listens.

    Raises:
        ConfigError: the description is no endpoint.
    """

    def __init__(
        self,
        key: str,
        description: str,
        example: str,
        factory: Any,
        reactor: Any,
        told: Callable[[Any], object] = lambda port: None,
    ) -> None:
        super().__init__()
        self._key = key
        self._description = description
        self._reactor = reactor
        try:
            port: Any = strports.service(with_backlog(description), factory, reactor=reactor)
        except Exception as error:
            raise ConfigError(
                f"{key}: {description!r} is no endpoint ({error}); accepted is for example {example}"
            ) from None
        port.setServiceParent(self)
        self._context = _Context.within(port.endpoint)
        port.endpoint = _Told(port.endpoint, told)

    def prepare_certificates(self) -> Callable[[], None] | None:
        """Load the certificate and key of an ``ssl:`` endpoint again; None if the endpoint has none.

        A ``tls:`` endpoint looks at its folder by itself.

        Returns:
            A function that uses them for the connections that come from now on.

        Raises:
            ConfigError: they cannot be used.
        """
        context = self._context
        if context is None:
            return None
        try:
            loaded = serverFromString(self._reactor, self._description)
            factory = loaded._sslContextFactory
            factory.getContext()
        except Exception as error:  # OpenSSL's, OSError and others
            raise ConfigError(
                sentence("{key}: the certificate cannot be loaded again: {why}", key=self._key, why=_why(error))
            ) from None
        return lambda: context.use(factory)

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
