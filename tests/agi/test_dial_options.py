"""The options of Dial(), read as Asterisk reads them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.dial_options import LETTERS, option_letters, options_problem


class OptionsTests(SynchronousTestCase):
    """Letters, and their arguments in parentheses."""

    def test_letters(self) -> None:
        """Arguments, in parentheses that may nest, are no options."""
        for options, letters in (("tT", "tT"), ("m(lift)t", "mt"), ("b(x^y^1(i))g", "bg"), ("m(i", "m"), ("", "")):
            self.assertEqual(option_letters(options), letters)

    def test_unknown(self) -> None:
        """Letters that Dial() does not have are named."""
        self.assertEqual((options_problem("tT"), options_problem("tqy"), options_problem("t(")), ("", "qy", "("))

    def test_each_known(self) -> None:
        """Every option is known with an argument and without; what is in its argument is not looked at."""
        for letter in LETTERS:
            self.assertEqual((options_problem(letter), options_problem(f"{letter}(q(y)!)")), ("", ""), letter)

    def test_named_once(self) -> None:
        """What is not understood is named once, in order."""
        self.assertEqual((options_problem("yqyt"), options_problem("t)(")), ("qy", "()"))
