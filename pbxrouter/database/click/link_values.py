"""What a click-to-dial link is, and what may be said of one. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pbxrouter.click import Hours
from pbxrouter.database.edit_text import MAX_NAME, checked_text
from pbxrouter.errors import EditRefused, PatternError
from pbxrouter.rules import Pattern, is_context, read_phone
from pbxrouter.text import sentence

MAX_CONSENT: Final = 600
MAX_LIST: Final = 30
"""Patterns, or sites, of one link."""
MAX_LIST_TEXT: Final = 2000
"""Characters in which these are written."""
MAX_A_DAY: Final = 100_000
MAX_AN_HOUR: Final = 1000

# Of letters only X, Z and N stand for digits.
_LETTER: Final = re.compile(r"[A-MO-WYa-mo-wy]")
# https with a name or address; http only to this very machine, where people try things out.
_SITE: Final = re.compile(
    r"https://(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:]+\])(?::[0-9]{1,5})?"
    r"|http://(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """What the settings offer.

    Attributes:
        technologies: what a technology is called on the Asterisks.
        contexts: where calls may begin, by the Asterisk's name; no calls begin on one that has none.
    """

    technologies: Mapping[str, str]
    contexts: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class LinkValues:
    """What somebody says of a link; see the columns of dial_links in schema.sql."""

    name: str
    phone: str
    context: str
    destinations: str
    asterisk: str = ""
    hours: str = ""
    calls_a_day: int = 50
    calls_an_hour: int = 5
    consent_en: str = ""
    consent_es: str = ""
    sites: str = ""


@dataclass(frozen=True, slots=True)
class DialLink:
    """A link.

    Attributes:
        generation: links signed with another one are void.
        disabled_at: epoch seconds; None while it is in use.
        calls_today: begun on the day that was asked about.
    """

    link_id: int
    values: LinkValues
    generation: int
    disabled_at: float | None
    calls_today: int = 0

    @property
    def enabled(self) -> bool:
        """Whether it is in use."""
        return self.disabled_at is None

    @property
    def origins(self) -> str:
        """The sites that may embed it, fit for a header whatever a hand has written into the row."""
        return " ".join(part for part in self.values.sites.split() if _SITE.fullmatch(part))

    def consent(self, language: str) -> str:
        """What a visitor agrees to, in that language or else in the other; ``""`` asks nothing."""
        en, es = self.values.consent_en, self.values.consent_es
        return (es or en) if language == "es" else (en or es)

    def allows(self, number: str) -> bool:
        """Whether visitors may have this number called."""
        for text in self.values.destinations.split():
            try:
                if Pattern.parse(text).matches(number):
                    return True
            except PatternError:  # written by a hand
                continue
        return False


def checked(values: LinkValues, places: LinkOptions) -> LinkValues:
    """The values as they are kept.

    Raises:
        EditRefused: one of them cannot be used; the field is its name.
    """
    name = checked_text(
        values.name, "name", sentence("a name has 1 to {most} printable characters", most=MAX_NAME), MAX_NAME
    )
    phone = values.phone.strip()
    if read_phone(phone, places.technologies) is None:
        raise EditRefused(
            sentence("{phone} is no phone; accepted is such as PJSIP/33", phone=ascii(phone[:60])), "phone"
        )
    asterisk, context = _place(values, places)
    for field, most in (("calls_a_day", MAX_A_DAY), ("calls_an_hour", MAX_AN_HOUR)):
        if not 1 <= getattr(values, field) <= most:
            raise EditRefused(sentence("accepted is a whole number from 1 to {most}", most=most), field)
    return LinkValues(
        name=name,
        phone=phone,
        context=context,
        destinations=_destinations(values.destinations),
        asterisk=asterisk,
        hours=Hours.parse(values.hours).text,
        calls_a_day=values.calls_a_day,
        calls_an_hour=values.calls_an_hour,
        consent_en=_consent(values.consent_en, "consent_en"),
        consent_es=_consent(values.consent_es, "consent_es"),
        sites=_sites(values.sites),
    )


def _place(values: LinkValues, places: LinkOptions) -> tuple[str, str]:
    asterisk, context = values.asterisk.strip(), values.context.strip()
    names = ", ".join(places.contexts)
    if asterisk and asterisk not in places.contexts:
        if not names:
            raise EditRefused(sentence("no [[asterisk]] is configured; leave this empty"), "asterisk")
        raise EditRefused(sentence("which Asterisk? accepted are {names}", names=names), "asterisk")
    if not asterisk and len(places.contexts) > 1:
        raise EditRefused(sentence("which Asterisk? accepted are {names}", names=names), "asterisk")
    if not is_context(context):
        raise EditRefused(
            sentence(
                "{context} is no dialplan context; accepted is such as pbxrouter-phones",
                context=ascii(context[:60]),
            ),
            "context",
        )
    allowed = places.contexts.get(asterisk or names)
    if allowed is not None and not allowed:
        raise EditRefused(
            sentence(
                "context: no context is open to originated calls; name {context} in asterisk.originate to allow it",
                context=context,
            ),
            "context",
        )
    if allowed is not None and context not in allowed:
        raise EditRefused(
            sentence(
                "context: {context} is not one of asterisk.originate: {allowed}",
                context=context,
                allowed=", ".join(allowed),
            ),
            "context",
        )
    return asterisk, context


def _destinations(text: str) -> str:
    patterns = _several(text, "destinations")
    if not patterns:
        raise EditRefused(sentence("name at least one pattern of numbers, such as +34[679]XXXXXXXX"), "destinations")
    for written in patterns:
        try:
            pattern = Pattern.parse(written)
        except PatternError as error:
            raise EditRefused(error.sentence, "destinations") from None
        if pattern.never_matches or _LETTER.search(written):
            raise EditRefused(sentence("no number can match {pattern}", pattern=written), "destinations")
    return " ".join(patterns)


def _sites(text: str) -> str:
    sites = [site.rstrip("/") for site in _several(text.replace(",", " ").lower(), "sites")]
    for site in sites:
        if not _SITE.fullmatch(site):
            raise EditRefused(
                sentence(
                    "{site} is no site; accepted is such as https://example.org, and http:// for localhost alone",
                    site=ascii(site[:80]),
                ),
                "sites",
            )
    return " ".join(dict.fromkeys(sites))


def _several(text: str, field: str) -> list[str]:
    found = text.split()
    if len(found) > MAX_LIST or len(text) > MAX_LIST_TEXT:
        raise EditRefused(
            sentence("accepted are {most} of them, {length} characters", most=MAX_LIST, length=MAX_LIST_TEXT),
            field,
        )
    return found


def _consent(text: str, field: str) -> str:
    text = " ".join(text.split())
    if len(text) > MAX_CONSENT or not text.isprintable():
        raise EditRefused(sentence("accepted are {most} printable characters", most=MAX_CONSENT), field)
    return text
