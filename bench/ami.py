#!/usr/bin/env python3
"""Events a second of our AMI client beside panoramisk's, on the same flood, one after the other.

    python bench/ami.py [-n EVENTS] [-r ROUNDS]

A server in a process of its own sends events of nine kinds, two of which are wanted, each with the
channel's usual headers; the client runs in another process and stops when it has seen the last one.
Peers that are not installed are left out. README.md beside this file says what to make of the numbers.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import threading
import time

KINDS = (
    "Newexten",
    "VarSet",
    "Newchannel",
    "Newstate",
    "DialBegin",
    "RTCPSent",
    "BridgeEnter",
    "Hangup",
    "Cdr",
)
HEADERS = "".join(
    f"{name}: {value}\r\n"
    for name, value in (
        ("Privilege", "call,all"),
        ("Timestamp", "1795419652.198815"),
        ("Channel", "PJSIP/33-00000000"),
        ("ChannelState", "6"),
        ("ChannelStateDesc", "Up"),
        ("CallerIDNum", "33"),
        ("CallerIDName", "Treinta y tres"),
        ("ConnectedLineNum", "21"),
        ("ConnectedLineName", "<unknown>"),
        ("Language", "en"),
        ("AccountCode", ""),
        ("Context", "pbxrouter"),
        ("Exten", "21"),
        ("Priority", "1"),
        ("Uniqueid", "1795419652.0"),
        ("Linkedid", "1795419652.0"),
        ("Extra", "x" * 60),
    )
)
END = "Event: Hangup\r\nCause: last\r\n\r\n"


def serve(events: int) -> int:
    """Send the flood once, in a thread; returns the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    nine = "".join(f"Event: {kind}\r\n{HEADERS}\r\n" for kind in KINDS).encode()

    def run() -> None:
        connection, _ = listener.accept()
        stream = connection.makefile("rwb")
        stream.write(b"Asterisk Call Manager/11.0.0\r\n")
        logged_in = False
        while not logged_in:
            action: dict[str, str] = {}
            stream.flush()
            while (line := stream.readline().strip()) != b"":
                name, _, value = line.decode().partition(":")
                action[name.strip().lower()] = value.strip()
            logged_in = action["action"].lower() == "login"
            stream.write(
                f"Response: Success\r\nActionID: {action.get('actionid', '')}\r\n"
                "Message: Authentication accepted\r\nChallenge: 1\r\n\r\n".encode()
            )
        stream.flush()
        time.sleep(0.3)
        for _ in range(events // len(KINDS) // 50):
            connection.sendall(nine * 50)
        connection.sendall(END.encode())
        time.sleep(600)

    threading.Thread(target=run, daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


class Meter:
    """Counts what a client sees; the first event starts the clock, the last one stops it."""

    def __init__(self) -> None:
        self.seen = 0
        self.began = self.cpu = 0.0

    def saw(self, caller: str, cause: str) -> bool:
        """Count a wanted event, with two of its headers; returns True if it was the last."""
        if not self.seen:
            self.began, self.cpu = time.perf_counter(), time.process_time()
        self.seen += 1
        return cause == "last"

    def report(self) -> str:
        """Print the result."""
        return json.dumps(
            {
                "seen": self.seen,
                "seconds": time.perf_counter() - self.began,
                "cpu": time.process_time() - self.cpu,
            }
        )


def pbxrouter(port: int) -> None:
    """Our AMIConnection on Twisted's reactor."""
    from twisted.internet import reactor

    from pbxrouter.ami.account import Account
    from pbxrouter.ami.connection import AMIConnection
    from pbxrouter.ami.messages import AMIMessage

    meter = Meter()
    manager = AMIConnection("bench", f"tcp:127.0.0.1:{port}", Account("u", lambda: "s"), reactor)

    def saw(event: AMIMessage) -> None:
        if meter.saw(event.get("CallerIDNum"), event.get("Cause")):
            print(meter.report())
            reactor.stop()

    for name in ("Newchannel", "Hangup"):
        manager.subscribe(name, saw)
    manager.startService()
    reactor.run()


def panoramisk(port: int) -> None:
    """panoramisk's Manager on asyncio."""
    import asyncio

    from panoramisk import Manager

    async def run() -> None:
        meter, done = Meter(), asyncio.Event()
        manager = Manager(host="127.0.0.1", port=port, username="u", secret="s", ping_delay=0)

        def saw(_: object, event: object) -> None:
            if meter.saw(getattr(event, "calleridnum", ""), getattr(event, "cause", "") or ""):
                print(meter.report())
                done.set()

        for name in ("Newchannel", "Hangup"):
            manager.register_event(name, saw)
        await manager.connect()
        await done.wait()

    asyncio.run(run())


CLIENTS = {"pbxrouter": pbxrouter, "panoramisk": panoramisk}


def main() -> None:
    """Run the clients in turns, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", type=int, default=90_000, help="events for each run (90000)")
    parser.add_argument("-r", type=int, default=3, help="rounds (3)")
    parser.add_argument("--client", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        CLIENTS[options.client](options.port)
        return
    events = options.n // (len(KINDS) * 50) * len(KINDS) * 50
    rates: dict[str, list[float]] = {name: [] for name in CLIENTS}
    for _ in range(options.r):
        for name in CLIENTS:
            run = [sys.executable, __file__, "--client", name, "--port", str(serve(events))]
            done = subprocess.run(run, capture_output=True, text=True, timeout=300)
            if done.returncode or not done.stdout:
                if "ModuleNotFoundError" not in done.stderr:
                    print(done.stderr[-500:], file=sys.stderr)
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            expected = events // len(KINDS) * 2 + 1
            assert found["seen"] == expected, f"{name} saw {found['seen']} of {expected}"
            rates[name].append(events / found["cpu"])
    for name, rate in rates.items():
        if rate:
            print(f"{name:12} {statistics.median(rate):10,.0f} events for a second of its processor time")
        else:
            print(f"{name:12} not installed")
    if all(rates.values()):
        ratio = statistics.median(rates["pbxrouter"]) / statistics.median(rates["panoramisk"])
        print(f"ratio        {ratio:10.1f}")


if __name__ == "__main__":
    main()
