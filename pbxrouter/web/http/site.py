"""The HTTP server: a klein application and its port.

Importing klein imports Twisted's global reactor, so this module is imported only after the reactor
has been installed.
"""

from __future__ import annotations

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

from pbxrouter.net import (
    LIMIT_REASONS,
    MAX_WEB_CONNECTIONS,
    Bounds,
    ConnectionLimits,
    ConnectionSlot,
    Listener,
    raise_file_limit,
    web_connections,
)
from pbxrouter.security import network_of

AddRoutes = Callable[[Klein], None]
"""A part of the site: a function that adds its routes to the application."""


def resource(parts: Iterable[AddRoutes]) -> IResource:
    """Make one resource of all parts."""
    app = Klein()
    for add_routes in parts:
        add_routes(app)
    return app.resource()


MAX_BODY: Final = 8192
"""Maximum bytes of a request body for most routes."""
MAX_FORM: Final = 65_536
"""Maximum bytes of a form; one more is kept of each body, to recognise longer ones."""
CUT_OFF: Final = 1 << 20
"""Bytes of a body after which the connection is closed."""
WHOLE_REQUEST_S: Final = 30.0
"""Seconds in which a request must arrive completely, and in which a connection must begin one."""


def bounds_for(most: int) -> Bounds:
    """Half of the connections may be of one network; of those without a complete request, an eighth."""
    half = max(1, most // 2)
    return Bounds(most, half, half, min(half, max(8, most // 8)))


def header(request: IRequest, name: str) -> str:
    """A request header, ``""`` if it is missing; it may contain any byte."""
    found = request.requestHeaders.getRawHeaders(name.encode("ascii"), [b""])
    return str(found[0].decode("latin-1")) if found else ""


def set_cookie(request: IRequest, name: str, value: str, path: str = "/", max_age_s: int | None = None) -> None:
    """Set a cookie (RFC 6265) that is HttpOnly, SameSite and Secure.

    Args:
        value: letters, digits, ``-`` and ``_``.
        max_age_s: lifetime; None until the browser is closed, 0 removes it.
    """
    age = "" if max_age_s is None else f"; Max-Age={max_age_s}"
    text = f"{name}={value}; Path={path}{age}; Secure; HttpOnly; SameSite=Lax"
    request.responseHeaders.addRawHeader(b"Set-Cookie", text.encode("ascii"))


class BoundedRequest(TwistedRequest):
    """A request whose body is bounded.

    Twisted would parse forms before any route is called, multipart ones in quadratic time, so it is not
    told the content type.
    """

    channel: BoundedChannel
    _received = 0
    _content_types: Sequence[bytes] | None = None

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Process the complete request."""
        self._content_types = self.requestHeaders.getRawHeaders(b"content-type")
        self.requestHeaders.removeHeader(b"content-type")
        super().requestReceived(command, path, version)

    def process(self) -> None:
        """Pass the request to the routes."""
        if self._content_types:
            self.requestHeaders.setRawHeaders(b"content-type", self._content_types)
        super().process()

    def gotLength(self, length: int | None) -> None:
        """Prepare for the body, which never needs a temporary file."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a chunk of the body, up to the bound."""
        assert self.content is not None  # gotLength made it
        room = max(0, MAX_FORM + 1 - self._received)
        was_too_long = self._received > CUT_OFF
        self._received += len(data)
        self.content.write(data[:room])
        if self._received > CUT_OFF and not was_too_long:
            self.channel.refuse(b"413 Content Too Large")


class BoundedChannel(HTTPChannel):
    """A connection whose requests must arrive within a time, however slowly they trickle."""

    slot: ConnectionSlot | None = None
    """Its count against the limits; without a complete request it may be closed to make room."""
    _deadline: Any = None

    def connectionMade(self) -> None:
        """Start the timeout of the first request."""
        super().connectionMade()
        self._expect()

    def _expect(self) -> None:
        self._cancel()
        self._deadline = self.callLater(WHOLE_REQUEST_S, self.abort)
        if self.slot is not None:
            self.slot.idle()

    def _cancel(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()

    def abort(self) -> None:
        """Close the connection at once: it is too slow, or must make room for another."""
        transport: Any = self.transport
        transport.abortConnection()

    def refuse(self, status: bytes) -> None:
        """Close the connection with an answer that says why; what the peer still sends is not read."""
        transport: Any = self.transport
        transport.write(
            b"HTTP/1.1 " + status + b"\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        self.loseConnection()

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line of a request that is too long."""
        self.refuse(b"431 Request Header Fields Too Large")

    def allContentReceived(self) -> None:
        """Stop the timeout: the request is complete."""
        self._cancel()
        if self.slot is not None:
            self.slot.busy()
        super().allContentReceived()

    def requestDone(self, request: Request) -> None:
        """Start the timeout of the next request."""
        if self.slot is not None:
            self.slot.prove()
        self._expect()
        super().requestDone(request)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Release the connection's slot."""
        self._cancel()
        super().connectionLost(reason)
        if self.slot is not None:
            self.slot.release()


class BoundedSite(Site):
    """A site with a bound on connections and without an access log.

    Args:
        most: maximum number of connections, so that open files are left for calls. One network may have
            half as many. Further ones are closed at once, or replace the one that has waited longest
            without a complete request.

    Attributes:
        refused: number of connections that were refused, or closed to make room, by reason.
    """

    noisy = False
    requestFactory = BoundedRequest
    protocol = BoundedChannel  # type: ignore[assignment]  # HTTP/1.1 is all that we speak

    def __init__(self, pages: IResource, most: int = MAX_WEB_CONNECTIONS) -> None:
        super().__init__(pages)
        self.refused: Counter[str] = Counter(dict.fromkeys(LIMIT_REASONS, 0))
        self._limits = ConnectionLimits(bounds_for(most), self._refuse)

    def buildProtocol(self, addr: Any) -> Any:
        """Accept a connection; None closes it."""
        slot = self._limits.acquire(network_of(str(getattr(addr, "host", "unix"))))
        if slot is None:
            return None
        channel = super().buildProtocol(addr)
        channel.slot = slot
        slot.close = channel.abort
        return channel

    def _refuse(self, reason: str, network: str) -> None:
        self.refused[reason] += 1

    def log(self, request: Request) -> None:
        """Write no access log: Twisted's would have links and their secrets in it."""


class WebService(Listener):
    """The port of the site.

    Args:
        description: a server endpoint string.

    Attributes:
        site: what is served there.

    Raises:
        ConfigError: it is not a server endpoint.
    """

    def __init__(self, description: str, pages: IResource, reactor: Any) -> None:
        self.site = BoundedSite(pages, web_connections(raise_file_limit()))
        super().__init__("web.listen", description, "tcp:8080:interface=127.0.0.1", self.site, reactor)
