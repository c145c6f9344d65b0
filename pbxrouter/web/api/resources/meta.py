"""``GET /api/openapi.json``: the API described for programs, from the declarations themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from pbxrouter.web.api.endpoint import ApiRequest, Endpoint
from pbxrouter.web.api.openapi import document


def with_document(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """The endpoints, and one more that tells of them all."""

    async def get_document(request: ApiRequest) -> bytes:
        return written

    all_of_them = (
        Endpoint(
            "GET",
            "/api/openapi.json",
            "About",
            "This document",
            get_document,
            None,
            answer=Document,
        ),
        *endpoints,
    )
    written = msgspec.json.encode(document(all_of_them))
    return all_of_them


class Document(msgspec.Struct):
    """An OpenAPI document."""

    openapi: str
    info: dict[str, str]
    paths: dict[str, dict[str, Any]]
