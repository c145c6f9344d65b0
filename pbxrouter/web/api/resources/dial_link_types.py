"""JSON types of click-to-dial links."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from pbxrouter.database import MAX_NAME
from pbxrouter.database.click_to_dial import MAX_A_DAY, MAX_AN_HOUR, MAX_CONSENT, MAX_LIST_TEXT

MAX_DAYS = 3650


Name = Annotated[
    str,
    Meta(min_length=1, max_length=MAX_NAME, description="The page's heading."),
]
Phone = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=80,
        description="The phone that rings first, such as PJSIP/33. Its grants decide which numbers may be dialled.",
    ),
]
Context = Annotated[
    str,
    Meta(min_length=1, max_length=80, description="The dialplan context where the visitor's number is dialled."),
]
Asterisk = Annotated[
    str, Meta(max_length=80, description="The Asterisk to use; empty: of several, the one that has the phone.")
]
Destinations = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_LIST_TEXT,
        description="Dial patterns, separated by blanks: the numbers that visitors may enter.",
    ),
]
OpeningHours = Annotated[
    str,
    Meta(
        max_length=200,
        description="Such as mon-fri 09:00-18:00, in the PBX's time zone, separated by commas; empty: always open.",
    ),
]
CallsADay = Annotated[int, Meta(ge=1, le=MAX_A_DAY, description="Maximum calls per day, all visitors together.")]
CallsAnHour = Annotated[int, Meta(ge=1, le=MAX_AN_HOUR, description="Maximum calls per hour from one IP address.")]
Consent = Annotated[
    str, Meta(max_length=MAX_CONSENT, description="The text that visitors must agree to; empty if none.")
]
Sites = Annotated[
    str,
    Meta(
        max_length=MAX_LIST_TEXT,
        description="Sites that may embed the page, such as https://example.org, separated by blanks.",
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
    generation: Annotated[int, Meta(description="Addresses signed under another generation are void.")]
    calls_today: int


class Links(msgspec.Struct, frozen=True):
    """All links, by name."""

    items: list[Link]


class NewLink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A link to create."""

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
    """Changes of a link; fields left out stay."""

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
    """A request for a signed address."""

    days: Annotated[int, Meta(ge=1, le=MAX_DAYS, description="How long it is valid.")] = 365


class Address(msgspec.Struct, frozen=True):
    """A signed address, for visitors or for the frame on a site."""

    url: str
    expires: Annotated[float, Meta(description="Seconds since 1970, UTC.")]
