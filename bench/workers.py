#!/usr/bin/env python3
"""Calls for a second of processor time, of a gateway with several workers beside one with one.

    python bench/workers.py [-n CALLS] [-r ROUNDS] [-c AT_ONCE] [-w WORKERS] [-p PROCESSORS]

This process plays Asterisk; the two gateways serve the same calls in turns: 33 dials 21. Both have sample rules, a
database, a journal and a log of their own, and the same processors; each worker has the same number of calls at once.
The processor time is that of all processes of a gateway together. README.md beside this file says what to make of the
numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fastagi import ANSWERS, OPENING, TICK_S, free_port, spread

READY_S = 60.0
LAST = b"SET VARIABLE PBXROUTER done\n"


class Gateway:
    """A gateway with so many workers.

    Args:
        place: an empty folder for it.
    """

    def __init__(self, workers: int, place: Path) -> None:
        self.workers = workers
        self.port = free_port()
        self.log = place / "log"
        place.mkdir()
        settings = f'[gateway]\nworkers = {workers}\n[fastagi]\nlisten = "tcp:{self.port}:interface=127.0.0.1"\n'
        (place / "pbxrouter.toml").write_text(settings)
        init = [sys.executable, "-m", "pbxrouter", "init", "--sample"]
        subprocess.run(init, cwd=place, check=True, stdout=subprocess.DEVNULL)
        start = ["-c", "from twisted.scripts.twistd import run; run()"]
        run = [sys.executable, *start, "-n", "--pidfile=", "pbxrouter", "-c", "pbxrouter.toml"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(run, stdout=log, stderr=log, cwd=place)
        self.cpu_us: list[float] = []
        self.rates: list[float] = []

    def wait(self) -> None:
        """Wait until all its processes take calls."""
        for _ in range(round(READY_S / 0.1)):
            if self.log.read_text().count(" takes calls, process ") == self.workers - 1:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                    return
            time.sleep(0.1)
        raise SystemExit(f"a gateway does not start: {self.log.read_text()[-500:]}")

    def cpu_s(self) -> float:
        """Processor time that its processes have used so far, the kernel's part included."""
        return sum(cpu_s(process) for process in family(self.process.pid))

    def measure(self, calls: int, at_once: int) -> None:
        """Have it serve calls, and note what that took.

        Args:
            at_once: calls at once for each worker.
        """
        cpu, began = self.cpu_s(), time.perf_counter()
        play(self.port, calls, at_once * self.workers)
        took_s = time.perf_counter() - began
        time.sleep(1.5)  # the history is written within a second
        self.rates.append(calls / took_s)
        self.cpu_us.append((self.cpu_s() - cpu) * 1e6 / calls)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


def play(port: int, calls: int, at_once: int) -> None:
    """Have so many calls, so many at once, each until the gateway closes it."""
    selector = selectors.EpollSelector()
    begun = ended = 0
    while ended < calls:
        while begun < calls and begun - ended < at_once:
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(OPENING)
            selector.register(connection, selectors.EVENT_READ, [b""])
            begun += 1
        for key, _ in selector.select(10):
            call = key.fileobj
            assert isinstance(call, socket.socket)
            command = call.recv(4096)
            if command:
                key.data[0] = command
                call.sendall(next((reply for word, reply in ANSWERS if word in command), b"200 result=0\n"))
                continue
            if key.data[0] != LAST:
                raise SystemExit(f"the last command of a call was {key.data[0]!r}, not {LAST!r}")
            selector.unregister(call)
            call.close()
            ended += 1


def cpu_s(process: int) -> float:
    """Processor time of one process, all its threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def family(process: int) -> list[int]:
    """A process and all that it has started."""
    found = [process]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def main() -> None:
    """Run both in turns, and print what each call cost, and the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-n", type=int, default=2000, help="calls for each run (2000)")
    parser.add_argument("-r", type=int, default=9, help="rounds (9)")
    parser.add_argument("-c", type=int, default=50, help="calls at once for each worker (50)")
    parser.add_argument("-p", type=int, default=0, help="processors for the gateways (all)")
    parser.add_argument("-w", type=int, default=2, help="workers of the second gateway (2)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as running:
        gateways = []
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, processors[: options.p or None])
        for name, workers in (("one", 1), ("several", options.w)):
            gateway = Gateway(workers, Path(directory) / name)
            running.callback(gateway.stop)
            gateways.append(gateway)
        os.sched_setaffinity(0, processors[-1:] if options.p else processors)
        for gateway in gateways:
            gateway.wait()
            play(gateway.port, 500, options.c * gateway.workers)  # to warm it up
        time.sleep(2)
        for turn in range(options.r):
            for gateway in gateways if turn % 2 else reversed(gateways):
                gateway.measure(options.n, options.c)
    print("min / median / max        calls/s      CPU of all processes, µs a call    calls for a second of CPU")
    for gateway in gateways:
        worth = [1e6 / figure for figure in gateway.cpu_us]
        name = f"{gateway.workers} worker{'s' if gateway.workers > 1 else ''}"
        rates, cpu_us = spread(gateway.rates, ".0f"), spread(gateway.cpu_us, ".0f")
        print(f"{name:10} {rates:>24} {cpu_us:>28} {spread(worth, '.0f'):>30}")
    one, several = (gateway.cpu_us for gateway in gateways)
    ratios = [single / shared for single, shared in zip(one, several, strict=True)]
    faster = statistics.median(gateways[1].rates) / statistics.median(gateways[0].rates)
    print(f"ratio of calls for a second of CPU, the same round compared: {spread(ratios, '.3f')}")
    print(f"{options.w} workers take {faster:.2f} times the calls a second; {len(os.sched_getaffinity(0))} processors")


if __name__ == "__main__":
    main()
