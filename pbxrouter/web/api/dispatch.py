"""Dispatches requests to ``/api/``: finds the endpoint, authenticates, parses, calls it, and responds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import msgspec
from klein import Klein
from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.web.iweb import IRequest

from pbxrouter.errors import EditConflict, EditRefused, ExportRefused, NotThere, StoreError
from pbxrouter.web.api.endpoint import JSON, ApiError, ApiRequest, Created, Endpoint, StreamedText
from pbxrouter.web.api.parsing import read_body, read_numbers, read_query
from pbxrouter.web.api.token_auth import LIMITS, UNAVAILABLE, TokenAuth
from pbxrouter.web.context import WebContext
from pbxrouter.web.http.site import AddRoutes
from pbxrouter.web.http.streaming import send_pieces


class EndpointTable:
    """The endpoints by path and method."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._paths: dict[tuple[str, ...], dict[str, Endpoint]] = {}
        for endpoint in endpoints:
            methods = self._paths.setdefault(endpoint.segments, {})
            assert endpoint.method not in methods, f"{endpoint.method} {endpoint.path} is there twice"
            methods[endpoint.method] = endpoint
        # /api/calls/figures comes before /api/calls/{call_id}.
        self._in_order = sorted(self._paths, key=lambda path: [part.startswith("{") for part in path])

    def find(self, path: str, method: str) -> tuple[Endpoint, dict[str, str]]:
        """Find the endpoint, and the values in its path.

        Raises:
            ApiError: there is no such path, or it does not allow the method.
        """
        parts = path.removeprefix("/").split("/")
        for template in self._in_order:
            found = _match(template, parts)
            if found is None:
                continue
            methods = self._paths[template]
            endpoint = methods.get("GET" if method == "HEAD" else method)
            if endpoint is None:
                allowed = ", ".join([*methods, *(["HEAD"] if "GET" in methods else [])])
                raise ApiError(405, f"accepted here are {allowed}", headers={"Allow": allowed})
            return endpoint, found
        raise ApiError(404, "there is no such endpoint; /api/openapi.json lists all")


def _match(template: tuple[str, ...], parts: list[str]) -> dict[str, str] | None:
    if len(template) != len(parts):
        return None
    found = {}
    for wanted, part in zip(template, parts, strict=True):
        if wanted.startswith("{"):
            found[wanted[1:-1]] = unquote(part, errors="replace")
        elif wanted != part:
            return None
    return found


class Api:
    """Dispatches API requests to their endpoints."""

    log = Logger()

    def __init__(self, web: WebContext, auth: TokenAuth, endpoints: Iterable[Endpoint]) -> None:
        self._web = web
        self._auth = auth
        self._table = EndpointTable(endpoints)

    async def answer(self, request: IRequest) -> bytes:
        """Handle a request: sets status and headers and returns the body. Never fails."""
        request.setHeader("Cache-Control", "no-store")
        try:
            return await self._success(request)
        except ApiError as refused:
            found = refused
        except NotThere as error:
            found = ApiError(404, str(error), error.field)
        except EditConflict as error:
            found = ApiError(409, str(error), error.field)
        except EditRefused as error:
            found = ApiError(422, str(error), error.field)
        except StoreError as error:
            # The file and its error are for the log, not for the client.
            self.log.warn("API: cannot answer: {error}", error=str(error))
            found = ApiError(503, UNAVAILABLE)
        except ExportRefused as error:
            found = ApiError(503, str(error))
        except CancelledError:
            raise  # the client has disconnected
        except Exception:
            self.log.failure("API: unhandled error at {method} {path}", method=request.method, path=request.path)
            found = ApiError(500, "internal error; see the gateway's log")
        return _refuse(request, found)

    async def _success(self, request: IRequest) -> bytes:
        path = request.path.decode("latin-1")
        endpoint, found = self._table.find(path, request.method.decode("latin-1"))
        token = await self._auth.admit(endpoint, request)
        numbers = read_numbers(endpoint, found)
        query = read_query(endpoint, request)
        body = read_body(endpoint, request)
        within = functools.partial(self._auth.within, key=f"token {token.token_id}" if token else "open")
        response = await endpoint.handler(ApiRequest(self._web, token, numbers, query, body, within))
        request.setResponseCode(endpoint.status)
        if isinstance(response, Created):
            request.setHeader("Location", response.location)
            response = response.value
        if response is None:
            return b""
        request.setHeader("Content-Type", endpoint.media)
        if isinstance(response, StreamedText):
            request.setHeader("Content-Disposition", f'attachment; filename="{response.name}"')
            if request.method == b"HEAD":
                await response.text.aclose()
            else:
                await send_pieces(request, response.text)
            return b""
        return _encode(request, response)


def _encode(request: IRequest, response: Any) -> bytes:
    # ends with a line end, for a client in a terminal
    body = (response if isinstance(response, bytes) else msgspec.json.encode(response)) + b"\n"
    request.setHeader("Content-Length", str(len(body)))
    return body


def _refuse(request: IRequest, refused: ApiError) -> bytes:
    request.setResponseCode(refused.status, HTTPStatus(refused.status).phrase.encode("ascii"))
    request.setHeader("Content-Type", JSON)
    for name, value in refused.headers.items():
        request.setHeader(name, value)
    return _encode(request, refused.refusal)


def api_routes(
    web: WebContext,
    endpoints: Iterable[Endpoint],
    address: Callable[[IRequest], str],
    limits: Mapping[str, tuple[float, int]] = LIMITS,
) -> AddRoutes:
    """Make the API's part of the site.

    Args:
        address: returns the address of a request.
        limits: rate limits, as token_auth.LIMITS.
    """
    api = Api(web, TokenAuth(web, address, limits), endpoints)

    def add_routes(app: Klein) -> None:
        # One route for all: what is not there, or not that way, is answered as JSON, too.
        @app.route("/api/", branch=True, strict_slashes=False, merge_slashes=False)
        async def api_all(request: IRequest) -> bytes:
            return await api.answer(request)

    return add_routes
