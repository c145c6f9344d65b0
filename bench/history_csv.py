#!/usr/bin/env python3
"""How long a download of a million calls as CSV takes, and how much longer other calls take meanwhile.

    python bench/history_csv.py [-n CALLS] [-c CALLS_A_SECOND] [-r ROUNDS] [--console]

The real gateway serves calls at an even pace, each timed from its connection to its end; this program plays Asterisk
and the browser. Turns without a download alternate with turns in which the whole history is downloaded, by the API, or
by the console. All processes have all processors, as on a PBX. README.md beside this file explains the numbers.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from console_load import cpu_s, gateway, log_in, play
from history import fill

from pbxrouter import database
from pbxrouter.database.access.tokens import add_token
from pbxrouter.database.audit import Actor
from pbxrouter.security import Scope
from pbxrouter.security.tokens import hash_token, new_token

TOKEN = new_token()
ALONE_S = 20.0


def download(port: int, head: str) -> None:
    """Read the whole file in a process of its own, and print its lines, its bytes and the seconds that it took."""
    os.nice(5)  # it is not on the PBX's machine
    began = time.perf_counter()
    lines = size = 0
    tail = b""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(f"{head}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("ascii"))
        while data := client.recv(1 << 18):
            lines += data.count(b"\n")
            size += len(data)
            tail = (tail + data)[-7:]
    if tail != b"\r\n0\r\n\r\n":
        raise SystemExit(f"the download is not complete: {tail!r}")
    print(lines, size, time.perf_counter() - began, flush=True)


def told(name: str, took: list[float], cpu: float) -> tuple[float, float, float]:
    """Print a turn's figures; its median, its 99th percentile and its worst."""
    took = sorted(took)
    found = statistics.median(took), took[int(len(took) * 0.99)], took[-1]
    print(f"{name:14} {len(took):6} {found[0]:8.2f} {found[1]:8.2f} {found[2]:8.2f} {cpu:8.0%}", flush=True)
    return found


def main() -> None:
    """Have calls in turns without and with a download, and print how much longer they took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-n", type=int, default=1_000_000, help="calls in the history (1000000)")
    parser.add_argument("-c", type=float, default=40, help="calls a second (40)")
    parser.add_argument("-r", type=int, default=3, help="rounds (3)")
    parser.add_argument("--console", action="store_true", help="download by the console, not by the API")
    parser.add_argument("--download", nargs=2, metavar=("PORT", "HEAD"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.download:
        download(int(options.download[0]), options.download[1])
        return
    ratios: list[tuple[float, ...]] = []
    with gateway(None) as (process, calls, web, place):
        head = prepared(place, options.n, options.console)
        play(calls, options.c, 3)  # to warm it up
        print("                calls   median      99%      max ms   gateway's CPU")
        for _ in range(options.r):
            began, cpu = time.perf_counter(), cpu_s(process.pid)
            alone = play(calls, options.c, ALONE_S)
            first = told("no download", alone, (cpu_s(process.pid) - cpu) / (time.perf_counter() - began))
            reader = subprocess.Popen(
                [sys.executable, __file__, "--download", str(web), head], stdout=subprocess.PIPE, text=True
            )
            done = threading.Event()
            threading.Thread(target=lambda reader=reader, done=done: (reader.wait(), done.set())).start()
            began, cpu = time.perf_counter(), cpu_s(process.pid)
            took: list[float] = []
            while not done.is_set():
                took += play(calls, options.c, 1)
            then = told("download", took, (cpu_s(process.pid) - cpu) / (time.perf_counter() - began))
            assert reader.stdout is not None
            lines, size, seconds = reader.stdout.read().split()
            print(f"{'':14} {int(lines):,} lines and {int(size) / 1e6:.0f} MB in {float(seconds):.1f} s", flush=True)
            ratios.append(tuple(later / before for before, later in zip(first, then, strict=True)))
    for name, found in zip(("median", "99th percentile", "worst"), zip(*ratios, strict=True), strict=True):
        low, middle, high = min(found), statistics.median(found), max(found)
        print(f"{name}: {low:.2f} / {middle:.2f} / {high:.2f} times as long with it (min / median / max)")


def prepared(place: Path, count: int, by_console: bool) -> str:
    """Fill the history and admit the browser; returns the beginning of its request."""
    connection = database.connect(place / "pbxrouter.sqlite")
    try:
        fill(connection, count, 30)
        if not by_console:
            add_token(connection, Actor("bench", "command"), time.time(), "bench", hash_token(TOKEN), (Scope.READ,))
    finally:
        connection.close()
    if by_console:
        return f"GET /calls.csv HTTP/1.1\r\nCookie: pbxrouter_session={log_in(place, 1)[0]}"
    return f"GET /api/calls.csv?limit=1000000 HTTP/1.1\r\nAuthorization: Bearer {TOKEN}"


if __name__ == "__main__":
    main()
