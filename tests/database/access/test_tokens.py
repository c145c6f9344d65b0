"""API tokens in the database: added, found and revoked, stored as hashes."""

from __future__ import annotations

import re

from pbxrouter.database.access.tokens import (
    MAX_TOKEN_NAME,
    add_token,
    find_token,
    list_tokens,
    note_use,
    revoke_token,
    token,
    valid_token,
)
from pbxrouter.database.audit import Actor, entry, find_entries
from pbxrouter.errors import EditConflict, EditRefused, NotThere
from pbxrouter.security import Scope, TokenInfo
from tests.database.postgresql import OnBothEngines

ROOT = Actor("root", "command")
HUGE = (2**64, -(2**70))


class TokenTests(OnBothEngines):
    """API tokens in the database."""

    def setUp(self) -> None:
        """Create the database and connect to it."""
        self.connection = self.database()

    def add(self, name: str, token_hash: str = "h", *scopes: Scope) -> int:
        """Add a token with the scope read, unless others are given."""
        return add_token(self.connection, ROOT, 0.0, name, token_hash, scopes or (Scope.READ,))

    def test_life(self) -> None:
        """A valid token is found by number, name and hash, a revoked one by its number."""
        number = self.add("shop", "h1", Scope.ADMIN, Scope.READ)
        found = token(self.connection, number)
        self.assertRegex(found.created, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual(
            found, TokenInfo(number, "shop", found.created, None, None, frozenset({Scope.READ, Scope.ADMIN}))
        )
        self.assertEqual(find_token(self.connection, "h1"), found)
        self.assertIsNone(find_token(self.connection, "h2"))
        self.assertEqual(valid_token(self.connection, "shop"), number)
        revoke_token(self.connection, ROOT, 86_400.0, number)
        self.assertEqual(token(self.connection, number).revoked, "1970-01-02T00:00:00Z")
        self.assertIsNone(find_token(self.connection, "h1"))
        error = self.assertRaises(NotThere, valid_token, self.connection, "shop")
        self.assertEqual(str(error), "no valid token is named shop; `pbxrouter token list` shows all")
        self.assertEqual(error.field, "name")
        again = self.add("shop", "h2")
        self.assertEqual([row.token_id for row in list_tokens(self.connection)], [number, again])
        self.assertEqual(
            [(row.action, row.kind, row.name, row.who) for row in find_entries(self.connection)],
            [
                ("create", "token", "shop", "root"),
                ("revoke", "token", "shop", "root"),
                ("create", "token", "shop", "root"),
            ],
        )

    def test_revoking_one_leaves_the_others(self) -> None:
        """Revoking a token leaves the others valid."""
        one, two = self.add("one", "h1"), self.add("two", "h2")
        revoke_token(self.connection, ROOT, 5.0, one)
        self.assertEqual(
            [(row.token_id, row.revoked) for row in list_tokens(self.connection)],
            [(one, "1970-01-01T00:00:05Z"), (two, None)],
        )
        (change,) = entry(self.connection, 3).changes
        self.assertEqual((change.before or {})["revoked_at"], "")
        self.assertEqual((change.after or {})["revoked_at"], "1970-01-01T00:00:05Z")

    def test_not_there(self) -> None:
        """An unknown token is named by number, one too large for SQLite too; a token is revoked once."""
        number = self.add("shop")
        revoke_token(self.connection, ROOT, 5.0, number)
        for missing in (99, *HUGE):
            error = self.assertRaises(NotThere, token, self.connection, missing)
            self.assertEqual(str(error), f"there is no token {missing}")
        for missing in (number, 99, *HUGE):
            error = self.assertRaises(NotThere, revoke_token, self.connection, ROOT, 6.0, missing)
            self.assertEqual(str(error), f"there is no valid token {missing}")
        self.assertEqual(len(find_entries(self.connection)), 2)

    def test_names(self) -> None:
        """A name has 1 to 80 printable characters, and belongs to one valid token."""
        for name in ("", "  ", "x" * (MAX_TOKEN_NAME + 1), "a\nb", "\x00"):
            error = self.assertRaises(EditRefused, self.add, name)
            self.assertEqual((str(error), error.field), ("a token's name is 1 to 80 printable characters", "name"))
        self.assertEqual(token(self.connection, self.add("x" * 80)).name, "x" * 80)
        self.add("shop", "h1")
        error = self.assertRaises(EditConflict, self.add, "shop", "h2")
        self.assertEqual(
            (str(error), error.field),
            ("there is already a token named shop; revoke it or choose another name", "name"),
        )
        self.assertEqual(len(list_tokens(self.connection)), 2)

    def test_scopes(self) -> None:
        """A token has at least one scope; unknown scopes in the database count for nothing."""
        error = self.assertRaises(EditRefused, add_token, self.connection, ROOT, 1.0, "shop", "h", ())
        self.assertEqual(
            (str(error), error.field), ("a token needs at least one scope: read, rules, dial, admin", "scopes")
        )
        number = self.add("shop", "h", *Scope)
        self.assertEqual(token(self.connection, number).scopes, frozenset(Scope))
        for text, scopes in (("root dial", {Scope.DIAL}), ("", set()), (7, set())):
            self.connection.execute("UPDATE api_tokens SET scopes = :text", {"text": text})
            self.assertEqual(token(self.connection, number).scopes, scopes)

    def test_use(self) -> None:
        """Use is stored for its token, once a minute."""
        one, two = self.add("one", "h1"), self.add("two", "h2")
        note_use(self.connection, one)
        used = token(self.connection, one).last_used
        assert used is not None
        self.assertTrue(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:00Z", used), used)
        self.assertIsNone(token(self.connection, two).last_used)
        self.connection.execute("UPDATE api_tokens SET last_used_at = 'long ago' WHERE token_id = :id", {"id": one})
        self.connection.commit()
        note_use(self.connection, one)
        self.assertGreaterEqual(str(token(self.connection, one).last_used), used)
        self.assertNotEqual(token(self.connection, one).last_used, "long ago")
        self.assertEqual(len(find_entries(self.connection)), 2)

    def test_not_in_the_audit_log(self) -> None:
        """The audit log has no token's hash, and its creation cannot be undone."""
        self.add("shop", "feedbeef")
        (made,) = find_entries(self.connection)
        self.assertFalse(made.can_be_undone)
        self.assertNotIn("feedbeef", repr(entry(self.connection, made.audit_id)))
