"""`scripts/mutants`: chooses mutants, runs the related tests on each, and reports which survive."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from . import accepted, choice, worker
from .baseline import Baseline, RedBaseline
from .choice import Candidate
from .pool import Job, Pool
from .source import Mutant
from .targets import CATALOGUE, ROOT, TARGETS, tests


class _Tally:
    """Counts mutants by target and by what became of them."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.survivors: list[tuple[str, Candidate]] = []

    def add(self, candidate: Candidate, became: str) -> None:
        self.counts[candidate[0]][became] += 1
        if became in ("survived", "not reached"):
            self.survivors.append((became, candidate))

    def total(self) -> Counter[str]:
        return sum(self.counts.values(), Counter())


@click.command()
@click.argument("places", nargs=-1, metavar="[PATH[:LINE]]...")
@click.option("--count", "-n", default=500, show_default=True, help="How many mutants; 0 for all there are.")
@click.option("--seed", type=int, help="Chooses the same mutants of the same code again.")
@click.option("--target", "-t", "chosen", multiple=True, type=click.Choice(list(TARGETS)), help="Only these parts.")
@click.option("--some-targets", type=int, help="Only so many parts, chosen by the seed: a sample that is quick.")
@click.option("--jobs", "-j", default=os.cpu_count() or 1, show_default=True, help="Processes at once.")
@click.option("--at-least", default=95.0, show_default=True, help="Percent to be killed; else exit status 1.")
@click.option("--seconds", type=float, help="Begin no mutant after so long.")
@click.option("--save", type=click.Path(path_type=Path), help="Write the survivors there, as entries of the accepted.")
@click.option("--again", type=click.Path(path_type=Path, exists=True), help="Only the mutants of a file so saved.")
@click.option("--list", "only_list", is_flag=True, help="Only list the mutants.")
def main(
    places: tuple[str, ...],
    count: int,
    seed: int | None,
    chosen: tuple[str, ...],
    some_targets: int | None,
    jobs: int,
    at_least: float,
    seconds: float | None,
    save: Path | None,
    again: Path | None,
    only_list: bool,
) -> None:
    """Change single places of the core and look whether a related test fails.

    A survivor is a change that no test notices. Exit status: 0 enough were killed; 1 too few; 2 the
    tests fail without any change, or the request makes no sense.
    """
    began = time.monotonic()
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    names = list(chosen or TARGETS)
    if some_targets is not None:
        names = sorted(random.Random(seed).sample(names, min(some_targets, len(names))))
    found = choice.candidates({name: TARGETS[name] for name in names}, places)
    if again is not None:
        keys = accepted.read(again)
        found = [candidate for candidate in found if candidate[1].key in keys]
    if not found:
        raise click.UsageError("no mutants there: name modules of scripts/mutation/targets.py, such as "
                               "pbxrouter/database/connection.py:40")  # fmt: skip
    picked = list(itertools.islice(choice.shuffled(found, seed), count or None))
    click.echo(f"seed {seed}: {len(picked)} of about {len(found)} mutants, in {', '.join(names)}")
    if only_list:
        for _name, mutant in picked:
            _show("", mutant)
        return
    # Ended by another program (timeout), it ends its processes and removes the copies, too.
    signal.signal(signal.SIGTERM, lambda _signal, _frame: sys.exit(2))
    with tempfile.TemporaryDirectory(prefix="mut") as directory:
        worker.preload()
        # Before the project is copied: what is added meanwhile might not be in the copy.
        parts = sorted({name for name, _ in picked})
        modules = list(dict.fromkeys(module for part in parts for module in tests(TARGETS[part])))
        if any(mutant.edit.operator == "sentence" for _, mutant in picked) and CATALOGUE not in modules:
            modules.append(CATALOGUE)
        pool = Pool(ROOT, Path(directory), jobs)
        baseline = _baseline(pool, modules)
        tally = _try(pool, baseline, picked, began + seconds if seconds else None)
    _report(tally, save, time.monotonic() - began)
    total = tally.total()
    tried = total["killed"] + total["survived"] + total["not reached"]
    if tried and 100 * total["killed"] / tried < at_least:
        click.echo(f"fewer than {at_least:g} % were killed")
        sys.exit(1)


def _baseline(pool: Pool, modules: list[str]) -> Baseline:
    baseline = Baseline()
    try:
        with click.progressbar(
            baseline.learn(pool, modules), length=len(modules), label="tests without a mutant"
        ) as done:
            for _ in done:
                pass
    except RedBaseline as red:
        click.echo(f"the tests must pass before they are tried on mutants: {red}", err=True)
        sys.exit(2)
    return baseline


def _try(pool: Pool, baseline: Baseline, picked: list[Candidate], until: float | None) -> _Tally:
    tally, right = _Tally(), accepted.read()
    targets = {id(mutant): name for name, mutant in picked}

    def jobs() -> Iterator[Job]:
        for candidate in picked:
            name, mutant = candidate
            if until is not None and time.monotonic() > until:
                return
            if mutant.key in right:
                tally.add(candidate, "accepted")
                continue
            job = baseline.job(mutant, TARGETS[name])
            if job is None:
                tally.add(candidate, "not reached")
            else:
                yield job

    progress: Any = click.progressbar(length=len(picked), label="mutants", item_show_func=lambda _: _counts(tally))
    with progress as bar:
        seen = 0
        for result in pool.run(jobs()):
            mutant = result.job.name
            killed = result.outcome is None or result.outcome["failed"]
            tally.add((targets[id(mutant)], mutant), "killed" if killed else "survived")
            if result.too_long:
                tally.counts[targets[id(mutant)]]["too long"] += 1
            done = _done(tally)
            bar.update(done - seen, mutant)
            seen = done
        bar.update(_done(tally) - seen)
    return tally


def _done(tally: _Tally) -> int:
    total = tally.total()
    return total["killed"] + total["survived"] + total["not reached"] + total["accepted"]


def _counts(tally: _Tally) -> str:
    total = tally.total()
    return f"{total['killed']} killed, {len(tally.survivors)} survived"


def _report(tally: _Tally, save: Path | None, seconds: float) -> None:
    survivors = sorted(tally.survivors, key=lambda item: (item[1][1].path, item[1][1].line))
    for became, (_name, mutant) in survivors:
        _show(became, mutant)
    if save is not None:
        save.write_text(accepted.written(mutant for _, (_, mutant) in survivors), encoding="utf-8")
    click.echo(f"\n{'part':10} {'killed':>6} {'of':>4} {'%':>6}  not reached, accepted, too long")
    for name, counts in [*tally.counts.items(), ("all", tally.total())]:
        tried = counts["killed"] + counts["survived"] + counts["not reached"]
        share = f"{100 * counts['killed'] / tried:6.1f}" if tried else "     -"
        rest = f"{counts['not reached']}, {counts['accepted']}, {counts['too long']}"
        click.echo(f"{name:10} {counts['killed']:6} {tried:4} {share}  {rest}")
    click.echo(f"{_done(tally)} mutants in {seconds:.0f} s")


def _show(became: str, mutant: Mutant) -> None:
    where = f" in {mutant.function}" if mutant.function else ""
    click.echo(f"\n{mutant.path}:{mutant.line}{where}: {mutant.edit.operator}{', ' if became else ''}{became}")
    click.echo(f"  - {mutant.before}\n  + {mutant.after}")
