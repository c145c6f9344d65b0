"""PINs of users: setting, generating, removing. Only a generated PIN is shown, once."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from pbxrouter.database.rules import generate_user_pin, set_user_pin
from pbxrouter.errors import PinError
from pbxrouter.security import MAX_PIN_DIGITS, MIN_PIN_DIGITS, Scope, check_pin
from pbxrouter.web.api.endpoint import ApiError, ApiRequest, Endpoint
from pbxrouter.web.api.resources.holders import TAG, USERS


class NewPin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A PIN to set; without one, a PIN is generated."""

    pin: (
        Annotated[
            str,
            Meta(
                pattern=f"^[0-9]{{{MIN_PIN_DIGITS},{MAX_PIN_DIGITS}}}$",
                description="Digits; if null or left out, a PIN is generated.",
            ),
        ]
        | None
    ) = None


class PinSet(msgspec.Struct, frozen=True):
    """The result of setting a PIN."""

    pin: Annotated[str, Meta(description="The generated PIN, which is shown only now.")] | None


async def set_pin(request: ApiRequest) -> PinSet:
    """Set or generate a user's PIN."""
    wanted: NewPin = request.body
    web = request.web
    number = request.path["user_id"]
    try:
        if wanted.pin is None:
            edited = await web.change(
                lambda connection: generate_user_pin(connection, request.actor, web.now(), number, web.hash_pin)
            )
            return PinSet(edited.value)
        request.within("pin")
        hashed = web.hash_pin(check_pin(wanted.pin))
        await web.change(lambda connection: set_user_pin(connection, request.actor, web.now(), number, hashed))
    except PinError as error:
        raise ApiError(422, str(error), "pin") from None
    return PinSet(None)


async def remove_pin(request: ApiRequest) -> None:
    """Remove a user's PIN."""
    await request.web.change(
        lambda connection: set_user_pin(connection, request.actor, request.web.now(), request.path["user_id"], None)
    )


ENDPOINTS = (
    Endpoint(
        "POST",
        f"{USERS}/{{user_id}}/pin",
        TAG,
        "Set or generate a user's PIN",
        set_pin,
        Scope.RULES,
        answer=PinSet,
        body=NewPin,
        errors=frozenset({409, 422}),
        example=NewPin(),
        shows=PinSet("295147"),
        note="Requests with a `pin` are limited to a burst of 10, then 6 a minute.",
    ),
    Endpoint(
        "DELETE",
        f"{USERS}/{{user_id}}/pin",
        TAG,
        "Remove a user's PIN",
        remove_pin,
        Scope.RULES,
        status=204,
        errors=frozenset({409}),
    ),
)
