"""Click-to-dial links and the checks of their values; no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pbxrouter.click_to_dial import Hours
from pbxrouter.database.edit_text import MAX_NAME, checked_text
from pbxrouter.errors import EditRefused, PatternError
from pbxrouter.rules import Pattern, is_context, read_phone
from pbxrouter.text import sentence

MAX_CONSENT: Final = 600
MAX_LIST: Final = 30
"""The patterns, or sites, of one link, at most."""
MAX_LIST_TEXT: Final = 2000
"""Their text in characters, at most."""
MAX_A_DAY: Final = 100_000
MAX_AN_HOUR: Final = 1000

# Letters that do not stand for digits; X, Z and N do.
_LETTER: Final = re.compile(r"[A-MO-WYa-mo-wy]")
# https with a name or address; http only for this machine, for trials.
_SITE: Final = re.compile(
    r"https://(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:]+\])(?::[0-9]{1,5})?"
    r"|http://(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """What the settings allow for links.

    Attributes:
        technologies: the names of technologies on the Asterisks.
        contexts: the contexts that calls may enter, by Asterisk; empty means none.
    """

    technologies: Mapping[str, str]
    contexts: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class LinkValues:
    """The values of a link; schema.sql describes the columns of dial_links."""

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
    """A click-to-dial link, as it is stored, with its calls of one day.

    Attributes:
        generation: signed links of another generation are void.
        disabled_at: epoch seconds; None while it is enabled.
        calls_today: the calls begun on the day that was asked for.
    """

    link_id: int
    values: LinkValues
    generation: int
    disabled_at: float | None
    calls_today: int = 0

    @property
    def enabled(self) -> bool:
        """Whether the link is enabled."""
        return self.disabled_at is None

    @property
    def origins(self) -> str:
        """The sites that may embed it, for a header; parts of the row that are no sites are left out."""
        return " ".join(part for part in self.values.sites.split() if _SITE.fullmatch(part))

    def consent(self, language: str) -> str:
        """The consent text in a language, or else in the other; ``""`` if none is asked for."""
        en, es = self.values.consent_en, self.values.consent_es
        return (es or en) if language == "es" else (en or es)

    def allows(self, number: str) -> bool:
        """Whether visitors may call this number."""
        for text in self.values.destinations.split():
            try:
                if Pattern.parse(text).matches(number):
                    return True
            except PatternError:  # written by SQL
                continue
        return False


def checked(values: LinkValues, places: LinkOptions) -> LinkValues:
    """The values as they are stored.

    Raises:
        EditRefused: one of them is not valid; the field is its name.
    """
    name = checked_text(
        values.name, "name", sentence("a name has 1 to {most} printable characters", most=MAX_NAME), MAX_NAME
    )
    phone = values.phone.strip()
    if read_phone(phone, places.technologies) is None:
        raise EditRefused(
            sentence("{phone} is not a phone; enter one such as PJSIP/33", phone=ascii(phone[:60])), "phone"
        )
    asterisk, context = _place(values, places)
    for field, most in (("calls_a_day", MAX_A_DAY), ("calls_an_hour", MAX_AN_HOUR)):
        if not 1 <= getattr(values, field) <= most:
            raise EditRefused(sentence("enter a whole number from 1 to {most}", most=most), field)
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
        raise EditRefused(sentence("choose one of these Asterisks: {names}", names=names), "asterisk")
    if not is_context(context):
        raise EditRefused(
            sentence(
                "{context} is not a dialplan context; enter one such as pbxrouter-phones",
                context=ascii(context[:60]),
            ),
            "context",
        )
    allowed = places.contexts.get(asterisk)
    if not asterisk and places.contexts:  # of several, the one that has the phone
        allowed = tuple(dict.fromkeys(name for of_one in places.contexts.values() for name in of_one))
    if allowed is not None and not allowed:
        raise EditRefused(
            sentence(
                "context: asterisk.originate lists no context, so no call can be placed; add {context} to allow it",
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
        raise EditRefused(sentence("enter at least one number pattern, such as +34[679]XXXXXXXX"), "destinations")
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
                    "{site} is not a site; enter one such as https://example.org (http:// is accepted for localhost "
                    "only)",
                    site=ascii(site[:80]),
                ),
                "sites",
            )
    return " ".join(dict.fromkeys(sites))


def _several(text: str, field: str) -> list[str]:
    found = text.split()
    if len(found) > MAX_LIST or len(text) > MAX_LIST_TEXT:
        raise EditRefused(
            sentence(
                "at most {most} entries with {length} characters in total are accepted",
                most=MAX_LIST,
                length=MAX_LIST_TEXT,
            ),
            field,
        )
    return found


def _consent(text: str, field: str) -> str:
    text = " ".join(text.split())
    if len(text) > MAX_CONSENT or not text.isprintable():
        raise EditRefused(sentence("at most {most} printable characters are accepted", most=MAX_CONSENT), field)
    return text
