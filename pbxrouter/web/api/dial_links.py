"""Click-to-dial links: pages on which visitors have one of our phones connected with theirs.

Not here: the rows (database.dial_links), the visitors' page (web.click).
"""

from __future__ import annotations

import sqlite3
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from pbxrouter.database.dial_link_values import (
    MAX_A_DAY,
    MAX_AN_HOUR,
    MAX_CONSENT,
    MAX_LIST_TEXT,
    DialLink,
    LinkValues,
)
from pbxrouter.database.dial_links import (
    add_dial_link,
    delete_dial_link,
    dial_link,
    list_dial_links,
    set_dial_link_enabled,
    update_dial_link,
    void_dial_link,
)
from pbxrouter.database.edit_text import MAX_NAME
from pbxrouter.signing import Signer
from pbxrouter.tokens import Scope
from pbxrouter.web.address import base_url, click_url
from pbxrouter.web.api.endpoint import Asked, Endpoint, Made
from pbxrouter.web.click import places_of
from pbxrouter.web.site import MAX_FORM

TAG = "Administration"
PATH = "/api/dial-links"
DAY_S = 86_400
MAX_DAYS = 3650

Name = Annotated[
    str,
    Meta(min_length=1, max_length=MAX_NAME, description="What the page is headed with."),
]
Phone = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=80,
        description="The phone that rings first, such as PJSIP/33. Its grants say what may be dialled.",
    ),
]
Context = Annotated[
    str,
    Meta(min_length=1, max_length=80, description="Where in the dialplan the visitor's number is dialled."),
]
Asterisk = Annotated[str, Meta(max_length=80, description="On which Asterisk; empty is the only one.")]
Destinations = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_LIST_TEXT,
        description="Dial patterns with blanks between: the numbers that visitors may have called.",
    ),
]
OpeningHours = Annotated[
    str,
    Meta(
        max_length=200,
        description="Such as mon-fri 09:00-18:00, in the PBX's time zone, with commas between; or empty.",
    ),
]
CallsADay = Annotated[int, Meta(ge=1, le=MAX_A_DAY, description="Most calls a day, by all visitors.")]
CallsAnHour = Annotated[int, Meta(ge=1, le=MAX_AN_HOUR, description="Most calls an hour, by one address.")]
Consent = Annotated[
    str, Meta(max_length=MAX_CONSENT, description="What a visitor agrees to; empty asks nothing.")
]
Sites = Annotated[
    str,
    Meta(
        max_length=MAX_LIST_TEXT,
        description="Sites that may embed the page, such as https://example.org, with blanks between.",
    ),
]


class Link(msgspec.Struct, frozen=True):
    """A click-to-dial link."""

    link_id: int
    name: str
    phone: str
    context: str
    destinations: str
    asterisk: str
    hours: str
    calls_a_day: int
    calls_an_hour: int
    consent_en: str
    consent_es: str
    sites: str
    enabled: bool
    generation: Annotated[int, Meta(description="Addresses signed with another one are void.")]
    calls_today: int


class Links(msgspec.Struct, frozen=True):
    """All of them, by name."""

    items: list[Link]


class NewLink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A link to be."""

    name: Name
    phone: Phone
    context: Context
    destinations: Destinations
    asterisk: Asterisk = ""
    hours: OpeningHours = ""
    calls_a_day: CallsADay = 50
    calls_an_hour: CallsAnHour = 5
    consent_en: Consent = ""
    consent_es: Consent = ""
    sites: Sites = ""


class LinkChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be changed of a link; what is left out stays."""

    name: Name | UnsetType = UNSET
    phone: Phone | UnsetType = UNSET
    context: Context | UnsetType = UNSET
    destinations: Destinations | UnsetType = UNSET
    asterisk: Asterisk | UnsetType = UNSET
    hours: OpeningHours | UnsetType = UNSET
    calls_a_day: CallsADay | UnsetType = UNSET
    calls_an_hour: CallsAnHour | UnsetType = UNSET
    consent_en: Consent | UnsetType = UNSET
    consent_es: Consent | UnsetType = UNSET
    sites: Sites | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class NewAddress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An address to be given out."""

    days: Annotated[int, Meta(ge=1, le=MAX_DAYS, description="How long it is to be good for.")] = 365


class Address(msgspec.Struct, frozen=True):
    """A signed address, for visitors or for the frame on a site."""

    url: str
    expires: Annotated[float, Meta(description="Seconds since 1970, UTC.")]


def _today(asked: Asked) -> str:
    return asked.desk.zone.local(asked.desk.now()).date().isoformat()


def _shown(link: DialLink) -> Link:
    return Link(
        link_id=link.link_id,
        enabled=link.enabled,
        generation=link.generation,
        calls_today=link.calls_today,
        **{name: getattr(link.values, name) for name in NewLink.__struct_fields__},
    )


async def list_links(asked: Asked) -> Links:
    """All."""
    day = _today(asked)
    return Links(
        [_shown(each) for each in await asked.desk.read(lambda connection: list_dial_links(connection, day))]
    )


async def get_link(asked: Asked) -> Link:
    """One."""
    day, number = _today(asked), asked.path["link_id"]
    return _shown(await asked.desk.read(lambda connection: dial_link(connection, number, day)))


async def create_link(asked: Asked) -> Made:
    """A new one."""
    new: NewLink = asked.body
    values = LinkValues(**msgspec.structs.asdict(new))
    places = places_of(asked.desk)

    def create(connection: sqlite3.Connection) -> DialLink:
        return dial_link(connection, add_dial_link(connection, asked.actor, asked.desk.now(), values, places))

    made = _shown(await asked.desk.write(create))
    return Made(f"{PATH}/{made.link_id}", made)


async def change_link(asked: Asked) -> Link:
    """Some of it."""
    wanted: LinkChange = asked.body
    given: dict[str, Any] = {
        name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not UNSET
    }
    enabled = given.pop("enabled", None)
    day, number = _today(asked), asked.path["link_id"]
    places = places_of(asked.desk)

    def change(connection: sqlite3.Connection) -> DialLink:
        now = asked.desk.now()
        if given:
            update_dial_link(connection, asked.actor, now, number, given, places)
        if enabled is not None:
            set_dial_link_enabled(connection, asked.actor, now, number, enabled)
        return dial_link(connection, number, day)

    return _shown(await asked.desk.write(change))


async def void_link(asked: Asked) -> Link:
    """Addresses that were given out lead nowhere from now on."""
    day, number = _today(asked), asked.path["link_id"]

    def void(connection: sqlite3.Connection) -> DialLink:
        void_dial_link(connection, asked.actor, asked.desk.now(), number)
        return dial_link(connection, number, day)

    return _shown(await asked.desk.write(void))


async def sign_link(asked: Asked) -> Address:
    """One address more; those that were given out before stay good."""
    wanted: NewAddress = asked.body
    desk = asked.desk
    link = await desk.read(lambda connection: dial_link(connection, asked.path["link_id"]))
    expires = float(int(desk.now()) + wanted.days * DAY_S)
    signature = Signer(desk.key).link(link.link_id, link.generation, expires)
    base = base_url(desk.config.web.url, desk.config.web.listen or "")
    return Address(click_url(base, link.link_id, signature), expires)


async def delete_link(asked: Asked) -> None:
    """Away."""
    await asked.desk.write(
        lambda connection: delete_dial_link(connection, asked.actor, asked.desk.now(), asked.path["link_id"])
    )


_NEW = NewLink(
    "Talk to sales", "PJSIP/33", "pbxrouter-phones", "+34[679]XXXXXXXX", hours="mon-fri 09:00-18:00"
)
_SHOWN = Link(link_id=1, enabled=True, generation=1, calls_today=3, **msgspec.structs.asdict(_NEW))
_ONE = f"{PATH}/{{link_id}}"
_REFUSED = frozenset({409, 422})

ENDPOINTS = (
    Endpoint(
        "GET", PATH, TAG, "List click-to-dial links", list_links, Scope.ADMIN, Links, shows=Links([_SHOWN])
    ),
    Endpoint(
        "POST",
        PATH,
        TAG,
        "Make a click-to-dial link",
        create_link,
        Scope.ADMIN,
        Link,
        body=NewLink,
        status=201,
        errors=_REFUSED,
        example=_NEW,
        longest=MAX_FORM,
        shows=_SHOWN,
    ),
    Endpoint("GET", _ONE, TAG, "One click-to-dial link", get_link, Scope.ADMIN, Link, shows=_SHOWN),
    Endpoint(
        "PATCH",
        _ONE,
        TAG,
        "Change a click-to-dial link, or switch it on or off",
        change_link,
        Scope.ADMIN,
        Link,
        body=LinkChange,
        errors=_REFUSED,
        example=LinkChange(calls_a_day=20),
        longest=MAX_FORM,
        shows=_SHOWN,
    ),
    Endpoint(
        "POST",
        f"{_ONE}/addresses",
        TAG,
        "Sign an address of a link, to be given out",
        sign_link,
        Scope.ADMIN,
        Address,
        body=NewAddress,
        example=NewAddress(90),
        shows=Address("https://pbx.example.org/click/1?sig=1.1803203154.…", 1803203154.0),
    ),
    Endpoint(
        "POST",
        f"{_ONE}/void",
        TAG,
        "Make all addresses of a link void that were given out",
        void_link,
        Scope.ADMIN,
        Link,
        errors=frozenset({409}),
        shows=_SHOWN,
    ),
    Endpoint(
        "DELETE",
        _ONE,
        TAG,
        "Delete a click-to-dial link",
        delete_link,
        Scope.ADMIN,
        status=204,
        errors=frozenset({409}),
    ),
)
