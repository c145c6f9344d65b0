"""Tests of the command `pbxrouter history`."""

from __future__ import annotations

import csv
import io
import json
import pathlib
from dataclasses import replace

from click.testing import CliRunner, Result

from pbxrouter import database
from pbxrouter.call.history_writer import row_of
from pbxrouter.cli.app import pbxrouter
from pbxrouter.database.calls.history import add_calls
from tests.call.test_history_writer import record
from tests.database.postgresql import OnBothEngines, option_of


class HistoryCommand(OnBothEngines):
    """`pbxrouter history` with three calls."""

    def setUp(self) -> None:
        """Create a database with a few calls."""
        self.place = self.new_place()
        connection = self.open(self.place)
        calls = (
            record("21", "33", 1e9),
            record("+52", "=1+1", 1.1e9, "BUSY"),
            record("34", "33", 1.2e9, "DENIED"),
        )
        rows = [row_of(call) for call in calls]
        rows[1] = replace(rows[1], forwarded_by="PJSIP/21")
        add_calls(connection, rows)

    def history(self, *arguments: str) -> Result:
        """Run `pbxrouter history` and return what it prints."""
        return CliRunner().invoke(pbxrouter, ["history", *arguments, "--database", option_of(self.place)])

    def test_list(self) -> None:
        """The list is newest first, one line a call."""
        lines = self.history().output.splitlines()
        self.assertEqual(len(lines), 3)
        self.assertIn("33 -> 34  dial SIP  DENIED", lines[0])
        self.assertIn("=1+1 forwarded by PJSIP/21 -> +52  dial SIP  BUSY", lines[1])
        self.assertIn("33 -> 21  dial SIP  ANSWER, 5 s of talk", lines[2])

    def test_asterisks(self) -> None:
        """Calls are filtered by their Asterisk; with several in the settings each line begins with its own."""
        with database.transaction(connection := self.open(self.place)):
            connection.execute("UPDATE calls SET asterisk = 'lima' WHERE number = '34'")
        self.assertEqual(len(self.history("--asterisk", "lima").output.splitlines()), 1)
        self.assertEqual(len(self.history("--asterisk", "").output.splitlines()), 2)
        self.assertEqual(json.loads(self.history("--asterisk", "lima", "--json").output)["asterisk"], "lima")
        self.assertNotIn("lima", self.history().output)
        settings = pathlib.Path(self.mktemp()).absolute()
        settings.write_text("[[asterisk]]\nname = 'lima'\n[[asterisk]]\nname = 'b'\n")
        lines = self.history("--config", str(settings)).output.splitlines()
        self.assertIn("  lima: 33 -> 34", lines[0])
        self.assertIn("  (Asterisk unknown): 33 -> 21", lines[2])

    def test_trace(self) -> None:
        """--trace adds the reasons."""
        self.assertIn("    33 may use 2X by its own grant\n", self.history("--trace").output)

    def test_filters(self) -> None:
        """Calls are filtered by caller, number, outcome, time and count."""
        for arguments, count in (
            (("--from", "33"), 2),
            (("--to", "34"), 1),
            (("--outcome", "busy"), 1),
            (("--forwarded-by", "21"), 1),
            (("--forwarded-by", "PJSIP/2*"), 1),
            (("--forwarded-by", "33"), 0),
            (("--since", "2005-01-01"), 1),
            (("--until", "2002-01-01 12:00"), 1),
            (("--since", "1h"), 0),
            (("--limit", "2"), 2),
        ):
            self.assertEqual(len(self.history(*arguments).output.splitlines()), count, arguments)

    def test_json(self) -> None:
        """--json prints one object a line."""
        first = json.loads(self.history("--json").output.splitlines()[0])
        self.assertEqual((first["number"], first["outcome"]), ("34", "DENIED"))
        self.assertEqual(first["trace"], ["33 may use 2X by its own grant"])

    def test_csv(self) -> None:
        """No cell of the CSV begins a formula."""
        rows = list(csv.DictReader(io.StringIO(self.history("--csv").output)))
        self.assertEqual([row["caller"] for row in rows], ["33", "'=1+1", "33"])
        self.assertEqual(rows[1]["number"], "+52")

    def test_zone(self) -> None:
        """Times are read and shown in the time zone of the settings, in a list and as CSV."""
        settings = pathlib.Path(self.mktemp())
        settings.write_text('[web]\ntimezone = "Asia/Tokyo"\n')
        zone = ("--config", str(settings), "--to", "21")
        self.assertIn("2001-09-09 10:46:40  33 -> 21", self.history(*zone).output)
        for since, count in (("2001-09-09 10:46:40", 1), ("2001-09-09 10:46:41", 0), ("2001-09-09 01:46:41+00:00", 0)):
            self.assertEqual(self.history(*zone, "--since", since).output.count("\n"), count, since)
        (row,) = csv.DictReader(io.StringIO(self.history(*zone, "--csv").output))
        self.assertEqual((row["began"], row["began_epoch"]), ("2001-09-09 10:46:40", "1000000000.0"))

    def test_bom(self) -> None:
        """A file for Excel begins with a byte order mark, once."""
        plain, marked = (self.history("--csv", *more).stdout_bytes for more in ((), ("--bom",)))
        self.assertEqual(marked, b"\xef\xbb\xbf" + plain)

    def test_wrong(self) -> None:
        """Wrong options are one line, status 2."""
        for arguments in (("--since", "yesterday"), ("--limit", "0"), ("--since", "99999-01-01")):
            said = self.history(*arguments)
            self.assertEqual((said.exit_code, said.output.count("\n")), (2, 1), said.output)
