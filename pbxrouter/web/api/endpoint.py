"""Declares an API endpoint. Dispatch and the OpenAPI document are both generated from the declaration."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from pbxrouter.database.audit import Actor
from pbxrouter.security import Scope, TokenInfo
from pbxrouter.web.context import WebContext
from pbxrouter.web.http.site import MAX_BODY
from pbxrouter.web.http.streaming import Pieces

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
CSV: Final = "text/csv; charset=utf-8"
MAX_ID: Final = 2**63 - 1

Id = Annotated[int, Meta(ge=1, le=MAX_ID)]
"""A row's id."""
Seconds = Annotated[float, Meta(ge=0, le=253402300799, description="Seconds since 1970, UTC.")]
"""Epoch seconds, up to the year 9999."""


class ErrorBody(msgspec.Struct, frozen=True):
    """The JSON body of every error response: a message for a person, and the field concerned."""

    error: str
    field: str = ""


class ApiError(Exception):
    """An error response.

    Attributes:
        status: the HTTP status.
        refusal: the body.
        headers: additional headers.
    """

    def __init__(self, status: int, why: str, field: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.refusal = ErrorBody(why, field)
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """An authenticated and parsed request.

    Attributes:
        token: its token; None if the endpoint needs none.
        path: the numbers in the path, by name.
        query: the query, of the type that the endpoint declares.
        body: of the type that the endpoint declares.
        within: counts the request against a further rate limit; raises ApiError.
    """

    web: WebContext
    token: TokenInfo | None
    path: Mapping[str, int]
    query: Any
    body: Any
    within: Callable[[str], None]

    @property
    def actor(self) -> Actor:
        """The actor for the audit log."""
        assert self.token is not None  # only endpoints with a scope ask
        return Actor(self.token.name, "api")

    def may(self, scope: Scope) -> bool:
        """Whether the token has a scope."""
        return self.token is not None and scope in self.token.scopes


@dataclass(frozen=True, slots=True)
class Created:
    """The response to a creation: the new resource and its location."""

    location: str
    value: Any


@dataclass(frozen=True, slots=True)
class StreamedText:
    """A streamed text response; the next piece is made when the client has taken the one before.

    Attributes:
        name: the file name for browsers.
    """

    name: str
    text: Pieces


Handler = Callable[[ApiRequest], Awaitable[Any]]
"""Returns the response: the declared Struct, Created, StreamedText, or None for an empty one.

It may raise EditRefused and its subclasses, StoreError, and ApiError with a declared status.
"""


def named(name: str, handler: Handler) -> Handler:
    """Give a handler that serves several endpoints an operation id of its own."""

    async def handle(request: ApiRequest) -> Any:
        return await handler(request)

    handle.__name__ = name
    return handle


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint of the API.

    Attributes:
        method: GET (HEAD comes with it), POST, PUT, PATCH or DELETE.
        path: such as ``/api/mappings/{map_id}``; placeholders are ids.
        tag: its heading in the document.
        summary: one sentence.
        scope: the scope that a token needs; None for no token.
        query: the Struct of the query; its fields have simple types.
        body: the Struct of the request body.
        answer: the Struct of the response; None for 204 without a body.
        status: the status of a success.
        errors: further error statuses of the handler; those implied by the declaration need not be named.
        example: an example body.
        shows: an example response.
        forms: whether a form is accepted as well as JSON.
        media: the response's media type, if not JSON.
        longest: maximum bytes of its body.
        limit: the kind of rate limit that counts it.
        note: further text for the document.
    """

    method: str
    path: str
    tag: str
    summary: str
    handler: Handler
    scope: Scope | None
    answer: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    status: int = 200
    errors: frozenset[int] = frozenset()
    example: msgspec.Struct | None = None
    shows: msgspec.Struct | None = None
    forms: bool = False
    media: str = JSON
    longest: int = MAX_BODY
    limit: str = "api"
    note: str = ""

    @property
    def name(self) -> str:
        """The operation id in the OpenAPI document: the handler's name."""
        return getattr(self.handler, "__name__", self.summary).strip("_")

    @property
    def segments(self) -> tuple[str, ...]:
        """The segments of its path."""
        return tuple(self.path.strip("/").split("/"))

    @property
    def numbers(self) -> tuple[str, ...]:
        """The names of the placeholders in its path."""
        return tuple(part[1:-1] for part in self.segments if part.startswith("{"))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The content types accepted for its body."""
        return (JSON, FORM) if self.forms else (JSON,)

    @property
    def refusals(self) -> frozenset[int]:
        """All error statuses of the endpoint."""
        # of every endpoint: the query may be invalid, and requests may exceed a rate limit
        found = {400, 429} | self.errors
        if self.scope is not None:
            found |= {401, 403, 503}
        if self.numbers:
            found.add(404)
        if self.body is not None:
            found |= {413, 415}
        return frozenset(found)
