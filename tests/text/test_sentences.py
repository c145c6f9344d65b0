"""Sentences with placeholders, and text from outside made fit for one line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.text.printable import printable
from pbxrouter.text.sentences import MAX_VALUE, Sentence, joined, read_sentence, sentence


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


class Stored(SynchronousTestCase):
    """Sentences that are read back from where they were stored."""

    def test_as_it_was(self) -> None:
        """A sentence comes back as it was, sentences within it too."""
        made = sentence("{who} is left out: {why}", who="2X", why=sentence("{x} is odd", x="["))
        self.assertEqual(read_sentence(made.message, {"who": "2X", "why": ["{x} is odd", {"x": "["}]}), made)

    def test_by_hand(self) -> None:
        """Of a message that its values do not fit nothing is filled in: it cannot reach into objects or grow."""
        for message in ("{0.__class__}", "{x!r:>99999999}", "{", "}", "{y}", "{x} {}", "{{x}}", "{0}", "{x} {0}"):
            read = read_sentence(message, {"x": "1", "0": "2"})
            self.assertEqual(read.english, message)
            self.assertEqual(read.translated(str), message)
        self.assertEqual(read_sentence("\x1b[2J {x}", {"x": "\ud800"}).english, "\\x1b[2J \\ud800")

    def test_no_sentence(self) -> None:
        """Anything else is a ValueError."""
        deep: object = "x"
        for _ in range(50):
            deep = ["{x}", {"x": deep}]
        for message, values in (
            (None, {}),
            (5, {}),
            ("x", None),
            ("x", []),
            ("x", {"y": []}),
            ("x", {"y": [1, {}]}),
            ("x", {"y": ["a", {}, "b"]}),
            ("{x}", {"x": deep}),
            ("x", dict.fromkeys(map(str, range(1000)), "")),
        ):
            self.assertRaises(ValueError, read_sentence, message, values)

    def test_long_values(self) -> None:
        """A long value is cut, and says so."""
        self.assertEqual(sentence("{x}", x="y" * 5000).english, "y" * MAX_VALUE + "… (cut, 5000 characters)")


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
