"""What an endpoint of the API is: a declaration, of which the answering and the document are made."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from pbxrouter.database.audit import Actor
from pbxrouter.security import Scope, TokenInfo
from pbxrouter.web.context import WebContext
from pbxrouter.web.http.site import MAX_BODY

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
CSV: Final = "text/csv; charset=utf-8"
MAX_ID: Final = 2**63 - 1

Id = Annotated[int, Meta(ge=1, le=MAX_ID)]
"""The number of a thing."""
Seconds = Annotated[float, Meta(ge=0, le=253402300799, description="Seconds since 1970, UTC.")]
"""A moment, up to the year 9999."""


class ErrorBody(msgspec.Struct, frozen=True):
    """What every answer says that is not a success: one line for a person, and the field it is about."""

    error: str
    field: str = ""


class ApiError(Exception):
    """An answer that is no success.

    Attributes:
        status: of HTTP.
        refusal: what is said.
        headers: further ones.
    """

    def __init__(self, status: int, why: str, field: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.refusal = ErrorBody(why, field)
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request, read and let in.

    Attributes:
        token: whose it is; None where none is needed.
        path: the numbers in the path, by name.
        query: what stands behind ``?``, of the type that the endpoint declares.
        body: of the type that the endpoint declares.
        within: counts the request under one more of the rate limits; raises Refused.
    """

    web: WebContext
    token: TokenInfo | None
    path: Mapping[str, int]
    query: Any
    body: Any
    within: Callable[[str], None]

    @property
    def actor(self) -> Actor:
        """Who asks, for the audit log."""
        assert self.token is not None  # only endpoints with a scope ask
        return Actor(self.token.name, "api")

    def may(self, scope: Scope) -> bool:
        """Whether the token is good for something beyond the endpoint's own scope."""
        return self.token is not None and scope in self.token.scopes


@dataclass(frozen=True, slots=True)
class Created:
    """The answer to what made something: where it is now, and what it is."""

    location: str
    value: Any


@dataclass(frozen=True, slots=True)
class StreamedText:
    """A long text, of which the next piece is only made when the reader has taken the one before.

    Attributes:
        name: what a browser would save it as.
    """

    name: str
    text: AsyncGenerator[str, None]


Handler = Callable[[ApiRequest], Awaitable[Any]]
"""Returns what is answered: the declared Struct, Made, Pieces, or None where there is nothing to say.

It may raise EditRefused and its kinds, StoreError, and Refused with a declared status.
"""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One thing that programs can ask for.

    Attributes:
        method: GET (HEAD comes with it), POST, PUT, PATCH or DELETE.
        path: such as ``/api/mappings/{map_id}``; what is in braces is a number.
        tag: the heading that it stands under in the document.
        summary: one sentence.
        scope: what the token must be good for; None needs no token.
        query: fields of the query, each of one simple type.
        body: of the request.
        answer: of the response; None is 204 without a body.
        status: of a success.
        errors: statuses that only the handler knows of; those that the declaration makes
            possible need not be named.
        example: a body.
        shows: an answer.
        forms: a form is taken as well as JSON.
        media: what the answer is, if not JSON.
        longest: bytes that its body may have.
        limit: which of the dispatcher's rate limits counts it.
        note: more for the document.
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
        """What it is called, also in the document."""
        return getattr(self.handler, "__name__", self.summary).strip("_")

    @property
    def segments(self) -> tuple[str, ...]:
        """The path in parts."""
        return tuple(self.path.strip("/").split("/"))

    @property
    def numbers(self) -> tuple[str, ...]:
        """The names in braces."""
        return tuple(part[1:-1] for part in self.segments if part.startswith("{"))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The content types that its body may have."""
        return (JSON, FORM) if self.forms else (JSON,)

    @property
    def refusals(self) -> frozenset[int]:
        """All statuses that it may answer and that are no success."""
        # Whatever is asked, the query may hold what is not accepted, and there may be too much of it.
        found = {400, 429} | self.errors
        if self.scope is not None:
            found |= {401, 403, 503}
        if self.numbers:
            found.add(404)
        if self.body is not None:
            found |= {413, 415}
        return frozenset(found)
