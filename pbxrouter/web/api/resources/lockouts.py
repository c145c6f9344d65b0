"""Lock-outs after wrong PINs: listing and lifting."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pbxrouter.database import MAX_LISTED, WrongGuesses, lift_lockout, list_guesses, lockout_figures
from pbxrouter.security import GuessKey, Scope
from pbxrouter.web.api.endpoint import ApiError, ApiRequest, Endpoint

TAG = "Rules"
PATH = "/api/lockouts"

KeyScope = Literal["endpoint", "number", "trunk", "unnamed", "peer", "mapping", "gateway"]
_Name = Annotated[
    str,
    Meta(
        max_length=100,
        description="The endpoint, the caller number, trunk and number, peer and mapping of callers without a name,"
        " the peer, or the map_id; empty for the gateway.",
    ),
]


class Lockout(msgspec.Struct, frozen=True):
    """The wrong PINs that are held against an endpoint, a number, a mapping or the gateway."""

    scope: KeyScope
    name: _Name
    locked: Annotated[bool, Meta(description="Whether its next PIN is not checked; of others: whether attacked.")]
    held: Annotated[int, Meta(description="Wrong PINs that are not forgiven yet.")]
    total: Annotated[int, Meta(description="Wrong PINs since the first.")]
    unchecked: Annotated[int, Meta(description="PINs that were not checked.")]
    last: Annotated[float, Meta(description="When the last PIN was keyed, seconds since 1970, UTC.")]
    forgiven_at: Annotated[float, Meta(description="When all are forgiven, the same.")]


class Lockouts(msgspec.Struct, frozen=True):
    """Sources of wrong PINs, the locked ones and the latest first."""

    items: Annotated[list[Lockout], Meta(description=f"At most {MAX_LISTED}.")]
    locked: Annotated[int, Meta(description="How many endpoints and numbers are locked out in all.")]
    attacked: Annotated[bool, Meta(description="Whether wrong PINs come from many places.")]


class LockoutQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be lifted, as in the list."""

    scope: KeyScope
    name: _Name = ""


def _shown(row: WrongGuesses) -> Lockout:
    scope: KeyScope = row.key.scope  # type: ignore[assignment]  # the table holds no other
    return Lockout(scope, row.key.name, row.is_locked, row.open, row.total, row.unchecked, row.last, row.forgiven_at)


async def list_lockouts(request: ApiRequest) -> Lockouts:
    """List sources of wrong PINs."""
    now = request.web.now()
    rows, figures = await request.web.read(
        lambda connection: (list_guesses(connection, now), lockout_figures(connection, now))
    )
    return Lockouts([_shown(row) for row in rows], figures.locked, figures.attacked)


async def lift(request: ApiRequest) -> None:
    """Forgive the wrong PINs of one source."""
    query: LockoutQuery = request.query
    if (query.scope == "gateway") != (query.name == ""):
        raise ApiError(422, "name: accepted is the name in the list, and none for the gateway", "name")
    key = GuessKey(query.scope, query.name)
    await request.web.write(lambda connection: lift_lockout(connection, request.actor, request.web.now(), key))
    request.web.pin_guard.lifted([key])


_SHOWN = Lockout("endpoint", "PJSIP/33", True, 5, 5, 2, 1_795_953_600.0, 1_795_955_400.0)

ENDPOINTS = (
    Endpoint(
        "GET",
        PATH,
        TAG,
        "List callers with wrong PINs and lock-outs",
        list_lockouts,
        Scope.READ,
        Lockouts,
        shows=Lockouts([_SHOWN], 1, False),
    ),
    Endpoint(
        "DELETE",
        PATH,
        TAG,
        "Lift a lock-out",
        lift,
        Scope.RULES,
        query=LockoutQuery,
        status=204,
        errors=frozenset({404, 422}),
        note="All wrong PINs of the source are forgiven. It takes effect with the next PIN.",
    ),
)
