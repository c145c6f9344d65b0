"""Translations and formats."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.config import Zone
from pbxrouter.text.sentences import Sentence, sentence
from pbxrouter.web.language import Translator, preferred_language

SUMMER, WINTER = 1_784_023_200.0, 1_795_431_600.0  # 14 July and 23 November 2026, 10:00 and 11:00 UTC


class TranslatorTests(SynchronousTestCase):
    """Translations, and formats of numbers and times."""

    def setUp(self) -> None:
        """Create a Translator for each language."""
        zone = Zone("Europe/Madrid")
        self.english, self.spanish = Translator("en", zone), Translator("es", zone)

    def test_steps(self) -> None:
        """The sentence is translated, the values are not."""
        trace = sentence("no pattern matches {number}", number="999")
        self.assertEqual(self.english.say(trace), "no pattern matches 999")
        self.assertEqual(self.spanish.say(trace), "ningún patrón coincide con 999")

    def test_one_and_many(self) -> None:
        """A number of things is in the right plural form."""
        sentences = ("%(num)s call in the last three hours", "%(num)s calls in the last three hours")
        self.assertEqual(self.english.count(*sentences, 1), "1 call in the last three hours")
        self.assertEqual(self.english.count(*sentences, 2000), "2,000 calls in the last three hours")
        self.assertEqual(self.spanish.count(*sentences, 1), "1 llamada en las últimas tres horas")
        self.assertEqual(self.spanish.count(*sentences, 20000), "20.000 llamadas en las últimas tres horas")

    def test_a_step_that_does_not_fit(self) -> None:
        """A stored sentence that cannot be formatted is shown as it is."""
        self.assertEqual(self.english.say(Sentence("{gone} and {number}", {"number": "1"})), "{gone} and {number}")

    def test_numbers_and_times(self) -> None:
        """Numbers and times are in the language's format."""
        self.assertEqual(
            (self.english.number(1234567.5), self.spanish.number(1234567.5)), ("1,234,567.5", "1.234.567,5")
        )
        self.assertEqual(self.spanish.moment(WINTER), "23 nov 2026, 12:00:00")
        self.assertEqual(self.english.moment(SUMMER), "14 Jul 2026, 12:00:00")
        self.assertEqual([self.english.duration(value) for value in (7, 750, 3723)], ["0:07", "12:30", "1:02:03"])

    def test_the_browsers_preference(self) -> None:
        """The supported language with the highest quality; English if there is none."""
        for header, language in (
            ("", "en"),
            ("es-MX,es;q=0.9,en;q=0.8", "es"),
            ("de, en;q=0.5, es;q=0.7", "es"),
            ("fr", "en"),
            ("es;q=nonsense, en;q=0.1", "en"),
            ("*;q=0.1," * 10_000, "en"),
        ):
            self.assertEqual(preferred_language(header), language, header[:40])
