#!/usr/bin/env python3
"""A million calls through one gateway: what of memory, descriptors and counts is left over.

    python bench/soak.py [-n CALLS] [-c AT_ONCE] [--looks LOOKS]

This process plays Asterisk over FastAGI: calls that are granted, that key a PIN, that dial what no rule knows, that
hang up after any command, and that are cut off. After each part of the calls it waits until all are over and looks at
the gateway: its resident memory, its descriptors and the rows of its history. It ends with status 1 if the history does
not have each call once, if descriptors are left over, or if memory over the last four fifths strays by more than 2 %
from its median. On a machine that has other work a call may have to wait for more than a second; the gateway then tells
the dialplan that it is busy, and does not serve it: such calls are counted apart, and have no row.

Database and log are in a temporary folder (of TMPDIR, if it is set), with a million calls about 1 GB.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import selectors
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from fastagi import ANSWERS, Server, free_port

from pbxrouter.simulator import SimulatedCall

STRAYS = 0.02
"""How far memory may be from its median, as a share."""
PATIENCE_S = 120.0
RIGHT_PIN = b"123456"
SECRET = "soak-0123456789abcdef"
"""With it the gateway believes the names of channels: wrong PINs are counted by the endpoint, not by this peer."""
BUSY = b"SET VARIABLE PBXROUTER busy"
"""What the gateway says to a call that it does not serve."""


@dataclass
class Call:
    """One call as Asterisk plays it.

    Attributes:
        commands: those answered so far.
        ends_after: after so many commands the caller hangs up; -1: not by itself.
        is_cut: whether it ends by a reset instead of HANGUP.
    """

    keyed: bytes
    ends_after: int
    is_cut: bool
    commands: int = 0
    rest: bytes = b""


@dataclass
class Look:
    """The gateway between two parts of the calls."""

    calls: int
    busy: int
    memory_kb: int
    descriptors: int
    rows: int
    took_s: float
    outcomes: dict[str, int] = field(default_factory=dict)


def a_call(place: int, dice: random.Random) -> tuple[bytes, Call]:
    """The opening block of a call, and how it goes."""
    kind = dice.random()
    caller, number, keyed = "33", "21", b""
    if kind < 0.15:
        caller, number, keyed = str(600_000_000 + place), "34", RIGHT_PIN
    elif kind < 0.16:
        caller, number, keyed = str(600_000_000 + place), "34", b"%06d" % dice.randrange(10**6)
    elif kind < 0.26:
        number = "999"
    ends_after = dice.randrange(6) if dice.random() < 0.2 else -1
    channel = f"PJSIP/{caller}-{place:08x}"  # PINs, right and wrong, are counted by the endpoint
    proof = (f"secret={SECRET}",)
    opening = SimulatedCall(
        number, caller=caller, channel=channel, uniqueid=f"{place}.1", arguments=proof
    ).environment()
    return opening, Call(keyed, ends_after, dice.random() < 0.5)


def reply_to(command: bytes, call: Call) -> bytes:
    """The reply that Asterisk sends to a command."""
    if command.startswith(b"GET DATA"):
        return b"200 result=%s\n" % call.keyed
    if command.startswith(b"GET FULL"):
        return b"200 result=1 (,,,,)\n"
    return next((reply for word, reply in ANSWERS if word in command), b"200 result=0\n")


def play(port: int, first: int, count: int, at_once: int, dice: random.Random) -> int:
    """Have so many calls, each to its end; returns how many of them the gateway was too busy for."""
    selector = selectors.EpollSelector()
    begun = ended = busy = 0

    def end(connection: socket.socket, reset: bool) -> None:
        nonlocal ended
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        selector.unregister(connection)
        connection.close()
        ended += 1

    while ended < count:
        while begun < count and begun - ended < at_once:
            opening, call = a_call(first + begun, dice)
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(opening)
            selector.register(connection, selectors.EVENT_READ, call)
            begun += 1
        ready = selector.select(PATIENCE_S)
        if not ready:
            raise SystemExit(f"soak: {begun - ended} calls wait, and nothing has come for {PATIENCE_S:.0f} s")
        for key, _ in ready:
            found = key.fileobj
            assert isinstance(found, socket.socket)
            call = key.data
            try:
                came = found.recv(4096)
            except ConnectionResetError:
                came = b""
            if not came:
                end(found, False)
                continue
            *lines, call.rest = (call.rest + came).split(b"\n")
            busy += BUSY in lines
            for line in lines:
                if call.commands == call.ends_after:
                    if not call.is_cut:
                        with contextlib.suppress(OSError):
                            found.sendall(b"HANGUP\n")
                    end(found, call.is_cut)
                    break
                call.commands += 1
                with contextlib.suppress(OSError):
                    found.sendall(reply_to(line, call))
    return busy


def look(server: Server, database: Path, calls: int, busy: int, began: float) -> Look:
    """Wait until the history has all calls that were served, and look at the gateway."""
    end = time.monotonic() + PATIENCE_S
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        while True:
            (rows,) = connection.execute("SELECT count(*) FROM calls").fetchone()
            if rows >= calls - busy or time.monotonic() > end:
                break
            time.sleep(0.2)
        outcomes = dict(connection.execute("SELECT outcome, count(*) FROM calls GROUP BY outcome"))
    descriptors = len(os.listdir(f"/proc/{server.process.pid}/fd"))
    return Look(calls, busy, server.memory_kb(), descriptors, rows, time.monotonic() - began, outcomes)


def left_s(looks: list[Look], calls: int) -> float:
    """About how many seconds the calls to come take, by the last parts: a history that grows slows them down."""
    late = looks[-6:]
    before, since_s = (late[0].calls, late[0].took_s) if len(late) > 1 else (0, 0.0)
    done = late[-1].calls - before
    return (calls - late[-1].calls) * (late[-1].took_s - since_s) / done


def verdict(looks: list[Look], at_first: int) -> list[str]:
    """What is wrong, a line each."""
    wrong = [
        f"after {found.calls} calls, {found.busy} of them not served, the history has {found.rows}"
        for found in looks
        if found.rows != found.calls - found.busy
    ]
    # SQLite and the thread pool open what they need with the first calls.
    wrong += [
        f"after {found.calls} calls {found.descriptors} descriptors are open, {at_first} after the first part"
        for found in looks
        if found.descriptors > at_first
    ]
    late = [found.memory_kb for found in looks if found.calls >= looks[-1].calls / 5]
    middle = statistics.median(late)
    if max(abs(memory - middle) for memory in late) > STRAYS * middle:
        wrong.append(f"memory strays: {min(late)} to {max(late)} kB around {middle:.0f} kB")
    return wrong


def main() -> int:
    """Run the gateway and the calls; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-n", type=int, default=1_000_000, help="calls (1000000)")
    parser.add_argument("-c", type=int, default=50, help="calls at once (50)")
    parser.add_argument("--looks", type=int, default=50, help="parts of the calls (50)")
    parser.add_argument("--seed", type=int, default=None, help="of the choice of calls")
    options = parser.parse_args()
    if options.n < options.looks or options.looks < 5 or options.c < 1:
        parser.error("accepted are at least 5 looks, as many calls as looks, and one call at once")
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    dice = random.Random(seed)
    print(f"soak: {options.n} calls, {options.c} at once, seed {seed}", flush=True)
    looks: list[Look] = []
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        port = free_port()
        (place / "pbxrouter.toml").write_text(
            f'[fastagi]\nlisten = "tcp:{port}:interface=127.0.0.1"\nsecret_file = "soak.secret"\n'
        )
        secret = place / "soak.secret"
        secret.touch(mode=0o600)
        secret.write_text(f"{SECRET}\n")
        init = [sys.executable, "-m", "pbxrouter", "init", "--sample"]
        subprocess.run(init, cwd=place, check=True, stdout=subprocess.DEVNULL)
        start = ["-c", "from twisted.scripts.twistd import run; run()"]
        twistd = [
            sys.executable,
            *start,
            "-n",
            "--pidfile=",
            "pbxrouter",
            "-c",
            "pbxrouter.toml",
        ]
        server = Server("pbxrouter", twistd, port, place)
        try:
            began = time.monotonic()
            done = busy = 0
            for part in range(1, options.looks + 1):
                upto = options.n * part // options.looks
                busy += play(port, done, upto - done, options.c, dice)
                done = upto
                looks.append(look(server, place / "pbxrouter.sqlite", done, busy, began))
                found = looks[-1]
                print(
                    f"soak: {found.calls} calls, {found.busy} not served, {found.rows} rows, {found.memory_kb} kB, "
                    f"{found.descriptors} descriptors, {found.took_s:.0f} s, about "
                    f"{left_s(looks, options.n) / 60:.0f} min left",
                    flush=True,
                )
        finally:
            server.process.terminate()
            server.process.wait()
    print("soak: outcomes:", ", ".join(f"{name} {count}" for name, count in sorted(looks[-1].outcomes.items())))
    wrong = verdict(looks, looks[0].descriptors)
    for line in wrong:
        print(f"soak: WRONG: {line}")
    print("soak: FAILED" if wrong else "soak: nothing is left over")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
