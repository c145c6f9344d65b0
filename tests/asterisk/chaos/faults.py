"""The faults, and how a case goes: calls at each point of a call, the fault, new calls, its end, new calls."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.asterisk.ami import Ami
from tests.asterisk.chaos.bench import Bench, Result
from tests.asterisk.harness import ASTERISK_ROOT, PROJECT, Lab
from tests.waiting import wait_for

Action = Callable[[Bench], Callable[[], None]]
"""Begins a fault; returns what ends it."""


@dataclass(frozen=True)
class Fault:
    """A fault: how it begins and ends, how long it lasts, and whether there is no gateway meanwhile."""

    name: str
    begin: Action
    hold_s: float = 6.0
    gone: tuple[str, ...] = ()
    kills_asterisk: bool = False


def _ended(number: int) -> Action:
    def begin(bench: Bench) -> Callable[[], None]:
        bench.signal(number)
        return bench.restart

    return begin


def _frozen(bench: Bench) -> Callable[[], None]:
    bench.signal(signal.SIGSTOP)
    return lambda: bench.signal(signal.SIGCONT)


def _ami(manner: str) -> Action:
    def begin(bench: Bench) -> Callable[[], None]:
        bench.proxy.manner = manner
        return bench.proxy.restore

    return begin


def _ami_refused(bench: Bench) -> Callable[[], None]:
    bench.proxy.refuse()
    return bench.proxy.restore


def _ami_cut(bench: Bench) -> Callable[[], None]:
    bench.proxy.cut()
    return lambda: None


def _login_refused(bench: Bench) -> Callable[[], None]:
    path = bench.lab.run / "etc/manager.conf"
    before = path.read_text()
    path.write_text(before.replace("enero2007", "febrero2008"))
    bench.lab.cli("manager reload")
    bench.proxy.cut()

    def end() -> None:
        path.write_text(before)
        bench.lab.cli("manager reload")

    return end


def _cli(command: str) -> Action:
    def begin(bench: Bench) -> Callable[[], None]:
        bench.lab.cli(command)
        bench.set_url()  # a reload of the dialplan sets its globals anew
        return lambda: None

    return begin


def _asterisk_killed(bench: Bench) -> Callable[[], None]:
    pid_file = bench.lab.run / "asterisk.pid"
    subprocess.run(["kill", "-9", pid_file.read_text().strip()], check=True)

    def end() -> None:
        inside = str(bench.lab.run).removeprefix(str(ASTERISK_ROOT))
        with (bench.lab.run / "log/console").open("ab") as console:
            process = subprocess.Popen(
                ["setsid", "chroot", ASTERISK_ROOT, "/usr/sbin/asterisk", "-f", "-C", f"{inside}/etc/asterisk.conf"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        pid_file.write_text(f"{process.pid}\n")

        def answers() -> bool:
            try:
                bench.lab.ami = Ami(bench.lab.base + 38)
            except (OSError, AssertionError):
                return False
            return True

        wait_for("Asterisk's AMI", answers)
        bench.lab.cli("core waitfullybooted")
        bench.lab.cli("agi set debug on")
        bench.set_url()
        bench.until_connected()

    return end


def _rules_changed(bench: Bench) -> Callable[[], None]:
    """A hundred changes a second, as long as the case waits."""
    end = time.monotonic() + 4
    with contextlib.closing(sqlite3.connect(bench.gateway.database, timeout=10)) as connection:
        number = 0
        while time.monotonic() < end:
            number += 1
            with connection:
                connection.execute(
                    "INSERT INTO applications_mappings (application_name, application_data, pattern)"
                    " VALUES ('dial', 'SIP', ?)",
                    (f"7{number:05}",),
                )
            time.sleep(0.01)
    return lambda: None


def _connections(number: int, data: bytes) -> Action:
    def begin(bench: Bench) -> Callable[[], None]:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        strangers = []
        for _ in range(number):
            with contextlib.suppress(OSError):
                stranger = socket.create_connection(("127.0.0.1", bench.lab.agi_port), 2)
                stranger.sendall(data)
                strangers.append(stranger)

        def end() -> None:
            for stranger in strangers:
                stranger.close()

        return end

    return begin


def _limited(kind: int, limit: Callable[[Bench], int]) -> Action:
    def begin(bench: Bench) -> Callable[[], None]:
        before = resource.prlimit(bench.pid, kind)
        resource.prlimit(bench.pid, kind, (limit(bench), before[1]))

        def end() -> None:
            resource.prlimit(bench.pid, kind, before)

        return end

    return begin


def _second_gateway(bench: Bench) -> Callable[[], None]:
    """Another gateway on the same database and the same Asterisk; FastAGI calls do not reach its port."""
    twistd = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=", "pbxrouter"]
    second = subprocess.Popen(
        [*twistd, "--config", str(bench.gateway.config), "--listen", "tcp:0:interface=127.0.0.1"],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def end() -> None:
        second.terminate()
        second.wait(60)

    return end


def _two_inits(bench: Bench) -> Callable[[], None]:
    program = [sys.executable, "-c", "from pbxrouter.cli import main; main()", "init", "--sample"]
    inits = [
        subprocess.Popen(
            [*program, "--config", str(bench.gateway.config)],
            cwd=PROJECT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]
    for init in inits:
        init.wait(60)
    return lambda: None


def _log_unread(bench: Bench) -> Callable[[], None]:
    """The gateway is started anew with a pipe for its log that is full already and that no process reads."""
    return _restarted_into_pipe(bench, closed=False)


def _log_closed(bench: Bench) -> Callable[[], None]:
    """The gateway is started anew with a pipe for its log whose reader has gone."""
    return _restarted_into_pipe(bench, closed=True)


def _restarted_into_pipe(bench: Bench, *, closed: bool) -> Callable[[], None]:
    bench.gateway.stop()
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    twistd = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=", "pbxrouter"]
    bench.gateway.process = subprocess.Popen(
        [*twistd, "--config", str(bench.gateway.config)],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
    )
    os.close(writer)
    if closed:
        os.close(reader)
    bench.until_connected()
    return lambda: None if closed else os.close(reader)


FAULTS: Final = {
    fault.name: fault
    for fault in (
        Fault("nothing", lambda bench: lambda: None, 1),
        Fault("gateway-sigterm", _ended(signal.SIGTERM), gone=("fastagi", "magi")),
        Fault("gateway-sigkill", _ended(signal.SIGKILL), gone=("fastagi", "magi")),
        Fault("gateway-frozen", _frozen, 30, gone=("fastagi", "magi")),
        Fault("ami-cut", _ami_cut),
        Fault("ami-refused", _ami_refused, 10, gone=("magi",)),
        Fault("ami-half-open", _ami("hold"), 20, gone=("magi",)),
        Fault("ami-slow", _ami("slow"), 10),
        Fault("ami-flood", _ami("flood"), 10),
        Fault("ami-garbage", _ami("garbage"), 8),
        Fault("ami-login-refused", _login_refused, 10, gone=("magi",)),
        Fault("core-reload", _cli("core reload"), 2),
        Fault("module-reload", _cli("module reload res_agi.so"), 2),
        Fault("asterisk-killed", _asterisk_killed, 3, kills_asterisk=True),
        Fault("rules-changed", _rules_changed, 1),
        Fault("idle-connections", _connections(2000, b"")),
        Fault("slowloris", _connections(300, b"agi_network: yes\nagi_req")),
        Fault(
            "no-descriptors", _limited(resource.RLIMIT_NOFILE, lambda bench: len(os.listdir(f"/proc/{bench.pid}/fd")))
        ),
        Fault("files-full", _limited(resource.RLIMIT_FSIZE, lambda bench: 1)),
        Fault("log-unread", _log_unread, 1),
        Fault("log-closed", _log_closed, 1),
        Fault("second-gateway", _second_gateway, 8),
        Fault("two-inits", _two_inits, 1),
    )
}

TALKS: Final = "22"
"""The phone that answers at once and talks for 8 s; new calls ring it, too."""


def run_case(lab: Lab, name: str, way: str, seed: int) -> Result:
    """Run the case of one fault, with calls by one way."""
    fault = FAULTS[name]
    bench = Bench(lab, way, seed)
    try:
        with bench.phones():
            bench.place_at("34", "Playing 'agent-pass")  # is asked, and keys nothing
            bench.place_at("34", "Playing 'agent-pass", "-w", "6000", "-d", "123456#")  # keys the PIN
            bench.place_at(TALKS, "joined")
            bench.place_at("21", "is ringing")
            bench.watch(bench.random.uniform(0.1, 1.0))
            began = time.time()
            end = fault.begin(bench)
            for _ in range(2):
                bench.watch(0.5)
                bench.place(TALKS)
            bench.watch(max(0.5, began + fault.hold_s - time.time()))
            ended = time.time()
            end()
            over = time.time()
            bench.watch(1)
            bench.place(TALKS)
            bench.watch(1)
            bench.until_over(max(began, over - 30))
            bench.watch(2)  # the history is written once a second
            gone = (began, ended) if way in fault.gone else None
            return bench.judge(f"{name}/{way}", began, gone, began if fault.kills_asterisk else None)
    finally:
        bench.close()
        with contextlib.suppress(AssertionError):
            wait_for("all channels gone", lambda: not bench.note_channels())
