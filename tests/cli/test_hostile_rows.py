"""Rows written by hand: every command prints what can be printed of them, on UTF-8 and ASCII terminals."""

from __future__ import annotations

import pathlib
import sqlite3
from collections.abc import Sequence
from contextlib import closing

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.cli.app import pbxrouter
from pbxrouter.database.rules.sample import add_sample
from tests.databases import new_database
from tests.fakes import hash_pin
from tests.hostile_text import VALUES, fill, spoil

COMMANDS: Sequence[Sequence[str]] = (
    ("history", "--trace"),
    ("history", "--csv"),
    ("history", "--json", "--trace"),
    ("history", "--from", "3*"),
    ("counter",),
    ("counter", "--json", "--minutes", "5"),
    ("counter", "--busiest", "5"),
    ("counter", "--by", "user"),
    ("explain", "21", "--from", "33"),
    ("explain", "21", "--from", "33", "--json"),
    ("lockouts", "list"),
    ("changes", "list"),
    ("changes", "show", "1"),
    ("token", "list"),
    ("console", "list"),
    ("endpoint",),
)


class HostileRows(SynchronousTestCase):
    """A database that was edited."""

    def test_commands(self) -> None:
        """No command fails by a bug, and none prints what could do something to a terminal."""
        path = pathlib.Path(self.mktemp()).absolute()
        new_database(path)
        with closing(database.connect(path)) as connection:
            add_sample(connection, lambda pin: hash_pin(pin).encode().hex().ljust(64, "0")[:64])
            fill(connection, "h")
        with closing(sqlite3.connect(path)) as live, closing(sqlite3.connect(":memory:")) as before:
            live.backup(before)
            for place, (name, value) in enumerate(VALUES.items()):
                spoil(live, value)
                for charset in ("utf-8", "ascii")[place % 2 :][:1]:
                    for command in COMMANDS:
                        arguments = [*command, "--database", str(path)]
                        result = CliRunner(charset=charset).invoke(pbxrouter, arguments)
                        where = f"{name}, {charset}: {' '.join(command)}: {result.output[:500]}"
                        self.assertNotIn("a bug in pbxrouter", result.output, where)
                        self.assertEqual(result.exit_code, 0, where)
                        self.assertTrue(result.output.replace("\n", "").replace("\t", "").isprintable(), where)
                before.backup(live)
