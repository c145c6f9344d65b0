"""Authentication of API requests: tokens, scopes, rate limits.

Requests without a valid token are limited separately, so they cannot use up the limits of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from twisted.logger import Logger
from twisted.web.iweb import IRequest

from pbxrouter.database.access import find_token, note_use
from pbxrouter.errors import StoreError
from pbxrouter.security import RateLimit, Scope, TokenInfo, bearer, hash_token, network_of
from pbxrouter.web.api.endpoint import ApiError, Endpoint
from pbxrouter.web.context import WebContext
from pbxrouter.web.http.site import header

STRANGERS: Final = "strangers"
LIMITS: Final = {
    "api": (600.0, 100),
    "dial": (30.0, 10),
    "pin": (6.0, 10),
    "doctor": (4.0, 2),
    STRANGERS: (30.0, 10),
}
"""Rate limits by kind: (per minute, burst), for each token and each address."""
NOTED_S: Final = 60.0
"""Seconds between two updates of a token's last use."""
MAX_NOTED: Final = 1000

UNAVAILABLE: Final = "Service Currently Unavailable"


class TokenAuth:
    """Authenticates requests by token.

    Args:
        address: returns the address of a request.
        limits: see LIMITS.
    """

    log = Logger()

    def __init__(
        self,
        web: WebContext,
        address: Callable[[IRequest], str],
        limits: Mapping[str, tuple[float, int]] = LIMITS,
    ) -> None:
        self._web = web
        self._address = address
        self._limits = {kind: RateLimit(*often) for kind, often in limits.items()}
        self._noted: dict[int, float] = {}

    async def admit(self, endpoint: Endpoint, request: IRequest) -> TokenInfo | None:
        """Authenticate a request; returns its token, None if the endpoint needs none.

        Raises:
            ApiError: the token is missing, invalid or lacks the scope, or a limit is exceeded.
        """
        address = network_of(self._address(request))
        if endpoint.scope is None:
            self.within("api", f"open to {address}")
            return None
        try:
            token = await self._token(request)
        except ApiError:
            self.within(STRANGERS, address)
            raise
        self.within(endpoint.limit, f"token {token.token_id}")
        self.within(endpoint.limit, f"address {address}")
        if endpoint.scope not in token.scopes:
            raise lacking(endpoint.scope)
        await self._note(token)
        return token

    def within(self, kind: str, key: str) -> None:
        """Count a request against the limit of a kind.

        Raises:
            ApiError: the limit is exceeded.
        """
        wait_s = self._limits[kind].wait_s(key, self._web.reactor.seconds())
        if wait_s:
            raise ApiError(
                429,
                f"too many requests; try again in {wait_s:.0f} s",
                headers={"Retry-After": str(int(wait_s) + 1)},
            )

    async def _token(self, request: IRequest) -> TokenInfo:
        token = bearer(header(request, "Authorization"))
        found = None
        if token:
            hashed = hash_token(token)
            found = await self._web.read(lambda connection: find_token(connection, hashed))
        if found is None:
            raise ApiError(
                401,
                "accepted is Authorization: Bearer with a valid token (pbxrouter token create NAME)",
                headers={"WWW-Authenticate": 'Bearer realm="pbxrouter"'},
            )
        return found

    async def _note(self, token: TokenInfo) -> None:
        now = self._web.reactor.seconds()
        if now - self._noted.get(token.token_id, -NOTED_S) < NOTED_S:
            return
        if len(self._noted) >= MAX_NOTED:
            self._noted.clear()
        self._noted[token.token_id] = now
        try:
            await self._web.write(lambda connection: note_use(connection, token.token_id))
        except StoreError as error:  # authentication does not depend on it
            self.log.debug("API: the last use of a token cannot be saved: {error}", error=str(error))


def lacking(scope: Scope) -> ApiError:
    """The error for a token without a scope."""
    return ApiError(
        403,
        f"this token lacks the scope; create one with --scope {scope.value} is",
        headers={"WWW-Authenticate": f'Bearer realm="pbxrouter", error="insufficient_scope", scope="{scope.value}"'},
    )
