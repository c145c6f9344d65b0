"""Chooses the mutants that are tried."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from .finder import mutants
from .source import Mutant
from .targets import ROOT, Target, modules

Candidate = tuple[str, Mutant]
"""A mutant and the name of its target."""


def candidates(targets: dict[str, Target], places: tuple[str, ...] = ()) -> list[Candidate]:
    """All mutants of some targets, or only those at some places: `path` or `path:line`, below the root."""
    wanted: dict[Path, set[int]] = defaultdict(set)
    for place in places:
        path, _, line = place.partition(":")
        wanted[Path(path)].add(int(line or 0))
    return [
        (name, mutant)
        for name, target in targets.items()
        for path in modules(target)
        if not places or path in wanted
        for mutant in mutants(path, (ROOT / path).read_bytes())
        if not places or 0 in wanted[path] or mutant.line in wanted[path]
    ]


def shuffled(found: list[Candidate], seed: int) -> Iterator[Candidate]:
    """Mutants in random order: each line has one before any line has a second.

    Of a line's mutants the kind is chosen first, so that a long table or a line of many numbers
    weighs no more than a condition.
    """
    chance = random.Random(seed)
    lines: dict[tuple[Path, int], list[Candidate]] = defaultdict(list)
    for name, mutant in found:
        lines[mutant.path, mutant.line].append((name, mutant))
    while lines:
        order = list(lines)
        chance.shuffle(order)
        for place in order:
            chosen = _draw(lines[place], chance)
            if chosen is not None:
                yield chosen
            if not lines[place]:
                del lines[place]


def _draw(found: list[Candidate], chance: random.Random) -> Candidate | None:
    """Take a valid mutant out."""
    while found:
        kind = chance.choice(sorted({mutant.edit.operator for _, mutant in found}))
        chosen = chance.choice([candidate for candidate in found if candidate[1].edit.operator == kind])
        found.remove(chosen)
        if chosen[1].is_valid():
            return chosen
    return None
