"""A gateway in a process of its own, with raw FastAGI calls, for tests of how it dies and starts again."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

from pbxrouter.simulator import SimulatedCall
from tests.forked import ForkedTwistd
from tests.needs import PATIENCE_S
from tests.waiting import wait_for

REPLIES = (
    (b"DIALSTATUS", b"200 result=1 (ANSWER)\n"),
    (b"ANSWEREDTIME", b"200 result=1 (5)\n"),
    (b"SET VARIABLE", b"200 result=1\n"),
)


class RawCall:
    """Asterisk's end of one call: 33 dials 21.

    Args:
        path: the gateway's socket.
        extension: what is dialled.
    """

    def __init__(self, path: Path, uniqueid: str, extension: str = "21") -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(str(path))
        self._socket.sendall(SimulatedCall(extension, caller="33", uniqueid=uniqueid).environment())

    def command(self) -> bytes:
        """The next command; empty at the end."""
        try:
            return self._socket.recv(4096)
        except ConnectionResetError:
            return b""

    def answer(self, command: bytes) -> None:
        """Answer a command."""
        self._socket.sendall(next((reply for word, reply in REPLIES if word in command), b"200 result=0\n"))

    def until(self, word: bytes) -> bytes:
        """Answer commands up to one with this word, which is not answered; returns it."""
        while word not in (command := self.command()):
            assert command, f"the call ended before {word!r}"
            self.answer(command)
        return command

    def to_the_end(self) -> None:
        """Answer all commands."""
        while command := self.command():
            self.answer(command)
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class GatewayProcess:
    """A gateway on a database with the sample rules, in a folder of its own.

    Args:
        folder: where; None is a new temporary folder, with a short name for its sockets.
        settings: further settings.
    """

    def __init__(self, folder: Path | None = None, settings: str = "") -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="pbxr-") if folder is None else None
        self.folder = Path(self._temporary.name) if self._temporary else folder or Path()
        self.database = self.folder / "x.db"
        self.socket = self.folder / "s"
        self.log = self.folder / "log"
        (self.folder / "pbxrouter.toml").write_text(
            f'database = "x.db"\ncontrol = "c"\n[fastagi]\nlisten = "unix:s"\n{settings}'
        )
        self.process: ForkedTwistd | None = None

    def init(self) -> None:
        """Make what ``pbxrouter init --sample`` makes, which runs once in this process."""
        for path in _sample().glob("x.db*"):
            shutil.copy(path, self.folder / path.name)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `pbxrouter` with these arguments."""
        return subprocess.run(
            [sys.executable, "-m", "pbxrouter", *arguments],
            cwd=self.folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    def start(self) -> None:
        """Start it, and wait until it is up."""
        self.log.write_bytes(b"")
        self.run()
        wait_for(
            "the gateway is up",
            lambda: self.has_ended() or b"pbxrouter.Banner" in self.log.read_bytes() or self.is_up(),
        )
        if not self.is_up():
            raise AssertionError(f"the gateway did not start:\n{self.logged()}")

    def run(self) -> None:
        """Start it without waiting."""
        with self.log.open("ab") as log:
            arguments = ("-n", "--pidfile=", "pbxrouter")
            self.process = ForkedTwistd(arguments, self.folder, _environment(), log.fileno())

    def is_up(self) -> bool:
        """Whether its log says that it is up."""
        return " is up: " in self.logged()

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.process is not None and self.process.poll() is not None

    def logged(self) -> str:
        """Its log since the last start."""
        return self.log.read_text("utf-8", "replace")

    def kill(self) -> None:
        """Kill it at once."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop it as a system does, and wait until it has ended."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)
            self.process.wait(PATIENCE_S)
            self.process = None

    def clean_up(self) -> None:
        """Kill it, and delete the folder."""
        self.kill()
        if self._temporary is not None:
            self._temporary.cleanup()

    def call(self, uniqueid: str, extension: str = "21") -> RawCall:
        """Begin a call."""
        return RawCall(self.socket, uniqueid, extension)

    def history(self) -> list[tuple[str, str]]:
        """Uniqueid and outcome of each call in the history, the first to be written first."""
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT uniqueid, outcome FROM calls ORDER BY call_id").fetchall()

    def integrity(self) -> list[str]:
        """What SQLite says of the file: one line, ``ok``."""
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return [line for (line,) in connection.execute("PRAGMA integrity_check")]


@functools.cache
def _sample() -> Path:
    """A folder with a new database and its key, removed when Python ends. Raises CalledProcessError."""
    gateway = GatewayProcess()
    atexit.register(gateway.clean_up)
    gateway.command("init", "--sample").check_returncode()
    return gateway.folder


def _environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parent.parent.parent)
    return {**os.environ, "PYTHONPATH": root, "PYTHONUNBUFFERED": "1"}
