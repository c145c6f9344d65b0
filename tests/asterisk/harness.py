"""The base of the tests against Asterisk: a lab of their own, a gateway on it, calls, and Asterisk's log.

One Asterisk serves a whole run of the tests; it starts with the first test and stops when Python
does. A gateway runs per configuration. Every test begins with a silent PBX and must leave one: no channel, no
open AGI connection.

Needs root, a Debian root with Asterisk (lab/setup), sipp and openssl. Without them the tests are skipped with
the reason; with CI=true in the environment they fail.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

from twisted.trial import unittest

from pbxrouter import database
from pbxrouter.database import Place
from tests import needs
from tests.asterisk.ami import Ami
from tests.database.postgresql import cluster
from tests.needs import PATIENCE_S
from tests.waiting import wait_for

PROJECT = Path(__file__).resolve().parent.parent.parent
LAB = PROJECT / "lab"
ASTERISK_ROOT = Path(os.environ.get("ASTERISK_ROOT", "/var/tmp/asterisk-lab"))

LOOP = '[technologies]\nIAX2 = "IAX2/loop"\n'
"""Configuration that lets 3X reach this Asterisk again: it answers for two seconds."""

TWISTD = "from twisted.scripts.twistd import run; run()"
"""The program that runs a gateway."""

SCRIPTED_PHONES = range(801, 900)
"""Endpoints beside those of the lab, for SipPhones."""
MAGI_PHONES = range(885, 899)
"""Those of them whose calls go to AsyncAGI."""
PICKUP_GROUP = {828: "call_group = 40\n", 829: "pickup_group = 40\n"}
"""The second of these picks up the calls of the first by ``*8``."""

SETTLE_S = 20.0
"""Seconds that a gateway has to connect to AMI before a test begins without."""
LOG_LINES_SHOWN = 300
"""Of each log, after a failure."""

SECRET = "Ab0._~+/=-Ab0._~+/=-"
"""What a gateway's fastagi.secret holds: each character that is accepted, of each kind."""


def why_not() -> str | None:
    """The reason why these tests cannot run on this machine."""
    if os.geteuid() != 0:
        return "the tests against Asterisk need root (chroot)"
    if not (ASTERISK_ROOT / "usr/sbin/asterisk").exists():
        return f"no Asterisk in {ASTERISK_ROOT}; run lab/setup"
    if not Path("/proc/net/tcp").exists():
        return "the tests against Asterisk need /proc"
    missing = [name for name in ("sipp", "openssl") if not shutil.which(name)]
    return f"{', '.join(missing)} not installed; run lab/setup" if missing else None


class Lab:
    """An Asterisk of this test run alone, with the lab's scripts bound to it.

    Args:
        beside: another lab, whose FastAGI server this one asks, too.
    """

    def __init__(self, beside: Lab | None = None) -> None:
        self._claim, self.base = next(filter(None, map(_claimed, range(20000, 32000, 1000))))
        self.agi_port: int = self.base + 73 if beside is None else beside.agi_port
        name = f"test-{os.getpid()}" if beside is None else f"{beside.run.name}-{self.base}"
        self.run: Path = ASTERISK_ROOT / "srv" / name
        self.environment = {
            **os.environ,
            "LAB_BASE": str(self.base),
            "LAB_NAME": name,
            "LAB_AGI": f"agi://127.0.0.1:{self.agi_port}",
            "LAB_EXTENSIONS": str(Path(__file__).parent / "extensions.conf"),
            "LAB_PJSIP": str(self._endpoints()),
            "ASTERISK_ROOT": str(ASTERISK_ROOT),
        }
        atexit.register(self.stop)
        self.script("start")
        self.ami = Ami(self.base + 38)
        self.cli("agi set debug on")

    def _endpoints(self) -> Path:
        """A file with the endpoints of SCRIPTED_PHONES, which are called at one port."""
        handle, name = tempfile.mkstemp(prefix="pjsip-", suffix=".conf")
        atexit.register(Path(name).unlink)
        with os.fdopen(handle, "w") as file:
            for number in SCRIPTED_PHONES:
                context = "pbxrouter-magi" if number in MAGI_PHONES else "pbxrouter"
                file.write(
                    f"[{number}](phone)\naors = {number}\ncallerid = <{number}>\ncontext = {context}\n"
                    f"call_group =\npickup_group =\n{PICKUP_GROUP.get(number, '')}"
                    f"[{number}]\ntype = aor\ncontact = sip:{number}@127.0.0.1:{self.base + 90}\n"
                )
        return Path(name)

    def script(self, name: str, *arguments: str) -> str:
        """Run one of the lab's scripts and return its output."""
        done = subprocess.run(
            [LAB / name, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"lab/{name} {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def cli(self, command: str) -> str:
        """Run a command of Asterisk's command line."""
        return self.ami.action("Command", Command=command)["Output"]

    def channels(self) -> list[str]:
        """The names of all live channels, without the stand-ins that Asterisk may leave behind after a masquerade."""
        lines = self.cli("core show channels concise").splitlines()
        return [line.partition("!")[0] for line in lines if line and not line.startswith("Surrogate/")]

    def log(self, since: int = 0) -> str:
        """Asterisk's log from a byte offset on."""
        with (self.run / "log/messages").open("rb") as log:
            log.seek(since)
            return log.read().decode("utf-8", "backslashreplace")

    def log_size(self) -> int:
        """The current end of Asterisk's log, in bytes."""
        return (self.run / "log/messages").stat().st_size

    def agi_connections(self) -> int:
        """How many connections to the FastAGI port the server's side still holds."""
        port = f":{self.agi_port:04X}"
        established, close_wait = "01", "08"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(row[1].endswith(port) and row[3] in (established, close_wait) for row in rows)

    def stop(self) -> None:
        """Stop Asterisk and remove its files."""
        subprocess.run([LAB / "stop"], env=self.environment, stdin=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.run, ignore_errors=True)


def _claimed(base: int) -> tuple[IO[bytes], int] | None:
    """A lock on a range of ports, which lasts as long as the file is open; None if another lab has it."""
    lock = (ASTERISK_ROOT / f"srv/{base}.lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    if _is_free(base):
        return lock, base
    lock.close()
    return None


def _is_free(base: int) -> bool:
    wanted = [(socket.SOCK_STREAM, (38, 39, 73)), (socket.SOCK_DGRAM, (21, 22, 33, 60, 69))]
    with contextlib.ExitStack() as stack:
        for kind, offsets in wanted:
            for offset in offsets:
                probe = stack.enter_context(socket.socket(socket.AF_INET, kind))
                if kind == socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", base + offset))
                except OSError:
                    return False
    return True


@functools.cache
def the_lab() -> Lab:
    """The lab of this run; started when first asked for. Skips the test where it cannot run."""
    if reason := why_not():
        needs.missing(reason)
    return Lab()


@functools.cache
def the_other_lab() -> Lab:
    """A second Asterisk of this run, which asks the same FastAGI server; started when first asked for."""
    return Lab(the_lab())


def mapping_inserts(mappings: Mapping[str, tuple[str, str]]) -> list[str]:
    """The SQL that adds mappings: by pattern, application and data."""
    return [
        "INSERT INTO applications_mappings (application_name, application_data, pattern)"
        f" VALUES ('{application}', '{data}', '{pattern}')"
        for pattern, (application, data) in mappings.items()
    ]


class Gateway:
    """A gateway process under twistd, with the workshop's rules in a database of its own.

    Args:
        lab: whose Asterisk asks it.
        config: its configuration, with AMI_PORT for that Asterisk's, or RELAY_PORT for that of a relay to it, and
            DATABASE_URL for a new database of PostgreSQL; where it listens is added.
        program: the Python program that runs it.
        within: the folder that its own one is made in; the system's for temporary files by default.
    """

    def __init__(self, lab: Lab, config: str = "", program: str = TWISTD, within: Path | None = None) -> None:
        self._port = port = lab.agi_port
        self._wanted = config
        self._program = program
        self.folder = Path(tempfile.mkdtemp(prefix="pbxrouter-", dir=within))
        atexit.register(self.remove)
        self.config = self.folder / "pbxrouter.toml"
        if "[fastagi]" not in config:
            config += "\n[fastagi]\n"
        config = config.replace("[fastagi]", f'[fastagi]\nlisten = "tcp:{port}:interface=127.0.0.1"')
        config = config.replace("AMI_PORT", str(lab.base + 38)).replace("RELAY_PORT", str(lab.base + 74))
        self.database = self.folder / "pbxrouter.sqlite"
        self.place: Place = self.database
        if "DATABASE_URL" in config:
            on_server = self.place = cluster().new_database(empty=True)
            config = config.replace("DATABASE_URL", on_server.url)
        self.config.write_text(config)
        secret = self.folder / "ami.secret"
        secret.touch(mode=0o600)
        secret.write_text("enero2007\n")
        secret = self.folder / "fastagi.secret"
        secret.touch(mode=0o600)
        secret.write_text(f"{SECRET}\n")
        self.process: subprocess.Popen[bytes] | None = None
        self.command("init", "--sample")
        self.start()

    def command(self, name: str, *arguments: str) -> str:
        """Run a command of the command line on this gateway's configuration."""
        program = [sys.executable, "-c", "from pbxrouter.cli import main; main()"]
        done = subprocess.run(
            [*program, name, "--config", str(self.config), *arguments],
            cwd=PROJECT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"pbxrouter {name}: {done.stdout}{done.stderr}"
        return done.stdout

    @property
    def command_line(self) -> list[str]:
        """What starts it."""
        return [sys.executable, "-c", self._program, "-n", "--pidfile=", "pbxrouter", "--config", str(self.config)]

    def start(self) -> None:
        """Start it (again), and wait until it listens."""
        with (self.folder / "log").open("ab") as log:
            self._started_at = log.tell()
            self.process = subprocess.Popen(
                self.command_line, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_for(f"the gateway listens:\n{self.log()[-2000:]}", self._listens_or_died)
        assert self.process.poll() is None, self.log()

    def settle(self) -> None:
        """Wait until all ports and the AMI connection are there, so that no socket is to come; not for ever."""
        end = time.monotonic() + SETTLE_S
        signs = ["is up: FastAGI at", *([r"AMI \S+: connected"] if "AMI_PORT" in self._wanted else [])]
        while not all(re.search(sign, self.log(self._started_at)) for sign in signs):
            if time.monotonic() > end or not self.running():
                return  # a login that is refused is a test's own
            time.sleep(0.02)

    def _listens_or_died(self) -> bool:
        assert self.process is not None
        # The process beside a gateway that was killed may hold the port for a moment longer.
        began = re.search(rf"starting on '?{self._port}\b", self.log(self._started_at))
        listens = began and f":{self._port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text()
        return bool(listens) or self.process.poll() is not None

    def stop(self) -> None:
        """Stop it as an administrator does."""
        self._end(kill=False)

    def kill(self) -> None:
        """Kill the gateway by SIGKILL."""
        self._end(kill=True)

    def _end(self, *, kill: bool) -> None:
        if self.process is None:
            return
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the gateway did not stop:\n{self.log()[-2000:]}") from None
        finally:
            self.process = None

    def running(self) -> bool:
        """Whether the gateway's process runs."""
        return self.process is not None and self.process.poll() is None

    def log(self, since: int = 0) -> str:
        """The gateway's log, from a byte offset on."""
        return (self.folder / "log").read_bytes()[since:].decode("utf-8", "replace")

    def log_size(self) -> int:
        """The current end of the gateway's log, in bytes."""
        return (self.folder / "log").stat().st_size

    def complaints(self, since: int = 0) -> list[str]:
        """Its log lines above info, and tracebacks."""
        bad = re.compile(r"#(warn|error|critical)\b|Traceback|Unhandled")
        return [line for line in self.log(since).splitlines() if bad.search(line)]

    def sql(self, statement: str, **values: str | int) -> None:
        """Change the gateway's database by SQL."""
        with contextlib.closing(database.connect(self.place)) as connection, database.transaction(connection):
            connection.execute(statement, values)

    def change_rules(self, *statements: str) -> None:
        """Change the rules by SQL in one transaction; on return calls are decided by the changed rules."""
        with contextlib.closing(sqlite3.connect(self.database)) as connection, connection:
            for statement in statements:
                connection.execute(statement)
        for _ in range(2):  # a load that ends first may have begun before the change
            self._wait_for_rules()

    def _wait_for_rules(self) -> None:
        since = self.log_size()
        with contextlib.closing(sqlite3.connect(self.database)) as connection, connection:
            (mark,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute(f"PRAGMA user_version = {mark + 1}")  # a change of the file that no table shows
        wait_for("the changed rules", lambda: re.search("rules (changed and )?loaded", self.log(since)))

    def sockets(self) -> int:
        """The number of sockets that the process holds."""
        assert self.process is not None
        names = []
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                names.append(os.readlink(entry))
        return sum(name.startswith("socket:") for name in names)

    def remove(self) -> None:
        """Stop it if it runs, and remove its folder."""
        with contextlib.suppress(AssertionError):
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


_gateways: dict[str, Gateway] = {}


def stop_gateways() -> None:
    """Stop the gateways that other tests have left running: their port is wanted."""
    for gateway in _gateways.values():
        if gateway.running():
            gateway.stop()


class AsteriskTest(unittest.TestCase):
    """A test with a lab, and with a gateway on it unless ``config`` is None."""

    config: str | None = ""
    timeout = 5 * PATIENCE_S

    def setUp(self) -> None:
        """Find or start the lab and the right gateway; note the ends of their logs."""
        self.lab = the_lab()
        for config, gateway in _gateways.items():
            if config != self.config and gateway.running():
                gateway.stop()
        if self.config is not None:
            if self.config not in _gateways:
                _gateways[self.config] = Gateway(self.lab, self.config)
            self.gateway = _gateways[self.config]
            if not self.gateway.running():
                self.gateway.start()
            # The PIN guard shall hold no test's wrong PINs against the next.
            self.gateway.sql("DELETE FROM pin_guesses")
            self.gateway.settle()
            self._gateway_mark = self.gateway.log_size()
            self._sockets = self.gateway.sockets()
        self._mark = self.lab.log_size()
        self.addCleanup(self._show_logs_of_failure)
        self.addCleanup(self._nothing_left)

    def _show_logs_of_failure(self) -> None:
        """Print what Asterisk and the gateway logged during a test that failed; what failed cannot be run again."""
        if self._passed:
            return
        logs = {"Asterisk": self.log()}
        if self.config is not None:
            logs["the gateway"] = self.gateway.log(self._gateway_mark)
        for name, log in logs.items():
            lines = log.splitlines()[-LOG_LINES_SHOWN:]
            print(f"--- {self.id()}: the log of {name}", *lines, "---", sep="\n", flush=True)

    def _nothing_left(self) -> None:
        """Assert that the test has left no channel and no connection."""
        try:
            wait_for("all channels gone", lambda: not self.lab.channels())
            wait_for("all AGI connections closed", lambda: not self.lab.agi_connections())
            if self.config is not None and self.gateway.running():
                wait_for("the gateway closed its sockets", lambda: self.gateway.sockets() <= self._sockets)
        except AssertionError as problem:
            left = self.lab.channels()
            self.hang_up_all()
            raise AssertionError(f"{problem}: {left}") from None

    # Placing calls

    def call(self, number: str, *options: str) -> str:
        """Place one call with lab/call; returns its result: "answered, hung up by the caller"."""
        return self.lab.script("call", *options, "--", number).partition(": ")[2]

    @contextlib.contextmanager
    def calling(self, number: str, *options: str) -> Iterator[None]:
        """Place a call that lasts while the body runs, and wait until it is over."""
        call = subprocess.Popen(
            [LAB / "call", *options, "--", number],
            env=self.lab.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield
        finally:
            self.said = call.communicate(timeout=PATIENCE_S)[0].strip().partition(": ")[2]

    def call_until(self, condition: Callable[[], object], number: str, *options: str) -> None:
        """Place a call, and end it as soon as the condition holds."""
        with self.calling(number, *options, "-t", "40000"):
            wait_for(f"what a call to {number} must bring", condition)
            self.hang_up_all()

    def hang_up_all(self) -> None:
        """End every call."""
        self.lab.cli("channel request hangup all")

    @contextlib.contextmanager
    def phone(self, number: int, manner: str, *options: str) -> Iterator[None]:
        """Answer as the phone of that number while the body runs."""
        phone = subprocess.Popen(
            [LAB / "phone", *options, str(number), manner], env=self.lab.environment, stdin=subprocess.DEVNULL
        )
        port = f":{self.lab.base + number:04X} "
        wait_for(f"phone {number} listens", lambda: port in Path("/proc/net/udp").read_text())
        try:
            yield
        finally:
            # Let it take its last message: an ACK, or a BYE that Asterisk repeats, would end the next phone there.
            with contextlib.suppress(subprocess.TimeoutExpired):
                phone.wait(0.3)
            phone.terminate()
            phone.wait(PATIENCE_S)

    def serves_async(self, context: str) -> bool:
        """Whether the gateway serves the calls in agi:async of a context; soon after its start another one may."""
        holder = self.lab.ami.getvar(f"PBXROUTER_MAGI_{context}").split("/")
        return self.gateway.process is not None and holder[3:4] == [str(self.gateway.process.pid)]

    def beat_age(self) -> float:
        """Seconds since the gateway's last heartbeat, as the dialplan sees it."""
        return time.time() - int(self.lab.ami.getvar("PBXROUTER_HEARTBEAT") or "0")

    # What Asterisk did

    def log(self) -> str:
        """Asterisk's log since the test began."""
        return self.lab.log(self._mark)

    def commands(self) -> list[str]:
        """The AGI commands that Asterisk got during this test, without NOOP and VERBOSE, quotes taken off."""
        lines = re.findall(r"AGI Rx << (.*)$", self.log(), re.MULTILINE)
        return [line.replace('"', "") for line in lines if not re.match("(?i)noop|verbose", line)]

    def applications(self) -> list[str]:
        """The applications run by EXEC, such as "Dial PJSIP/21,60"."""
        return [line[5:] for line in self.commands() if line.startswith("EXEC ")]

    def dialled(self) -> list[str]:
        """The destinations of all EXEC Dial, such as "PJSIP/21"."""
        return [argument[5:].partition(",")[0] for argument in self.applications() if argument.startswith("Dial ")]

    def played(self) -> list[str]:
        """The sounds that Asterisk played, in order, with their language: ["agent-pass en"]."""
        sounds = re.findall(r"Playing '([^']+)' .*\(language '([^']*)'\)", self.log())
        return [f"{re.sub(r'[.][a-z0-9]+$', '', name)} {language}" for name, language in sounds]

    def executed(self) -> list[str]:
        """The dialplan lines that ran: ["21@pbxrouter-ask:1 Set"]."""
        return [" ".join(text) for text in re.findall(r"Executing \[(\S+)\] (\w+)\(", self.log())]

    def variables(self) -> dict[str, str]:
        """The channel variables that the gateway set, with their last values."""
        words = [line.split(" ", 3) for line in self.commands() if line.startswith("SET VARIABLE ")]
        return {word[2]: word[3] if len(word) > 3 else "" for word in words}

    def complaints(self) -> list[str]:
        """The gateway's log lines above info since the test began."""
        return self.gateway.complaints(self._gateway_mark)
