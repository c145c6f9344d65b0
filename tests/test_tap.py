"""``twistd pbxrouter``: its options, and one line with exit status 2 for everything that prevents a start."""

from __future__ import annotations

import io
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from twisted.application.service import IService, IServiceMaker, MultiService
from twisted.internet import reactor
from twisted.logger import capturedLogs, formatEvent
from twisted.plugin import getPlugins
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database, tap
from pbxrouter.config.schema import Config
from pbxrouter.database.rules.sample import add_sample
from pbxrouter.errors import ConfigError, DatabaseMissing
from pbxrouter.security import keyfile
from pbxrouter.tap import Options
from tests.database.older import make_older
from tests.databases import new_database

LISTEN = "unix:s"


class TapCase(SynchronousTestCase):
    """A working directory with a database and its key."""

    def setUp(self) -> None:
        """Make the directory and enter it."""
        self.here = Path(self.mktemp()).absolute()
        self.here.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.here)
        self.patch(sys, "stdout", sys.stdout)  # makeService replaces it
        new_database(self.here / "pbxrouter.sqlite")
        keyfile.create_key(self.here / "pbxrouter.sqlite.pinkey")
        self.addCleanup(signal.pthread_sigmask, signal.SIG_SETMASK, signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        self.addCleanup(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT))
        umask = os.umask(0o022)
        os.umask(umask)
        self.addCleanup(os.umask, umask)

    def options(self, *arguments: str) -> Options:
        """Parse a command line."""
        options = Options()
        options.parseOptions(list(arguments))
        return options

    def refused(self, *arguments: str) -> str:
        """The one line with which a start fails."""
        said = io.StringIO()
        self.patch(sys, "__stderr__", said)
        failure = self.assertRaises(SystemExit, lambda: tap.makeService(self.options(*arguments)))
        self.assertEqual(failure.code, 2)
        line = said.getvalue()
        self.assertTrue(line.startswith("pbxrouter: "), line)
        self.assertEqual(line.count("\n"), 1, line)
        return line


class CommandLine(TapCase):
    """Options over the file's settings."""

    def test_nothing_said(self) -> None:
        """Without options the defaults apply."""
        config = tap.configured(self.options())
        self.assertEqual(config.fastagi.listen, "tcp:4573:interface=127.0.0.1")
        self.assertFalse(config.fastagi.debug)

    def test_long_and_short(self) -> None:
        """Each option wins over the file; key and socket follow the database."""
        (self.here / "a.toml").write_text('database = "x.db"\n[fastagi]\nlisten = "tcp:1"')
        for arguments in (
            (
                "--config",
                "a.toml",
                "--database",
                "y.db",
                "--listen",
                "tcp:2",
                "--web",
                "tcp:3",
                "--agi-debug",
            ),
            ("-c", "a.toml", "-d", "y.db", "-l", "tcp:2", "-w", "tcp:3", "-g"),
        ):
            config = tap.configured(self.options(*arguments))
            self.assertEqual(config.database, str(self.here / "y.db"))
            self.assertEqual(config.pin_key_file, str(self.here / "y.db.pinkey"))
            self.assertEqual(config.control, str(self.here / "y.db.sock"))
            self.assertEqual((config.fastagi.listen, config.fastagi.debug), ("tcp:2", True))
            self.assertEqual(config.web.listen, "tcp:3")
        self.assertEqual(tap.configured(self.options("-c", "a.toml")).fastagi.listen, "tcp:1")

    def test_help(self) -> None:
        """Every option has a help text."""
        text = str(self.options())
        for option in ("--config", "--database", "--listen", "--web", "--agi-debug"):
            self.assertIn(option, text)

    def test_plugin(self) -> None:
        """twistd finds the plug-in."""
        found = [plugin for plugin in getPlugins(IServiceMaker) if plugin.tapname == "pbxrouter"]
        self.assertEqual([row.options for row in found], [Options])


class Starting(TapCase):
    """Errors that prevent a start."""

    def test_good(self) -> None:
        """The service can be added to an application."""
        service = tap.makeService(self.options("-l", LISTEN))
        self.assertTrue(IService.providedBy(service))
        self.assertIsInstance(service, MultiService)
        self.assertFalse(service.running)

    def test_umask(self) -> None:
        """Files are closed to others, and writable by the owner alone; a stricter umask is kept."""
        for before, after in ((0o000, 0o027), (0o022, 0o027), (0o077, 0o077)):
            os.umask(before)
            tap.makeService(self.options("-l", LISTEN))
            self.assertEqual(os.umask(after), after)

    def test_log(self) -> None:
        """The log that twistd makes under umask 000 is 0640 at most."""
        command = [str(Path(sys.executable).parent / "twistd"), "-n", "--pidfile=", "--logfile", "log", "pbxrouter"]
        process = subprocess.Popen([*command, "-l", LISTEN], umask=0, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 60
            while not (self.here / "log").exists() and time.monotonic() < until:
                time.sleep(0.05)
        finally:
            process.terminate()
            process.wait()
        self.assertEqual((self.here / "log").stat().st_mode & 0o777, 0o640)

    def test_configuration(self) -> None:
        """A missing file and an unknown key are errors of one line."""
        self.assertIn("no.toml: cannot be read", self.refused("-c", "no.toml"))
        (self.here / "pbxrouter.toml").write_text("databse = 1")
        self.assertIn("pbxrouter.toml: databse: no such key", self.refused())

    def test_database(self) -> None:
        """A missing database, another file and another program's database are errors of one line."""
        self.assertIn("no.db", self.refused("-l", LISTEN, "-d", "no.db"))
        (self.here / "text.db").write_text("x" * 5000)
        self.assertIn("text.db", self.refused("-l", LISTEN, "-d", "text.db"))
        connection = sqlite3.connect(self.here / "other.db")
        connection.execute("CREATE TABLE notes (x)")
        connection.close()
        self.assertIn("other.db", self.refused("-l", LISTEN, "-d", "other.db"))

    def test_damaged_rules(self) -> None:
        """A database with a damaged page of any table of rules is an error of one line that names it."""
        path = self.here / "pbxrouter.sqlite"
        with closing(database.connect(path)) as connection:
            add_sample(connection, lambda pin: "0" * 64)
            connection.commit()
            connection.execute("PRAGMA journal_mode = DELETE")
            (size,) = connection.execute("PRAGMA page_size").fetchone()
            pages = dict(connection.execute("SELECT name, rootpage FROM sqlite_master WHERE type = 'table'"))
        whole = path.read_bytes()
        for table in ("applications_mappings", "extensions", "users_mappings", "extensions_endpoints", "users_limits"):
            begin = (pages[table] - 1) * size
            path.write_bytes(whole[:begin] + b"\xde\xad" * (size // 2) + whole[begin + size :])
            line = self.refused("-l", LISTEN)
            self.assertIn("pbxrouter.sqlite is damaged", line, table)

    def test_values_of_another_kind(self) -> None:
        """A value that no edit writes, and that keeps the rules from being read, is an error of one line, too."""
        with closing(sqlite3.connect(self.here / "pbxrouter.sqlite")) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute(
                "INSERT INTO users (user_id, user_name, user_pin) VALUES (1, 'ana', :pin)", {"pin": "0" * 64}
            )
            connection.execute("INSERT INTO users_limits (user_id, max_calls) VALUES (1, 'many')")
            connection.commit()
        self.assertIn("the rules cannot be read: ValueError", self.refused("-l", LISTEN))

    def test_key(self) -> None:
        """A missing key, and one that is readable by others, are errors of one line."""
        key = self.here / "pbxrouter.sqlite.pinkey"
        key.chmod(0o644)
        self.assertIn("pinkey", self.refused("-l", LISTEN))
        key.unlink()
        self.assertIn("pinkey", self.refused("-l", LISTEN))

    def test_endpoint(self) -> None:
        """An invalid endpoint is refused with examples."""
        for listen in ("nonsense", "tcp:http", "bogus:1", "tcp:1:2:3:4:5:6", "4573"):
            self.assertIn("accepted is for example", self.refused("-l", listen))

    def test_port_in_use(self) -> None:
        """A port in use is named, with what to do."""
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            for listen in (f"tcp:{port}:interface=127.0.0.1", f"tcp:port={port}:interface=127.0.0.1"):
                self.assertIn(f"port {port} is in use", self.refused("-l", listen))

    def test_port_that_cannot_be(self) -> None:
        """An address of another machine, and an invalid port, are refused."""
        for listen in ("tcp:4573:interface=192.0.2.1", "tcp:70000:interface=127.0.0.1"):
            self.assertIn("cannot listen", self.refused("-l", listen))

    def test_port_taken_meanwhile(self) -> None:
        """A port that is taken between the check and the start is an error of one line."""
        said = io.StringIO()
        self.patch(sys, "__stderr__", said)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        gateway = tap.makeService(self.options("-l", f"tcp:{port}:interface=127.0.0.1"))
        with socket.socket() as other:
            other.bind(("127.0.0.1", port))
            other.listen()
            failure = self.assertRaises(SystemExit, gateway.privilegedStartService)
        self.assertEqual(failure.code, 2)
        self.assertIn("fastagi.listen: cannot listen at", said.getvalue())
        self.assertEqual(said.getvalue().count("\n"), 1)

    def test_without_stderr(self) -> None:
        """Without stderr (pythonw, a daemon) there is the exit status only."""
        self.patch(sys, "__stderr__", None)
        self.assertRaises(SystemExit, tap.give_up, "x")


class Checking(TapCase):
    """tap.check by itself, without starting a gateway."""

    def config(self, listen: str) -> Config:
        """Settings with the given FastAGI endpoint."""
        return tap.configured(self.options("-l", listen))

    def test_endpoints(self) -> None:
        """Any endpoint string is accepted, IPv6 and escaped ones too."""
        for listen in (
            "tcp:0",
            "tcp:0:interface=127.0.0.1",
            "tcp:0:backlog=5",
            "tcp:port=0",
            r"tcp:0:interface=\:\:1",
            r"tcp6:0:interface=\:\:1",
            "unix:/nowhere/x",
        ):
            if "6" in listen + ("6" if r"\:" in listen else "") and not socket.has_ipv6:
                continue
            tap.check(self.config(listen), reactor)

    def test_upgrade(self) -> None:
        """An older database is upgraded, and the log names the backup."""
        make_older(self.here / "pbxrouter.sqlite")
        with capturedLogs() as events:
            tap.check(self.config(LISTEN), reactor)
        (backup,) = self.here.glob("*.before-v*")
        (line,) = [formatEvent(event) for event in events]
        self.assertIn(f"upgraded from schema version 1 to {database.SCHEMA_VERSION}", line)
        self.assertIn(str(backup), line)

    def test_locked(self) -> None:
        """A locked database is no reason not to start: the gateway waits for its rules."""
        with closing(sqlite3.connect(self.here / "pbxrouter.sqlite")) as other:
            other.execute("PRAGMA journal_mode = DELETE")
            other.execute("BEGIN EXCLUSIVE")
            self.patch(database.connection.connect, "__kwdefaults__", {"timeout_s": 0.01, "notify": None})
            self.assertIsNone(tap.check(self.config(LISTEN), reactor))
        self.assertIsNotNone(tap.check(self.config(LISTEN), reactor))

    def test_raises(self) -> None:
        """check raises typed exceptions, for other callers than twistd."""
        self.assertRaises(ConfigError, tap.check, self.config("nonsense"), reactor)
        config = tap.configured(self.options("-d", "no.db", "-l", LISTEN))
        self.assertRaises(DatabaseMissing, tap.check, config, reactor)


class WrongOptions(TapCase):
    """Invalid command lines of twistd."""

    def test_unknown(self) -> None:
        """An unknown option, and one without its value."""
        self.patch(sys, "__stderr__", io.StringIO())
        for arguments in (("--port", "1"), ("--config",), ("-x",), ("surplus",)):
            self.assertRaises((usage.UsageError, SystemExit), self.options, *arguments)
