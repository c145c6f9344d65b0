"""Tests of the command `pbxrouter lockouts`."""

from __future__ import annotations

import json
import time

from pbxrouter import database
from pbxrouter.database import admit_guess
from pbxrouter.database.audit import AuditSearch, find_entries
from pbxrouter.security import keys_of
from pbxrouter.security.guess_limits import FREE_GUESSES
from tests.cli.test_app import CommandTestCase, run
from tests.databases import new_database


class LockoutsTests(CommandTestCase):
    """`pbxrouter lockouts`, on a database with wrong PINs."""

    def setUp(self) -> None:
        """Create the database."""
        super().setUp()
        new_database(self.database)

    def guess(self, count: int) -> None:
        """Key wrong PINs at PJSIP/33."""
        connection = database.connect(self.database)
        self.addCleanup(connection.close)
        for _ in range(count):
            admit_guess(connection, keys_of("PJSIP/33-0000001a", "33", 1, frozenset()), time.time())

    def test_none(self) -> None:
        """Without wrong PINs the command says so."""
        result = run("lockouts", "--config", self.config)
        self.assertEqual((result.exit_code, result.stdout, result.stderr), (0, "", "no wrong PINs lately\n"))

    def test_listed_and_lifted(self) -> None:
        """Locked callers come first; one that is lifted is no longer listed."""
        self.guess(FREE_GUESSES + 2)
        lines = self.good("lockouts").splitlines()
        self.assertEqual(len(lines), 4)
        self.assertIn("locked out, 5 wrong PINs held against it, 2 not checked", lines[0])
        self.assertIn("gateway: not locked", "\n".join(lines))
        self.assertEqual(self.good("lockouts", "lift", "endpoint", "PJSIP/33"), "endpoint PJSIP/33: lifted\n")
        self.assertEqual(self.good("lockouts", "lift", "gateway"), "gateway: lifted\n")
        left = [json.loads(line)["key"]["scope"] for line in self.good("lockouts", "--json").splitlines()]
        self.assertEqual(sorted(left), ["mapping", "number"])
        connection = database.connect(self.database)
        self.addCleanup(connection.close)
        log = find_entries(connection, AuditSearch(), 5)
        self.assertEqual(
            [(row.via, row.name) for row in log], [("command", "gateway"), ("command", "endpoint PJSIP/33")]
        )

    def test_refused(self) -> None:
        """A missing argument, and a caller that is not listed, is named."""
        self.assertIn("lift takes a scope and a name", self.bad("lockouts", "lift"))
        self.assertIn("lift takes a scope and a name", self.bad("lockouts", "lift", "endpoint"))
        self.assertIn("list takes no scope and no name", self.bad("lockouts", "list", "endpoint", "x"))
        self.assertIn("there are no wrong PINs of number 7", self.bad("lockouts", "lift", "number", "7"))
