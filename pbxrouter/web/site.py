"""The one web server of the gateway: a klein application, and the port it is served at.

Importing klein imports Twisted's global reactor, so this is imported only once there is
one. Not here: any route (the other modules of this package).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from klein import Klein
from twisted.application import strports
from twisted.application.service import IService, MultiService
from twisted.internet.error import CannotListenError
from twisted.web.http import Request
from twisted.web.resource import IResource
from twisted.web.server import Site

from pbxrouter.errors import ConfigError

AddRoutes = Callable[[Klein], None]
"""A part of the site: adds its routes to the application."""


def resource(parts: Iterable[AddRoutes]) -> IResource:
    """All parts as one tree of pages."""
    app = Klein()
    for add_routes in parts:
        add_routes(app)
    return app.resource()


class _Site(Site):
    """Without a line in the log for each request: Prometheus alone makes thousands a day."""

    noisy = False

    def log(self, request: Request) -> None:
        """See twisted.web.http.HTTPFactory."""


class WebService(MultiService):
    """Serves the pages.

    Args:
        description: a server endpoint string.

    Raises:
        ConfigError: it is no endpoint.
    """

    def __init__(self, description: str, pages: IResource, reactor: Any) -> None:
        super().__init__()
        self._description = description
        site = _Site(pages)
        try:
            listener: IService = strports.service(description, site, reactor=reactor)
        except Exception as error:
            raise ConfigError(
                f"web.listen: {description!r} is no endpoint ({error}); accepted is for example "
                "tcp:8080:interface=127.0.0.1"
            ) from None
        listener.setServiceParent(self)

    def privilegedStartService(self) -> None:
        """Open the port.

        Raises:
            ConfigError: it cannot be opened.
        """
        try:
            super().privilegedStartService()
        except (CannotListenError, OSError) as error:
            why = getattr(error, "socketError", error)
            raise ConfigError(f"web.listen: cannot listen at {self._description}: {why}") from None
