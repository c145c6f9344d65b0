"""`pbxrouter token`, and its rows in the database."""

from __future__ import annotations

from click.testing import CliRunner, Result

from pbxrouter.cli.app import pbxrouter
from pbxrouter.cli.token import SCOPES
from pbxrouter.database.access.tokens import find_token, note_use
from pbxrouter.database.audit import find_entries
from pbxrouter.security.tokens import Scope, hash_token
from tests.database.postgresql import OnBothEngines, dump, option_of


class TokenCommand(OnBothEngines):
    """`pbxrouter token` on a new database."""

    def setUp(self) -> None:
        """Create the database."""
        self.place = self.new_place()

    def token(self, *arguments: str) -> Result:
        """Run `pbxrouter token …`."""
        return CliRunner().invoke(pbxrouter, ["token", *arguments, "--database", option_of(self.place)])

    def found(self, token: str) -> str | None:
        """Use a token: its name, and its scopes."""
        connection = self.open(self.place)
        info = find_token(connection, hash_token(token))
        if info is None:
            return None
        note_use(connection, info.token_id)
        return f"{info.name}: {', '.join(sorted(scope.value for scope in info.scopes))}"

    def test_life(self) -> None:
        """A token is created, shown once, used, listed and revoked."""
        made = self.token("create", "web shop")
        self.assertEqual(made.exit_code, 0, made.output)
        secret = made.output.strip()
        self.assertIn("web shop: for dial; created", self.token("list").output)
        self.assertIn("never used", self.token("list").output)
        self.assertEqual(self.found(secret), "web shop: dial")
        self.assertIn("last used", self.token("list").output)
        self.assertNotIn(secret, self.token("list").output)
        self.assertNotIn(secret, repr(dump(self.open(self.place))))
        self.assertEqual(self.token("revoke", "web shop").exit_code, 0)
        self.assertIsNone(self.found(secret))
        self.assertIn("revoked", self.token("list").output)

    def test_scopes(self) -> None:
        """Scopes are those named, in the list too; unknown ones are refused."""
        made = self.token("create", "desk", "--scope", "rules", "--scope", "read", "--scope", "read")
        self.assertEqual(self.found(made.output.strip()), "desk: read, rules")
        self.assertIn("desk: for read, rules; created", self.token("list").output)
        self.assertEqual(SCOPES, tuple(scope.value for scope in Scope))
        for arguments in (("create", "x", "--scope", "all"), ("revoke", "desk", "--scope", "read")):
            self.assertEqual(self.token(*arguments).exit_code, 2)

    def test_audit(self) -> None:
        """Creating and revoking a token are in the audit log."""
        self.token("create", "a")
        self.token("revoke", "a")
        self.token("revoke", "a")
        connection = self.open(self.place)
        self.assertEqual(
            [(entry.via, entry.action, entry.kind, entry.name) for entry in find_entries(connection)],
            [("command", "revoke", "token", "a"), ("command", "create", "token", "a")],
        )

    def test_names(self) -> None:
        """A name belongs to one valid token; after a revocation it is free again."""
        self.assertEqual(self.token("create", "a").exit_code, 0)
        again = self.token("create", "a")
        self.assertEqual(again.exit_code, 2)
        self.assertIn("already", again.output)
        self.assertEqual(self.token("revoke", "a").exit_code, 0)
        self.assertEqual(self.token("create", "a").exit_code, 0)

    def test_wrong(self) -> None:
        """Wrong options are one line, status 2."""
        for arguments in (
            ("create", ""),
            ("create", "x" * 81),
            ("create", "a\nb"),
            ("revoke", "nobody"),
            ("wibble",),
        ):
            said = self.token(*arguments)
            self.assertEqual((said.exit_code, said.output.count("\n")), (2, 1), said.output)

    def test_none(self) -> None:
        """An empty list says how to create a token."""
        self.assertIn("pbxrouter token create", self.token("list").output)
