"""Numbers as people write them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.rules.written_numbers import country_exists, read_written


class WrittenNumberTests(SynchronousTestCase):
    """What read_written makes of a number."""

    def test_no_doubt(self) -> None:
        """What can mean one number only is taken as that number."""
        for text, country, digits in (
            ("+49 (0) 30 1234567", "", "+49301234567"),
            ("+49 (0) 30 1234567", "DE", "+49301234567"),
            ("+49 (0) 30 1234567", "es", "+49301234567"),
            ("+49(0)301234567", "DE", "+49301234567"),
            ("0049 (0) 30 1234567", "", "0049301234567"),
            ("0049 (0) 30 1234567", "DE", "0049301234567"),
            ("+44 (0)20 7946 0958", "", "+442079460958"),
            ("+39 (0)6 1234 5678", "", "+390612345678"),
            ("+36 (06) 1 234 5678", "", "+3612345678"),
            ("+7 (8) 495 123-45-67", "", "+74951234567"),
            ("+1 (212) 555-1234", "", "+12125551234"),
            ("+34 600-11 22 33", "DE", "+34600112233"),
            ("\u202a+34 600\u00a0112\u2011233\u202c", "", "+34600112233"),
            ("tel:+34-600-112-233", "", "+34600112233"),
            ("030 1234567", "DE", "0301234567"),
            ("030/1234567", "DE", "0301234567"),
            ("+49 30/1234567", "", "+49301234567"),
            ("0512/59 30 12", "AT", "0512593012"),
            ("00 1 2125 551 234 567", "", "0012125551234567"),
            ("(030) 123 45-67", "DE", "0301234567"),
            ("(0)30 1234567", "", "0301234567"),
            ("(0)30 1234567", "DE", "0301234567"),
            ("600 11 22 33", "ES", "600112233"),
            ("(212) 555-1234", "US", "2125551234"),
            ("1 212 555 1234", "US", "12125551234"),
            ("011 49 30 1234567", "US", "01149301234567"),
            ("22", "DE", "22"),
            ("112", "DE", "112"),
            ("*72 600-112", "DE", "*72600112"),
            ("9 2125551234", "", "92125551234"),
        ):
            written = read_written(text, country)
            self.assertEqual((written.digits, written.is_doubtful), (digits, False), (text, country))

    def test_doubt(self) -> None:
        """What is probably not what was meant is doubtful; the number meant is told where it is known."""
        for text, country, meant in (
            ("+49 030 1234567", "", "+49 30 1234567"),
            ("030 1234567/68", "DE", ""),
            ("030/1234567/68", "DE", ""),
            ("+49 30 1234567/68", "", ""),
            ("600 112 233 600 112 244", "", ""),
            ("+49 030 1234567", "DE", "+49 30 1234567"),
            ("0049 030 1234567", "DE", "+49 30 1234567"),
            ("49 30 1234567", "DE", "+49 30 1234567"),
            ("49 (0) 30 1234567", "", "+49 30 1234567"),
            ("30 1234567", "DE", "030 1234567"),
            ("+1 (0) 212 555 1234", "", "+1 212-555-1234"),
            ("1-800-FLOWERS", "US", "+1 800-356-9377"),
            ("030 1234567 ext. 12", "DE", "+49 30 1234567"),
            ("+49 30 1234567 ext. 12", "DE", "+49 30 1234567"),
            ("+34 900", "ES", ""),
            ("+34 600 112 233 / 600 112 234", "", ""),
            ("600 112 233 / 600 112 234", "ES", ""),
            ("9 2125551234", "US", ""),
            ("030 12345678901234567", "DE", ""),
        ):
            written = read_written(text, country)
            self.assertEqual((written.is_doubtful, written.meant), (True, meant), (text, country))
            if meant:  # which is taken, when it is sent back
                self.assertFalse(read_written(meant, country).is_doubtful, meant)

    def test_no_number(self) -> None:
        """Other text is no number, whatever the country."""
        for text in ("", "abc", "600&112", "600,112", "PJSIP/33", "\uff16\uff10\uff10", "6\n0@x", "1" * 200, "030/1;x"):
            for country in ("", "DE", "US"):
                written = read_written(text, country)
                self.assertEqual((written.digits, written.is_doubtful), ("", False), (text, country))
        self.assertEqual(read_written("030/1234567").digits, "")
        for text in ("+34 600 112 233 +34 600 112 244", "++34600112233", "34600112233+", "+", "( + )"):
            for country in ("", "DE", "ES"):
                written = read_written(text, country)
                self.assertEqual((written.digits, written.is_doubtful), ("", False), (text, country))

    @settings(max_examples=150, deadline=None)
    @given(st.text(alphabet="0123456789+()-/ .*#ax&,;\u202a", max_size=24), st.sampled_from(["", "DE", "US", "IT"]))
    def test_anything(self, text: str, country: str) -> None:
        """Nothing but digits, * # and + comes of any text, and at most what was written and a prefix."""
        written = read_written(text, country)
        self.assertRegex(written.digits, r"\A[0-9*#+]*\Z")
        self.assertLessEqual(len(written.digits), len(text))

    def test_countries(self) -> None:
        """A country is known by its code of two letters, in either case."""
        self.assertTrue(country_exists("DE") and country_exists("es"))
        for code in ("XX", "D", "Germany", "49", "001"):
            self.assertFalse(country_exists(code), code)
