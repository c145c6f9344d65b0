"""Passwords: which are accepted, and what is stored."""

from __future__ import annotations

from typing import Literal

from argon2 import PasswordHasher
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.errors import EditRefused
from pbxrouter.security.passwords import PasswordHashes, check_new_password
from tests.fakes import QUICK_ARGON2


class RecordingHasher(PasswordHasher):
    """A quick hasher that records the lengths of the passwords that it checks."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.checked: list[int] = []

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
        """Verify a password, and keep its length."""
        self.checked.append(len(password))
        return super().verify(hash, password)


class PasswordTests(SynchronousTestCase):
    """Passwords, with argon2 at full strength in the test of its parameters."""

    def test_full_strength(self) -> None:
        """The default parameters are those of RFC 9106, section 4: 64 MiB, three passes, four lanes."""
        self.assertRegex(PasswordHashes().hash("correct horse"), r"\A\$argon2id\$v=19\$m=65536,t=3,p=4\$")

    def test_stored_and_found_again(self) -> None:
        """The right password matches its hash and no other does; the hash does not show it."""
        hashes = PasswordHashes(QUICK_ARGON2)
        stored = hashes.hash("correct horse")
        self.assertTrue(stored.startswith("$argon2id$"))
        self.assertNotIn("horse", stored)
        self.assertTrue(hashes.fits(stored, "correct horse"))
        self.assertFalse(hashes.fits(stored, "correct horsf"))
        self.assertNotEqual(stored, hashes.hash("correct horse"))

    def test_no_user_and_invalid_hashes(self) -> None:
        """No user, or an invalid hash: the password does not match, and nothing is raised."""
        hashes = PasswordHashes(QUICK_ARGON2)
        self.assertFalse(hashes.fits(None, "no user has this password"))
        self.assertFalse(hashes.fits("secret", "secret"))

    def test_work(self) -> None:
        """Each log-in checks one password of at most 200 characters, also for an unknown user."""
        hasher = RecordingHasher()
        hashes = PasswordHashes(hasher)
        stored = hashes.hash("correct horse")
        for known, password in ((stored, "correct horse"), (stored, "x" * 10), (None, "x" * 10), (stored, "x" * 10**6)):
            hashes.fits(known, password)
        self.assertEqual(hasher.checked, [13, 10, 10, 200])

    def test_new_passwords(self) -> None:
        """A new password is long enough, not the login, and not one letter repeated; a refused one is not shown."""
        self.assertEqual(check_new_password("battery staple", "ana"), "battery staple")
        for password in ("short", "x" * 201, "a" * 12, "Ana.Maria.Lopez"):
            error = self.assertRaises(EditRefused, check_new_password, password, "ana.maria.lopez")
            self.assertNotIn(password, str(error))
            self.assertEqual(error.field, "password")
