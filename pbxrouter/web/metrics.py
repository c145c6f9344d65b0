"""``/metrics``, for Prometheus. Not here: what is in it (pbxrouter.metrics)."""

from __future__ import annotations

from klein import Klein
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from twisted.web.iweb import IRequest

from pbxrouter.web.site import AddRoutes, header


def metrics_route(registry: CollectorRegistry) -> AddRoutes:
    """The page with a registry's metrics, in the format that the reader prefers."""

    def add_routes(app: Klein) -> None:
        @app.route("/metrics", methods=["GET", "HEAD"])
        def metrics(request: IRequest) -> bytes:
            encode, content_type = choose_encoder(header(request, "Accept"))
            request.setHeader("Content-Type", content_type)
            return encode(registry)

    return add_routes
