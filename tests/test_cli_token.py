"""`pbxrouter token`, and the rows it leaves."""

from __future__ import annotations

import pathlib

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.cli.app import pbxrouter
from pbxrouter.database.tokens import find_token
from pbxrouter.tokens import hash_token


class TokenCommand(SynchronousTestCase):
    """A fresh database."""

    def setUp(self) -> None:
        """Made."""
        self.path = pathlib.Path(self.mktemp()).absolute()
        database.create(self.path)

    def token(self, *arguments: str) -> Result:
        """Run `pbxrouter token …`."""
        return CliRunner().invoke(pbxrouter, ["token", *arguments, "--database", str(self.path)])

    def found(self, token: str) -> str | None:
        """The name that a token is good for."""
        connection = database.connect(self.path)
        self.addCleanup(connection.close)
        info = find_token(connection, hash_token(token))
        return None if info is None else info.name

    def test_life(self) -> None:
        """Made, shown once, used, listed, revoked."""
        made = self.token("create", "web shop")
        self.assertEqual(made.exit_code, 0, made.output)
        secret = made.output.strip()
        self.assertIn("web shop: made", self.token("list").output)
        self.assertIn("never used", self.token("list").output)
        self.assertEqual(self.found(secret), "web shop")
        self.assertIn("last used", self.token("list").output)
        self.assertNotIn(secret, self.token("list").output)
        self.assertNotIn(secret.encode(), self.path.read_bytes())
        self.assertEqual(self.token("revoke", "web shop").exit_code, 0)
        self.assertIsNone(self.found(secret))
        self.assertIn("revoked", self.token("list").output)

    def test_names(self) -> None:
        """One name, one valid token; after a revocation it is free again."""
        self.assertEqual(self.token("create", "a").exit_code, 0)
        again = self.token("create", "a")
        self.assertEqual(again.exit_code, 2)
        self.assertIn("already", again.output)
        self.assertEqual(self.token("revoke", "a").exit_code, 0)
        self.assertEqual(self.token("create", "a").exit_code, 0)

    def test_wrong(self) -> None:
        """One line, status 2."""
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
        """An empty list says how to make one."""
        self.assertIn("pbxrouter token create", self.token("list").output)
