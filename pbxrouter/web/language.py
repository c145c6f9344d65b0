"""Languages of the console: translations, and the formatting of numbers and times.

The sentences in code and templates are English and the keys of the Spanish catalogue (gettext,
web/locale). Times are shown in the PBX's time zone.
"""

from __future__ import annotations

import re
from importlib.resources import files
from io import BytesIO
from typing import Final

from babel import Locale
from babel.dates import format_date, format_datetime, format_time
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.support import NullTranslations, Translations

from pbxrouter.config import Zone
from pbxrouter.text import Sentence

LANGUAGES: Final = {"en": "English", "es": "Español"}
"""Language codes, and each language's own name."""
DOMAIN: Final = "pbxrouter"

_LOCALES: Final = {"en": "en_GB", "es": "es_ES"}


class Translator:
    """Translations and formats of one language.

    Args:
        language: a key of LANGUAGES.
    """

    def __init__(self, language: str, zone: Zone) -> None:
        self.language: Final = language
        self.zone: Final = zone
        self.translations: Final[NullTranslations] = catalogue(language)
        self._locale: Final = Locale.parse(_LOCALES[language])

    def text(self, message: str) -> str:
        """Translate a sentence without placeholders."""
        return str(self.translations.gettext(message)) if message else ""

    def count(self, one: str, many: str, number: int, **places: str) -> str:
        """Translate a sentence with a number, its placeholder ``%(num)s``, in singular or plural."""
        return str(self.translations.ngettext(one, many, number)) % {"num": self.number(number), **places}

    def say(self, sentence: Sentence | str) -> str:
        """Translate a Sentence, or plain text."""
        if isinstance(sentence, str):
            return self.text(sentence)
        try:
            return sentence.translated(self.text)
        except (KeyError, IndexError, ValueError):  # stored by another version, or edited by hand
            return sentence.message

    def capitalised(self, sentence: Sentence | str) -> str:
        """Translate a Sentence and capitalise it, unless it begins with a value."""
        said = self.say(sentence)
        return said[:1].upper() + said[1:] if _begins_with_words(sentence) else said

    def number(self, value: float) -> str:
        """Format a number with the language's separators."""
        return format_decimal(value, locale=self._locale)

    def day(self, seconds: float) -> str:
        """Format a date, such as 23 Nov 2026."""
        return format_date(self.zone.local(seconds).date(), "medium", locale=self._locale)

    def weekday(self, seconds: float) -> str:
        """Format day of the week and date, such as Mon 23 Nov."""
        return format_date(self.zone.local(seconds).date(), "EEE d MMM", locale=self._locale)

    def clock(self, seconds: float, precise: bool = False) -> str:
        """Format hours and minutes; with seconds if ``precise``."""
        local = self.zone.local(seconds)
        return format_time(local.timetz(), "HH:mm:ss" if precise else "HH:mm", tzinfo=local.tzinfo, locale=self._locale)

    def moment(self, seconds: float) -> str:
        """Format date and time to the second."""
        local = self.zone.local(seconds)
        return format_datetime(local, "d MMM y, HH:mm:ss", tzinfo=local.tzinfo, locale=self._locale)

    def duration(self, seconds: float) -> str:
        """Format a duration, such as 0:07, 12:30, 1:02:03."""
        minutes, rest = divmod(int(min(max(0.0, seconds), Zone.LATEST_S)), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _begins_with_words(sentence: Sentence | str) -> bool:
    if isinstance(sentence, str):
        return sentence[:1].isalpha()
    first = re.match(r"{(\w+)}", sentence.message)
    if first is None:
        return sentence.message[:1].isalpha()
    value = sentence.values.get(first[1])
    return isinstance(value, Sentence) and _begins_with_words(value)


def catalogue(language: str) -> NullTranslations:
    """Compile the translations of a language from its .po file."""
    if language == "en":
        return NullTranslations()
    path = files("pbxrouter.web").joinpath("locale", language, "LC_MESSAGES", f"{DOMAIN}.po")
    compiled = BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file, locale=language))
    compiled.seek(0)
    return Translations(compiled)


def preferred_language(accept_language: str) -> str:
    """The supported language that ``Accept-Language`` prefers (RFC 9110 12.5.4)."""
    best, best_quality = "en", 0.0
    for entry in accept_language[:500].split(","):
        tag, _, parameters = entry.partition(";")
        language = tag.strip().partition("-")[0].lower()
        quality = _quality(parameters)
        if language in LANGUAGES and quality > best_quality:
            best, best_quality = language, quality
    return best


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(1.0, max(0.0, float(value)))
    except ValueError:
        return 0.0
