#!/usr/bin/env python3
"""Calls a second, and what each costs, of the gateway beside a FastAGI server on pystrix.

    python bench/fastagi.py [-n CALLS] [-r ROUNDS] [-c AT_ONCE] [--parked CALLS]

This process plays Asterisk on one processor; the servers run on another, in turns. Both have the same
conversation of eight commands: 33 dials 21. The gateway is the real one, with its sample rules, its
database and its log; the peer says the same words without deciding anything. A peer that is not
installed is left out. README.md beside this file says what to make of the numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pbxrouter.simulator import SimulatedCall

OPENING = SimulatedCall("21", caller="33").environment()
OPENING_WITH_PIN = SimulatedCall("34", caller="33").environment()
COMMANDS = 10
ANSWERS = (
    (b"DIALSTATUS", b"200 result=1 (ANSWER)\n"),
    (b"ANSWEREDTIME", b"200 result=1 (5)\n"),
    (b"GET FULL VARIABLE", b"200 result=1 (,,,,)\n"),
    (b"CHANNEL STATUS", b"200 result=4\n"),
    (b"SET VARIABLE", b"200 result=1\n"),
)
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Server:
    """A server in a process of its own.

    Args:
        run: its command line.
        port: where it listens.
    """

    def __init__(self, name: str, run: list[str], port: int, place: Path) -> None:
        self.name = name
        self.port = port
        self.cpu_us: list[float] = []
        self.rates: list[float] = []
        self.parked_kb = 0.0
        with (place / f"{name}.log").open("wb") as log:
            self.process = subprocess.Popen(run, stdout=log, stderr=log, cwd=place)
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.1)
        raise SystemExit(f"{name} does not listen: {(place / f'{name}.log').read_text()[-500:]}")

    def cpu_s(self) -> float:
        """Processor time used so far, by all threads, the kernel's part included."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_S

    def memory_kb(self) -> int:
        """The resident memory of the process in kB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])


def play(port: int, calls: int, at_once: int) -> None:
    """Have so many calls, so many at once, each to its end."""
    selector = selectors.EpollSelector()
    begun = ended = 0
    while ended < calls:
        while begun < calls and begun - ended < at_once:
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(OPENING)
            selector.register(connection, selectors.EVENT_READ, [0])
            begun += 1
        for key, _ in selector.select(10):
            call = key.fileobj
            assert isinstance(call, socket.socket)
            command = call.recv(4096)
            if command:
                key.data[0] += 1
                call.sendall(next((reply for word, reply in ANSWERS if word in command), b"200 result=0\n"))
                continue
            if key.data[0] != COMMANDS:
                raise SystemExit(f"a call had {key.data[0]} commands, not {COMMANDS}")
            selector.unregister(call)
            call.close()
            ended += 1


def park(server: Server, calls: int) -> float:
    """kB of memory that a call takes while the caller is asked for a PIN."""
    before = server.memory_kb()
    parked = []
    for _ in range(calls):
        connection = socket.create_connection(("127.0.0.1", server.port))
        connection.sendall(OPENING_WITH_PIN)
        while b"GET DATA" not in connection.recv(4096):
            connection.sendall(b"200 result=1\n")
        parked.append(connection)
    took = server.memory_kb() - before
    for connection in parked:
        connection.close()
    return took / calls


def pystrix_server(port: int) -> None:
    """The peer: the gateway's words, on pystrix."""
    from pystrix.agi import core, fastagi

    def route(agi: fastagi.FastAGI, *_: object) -> None:
        if agi.get_environment()["agi_extension"] == "34":
            agi.execute(core.GetData("agent-pass", 5000, 20))
        agi.execute(
            core.GetFullVariable(
                "${BLINDTRANSFER},${TRANSFERERNAME},${FORWARDERNAME},${PARKER},${PBXROUTER_FORWARDED_BY}"
            )
        )
        for name, value in (
            ("PBXROUTER_PATTERN", "2X"),
            ("PBXROUTER_APPLICATION", "dial"),
            ("PBXROUTER", "dialling"),
        ):
            agi.execute(core.SetVariable(name, value))
        agi.execute(core.ChannelStatus())
        agi.execute(core.Exec("Dial", ("PJSIP/21", 60, "i")))
        status = agi.execute(core.GetVariable("DIALSTATUS"))
        agi.execute(core.GetVariable("ANSWEREDTIME"))
        agi.execute(core.SetVariable("PBXROUTER_OUTCOME", status))
        agi.execute(core.SetVariable("PBXROUTER", "done"))

    server = fastagi.FastAGIServer(interface="127.0.0.1", port=port, daemon_threads=True)
    server.register_script_handler("pbxrouter", route)
    server.serve_forever()


def free_port() -> int:
    """A port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def servers() -> Iterator[list[Server]]:
    """The gateway and its peer, on a processor of their own."""
    processors = sorted(os.sched_getaffinity(0))
    started: list[Server] = []
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        port = free_port()
        (place / "pbxrouter.toml").write_text(f'[fastagi]\nlisten = "tcp:{port}:interface=127.0.0.1"\n')
        subprocess.run(
            [sys.executable, "-m", "pbxrouter", "init", "--sample"],
            cwd=place,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        os.sched_setaffinity(0, processors[:1])
        try:
            start = ["-c", "from twisted.scripts.twistd import run; run()"]
            twistd = [sys.executable, *start, "-n", "--pidfile=", "pbxrouter", "-c", "pbxrouter.toml"]
            started.append(Server("pbxrouter", twistd, port, place))
            if importlib.util.find_spec("pystrix"):
                port = free_port()
                run = [sys.executable, __file__, "--serve", str(port)]
                started.append(Server("pystrix", run, port, place))
            os.sched_setaffinity(0, processors[-1:])
            yield started
        finally:
            for process in started:
                process.process.terminate()
                process.process.wait()


def spread(figures: list[float], form: str) -> str:
    """Minimum, median and maximum."""
    return " / ".join(format(value, form) for value in (min(figures), statistics.median(figures), max(figures)))


def main() -> None:
    """Run the servers in turns, and print what each call cost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-n", type=int, default=1000, help="calls for each run (1000)")
    parser.add_argument("-r", type=int, default=7, help="rounds (7)")
    parser.add_argument("-c", type=int, default=50, help="calls at once (50)")
    parser.add_argument("--parked", type=int, default=500, help="calls to leave in a PIN prompt (500)")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        pystrix_server(options.serve)
        return
    with servers() as running:
        for server in running:
            play(server.port, 20, 1)
            server.parked_kb = park(server, options.parked)  # first, before it has freed memory to use again
            play(server.port, 200, options.c)  # to warm it up
        for _ in range(options.r):
            for server in running:
                cpu_s, began = server.cpu_s(), time.perf_counter()
                play(server.port, options.n, options.c)
                server.rates.append(options.n / (time.perf_counter() - began))
                server.cpu_us.append((server.cpu_s() - cpu_s) * 1e6 / options.n)
        print("min / median / max        calls/s    server's CPU, µs a call     µs a command   kB a parked call")
        for server in running:
            per_command = [figure / COMMANDS for figure in server.cpu_us]
            print(
                f"{server.name:10} {spread(server.rates, '.0f'):>24} {spread(server.cpu_us, '.0f'):>24} "
                f"{spread(per_command, '.0f'):>17} {server.parked_kb:18.1f}"
            )
    if len(running) == 2:
        ratios = [peer / ours for ours, peer in zip(running[0].cpu_us, running[1].cpu_us, strict=True)]
        print(f"pystrix takes {spread(ratios, '.2f')} times our CPU, the same round compared")
    else:
        print("pystrix is not installed")


if __name__ == "__main__":
    main()
