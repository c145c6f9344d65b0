"""PINs: which are accepted, their hashes, and new ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.errors import PinError
from pbxrouter.security.pins import check_old_pin, check_pin, generate_pin, hash_pin, is_obvious, weak_pins

KEY = bytes(range(32))


class HashTests(SynchronousTestCase):
    """The hash of a PIN."""

    def test_known_value(self) -> None:
        """The hash is HMAC-SHA256 in hex, as `openssl dgst -sha256 -mac HMAC` prints it."""
        self.assertEqual(
            hash_pin(bytes(32), "123456"), "dbd978ccdbbe8b6de77f6b37b5df9b5b62a7e892a501c3b53eaa16b0838bd5ed"
        )

    def test_a_leading_zero_counts(self) -> None:
        """0123 and 123 are different PINs."""
        self.assertNotEqual(hash_pin(KEY, "0123"), hash_pin(KEY, "123"))

    def test_the_key_counts(self) -> None:
        """Another key gives another hash: the database alone reveals no PIN."""
        self.assertNotEqual(hash_pin(KEY, "1234"), hash_pin(KEY[::-1], "1234"))

    @given(st.text(alphabet=st.characters()))
    def test_any_text_has_a_hash(self, text: str) -> None:
        """Any text, lone surrogates included."""
        self.assertRegex(hash_pin(KEY, text), r"\A[0-9a-f]{64}\Z")


class CheckTests(SynchronousTestCase):
    """Which texts may become a PIN."""

    def test_accepted(self) -> None:
        """6 to 16 digits are accepted unchanged."""
        for pin in ("704915", "083341", "1357924680135792"):
            self.assertEqual(check_pin(pin), pin)

    def test_refused_without_being_shown(self) -> None:
        """Anything else is refused, and the message says what is accepted, but not the PIN."""
        for pin in ("", "70491", "12345678901234567", "70a915", "70*915", "704915\n", " 704915", "٧٠٤٩١٥"):
            error = self.assertRaises(PinError, check_pin, pin)
            self.assertEqual(str(error), "this PIN cannot be used; accepted are 6 to 16 digits")

    def test_obvious_ones(self) -> None:
        """Repetitions, runs and years are refused in the same words as another user's PIN."""
        for pin in (
            "111111 123456 987654 121212 123123 112233 111222 332211 123321 654456 1234321 198401 001984 011984"
            " 198499 1984000 19842006 20061231 31122006"
            " 654321 202020 199019 112211 100001 789456 456123 147258 159753 963852 123654 258000 102030 010203 101112"
            " 142536 192837 445566 12345678 147258369 1020304 24681357"
        ).split():
            error = self.assertRaises(PinError, check_pin, pin)
            self.assertEqual(str(error), "this PIN cannot be used; choose another one")

    def test_others(self) -> None:
        """Digits that only resemble a run or a year are accepted."""
        for pin in "112243 124421 135790 201900731 180012 704915 240512 271828 159754 1472583 12345670".split():
            self.assertEqual(check_pin(pin), pin)

    def test_old_ones(self) -> None:
        """An imported PIN may be short or easy to guess."""
        for pin in ("123", "0000", "123456"):
            self.assertEqual(check_old_pin(pin), pin)
        for pin in ("", "12", "12345678901234567", "12a4"):
            self.assertRaises(PinError, check_old_pin, pin)

    def test_weak_ones_are_found(self) -> None:
        """The weak PINs that the doctor looks for include all short ones and the obvious ones of six digits."""
        weak = set(weak_pins())
        self.assertTrue({"000", "777", "4711", "99999", "123456", "198412"} <= weak)
        self.assertNotIn("704915", weak)
        six = {pin for pin in weak if len(pin) == 6}
        self.assertEqual(len(weak), 111_000 + len(six))
        self.assertTrue(all(map(is_obvious, six)))
        sample = {f"{number:06d}" for number in range(0, 10**6, 13)}
        self.assertEqual({pin for pin in sample if is_obvious(pin)}, six & sample)


class GenerateTests(SynchronousTestCase):
    """Generating PINs at random."""

    def test_can_be_used(self) -> None:
        """A new PIN passes the check, for every length that it accepts."""
        for digits in range(6, 17):
            self.assertEqual(len(check_pin(generate_pin(digits))), digits)

    def test_none_that_is_tried_first(self) -> None:
        """A new PIN is neither one digit repeated nor a run of digits."""
        pins = {generate_pin() for _ in range(5000)}
        self.assertEqual({pin for pin in pins if is_obvious(pin)}, set())
        self.assertGreater(len(pins), 4900)

    def test_length_is_checked(self) -> None:
        """An impossible length is refused instead of searched for without end."""
        for digits in (0, 1, 2, 5, 17):
            self.assertRaises(PinError, generate_pin, digits)
