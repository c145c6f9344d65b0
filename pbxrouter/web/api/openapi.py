"""Generates the OpenAPI 3.1 document from the endpoints' declarations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from pbxrouter import __version__
from pbxrouter.security import Scope
from pbxrouter.web.api.endpoint import JSON, MAX_ID, Endpoint, ErrorBody

_SCHEMAS: Final = "#/components/schemas/{name}"
_WHEN: Final = {
    400: "Something in the request is not as described here; `field` names it.",
    401: "No valid token.",
    403: "The token is not for that, or it is not allowed; `error` says why.",
    404: "It is not there, or not any more.",
    409: "It cannot be done beside what is there, such as a second one of the same name.",
    413: "The body is longer than {longest} bytes.",
    415: "The body is of another kind.",
    422: "It is well-formed, but cannot be what is wanted; `error` says why, `field` names it.",
    429: "Too many requests of this token or from this address.",
    502: "Asterisk refused it.",
    503: "Service Currently Unavailable: the database, or Asterisk, cannot be reached, or too many exports "
    "are under way.",
}
_HEADERS: Final[dict[int, dict[str, Any]]] = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}},
    429: {
        "Retry-After": {
            "required": True,
            "description": "Seconds.",
            "schema": {"type": "integer", "minimum": 1},
        }
    },
}
_DESCRIPTION: Final = """\
Call routing rules, calls, and click-to-dial. Programs send `Authorization: Bearer TOKEN`; tokens are
made with `pbxrouter token create NAME --scope SCOPE`, or in the console.
Times are seconds since 1970, UTC."""


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Generate the OpenAPI document from the declarations of endpoints."""
    structs = _structs(endpoints)
    references, components = msgspec.json.schema_components(structs, ref_template=_SCHEMAS)
    schemas = dict(zip(structs, references, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(
            endpoint, endpoints, schemas, components
        )
    queries = {endpoint.query.__name__ for endpoint in endpoints if endpoint.query is not None}
    return {
        "openapi": "3.1.0",
        "info": {"title": "pbxrouter", "version": __version__, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(endpoint.tag for endpoint in endpoints)],
        "paths": paths,
        "components": {
            # Of what stands in a query each field is a parameter.
            "schemas": {name: schema for name, schema in components.items() if name not in queries},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Good for: " + "; ".join(f"`{scope.value}`: {_meaning(scope)}" for scope in Scope),
                }
            },
        },
    }


def _meaning(scope: Scope) -> str:
    return {
        Scope.READ: "sees calls, rules and health, tests numbers",
        Scope.RULES: "changes rules and PINs, reads and takes back changes",
        Scope.DIAL: "has phones called",
        Scope.ADMIN: "manages console users, tokens and click-to-dial links, and runs the doctor",
    }[scope]


def _structs(endpoints: Iterable[Endpoint]) -> list[type[msgspec.Struct]]:
    found: dict[type[msgspec.Struct], None] = {ErrorBody: None}
    for endpoint in endpoints:
        found.update(
            (struct, None) for struct in (endpoint.query, endpoint.body, endpoint.answer) if struct is not None
        )
    return list(found)


def _operation(
    endpoint: Endpoint,
    endpoints: Sequence[Endpoint],
    schemas: dict[type[msgspec.Struct], dict[str, Any]],
    components: dict[str, Any],
) -> dict[str, Any]:
    description = endpoint.note
    if endpoint.scope is not None:
        description = f"Needs a token with the scope `{endpoint.scope.value}`. {description}".strip()
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "description": description,
        "security": [] if endpoint.scope is None else [{"token": [endpoint.scope.value]}],
    }
    parameters = [*_path_parameters(endpoint), *_query_parameters(endpoint, components)]
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        content: dict[str, Any] = {"schema": schemas[endpoint.body]}
        if endpoint.example is not None:
            content["example"] = msgspec.to_builtins(endpoint.example)
        operation["requestBody"] = {
            "required": True,
            "content": dict.fromkeys(endpoint.kinds, content),
        }
    operation["responses"] = {
        str(endpoint.status): _success(endpoint, endpoints, schemas),
        **{str(status): _refusal(status, endpoint, schemas) for status in sorted(endpoint.refusals)},
    }
    return operation


def _path_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "integer", "minimum": 1, "maximum": MAX_ID},
        }
        for name in endpoint.numbers
    ]


def _query_parameters(endpoint: Endpoint, components: dict[str, Any]) -> list[dict[str, Any]]:
    if endpoint.query is None:
        return []
    whole = components[endpoint.query.__name__]
    found = []
    for name, described in whole["properties"].items():
        schema = _without_null(described)
        parameter: dict[str, Any] = {"name": name, "in": "query", "required": name in whole["required"]}
        if "description" in schema:
            parameter["description"] = schema.pop("description")
        found.append({**parameter, "schema": schema})
    return found


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Remove null from the type of a query field, which is left out instead."""
    plain = dict(schema)
    if plain.get("default", "") is None:
        del plain["default"]
    others = [choice for choice in plain.pop("anyOf", ()) if choice != {"type": "null"}]
    if others:
        plain.update(others[0])
    if None in plain.get("enum", ()):
        plain["enum"] = [choice for choice in plain["enum"] if choice is not None]
    return plain


def _success(
    endpoint: Endpoint,
    endpoints: Sequence[Endpoint],
    schemas: dict[type[msgspec.Struct], dict[str, Any]],
) -> dict[str, Any]:
    response: dict[str, Any] = {"description": HTTPStatus(endpoint.status).phrase}
    if endpoint.answer is not None:
        content: dict[str, Any] = {"schema": schemas[endpoint.answer]}
        if endpoint.shows is not None:
            content["example"] = msgspec.to_builtins(endpoint.shows)
        response["content"] = {endpoint.media: content}
    elif endpoint.media != JSON:
        response["content"] = {endpoint.media: {"schema": {"type": "string"}}}
    if endpoint.status == HTTPStatus.CREATED:
        response["headers"] = {
            "Location": {
                "required": True,
                "description": "Where it is now.",
                "schema": {"type": "string", "format": "uri-reference"},
            }
        }
        links = _links(endpoint, endpoints)
        if links:
            response["links"] = links
    return response


def _links(endpoint: Endpoint, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """OpenAPI links from a creation to the endpoints that take the new id."""
    assert endpoint.answer is not None  # who makes something says what
    fields = {field.encode_name for field in msgspec.structs.fields(endpoint.answer)}
    return {
        endpoint.name: {"operationId": endpoint.name, "parameters": {name: f"$response.body#/{name}"}}
        for endpoint in endpoints
        for name in endpoint.numbers
        if name in fields
    }


def _refusal(status: int, endpoint: Endpoint, schemas: dict[type[msgspec.Struct], dict[str, Any]]) -> dict[str, Any]:
    when = _WHEN[status].format(longest=endpoint.longest)
    response: dict[str, Any] = {"description": when, "content": {JSON: {"schema": schemas[ErrorBody]}}}
    if status in _HEADERS:
        response["headers"] = _HEADERS[status]
    return response
