"""Puts the web server together: console, API, metrics, and what guards them all."""

from __future__ import annotations

from pbxrouter.metrics import registry_of
from pbxrouter.web.address import base_url, check_url
from pbxrouter.web.api.dispatch import api_routes
from pbxrouter.web.api.everything import ENDPOINTS
from pbxrouter.web.console.app import console_routes
from pbxrouter.web.desk import Desk
from pbxrouter.web.guard import Guarded, Visitors
from pbxrouter.web.metrics import metrics_route
from pbxrouter.web.server import PasswordThreads, WebServer
from pbxrouter.web.site import WebService, resource


def build_web(desk: Desk) -> WebServer:
    """All that ``[web]`` asks for.

    Raises:
        ConfigError: it cannot be used.
    """
    config = desk.config.web
    listen = config.listen or ""
    check_url(config.url)
    visitors = Visitors(config)
    threads = PasswordThreads(desk.reactor)
    parts = [
        metrics_route(registry_of(desk.counters)),
        api_routes(desk, ENDPOINTS, visitors.address),
        console_routes(desk, visitors, threads),
    ]
    site = WebService(listen, Guarded(resource(parts), visitors), desk.reactor)
    return WebServer(desk, threads, site, base_url(config.url, listen))
