"""Passwords: what is accepted, what is stored."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.errors import EditRefused
from pbxrouter.security.passwords import check_new_password, hash_password, password_fits


class PasswordTests(SynchronousTestCase):
    """Real argon2."""

    def test_stored_and_found_again(self) -> None:
        """The right one fits, no other does, and nothing of it can be read."""
        stored = hash_password("correct horse")
        self.assertTrue(stored.startswith("$argon2id$"))
        self.assertNotIn("horse", stored)
        self.assertTrue(password_fits(stored, "correct horse"))
        self.assertFalse(password_fits(stored, "correct horsf"))
        self.assertNotEqual(stored, hash_password("correct horse"))

    def test_nobody_and_nonsense(self) -> None:
        """No user, or a row somebody wrote by hand: nobody gets in, and nothing breaks."""
        self.assertFalse(password_fits(None, "nobody has this password"))
        self.assertFalse(password_fits("secret", "secret"))

    def test_new_passwords(self) -> None:
        """Long enough, not the login, not one letter; what is refused is not shown."""
        self.assertEqual(check_new_password("battery staple", "ana"), "battery staple")
        for password in ("short", "x" * 201, "a" * 12, "Ana.Maria.Lopez"):
            error = self.assertRaises(EditRefused, check_new_password, password, "ana.maria.lopez")
            self.assertNotIn(password, str(error))
            self.assertEqual(error.field, "password")
