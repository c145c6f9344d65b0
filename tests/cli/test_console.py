"""`pbxrouter console`: set-up links and the list of users."""

from __future__ import annotations

import pathlib
import time

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.cli.app import pbxrouter
from pbxrouter.database.access.console_users import add_console_user, update_console_user
from pbxrouter.database.access.sessions import is_setup_link
from pbxrouter.database.audit import Actor
from pbxrouter.security.roles import Role
from pbxrouter.security.tokens import hash_token
from tests.databases import new_database


class ConsoleCommand(SynchronousTestCase):
    """`pbxrouter console` on a new database."""

    def setUp(self) -> None:
        """Make the database, and settings with a console."""
        directory = pathlib.Path(self.mktemp()).absolute()
        directory.mkdir()
        self.path = directory / "pbxrouter.sqlite"
        new_database(self.path)
        self.settings = directory / "pbxrouter.toml"
        self.settings.write_text('[web]\nlisten = "tcp:8181:interface=127.0.0.1"\n')
        self.connection = database.connect(self.path)
        self.addCleanup(self.connection.close)

    def console(self, action: str) -> Result:
        """Run `pbxrouter console …`."""
        return CliRunner().invoke(pbxrouter, ["console", action, "--config", str(self.settings)])

    def test_link(self) -> None:
        """The link can be used; the previous one no longer can."""
        first, second = (self.console("link").output.strip() for _ in range(2))
        self.assertTrue(second.startswith("http://127.0.0.1:8181/setup/"), second)
        good = [
            is_setup_link(self.connection, hash_token(value.rpartition("/")[2]), time.time())
            for value in (first, second)
        ]
        self.assertEqual(good, [False, True])

    def test_no_console(self) -> None:
        """Without a console the error names the setting."""
        self.settings.write_text("")
        self.assertIn("web.listen is not set", str(self.console("link").stderr))

    def test_list(self) -> None:
        """The list shows who may log in, and who is disabled."""
        self.assertIn("there are no console users yet", self.console("list").stderr)
        actor = Actor("root", "command")
        add_console_user(self.connection, actor, 1.0, "ana", "x", Role.ADMIN)
        number = add_console_user(self.connection, actor, 1.0, "ben", "x", Role.VIEWER)
        update_console_user(self.connection, actor, 1.0, number, enabled=False)
        self.assertEqual(
            self.console("list").output,
            "ana: admin, never logged in\nben: viewer, never logged in, disabled\n",
        )
