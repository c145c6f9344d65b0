#!/usr/bin/env python3
"""Times reading dial patterns and finding the one that a number matches.

    python bench/patterns.py [-n PATTERNS ...]

Beside our index stands what one writes first: a list of compiled regular expressions, in Asterisk's
order, tried one by one. Both give the same answers. README.md beside this file says what to make of
the numbers.
"""

from __future__ import annotations

import argparse
import random
import re
import time
import tracemalloc
from collections.abc import Callable

from pbxrouter.rules.pattern_index import PatternIndex
from pbxrouter.rules.patterns import Pattern

LOOK_UPS = 2000


def dial_plan(size: int) -> list[str]:
    """So many different patterns, such as providers' price lists have: prefixes, and what follows them."""
    chance = random.Random(2006)
    plan: dict[str, None] = {}
    while len(plan) < size:
        prefix = "".join(chance.choices("0123456789", k=chance.randint(2, 8)))
        first = chance.randint(1, 4)
        rest = chance.choice(["XXXX", "XXXXXX", ".", "!", "NXXX", f"[{first}-{first + 4}]XX", ""])
        plan[f"_{prefix}{rest}" if rest else prefix] = None
    return list(plan)


def numbers(plan: list[str]) -> list[str]:
    """What callers dial: nearly always something that a pattern is for."""
    chance = random.Random(4573)
    digits = "0123456789"
    return [
        (re.sub(r"\D.*", "", chance.choice(plan).lstrip("_")) + "".join(chance.choices(digits, k=9)))[:10]
        for _ in range(LOOK_UPS)
    ]


def our_index(plan: list[str]) -> Callable[[str], str | None]:
    """PatternIndex, as the rules use it."""
    index = PatternIndex((Pattern.parse(text), text) for text in plan)

    def look_up(number: str) -> str | None:
        found = index.best(number)
        return found and found[1]

    return look_up


def regexes(plan: list[str]) -> Callable[[str], str | None]:
    """A list of regular expressions, the best pattern first."""
    sign = {"X": "[0-9]", "Z": "[1-9]", "N": "[2-9]", ".": ".+", "!": ".*"}
    patterns = [Pattern.parse(text) for text in plan]
    patterns.sort(key=lambda pattern: (pattern.literal is None, pattern.order))
    compiled = [
        (re.compile("".join(sign.get(sign_, sign_) for sign_ in pattern.text.lstrip("_"))), pattern.text)
        for pattern in patterns
    ]

    def look_up(number: str) -> str | None:
        return next((text for regex, text in compiled if regex.fullmatch(number)), None)

    return look_up


def main() -> None:
    """Build both for each size, look up the same numbers, and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-n", type=int, nargs="+", default=[5, 1000, 100_000], help="5 1000 100000")
    options = parser.parse_args()
    print("patterns   way       build, s     µs a look-up (min of 3)")
    for size in options.n:
        plan = dial_plan(size)
        dialled = numbers(plan)
        took: list[float] = []
        answers: list[list[str | None]] = []
        for name, build in (("index", our_index), ("regexes", regexes)):
            began = time.perf_counter()
            look_up = build(plan)
            built_s = time.perf_counter() - began
            # A list of a hundred thousand takes a good part of a second for each number.
            sample = dialled if name == "index" or size < 10_000 else dialled[:30]
            rounds = []
            for _ in range(3):
                began = time.perf_counter()
                answers.append([look_up(number) for number in sample])
                rounds.append((time.perf_counter() - began) / len(sample) * 1e6)
            took.append(min(rounds))
            print(f"{size:8}   {name:8} {built_s:9.3f} {took[-1]:16.2f}")
        if answers[0][: len(answers[-1])] != answers[-1]:
            raise SystemExit("the two do not agree")
        times = took[1] / took[0]
        print(f"{size:8}   the list takes {times:.1f} times as long; our index {memory_mb(plan):.1f} MB")


def memory_mb(plan: list[str]) -> float:
    """The memory of the index in MB, without the texts of the patterns."""
    tracemalloc.start()
    look_up = our_index(plan)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del look_up
    return size / 1e6


if __name__ == "__main__":
    main()
