"""`pbxrouter migrate`: what it prints, and what it refuses."""

from __future__ import annotations

import contextlib
from pathlib import Path

from click.testing import CliRunner, Result

from pbxrouter import database
from pbxrouter.cli.app import pbxrouter
from pbxrouter.database import PostgreSQLPlace
from pbxrouter.database.rules.sample import add_sample
from tests.database.postgresql import OnBothEngines
from tests.database.test_connection import hash_pin


class MigrateTests(OnBothEngines):
    """A migration to an engine, from a file."""

    def setUp(self) -> None:
        """Create the source."""
        self.source = Path(self.mktemp()).absolute()
        database.create(self.source)
        with contextlib.closing(database.connect(self.source)) as connection:
            add_sample(connection, hash_pin)
        Path(f"{self.source}.pinkey").write_text("key")

    def run_it(self, *arguments: str) -> Result:
        """Run the command in a folder without settings."""
        with CliRunner().isolated_filesystem(self.mktemp_parent()):
            return CliRunner().invoke(pbxrouter, ["migrate", *arguments], standalone_mode=False)

    def mktemp_parent(self) -> str:
        """A folder."""
        folder = Path(self.mktemp())
        folder.mkdir()
        return str(folder)

    def target(self) -> str:
        """What names a database without tables."""
        if self.is_sqlite:
            return f"sqlite:{Path(self.mktemp()).absolute()}"
        place = self.server_database(empty=True)
        assert isinstance(place, PostgreSQLPlace)
        return place.url

    def test_to_a_new_database(self) -> None:
        """The target is created; tables are told with their counts, and what to do next: the key, the settings."""
        target = self.target()
        done = self.run_it(f"sqlite:{self.source}", target)
        self.assertEqual(0, done.exit_code, done.output)
        self.assertIn("created the database", done.output)
        self.assertIn("5 applications_mappings", done.output)
        self.assertIn(f"as many as in {self.source}", done.output)
        self.assertIn(f"cp -p {self.source}.pinkey ", done.output)
        self.assertIn('now set database = "', done.output)
        again = self.run_it(str(self.source), target)
        self.assertEqual(0, again.exit_code, again.output)
        self.assertNotIn("created", again.output)

    def test_a_source_that_is_not_there(self) -> None:
        """A typo in the source creates no target."""
        target = f"{Path(self.mktemp()).absolute()}"
        done = self.run_it("sqlite:/nowhere/x.sqlite", target)
        self.assertEqual(2, done.exit_code)
        self.assertIn("there is no directory /nowhere", done.output)
        self.assertFalse(Path(target).exists())

    def test_wrong_arguments(self) -> None:
        """What is no database, a password on the command line and twice the same database are refused."""
        for source, target, said in (
            ("mysql://x/y", "b", "accepted is sqlite:FILE or postgresql://USER@HOST/NAME"),
            ("sqlite:", "b", "names no file"),
            (str(self.source), f"sqlite:{self.source}", "the same database"),
            (str(self.source), "postgresql://eva:secret@localhost/x", "a password on the command line"),
        ):
            done = self.run_it(source, target)
            self.assertEqual(2, done.exit_code, done.output)
            self.assertIn(said, done.output)
            self.assertNotIn("secret", done.output)
