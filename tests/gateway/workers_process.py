"""A gateway of several processes on a TCP port, for tests of what happens to one of them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from pbxrouter import database
from pbxrouter.cli.conversation import ConversationEnd, converse
from pbxrouter.simulator import Script, SimulatedAsterisk, SimulatedCall
from tests.gateway.process import GatewayProcess, Quiet
from tests.needs import PATIENCE_S
from tests.waiting import wait_for

_TAKES_CALLS = re.compile(r"worker (\d+) takes calls, process (\d+)")


def free_port() -> int:
    """A TCP port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class GatewayOfWorkers(GatewayProcess):
    """A gateway of two processes.

    Attributes:
        port: where both take calls.
    """

    def __init__(self, settings: str = "", fastagi: str = "") -> None:
        super().__init__()
        self.port = free_port()
        (self.folder / "settings.toml").write_text(
            f'database = "x.db"\ncontrol = "c"\n{settings}\n[gateway]\nworkers = 2\n'
            f'[fastagi]\nlisten = "tcp:{self.port}:interface=127.0.0.1"\n{fastagi}\n'
        )

    def wait_until_up(self) -> None:
        """Wait until both processes take calls."""
        self.wait_for_worker(1)

    def wait_for_worker(self, times: int) -> int:
        """Wait until the worker has begun to take calls so often; returns its process id."""
        wait_for("the worker takes calls", lambda: len(self._starts()) >= times or self._has_died())
        return self._starts()[-1]

    def _starts(self) -> list[int]:
        return [int(found[2]) for found in _TAKES_CALLS.finditer(self.log())]

    @property
    def main(self) -> int:
        """Process id of the main process."""
        assert self.process is not None
        return self.process.pid

    def connect(self) -> socket.socket:
        """Connect as Asterisk does; whichever process is first takes the connection."""
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)

    @contextlib.contextmanager
    def only(self, process: int) -> Iterator[None]:
        """Have the other process stand still, so that this one takes what comes."""
        worker = self._starts()[-1]
        other = worker if process == self.main else self.main
        os.kill(other, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(other, signal.SIGCONT)

    def call_by(self, process: int, number: str = "21", *keys: str) -> SimulatedAsterisk:
        """Have one of the processes serve a call of 33."""
        asterisk = SimulatedAsterisk(SimulatedCall(number, caller="33"), Script(keys=keys))
        with self.connect_to(process) as connection:
            end = converse(connection, asterisk, Quiet(), PATIENCE_S)
        if end is not ConversationEnd.CLOSED:
            raise AssertionError(f"the call ended so: {end}\n{self.log()}")
        return asterisk

    def connect_to(self, process: int) -> socket.socket:
        """Connect to one of the processes."""
        before = accepted_by(process)
        with self.only(process):
            connection = self.connect()
            wait_for("the connection is accepted", lambda: accepted_by(process) > before)
        return connection

    def history(self) -> list[tuple[str, str, str]]:
        """Caller, number and outcome of each call in the history, the oldest first."""
        with contextlib.closing(database.connect(self.database)) as connection:
            rows = connection.execute("SELECT caller, number, outcome FROM calls ORDER BY began").fetchall()
        return [tuple(row) for row in rows]

    def wait_for_history(self, calls: int) -> list[tuple[str, str, str]]:
        """Wait until so many calls are in the history."""
        wait_for(f"{calls} calls are in the history", lambda: len(self.history()) >= calls)
        return self.history()

    def clean(self) -> None:
        """Kill all processes, and remove the folder."""
        for process in self._starts():
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        super().clean()

    def journals(self) -> list[Path]:
        """The journals beside the database."""
        return sorted(self.folder.glob("x.db.calls*"))


def variable(asterisk: SimulatedAsterisk, name: str) -> str:
    """The value that the gateway has set a channel variable to last; ``""`` if it has not."""
    prefix = f"SET VARIABLE {name} ".encode()
    values = [command.removeprefix(prefix) for command in asterisk.commands if command.startswith(prefix)]
    return values[-1].decode().strip('"') if values else ""


def accepted_by(process: int) -> int:
    """Number of sockets that a process has open."""
    folder = Path(f"/proc/{process}/fd")
    count = 0
    for entry in folder.iterdir():
        with contextlib.suppress(OSError):
            count += os.readlink(entry).startswith("socket:")
    return count
