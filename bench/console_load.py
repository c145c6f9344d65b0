#!/usr/bin/env python3
"""How much longer calls take while a thousand browsers have the page Now open.

    python bench/console_load.py [-b BROWSERS] [--slow BROWSERS] [--loads A_SECOND]
                                 [-c CALLS_A_SECOND] [-s SECONDS] [-r ROUNDS]

The real gateway runs on one processor, with its sample rules, database, log and console. On another one
this program plays Asterisk: calls begin at an even pace, and each is timed from its connection to its end.
Rounds without browsers alternate with rounds in which a second process is a thousand browsers that keep the page
open, some more that never read what they are sent, and people who load the page. README.md beside this file
explains the numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import secrets
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pbxrouter import database
from pbxrouter.database.access.console_users import add_console_user
from pbxrouter.database.access.sessions import open_session
from pbxrouter.database.audit import Actor
from pbxrouter.security.roles import Role
from pbxrouter.security.tokens import hash_token
from pbxrouter.simulator import SimulatedCall

OPENING = SimulatedCall("21", caller="33").environment()
COMMANDS = 10
ANSWERS = (
    (b"DIALSTATUS", b"200 result=1 (ANSWER)\n"),
    (b"ANSWEREDTIME", b"200 result=1 (5)\n"),
    (b"SET VARIABLE", b"200 result=1\n"),
)
OF_SESSION = 18
"""Browsers that share a session: one may have 20, and the pages need some room."""
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
DIAL_S = 0.5
"""How long a Dial lasts: so the calls in progress are others each second."""


class Call:
    """One call that is being timed."""

    def __init__(self, port: int) -> None:
        self.began = time.perf_counter()
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(OPENING)
        self.commands = 0
        self.held = 0.0

    def answer(self, command: bytes) -> None:
        """Reply as Asterisk would."""
        self.commands += 1
        self.socket.sendall(next((reply for word, reply in ANSWERS if word in command), b"200 result=0\n"))


def play(port: int, a_second: float, seconds: float) -> list[float]:
    """Make calls at an even pace; returns how long each took in ms, without the Dial itself."""
    selector = selectors.EpollSelector()
    took: list[float] = []
    dialling: list[tuple[float, Call, bytes]] = []
    begin = time.perf_counter()
    begun, end = 0, begin + seconds
    while time.perf_counter() < end or selector.get_map():
        now = time.perf_counter()
        while now < end and begin + begun / a_second <= now:
            call = Call(port)
            selector.register(call.socket, selectors.EVENT_READ, call)
            begun += 1
        while dialling and dialling[0][0] <= now:
            _, call, command = dialling.pop(0)
            call.held = time.perf_counter() - call.held
            call.answer(command)
        due = [begin + begun / a_second] if now < end else []
        due += [dialling[0][0]] if dialling else []
        for key, _ in selector.select(max(0.0, min(due) - now) if due else 0.1):
            call = key.data
            command = call.socket.recv(4096)
            if command.startswith(b"EXEC Dial"):
                call.held = time.perf_counter()
                dialling.append((call.held + DIAL_S, call, command))
            elif command:
                call.answer(command)
            else:
                if call.commands != COMMANDS:
                    raise SystemExit(f"a call had {call.commands} commands, not {COMMANDS}")
                took.append((time.perf_counter() - call.began - call.held) * 1000)
                selector.unregister(call.socket)
                call.socket.close()
    return took


# --- the browsers: a process of their own, started by the other one ---


def request(path: str, cookie: str, more: str = "") -> bytes:
    """The request that a browser sends."""
    return (f"GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: pbxrouter_session={cookie}\r\n{more}\r\n").encode(
        "ascii"
    )


def browse(port: int, cookies: list[str], browsers: int, slow: int, loads: float) -> None:
    """Read the pages until standard input ends, then print what was received."""
    os.nice(10)  # the calls are timed on the same processor
    selector = selectors.EpollSelector()
    idle = []
    for number in range(browsers + slow):
        browser = socket.socket()
        if number >= browsers:
            browser.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        browser.connect(("127.0.0.1", port))
        browser.sendall(request("/now/events", cookies[number // OF_SESSION]))
        if number < browsers:
            selector.register(browser, selectors.EVENT_READ)
        idle.append(browser)
    selector.register(sys.stdin, selectors.EVENT_READ)
    seen = pages = 0
    waits: list[float] = []
    next_load = time.perf_counter()
    print("ready", flush=True)
    while True:
        for key, _ in selector.select(0.01):
            if key.fileobj is sys.stdin:
                print(seen / browsers, len(waits), statistics.median(waits) if waits else 0.0, flush=True)
                return
            browser = key.fileobj
            assert isinstance(browser, socket.socket)
            data = browser.recv(1 << 18)
            if not data:
                raise SystemExit("a browser was cut off")
            if data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 200 "):
                raise SystemExit(f"a browser was refused: {data[:60]!r}")
            seen += data.count(b"event: now")
        if loads and time.perf_counter() >= next_load:
            next_load += 1 / loads
            pages += 1
            began = time.perf_counter()
            with socket.create_connection(("127.0.0.1", port)) as page:
                page.sendall(request("/", cookies[pages % len(cookies)], "Connection: close\r\n"))
                while page.recv(1 << 16):
                    pass
            waits.append((time.perf_counter() - began) * 1000)


# --- the gateway ---


def free_port() -> int:
    """A port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def gateway(processor: int | None) -> Iterator[tuple[subprocess.Popen[bytes], int, int, Path]]:
    """Start a gateway; returns the process, its ports for calls and browsers, and its directory."""
    calls, web = free_port(), free_port()
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "pbxrouter.toml").write_text(
            f'[fastagi]\nlisten = "tcp:{calls}:interface=127.0.0.1"\n[web]\nlisten = "tcp:{web}:interface=127.0.0.1"\n'
        )
        subprocess.run(
            [sys.executable, "-m", "pbxrouter", "init", "--sample"],
            cwd=place,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        start = ["-c", "from twisted.scripts.twistd import run; run()"]
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *start, "-n", "--pidfile=", "pbxrouter", "-c", "pbxrouter.toml"],
                stdout=log,
                stderr=log,
                cwd=place,
            )
        if processor is not None:
            os.sched_setaffinity(process.pid, {processor})
        try:
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", web), 1):
                    break
                time.sleep(0.1)
            yield process, calls, web, place
        finally:
            process.terminate()
            process.wait()


def log_in(place: Path, sessions: int) -> list[str]:
    """Cookies of so many viewer sessions, made without the login page, which would delay them."""
    connection = database.connect(place / "pbxrouter.sqlite")
    cookies = [secrets.token_urlsafe(32) for _ in range(sessions)]
    try:
        who = Actor("bench", "command")
        number = add_console_user(connection, who, time.time(), "looker", "!", Role.VIEWER)
        for cookie in cookies:
            open_session(connection, number, hash_token(cookie), "127.0.0.1", time.time())
    finally:
        connection.close()
    return cookies


def cpu_s(process: int) -> float:
    """Processor time used so far, by all threads, the kernel's part included."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def told(name: str, took: list[float], cpu: float) -> tuple[float, float]:
    """Print a turn's figures; its median and its 99th percentile."""
    took = sorted(took)
    median, late = statistics.median(took), took[int(len(took) * 0.99)]
    print(f"{name:14} {len(took):6} {median:8.2f} {late:8.2f} {took[-1]:8.2f} {cpu:8.0%}")
    return median, late


def main() -> None:
    """Have calls in turns without and with browsers, and print how much longer they took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-b", type=int, default=1000, help="browsers that keep the page open (1000)")
    parser.add_argument("--slow", type=int, default=20, help="browsers that never read (20)")
    parser.add_argument("--loads", type=float, default=2, help="pages loaded a second (2)")
    parser.add_argument("-c", type=float, default=40, help="calls a second (40)")
    parser.add_argument("-s", type=float, default=15, help="seconds of each turn (15)")
    parser.add_argument("-r", type=int, default=5, help="rounds (5)")
    parser.add_argument("--browse", nargs=2, metavar=("PORT", "COOKIES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.browse:
        port, cookies = int(options.browse[0]), Path(options.browse[1]).read_text().split()
        browse(port, cookies, options.b, options.slow, options.loads)
        return
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, processors[-1:])
    ratios: list[tuple[float, float]] = []
    with gateway(processors[0]) as (process, calls, web, place):
        cookies_file = place / "cookies"
        cookies_file.write_text(" ".join(log_in(place, (options.b + options.slow) // OF_SESSION + 1)))
        play(calls, options.c, 3)  # to warm it up
        print("                calls   median      99%      max ms   gateway's CPU")
        for _ in range(options.r):
            began, cpu = time.perf_counter(), cpu_s(process.pid)
            alone = play(calls, options.c, options.s)
            alone_cpu = (cpu_s(process.pid) - cpu) / (time.perf_counter() - began)
            given = ["-b", str(options.b), "--slow", str(options.slow), "--loads", str(options.loads)]
            browsers = subprocess.Popen(
                [sys.executable, __file__, *given, "--browse", str(web), str(cookies_file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert browsers.stdin is not None
            assert browsers.stdout is not None
            if browsers.stdout.readline() != b"ready\n":
                raise SystemExit("the browsers cannot look")
            time.sleep(2)  # all of them have been told the whole
            began, cpu = time.perf_counter(), cpu_s(process.pid)
            watched = play(calls, options.c, options.s)
            watched_cpu = (cpu_s(process.pid) - cpu) / (time.perf_counter() - began)
            browsers.stdin.close()
            events, pages, wait = map(float, browsers.stdout.read().split())
            browsers.wait()
            first, then = told("no browsers", alone, alone_cpu), told("browsers", watched, watched_cpu)
            print(f"{'':14} each browser was told {events:.0f} times; {pages:.0f} pages, median {wait:.0f} ms")
            ratios.append((then[0] / first[0], then[1] / first[1]))
            time.sleep(1)
    for name, found in zip(("median", "99th percentile"), zip(*ratios, strict=True), strict=True):
        low, middle, high = min(found), statistics.median(found), max(found)
        print(f"{name}: {low:.2f} / {middle:.2f} / {high:.2f} times as long with them (min / median / max)")


if __name__ == "__main__":
    main()
