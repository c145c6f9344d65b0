"""A gateway as a process of its own, for tests of signals, and callers on its FastAGI socket."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.security import keyfile, pins
from pbxrouter.simulator import SimulatedAsterisk, SimulatedCall
from tests.databases import sample_database
from tests.forked import ForkedTwistd
from tests.needs import PATIENCE_S
from tests.waiting import wait_for

SETTINGS = '[fastagi]\nlisten = "unix:s"\n'


class Caller:
    """Asterisk's side of one call, which answers commands up to the one that the test holds.

    Args:
        path: the gateway's socket.
        hold: the beginning of the command that is not answered until ``answer``.
    """

    def __init__(self, path: Path, call: SimulatedCall, hold: str) -> None:
        self._hold = hold
        self.commands: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(str(path))
        self._socket.sendall(SimulatedAsterisk(call).environment())
        self._lines = self._socket.makefile("rb")

    def goes_on(self, reply: str | None = None) -> str:
        """Reply to the held command, if one is, then answer what comes up to the next held one.

        Returns:
            The command that is held now; ``""`` if the gateway has closed the connection.
        """
        if reply is not None:
            self._say(reply)
        for line in self._lines:
            command = line.decode().strip()
            self.commands.append(command)
            if command.startswith(self._hold):
                return command
            self._say("200 result=1 (SUCCESS)" if command.startswith("GET VARIABLE PLAYBACK") else "200 result=0")
        return ""

    def _say(self, reply: str) -> None:
        self._socket.sendall(reply.encode() + b"\n")

    def close(self) -> None:
        """Close the connection."""
        self._lines.close()
        self._socket.close()


class ProcessCase(SynchronousTestCase):
    """A folder with a database and settings, and gateways in it."""

    def setUp(self) -> None:
        """Make the folder; its path is short, since it has sockets."""
        folder = tempfile.TemporaryDirectory(prefix="pbxr-")
        self.addCleanup(folder.cleanup)
        self.here = Path(folder.name)
        self.database = self.here / "pbxrouter.sqlite"
        key = keyfile.create_key(self.here / "pbxrouter.sqlite.pinkey")
        sample_database(self.database, lambda pin: pins.hash_pin(key, pin))
        self.settings(SETTINGS)

    def settings(self, text: str) -> None:
        """Write the settings."""
        (self.here / "pbxrouter.toml").write_text(text)

    def start(
        self,
        *options: str,
        ignore: tuple[signal.Signals, ...] = (),
        output: int | None = None,
    ) -> ForkedTwistd:
        """Start a gateway and wait until it has installed its handlers.

        Args:
            options: of twistd.
            ignore: signals that the starter ignores, as nohup does.
            output: where its output goes; by default the file ``out``.
        """

        manager = self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        (self.here / "n").unlink(missing_ok=True)
        manager.bind(str(self.here / "n"))
        manager.settimeout(PATIENCE_S)
        with (self.here / "out").open("ab") as out:
            process = ForkedTwistd(
                [*(options or ("-n", "--pidfile=")), "pbxrouter"],
                self.here,
                {**os.environ, "NOTIFY_SOCKET": str(self.here / "n")},
                out.fileno() if output is None else output,
                ignore,
            )
        self.addCleanup(self.end, process)
        while manager.recv(100) != b"READY=1":
            pass
        return process

    def end(self, process: ForkedTwistd) -> None:
        """End it if it still runs."""
        if process.poll() is None:
            process.kill()
        process.wait()

    def log(self, name: str = "out") -> str:
        """What it has logged."""
        path = self.here / name
        return path.read_text() if path.exists() else ""

    def wait_for_log(self, text: str, name: str = "out", times: int = 1) -> None:
        """Wait until it has logged a text so many times."""
        wait_for(f"{text!r} in {self.log(name)}", lambda: self.log(name).count(text) >= times)

    def call(self, number: str, hold: str, caller: str = "33") -> Caller:
        """Begin a call."""
        made = Caller(self.here / "s", SimulatedCall(number, caller=caller, uniqueid=f"1.{number}"), hold)
        self.addCleanup(made.close)
        return made

    def history(self) -> dict[str, tuple[str, str]]:
        """Outcome and trace of each finished call, by its Uniqueid."""
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            rows: list[Any] = connection.execute("SELECT uniqueid, outcome, trace FROM calls").fetchall()
        return {uniqueid: (outcome, trace) for uniqueid, outcome, trace in rows}

    def complaints(self, name: str = "out") -> list[str]:
        """Tracebacks, and log lines above info."""
        bad = re.compile(r"#(warn|error|critical)\b|Traceback|Unhandled")
        return [line for line in self.log(name).splitlines() if bad.search(line)]
