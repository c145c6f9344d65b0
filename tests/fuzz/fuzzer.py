"""Fuzzes one target for a time: mutates known inputs, and keeps those that take new steps through the code."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.fuzz.arcs import Arcs
from tests.fuzz.mutation import mutated
from tests.fuzz.targets import Target

SLOW_S: Final = 1.0
"""Processor seconds after which an input is a finding: it would hold the reactor."""
LOOKS: Final = 64
"""Inputs between two looks whether to go on."""
SHRINKS: Final = 2000
"""Maximum number of tries to make a finding's input shorter."""


@dataclass
class Finding:
    """An input that a target does not take.

    Attributes:
        data: the input, as short as it could be made.
        why: the traceback, or that it is slow.
    """

    data: bytes
    why: str


@dataclass
class Outcome:
    """What came of fuzzing a target.

    Attributes:
        tried: number of inputs.
        steps: number of different steps through the code.
        new: inputs that took new steps.
    """

    tried: int = 0
    steps: int = 0
    new: list[bytes] = field(default_factory=list)
    finding: Finding | None = None


def problem(
    target: Target, data: bytes, processor_s: Callable[[], float] = time.process_time
) -> tuple[str, str] | None:
    """What is wrong when a target gets an input: its kind and the traceback; None if nothing is."""
    began = processor_s()
    try:
        target.run(data)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {place.filename}:{place.lineno}", traceback.format_exc()
    took = processor_s() - began
    return ("slow", f"it takes {took:.1f} s") if took > SLOW_S else None


def shortened(target: Target, data: bytes, kind: str) -> bytes:
    """A shorter input with the same problem, if there is one."""
    tries = 0
    size = max(1, len(data) // 2)
    while size and tries < SHRINKS:
        place = 0
        while place < len(data) and tries < SHRINKS:
            shorter = data[:place] + data[place + size :]
            tries += 1
            found = problem(target, shorter)
            if found is not None and found[0] == kind:
                data = shorter
            else:
                place += size
        size //= 2
    return data


def fuzz(target: Target, corpus: Iterable[bytes], goes_on: Callable[[], bool], seed: int) -> Outcome:
    """Fuzz a target, the corpus first.

    Args:
        corpus: known inputs.
        goes_on: asked before each LOOKS new inputs.
        seed: of the choice of changes.
    """
    random = Random(seed)
    arcs = Arcs()
    outcome = Outcome()
    known: list[bytes] = []

    def is_fine(data: bytes) -> bool:
        outcome.tried += 1
        with arcs.watching():
            found = problem(target, data)
        if found is None:
            return True
        short = shortened(target, data, found[0])
        again = problem(target, short)
        outcome.finding = Finding(short, (again or found)[1])
        return False

    for data in corpus:
        if not is_fine(data):
            return outcome
        known.append(data)
    known = known or [b""]
    while outcome.finding is None and goes_on():
        for _ in range(LOOKS):
            data = mutated(random, known, target.words)
            if not is_fine(data):
                break
            if arcs.fresh:
                known.append(data)
                outcome.new.append(data)
    outcome.steps = len(arcs.seen)
    return outcome
