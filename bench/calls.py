"""What a call through the shipped dialplan costs: processor time of gateways and Asterisk, by FastAGI and agi:async.

    python bench/calls.py [-n CALLS] [-r CALLS_A_SECOND]

Two real gateways and two real Asterisks, each on a host of its own (network namespaces: tests/asterisk/hosts). Each
call goes through dialplan/pbxrouter.conf to a gateway, is allowed by its caller's grant, is answered by a Local channel
that hangs up after a second, is counted by both gateways and written to the history. Prints milliseconds of processor
time for each call: of the gateway that routes it, of the one that only counts it, and of Asterisk, without audio to a
phone; and what both take for a second without calls. Needs root and the lab's Asterisk (lab/setup). Linux only.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.asterisk.harness import why_not
from tests.asterisk.hosts import network
from tests.asterisk.hosts.site import Site

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
IDLE_S = 20.0
WAYS = {"fastagi": ("gw-a", "gw-b"), "agi:async": ("agi:async", "agi:async")}


def processor_s(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def measure(site: Site, seconds: float, calls: int = 0, rate: float = 1.0) -> dict[str, float]:
    """Processor time of each process while so many calls come at a rate, or for so long without calls."""
    pids = {name: gateway.pid for name, gateway in site.gateways.items()}
    pids |= {name: int((asterisk.run / "asterisk.pid").read_text()) for name, asterisk in site.asterisks.items()}
    before = {name: processor_s(pid) for name, pid in pids.items()}
    began = time.monotonic()
    for number in range(calls):
        site.place(f"pbx-{'ab'[number % 2]}", f"63{number % 1000:03}")
        time.sleep(max(0.0, began + (number + 1) / rate - time.monotonic()))
    if calls:
        site.until_over(30)
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    return {name: processor_s(pid) - before[name] for name, pid in pids.items()}


def main() -> None:
    """Measure each way, and print a line for each."""
    parser = argparse.ArgumentParser(description="Processor time of calls through the shipped dialplan.")
    parser.add_argument("-n", "--calls", type=int, default=1000)
    parser.add_argument("-r", "--rate", type=float, default=20.0, help="calls a second, on both Asterisks together")
    chosen = parser.parse_args()
    if reason := why_not() or network.why_not():
        parser.error(reason)
    for way, urls in WAYS.items():
        site = Site(*urls)
        try:
            site.start()
            for asterisk in site.asterisks.values():
                for command in ("agi set debug off", "core set verbose 0"):
                    asterisk.ami.action("Command", Command=command)
            idle = measure(site, IDLE_S)
            span = chosen.calls / chosen.rate + 5
            used = measure(site, span, chosen.calls, chosen.rate)
            cost = {name: (used[name] - idle[name] * span / IDLE_S) / chosen.calls for name in used}
            memory = Path(f"/proc/{site.gateways['gw-a'].pid}/status").read_text()
            kilobytes = next(line.split()[1] for line in memory.splitlines() if line.startswith("VmHWM"))
            print(
                f"{way}: {chosen.calls} calls, {chosen.rate:g} a second: ms a call: routing gateway"
                f" {1000 * cost['gw-a']:.2f}, the other {1000 * cost['gw-b']:.2f}, Asterisk"
                f" {1000 * (cost['pbx-a'] + cost['pbx-b']):.2f}; ms a second without calls, two Asterisks: gateway"
                f" {1000 * idle['gw-a'] / IDLE_S:.1f} and {1000 * idle['gw-b'] / IDLE_S:.1f}, Asterisk"
                f" {1000 * idle['pbx-a'] / IDLE_S:.1f}; memory of the gateway {int(kilobytes) / 1024:.0f} MB",
                flush=True,
            )
        finally:
            site.close()


if __name__ == "__main__":
    main()
