"""Sentences with placeholders, and text from outside made fit for one line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.text.printable import printable
from pbxrouter.text.sentences import Sentence, joined, sentence


class Steps(SynchronousTestCase):
    """Sentences and their values."""

    def test_words(self) -> None:
        """Message and values are kept apart for translation, and make the English text."""
        made = sentence("{caller} dials {number}", caller="33", number=21)
        self.assertEqual(made, Sentence("{caller} dials {number}", {"caller": "33", "number": "21"}))
        self.assertEqual(made.english, "33 dials 21")
        self.assertEqual(Sentence("nothing").english, "nothing")

    def test_values_are_not_read(self) -> None:
        """Braces in a value are no placeholders."""
        self.assertEqual(sentence("{number} is none", number="{caller}").english, "{caller} is none")

    def test_values_are_one_line(self) -> None:
        """Line ends and control characters in a value are made visible."""
        self.assertEqual(sentence("{x}", x="a\nb\x1b[0m").english, "a\\nb\\x1b[0m")

    def test_steps_within(self) -> None:
        """A value that is a sentence is translated too."""
        spanish = {"{who} is left out: {why}": "{who} se omite: {why}", "{x} is odd": "{x} es raro"}
        made = sentence("{who} is left out: {why}", who="2X", why=sentence("{x} is odd", x="[\n"))
        self.assertEqual(made.english, "2X is left out: [\\n is odd")
        self.assertEqual(made.translated(spanish.__getitem__), "2X se omite: [\\n es raro")

    def test_in_a_row(self) -> None:
        """joined makes one sentence of several; braces in them are text."""
        row = joined([sentence("{x} comes", x="{y}"), sentence("it goes")])
        self.assertEqual(row.english, "{y} comes; it goes")
        self.assertEqual(
            row.translated(lambda text: text.upper().replace("X", "x") if "_" not in text else text),
            "{y} COMES; IT GOES",
        )
        self.assertEqual(joined([]).english, "")


class Printable(SynchronousTestCase):
    """printable escapes what would not print."""

    def test_examples(self) -> None:
        """Readable characters stay, others are escaped."""
        for text, shown in (("Núñez 漢", "Núñez 漢"), ("a\r\n\0", "a\\r\\n\\x00"), ("\udcff", "\\udcff")):
            self.assertEqual(printable(text), shown)

    @given(st.text(st.characters()))
    def test_any_text(self, text: str) -> None:
        """Any text becomes one line that can be encoded."""
        shown = printable(text)
        self.assertTrue(shown.isprintable())
        shown.encode("utf-8")
