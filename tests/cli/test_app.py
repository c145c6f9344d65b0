"""The command `pbxrouter`: what each command prints, and its error line."""

import fcntl
import json
import os
import pathlib
import pwd
import select
import signal
import sqlite3
import stat
import subprocess
import sys
import termios
import time
from typing import Any

import click
from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.cli.app import COMMANDS, pbxrouter
from pbxrouter.cli.options import pin_hasher, read_config
from pbxrouter.database import SCHEMA_VERSION
from tests import needs
from tests.database.older import make_older
from tests.needs import PATIENCE_S
from tests.paths import ROOT

WORKSHOP = """BEGIN TRANSACTION;
CREATE TABLE applications_mappings (map_id INTEGER PRIMARY KEY, application_name VARCHAR(10),
application_data VARCHAR(10), pattern VARCHAR(30));
INSERT INTO "applications_mappings" VALUES(1, 'dial', 'IAX2', '3X');
CREATE TABLE extensions (extension_id INTEGER PRIMARY KEY, extension_number INTEGER);
INSERT INTO "extensions" VALUES(1, 33);
CREATE TABLE extensions_mappings (ext_map_id INTEGER PRIMARY KEY, extension_id INTEGER, map_id INTEGER);
CREATE TABLE users (user_id INTEGER PRIMARY KEY, user_name VARCHAR(30), user_pin INTEGER);
INSERT INTO "users" VALUES(1, 'moises silva', 123456);
CREATE TABLE users_mappings (usr_map_id INTEGER PRIMARY KEY, user_id INTEGER, map_id INTEGER);
INSERT INTO "users_mappings" VALUES(1, 1, 1);
COMMIT;
"""


def run(*arguments: str, stdin: str | bytes = "") -> Result:
    """Run a command line in this process."""
    return CliRunner().invoke(pbxrouter, arguments, input=stdin)


def start(*arguments: str, cwd: str | pathlib.Path = ".", **how: object) -> "subprocess.Popen[bytes]":
    """Run a command line in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    settings: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    command = [sys.executable, "-m", "pbxrouter", *arguments]
    process: subprocess.Popen[bytes] = subprocess.Popen(command, cwd=cwd, env=environment, **{**settings, **how})
    return process


class CommandTestCase(SynchronousTestCase):
    """Test case with a directory and settings."""

    def setUp(self) -> None:
        """Create a directory with settings."""
        self.directory = pathlib.Path(self.mktemp()).absolute()
        self.directory.mkdir(parents=True)
        self.database = self.directory / "rules.sqlite"
        self.key = self.directory / "rules.sqlite.pinkey"
        self.config = str(self.directory / "settings.toml")
        self.write('database = "rules.sqlite"\n')

    def write(self, settings: str) -> None:
        """Write the settings file."""
        pathlib.Path(self.config).write_text(settings, encoding="utf-8")

    def good(self, *arguments: str, stdin: str = "") -> str:
        """Run a command line that succeeds; returns what it prints."""
        result = run(arguments[0], "--config", self.config, *arguments[1:], stdin=stdin)
        self.assertEqual((result.exit_code, result.stderr), (0, ""), result.output)
        return result.stdout

    def bad(self, *arguments: str, stdin: str | bytes = "") -> str:
        """Run a command line that fails; returns its one line."""
        result = run(arguments[0], "--config", self.config, *arguments[1:], stdin=stdin)
        self.assertEqual((result.exit_code, result.stdout), (2, ""), result.output)
        self.assertTrue(result.stderr.startswith("pbxrouter: "), result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        return result.stderr.removeprefix("pbxrouter: ").rstrip("\n")

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """The rows of a query."""
        connection = sqlite3.connect(self.database)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def execute(self, statement: str) -> None:
        """Change the database with SQL."""
        connection = sqlite3.connect(self.database)
        try:
            connection.execute(statement)
            connection.commit()
        finally:
            connection.close()


class FrameTests(CommandTestCase):
    """What all commands have in common."""

    def test_help(self) -> None:
        """Every command is listed, and has a help of its own that names --config."""
        listed = run("--help")
        self.assertEqual(listed.exit_code, 0)
        for name in COMMANDS:
            self.assertIn(f"\n  {name} ", listed.stdout)
            own = run(name, "--help")
            self.assertEqual(own.exit_code, 0)
            self.assertIn("--config FILE", own.stdout)

    def test_bytes_that_are_no_text(self) -> None:
        """An argument with bytes that are not UTF-8 is refused in one line, wherever it would have gone."""
        self.good("init", "--sample")
        for arguments in (
            ("pin", "a\udcff"),
            ("token", "revoke", "a\udcff"),
            ("endpoint", "a\udcff", "PJSIP/33"),
            ("history", "--outcome", "a\udcff"),
        ):
            self.assertEqual(
                self.bad(*arguments, stdin="127495\n127495\n"),
                "'a\\udcff' holds bytes that are no text; accepted is text in UTF-8"
                if arguments[0] != "history"
                else "'A\\udcff' holds bytes that are no text; accepted is text in UTF-8",
            )

    def test_version(self) -> None:
        """--version prints name and version."""
        self.assertRegex(run("--version").stdout, r"\Apbxrouter \d+\.\d+\S*\n\Z")

    def test_usage_errors(self) -> None:
        """A wrong command line is one line that names the command and where to read more."""
        for arguments, words in [
            (("frob",), "no such command 'frob'"),
            (("--frob",), "no such option"),
            (("explain", "--from", "33"), "explain: missing argument 'NUMBER'"),
            (("explain", "21"), "explain: missing option '--from'"),
            (("explain", "21", "34", "--from", "33"), "unexpected extra argument"),
            (("explain", "-5", "--from", "33"), "no such option"),
            (("call", "21", "--from", "33", "--hangup-at", "x"), "'x' is not a valid integer"),
            (("call", "21", "--from", "33", "--dialstatus", "MAYBE"), "'MAYBE' is not one of"),
        ]:
            result = run(*arguments)
            self.assertEqual(result.exit_code, 2, arguments)
            self.assertTrue(result.stderr.startswith("pbxrouter: "), result.stderr)
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
            self.assertIn(words, result.stderr)
            self.assertIn("--help`", result.stderr)

    def test_no_command(self) -> None:
        """Without a command the help is shown."""
        self.assertIn("Commands:", run().output)

    def test_bad_configuration(self) -> None:
        """The error for bad settings names the file, the key and what is accepted."""
        for settings, words in [
            ('databas = "x"', ("settings.toml", "databas", "database")),
            ("[fastagi]\nlisten = 5", ("settings.toml", "fastagi.listen")),
            ("database = ", ("settings.toml", "not TOML")),
        ]:
            self.write(settings)
            for command in (("init",), ("explain", "21", "--from", "33"), ("call", "21", "--from", "33")):
                line = self.bad(*command)
                for word in words:
                    self.assertIn(word, line)

    def test_no_configuration(self) -> None:
        """A settings file that was named must exist."""
        self.assertIn("nosuch.toml", self.bad("init", "--config", "nosuch.toml"))
        self.assertIn(str(self.directory), self.bad("init", "--config", str(self.directory)))

    def test_fault_of_ours(self) -> None:
        """An unexpected exception is reported in one line."""

        def broken() -> None:
            raise RuntimeError("a\nb")

        command = click.Command("broken", callback=broken)
        COMMANDS["broken"] = "tests.cli.test_app:BROKEN"
        self.addCleanup(COMMANDS.pop, "broken")
        sys.modules[__name__].BROKEN = command  # type: ignore[attr-defined]
        result = run("broken")
        self.assertEqual(result.exit_code, 2)
        self.assertRegex(
            result.stderr,
            r"\Apbxrouter: a bug in pbxrouter: RuntimeError at test_app.py:\d+: a b; "
            r"please report it\n\Z",
        )


class InitTests(CommandTestCase):
    """The command `pbxrouter init`."""

    def test_new(self) -> None:
        """Database and key are created, readable by their owner only."""
        printed = self.good("init")
        self.assertIn(str(self.database), printed)
        self.assertIn(str(self.key), printed)
        for path in (self.database, self.key):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, path)
        self.assertEqual(self.rows("SELECT * FROM applications_mappings"), [])

    def test_again(self) -> None:
        """A second run changes nothing, and says so."""
        self.good("init", "--sample")
        key = self.key.read_bytes()
        self.execute("UPDATE extensions SET extension_number = '44'")
        printed = self.good("init")
        self.assertIn("nothing changed", printed)
        self.assertEqual(self.key.read_bytes(), key)
        self.assertEqual(self.rows("SELECT extension_number FROM extensions"), [("44",)])

    def test_sample(self) -> None:
        """--sample writes the sample rules."""
        self.assertIn("sample rules", self.good("init", "--sample"))
        self.assertEqual(len(self.rows("SELECT * FROM applications_mappings")), 5)

    def test_sample_later(self) -> None:
        """--sample fills an existing database without rules."""
        self.good("init")
        self.assertIn("added the sample rules", self.good("init", "--sample"))

    def test_sample_not_into_rules(self) -> None:
        """--sample leaves a database with a row in any table of the rules as it is."""
        self.good("init")
        self.execute("INSERT INTO extensions (extension_number) VALUES ('7')")
        self.assertIn("not added", self.good("init", "--sample"))
        self.assertEqual(self.rows("SELECT * FROM applications_mappings"), [])

    def test_something_else(self) -> None:
        """A file that is not pbxrouter's database is refused and left as it was; no key is created."""
        self.database.write_text("hello, this is no database at all")
        self.assertIn(str(self.database), self.bad("init"))
        self.assertEqual(self.database.read_text(), "hello, this is no database at all")
        self.database.unlink()
        self.execute("CREATE TABLE recipes (name)")
        self.assertIn(str(self.database), self.bad("init", "--sample"))
        self.assertEqual(self.rows("SELECT name FROM sqlite_master"), [("recipes",)])
        self.assertFalse(self.key.exists())

    def test_a_directory(self) -> None:
        """A directory is refused."""
        self.database.mkdir()
        self.assertIn("directory", self.bad("init"))

    def test_no_file(self) -> None:
        """A path that is neither file nor directory is refused without waiting."""
        os.mkfifo(self.database)
        self.assertIn("is not a file", self.bad("init"))
        self.assertIn("/dev/null", self.bad("init", "--database", "/dev/null"))

    def test_nothing_in_it(self) -> None:
        """An empty file, and a database without tables, are used."""
        self.database.touch()
        self.assertIn("created the database", self.good("init"))
        self.database.unlink()
        self.execute("VACUUM")
        self.assertIn("created the database", self.good("init"))
        self.assertIn("nothing changed", self.good("init"))

    def test_older(self) -> None:
        """A database version that no upgrade starts from is an error of one line."""
        self.good("init")
        self.execute("DELETE FROM schema_version")
        self.assertIn("upgrade", run("init", "--config", self.config).stderr)

    def test_upgraded(self) -> None:
        """A database of an older version is upgraded, and one line names both versions and the backup."""
        self.good("init", "--sample")
        make_older(self.database)
        out = self.good("init")
        (backup,) = self.directory.glob(f"rules.sqlite.before-v{SCHEMA_VERSION}.*")
        self.assertEqual(
            out,
            f"database {self.database}: upgraded from schema version 1 to {SCHEMA_VERSION}; "
            f"the backup from before is {backup}\n",
        )
        self.assertIn("nothing changed", self.good("init"))

    def test_upgraded_by_another_command(self) -> None:
        """The line about an upgrade goes to standard error, so that the output is the command's own."""
        self.good("init", "--sample")
        make_older(self.database)
        result = run("explain", "21", "--from", "33", "--json", "--config", self.config)
        self.assertEqual(json.loads(result.stdout)["decision"], "allow")
        (backup,) = self.directory.glob(f"rules.sqlite.before-v{SCHEMA_VERSION}.*")
        self.assertEqual(
            result.stderr,
            f"database {self.database}: upgraded from schema version 1 to {SCHEMA_VERSION}; "
            f"the backup from before is {backup}\n",
        )

    def test_locked(self) -> None:
        """A database that another program has locked is named."""
        self.good("init", "--sample")
        connection = sqlite3.connect(self.database, isolation_level=None)
        self.addCleanup(connection.close)
        connection.execute("BEGIN EXCLUSIVE")
        self.assertIn("locked", self.bad("pin", "moises silva", "--generate"))

    def test_nowhere(self) -> None:
        """A missing directory is named."""
        self.write('database = "no/such/rules.sqlite"\n')
        self.assertIn(str(self.directory / "no/such"), self.bad("init"))

    def test_key_kept(self) -> None:
        """An existing key is used for a new database."""
        self.good("init")
        key = self.key.read_bytes()
        for path in self.directory.glob("rules.sqlite*"):
            if path != self.key:
                path.unlink()
        self.good("init")
        self.assertEqual(self.key.read_bytes(), key)

    def test_key_that_is_none(self) -> None:
        """A key file with other content is named."""
        self.key.write_text("x")
        self.key.chmod(0o600)
        self.assertIn(str(self.key), run("init", "--config", self.config).stderr)

    def test_key_lost(self) -> None:
        """A lost key is not replaced while PINs need it; without PINs a new one is created."""
        self.good("init", "--sample")
        self.key.unlink()
        self.assertIn("restore it from a backup", run("init", "--config", self.config).stderr)
        self.assertFalse(self.key.exists())
        self.execute("UPDATE users SET user_pin = NULL")
        self.assertIn(str(self.key), self.good("init"))

    def test_database_option(self) -> None:
        """--database takes precedence over the settings; the key is beside it."""
        other = self.directory / "other.sqlite"
        self.good("init", "--database", str(other))
        self.assertTrue(other.exists())
        self.assertTrue(self.directory.joinpath("other.sqlite.pinkey").exists())
        self.assertFalse(self.database.exists())

    def test_file_in_the_working_directory(self) -> None:
        """Without --config pbxrouter.toml is read if it is there, else the defaults."""
        process = start("init", cwd=self.directory)
        process.communicate()
        self.assertTrue(self.directory.joinpath("pbxrouter.sqlite").exists())
        self.directory.joinpath("pbxrouter.toml").write_text('database = "named.sqlite"\n')
        process = start("init", cwd=self.directory)
        process.communicate()
        self.assertTrue(self.directory.joinpath("named.sqlite").exists())


class EndpointTests(CommandTestCase):
    """The command `pbxrouter endpoint`."""

    def setUp(self) -> None:
        """Make the workshop's database."""
        super().setUp()
        self.good("init", "--sample")

    def test_life(self) -> None:
        """An endpoint is tied, listed and untied; each change is in the audit log."""
        self.assertEqual(self.good("endpoint", "33", "pjsip/33"), "33: PJSIP/33\n")
        self.execute("INSERT INTO extensions (extension_number) VALUES ('33 '), ('34')")
        self.assertEqual(self.good("endpoint"), "33: PJSIP/33\n33 : any endpoint\n34: any endpoint\n")
        self.assertEqual(self.good("endpoint", "--json").splitlines()[0], '{"extension": "33", "endpoint": "PJSIP/33"}')
        self.assertEqual(self.rows("SELECT * FROM extensions_endpoints"), [(1, "PJSIP/33")])
        self.assertEqual(self.good("endpoint", "33", "--remove"), "33: any endpoint\n")
        self.assertEqual(self.rows("SELECT * FROM extensions_endpoints"), [])
        self.assertEqual(
            self.rows("SELECT via, action, name FROM audit_log WHERE audit_id > 1"),
            [("command", "endpoint", "33"), ("sql", "create", "33 , 34"), ("command", "endpoint", "33")],
        )

    def test_refused(self) -> None:
        """Invalid arguments are one line that says what is accepted."""
        for arguments, said in (
            (("99", "PJSIP/99"), "99 is not among the extensions; accepted is the number of one"),
            (("33", "33"), "33 is not an endpoint; accepted is a technology and a name, such as PJSIP/33"),
            (("33",), "accepted is an extension with an endpoint, such as 33 PJSIP/33, or with --remove"),
            (("33", "PJSIP/33", "--remove"), "accepted is an extension with an endpoint"),
            (("--remove",), "--remove needs the number of an extension"),
        ):
            self.assertIn(said, self.bad("endpoint", *arguments))


class ExplainTests(CommandTestCase):
    """pbxrouter explain, on the workshop's rules."""

    def setUp(self) -> None:
        """Make the workshop's database."""
        super().setUp()
        self.good("init", "--sample")

    def explained(self, *arguments: str, stdin: str = "") -> dict[str, object]:
        """The JSON of an explanation."""
        printed = self.good("explain", "--json", *arguments, stdin=stdin)
        found = json.loads(printed)
        assert isinstance(found, dict)
        return found

    def test_allowed(self) -> None:
        """An extension's own grant allows the call."""
        self.assertEqual(
            self.explained("21", "--from", "33"),
            {
                "number": "21",
                "caller": "33",
                "decision": "allow",
                "pattern": "2X",
                "application": "dial",
                "data": "SIP",
                "map_id": 2,
                "forwarded_by": None,
                "granted_by": "33",
                "action": "Dial(PJSIP/21,60,i)",
                "cannot_work": None,
                "trace": ["21 matches 2X: dial SIP", "33 may use 2X by its own grant"],
                "others": [],
                "problems": [],
            },
        )

    def test_decisions(self) -> None:
        """The verdict and who granted it, for the workshop's callers."""
        for arguments, decision, granted_by in [
            (("34", "--from", "33"), "pin", None),
            (("34", "--from", "33", "--pin", "123456"), "allow", "moises silva"),
            (("34", "--from", "33", "--pin=123456"), "allow", "moises silva"),
            (("34", "--from", "33", "--pin", "000000"), "deny", None),
            (("12345678", "--from", "33", "--pin", "123456"), "deny", None),
            (("999", "--from", "33"), "invalid", None),
            (("21", "--from", "44"), "pin", None),
            (("2-1", "--from", "33"), "allow", "33"),
            (("*72#", "--from", "33"), "invalid", None),
            (("+5215512345678", "--from", "33"), "invalid", None),
            (("--from", "33", "--", "-21"), "allow", "33"),
            (("abc", "--from", "33"), "invalid", None),
        ]:
            found = self.explained(*arguments)
            self.assertEqual((found["decision"], found["granted_by"]), (decision, granted_by), arguments)

    def test_nothing_matches(self) -> None:
        """Without a match there is no pattern and no application."""
        found = self.explained("999", "--from", "33")
        self.assertEqual([found[key] for key in ("pattern", "application", "data", "map_id")], [None] * 4)
        self.assertEqual(found["trace"], ["no pattern matches 999"])

    def test_pattern_as_stored(self) -> None:
        """The pattern is shown as it was written."""
        self.execute("INSERT INTO applications_mappings (application_name, pattern) VALUES ('hangup', '_5x')")
        self.assertEqual(self.explained("51", "--from", "33")["pattern"], "_5x")

    def test_no_caller(self) -> None:
        """unknown, and an empty text, is a caller without a number."""
        for caller in ("unknown", ""):
            self.assertIsNone(self.explained("21", "--from", caller)["caller"])

    def test_forwarded(self) -> None:
        """The forwarder answers for the call, extension or endpoint; the output names caller and forwarder."""
        self.assertEqual(
            self.good("explain", "21", "--from", "0600112233", "--forwarded-by", "33"),
            "allowed: 0600112233, forwarded by 33, dials 21, which runs dial SIP\n  21 matches 2X: dial SIP\n"
            "  33 forwarded the call and answers for it in place of the caller\n  33 may use 2X by its own grant\n"
            "  Asterisk runs Dial(PJSIP/21,60,i)\n",
        )
        found = self.explained("21", "--from", "33", "--forwarded-by", "pjsip/44")
        self.assertEqual((found["decision"], found["caller"], found["forwarded_by"]), ("pin", "33", "PJSIP/44"))
        found = self.explained("21", "--from", "44", "--forwarded-by", "PJSIP/33")
        self.assertEqual((found["decision"], found["granted_by"], found["forwarded_by"]), ("allow", "33", "PJSIP/33"))

    def test_claimed(self) -> None:
        """A claim only narrows: caller and forwarder must be allowed."""
        for caller, forwarder, decision in (("33", "99", "pin"), ("44", "33", "pin"), ("33", "33", "allow")):
            found = self.explained("21", "--from", caller, "--claimed-forwarder", forwarder)
            self.assertEqual((found["decision"], found["forwarded_by"]), (decision, forwarder))
        self.assertIn(
            "  the call claims that 99 forwarded it, without proof: caller and 99 must be allowed\n",
            self.good("explain", "21", "--from", "33", "--claimed-forwarder", "99"),
        )

    def test_endpoint(self) -> None:
        """On a trunk no caller number counts; one that is tied to an endpoint counts only there."""
        self.execute("INSERT INTO extensions_endpoints VALUES (1, 'PJSIP/33')")
        with open(self.config, "a", encoding="utf-8") as settings:
            settings.write('trunks = ["PJSIP/provider"]\n')
        for endpoint, decision, why in (
            ("PJSIP/33", "allow", "33 may use 2X by its own grant"),
            ("PJSIP/34", "pin", "33 is tied to PJSIP/33, and the call came by PJSIP/34"),
            ("", "pin", "33 is tied to PJSIP/33, and the call's endpoint is not known"),
            (
                "PJSIP/provider",
                "pin",
                "the call came by the trunk PJSIP/provider, where the caller number 33 proves nothing",
            ),
        ):
            found = self.explained("21", "--from", "33", "--endpoint", endpoint)
            self.assertEqual((found["decision"], found["trace"][1]), (decision, why))  # type: ignore[index]
        found = self.explained("21", "--from", "33", "--forwarded-by", "PJSIP/provider")
        self.assertIn("PJSIP/provider is a trunk and has no grants", found["trace"])

    def test_typing_errors(self) -> None:
        """The error names the invalid value and what is accepted."""
        for arguments, said in (
            (
                ("--forwarded-by", "99"),
                "--forwarded-by: 99 is not among the extensions; accepted is the number of an extension, or an "
                "endpoint such as PJSIP/33",
            ),
            (
                ("--forwarded-by", "PJSIP/"),
                "--forwarded-by: PJSIP/ is not an endpoint; accepted is a technology and a name, such as PJSIP/33",
            ),
            (
                ("--endpoint", "33"),
                "--endpoint: 33 is not an endpoint; accepted is a technology and a name, such as PJSIP/33",
            ),
            (
                ("--endpoint", "PJSIP/33-0000001a"),
                "--endpoint: PJSIP/33-0000001a is a channel; accepted is its endpoint, PJSIP/33",
            ),
            (
                ("--claimed-forwarder", "PJSIP/33"),
                "--claimed-forwarder: PJSIP/33 is not a number that a call can claim; accepted is a number, such as 33",
            ),
            (
                ("--claimed-forwarder", "22", "--forwarded-by", "33"),
                "--claimed-forwarder: accepted is a forwarder, or a claimed forwarder, not both",
            ),
        ):
            self.assertIn(f"invalid value for {said}", self.bad("explain", "21", "--from", "33", *arguments))

    def test_words(self) -> None:
        """The text begins with the verdict, then comes the trace."""
        self.assertEqual(
            self.good("explain", "34", "--from", "33", "--pin", "123456"),
            "allowed: 33 dials 34, which runs dial IAX2\n  34 matches 3X: dial IAX2\n"
            "  33 has no grant for 3X\n  moises silva may use 3X by PIN\n  Asterisk runs Dial(IAX2/34,60,i)\n",
        )
        self.assertTrue(self.good("explain", "999", "--from", "33").startswith("invalid number: 33 dials 999\n"))

    def test_pin_never_printed(self) -> None:
        """The PIN is shown neither in the text nor in JSON."""
        for pin in ("123456", "987654"):
            for form in ((), ("--json",)):
                self.assertNotIn(pin, self.good("explain", "34", "--from", "33", "--pin", pin, *form))

    def test_pin_from_stdin(self) -> None:
        """`-` reads the PIN from one line of standard input."""
        self.assertEqual(self.explained("34", "--from", "33", "--pin", "-", stdin="123456\n")["decision"], "allow")
        self.assertEqual(self.explained("34", "--from", "33", "--pin", "-", stdin="123456")["decision"], "allow")
        self.assertIn("standard input", self.bad("explain", "34", "--from", "33", "--pin", "-"))

    def test_odd_bytes(self) -> None:
        """Control characters from outside are not printed."""
        printed = self.good("explain", "9\n\x1b[31m", "--from", "3\n\x1b[31m")
        self.assertNotIn("\x1b", printed)
        self.assertEqual(printed.count("\n"), 2)

    def test_problems(self) -> None:
        """Rules that were left out are named."""
        self.execute("INSERT INTO applications_mappings (application_name, pattern) VALUES ('dial', '[5')")
        self.assertIn("mapping 6 is left out", self.good("explain", "21", "--from", "33"))
        self.assertEqual(len(self.explained("21", "--from", "33")["problems"]), 1)  # type: ignore[arg-type]

    def test_missing_driver(self) -> None:
        """An application without a driver is named."""
        self.execute("INSERT INTO applications_mappings (application_name, pattern) VALUES ('teapot', '5X')")
        self.assertIn("no driver provides the application teapot", self.good("explain", "51", "--from", "unknown"))

    def test_no_database(self) -> None:
        """The error for a missing database says what to do."""
        for path in self.directory.glob("rules.sqlite*"):
            path.unlink()
        self.assertIn("pbxrouter init", self.bad("explain", "21", "--from", "33"))

    def test_key_only_for_pins(self) -> None:
        """The key is read only if a PIN is given."""
        self.key.unlink()
        self.assertEqual(self.explained("34", "--from", "33")["decision"], "pin")
        self.assertIn(str(self.key), self.bad("explain", "34", "--from", "33", "--pin", "1234"))

    def test_no_twisted(self) -> None:
        """The command does not import Twisted."""
        program = (
            "import sys; sys.argv = ['pbxrouter', 'explain', '21', '--from', '33', '-c', sys.argv[1]]\n"
            "from pbxrouter.cli import main\n"
            "try: main()\n"
            "except SystemExit: pass\n"
            "print([name for name in sys.modules if name.startswith('twisted')])"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, self.config],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.stdout.splitlines()[-1], "[]", done.stderr)


class PinTests(CommandTestCase):
    """The command `pbxrouter pin`."""

    def setUp(self) -> None:
        """Make the workshop's database."""
        super().setUp()
        self.good("init", "--sample")

    def opens(self, pin: str) -> bool:
        """Whether a PIN is the user's."""
        hash_pin = pin_hasher(read_config(self.config))
        return self.rows("SELECT user_pin FROM users") == [(hash_pin(pin),)]

    def test_from_stdin(self) -> None:
        """The PIN is one line of standard input; a leading zero is kept."""
        printed = self.good("pin", "moises silva", stdin="047108\n")
        self.assertNotIn("047108", printed)
        self.assertTrue(self.opens("047108"))
        sample, entry = self.rows("SELECT who, via, action, kind, name FROM audit_log")
        self.assertEqual(sample[2:], ("import", "import", "pbxrouter init --sample"))
        self.assertEqual(entry, (pwd.getpwuid(os.getuid()).pw_name, "command", "pin", "user", "moises silva"))

    def test_generate(self) -> None:
        """A generated PIN is printed on a line by itself."""
        pin = self.good("pin", "moises silva", "--generate")
        self.assertRegex(pin, r"\A[0-9]{6}\n\Z")
        self.assertTrue(self.opens(pin.strip()))

    def test_refused(self) -> None:
        """A text that is no PIN is refused without being shown, and the old PIN stays."""
        for line in ("12\n", "12345678901234567\n", "12ab\n", "\n", ""):
            said = self.bad("pin", "moises silva", stdin=line)
            self.assertIn("accepted", said)
            self.assertNotIn(line.strip() or "\0", said.replace("3 to 16", ""))
        self.assertIn("accepted", self.bad("pin", "moises silva", stdin=b"\xff\xfe\n"))
        self.assertTrue(self.opens("123456"))

    def test_no_such_user(self) -> None:
        """An unknown user is named."""
        self.assertIn("'nobody'", self.bad("pin", "nobody", "--generate"))

    def test_taken(self) -> None:
        """Another user's PIN is refused."""
        self.execute("INSERT INTO users (user_name) VALUES ('ana')")
        self.assertIn("choose another one", self.bad("pin", "ana", stdin="123456\n"))

    def test_not_among_the_arguments(self) -> None:
        """A PIN given as an argument is refused, and not shown."""
        self.assertNotIn("470918", self.bad("pin", "moises silva", "470918"))

    def at_terminal(self, *typed: str) -> tuple[int, str]:
        """Type lines at a terminal; returns the exit status and what the terminal showed."""
        terminal, other = needs.terminal()
        process = start(
            "pin",
            "moises silva",
            "-c",
            self.config,
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
        )
        os.close(other)
        self.addCleanup(process.kill)
        shown = b""
        for prompts, line in enumerate(typed, 1):
            # What is typed before the prompt is thrown away.
            while shown.count(b"PIN: ") + shown.count(b"confirmation: ") < prompts:
                self.assertTrue(select.select([terminal], [], [], PATIENCE_S)[0], shown)
                shown += os.read(terminal, 1024)
            os.write(terminal, line.encode() + b"\n")
        try:
            while chunk := os.read(terminal, 1024):
                shown += chunk
        except OSError:  # on Linux: the other end is closed
            pass
        os.close(terminal)
        return process.wait(), shown.decode()

    def test_at_a_terminal(self) -> None:
        """At a terminal the PIN is asked for twice, and not shown."""
        status, shown = self.at_terminal("470918", "470918")
        self.assertEqual(status, 0, shown)
        self.assertNotIn("470918", shown)
        self.assertTrue(self.opens("470918"))

    def test_mistyped_at_a_terminal(self) -> None:
        """At a terminal the PIN is asked for again when the second one differs."""
        status, shown = self.at_terminal("470918", "470919", "582205", "582205")
        self.assertEqual(status, 0, shown)
        self.assertTrue(self.opens("582205"))


class ImportTests(CommandTestCase):
    """The command `pbxrouter import`."""

    def setUp(self) -> None:
        """Make an empty database and a workshop's file."""
        super().setUp()
        self.good("init")
        self.file = self.directory / "workshop.sql"
        self.file.write_text(WORKSHOP)

    def test_import(self) -> None:
        """The tables are imported, the PIN hashed; the report has the numbers of rows."""
        printed = self.good("import", str(self.file))
        self.assertIn("mappings: 1 added", printed)
        self.assertNotIn("123456", printed)
        self.assertEqual(
            json.loads(self.good("explain", "34", "--from", "33", "--pin", "123456", "--json"))["decision"],
            "allow",
        )

    def test_twice(self) -> None:
        """A second import changes nothing; --again brings back what was deleted."""
        self.good("import", str(self.file))
        self.execute("DELETE FROM users")
        self.assertIn("imported before", self.good("import", str(self.file)))
        self.assertEqual(self.rows("SELECT user_name FROM users"), [])
        self.good("import", str(self.file), "--again")
        self.assertEqual(self.rows("SELECT user_name FROM users"), [("moises silva",)])

    def test_refused(self) -> None:
        """A file that cannot be read, or is no workshop database, is named."""
        self.assertIn("nosuch.sql", self.bad("import", "nosuch.sql"))
        self.file.write_text("hello")
        self.assertIn(str(self.file), self.bad("import", str(self.file)))


class ProcessTests(CommandTestCase):
    """Behaviour that only a real process shows."""

    def setUp(self) -> None:
        """Make the workshop's database."""
        super().setUp()
        self.good("init", "--sample")

    def test_closed_pipe(self) -> None:
        """A reader that closes standard output causes no error message."""
        for arguments in (("--help",), ("explain", "21", "--from", "33", "-c", self.config)):
            reader, writer = os.pipe()
            os.close(reader)
            process = start(*arguments, stdout=writer)
            os.close(writer)
            self.assertEqual(process.communicate()[1], b"", arguments)

    def test_no_stdout(self) -> None:
        """A closed standard output is no error."""
        done = subprocess.run(
            [
                "/bin/sh",
                "-c",
                '"$0" -m pbxrouter explain 21 --from 33 -c "$1" >&-',
                sys.executable,
                self.config,
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
        )
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_interrupted(self) -> None:
        """Ctrl-C ends the command silently."""
        needs.interrupts()
        process = start("explain", "34", "--from", "33", "--pin", "-", "-c", self.config, stdin=subprocess.PIPE)
        self.addCleanup(process.kill)
        self._await_reading(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        self.assertEqual((process.returncode, out, err), (130, b"", b""))

    def _await_reading(self, process: "subprocess.Popen[bytes]") -> None:
        """Send half a line, and wait until the process has taken it and waits for the rest."""
        assert process.stdin is not None
        os.write(process.stdin.fileno(), b"12")
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            left = fcntl.ioctl(process.stdin.fileno(), termios.FIONREAD, bytes(4))
            if not any(left):
                return
            time.sleep(0.01)
        self.fail("it never read its standard input")

    def test_other_character_sets(self) -> None:
        """A name that the terminal cannot show does not stop the command."""
        self.execute("UPDATE users SET user_name = 'Łukasz'")
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pbxrouter",
                "explain",
                "34",
                "--from",
                "33",
                "--pin",
                "123456",
                "-c",
                self.config,
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1"},
            capture_output=True,
        )
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertIn(b"\\u0141ukasz may use 3X by PIN", done.stdout)
