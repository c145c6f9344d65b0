"""The commands on a database of PostgreSQL, as its owner types them from the first day on."""

from __future__ import annotations

import time

from pbxrouter import database
from pbxrouter.database import admit_guess
from pbxrouter.security import keys_of
from pbxrouter.security.guess_limits import FREE_GUESSES
from tests.cli.test_app import CommandTestCase
from tests.database.postgresql import cluster
from tests.workshop.test_import import WORKSHOP


class CommandTests(CommandTestCase):
    """The settings name an empty database of a server."""

    def setUp(self) -> None:
        """Make the database, without tables."""
        super().setUp()
        server = cluster()
        self.place = server.new_database(empty=True)
        self.addCleanup(server.drop, self.place)
        self.write(f'database = "{self.place.url}"\nfolder = "{self.directory}"\n')

    def test_rules(self) -> None:
        """Tables and sample are made, PINs set, numbers explained, changes listed and undone."""
        self.assertIn("created the database", self.good("init", "--sample"))
        self.assertIn("exists already", self.good("init"))
        self.assertIn("2X", self.good("explain", "21", "--from", "33"))
        self.good("pin", "moises silva", stdin="482913\n482913\n")
        lines = self.good("changes").splitlines()
        self.assertIn("(command): pin user moises silva", lines[0])
        self.good("changes", "undo", lines[0].split()[0])
        self.assertIn("undo", self.good("changes").splitlines()[0])

    def test_import(self) -> None:
        """The workshop's rules are imported, once."""
        self.good("init")
        file = self.directory / "workshop.sql"
        file.write_text(WORKSHOP)
        self.assertIn("5", self.good("import", str(file)))
        self.good("import", str(file))
        connection = database.connect(self.place)
        self.addCleanup(connection.close)
        self.assertEqual(connection.execute("SELECT count(*) FROM applications_mappings").fetchone(), (5,))

    def test_lockouts(self) -> None:
        """Callers who have guessed wrong are listed, and lifted."""
        self.good("init")
        connection = database.connect(self.place)
        self.addCleanup(connection.close)
        for _ in range(FREE_GUESSES + 2):
            admit_guess(connection, keys_of("PJSIP/33-0000001a", "33", 1, frozenset()), time.time())
        self.assertIn("PJSIP/33", self.good("lockouts"))
        self.good("lockouts", "lift", "endpoint", "PJSIP/33")
        self.assertNotIn("endpoint PJSIP/33", self.good("lockouts"))

    def test_without_tables(self) -> None:
        """A database without tables is refused in a line that says what to do."""
        self.assertIn("pbxrouter init", self.bad("changes"))
