"""API tokens: creating, listing, revoking."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from pbxrouter.database import Connection
from pbxrouter.database.access import MAX_TOKEN_NAME, add_token, list_tokens, revoke_token, token
from pbxrouter.security import Scope, TokenInfo, hash_token, new_token
from pbxrouter.web.api.endpoint import ApiError, ApiRequest, Created, Endpoint
from pbxrouter.web.api.items import item_of

TAG = "Administration"
PATH = "/api/tokens"


class Token(msgspec.Struct, frozen=True):
    """A token, without its secret."""

    token_id: int
    name: str
    scopes: list[Scope]
    created: Annotated[str, Meta(description="ISO 8601, UTC.")]
    last_used: Annotated[str, Meta(description="The same, to the minute.")] | None
    revoked: Annotated[str, Meta(description="The same; null if it is valid.")] | None


class Tokens(msgspec.Struct, frozen=True):
    """All tokens, revoked ones included, oldest first."""

    items: list[Token]


class NewToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token to create."""

    name: Annotated[str, Meta(min_length=1, max_length=MAX_TOKEN_NAME)]
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=20, description="What it may be used for.")]


class MadeToken(Token, frozen=True):
    """A created token with its secret."""

    token: Annotated[str, Meta(description="The token, which is shown only now.")]


def _shown(info: TokenInfo) -> Token:
    return item_of(Token, info, scopes=[scope for scope in Scope if scope in info.scopes])


async def list_all_tokens(api_request: ApiRequest) -> Tokens:
    """List tokens."""
    return Tokens([_shown(row) for row in await api_request.web.read(list_tokens)])


async def get_token(api_request: ApiRequest) -> Token:
    """Get a valid token."""
    found = await api_request.web.read(lambda connection: token(connection, api_request.path["token_id"]))
    if found.revoked is not None:
        raise ApiError(404, f"there is no valid token {found.token_id}")
    return _shown(found)


async def create_token(api_request: ApiRequest) -> Created:
    """Create a token."""
    wanted: NewToken = api_request.body
    made = new_token()

    def create(connection: Connection) -> TokenInfo:
        number = add_token(
            connection, api_request.actor, api_request.web.now(), wanted.name, hash_token(made), wanted.scopes
        )
        return token(connection, number)

    info = _shown(await api_request.web.write(create))
    return Created(f"{PATH}/{info.token_id}", MadeToken(**msgspec.structs.asdict(info), token=made))


async def delete_token(api_request: ApiRequest) -> None:
    """Revoke a token; its name and last use are kept."""
    if api_request.token is not None and api_request.token.token_id == api_request.path["token_id"]:
        raise ApiError(409, "a token does not revoke itself; another one can, or pbxrouter token revoke")
    await api_request.web.write(
        lambda connection: revoke_token(
            connection, api_request.actor, api_request.web.now(), api_request.path["token_id"]
        )
    )


_SHOWN = Token(4, "web shop", [Scope.DIAL], "2026-11-23T10:00:00Z", "2026-11-23T11:30:00Z", None)

ENDPOINTS = (
    Endpoint("GET", PATH, TAG, "List tokens", list_all_tokens, Scope.ADMIN, Tokens, shows=Tokens([_SHOWN])),
    Endpoint(
        "POST",
        PATH,
        TAG,
        "Create a token",
        create_token,
        Scope.ADMIN,
        MadeToken,
        body=NewToken,
        status=201,
        errors=frozenset({409, 422}),
        example=NewToken("web shop", [Scope.DIAL]),
        shows=MadeToken(4, "web shop", [Scope.DIAL], "2026-11-23T10:00:00Z", None, None, token="pbxr_…"),
    ),
    Endpoint("GET", f"{PATH}/{{token_id}}", TAG, "Get a valid token", get_token, Scope.ADMIN, Token, shows=_SHOWN),
    Endpoint(
        "DELETE",
        f"{PATH}/{{token_id}}",
        TAG,
        "Revoke a token",
        delete_token,
        Scope.ADMIN,
        status=204,
        errors=frozenset({409}),
        note="It is invalid from the next request on, and stays in the list as revoked.",
    ),
)
