"""Numbers that visitors and staff enter."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.web.click_to_dial.number import ClickRefused, read_number
from tests.web.console.click_to_dial.test_visitor_pages import HOSTILE


class NumberTests(SynchronousTestCase):
    """Numbers as people write them."""

    def test_accepted(self) -> None:
        """Blanks, dots, dashes and parentheses are ignored."""
        for text, number in (
            ("600112233", "600112233"),
            ("+34 600-11 22 33", "+34600112233"),
            ("(600) 112233", "600112233"),
            ("600.11.22.33", "600112233"),
            ("+34\u00a0600\u202f11\u201122\u201333", "+34600112233"),
        ):
            self.assertEqual(read_number(text, for_visitor=True), number)

    def test_refused(self) -> None:
        """The refusal names the number in one line."""
        for text in HOSTILE:
            error = self.assertRaises(ClickRefused, read_number, text, for_visitor=True)
            self.assertEqual((error.field, error.status), ("number", 400), repr(text))
            self.assertTrue(str(error).isprintable() and str(error).isascii(), repr(text))

    def test_staff(self) -> None:
        """Staff may enter what a telephone can dial, and no more."""
        self.assertEqual(read_number("*72 600-112", for_visitor=False), "*72600112")
        for text in ("21\r\nX: y", "21\n", "abc", "", "*"):
            self.assertRaises(ClickRefused, read_number, text, for_visitor=False)
