"""Serves the style sheets and scripts, at addresses that change with their content."""

from __future__ import annotations

from typing import Any

from klein import Klein


def add_statics(app: Klein, statics: Any) -> None:
    """Add the route of static files, cacheable without a limit since their address changes with their content."""

    @app.route("/static/<mark>/<name>", methods=["GET", "HEAD"])
    def static(request: Any, mark: str, name: str) -> bytes:
        found = statics.content(name)
        if found is None:
            request.setResponseCode(404)
            request.setHeader("Content-Type", "text/plain; charset=utf-8")
            return b"404: there is no such file\n"
        data, content_type = found
        current = statics.address(name).split("/")[2] == mark
        request.setHeader("Content-Type", content_type)
        request.setHeader("Cache-Control", f"public, max-age={31_536_000 if current else 60}, immutable")
        return bytes(data)
