"""The command ``make hosts``: runs the faults of several hosts, a line for each case."""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback

from tests.asterisk.harness import why_not
from tests.asterisk.hosts import network
from tests.asterisk.hosts.faults import case_names, run_case


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 if something is wrong in a case, or one could not be run."""
    parser = argparse.ArgumentParser(prog="scripts/hosts", description="Faults of several hosts and their network.")
    names = case_names()
    parser.add_argument("--only", nargs="+", metavar="CASE", help=f"cases, or beginnings of them: {', '.join(names)}")
    parser.add_argument("--lines", action="store_true", help="print Asterisk's log of what is wrong")
    chosen = parser.parse_args(arguments)
    for case in chosen.only or []:
        if not any(name.startswith(case) for name in names):
            parser.error(f"{case}: there is no such case; accepted are {', '.join(names)}, and their beginnings")
    if reason := why_not() or network.why_not():
        parser.error(reason)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that namespaces are removed
    cases = [name for name in names if not chosen.only or any(name.startswith(case) for case in chosen.only)]
    began, bad = time.monotonic(), 0
    for case in cases:
        name, _, way = case.partition("/")
        try:
            result = run_case(name, way)
        except Exception:
            print(f"{case}: could not be run\n{traceback.format_exc()}", flush=True)
            bad += 1
            continue
        print(result)
        for wrong in result.wrong:
            print(f"    WRONG {wrong}")
        for line in result.lines if chosen.lines else ():
            print(f"        {line}")
        sys.stdout.flush()
        bad += bool(result.wrong)
    print(f"hosts: {len(cases)} cases in {time.monotonic() - began:.0f} s: {bad or 'none'} with something wrong")
    return 1 if bad else 0
