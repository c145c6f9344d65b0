"""The faults, and how a case goes: calls at each point of a call, the fault, new calls, its end, new calls."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import resource
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from tests.asterisk.ami import Ami
from tests.asterisk.chaos.bench import Bench, Result
from tests.asterisk.chaos.certificates import server_context, write_certificate
from tests.asterisk.chaos.clock import program, step
from tests.asterisk.chaos.strangers import connections, endless_lines
from tests.asterisk.harness import ASTERISK_ROOT, PROJECT, Lab
from tests.waiting import wait_for

Action = Callable[[Bench], Callable[[], None]]
"""Begins a fault; returns what ends it."""
Options = Callable[[], contextlib.AbstractContextManager[dict[str, Any]]]
"""Makes the bench's further arguments, and cleans up."""


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        begin: begins it.
        hold_s: seconds that it lasts.
        gone: by which ways there is no gateway meanwhile.
        kills_asterisk: whether calls in progress end with Asterisk.
        options: what the bench needs for it, as long as the case runs.
        prepare: is called before the first call.
        after: looks at the end what else is wrong.
    """

    name: str
    begin: Action
    hold_s: float = 6.0
    gone: tuple[str, ...] = ()
    kills_asterisk: bool = False
    options: Options = lambda: contextlib.nullcontext({})
    prepare: Callable[[Bench], object] = lambda bench: None
    after: Callable[[Bench], object] = lambda bench: None


def _ended(number: int) -> Action:
    def begin(bench: Bench) -> Callable[[], None]:
        bench.signal(number)
        return bench.restart

    return begin


def _frozen(bench: Bench) -> Callable[[], None]:
    bench.signal(signal.SIGSTOP)
    for _ in range(20):  # fewer than the kernel lets wait
        socket.create_connection(("127.0.0.1", bench.lab.agi_port), 2).close()
    return lambda: bench.signal(signal.SIGCONT)


def _machine_frozen(bench: Bench) -> Callable[[], None]:
    """As when the whole machine of the gateway is paused: the process beside it is stopped, too."""
    children = Path(f"/proc/{bench.pid}/task/{bench.pid}/children").read_text().split()
    for pid in (bench.pid, *map(int, children)):
        os.kill(pid, signal.SIGSTOP)

    def end() -> None:
        for pid in (*map(int, children), bench.pid):
            os.kill(pid, signal.SIGCONT)

    return end


def _thawed(bench: Bench) -> None:
    """After a thaw AMI is kept and not blamed, and connections that came meanwhile are not a log line each."""
    said = bench.said().splitlines()
    bench.wrong += [
        f"the log blames AMI: {line}" for line in said if re.search(r"\bAMI\b.*(lost|silent|answered)", line)
    ]
    about = [line for line in said if "connection" in line]
    if len(about) > 10:
        bench.wrong.append(f"{len(about)} lines about connections, such as: {about[0]}")


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


def _ami_elsewhere(bench: Bench, description: str) -> Callable[[], None]:
    """The gateway connects elsewhere from now on; what it has is cut."""
    usual = f"tcp:127.0.0.1:{bench.proxy.port}"
    bench.reload(usual, description)
    bench.proxy.cut()

    def end() -> None:
        bench.reload(description, usual)
        bench.until_connected()

    return end


def _ami_without_address(bench: Bench) -> Callable[[], None]:
    return _ami_elsewhere(bench, f"tcp:pbx.invalid:{bench.proxy.port}")


def _with_certificates(bench: Bench) -> None:
    """AMI and the console go over TLS, with certificates that are valid."""
    key = ec.generate_private_key(ec.SECP256R1())
    folder = bench.gateway.folder
    (folder / "trusted").mkdir()
    for name, has_run_out in (("valid.pem", False), ("run-out.pem", True)):
        write_certificate(folder / name, key, has_run_out=has_run_out)
    for name in ("trusted/valid.pem", "trusted/run-out.pem", "web.pem"):
        shutil.copy(folder / Path(name).name.replace("web", "valid"), folder / name)
    bench.proxy.tls = server_context(folder / "valid.pem")
    trusted = f"tls:127.0.0.1:{bench.proxy.port}:trustRoots={folder}/trusted"
    bench.gateway.stop()
    settings = bench.gateway.config.read_text().replace(f"tcp:127.0.0.1:{bench.proxy.port}", trusted)
    web = f"ssl:{bench.web_port}:interface=127.0.0.1:privateKey={folder}/web.pem"
    bench.gateway.config.write_text(settings.replace(f"tcp:{bench.web_port}:interface=127.0.0.1", web))
    bench.gateway.start()
    bench.until_connected()


def _certificates_run_out(bench: Bench) -> Callable[[], None]:
    folder = bench.gateway.folder
    bench.proxy.tls = server_context(folder / "run-out.pem")
    bench.proxy.cut()
    shutil.copy(folder / "run-out.pem", folder / "web.pem")
    bench.signal(signal.SIGHUP)

    def end() -> None:
        if "certificate" not in bench.said():
            bench.wrong.append("the log does not say that a certificate has run out")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", bench.web_port), 5) as plain,
            context.wrap_socket(plain) as console,
        ):
            console.sendall(b"GET / HTTP/1.0\r\n\r\n")
            if not console.recv(100).startswith(b"HTTP/1."):
                bench.wrong.append("the console does not answer")
        bench.proxy.tls = server_context(folder / "valid.pem")
        bench.until_connected()

    return end


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


def _limited(kind: int, limit: Callable[[Bench], int]) -> Action:
    def begin(bench: Bench) -> Callable[[], None]:
        before = resource.prlimit(bench.pid, kind)
        resource.prlimit(bench.pid, kind, (limit(bench), before[1]))

        def end() -> None:
            resource.prlimit(bench.pid, kind, before)

        return end

    return begin


def _no_memory(bench: Bench) -> Callable[[], None]:
    """The gateway gets no more memory, and is made to want some: it serves with what it has, or ends."""
    before = resource.prlimit(bench.pid, resource.RLIMIT_AS)
    resource.prlimit(bench.pid, resource.RLIMIT_AS, (1, before[1]))
    hang_up = connections(40, b"agi_network: yes\nagi_network_script: " + 900_000 * b"a")(bench)

    def end() -> None:
        hang_up()
        if bench.gateway.running():
            resource.prlimit(bench.pid, resource.RLIMIT_AS, before)
            bench.until_connected()
        else:
            bench.restart()

    return end


@contextlib.contextmanager
def _small_disk() -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="pbxrouter-") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "pbxrouter", folder], check=True)
        try:
            yield {"within": Path(folder)}
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def _disk_full(bench: Bench) -> Callable[[], None]:
    filler = bench.gateway.folder.parent / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler.unlink


def _all_in_history(bench: Bench) -> None:
    """The gateway has run all the time: nothing that it served may be missing."""
    wait_for("the history", lambda: bench.history_of_all().count("no row") == 0, 20)


@contextlib.contextmanager
def _own_clock() -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="pbxrouter-") as folder:
        clock = Path(folder) / "clock"
        yield {"program": program(clock), "clock": clock}


def _clock_set(seconds: float) -> Action:
    def begin(bench: Bench) -> Callable[[], None]:
        assert bench.clock is not None
        step(bench.clock, seconds)
        return lambda: None

    return begin


def _clock_was_noticed(bench: Bench) -> None:
    if "the system's clock was set" not in bench.said():
        bench.wrong.append("the log does not say that the clock was set")
    with contextlib.closing(sqlite3.connect(bench.gateway.database)) as connection:
        for uniqueid, length in connection.execute("SELECT uniqueid, ended - began FROM calls"):
            if not 0 <= length < 60:
                bench.wrong.append(f"call {uniqueid}: {length:.0f} s long in the history")


def _signals(bench: Bench) -> Callable[[], None]:
    """Signals that reload, rotate the log and tell the state, and stray ones, many times; none ends a call."""
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGPIPE) * 6:
        bench.signal(number)
        time.sleep(0.05)

    def end() -> None:
        if not bench.gateway.running():
            bench.wrong.append(f"a signal ended the gateway: {bench.said()[-500:]}")

    return end


def _database_locked(bench: Bench) -> Callable[[], None]:
    """Another program holds the database locked, so that it can be neither read nor written."""
    connection = sqlite3.connect(bench.gateway.database, timeout=10, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")

    def end() -> None:
        connection.execute("ROLLBACK")
        connection.close()

    return end


def _database_replaced(bench: Bench) -> Callable[[], None]:
    """A backup is moved over the database, as with `mv`, while calls are in progress."""
    backup = bench.gateway.folder / "backup.sqlite"
    with (
        contextlib.closing(sqlite3.connect(bench.gateway.database)) as live,
        contextlib.closing(sqlite3.connect(backup)) as copy,
    ):
        live.backup(copy)
    backup.rename(bench.gateway.database)
    return lambda: None


def _ami_flapping(bench: Bench) -> Callable[[], None]:
    """The AMI connection is cut again as soon as it is there, for some seconds."""
    end = time.monotonic() + 6
    while time.monotonic() < end:
        bench.proxy.cut()
        time.sleep(0.5)
    return bench.until_connected


def _ami_without_rights(bench: Bench) -> Callable[[], None]:
    """The AMI user logs in and may do nothing, nor hear anything."""
    path = bench.lab.run / "etc/manager.conf"
    before = path.read_text()
    head, user, rest = before.partition("[gateway]")
    path.write_text(head + user + re.sub(r"(?m)^(read|write) = .*$", r"\1 = user", rest, count=2))
    bench.lab.cli("manager reload")
    bench.proxy.cut()

    def end() -> None:
        path.write_text(before)
        bench.lab.cli("manager reload")
        bench.proxy.cut()
        bench.until_connected()

    return end


def _helper_killed(bench: Bench) -> Callable[[], None]:
    """The process beside the gateway that ends the calls of a frozen one is killed; the gateway freezes after that."""
    for child in Path(f"/proc/{bench.pid}/task/{bench.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    bench.watch(3)
    bench.signal(signal.SIGSTOP)
    return lambda: bench.signal(signal.SIGCONT)


def _crash_loop(bench: Bench) -> Callable[[], None]:
    """The gateway is killed, and again each time soon after it is back."""
    for _ in range(3):
        bench.signal(signal.SIGKILL)
        bench.restart()
        bench.place(TALKS)
        bench.watch(0.3)
    return lambda: None


def _second_gateway(bench: Bench) -> Callable[[], None]:
    """Another gateway on the same database and the same Asterisk; FastAGI calls do not reach its port."""
    twistd = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=", "pbxrouter"]
    free = "tcp:0:interface=127.0.0.1"
    second = subprocess.Popen(
        [*twistd, "--config", str(bench.gateway.config), "--listen", free, "--web", free],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def end() -> None:
        if second.poll() is not None:
            bench.wrong.append(f"the second gateway ended by itself, status {second.poll()}")
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
    """The gateway is started anew with a pipe for its log that is full soon and that no process reads."""
    return _restarted_into_pipe(bench, closed=False)


def _log_closed(bench: Bench) -> Callable[[], None]:
    """The gateway is started anew with a pipe for its log whose reader has gone."""
    return _restarted_into_pipe(bench, closed=True)


def _without_output(bench: Bench) -> Callable[[], None]:
    """The gateway is started anew with its standard output and error closed."""
    bench.gateway.stop()
    shell = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh"]
    bench.gateway.process = subprocess.Popen([*shell, *bench.gateway.command_line], cwd=PROJECT)
    bench.until_connected()
    return lambda: None


def _restarted_into_pipe(bench: Bench, *, closed: bool) -> Callable[[], None]:
    bench.gateway.stop()
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    bench.gateway.process = subprocess.Popen(
        bench.gateway.command_line, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer
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
        Fault("gateway-frozen", _frozen, 30, gone=("fastagi", "magi"), after=_thawed),
        Fault("machine-frozen", _machine_frozen, 15, gone=("fastagi", "magi"), after=_thawed),
        Fault("ami-cut", _ami_cut),
        Fault("ami-refused", _ami_refused, 10, gone=("magi",)),
        Fault("ami-half-open", _ami("hold"), 20, gone=("magi",)),
        Fault("ami-slow", _ami("slow"), 10),
        Fault("ami-flood", _ami("flood"), 10),
        Fault("ami-garbage", _ami("garbage"), 8),
        Fault("ami-login-refused", _login_refused, 10, gone=("magi",)),
        Fault("ami-without-address", _ami_without_address, 15, gone=("magi",)),
        Fault("certificates-run-out", _certificates_run_out, 10, gone=("magi",), prepare=_with_certificates),
        Fault("core-reload", _cli("core reload"), 2),
        Fault("module-reload", _cli("module reload res_agi.so"), 2),
        Fault("asterisk-killed", _asterisk_killed, 3, kills_asterisk=True),
        Fault("rules-changed", _rules_changed, 1),
        Fault("idle-connections", connections(10_000, b"")),
        Fault("slowloris", connections(300, b"agi_network: yes\nagi_req")),
        Fault("endless-lines", endless_lines, gone=("magi",)),
        Fault(
            "no-descriptors", _limited(resource.RLIMIT_NOFILE, lambda bench: len(os.listdir(f"/proc/{bench.pid}/fd")))
        ),
        Fault("no-memory", _no_memory, 10),
        Fault("files-full", _limited(resource.RLIMIT_FSIZE, lambda bench: 1)),
        Fault("disk-full", _disk_full, options=_small_disk, after=_all_in_history),
        Fault("clock-forward", _clock_set(30), options=_own_clock, after=_clock_was_noticed),
        Fault("clock-back", _clock_set(-30), options=_own_clock, after=_clock_was_noticed),
        Fault("log-unread", _log_unread, 1),
        Fault("log-closed", _log_closed, 1),
        Fault("without-output", _without_output, 1),
        Fault("signals", _signals, 2),
        Fault("database-locked", _database_locked, 8, after=_all_in_history),
        Fault("database-replaced", _database_replaced, 2),
        Fault("ami-flapping", _ami_flapping, 1, gone=("magi",)),
        Fault("ami-without-rights", _ami_without_rights, 10, gone=("magi",)),
        Fault("helper-killed", _helper_killed, 12, after=_thawed),
        Fault("crash-loop", _crash_loop, 1),
        Fault("second-gateway", _second_gateway, 8),
        Fault("two-inits", _two_inits, 1),
    )
}

TALKS: Final = "22"
"""The phone that answers at once and talks for 8 s; new calls ring it, too."""


def run_case(lab: Lab, name: str, way: str, seed: int) -> Result:
    """Run the case of one fault, with calls by one way."""
    fault = FAULTS[name]
    with fault.options() as options:
        return _run_case(Bench(lab, way, seed, **options), fault)


def _run_case(bench: Bench, fault: Fault) -> Result:
    try:
        fault.prepare(bench)
        with bench.phones():
            bench.place_at("34", "Playing 'agent-pass")  # is asked, and keys nothing
            bench.place_at("34", "Playing 'agent-pass", "-w", "6000", "-d", "123456#")  # keys the PIN
            bench.place_at(TALKS, "joined")
            bench.place_at("21", "is ringing")
            bench.watch(bench.random.uniform(0.1, 1.0))
            began = time.time()
            bench.marked = bench.gateway.log_size()
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
            fault.after(bench)
            gone = (began, ended) if bench.way in fault.gone else None
            return bench.judge(f"{fault.name}/{bench.way}", began, gone, began if fault.kills_asterisk else None)
    finally:
        bench.close()
        with contextlib.suppress(AssertionError):
            wait_for("all channels gone", lambda: not bench.note_channels())
