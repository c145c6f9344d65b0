"""The web server: console, API and metrics on ``[web] listen``.

A part is a module with a function that adds its routes to the klein application; ``build`` lists the
parts, ``http.site`` serves them. Handlers are thin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbxrouter.lazy import lazy_names

if TYPE_CHECKING:
    from pbxrouter.web.build import build_web
    from pbxrouter.web.context import WebContext
    from pbxrouter.web.http.public_url import base_url, setup_url
    from pbxrouter.web.server import WebServer

__all__ = [
    "WebContext",
    "WebServer",
    "base_url",
    "build_web",
    "setup_url",
]

__getattr__ = lazy_names(
    __name__,
    {
        "build_web": "build",
        "WebContext": "context",
        "base_url": "http.public_url",
        "setup_url": "http.public_url",
        "WebServer": "server",
    },
)
