"""The doctor's checks: each problem is found with what to change, and nothing is changed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.ami.messages import AMIMessage
from pbxrouter.config import parsing
from pbxrouter.config import schema as settings
from pbxrouter.config.schema import Asterisk, Config
from pbxrouter.doctor import Finding, running
from pbxrouter.doctor.asterisk import check_asterisk
from pbxrouter.doctor.dialplan import check_dialplan
from pbxrouter.doctor.files import check_database, check_files, check_secret, load_names, tied_extensions
from pbxrouter.doctor.identity import check_endpoints, unknown_endpoints
from pbxrouter.doctor.probe import EVENT_WAIT_S, AsteriskProbe
from pbxrouter.doctor.running import check_gateway
from pbxrouter.doctor.sounds import check_sounds
from pbxrouter.errors import ConfigError
from pbxrouter.net import QueueFigures
from pbxrouter.security import keys_of, pins
from pbxrouter.security.guess_limits import FREE_GUESSES, GATEWAY_GUESSES
from pbxrouter.security.keyfile import create_key
from pbxrouter.text.sentences import Sentence
from tests import needs
from tests.ami_fakes import new_protocol
from tests.databases import new_database, sample_database
from tests.fakes import hash_pin

NOW = 1795420574.0
DENIED = {"Response": "Error", "Message": "Permission denied"}


class FindingCase(SynchronousTestCase):
    """Has a directory with settings."""

    def setUp(self) -> None:
        """Create a folder, and a configuration in it."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.config = parsing.resolved(Config(trunks=("PJSIP/provider",)), self.folder)

    def assert_all_well(self, findings: Iterable[Finding]) -> None:
        """Check that nothing is wrong or unknown."""
        self.assertEqual([finding for finding in findings if finding.state != "ok"], [])

    def the_one(self, findings: Iterable[Finding], state: str = "wrong") -> Finding:
        """The only finding of a state; every finding is one line of printable characters."""
        found = list(findings)
        for finding in found:
            self.assertTrue(f"{finding.area}{finding.what}{finding.todo}".isprintable(), finding)
        chosen = [finding for finding in found if finding.state == state]
        self.assertEqual(len(chosen), 1, found)
        return chosen[0]


class InstalledCase(FindingCase):
    """Has a database and a PIN key; the user has no PIN, with which all weak ones would be compared."""

    def setUp(self) -> None:
        """Make a good installation with the sample rules."""
        super().setUp()
        self.database = Path(self.config.database)
        sample_database(self.database, lambda pin: (hash_pin(pin).encode().hex() + "0" * 64)[:64])
        self.execute("UPDATE users SET user_pin = NULL")
        self.key = create_key(Path(self.config.pin_key_file))

    def look(self) -> list[Finding]:
        """Run check_files and return its findings."""
        return list(check_files(self.config))

    def execute(self, *statements: str) -> None:
        """Change the database with SQL."""
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()


class FileTests(InstalledCase):
    """Checks of files: settings, database, keys."""

    def test_good(self) -> None:
        """A good installation has no problem and is not changed."""
        before = sorted((path.name, path.read_bytes()) for path in self.folder.iterdir())
        self.assert_all_well(self.look())
        after = sorted((path.name, path.read_bytes()) for path in self.folder.iterdir())
        self.assertEqual([line for line in after if "-" not in line[0]], before)

    def test_weak_pins(self) -> None:
        """Users whose PIN is short or easy to guess are named, others are not."""
        for number, pin in enumerate(("704915", "123456", "4711", "99999")):
            self.execute(
                f"INSERT INTO users (user_name, user_pin) VALUES ('user {number}', '{pins.hash_pin(self.key, pin)}')"
            )
        found = self.the_one(self.look())
        self.assertEqual(found.what, "PINs that are short or easy to guess: user 1, user 2, user 3")

    def test_mappings_that_cannot_work(self) -> None:
        """Data that its driver refuses is wrong, and so is a number that no call shows; the sentences name both."""
        self.execute("INSERT INTO applications_mappings VALUES (7, 'dial', 'PJSIP/{nummer}', '561')")
        found = self.the_one(self.look())
        self.assertIn("mapping 7, 561, cannot work: 'PJSIP/{nummer}' has braces", found.what)
        self.execute("UPDATE applications_mappings SET application_data = 'PJSIP/21' WHERE map_id = 7")
        self.assert_all_well(self.look())
        self.execute("INSERT INTO extensions (extension_number) VALUES ('PJSIP/44')")
        self.assertIn("PJSIP/44 is a phone", self.the_one(self.look()).what)

    def test_options_of_mappings(self) -> None:
        """Options of a mapping by which parties forward a call are named; others are not."""
        for options, state in (("r", None), ("m(tT)", None), ("rT", "unknown")):
            self.execute(
                "DELETE FROM applications_mappings WHERE map_id = 7",
                f"INSERT INTO applications_mappings VALUES (7, 'dial', 'PJSIP/21 options={options}', '561')",
            )
            if state is None:
                self.assert_all_well(self.look())
            else:
                self.assertIn("mappings 561 have T among their options", self.the_one(self.look(), state).what)

    def test_key(self) -> None:
        """A key that is readable by others, missing or invalid is a finding that has the command to type."""
        key = Path(self.config.pin_key_file)
        key.chmod(0o644)
        self.assertIn("chmod 600", self.the_one(self.look()).what)
        key.chmod(0o600)
        key.write_text("secret-that-is-no-key")
        found = self.the_one(self.look())
        self.assertNotIn("secret-that", str(found))
        key.unlink()
        self.assertIn("missing", self.the_one(self.look()).what)

    def test_no_database(self) -> None:
        """A missing database, another file and another program's database are findings."""
        self.database.unlink()
        self.assertIn("pbxrouter init", self.the_one(self.look()).what)
        self.database.write_text("hello, this is no database at all" * 100)
        self.assertIn("not a database", self.the_one(self.look()).what)
        self.database.unlink()
        self.execute("CREATE TABLE songs (title TEXT)")
        self.assertIn("a database of another program", self.the_one(self.look()).what)

    def test_journal(self) -> None:
        """A journal of calls is named with its length and what is in it; what cannot be read of it is a problem."""
        journal = Path(f"{self.database}.calls")
        begun = b'["b", "k-1", 1.0, "1.2", "33", "Ana", "21", false]\n'
        cells = b'1.0, 2.0, "1.3", "33", "", "21", "allow", "2X", "dial", "SIP", "33", "BUSY", "", 5, "[]", ""'
        over = b'["f", "k-2", %b]\n' % cells
        journal.write_bytes(b"pbxrouter calls 1\n" + begun + over + bytes(5000))
        journal.chmod(0o600)
        (found,) = [finding for finding in self.look() if finding.area == "call journal"]
        self.assertEqual(found.state, "ok")
        self.assertIn("calls without an end: 1; calls that are over and not in the history yet: 1", found.what)
        self.database.write_bytes(b"x" * 5000)
        self.assertIn("call journal", [finding.area for finding in self.look()])
        journal.write_bytes(b"pbxrouter calls 1\nx\n")
        self.assertIn("lines that cannot be read: 1", "".join(finding.what for finding in self.look()))
        journal.write_bytes(b"other")
        self.assertIn("it is no journal of calls, or one of another version", "".join(f.what for f in self.look()))
        journal.chmod(0o644)
        journal.write_bytes(b"")
        self.assertIn("can be read by other users", "".join(finding.what for finding in self.look()))

    def test_locked(self) -> None:
        """A database that another program has locked is a finding."""
        with contextlib.closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            found = self.the_one(self.look(), "unknown")
            self.assertIn("locked", found.what)
            self.assertIn("run this again", found.todo)

    def test_older(self) -> None:
        """An older schema is a finding, and left to the gateway to upgrade."""
        self.execute("DELETE FROM schema_version", "INSERT INTO schema_version (version) VALUES (1)")
        found = self.the_one(self.look(), "unknown")
        self.assertIn("version 1", found.what)
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            self.assertEqual(connection.execute("SELECT max(version) FROM schema_version").fetchone(), (1,))

    def test_newer(self) -> None:
        """The schema of a later version is a problem."""
        self.execute("INSERT INTO schema_version (version) VALUES (99)")
        self.assertIn("later pbxrouter", self.the_one(self.look()).what)

    def test_rules(self) -> None:
        """A rule that cannot be read, and having none, are findings."""
        self.execute("UPDATE applications_mappings SET pattern = '[5' WHERE map_id = 3")
        self.assertIn("mapping 3", self.the_one(self.look()).what)
        self.execute("DELETE FROM users_mappings", "DELETE FROM extensions_mappings")
        self.execute("DELETE FROM applications_mappings")
        self.assertIn("init --sample", self.the_one(self.look()).todo)

    def test_missing_column(self) -> None:
        """A missing column is a problem."""
        self.execute("ALTER TABLE users RENAME COLUMN user_pin TO pin")
        self.assertIn("user_pin", self.the_one(self.look()).what)

    def test_no_driver(self) -> None:
        """A mapping without a driver is a problem unless it is disabled."""
        self.execute("UPDATE applications_mappings SET application_name = 'tele\nport' WHERE map_id = 4")
        found = self.the_one(self.look())
        self.assertIn("mapping 4, 66: no driver provides the application tele\\nport", found.what)
        self.assertIn("dial", found.todo)
        self.execute("INSERT INTO mappings_disabled (map_id) VALUES (4)")
        self.assert_all_well(self.look())

    def test_broken_driver(self) -> None:
        """A driver that cannot be loaded or made is a problem, and so are two of one name."""
        points = [
            EntryPoint("dial", "pbxrouter.drivers.dial:Dial", "pbxrouter.drivers"),
            EntryPoint("gone", "no_such_module_of_anybody:Gone", "pbxrouter.drivers"),
            EntryPoint("odd", "builtins:int", "pbxrouter.drivers"),
            EntryPoint("DIAL", "pbxrouter.drivers.hangup:Hangup", "pbxrouter.drivers"),
        ]
        names, problems = load_names(self.config, points)
        self.assertEqual(set(names), {"dial"})
        self.assertEqual([problem.what.split(" ")[0] for problem in problems], ["gone", "odd", "there"])
        found = list(check_database(self.database, None, (names, problems)))
        self.assertEqual(sum("no driver provides" in finding.what for finding in found), 2)

    def test_fastagi_secret(self) -> None:
        """A secret file that is readable by others, or has no secret, is named without its content."""
        secret = self.folder / "fastagi-secret"
        secret.write_text("0123456789abcdef\n")
        self.config = msgspec.structs.replace(self.config, fastagi=settings.FastAGI(secret_file=str(secret)))
        secret.chmod(0o640)
        found = self.the_one(self.look())
        self.assertIn("chmod 600", found.todo)
        self.assertNotIn("0123456789", str(found))
        secret.chmod(0o400)
        self.assert_all_well(self.look())
        secret.chmod(0o600)
        secret.write_text("0123\n")
        self.assertIn("no usable secret", self.the_one(self.look()).what)

    def test_ami_secret(self) -> None:
        """An AMI secret that is readable by others is a problem."""
        secret = self.folder / "secret"
        secret.write_text("enero2007\n")
        asterisk = Asterisk(secret_file=str(secret))
        secret.chmod(0o640)
        found = self.the_one(check_secret(asterisk))
        self.assertIn("chmod 600", found.todo)
        self.assertNotIn("enero2007", str(found))
        secret.chmod(0o400)
        self.assertEqual(list(check_secret(asterisk)), [])
        for absent in Asterisk(secret_file=str(self.folder / "no")), Asterisk():
            self.assertEqual(list(check_secret(absent)), [])


class ExtensionFindingTests(InstalledCase):
    """Checks of extensions and their endpoints."""

    def of_extensions(self) -> list[Finding]:
        """The findings about extensions."""
        return [finding for finding in self.look() if finding.area == "extensions"]

    def test_claims(self) -> None:
        """Without trunks each extension that is not tied and has grants is named, with the remedy."""
        self.assertEqual([finding.state for finding in self.of_extensions()], ["ok"])
        self.config = msgspec.structs.replace(self.config, trunks=())
        self.execute(
            "INSERT INTO extensions VALUES (7, '22'), (8, '44'), (9, '55')",
            "INSERT INTO extensions_mappings (extension_id, map_id) VALUES (7, 2), (8, 2)",
            "INSERT INTO extensions_endpoints VALUES (8, 'PJSIP/44')",
        )
        found = self.the_one(self.of_extensions(), "unknown")
        self.assertEqual(
            found.what,
            "no trunk is named in the settings, so an outside caller who shows the number of one of these extensions "
            "gets its grants: 33, 22",
        )
        self.assertIn('trunks = ["PJSIP/provider"]', found.todo)
        self.assertIn("pbxrouter endpoint 33 PJSIP/33", found.todo)
        self.execute("INSERT INTO extensions_endpoints VALUES (7, 'PJSIP/22'), (1, 'PJSIP/33')")
        self.assertEqual([finding.state for finding in self.of_extensions()], ["ok"])

    def test_many(self) -> None:
        """Twenty are named, the others counted."""
        self.config = msgspec.structs.replace(self.config, trunks=())
        for number in range(200, 230):
            self.execute(
                f"INSERT INTO extensions VALUES ({number}, '{number}')",
                f"INSERT INTO extensions_mappings (extension_id, map_id) VALUES ({number}, 2)",
            )
        self.assertTrue(self.the_one(self.of_extensions(), "unknown").what.endswith("217, 218, … (31)"))

    def test_tied_to_a_trunk(self) -> None:
        """An extension as which no call counts is a problem."""
        self.execute("INSERT INTO extensions_endpoints VALUES (1, 'pjsip/provider')")
        found = self.the_one(self.of_extensions())
        self.assertEqual(found.what, "extension 33 is tied to the trunk PJSIP/provider, so no call counts as one of 33")

    def test_number_twice(self) -> None:
        """The ignored row is named; the first one keeps its grants."""
        self.execute("INSERT INTO extensions VALUES (7, '33 ')")
        found = self.the_one(self.look())
        self.assertEqual(
            found.what,
            "extension 33 is there twice: row 7 is ignored, with its grants and its endpoint; row 1 counts",
        )

    def test_tied_extensions(self) -> None:
        """Endpoints are read from the database; of one that cannot be read they are not known; nothing is upgraded."""
        self.execute("INSERT INTO extensions_endpoints VALUES (1, 'PJSIP/33')")
        self.assertEqual(tied_extensions(self.database), {"33": "PJSIP/33"})
        self.execute("UPDATE schema_version SET version = 1")
        self.assertIsNone(tied_extensions(self.database))
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            self.assertEqual(connection.execute("SELECT max(version) FROM schema_version").fetchone(), (1,))
        self.database.write_text("hello, this is no database at all" * 100)
        self.assertIsNone(tied_extensions(self.database))


class EndpointFindingTests(FindingCase):
    """Trunks and endpoints that no Asterisk has."""

    def found(
        self,
        *missing: Iterable[str] | None,
        trunks: tuple[str, ...] = ("PJSIP/provider",),
        tied: Mapping[str, str] = MappingProxyType({"33": "PJSIP/33", "34": "PJSIP/34"}),
    ) -> list[Finding]:
        """The findings, with Asterisks a, b, … that lack these endpoints."""
        lacking = [None if names is None else frozenset(names) for names in missing]
        return list(check_endpoints(trunks, tied, dict(zip("abc", lacking, strict=False))))

    def test_known(self) -> None:
        """An endpoint that one Asterisk lacks may be another's: no problem."""
        everything: list[str] = []
        for missing in ([everything], [["PJSIP/33"], ["PJSIP/provider"]]):
            found = self.found(*missing)
            self.assertEqual([(row.state, row.what) for row in found], [("ok", "Asterisk has PJSIP/provider")])
        self.assertEqual(self.found(), [])
        self.assertEqual(list(check_endpoints((), {}, {"a": frozenset()})), [])

    def test_trunk(self) -> None:
        """A trunk of the settings that no Asterisk has is a problem."""
        found = self.the_one(self.found(["PJSIP/provider"], ["PJSIP/provider", "PJSIP/33"]))
        self.assertIn("Asterisk has no endpoint PJSIP/provider", found.what)
        self.assertIn("trunks", found.todo)

    def test_endpoint(self) -> None:
        """An extension's endpoint that no Asterisk has is a problem."""
        found = self.the_one(self.found(["PJSIP/34"]))
        self.assertEqual(
            found.what,
            "extension 34 is tied to PJSIP/34, which Asterisk does not have: no call counts as one of 34",
        )
        self.assertEqual(found.todo, "tie it to its endpoint: pbxrouter endpoint 34 ENDPOINT")

    def test_not_told(self) -> None:
        """An Asterisk that does not answer may have every endpoint."""
        found = self.the_one(self.found(["PJSIP/34"], None), "unknown")
        self.assertIn("pjsip show endpoints", found.todo)
        self.assertEqual(
            found.what,
            "whether b has trunks, and endpoints that extensions are tied to, which no other Asterisk has",
        )
        found = self.the_one(self.found(None), "unknown")
        self.assertEqual(found.what, "whether Asterisk has the trunks, and the endpoints that extensions are tied to")

    def test_what_another_has(self) -> None:
        """One that does not answer hides nothing of what others have, and makes nothing wrong."""
        found = self.found([], None)
        self.assertEqual([(row.state, row.what) for row in found], [("ok", "Asterisk has PJSIP/provider")])

    def test_of_one_asterisk(self) -> None:
        """The endpoint of an extension of one Asterisk must be on that one; z is not in the settings."""
        tied = {"a:33": "PJSIP/33", "b:33": "PJSIP/33", "z:33": "PJSIP/33"}
        found = self.the_one(self.found([], ["PJSIP/33"], trunks=(), tied=tied))
        self.assertEqual(
            found.what,
            "extension b:33 is tied to PJSIP/33, which b does not have: no call counts as one of b:33",
        )
        found = self.the_one(self.found([], None, trunks=(), tied=tied), "unknown")
        self.assertIn("whether b has", found.what)


class AlarmFindingTests(FindingCase):
    """Checks of the settings in [alarm]."""

    def alarm(self, **values: object) -> list[tuple[str, str]]:
        """The findings about alarms: state and text."""
        config = msgspec.structs.replace(self.config, alarm=settings.AlarmSettings(**values))  # type: ignore[arg-type]
        found = [finding for finding in check_files(config) if finding.area == "alarms"]
        return [(finding.state, finding.what) for finding in found]

    def test_none(self) -> None:
        """Without alarms there is nothing to check."""
        self.assertEqual(self.alarm(), [])

    def test_command(self) -> None:
        """A command must be executable."""
        self.assertEqual(self.alarm(command=("/bin/true",)), [("ok", "command /bin/true")])
        for path in ("/no/such", "/etc/passwd", "/tmp"):
            self.assertEqual(self.alarm(command=(path,)), [("wrong", f"alarm.command: {path} cannot be run")])

    def test_webhook(self) -> None:
        """A webhook's secret must be usable, and readable by its owner only."""
        secret = self.folder / "alarm"
        values = {"webhook": "https://example.org/", "secret_file": str(secret)}
        self.assertEqual([state for state, _ in self.alarm(**values)], ["wrong"])
        secret.write_text("0123456789abcdef\n")
        secret.chmod(0o600)
        self.assertEqual([state for state, _ in self.alarm(**values)], ["ok"])
        secret.chmod(0o644)
        self.assertNotEqual([state for state, _ in self.alarm(**values)], ["ok"])


class LockoutFindingTests(FindingCase):
    """Checks of wrong PINs."""

    def guess(self, count: int, line: int, map_id: int = 1) -> None:
        """Count wrong PINs of a number."""
        with contextlib.closing(database.connect(Path(self.config.database))) as connection:
            for _ in range(count):
                keys = keys_of(f"Local/34@x-{line:08x};2", str(line), map_id, frozenset())
                database.admit_guess(connection, keys, time.time())

    def found(self) -> list[str]:
        """The findings about wrong PINs that are problems."""
        found = check_files(self.config)
        return [row.what for row in found if row.area == "PINs" and row.state == "wrong" and "locked" in row.what]

    def test_lockouts(self) -> None:
        """A caller who is locked out, and an attack, are problems; a few wrong PINs are none."""
        new_database(Path(self.config.database))
        self.guess(1, 1)
        self.assertEqual(self.found(), [])
        self.guess(FREE_GUESSES, 2)
        self.assertEqual(self.found(), ["callers that are locked out after wrong PINs: 1"])
        for line in range(3, GATEWAY_GUESSES):
            self.guess(1, line, map_id=line)
        self.assertEqual(
            self.found(), [f"wrong PINs come from many places; callers that are locked out: {GATEWAY_GUESSES - 1}"]
        )


class FakeSocket:
    """A connection that answers as the test says."""

    def __init__(self, answer: bytes = b"") -> None:
        self._answer = answer
        self.sent = b""
        self.closed = False

    def __enter__(self) -> FakeSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def settimeout(self, timeout_s: float) -> None:
        """Accept any time-out."""

    def sendall(self, data: bytes) -> None:
        """Keep the bytes that are sent."""
        self.sent += data

    def recv(self, count: int) -> bytes:
        """Return the answer that the test has set up."""
        return self._answer[:count]

    def close(self) -> None:
        """Note that the socket was closed."""
        self.closed = True


class RunningTests(FindingCase):
    """Checks of the running gateway."""

    def setUp(self) -> None:
        """Make a gateway, as far as its control socket goes."""
        super().setUp()
        short = tempfile.TemporaryDirectory(prefix="pbxr-")  # a socket's path has 107 bytes at most
        self.addCleanup(short.cleanup)
        self.control = Path(short.name) / "s"
        self.config = msgspec.structs.replace(self.config, control=str(self.control))
        self.listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.listener.close)
        self.made: list[FakeSocket] = []
        self.queues: Sequence[QueueFigures] = (QueueFigures("history", 2, 0.5), QueueFigures("counter lab", 0))
        self.answer: bytes | None = None

    def runs(self) -> None:
        """Open the control socket, and answer there in a thread."""
        self.listener.bind(str(self.control))
        self.listener.listen()
        thread = threading.Thread(target=self.answers, daemon=True)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.listener.shutdown, socket.SHUT_RDWR)

    def answers(self) -> None:
        """Answer each question with the queues, or with what the test gives."""
        while True:
            try:
                asker, _ = self.listener.accept()
            except OSError:
                return
            with asker:
                if asker.recv(100) == b'{"queues": {}}\n':
                    queues = json.dumps({"queues": [dataclasses.asdict(queue) for queue in self.queues]})
                    asker.sendall(queues.encode() + b"\n" if self.answer is None else self.answer)

    def test_hangs(self) -> None:
        """A gateway that accepts and does not answer hangs: its kernel accepts for it."""
        self.listener.bind(str(self.control))
        self.listener.listen()
        self.patch(running, "TIMEOUT_S", 0.05)
        found = self.look(b"")
        self.assertIn("it hangs", self.the_one(found).what)
        self.assertEqual(self.the_one(found, "unknown").area, "queues")

    def look(self, *answers: bytes | Exception) -> list[Finding]:
        """The findings, with these answers to connections."""
        waiting = list(answers)

        def connect(listen: str, timeout_s: float) -> Any:
            answer = waiting.pop(0)
            if isinstance(answer, Exception):
                raise answer
            self.made.append(FakeSocket(answer))
            return self.made[-1]

        return list(check_gateway(self.config, connect))

    def test_good(self) -> None:
        """A running gateway has no problem; connections are closed, and nothing is sent there."""
        self.runs()
        self.assert_all_well(self.look(b""))
        self.assertEqual([(item.sent, item.closed) for item in self.made], [(b"", True)])

    def test_queues(self) -> None:
        """A queue that lags, or that has lost or set aside anything, is a finding with its figures."""
        self.runs()
        self.assertIn("history, counter lab", next(item.what for item in self.look(b"") if item.area == "queues"))
        for queue, said in (
            (QueueFigures("history", 12, 31.4), "history: 12 waiting, the oldest for 31 s"),
            (QueueFigures("counter lab", 0, 0.0, 3), "counter lab: 3 set aside"),
            (QueueFigures("alarms hook", 1, 2.0, 0, 4), "alarms hook: 1 waiting, the oldest for 2 s, 4 lost"),
        ):
            self.queues = (QueueFigures("other", 0), queue)
            self.assertEqual(self.the_one(self.look(b"")).what, said)

    def test_withheld(self) -> None:
        """Events that the gateway has found withheld are a finding about their Asterisk; nonsense is none."""
        self.runs()
        lab = settings.Asterisk("lab", username="gateway")
        self.config = msgspec.structs.replace(self.config, asterisk=(settings.Asterisk("other"), lab))
        self.answer = b'{"queues": [], "withheld": {"lab": ["BridgeEnter", "DialEnd"], "gone": ["Hangup"]}}\n'
        found = self.the_one(self.look(b""))
        self.assertEqual(found.area, "AMI lab")
        self.assertIn("gateway does not get BridgeEnter, DialEnd", found.what)
        for withheld in (b"5", b"[]", b'{"lab": 5}', b'{"lab": []}'):
            self.answer = b'{"queues": [], "withheld": ' + withheld + b"}\n"
            self.assert_all_well(self.look(b""))

    def test_queues_not_told(self) -> None:
        """A gateway that does not tell its queues, or nonsense, makes that unknown."""
        self.runs()
        for answer in (
            b"",
            b"\n",
            b"{}\n",
            b"[" * 100_000 + b"\n",
            b'{"error": "no"}\n',
            b'{"queues": [{"name": "x"}]}\n',
            b'{"queues": [{"name": "x", "length": "y", "oldest_s": "z"}]}\n',
            b'{"queues": 5}\n',
            b"\xff\n",
        ):
            self.answer = answer
            self.assertEqual(self.the_one(self.look(b""), "unknown").area, "queues", answer[:40])

    def test_descriptors(self) -> None:
        """Descriptors of the gateway that are nearly used up are a finding with both numbers."""
        needs.proc()
        self.runs()
        found = [finding.what for finding in self.look(b"") if finding.area == "descriptors"]
        self.assertEqual(len(found), 1)
        self.assertRegex(found[0], r"^\d+ of \d+ are in use$")
        self.patch(running, "FREE_DESCRIPTORS", 1 << 62)
        self.assertIn("LimitNOFILE", self.the_one(self.look(b"")).todo)

    def test_descriptors_of_another_user(self) -> None:
        """Where the gateway's descriptors cannot be counted that is unknown, with how to count them."""

        def refuse(path: str) -> list[str]:
            raise PermissionError(13, "Permission denied", path)

        self.runs()
        self.patch(os, "listdir", refuse)
        found = self.the_one(self.look(b""), "unknown")
        self.assertIn("cannot be counted: Permission denied", found.what)
        self.assertIn("gateway's own user", found.todo)

    def test_stopped(self) -> None:
        """Without control socket and port both findings say how to start the gateway."""
        found = self.look(ConnectionRefusedError(111, "Connection refused"))
        self.assertEqual([finding.state for finding in found], ["wrong", "wrong"])
        self.assertTrue(all("twistd -n pbxrouter" in finding.todo for finding in found))

    def test_left_behind(self) -> None:
        """A socket file that a killed gateway left is a finding."""
        self.listener.bind(str(self.control))
        self.listener.listen()
        self.listener.close()
        self.assertIn("not running", self.look(ConnectionRefusedError(111, "no"))[0].what)

    def test_port_of_another(self) -> None:
        """A port that another program uses is a finding."""
        self.assertIn("another program listens", self.look(b"")[1].what)

    def test_not_listening(self) -> None:
        """A gateway that does not listen where the settings say is a finding."""
        self.runs()
        found = self.the_one(self.look(TimeoutError("timed out")))
        self.assertIn("fastagi.listen", found.todo)

    def test_any_peer(self) -> None:
        """A port open to other machines is a finding unless the settings name who may connect."""
        self.runs()
        for listen in ("tcp:4573", "tcp:4573:interface=192.0.2.10", r"tcp:4573:interface=\:\:"):
            fastagi = settings.FastAGI(listen)
            self.config = msgspec.structs.replace(self.config, fastagi=fastagi)
            self.assertIn("fastagi.allow", self.the_one(self.look(b"")).todo)
            fastagi = msgspec.structs.replace(fastagi, allow=("192.0.2.7",))
            self.config = msgspec.structs.replace(self.config, fastagi=fastagi)
            self.assert_all_well(self.look(b""))
        for listen in ("unix:/run/x", r"tcp:4573:interface=\:\:1", "tcp:4573:interface=127.0.0.1"):
            self.config = msgspec.structs.replace(self.config, fastagi=settings.FastAGI(listen))
            self.assert_all_well(self.look(b""))

    def test_odd_endpoint(self) -> None:
        """An endpoint that cannot be called from this machine is a finding."""
        self.runs()
        self.the_one(self.look(ConfigError("systemd: cannot be called")), "unknown")

    def test_web(self) -> None:
        """/metrics is requested if there is a web server."""
        self.runs()
        self.config = msgspec.structs.replace(self.config, web=settings.Web("tcp:8080"))
        self.assert_all_well(self.look(b"", b"HTTP/1.1 200 OK\r\n"))
        self.assertIn(b"GET /metrics ", self.made[-1].sent)
        self.assertIn("404", self.the_one(self.look(b"", b"HTTP/1.1 404 Not Found\r\n")).what)
        self.assertIn("\\x00", self.the_one(self.look(b"", b"\x00\xff")).what)
        self.assertIn("web.listen", self.the_one(self.look(b"", ConnectionRefusedError(111, "no"))).todo)
        self.the_one(self.look(b"", ConfigError("cannot be called")), "unknown")


Answer = dict[str, str]


class AsteriskCase(FindingCase):
    """Has an Asterisk that the test plays, with a login."""

    def setUp(self) -> None:
        """Make a good one, with just the classes needed."""
        super().setUp()
        self.asterisk = Asterisk("lab", username="gateway")
        self.time_apart = 0.0
        self.variables = {
            "PBXROUTER_HEARTBEAT": str(int(NOW) - 1),
            "PBXROUTER_HEARTBEAT_S": "10",
            "PBXROUTER_URL": "agi://127.0.0.1:4573/pbxrouter",
            "DIALPLAN_EXISTS(pbxrouter-ask,0,1)": "1",
        }
        bad = {"Response": "Error"}
        self.answers: dict[str, Answer] = {
            "Originate": {**bad, "Message": "Channel not specified"},
            "Setvar": {**bad, "Message": "No variable specified"},
            "AGI": {**bad, "Message": "Both, Channel and Command are *required*"},
            "CoreStatus": {},
            "CoreSettings": {"AsteriskVersion": "22.10.1+dfsg+~cs6"},
        }
        self.events: dict[str, list[AMIMessage]] = {"FullyBooted": [AMIMessage(b"Event: FullyBooted")]}
        self.reads_call = True
        self.withheld: set[str] = set()
        self.timestamps = True
        self.asked: list[Answer] = []

    def look(self, look: Callable[[AsteriskProbe], Coroutine[Any, Any, list[Finding]]]) -> list[Finding]:
        """Log in; returns the findings."""
        protocol, end, clock = new_protocol()
        done = Deferred.fromCoroutine(protocol.log_in("gateway", "s3cret", "on"))
        end.logs_in()
        self.successResultOf(done)
        found = Deferred.fromCoroutine(look(AsteriskProbe(self.asterisk, clock, lambda: NOW, protocol, self.events)))
        result: list[list[Finding]] = []
        found.addCallback(result.append)
        for _ in range(1000):
            for action in end.hears():
                self.asked.append(action)
                self._answer(end, action)
            if result:
                self.assertEqual([delayed for delayed in clock.getDelayedCalls() if delayed.getTime() < 1], [])
                return result[0]
            clock.advance(EVENT_WAIT_S / 10)
        raise AssertionError("no end")

    def _answer(self, end: Any, action: Answer) -> None:
        name = action["Action"]
        if name == "Ping":
            answer = {"Timestamp": f"{NOW + self.time_apart:.6f}"}
        elif name == "Getvar":
            answer = self.answers.get("Getvar") or {"Value": self.variables.get(action["Variable"], "")}
        elif name == "Originate" and "ChannelId" in action and self.answers[name] is not DENIED:
            answer = {}
        else:
            answer = self.answers[name]
        headers = {"Response": "Success", "ActionID": action["ActionID"], **answer}
        end.says(*(f"{key}: {value}" for key, value in headers.items()))
        if name == "Originate" and "ChannelId" in action and self.reads_call:
            event = f"Event: OriginateResponse\r\nUniqueid: {action['ChannelId']}"
            if self.timestamps:
                event += f"\r\nTimestamp: {NOW}"
            self.events.setdefault("OriginateResponse", []).append(AMIMessage(event.encode()))
            for kind in {"Newchannel", "Hangup"} - self.withheld:
                event = f"Event: {kind}\r\nUniqueid: {action['ChannelId']}"
                self.events.setdefault(kind, []).append(AMIMessage(event.encode()))


class AmiTests(AsteriskCase):
    """Checks of AMI: classes, version, clock, heartbeat."""

    def find(self) -> list[Finding]:
        """Run check_asterisk and return its findings."""
        return self.look(check_asterisk)

    def test_good(self) -> None:
        """A good Asterisk has no problem, and no action changes it."""
        self.assert_all_well(self.find())
        for action in self.asked:
            self.assertIn(action["Action"], {*self.answers, "Ping", "Getvar"})
            if action["Action"] == "Setvar":
                self.assertNotIn("Variable", action)
            if action["Action"] == "Originate":
                nowhere = "Local/doctor@pbxrouter-doctor-nowhere"
                self.assertIn(action.get("Channel"), (None, "NoSuchTechnology/doctor", nowhere))

    def test_write_classes(self) -> None:
        """Each missing class is named with what needs it and what to change."""
        for action, name in ("Setvar", "call"), ("CoreStatus", "reporting"):
            self.setUp()
            self.answers[action] = DENIED
            found = self.the_one(self.find())
            self.assertIn(f"class {name}", found.what)
            self.assertIn(f"add {name} to write = of [gateway]", found.todo)

    def test_no_originate(self) -> None:
        """Without originate, reading call cannot be checked either."""
        self.answers["Originate"] = DENIED
        found = self.find()
        self.assertIn("class originate", self.the_one(found).what)
        self.assertIn("manager show user gateway", self.the_one(found, "unknown").todo)

    def test_agi(self) -> None:
        """The class agi is needed for MAGI only; a missing module is told apart from a missing class."""
        self.answers["AGI"] = DENIED
        self.assert_all_well(self.find())
        self.asterisk = msgspec.structs.replace(self.asterisk, magi=("magi",))
        self.assertIn("class agi", self.the_one(self.find()).what)
        self.answers["AGI"] = {
            "Response": "Error",
            "Message": "Invalid/unknown command: AGI. Use Action: ListCommands",
        }
        self.assertIn("res_agi.so", self.the_one(self.find()).todo)

    def test_read_classes(self) -> None:
        """Events that should come and do not are a problem."""
        self.events = {}
        self.assertIn("add system to read = of [gateway]", self.the_one(self.find()).todo)
        self.setUp()
        self.reads_call = False
        self.assertIn("add call to read = of [gateway]", self.the_one(self.find()).todo)

    def test_withheld(self) -> None:
        """Events that eventfilter or disabledevents withhold are named, and where to look."""
        for names in ({"Newchannel"}, {"Hangup"}, {"Newchannel", "Hangup"}):
            self.setUp()
            self.withheld = names
            found = self.the_one(self.find())
            self.assertEqual({name for name in ("Newchannel", "Hangup") if name in found.what}, names)
            self.assertIn("eventfilter of [gateway]", found.todo)
            self.assertIn("disabledevents under [general]", found.todo)

    def test_timestamps(self) -> None:
        """Events without a timestamp are a problem."""
        self.timestamps = False
        self.assertIn("timestampevents = yes", self.the_one(self.find()).todo)

    def test_version(self) -> None:
        """A version that is too old is a problem; an unknown one is left to the owner."""
        for version in "22.10.1", "12.0.0", "certified/20.7-cert2", "certified-18.9":
            self.answers["CoreSettings"] = {"AsteriskVersion": version}
            self.assert_all_well(self.find())
        self.answers["CoreSettings"] = {"AsteriskVersion": "11.25.3"}
        self.assertIn("too old", self.the_one(self.find()).what)
        for version in "GIT-master-1234", "":
            self.answers["CoreSettings"] = {"AsteriskVersion": version}
            self.the_one(self.find(), "unknown")

    def test_clock(self) -> None:
        """Clocks that differ by more than some seconds, either way, are a problem."""
        for apart, words in (-60.0, "60 s behind"), (9.0, "9 s ahead"):
            self.setUp()
            self.time_apart = apart
            self.variables["PBXROUTER_HEARTBEAT"] = str(int(NOW + apart))
            self.assertIn(words, self.the_one(self.find()).what)
        self.time_apart = 4.0
        self.variables["PBXROUTER_HEARTBEAT"] = str(int(NOW))
        self.assert_all_well(self.find())

    def test_heartbeat(self) -> None:
        """A heartbeat that has not begun, has ended, is too old, or is no number is a problem."""
        for value, words in (
            *(("", "there is no heartbeat"), ("0", "has stopped"), (str(int(NOW) - 60), "60 s ago")),
            ("x\x1b", "no heartbeat"),
        ):
            self.setUp()
            self.variables["PBXROUTER_HEARTBEAT"] = value
            if value.startswith("x"):
                self.assertIn("PBXROUTER_HEARTBEAT is x", self.the_one(self.find()).what)
            else:
                self.assertIn(words, self.the_one(self.find()).what)

    def test_no_heartbeat(self) -> None:
        """If the heartbeat is off, an old one in the dialplan is a problem: no call would come."""
        self.asterisk = msgspec.structs.replace(self.asterisk, heartbeat=False)
        self.assertIn("fallback", self.the_one(self.find()).what)
        for name in "PBXROUTER_HEARTBEAT_S", "PBXROUTER_HEARTBEAT":
            self.setUp()
            self.asterisk = msgspec.structs.replace(self.asterisk, heartbeat=False)
            self.variables[name] = ""
            self.assert_all_well(self.find())

    def test_may_not_ask(self) -> None:
        """Without call and reporting the variables cannot be read."""
        self.answers["Getvar"] = DENIED
        self.the_one(self.find(), "unknown")


class DeviceTests(AsteriskCase):
    """Endpoints that an Asterisk has."""

    def missing(self, *endpoints: str) -> frozenset[str] | None:
        """The endpoints that the Asterisk lacks."""
        found: list[frozenset[str] | None] = []

        async def look(probe: AsteriskProbe) -> list[Finding]:
            found.append(await unknown_endpoints(probe, endpoints))
            return []

        self.look(look)
        return found[0]

    def test_states(self) -> None:
        """INVALID is the state of a missing endpoint; an unreadable endpoint is not asked about."""
        for endpoint, state in (("PJSIP/33", "UNAVAILABLE"), ("PJSIP/34", "INVALID"), ("DAHDI/1", "UNKNOWN")):
            self.variables[f"DEVICE_STATE({endpoint})"] = state
        self.assertEqual(self.missing("PJSIP/33", "PJSIP/34", "DAHDI/1", "PJSIP/a)b", "?"), {"PJSIP/34"})
        self.assertEqual(self.missing(), frozenset())
        self.assertEqual(
            [action["Variable"] for action in self.asked if action["Action"] == "Getvar"],
            ["DEVICE_STATE(DAHDI/1)", "DEVICE_STATE(PJSIP/33)", "DEVICE_STATE(PJSIP/34)"],
        )

    def test_not_told(self) -> None:
        """Without the function, or the class, the result is unknown."""
        self.assertIsNone(self.missing("PJSIP/33"))
        self.answers["Getvar"] = DENIED
        self.assertIsNone(self.missing("PJSIP/33"))


class HookTests(AsteriskCase):
    """Checks of the dialplan."""

    def find(self, answer: Exception | None = None, ami: str = "tcp:127.0.0.1:5038") -> list[Finding]:
        """The findings, with this answer to a connection to the URL."""
        self.asterisk = msgspec.structs.replace(self.asterisk, ami=ami)
        self.dialled: list[tuple[str, int]] = []

        def dial(address: tuple[str, int], timeout_s: float) -> Any:
            self.dialled.append(address)
            if answer is not None:
                raise answer
            return FakeSocket()

        return self.look(lambda probe: check_dialplan(probe, self.config, dial))

    def test_good(self) -> None:
        """A dialplan that asks where the gateway listens has no problem."""
        self.assert_all_well(self.find())
        self.assertEqual(self.dialled, [("127.0.0.1", 4573)])

    def test_urls(self) -> None:
        """URLs are read as Asterisk reads them."""
        for url, address in (
            *(
                ("agi://pbx/x", ("pbx", 4573)),
                ("agi://[::1]:99/x", ("::1", 99)),
                ("agi://10.0.0.1", ("10.0.0.1", 4573)),
            ),
        ):
            self.variables["PBXROUTER_URL"] = url
            self.find()
            self.assertEqual(self.dialled, [address])
        for url in "http://x/", "agi://", "agi://x:99999/", "agi:x", "agi://x:y/\x1b":
            self.variables["PBXROUTER_URL"] = url
            self.assertIn("accepted is for example", self.the_one(self.find()).todo)
            self.assertEqual(self.dialled, [])
        self.variables["PBXROUTER_URL"] = "hagi://example.org/x"
        self.the_one(self.find(), "unknown")

    def test_second_gateway(self) -> None:
        """The address of a second gateway is read and tried, too; agi:async is not tried."""
        self.variables["PBXROUTER_URL_2"] = "agi://10.0.0.2:99/pbxrouter"
        self.assert_all_well(self.find())
        self.assertEqual(self.dialled, [("127.0.0.1", 4573), ("10.0.0.2", 99)])
        self.variables["PBXROUTER_URL_2"] = "agi:async"
        self.assert_all_well(self.find())
        self.assertEqual(self.dialled, [("127.0.0.1", 4573)])
        self.variables["PBXROUTER_URL_2"] = "hagi://example.org/x"
        self.assertIn("by SRV records", self.the_one(self.find(), "unknown").what)
        for url in "http://x/", "agi://x:99999/":
            self.variables["PBXROUTER_URL_2"] = url
            found = self.the_one(self.find())
            self.assertIn("PBXROUTER_URL_2", found.what)
            self.assertIn("agi:async, or nothing", found.todo)
        self.variables |= {"PBXROUTER_URL": "agi:async", "PBXROUTER_URL_2": "agi://10.0.0.2/pbxrouter"}
        self.asterisk = msgspec.structs.replace(self.asterisk, magi=("pbxrouter-ask",))
        self.answers["ShowDialPlan"] = {}
        found = self.the_one(self.find(ConnectionRefusedError(111, "Connection refused")))
        self.assertEqual((found.todo, self.dialled), ("start it, or correct PBXROUTER_URL_2", [("10.0.0.2", 4573)]))

    def test_waiting(self) -> None:
        """A context with calls that wait for MAGI must be in the settings."""
        self.variables["PBXROUTER_URL"] = "agi:async"
        self.assertIn("asterisk.magi", self.the_one(self.find()).todo)
        self.asterisk = msgspec.structs.replace(self.asterisk, magi=("pbxrouter-ask",))
        self.answers["ShowDialPlan"] = {}
        self.assert_all_well(self.find())
        self.assertEqual(self.dialled, [])

    def test_empty(self) -> None:
        """Without a URL the finding has the right one, with the port of the settings."""
        self.variables["PBXROUTER_URL"] = ""
        self.config = msgspec.structs.replace(self.config, fastagi=settings.FastAGI("tcp:5573"))
        self.assertIn("agi://127.0.0.1:5573/pbxrouter", self.the_one(self.find()).todo)

    def test_own_hook(self) -> None:
        """A dialplan without our hook cannot be checked."""
        self.variables = {}
        self.assertIn("agi://127.0.0.1:4573", self.the_one(self.find(), "unknown").todo)

    def test_may_not_ask(self) -> None:
        """Without the permission the finding says what to type."""
        self.answers["Getvar"] = DENIED
        self.assertIn("dialplan show", self.the_one(self.find(), "unknown").todo)

    def test_refused(self) -> None:
        """If the URL's address refuses, the finding has the usual reason, the loopback interface."""
        self.variables["PBXROUTER_URL"] = "agi://10.0.0.1/pbxrouter"
        found = self.the_one(self.find(ConnectionRefusedError(111, "Connection refused"), "tcp:10.0.0.2:5038"))
        self.assertIn("this machine alone", found.todo)

    def test_secret(self) -> None:
        """PBXROUTER_SECRET and the file are compared; neither is shown."""
        file = self.folder / "fastagi-secret"
        file.write_text("0123456789abcdef\n")
        fastagi = settings.FastAGI(secret_file=str(file))
        self.config = msgspec.structs.replace(self.config, fastagi=fastagi)
        for value, expected in (
            ("", "is empty"),
            ("0123456789abcdeF", "is not the secret"),
            ("\udcff", "is not the secret"),
        ):
            self.variables["PBXROUTER_SECRET"] = value
            found = self.the_one(self.find())
            self.assertIn(expected, found.what)
            self.assertIn("PBXROUTER_SECRET", found.todo)
            self.assertNotIn("0123456789", str(found))
        self.variables["PBXROUTER_SECRET"] = "0123456789abcdef"
        self.assert_all_well(self.find())
        self.assertNotIn("0123456789", str(self.find()))
        file.write_text("short\n")
        self.assertNotIn("short", str(self.the_one(self.find(), "unknown")))
        self.config = msgspec.structs.replace(self.config, fastagi=settings.FastAGI())
        self.assertIn("no fastagi.secret_file", self.the_one(self.find()).what)

    def test_not_allowed(self) -> None:
        """An Asterisk's address that the gateway would refuse is a problem: AMI's, or this machine's own."""
        self.variables["PBXROUTER_URL"] = "agi://192.0.2.10/pbxrouter"
        for ami, allow, address in (
            ("tcp:192.0.2.7:5038", "192.0.2.8", "192.0.2.7"),
            ("tcp:127.0.0.1:5038", "192.0.2.7", "192.0.2.10"),
        ):
            self.config = msgspec.structs.replace(self.config, fastagi=settings.FastAGI(allow=(allow,)))
            self.assertIn(f"{address} is not in fastagi.allow", self.the_one(self.find(ami=ami)).what)
        self.config = msgspec.structs.replace(self.config, fastagi=settings.FastAGI(allow=("192.0.2.0/28",)))
        self.assert_all_well(self.find())

    def test_remote(self) -> None:
        """The URL of a remote Asterisk cannot be tried, except that loopback is that machine itself."""
        ami = "tls:pbx.example.org:5039"
        self.variables["PBXROUTER_URL"] = "agi://10.0.0.1/pbxrouter"
        self.assertIn("nc -z 10.0.0.1 4573", self.the_one(self.find(ami=ami), "unknown").todo)
        self.variables["PBXROUTER_URL"] = "agi://localhost/pbxrouter"
        self.assertIn("pbx.example.org", self.the_one(self.find(ami=ami), "unknown").what)
        self.assertEqual(self.dialled, [])

    def test_magi(self) -> None:
        """The contexts of MAGI in the settings are checked."""
        self.asterisk = msgspec.structs.replace(self.asterisk, magi=("magi",))
        self.answers["ShowDialPlan"] = {}
        self.assert_all_well(self.find())
        self.answers["ShowDialPlan"] = {"Response": "Error", "Message": "Did not find context magi"}
        self.assertIn("context magi", self.the_one(self.find()).what)
        self.answers["ShowDialPlan"] = DENIED
        self.the_one(self.find(), "unknown")


class SoundTests(FindingCase):
    """Checks of the prompts' sound files."""

    def setUp(self) -> None:
        """Make all in English."""
        super().setUp()
        self.sounds = self.folder / "sounds"
        self.names = sorted(msgspec.structs.asdict(self.config.prompts).values())
        self.put("en", *self.names)

    def put(self, language: str, *names: str) -> None:
        """Create the sound files of a language."""
        folder = self.sounds / language
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / f"{name}.gsm").touch()

    def find(self, folder: Path | None = None) -> list[Finding]:
        """Run check_sounds and return its findings."""
        return list(check_sounds(self.config, folder or self.sounds, Sentence("sounds")))

    def test_good(self) -> None:
        """With all sounds there is no problem."""
        self.assert_all_well(self.find())

    def test_missing(self) -> None:
        """A missing sound is named with its setting; a longer name does not count for it."""
        (self.sounds / "en" / "vm-goodbye.gsm").unlink()
        self.put("en", "vm-goodbye-all")
        found = self.the_one(self.find())
        self.assertIn("prompts.goodbye: there is no sound vm-goodbye", found.what)

    def test_places(self) -> None:
        """Sounds are looked for in the directory and below, as Asterisk does."""
        (self.sounds / "en" / "vm-goodbye.gsm").rename(self.sounds / "vm-goodbye.wav")
        self.put("en/office", "hello")
        prompts = msgspec.structs.replace(self.config.prompts, ask_pin="office/hello")
        self.config = msgspec.structs.replace(self.config, prompts=prompts)
        self.assert_all_well(self.find())

    def test_other_language(self) -> None:
        """A language that lacks sounds falls back to English, which is told but no problem."""
        self.put("es", *self.names[1:])
        found = self.find()
        self.assert_all_well(found)
        self.assertIn(f"es lacks {self.names[0]}", found[-1].what)

    def test_language_in_the_name(self) -> None:
        """With the language in the name every language needs its own sound."""
        prompts = msgspec.structs.replace(self.config.prompts, goodbye="bye_{language}")
        self.config = msgspec.structs.replace(self.config, prompts=prompts)
        self.put("es", *self.names)
        self.put("", "bye_en")
        self.assertIn("bye_es", self.the_one(self.find()).what)
        self.put("", "bye_es")
        self.assert_all_well(self.find())

    def test_not_seen(self) -> None:
        """For the directory of another machine the finding has a command to type there."""
        found = self.the_one(self.find(Path("/no/such/sounds")), "unknown")
        self.assertIn("ls /no/such/sounds/en/{agent-pass,", found.todo)
        unknown = self.the_one(check_sounds(self.config, None, Sentence("sounds")), "unknown")
        self.assertIn("--sounds FOLDER", unknown.todo)

    def test_link_of_another_root(self) -> None:
        """Debian's link en is followed when seen from outside a container."""
        (self.sounds / "en").rename(self.sounds / "en_US_f_Allison")
        (self.sounds / "en").symlink_to("/no/such/alternatives/en")
        self.assert_all_well(self.find())
