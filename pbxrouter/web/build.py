"""Builds the web server: console, API, metrics, and the checks before all of them."""

from __future__ import annotations

from pbxrouter.config import gateway_id
from pbxrouter.web.api.dispatch import api_routes
from pbxrouter.web.api.resources.endpoints import ENDPOINTS
from pbxrouter.web.console.app import console_routes
from pbxrouter.web.console.templates import compile_templates
from pbxrouter.web.context import WebContext
from pbxrouter.web.http.guard import Guarded, Visitors
from pbxrouter.web.http.public_url import base_url, check_url
from pbxrouter.web.http.site import WebService, resource
from pbxrouter.web.metrics import metrics_route, registry_of
from pbxrouter.web.password_threads import PasswordThreads
from pbxrouter.web.server import WebServer


def build_web(web: WebContext) -> WebServer:
    """Build the web server that ``[web]`` configures.

    Raises:
        ConfigError: a setting of ``[web]`` cannot be used.
    """
    config = web.config.web
    listen = config.listen or ""
    check_url(config.url)
    compile_templates()  # before there are calls
    visitors = Visitors(config)
    threads = PasswordThreads(web.reactor)
    parts = [
        metrics_route(
            registry_of(
                web.counters,
                lambda: web.health().fastagi.refused,
                web.pin_guard.statistics,
                web.refused_calls,
                lambda: service.site.refused,
                web.examined,
                lambda: web.health().queues,
                lambda: {asterisk.name: asterisk.standing_by for asterisk in web.health().asterisks},
                lambda: web.engine.rules,
                gateway_id(web.config),
            ),
            web.reactor,
        ),
        api_routes(web, ENDPOINTS, visitors.address),
        console_routes(web, visitors, threads),
    ]
    service = WebService(listen, Guarded(resource(parts), visitors), web.reactor)
    return WebServer(web, threads, service, base_url(config.url, listen), visitors=visitors)
