"""Tests of API tokens and their hashes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.security.tokens import (
    Scope,
    bearer,
    hash_token,
    new_token,
    scopes_of,
    scopes_text,
)


class TokenTests(SynchronousTestCase):
    """Tokens, their hashes and scopes."""

    def test_fresh(self) -> None:
        """Each new token is another one, and is found in its header."""
        one, two = new_token(), new_token()
        self.assertNotEqual(one, two)
        self.assertNotEqual(hash_token(one), hash_token(two))
        self.assertEqual(bearer(f"Bearer {one}"), one)
        self.assertEqual(bearer(f"bearer  {one} "), one)

    def test_hash(self) -> None:
        """The hash is hexadecimal and not the token; text that is not ASCII has a hash too."""
        token = new_token()
        self.assertRegex(hash_token(token), "^[0-9a-f]{64}$")
        self.assertNotIn(token, hash_token(token))
        self.assertEqual(len(hash_token("ñ\udc80")), 64)

    def test_scopes(self) -> None:
        """Scopes are words in a fixed order; unknown words are ignored."""
        self.assertEqual(scopes_text([Scope.ADMIN, Scope.READ, Scope.READ]), "read admin")
        self.assertEqual(scopes_of("admin  root read"), {Scope.READ, Scope.ADMIN})
        self.assertEqual(scopes_of(""), frozenset())

    def test_no_token_of_ours(self) -> None:
        """A header with anything else has no token."""
        token = new_token()
        for header in (
            None,
            "",
            "Bearer",
            "Bearer ",
            f"Basic {token}",
            token,
            f"Bearer {token}x",
            "Bearer pbxr_ñ",
        ):
            self.assertIsNone(bearer(header), header)
