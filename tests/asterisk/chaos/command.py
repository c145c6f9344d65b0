"""The command ``scripts/chaos``: runs the fault table, a line for each case."""

from __future__ import annotations

import argparse
import random
import time
import traceback
from typing import Final

from tests.asterisk.chaos.bench import WAYS
from tests.asterisk.chaos.faults import FAULTS, run_case
from tests.asterisk.harness import the_lab, why_not

UNCATCHABLE: Final[dict[str, str]] = {}
"""Cases in which a call may be lost, each with the proof why the dialplan cannot catch it."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 if a call was lost, or a case could not be run."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description="Run the fault table on a real Asterisk.")
    names = [f"{name}/{way}" for name in FAULTS for way in WAYS]
    parser.add_argument("--only", nargs="+", metavar="CASE", help=f"cases or faults: {', '.join(names)}")
    parser.add_argument("--seed", type=int, help="of the moments of the faults, and of what is random in them")
    chosen = parser.parse_args(arguments)
    for case in chosen.only or []:
        if case not in names and case not in FAULTS:
            parser.error(
                f"{case}: there is no such case; accepted are {', '.join(FAULTS)}, each also with /fastagi, /magi"
            )
    if reason := why_not():
        parser.error(reason)
    seed = random.randrange(1 << 32) if chosen.seed is None else chosen.seed
    cases = [name for name in names if not chosen.only or name in chosen.only or name.split("/")[0] in chosen.only]
    print(f"chaos: {len(cases)} cases, seed {seed}", flush=True)
    lab = the_lab()
    bad = 0
    for case in cases:
        began = time.monotonic()
        name, _, way = case.partition("/")
        try:
            result = run_case(lab, name, way, seed)
        except Exception:
            bad += 1
            print(f"{case}: could not be run\n{traceback.format_exc()}", flush=True)
            continue
        print(f"{result} ({time.monotonic() - began:.0f} s)", flush=True)
        for loss in result.lost:
            print(f"    LOST {loss}", flush=True)
        if result.lost and case in UNCATCHABLE:
            print(f"    accepted: {UNCATCHABLE[case]}", flush=True)
        elif result.lost:
            bad += 1
    print(f"chaos: {bad} of {len(cases)} cases with calls lost" if bad else "chaos: no call lost")
    return 1 if bad else 0
