"""``GET /api/openapi.json``: the OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from pbxrouter.web.api.endpoint import ApiRequest, Endpoint
from pbxrouter.web.api.openapi import document


def with_document(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """Add the endpoint that returns the OpenAPI document of all endpoints."""

    async def get_document(request: ApiRequest) -> bytes:
        return written

    all_of_them = (
        Endpoint(
            "GET",
            "/api/openapi.json",
            "About",
            "Get the OpenAPI document",
            get_document,
            None,
            answer=Document,
        ),
        *endpoints,
    )
    written = msgspec.json.encode(document(all_of_them))
    return all_of_them


class Document(msgspec.Struct):
    """The OpenAPI document of this API."""

    openapi: str
    info: dict[str, str]
    paths: dict[str, dict[str, Any]]
