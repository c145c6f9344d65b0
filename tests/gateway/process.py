"""A gateway under twistd in a process of its own, for tests of what happens to a whole process."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pbxrouter.cli.conversation import ConversationEnd, converse
from pbxrouter.security import keyfile, pins
from pbxrouter.simulator import Script, SimulatedAsterisk, SimulatedCall
from tests.databases import sample_database
from tests.needs import PATIENCE_S
from tests.waiting import wait_for

TWISTD = """
import sys
from twisted.scripts.twistd import run
from tests.databases import new_database
sys.argv = ["twistd", "-n", "--pidfile=", "pbxrouter", "--config", "settings.toml"]
run()
"""


class Quiet:
    """A watcher of a conversation that records nothing."""

    def environment(self, data: bytes) -> None:
        """Record nothing of the opening block."""

    def command(self, line: bytes) -> None:
        """Record nothing of a command."""

    def reply(self, line: bytes, command: bytes | None) -> None:
        """Record nothing of a reply."""


class GatewayProcess:
    """A folder with settings, a key and the sample rules, and a gateway on a Unix socket in it.

    Args:
        settings: further settings.

    Attributes:
        folder: the same.
        process: while it runs; None before.
    """

    def __init__(self, settings: str = "") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pbxr-")  # a socket's path has 107 bytes at most
        self.folder = Path(self._folder.name)
        (self.folder / "settings.toml").write_text(
            f'database = "x.db"\ncontrol = "c"\n{settings}\n[fastagi]\nlisten = "unix:{self.folder}/s"\n'
        )
        self.database = self.folder / "x.db"
        key = keyfile.create_key(self.folder / "x.db.pinkey")
        sample_database(self.database, lambda pin: pins.hash_pin(key, pin))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, prelude: str = "", stdout: Any = None) -> None:
        """Start the gateway.

        Args:
            prelude: Python code that runs before Twisted is imported.
            stdout: where the log goes; by default a file, which ``log`` reads.
        """
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", prelude + TWISTD],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log,
            )

    def log(self) -> str:
        """The log so far."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def wait_for_log(self, text: str) -> None:
        """Wait until the log has a text."""
        wait_for(f"the log says {text!r}", lambda: text in self.log() or self._has_died())

    def wait_until_up(self) -> None:
        """Wait until it takes calls."""
        wait_for("it listens", lambda: (self.folder / "s").exists() or self._has_died())

    def _has_died(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the gateway has ended:\n{self.log()}")
        return False

    def connect(self) -> socket.socket:
        """Connect as Asterisk does."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE_S)

        def is_connected() -> bool:
            try:
                connection.connect(str(self.folder / "s"))
            except ConnectionRefusedError:  # it is bound, and does not listen yet
                return self._has_died()
            return True

        try:
            wait_for("it listens", is_connected)
        except BaseException:
            connection.close()
            raise
        return connection

    def call(self, number: str = "21", *keys: str) -> SimulatedAsterisk:
        """Make a call of 33, and play it to its end; fails if the gateway is silent."""
        asterisk = SimulatedAsterisk(SimulatedCall(number, caller="33"), Script(keys=keys))
        with self.connect() as connection:
            end = converse(connection, asterisk, Quiet(), PATIENCE_S)
        if end is not ConversationEnd.CLOSED:
            raise AssertionError(f"the call ended so: {end}\n{self.log()}")
        return asterisk

    def stop(self) -> int:
        """Send SIGTERM, and wait for the end; returns the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def clean(self) -> None:
        """Kill it if it runs, and remove the folder."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
        self._folder.cleanup()
