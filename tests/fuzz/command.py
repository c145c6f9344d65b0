"""The command ``scripts/fuzz``: fuzzes the targets one after the other, some at a time."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

from tests.fuzz.corpus import CORPUS, inputs, keep
from tests.fuzz.fuzzer import LOOKS, Outcome, fuzz
from tests.fuzz.targets import TARGETS

FOUND: Final = Path(__file__).resolve().parent.parent.parent / "build" / "fuzz"
"""Inputs that took new steps, kept between runs."""


def _timed(name: str, seconds: float, seed: int) -> Outcome:
    end = time.monotonic() + seconds
    return fuzz(TARGETS[name], inputs(name, FOUND), lambda: time.monotonic() < end, seed)


def _counted(name: str, number: int, seed: int) -> Outcome:
    left = iter(range(0, number, LOOKS))
    return fuzz(TARGETS[name], inputs(name), lambda: next(left, None) is not None, seed)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Fuzz the parsers.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"all if none is named: {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=float, default=600, help="for all targets together (600)")
    parser.add_argument(
        "--inputs",
        type=int,
        default=None,
        help=f"for each target instead, in steps of {LOOKS}; the same seed then tries the same ones on each machine",
    )
    parser.add_argument("--seed", type=int, default=None, help="of the choice of changes")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at a time")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.targets if name not in TARGETS]
    if unknown:
        parser.error(f"{unknown[0]}: there is no such target; accepted are {', '.join(TARGETS)}")
    if not 0 <= chosen.seconds < float("inf") or chosen.jobs < 1:
        parser.error("accepted are --seconds from 0, and --jobs from 1")
    if chosen.inputs is not None and chosen.inputs < 0:
        parser.error("accepted are --inputs from 0")
    names = chosen.targets or list(TARGETS)
    seed = random.randrange(1 << 32) if chosen.seed is None else chosen.seed
    each_s = chosen.seconds * min(chosen.jobs, len(names)) / len(names)
    extent = f"{each_s:.0f} s" if chosen.inputs is None else f"{chosen.inputs} inputs"
    print(f"fuzz: {len(names)} targets, {extent} each, seed {seed}", flush=True)
    found = 0
    with ProcessPoolExecutor(chosen.jobs) as pool:
        if chosen.inputs is None:
            running = [(name, pool.submit(_timed, name, each_s, seed)) for name in names]
        else:
            running = [(name, pool.submit(_counted, name, chosen.inputs, seed)) for name in names]
        for name, future in running:
            outcome = future.result()
            print(f"{name}: {outcome.tried} inputs, {outcome.steps} steps, {len(outcome.new)} new", flush=True)
            for data in outcome.new:
                keep(FOUND, name, data, "new")
            if outcome.finding is not None:
                found += 1
                path = keep(CORPUS, name, outcome.finding.data, "found")
                print(f"{name}: FOUND {outcome.finding.data[:200]!r}, kept as {path}")
                print(outcome.finding.why, flush=True)
    print(f"fuzz: {found} findings" if found else "fuzz: nothing found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
