"""A PostgreSQL on a host of its own, for gateways that share one database."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.asterisk.hosts.network import NET, Host

USER: Final = "postgres"
PROGRAMS: Final = Path("/usr/lib/postgresql")


def programs() -> Path | None:
    """The folder of the newest PostgreSQL's programs; None if there is none (scripts/setup-postgresql)."""
    found = sorted(PROGRAMS.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None


class SitePostgreSQL:
    """A server that the whole site may connect to, with an empty database.

    Attributes:
        url: of the database, for the settings.
    """

    def __init__(self, host: Host) -> None:
        found = programs()
        assert found is not None
        self._programs = found
        self.host = host
        self.url = f"postgresql://{USER}@{host.address}/pbxrouter"
        self._folder = Path(tempfile.mkdtemp(prefix="pbxrouter-pg-", dir="/dev/shm"))
        shutil.chown(self._folder, USER)
        self._data = self._folder / "data"
        self._run("initdb", "-D", self._data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C.UTF-8")
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {NET}.0/24 trust\n")
        self.start()
        self.query("CREATE DATABASE pbxrouter", "postgres")

    def _run(self, name: str, *arguments: str | Path) -> None:
        alone = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        done = subprocess.run(
            self.host.command(*alone, self._programs / name, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {done.stderr}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = f"-c listen_addresses=* -c fsync=off -c unix_socket_directories={self._folder}"
        log = self._folder / "log"
        self._run("pg_ctl", "start", "-w", "-s", "-D", self._data, "-l", log, "-o", settings)

    def kill(self) -> None:
        """End it at once, as by kill -9: connections break, and the next start recovers."""
        self._run("pg_ctl", "stop", "-w", "-s", "-m", "immediate", "-D", self._data)

    def signal(self, number: int) -> None:
        """Send all its processes a signal: the server, and what serves each connection."""
        server = int((self._data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        for pid in (server, *map(int, children)):
            os.kill(pid, number)

    def query(self, statement: str, database: str = "pbxrouter") -> list[tuple[object, ...]]:
        """The rows of a statement, as texts."""
        where = ("-U", USER, "-h", "127.0.0.1", "-d", database)
        command = self.host.command(self._programs / "psql", "-XAtq", "-F", "\t", *where, "-c", statement)
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stderr
        return [tuple(line.split("\t")) for line in done.stdout.splitlines()]

    def remove(self) -> None:
        """Stop it and delete its folder."""
        try:
            self.signal(signal.SIGCONT)
            self.kill()
        except (OSError, AssertionError, ValueError):
            pass  # it has not been started, or has ended
        shutil.rmtree(self._folder, ignore_errors=True)
