"""The one web server of the gateway: a klein application, and the port it is served at.

Importing klein imports Twisted's global reactor, so this is imported only once there is
one.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from typing import Any, Final

from klein import Klein
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from twisted.web.server import Request as TwistedRequest
from twisted.web.server import Site

from pbxrouter.net import Listener, raise_file_limit
from pbxrouter.security import network_of

AddRoutes = Callable[[Klein], None]
"""A part of the site: adds its routes to the application."""


def resource(parts: Iterable[AddRoutes]) -> IResource:
    """All parts as one tree of pages."""
    app = Klein()
    for add_routes in parts:
        add_routes(app)
    return app.resource()


MAX_BODY: Final = 8192
"""Bytes of a request's body that most routes read."""
MAX_FORM: Final = 65_536
"""Bytes of the largest form; one more is kept of each body, to tell what is too long."""
CUT_OFF: Final = 1 << 20
"""Bytes after which we stop listening to a body at all."""
WHOLE_REQUEST_S: Final = 30.0
"""How long a request may take to come, from its first byte to its last; and a connection to begin one."""
MAX_CONNECTIONS: Final = 4096
FILES_FOR_CALLS: Final = 512
"""Open files that browsers never get."""


def connections_for(files: int) -> int:
    """How many connections browsers may have where the process may open so many files."""
    return max(16, min(MAX_CONNECTIONS, files - FILES_FOR_CALLS, files // 2))


def header(request: IRequest, name: str) -> str:
    """A request's header, ``""`` if it has none; any byte may stand in it."""
    found = request.requestHeaders.getRawHeaders(name.encode("ascii"), [b""])
    return str(found[0].decode("latin-1")) if found else ""


def set_cookie(request: IRequest, name: str, value: str, path: str = "/", max_age_s: int | None = None) -> None:
    """Have the browser keep a value (RFC 6265): not for scripts, other sites or plain connections.

    Args:
        value: of letters, digits, ``-`` and ``_``.
        max_age_s: how long; None until the browser is closed, 0 removes it.
    """
    age = "" if max_age_s is None else f"; Max-Age={max_age_s}"
    text = f"{name}={value}; Path={path}{age}; Secure; HttpOnly; SameSite=Lax"
    request.responseHeaders.addRawHeader(b"Set-Cookie", text.encode("ascii"))


class BoundedRequest(TwistedRequest):
    """A request of whose body no more is kept than any route reads.

    Twisted would read a form by itself before any route is asked, multipart ones in quadratic time:
    it is not told what the body is.
    """

    _received = 0
    _content_types: Sequence[bytes] | None = None

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """It is here, whole."""
        self._content_types = self.requestHeaders.getRawHeaders(b"content-type")
        self.requestHeaders.removeHeader(b"content-type")
        super().requestReceived(command, path, version)

    def process(self) -> None:
        """Let the routes answer."""
        if self._content_types:
            self.requestHeaders.setRawHeaders(b"content-type", self._content_types)
        super().process()

    def gotLength(self, length: int | None) -> None:
        """The body is about to come: it never needs a file on the disk."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Some of the body."""
        assert self.content is not None  # gotLength made it
        room = max(0, MAX_FORM + 1 - self._received)
        self._received += len(data)
        self.content.write(data[:room])
        if self._received > CUT_OFF:
            self.channel.loseConnection()


class BoundedChannel(HTTPChannel):
    """A connection whose requests come within a time, however they trickle."""

    gone: Callable[[], None] | None = None
    """Told when the connection ends."""
    _deadline: Any = None

    def connectionMade(self) -> None:
        """A browser is there."""
        super().connectionMade()
        self._expect()

    def _expect(self) -> None:
        self._cancel()
        self._deadline = self.callLater(WHOLE_REQUEST_S, self._too_slow)

    def _cancel(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()

    def _too_slow(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()

    def allContentReceived(self) -> None:
        """The request is there, whole; its answer may take as long as it takes."""
        self._cancel()
        super().allContentReceived()

    def requestDone(self, request: Request) -> None:
        """The next one may come."""
        self._expect()
        super().requestDone(request)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It ended."""
        self._cancel()
        super().connectionLost(reason)
        gone, self.gone = self.gone, None
        if gone is not None:
            gone()


class BoundedSite(Site):
    """Without a line in the log for each request: Prometheus alone makes thousands a day.

    Args:
        most: connections at a time; further ones are closed, so that files are left for calls. From
            one network there may be half as many.
    """

    noisy = False
    requestFactory = BoundedRequest
    protocol = BoundedChannel  # type: ignore[assignment]  # HTTP/1.1 is all that we speak

    def __init__(self, pages: IResource, most: int = MAX_CONNECTIONS) -> None:
        super().__init__(pages)
        self._most = most
        self._open = 0
        self._by_network: Counter[str] = Counter()

    def buildProtocol(self, addr: Any) -> Any:
        """A connection; None closes it."""
        network = network_of(str(getattr(addr, "host", "unix")))
        if self._open >= self._most or self._by_network[network] >= max(1, self._most // 2):
            return None
        channel = super().buildProtocol(addr)
        self._open += 1
        self._by_network[network] += 1
        channel.gone = functools.partial(self._gone, network)
        return channel

    def _gone(self, network: str) -> None:
        self._open -= 1
        self._by_network[network] -= 1
        if not self._by_network[network]:
            del self._by_network[network]

    def log(self, request: Request) -> None:
        """See twisted.web.http.HTTPFactory."""


class WebService(Listener):
    """Serves the pages.

    Args:
        description: a server endpoint string.

    Raises:
        ConfigError: it is no endpoint.
    """

    def __init__(self, description: str, pages: IResource, reactor: Any) -> None:
        site = BoundedSite(pages, connections_for(raise_file_limit()))
        super().__init__("web.listen", description, "tcp:8080:interface=127.0.0.1", site, reactor)
