"""The one web server of the gateway: a klein application, and the port it is served at.

Importing klein imports Twisted's global reactor, so this is imported only once there is
one. Not here: any route (the other modules of this package).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any, Final

from klein import Klein
from twisted.web.http import Request
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from twisted.web.server import Request as TwistedRequest
from twisted.web.server import Site

from pbxrouter.listener import Listener

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


def header(request: IRequest, name: str) -> str:
    """A request's header, ``""`` if it has none; any byte may stand in it."""
    found = request.requestHeaders.getRawHeaders(name.encode("ascii"), [b""])
    return str(found[0].decode("latin-1")) if found else ""


def set_cookie(
    request: IRequest, name: str, value: str, path: str = "/", max_age_s: int | None = None
) -> None:
    """Have the browser keep a value (RFC 6265): not for scripts, other sites or plain connections.

    Args:
        value: of letters, digits, ``-`` and ``_``.
        max_age_s: how long; None until the browser is closed, 0 removes it.
    """
    age = "" if max_age_s is None else f"; Max-Age={max_age_s}"
    text = f"{name}={value}; Path={path}{age}; Secure; HttpOnly; SameSite=Lax"
    request.responseHeaders.addRawHeader(b"Set-Cookie", text.encode("ascii"))


class BoundedRequest(TwistedRequest):
    """A request of whose body no more is kept than any route reads."""

    _received = 0

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


class BoundedSite(Site):
    """Without a line in the log for each request: Prometheus alone makes thousands a day."""

    noisy = False
    requestFactory = BoundedRequest

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
        super().__init__(
            "web.listen", description, "tcp:8080:interface=127.0.0.1", BoundedSite(pages), reactor
        )
