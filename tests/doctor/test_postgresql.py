"""The doctor on a database of PostgreSQL: the same checks, and no password in what it says."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.config import parsing
from pbxrouter.database.rules import add_sample
from pbxrouter.doctor import Finding
from pbxrouter.doctor.files import check_files, tied_extensions
from pbxrouter.security import create_key
from tests.database.postgresql import cluster

PASSWORD = "s3cr3t"


class PostgreSQLTests(SynchronousTestCase):
    """A gateway's files and its database on a server."""

    def setUp(self) -> None:
        """Create a database and the settings for it, with a password in the URL."""
        self.server = cluster()
        self.place = self.server.new_database()
        self.addCleanup(self.server.drop, self.place)
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.url = self.place.url.replace("pbxrouter@", f"pbxrouter:{PASSWORD}@")
        self.settings(f'database = "{self.url}"')
        create_key(Path(self.config.pin_key_file))

    def settings(self, text: str) -> None:
        """Set the settings."""
        self.config = parsing.parse(text, "x.toml", self.folder)

    def look(self) -> list[Finding]:
        """The findings; no password is in any."""
        found = list(check_files(self.config))
        self.assertNotIn(PASSWORD, " ".join(f"{finding.what} {finding.todo}" for finding in found))
        return found

    def said(self) -> str:
        """What is wrong."""
        return " ".join(str(finding.what) for finding in self.look())

    def test_a_good_one(self) -> None:
        """The database is shown with its version; extensions are read from it."""
        with closing(database.connect(self.place)) as connection:
            add_sample(connection, lambda pin: pin.encode().hex().rjust(64, "0"))
        said = self.said()
        self.assertIn("schema version", said)
        self.assertIn("5 mappings, each with a driver", said)
        self.assertEqual(tied_extensions(self.config.place), {})

    def test_not_there(self) -> None:
        """A database that is not on the server is wrong, and is not made."""
        self.settings(f'database = "{self.url.replace("/test_", "/none_")}"')
        self.assertIn("does not exist on the server", self.said())
        self.assertIsNone(tied_extensions(self.config.place))

    def test_locked(self) -> None:
        """While another program writes, it is told that not all could be checked."""
        with closing(database.connect(self.place)) as connection, database.transaction(connection):
            self.assertIn("is locked: another program has not ended its transaction", self.said())

    def test_older(self) -> None:
        """A database of an earlier version is not upgraded by the doctor."""
        with closing(database.connect(self.place)) as connection, database.transaction(connection):
            connection.execute("UPDATE schema_version SET version = version - 1")
        self.assertIn(f"its schema is version {database.SCHEMA_VERSION - 1}", self.said())
        self.assertEqual(database.peek_version(self.place), database.SCHEMA_VERSION - 1)

    def test_password_file(self) -> None:
        """A file with the password that others can read is wrong; rows that were set aside are found in the folder."""
        path = self.folder / "password"
        path.write_text(PASSWORD)
        path.chmod(0o644)
        (self.folder / "pbxrouter.set-aside").write_text("{}\n")
        self.settings(f'database = "{self.place.url}"\ndatabase_password_file = "password"')
        said = self.said()
        self.assertIn(f"{path} can be read by other users", said)
        self.assertIn("pbxrouter.set-aside: 1", said)
        path.chmod(0o600)
        self.assertNotIn("can be read by other users", self.said())
