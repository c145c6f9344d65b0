"""The command ``scripts/chaos``: runs the fault table, a line for each case."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tests.asterisk.chaos.bench import WAYS
from tests.asterisk.chaos.faults import FAULTS, run_case
from tests.asterisk.harness import the_lab, why_not

UNCATCHABLE: Final = {
    "machine-frozen/fastagi": (
        "AGI() waits for the next command of an open connection without a limit of its own, and TIMEOUT(absolute)"
        " only has it send HANGUP and go on waiting (docs/dialplan.md, When the gateway is gone)"
    )
}
"""Cases in which callers may hear nothing for longer, each with the proof why the dialplan cannot catch it."""

AT_ONCE: Final = 3
"""Cases that run at a time, each with an Asterisk of its own."""
LOST, BROKEN = 1, 2
"""What a case ends with if a call was lost, and if it could not be run."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 if a call was lost, or a case could not be run."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description="Run the fault table on a real Asterisk.")
    names = [f"{name}/{way}" for name in FAULTS for way in WAYS]
    parser.add_argument("--only", nargs="+", metavar="CASE", help=f"cases or faults: {', '.join(names)}")
    parser.add_argument("--seed", type=int, help="of the moments of the faults, and of what is random in them")
    parser.add_argument("--jobs", type=int, default=AT_ONCE, help=f"cases that run at a time ({AT_ONCE})")
    parser.add_argument("--lines", action="store_true", help="print Asterisk's log of calls that are lost")
    parser.add_argument("--one", metavar="CASE", help=argparse.SUPPRESS)  # how each of several is run
    chosen = parser.parse_args(arguments)
    for case in [*(chosen.only or []), *([chosen.one] if chosen.one else [])]:
        if case not in names and case not in FAULTS:
            parser.error(
                f"{case}: there is no such case; accepted are {', '.join(FAULTS)}, each also with /fastagi, /magi"
            )
    if chosen.jobs < 1:
        parser.error(f"--jobs {chosen.jobs}: accepted is 1 or more")
    if reason := why_not():
        parser.error(reason)
    seed = random.randrange(1 << 32) if chosen.seed is None else chosen.seed
    if chosen.one:
        return _run(chosen.one, seed, chosen.lines)
    cases = [name for name in names if not chosen.only or name in chosen.only or name.split("/")[0] in chosen.only]
    print(f"chaos: {len(cases)} cases, {chosen.jobs} at a time, seed {seed}", flush=True)
    began = time.monotonic()
    options = ["--seed", str(seed), *(["--lines"] if chosen.lines else [])]
    ends = list(_run_all(cases, options, chosen.jobs))
    lost, broken = ends.count(LOST), sum(end not in (0, LOST) for end in ends)
    what = f"{lost} with calls lost, {broken} that could not be run" if lost or broken else "no call lost"
    print(f"chaos: {len(cases)} cases in {time.monotonic() - began:.0f} s: {what}")
    return 1 if lost or broken else 0


def _run_all(cases: Iterable[str], options: list[str], at_once: int) -> Iterator[int]:
    """Run each case in a process of its own, which has its own Asterisk; print what comes of it, in order."""

    def run(case: str) -> subprocess.CompletedProcess[str]:
        program = "import sys; from tests.asterisk.chaos.command import main; sys.exit(main())"
        command = [sys.executable, "-c", program, "--one", case, *options]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(at_once) as pool:
        for done in pool.map(run, cases):
            print(done.stdout + (done.stderr if done.returncode not in (0, LOST) else ""), end="", flush=True)
            yield done.returncode


def _run(case: str, seed: int, with_lines: bool) -> int:
    """Run one case, and print what comes of it."""
    began = time.monotonic()
    name, _, way = case.partition("/")
    try:
        result = run_case(the_lab(), name, way, seed)
    except Exception:
        print(f"{case}: could not be run\n{traceback.format_exc()}")
        return BROKEN
    print(f"{result} ({time.monotonic() - began:.0f} s)")
    listed = [loss for loss in result.lost if case in UNCATCHABLE and ": silent for " in loss]
    for loss in result.lost:
        print(f"    {'LISTED' if loss in listed else 'LOST'} {loss}")
    for line in result.lines if with_lines else ():
        print(f"        {line}")
    if listed:
        print(f"    since {UNCATCHABLE[case]}")
    return LOST if len(result.lost) > len(listed) else 0
