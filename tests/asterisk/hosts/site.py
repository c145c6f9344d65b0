"""Two gateways and two Asterisks on hosts of their own, calls between them, and what became of each call."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from tests.asterisk.ami import Ami
from tests.asterisk.harness import ASTERISK_ROOT, LAB, PROJECT, TWISTD
from tests.asterisk.hosts.network import Host, Network
from tests.asterisk.hosts.postgresql import SitePostgreSQL
from tests.waiting import wait_for

GATEWAYS: Final = ("gw-a", "gw-b")
ASTERISKS: Final = ("pbx-a", "pbx-b")
DATABASE: Final = "db"
"""The host of PostgreSQL, where the gateways share a database."""
AGI_PORT: Final = 4573
AMI_PORT: Final = 15038
PIN: Final = "123456#"

CONFIG: Final = """
database = "{database}"
[fastagi]
listen = "tcp:4573:interface={address}"
[dial]
timeout = 20
"""
ASTERISK: Final = """
[[asterisk]]
name = "{name}"
ami = "tcp:{address}:15038"
username = "gateway"
secret_file = "{folder}/ami.secret"
magi = ["pbxrouter-ask"]
"""
RULES: Final = (
    "INSERT INTO extensions (extension_number) VALUES ('36')",
    "INSERT INTO applications_mappings (application_name, application_data, pattern)"
    " VALUES ('dial', 'Local/{number}@target', '6XXXX'), ('dial', 'Local/{number}@target', '7XXXX')",
    "INSERT INTO extensions_mappings (extension_id, map_id) SELECT extension_id, map_id"
    " FROM extensions, applications_mappings WHERE extension_number = '36' AND pattern = '6XXXX'",
    "INSERT INTO users_mappings (user_id, map_id) SELECT user_id, map_id FROM users, applications_mappings"
    " WHERE pattern = '7XXXX'",
    "INSERT INTO users_limits (user_id, max_calls) SELECT user_id, 1000 FROM users",
)

_LINE: Final = re.compile(r"\[([\d-]+ [\d:.]+)\] \w+\[\d+\](?:\[C-[0-9a-f]+\])? (?:Ext\. )?\S+: (.*)")
_NUMBER: Final = re.compile(r"(?:Local/|\[|dialled |talked )([67]\d{4})\b")


class SiteAsterisk:
    """An Asterisk on its host: a lab of its own, whose phones are Local channels."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.name = host.name
        self.run = ASTERISK_ROOT / "srv" / host.namespace
        self._environment = {
            **os.environ,
            "LAB_BASE": "15000",
            "LAB_NAME": host.namespace,
            "LAB_AMI_ADDRESS": "0.0.0.0",
            "LAB_EXTENSIONS": str(Path(__file__).parent / "extensions.conf"),
            "ASTERISK_ROOT": str(ASTERISK_ROOT),
        }
        self.setup: Sequence[str | Path] = ()
        self._globals: dict[str, str] = {}

    def start(self) -> None:
        """Start it, with a log of its own."""
        command = self.host.command(*self.setup, LAB / "start")
        done = subprocess.run(
            command, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{self.name}: {done.stdout}{done.stderr}"
        self.connect()

    def connect(self) -> None:
        """Connect the test to its AMI."""
        with self.host.entered():
            self.ami = Ami(AMI_PORT)
        for name, value in self._globals.items():
            self.ami.action("Setvar", Variable=name, Value=value)

    def set_global(self, name: str, value: str) -> None:
        """Set a global variable, also after a restart."""
        self._globals[name] = value
        self.ami.action("Setvar", Variable=name, Value=value)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(int((self.run / "asterisk.pid").read_text()), number)

    def restart(self) -> None:
        """Start it again after it was killed; its log begins anew."""
        with contextlib.suppress(OSError):
            self.ami.close()
        (self.run / "log/messages").rename(self.run.with_name(f"{self.run.name}-log-before"))
        (self.run / "asterisk.pid").unlink()
        self.start()

    def log(self) -> Iterable[str]:
        """The lines of its log, of before a restart, too."""
        for path in (self.run.with_name(f"{self.run.name}-log-before"), self.run / "log/messages"):
            if path.exists():
                yield from path.read_text("utf-8", "backslashreplace").splitlines()

    def answers(self) -> bool:
        """Whether its process runs and is not stopped."""
        try:
            pid = int((self.run / "asterisk.pid").read_text())
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return False
        return state not in "TZX"

    def channels(self) -> int:
        """Number of channels."""
        lines = self.ami.action("Command", Command="core show channels concise")["Output"].splitlines()
        return sum("!" in line for line in lines)

    def stop(self) -> None:
        """Stop it and remove its files."""
        with contextlib.suppress(OSError):
            self.signal(signal.SIGCONT)
        subprocess.run(self.host.command(LAB / "stop"), env=self._environment, stdin=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.run, ignore_errors=True)
        self.run.with_name(f"{self.run.name}-log-before").unlink(missing_ok=True)


class SiteGateway:
    """A gateway on its host: it sees no process of another one, and has a host name of its own."""

    def __init__(
        self, host: Host, asterisks: Iterable[SiteAsterisk], server: SitePostgreSQL | None = None, settings: str = ""
    ) -> None:
        self.host = host
        self.name = host.name
        self.folder = Path(tempfile.mkdtemp(prefix=f"pbxrouter-{host.name}-"))
        self._server = server
        self.database = server.url if server is not None else str(self.folder / "pbxrouter.sqlite")
        self.config = self.folder / "pbxrouter.toml"
        text = CONFIG.format(database=self.database, address=host.address) + settings
        for asterisk in asterisks:
            text += ASTERISK.format(name=asterisk.name, address=asterisk.host.address, folder=self.folder)
        self.config.write_text(text)
        secret = self.folder / "ami.secret"
        secret.touch(mode=0o600)
        secret.write_text("enero2007\n")
        self.process: subprocess.Popen[bytes] | None = None

    def init(self, other: SiteGateway | None = None) -> None:
        """Make its database, with rules for the calls of this package.

        Args:
            other: a gateway that has made it already: its PIN key is taken.
        """
        if self._server is not None and other is not None:
            for key in other.folder.glob("*.pinkey"):
                shutil.copy2(key, self.folder)
            return
        program = [sys.executable, "-c", "from pbxrouter.cli import main; main()"]
        command = self.host.command(*program, "init", "--sample", "--config", str(self.config))
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        for statement in RULES:
            self.rows(statement)

    def start(self) -> None:
        """Start it (again), and wait until it serves calls."""
        program = f"import socket; socket.sethostname({self.name!r}); {TWISTD}"
        alone = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        twistd = [sys.executable, "-c", program, "-n", "--pidfile=", "pbxrouter", "--config", str(self.config)]
        since = self.log_size()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.host.command(*alone, *twistd), cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_for(f"{self.name} is up", lambda: "is up: FastAGI" in self.log(since) or not self.running)
        assert self.running, self.log(since)

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """The gateway's process, which is a child of what has made its namespaces."""
        assert self.process is not None
        return _children(self.process.pid)[0]

    def signal(self, number: int) -> None:
        """Send the gateway a signal, and nothing that belongs to it."""
        os.kill(self.pid, number)

    def signal_all(self, number: int) -> None:
        """Send the gateway and the process beside it a signal, as when their container is paused."""
        pid = self.pid
        for each in (pid, *_children(pid)):
            os.kill(each, number)

    def ended(self) -> None:
        """Wait until it has ended."""
        assert self.process is not None
        self.process.wait(60)

    def log(self, since: int = 0) -> str:
        """Its log, from a byte offset on."""
        path = self.folder / "log"
        return path.read_bytes()[since:].decode("utf-8", "replace") if path.exists() else ""

    def log_size(self) -> int:
        """The current end of its log."""
        path = self.folder / "log"
        return path.stat().st_size if path.exists() else 0

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """The rows of a statement on its database."""
        if self._server is not None:
            return self._server.query(query)
        with contextlib.closing(sqlite3.connect(self.database)) as connection, connection:
            return connection.execute(query).fetchall()

    def remove(self) -> None:
        """Kill it if it runs, and remove its folder."""
        if self.running:
            with contextlib.suppress(OSError, IndexError):
                self.signal_all(signal.SIGKILL)
            assert self.process is not None
            self.process.kill()
            self.process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@dataclass
class SiteCall:
    """A call, as the log of its Asterisk tells it. Times are epoch seconds; None: it did not happen."""

    number: str
    asterisk: str
    uniqueid: str
    placed: float
    entered: float | None = None
    asked: list[tuple[float, str]] = field(default_factory=list)
    """When a gateway was asked to serve it, and at which address."""
    prompts: list[float] = field(default_factory=list)
    dialled: list[float] = field(default_factory=list)
    talked: int = 0
    fallback: float | None = None
    refused: float | None = None
    outcome: str = ""
    lines: list[tuple[float, str]] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """What became of it: routed, fallback, refused, cut (by its caller or its Asterisk)."""
        if self.fallback is not None:
            return "fallback"
        if self.refused is not None:
            return "refused"
        return "routed" if self.dialled or self.outcome else "cut"

    @property
    def waited(self) -> float | None:
        """Seconds from when it came into the dialplan until somebody was dialled, or it went on without a gateway."""
        ends = [at for at in (*self.dialled[:1], self.fallback, self.refused) if at is not None]
        return min(ends) - self.entered if ends and self.entered is not None else None

    def read(self, at: float, text: str) -> None:
        """Take up a line of the log."""
        self.lines.append((at, text))
        if f"[{self.number}@pbxrouter-ask:1]" in text and self.entered is None:
            self.entered = at
        elif text.startswith("Executing") and ' AGI("' in text and ",alive" not in text:
            self.asked.append((at, text.partition('", "')[2].partition(",")[0].rstrip('")')))
        elif "Playing 'agent-pass" in text:
            self.prompts.append(at)
        elif text == f"dialled {self.number}":
            self.dialled.append(at)
        elif text == f"talked {self.number}":
            self.talked += 1
        elif f"[{self.number}@pbxrouter-fallback:1]" in text:
            self.fallback = at
        elif found := re.search(r'"2,pbxrouter \d+: done ([A-Z]+)', text):
            self.outcome = self.outcome or found[1]
        elif found := re.search(r"\[([A-Z]+)@pbxrouter-outcome:1\]", text):
            self.outcome = found[1]
            if self.outcome in ("CONGESTION", "REFUSED"):
                self.refused = at


class Site:
    """The hosts, with their Asterisks and gateways started.

    Args:
        ways: the values of PBXROUTER_URL and PBXROUTER_URL_2 on each Asterisk, by gateway's name or as they are.
    """

    def __init__(self, *ways: str, hosts: Sequence[str] = ()) -> None:
        self.network = Network(*GATEWAYS, *ASTERISKS, *hosts)
        for name in ASTERISKS:  # as docs/dialplan.md has it, for FastAGI to a host that has vanished
            self.network.hosts[name].set_kernel("net.ipv4.tcp_retries2", 3)
        self.asterisks: dict[str, SiteAsterisk] = {}
        self.gateways: dict[str, SiteGateway] = {}
        self.server: SitePostgreSQL | None = None
        self._calls: dict[tuple[str, str], SiteCall] = {}
        self._ways = ways

    def start(self) -> None:
        """Start PostgreSQL if there is a host for it, Asterisks and gateways; wait until all are connected."""
        hosts = self.network.hosts
        if DATABASE in hosts:
            self.server = SitePostgreSQL(hosts[DATABASE])
        for name in ASTERISKS:
            self.asterisks[name] = SiteAsterisk(hosts[name])
            self.asterisks[name].start()
        for name in GATEWAYS:
            self.gateways[name] = SiteGateway(hosts[name], self.asterisks.values(), self.server)
            self.gateways[name].init(next(iter(self.gateways.values())) if len(self.gateways) > 1 else None)
            self.gateways[name].start()
        for asterisk in self.asterisks.values():
            for variable, way in zip(("PBXROUTER_URL", "PBXROUTER_URL_2"), self._ways, strict=False):
                asterisk.set_global(variable, self.url(way))
            asterisk.ami.action("Command", Command="agi set debug on")
        self.until_connected()

    def url(self, way: str) -> str:
        """The address of a gateway by its name; another way as it is."""
        return f"agi://{self.network.hosts[way].address}:{AGI_PORT}/pbxrouter" if way in GATEWAYS else way

    def until_connected(self) -> None:
        """Wait until each gateway has sent a heartbeat to each Asterisk, and one serves the calls by agi:async."""
        for asterisk in self.asterisks.values():

            def connected(asterisk: SiteAsterisk = asterisk) -> bool:
                shown = asterisk.ami.action("Command", Command="dialplan show globals")["Output"]
                beats = re.findall(r"PBXROUTER_HEARTBEAT_[0-9a-f]{8}=(\d{10})", shown)
                fresh = [beat for beat in beats if time.time() - int(beat) < 3]
                return len(fresh) == len(self.gateways) and "PBXROUTER_MAGI_pbxrouter-ask=" in shown

            wait_for(f"the gateways' heartbeats at {asterisk.name}", connected)

    # Calls

    def place(self, asterisk: str, number: str) -> SiteCall:
        """Place a call of extension 36, and return at once."""
        at = time.time()
        uniqueid = self.asterisks[asterisk].ami.originate(
            f"Local/{number}@pbxrouter-phones/n", CallerID="36", Timeout="60000", Data="120"
        )
        call = self._calls[asterisk, number] = SiteCall(number, asterisk, uniqueid, at)
        return call

    def press(self, call: SiteCall, digits: str = PIN) -> None:
        """Press keys as the caller; nothing if the call has ended."""
        with contextlib.suppress(AssertionError):
            ami = self.asterisks[call.asterisk].ami
            channel = ami.channel_named(f"Local/{call.number}@pbxrouter-phones", ";2")
            if channel:
                ami.press(channel, digits)

    def read(self) -> list[SiteCall]:
        """What the logs tell of all calls until now."""
        for call in self._calls.values():
            fresh = SiteCall(call.number, call.asterisk, call.uniqueid, call.placed)
            call.__dict__.update(fresh.__dict__)
        for name, asterisk in self.asterisks.items():
            for line in asterisk.log():
                match = _LINE.match(line)
                found = match and _NUMBER.search(match[2])
                call_of = self._calls.get((name, found[1])) if found else None
                if match and call_of is not None:
                    call_of.read(datetime.fromisoformat(match[1]).timestamp(), match[2])
        return list(self._calls.values())

    def wait_until(self, what: str, call: SiteCall, came: str, count: int = 1) -> None:
        """Wait until a call has come so far: an attribute of it that has so many entries."""

        def has_come() -> bool:
            self.read()
            return len(getattr(call, came)) >= count

        wait_for(f"{what}, of {call.number} at {call.asterisk}", has_come)

    def until_over(self, limit_s: float) -> bool:
        """Wait until no Asterisk has a channel; whether that came within the limit."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if not sum(asterisk.channels() for asterisk in self.asterisks.values()):
                return True
            time.sleep(0.25)
        return False

    # What the gateways say

    def history(self) -> dict[str, list[tuple[str, str, str]]]:
        """By a call's Uniqueid: gateway, key and outcome of each row that has it."""
        found: dict[str, list[tuple[str, str, str]]] = {}
        for name, gateway in list(self.gateways.items())[: 1 if self.server else None]:
            for uniqueid, key, outcome in gateway.rows(
                "SELECT uniqueid, call_key, outcome FROM calls ORDER BY call_id"
            ):
                found.setdefault(str(uniqueid), []).append((name, str(key), str(outcome)))
        return found

    def counted(self, gateway: str) -> Counter[str]:
        """The calls that a gateway has counted as finished, by Asterisk."""
        rows = self.gateways[gateway].rows(
            "SELECT asterisk, coalesce(sum(finished), 0) FROM counter_minutes WHERE kind = 'all' GROUP BY asterisk"
        )
        return Counter({str(asterisk): int(str(finished).partition(".")[0]) for asterisk, finished in rows})

    def close(self) -> None:
        """Stop everything and remove it."""
        for gateway in self.gateways.values():
            gateway.remove()
        for asterisk in self.asterisks.values():
            asterisk.stop()
        if self.server is not None:
            self.server.remove()
        self.network.close()
