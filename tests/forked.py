"""Gateways as forks of one process that has imported all of pbxrouter: each starts in a fraction of a second.

A fork runs what ``twistd`` runs, in a process of its own, with signals, files and environment of its own.
That the programs themselves start is proven where they are started: in tests.gateway.test_process, tests.test_packaging
and tests.test_docs.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from tests.needs import PATIENCE_S
from tests.paths import ROOT

_MODULES: Final = (
    "twisted.scripts.twistd",
    "twisted.internet.default",
    "pbxrouter.tap",
    "pbxrouter.web.build",
    "argon2",
    "prometheus_client",
)
_REACTOR: Final = "twisted.internet.reactor"
_LARGEST: Final = 1 << 18
_REPORT: Final = struct.Struct("<i")
"""What comes back: the process's id, and in the end its exit status."""


class ForkedTwistd:
    """A ``twistd`` that runs; with what tests use of subprocess.Popen.

    Args:
        arguments: those of twistd.
        output: the file descriptor for its output and errors.
        ignore: signals that it ignores when it starts, as under nohup.

    Attributes:
        returncode: as Popen has it.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        output: int,
        ignore: Sequence[signal.Signals] = (),
    ) -> None:
        request = {"arguments": [*arguments], "cwd": str(cwd), "env": dict(env), "ignore": [*ignore]}
        reading, writing = os.pipe()
        self._status = os.fdopen(reading, "rb", buffering=0)
        try:
            socket.send_fds(_server(), [json.dumps(request).encode()], [output, writing])
        finally:
            os.close(writing)
        self.returncode: int | None = None
        self.pid = self._number()

    def _number(self) -> int:
        data = self._status.read(_REPORT.size) or b""
        assert data, "the process that forks has died"
        return int(_REPORT.unpack(data)[0])

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises TimeoutExpired."""
        status = self._look(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("twistd", timeout or 0)
        return status

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            self.returncode = self._number()
            self._status.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, if it still runs."""
        self.send_signal(signal.SIGKILL)


@functools.cache
def _server() -> socket.socket:
    """The socket of the process that forks, which ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.forked", str(theirs.fileno())],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )

    def end() -> None:
        ours.close()
        server.wait(PATIENCE_S)

    atexit.register(end)
    return ours


def _serve(control: socket.socket) -> dict[str, Any]:
    """Fork for each request; returns in the fork, with what it is to run. Ends when the other side is closed."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writing)
    reports: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([control.fileno(), reading], [], [])
        if reading in ready:
            os.read(reading, 4096)
            for pid in [*reports]:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    _report(reports.pop(pid), os.waitstatus_to_exitcode(status), close=True)
        if control.fileno() in ready:
            data, files, _, _ = socket.recv_fds(control, _LARGEST, 2)
            if not data:
                raise SystemExit
            output, report = files
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                control.close()
                for number in (reading, writing, report, *reports.values()):
                    os.close(number)
                for number in (1, 2):
                    os.dup2(output, number)
                os.close(output)
                return dict(json.loads(data))
            os.close(output)
            reports[pid] = report
            _report(report, pid)


def _report(file: int, number: int, close: bool = False) -> None:
    with contextlib.suppress(BrokenPipeError):  # the test has ended
        os.write(file, _REPORT.pack(number))
    if close:
        os.close(file)


def _import_all() -> None:
    """Import what a gateway needs, and no reactor: a fork would share its epoll with all others."""
    sys.modules[_REACTOR] = types.ModuleType(_REACTOR)  # klein imports it, for what the gateway does not use
    for name in _MODULES:
        importlib.import_module(name)
    del sys.modules[_REACTOR]
    internet = sys.modules["twisted.internet"]
    if hasattr(internet, "reactor"):
        del internet.reactor
    importlib.import_module("pbxrouter.web.console.templates").compile_templates()
    gc.collect()
    gc.freeze()


def _main() -> NoReturn:
    _import_all()
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    # Those of the process that forks may know their files as ones that can be sought in.
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(  # type: ignore[misc]  # noqa: SIM115
        2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    for number in request["ignore"]:
        signal.signal(number, signal.SIG_IGN)
    sys.argv = ["twistd", *request["arguments"]]
    sys.modules["twisted.scripts.twistd"].run()
    raise SystemExit


if __name__ == "__main__":
    _main()
